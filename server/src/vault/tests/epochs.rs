//! Key epochs: what is sealed to a node opens for two epochs and never again, wherever the power fails.

use super::*;
use crate::store::vfs::{
    FaultVfs,
    fault::{EIO, Effect, Fault, Op},
};

fn dir() -> &'static Path {
    Path::new("/vault")
}

fn node(number: u128) -> TableConfig {
    TableConfig { node: Uuid::from_u128(number), ..config() }
}

fn on(vfs: &FaultVfs, config: TableConfig) -> Result<Vault, Error> {
    Vault::open(Arc::new(vfs.clone()), dir(), config)
}

/// A vault of node 1 in memory, and a key of actor 1 sealed to it and to node 2.
fn sealed() -> (FaultVfs, Vault, FaultVfs, Vault, Vec<KeyShare>) {
    let (vfs, other_vfs) = (FaultVfs::new(), FaultVfs::new());
    let (vault, other) = (on(&vfs, node(1)).unwrap(), on(&other_vfs, node(2)).unwrap());
    let new = vault.generate(actor(1), LIFE).unwrap();
    let shares = vault.share(&new, &[other.recipient(), vault.recipient()]).unwrap();
    drop(new);
    (vfs, vault, other_vfs, other, shares)
}

#[test]
fn every_recipient_takes_the_same_key_from_its_share_and_nobody_else_does() {
    let (_, vault, _, other, shares) = sealed();
    let third = on(&FaultVfs::new(), node(3)).unwrap();
    assert_eq!(vault.take(&[(owner(1), &shares)]).unwrap(), []);
    assert_eq!(other.take(&[(owner(1), &shares)]).unwrap(), []);
    assert_eq!(third.take(&[(owner(1), &shares)]).unwrap(), [(owner(1), Missed::NotMine)]);
    let id = |vault: &Vault| vault.sealer(actor(1), LIFE).unwrap().record_id(b"name");
    assert_eq!(id(&vault), id(&other));
    assert!(third.sealer(actor(1), LIFE).is_err());
}

#[test]
fn many_keys_of_one_batch_cost_one_sync() {
    let (vfs, vault, ..) = sealed();
    let new: Vec<_> = (0..3).map(|byte| vault.generate(actor(byte), LIFE).unwrap()).collect();
    let shares: Vec<_> = new.iter().map(|new| vault.share(new, &[vault.recipient()]).unwrap()).collect();
    let before = vfs.count(Op::Sync);
    let offers: Vec<_> = (0..3).map(|byte| (owner(byte), &shares[usize::from(byte)][..])).collect();
    assert_eq!(vault.take(&offers).unwrap(), []);
    assert_eq!(vfs.count(Op::Sync) - before, 1);
    assert!(new.iter().all(|new| vault.keep(new).unwrap()));
    assert_eq!(vfs.count(Op::Sync) - before, 1, "keeping what is there costs nothing");
}

#[test]
fn a_share_opens_in_its_epoch_and_the_next_and_then_its_private_key_is_in_no_file() {
    let (vfs, vault, ..) = sealed();
    let first = vfs.contents(&dir().join("epoch"));
    let secret = &first[512 + 72..512 + 104];
    assert_eq!(vault.recipient().epoch, 1);
    let holds = |vfs: &FaultVfs| vfs.contents(&dir().join("epoch")).windows(32).any(|window| window == secret);
    for (rotations, opens) in [(0, true), (1, true), (2, false), (3, false)] {
        let new = vault.generate(actor(9), LIFE).unwrap();
        let share = vault.share(&new, &[Recipient { epoch: 1, ..Recipient::from_sector(&first) }]).unwrap();
        let missed = vault.take(&[(owner(9), &share)]).unwrap();
        assert_eq!(missed.is_empty(), opens, "after {rotations} rotations: {missed:?}");
        assert_eq!(holds(&vfs), opens);
        assert!(opens || missed == [(owner(9), Missed::EpochGone)]);
        vault.erase(actor(9), LIFE).unwrap();
        assert_eq!(vault.rotate().unwrap(), rotations + 2);
    }
}

impl Recipient {
    /// Whom the first epoch of a file was.
    fn from_sector(file: &[u8]) -> Self {
        let public = PublicKey(file[512 + 32..512 + 64].try_into().unwrap());
        let node = lethe_proto::NodeId(Uuid::from_slice(&file[512 + 16..512 + 32]).unwrap());
        Self { node, epoch: 1, public }
    }
}

