//! Snapshots on their way: what arrives whole is one, everything else leaves nothing behind.

use std::path::Path;
use std::sync::Arc;

use lethe_proto::ActorId;
use tempfile::TempDir;

use super::*;
use crate::store::state::{Actor, Config, Loader, Scan, Store};
use crate::store::vfs::{FaultVfs, Vfs};
use crate::store::{DestroyReason, Header, RecordId, Tombstone};

const GROUP: u32 = 1;
const MAX: u64 = 1 << 30;

/// A group with some of everything, as a scan shows it.
fn state() -> (Head, Slice) {
    let dir = tempfile::tempdir().unwrap();
    let group = Store::open(dir.path(), true, Config::default()).group(GROUP, 1).unwrap();
    let mut txn = group.begin();
    for n in 0..5 {
        let mut actor = Actor::new(Header {
            actor: ActorId([n; 32]),
            incarnation: Uuid::from_bytes([n; 16]),
            namespace: "script/Class".to_owned(),
            activation: 1,
            seq: 0,
            created_at_ms: 12,
            sealed_name: None,
            records: 0,
            bytes: 0,
        });
        for key in 0..n {
            txn.put(&mut actor, RecordId([key; 16]), b"name", &vec![key; 7000 * usize::from(key)]).unwrap();
        }
        txn.set_actor(actor);
    }
    let actor = ActorId([9; 32]);
    txn.destroy(None, Tombstone { actor, incarnation: None, destroyed_at_ms: 9, reason: DestroyReason::Caller });
    txn.registry_put(b"name", 7, &[3; 40_000]).unwrap();
    txn.registry_advance(7).unwrap();
    txn.commit(Position { index: 7, log_id: Bytes::from_static(b"log id") }, None).unwrap();
    let mut scan = Scan::begin(&group).unwrap().unwrap();
    let mut all = Slice::new();
    while let Some(slice) = scan.next_slice().unwrap() {
        all.extend(slice);
    }
    (Head { node: Uuid::from_u128(5), group: GROUP, mark: scan.mark().clone() }, all)
}

fn sender(content: &(Head, Slice)) -> (TempDir, Dir, Found) {
    let temp = tempfile::tempdir().unwrap();
    let dir = open(&temp);
    let found = write(&dir, content.0.clone(), &content.1);
    (temp, dir, found)
}

fn pieces(dir: &Dir, found: &Found, bytes: usize) -> Vec<Bytes> {
    let mut sending = dir.send(found).unwrap();
    std::iter::from_fn(|| sending.next(bytes).unwrap()).collect()
}

fn receive(dir: &Dir, pieces: &[Bytes]) -> Result<Found, Error> {
    let mut receiving = dir.receive(GROUP, MAX)?;
    pieces.iter().try_for_each(|piece| receiving.push(piece))?;
    receiving.finish()
}

fn files(path: &Path) -> usize {
    std::fs::read_dir(path).unwrap().count()
}

#[test]
fn a_snapshot_arrives_as_it_was_sent_in_pieces_of_any_size() {
    let (_from, sends, found) = sender(&state());
    for bytes in [100, 1000, found.bytes as usize - 1, found.bytes as usize, 1 << 30] {
        let to = tempfile::tempdir().unwrap();
        let received = receive(&open(&to), &pieces(&sends, &found, bytes)).unwrap();
        assert_eq!((&received.head, received.bytes), (&found.head, found.bytes));
        assert_eq!(std::fs::read(&received.path).unwrap(), std::fs::read(&found.path).unwrap());
        assert_eq!(open(&to).list(GROUP).unwrap(), [received]);
    }
}

#[test]
fn what_is_cut_short_longer_changed_or_out_of_order_is_refused_and_leaves_nothing() {
    let (_from, sends, found) = sender(&state());
    let whole = pieces(&sends, &found, found.bytes as usize).remove(0);
    let to = tempfile::tempdir().unwrap();
    let dir = open(&to);
    for len in (0..whole.len()).step_by(whole.len() / 40).chain([whole.len() - 1]) {
        receive(&dir, &[whole.slice(..len)]).unwrap_err();
    }
    receive(&dir, &[whole.clone(), Bytes::from_static(b"x")]).unwrap_err();
    for at in (0..whole.len()).step_by(whole.len() / 40) {
        let mut changed = whole.to_vec();
        changed[at] ^= 1;
        receive(&dir, &[Bytes::from(changed)]).unwrap_err();
    }
    let mut parts = pieces(&sends, &found, 5000);
    parts.swap(1, 2);
    receive(&dir, &parts).unwrap_err();
    assert_eq!(files(to.path()), 0);
}

#[test]
fn a_file_that_would_not_load_is_refused_though_all_its_checksums_fit() {
    let (head, content) = state();
    let families: std::collections::BTreeSet<u8> = content.iter().map(|(key, _)| key[0]).collect();
    assert_eq!(families.into_iter().collect::<Vec<_>>(), [1, 2, 3, 4, 8, 9, 10]);
    let to = tempfile::tempdir().unwrap();
    for lost in 0..content.len() {
        let mut part = content.clone();
        let (key, _) = part.remove(lost);
        let (_from, sends, found) = sender(&(head.clone(), part));
        let error = receive(&open(&to), &pieces(&sends, &found, 1 << 20)).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "without {key:?}: {error}");
    }
    for at in 0..content.len() {
        let mut other = content.clone();
        *other[at].1.last_mut().unwrap() ^= 1;
        let (_from, sends, found) = sender(&(head.clone(), other));
        receive(&open(&to), &pieces(&sends, &found, 1 << 20)).unwrap_err();
    }
    let mut more = content.clone();
    more.insert(0, (vec![0], content[0].1.clone()));
    let (_from, sends, found) = sender(&(head.clone(), more));
    receive(&open(&to), &pieces(&sends, &found, 1 << 20)).unwrap_err();
    assert_eq!(files(to.path()), 0);
}