#[test]
fn epochs_survive_reopening() {
    let (vfs, vault, _, _, shares) = sealed();
    vault.rotate().unwrap();
    let now = vault.recipient();
    drop(vault);
    let vault = on(&vfs, node(1)).unwrap();
    assert_eq!(vault.recipient(), now);
    assert_eq!(vault.take(&[(owner(1), &shares)]).unwrap(), [], "the previous epoch's key is still there");
}

#[test]
fn a_handed_over_key_is_taken_once_and_not_after_it_was_erased() {
    let (_, vault, _, other, shares) = sealed();
    vault.take(&[(owner(1), &shares)]).unwrap();
    let handed = vault.export(owner(1), &other.recipient()).unwrap();
    let import = |to: &Vault, byte: u8| to.import(&[(owner(byte), handed.clone())]).unwrap();
    assert_eq!((import(&other, 1), import(&other, 1)), (vec![Imported::Stored], vec![Imported::Stored]));
    assert!(other.holds(owner(1)));
    other.erase(actor(1), LIFE).unwrap();
    assert_eq!(import(&other, 1), [Imported::Erased], "its actor was destroyed while it was on its way");
    assert!(!other.holds(owner(1)));
    assert_eq!(import(&other, 2), [Imported::Missed(Missed::Unreadable)], "it is another actor's");
    assert_eq!(import(&vault, 1), [Imported::Missed(Missed::NotMine)], "it is another node's");
    assert!(matches!(vault.export(owner(3), &other.recipient()), Err(Error::NoKey { .. })));
}

#[test]
fn a_bad_key_among_those_handed_over_does_not_stop_the_others() {
    let (_, vault, _, other, _) = sealed();
    let new: Vec<_> = (0..3).map(|byte| vault.generate(actor(byte), LIFE).unwrap()).collect();
    let mut shares: Vec<_> = (0..3)
        .map(|byte| (owner(byte), vault.share(&new[usize::from(byte)], &[other.recipient()]).unwrap().remove(0)))
        .collect();
    shares[1].1.sealed = shares[0].1.sealed.clone();
    let stored = [Imported::Stored, Imported::Missed(Missed::Unreadable), Imported::Stored];
    assert_eq!(other.import(&shares).unwrap(), stored);
    assert_eq!([0, 1, 2].map(|byte| other.holds(owner(byte))), [true, false, true]);
    assert_eq!(other.erase_all(&[owner(0), owner(1), owner(2)]).unwrap(), 2);
    assert_eq!(other.incarnations(), []);
}

#[test]
fn a_handed_over_key_takes_the_place_of_a_damaged_one() {
    let (_, vault, other_vfs, other, shares) = sealed();
    vault.take(&[(owner(1), &shares)]).unwrap();
    other.take(&[(owner(1), &shares)]).unwrap();
    other_vfs.edit(&dir().join("keys.table"), |bytes| bytes[512 + 80] ^= 4);
    assert!(!other.holds(owner(1)));
    let handed = vault.export(owner(1), &other.recipient()).unwrap();
    assert_eq!(other.import(&[(owner(1), handed)]).unwrap(), [Imported::Stored]);
    assert!(other.holds(owner(1)));
}

#[test]
fn a_new_key_has_a_slot_of_its_own_or_is_refused_before_anything_is_told() {
    let vault = on(&FaultVfs::new(), config()).unwrap();
    let promised: Vec<_> = (0..10).map(|byte| vault.generate(actor(byte), LIFE).unwrap()).collect();
    assert!(matches!(vault.generate(actor(10), LIFE), Err(Error::Full { max: 10 })));
    assert!(promised.iter().all(|new| vault.keep(new).unwrap()));
    drop(promised);
    assert!(matches!(vault.generate(actor(10), LIFE), Err(Error::Full { max: 10 })));
    vault.erase(actor(0), LIFE).unwrap();
    assert!(vault.keep(&vault.generate(actor(10), LIFE).unwrap()).unwrap());
}

#[test]
fn a_full_table_misses_a_share_and_keeps_what_had_room() {
    let (_, vault, ..) = sealed();
    let small = on(&FaultVfs::new(), TableConfig { slots_max: 1, ..node(2) }).unwrap();
    let new: Vec<_> = (0..2).map(|byte| vault.generate(actor(byte), LIFE).unwrap()).collect();
    let shares: Vec<_> = new.iter().map(|new| vault.share(new, &[small.recipient()]).unwrap()).collect();
    let missed = small.take(&[(owner(0), &shares[0]), (owner(1), &shares[1])]).unwrap();
    assert_eq!(missed, [(owner(1), Missed::NoRoom)]);
    assert!(small.holds(owner(0)));
}

#[test]
fn a_file_that_is_not_this_nodes_is_refused_and_a_damaged_epoch_is_zeroed() {
    let (vfs, vault, _, _, shares) = sealed();
    let first = vault.recipient();
    vault.rotate().unwrap();
    drop(vault);
    for at in [512 + 2, 512 + 10, 512 + 40, 512 + 80] {
        let copy = vfs.power_cut(0);
        copy.edit(&dir().join("epoch"), |bytes| bytes[at] ^= 4);
        let vault = on(&copy, node(1)).unwrap();
        assert_eq!(vault.take(&[(owner(1), &shares)]).unwrap(), [(owner(1), Missed::EpochGone)], "byte {at}");
        assert!(copy.contents(&dir().join("epoch"))[512..].iter().all(|byte| *byte == 0));
        assert_ne!(vault.recipient(), first);
    }
    let copy = vfs.power_cut(0);
    assert!(matches!(Epochs::open(&copy, dir(), Uuid::from_u128(9)), Err(Error::Unusable { .. })));
    copy.edit(&dir().join("epoch"), |bytes| bytes.truncate(1000));
    assert!(matches!(on(&copy, node(1)), Err(Error::Unusable { .. })));
}

#[test]
fn a_failed_sync_ends_rotating_but_not_opening() {
    let (vfs, vault, _, _, shares) = sealed();
    vfs.inject(Fault { op: Op::Sync, path: "epoch".into(), skip: 0, times: 1, effect: Effect::Error(EIO) });
    assert!(matches!(vault.rotate(), Err(Error::Io { .. })));
    vfs.heal();
    assert!(matches!(vault.rotate(), Err(Error::Failed(_))));
    assert_eq!(vault.take(&[(owner(1), &shares)]).unwrap(), []);
}

/// What a script knew when the power failed.
#[derive(Default)]
struct Told {
    /// Whom others seal to: told, so it must be able to open what comes back.
    recipients: Vec<Recipient>,
    /// Epochs whose private key is gone, and that key.
    gone: Vec<(u32, Vec<u8>)>,
}

fn script(vfs: &FaultVfs) -> Told {
    let mut told = Told::default();
    let Ok(vault) = on(vfs, node(1)) else { return told };
    told.recipients.push(vault.recipient());
    let secrets = |epoch: u32| {
        let at = epoch as usize % 2 * 512 + 72;
        vfs.contents(&dir().join("epoch"))[at..at + 32].to_vec()
    };
    let mut secret = vec![(1, secrets(1))];
    for _ in 0..4 {
        let Ok(epoch) = vault.rotate() else { return told };
        told.recipients.push(vault.recipient());
        secret.push((epoch, secrets(epoch)));
        told.gone = secret.iter().filter(|(old, _)| old + 2 <= epoch).cloned().collect();
    }
    told
}

#[test]
fn a_power_cut_at_any_io_keeps_the_told_epoch_and_brings_no_erased_one_back() {
    let mut cuts = 0;
    for cut in 1.. {
        let vfs = FaultVfs::new();
        vfs.cut_at(cut);
        let told = script(&vfs);
        if !vfs.is_off() {
            assert_eq!((told.recipients.len(), told.gone.len()), (5, 3));
            break;
        }
        cuts += 1;
        for remains in cut * 6..cut * 6 + 6 {
            let after = vfs.power_cut(remains);
            let vault = on(&after, node(1)).unwrap_or_else(|error| panic!("cut at {cut}, seed {remains}: {error}"));
            let raw = after.contents(&dir().join("epoch"));
            for (epoch, secret) in &told.gone {
                let there = raw.windows(32).any(|window| window == secret);
                assert!(!there, "cut at {cut}, seed {remains}: epoch {epoch} is still there");
            }
            if let Some(last) = told.recipients.last() {
                let new = vault.generate(actor(1), LIFE).unwrap();
                let share = vault.share(&new, std::slice::from_ref(last)).unwrap();
                let missed = vault.take(&[(owner(1), &share)]).unwrap();
                assert_eq!(missed, [], "cut at {cut}, seed {remains}: epoch {} was told", last.epoch);
            }
            let before = vault.recipient().epoch;
            assert_eq!(vault.rotate().unwrap(), before + 1);
        }
    }
    assert!(cuts > 20, "the script has only {cuts} I/Os");
}