#[test]
fn what_passes_the_audit_loads() {
    let (head, content) = state();
    let (_from, sends, found) = sender(&(head.clone(), content.clone()));
    let (to, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let received = receive(&open(&to), &pieces(&sends, &found, 3000)).unwrap();
    let group = Store::open(state.path(), true, Config::default()).group(GROUP, 1).unwrap();
    let loader = Loader::begin(&group).unwrap();
    let (_, slice) = read(&received.path).unwrap();
    loader.push(slice).unwrap();
    loader.finish(head.mark.clone()).unwrap();
    assert_eq!(group.mark(), head.mark);
}

#[test]
fn more_bytes_than_allowed_and_another_group_are_refused() {
    let (_from, sends, found) = sender(&state());
    let parts = pieces(&sends, &found, 1000);
    let to = tempfile::tempdir().unwrap();
    let dir = open(&to);
    let mut receiving = dir.receive(GROUP, found.bytes - 1).unwrap();
    let taken = parts.iter().take_while(|piece| receiving.push(piece).is_ok()).count();
    assert_eq!(taken, parts.len() - 1);
    drop(receiving);
    let mut receiving = dir.receive(GROUP + 1, MAX).unwrap();
    parts.iter().for_each(|piece| receiving.push(piece).unwrap());
    assert!(receiving.finish().unwrap_err().to_string().ends_with("it is of group 1, not of 2"));
    assert_eq!(files(to.path()), 0);
}

#[test]
fn transfers_at_the_same_time_do_not_disturb_each_other_and_one_outlives_the_removal_of_its_file() {
    let (_from, sends, found) = sender(&state());
    let to = tempfile::tempdir().unwrap();
    let dir = open(&to);
    let mut broken = dir.receive(GROUP, MAX).unwrap();
    broken.push(b"something else").unwrap();
    let mut sending = sends.send(&found).unwrap();
    let mut receiving = dir.receive(GROUP, MAX).unwrap();
    receiving.push(&sending.next(100).unwrap().unwrap()).unwrap();
    sends.forget(GROUP).unwrap();
    drop(broken);
    while let Some(piece) = sending.next(4096).unwrap() {
        receiving.push(&piece).unwrap();
    }
    let received = receiving.finish().unwrap();
    assert_eq!(dir.list(GROUP).unwrap(), [received]);
    std::mem::forget(dir.receive(GROUP, MAX).unwrap());
    std::mem::forget(dir.receive(GROUP + 1, MAX).unwrap());
    dir.forget(GROUP).unwrap();
    assert_eq!(files(to.path()), 1, "only what comes for the other group is left");
    open(&to);
    assert_eq!(files(to.path()), 0);
}

#[test]
fn a_power_cut_at_any_io_leaves_a_whole_snapshot_or_none() {
    let (_from, sends, found) = sender(&state());
    let parts = pieces(&sends, &found, 20_000);
    let path = Path::new("/snapshots");
    let (mut cuts, mut kept) = (0, 0);
    for cut in 1.. {
        let vfs = FaultVfs::new();
        vfs.cut_at(cut);
        let shared: Arc<dyn Vfs> = Arc::new(vfs.clone());
        let received = Dir::open(shared, path).and_then(|dir| receive(&dir, &parts));
        if !vfs.is_off() {
            break;
        }
        cuts += 1;
        for seed in 0..4 {
            let after: Arc<dyn Vfs> = Arc::new(vfs.power_cut(cut * 4 + seed));
            let dir = Dir::open(after, path).unwrap();
            let list = dir.list(GROUP).unwrap();
            assert!(list.len() <= 1 && (received.is_err() || list.len() == 1), "cut at {cut}, seed {seed}");
            for snapshot in list {
                assert_eq!(Reader::open(dir.vfs(), &snapshot.path).unwrap().verify().unwrap(), found.head);
                kept += 1;
            }
        }
    }
    assert!(cuts >= 10 && kept > 0, "{cuts} cuts, {kept} snapshots");
}

#[test]
fn a_power_cut_brings_no_forgotten_snapshot_back() {
    let content = state();
    let path = Path::new("/snapshots");
    let open = |vfs: &FaultVfs| Dir::open(Arc::new(vfs.clone()), path);
    for cut in 1.. {
        let vfs = FaultVfs::new();
        let dir = open(&vfs).unwrap();
        write(&dir, content.0.clone(), &content.1);
        write(&dir, head(GROUP, 9), &content.1);
        vfs.cut_at(vfs.ops() + cut);
        let forgotten = dir.forget(GROUP);
        let is_over = !vfs.is_off();
        for seed in 0..4 {
            let left = open(&vfs.power_cut(seed)).unwrap().list(GROUP).unwrap().len();
            assert!(forgotten.is_err() || left == 0, "cut at {cut}, seed {seed}: {left} are back");
        }
        if is_over {
            assert!(cut > 3);
            break;
        }
    }
}
