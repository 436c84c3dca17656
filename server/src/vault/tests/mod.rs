//! Tests of the vault and its key table on real files.

mod epochs;
mod power;

use std::path::Path;

use super::*;
use crate::store::vfs::StdVfs;

const NODE: Uuid = Uuid::from_u128(1);
const LIFE: Uuid = Uuid::from_u128(2);

fn config() -> TableConfig {
    TableConfig { node: NODE, extent_slots: 4, slots_max: 10 }
}

fn actor(byte: u8) -> ActorId {
    ActorId([byte; 32])
}

fn owner(byte: u8) -> Owner {
    Owner { actor: actor(byte), incarnation: LIFE }
}

/// Makes and stores a key.
fn create(vault: &Vault, byte: u8) -> Result<NewKey, Error> {
    let new = vault.generate(actor(byte), LIFE)?;
    assert!(vault.keep(&new)?);
    Ok(new)
}

fn vault(dir: &Path) -> Vault {
    Vault::open(Arc::new(StdVfs), dir, config()).expect("the vault opens")
}

fn file(dir: &Path) -> Vec<u8> {
    std::fs::read(dir.join("keys.table")).unwrap()
}

#[test]
fn a_key_survives_reopening_and_seals_the_same_records() {
    let dir = tempfile::tempdir().unwrap();
    let sealer = create(&vault(dir.path()), 1).unwrap().sealer();
    let id = sealer.record_id(b"name");
    let sealed = sealer.seal_value(id, b"value").unwrap();
    let sealer = vault(dir.path()).sealer(actor(1), LIFE).unwrap();
    assert_eq!(sealer.record_id(b"name"), id);
    assert_eq!(sealer.open_value(id, &sealed).unwrap(), b"value");
}

#[test]
fn keeping_a_key_twice_keeps_it_once() {
    let dir = tempfile::tempdir().unwrap();
    let vault = vault(dir.path());
    let new = create(&vault, 1).unwrap();
    assert!(vault.keep(&new).unwrap());
    assert_eq!(vault.incarnations(), [owner(1)]);
    vault.erase(actor(1), LIFE).unwrap();
    assert!(!vault.keep(&new).unwrap(), "an actor that was destroyed while it was being created gets no key");
    assert_eq!(vault.incarnations(), []);
}

#[test]
fn another_key_for_the_same_incarnation_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let table = KeyTable::open(Arc::new(StdVfs), dir.path(), config()).unwrap();
    let (one, two) = (DataKey::generate().unwrap(), DataKey::generate().unwrap());
    table.insert(owner(1), &one).unwrap();
    table.insert(owner(1), &one).unwrap();
    assert!(matches!(table.insert(owner(1), &two), Err(Error::Exists { .. })));
    assert_eq!(table.get(owner(1)).unwrap(), Some(one));
}

#[test]
fn an_erased_key_is_nowhere_in_the_file_and_never_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let table = KeyTable::open(Arc::new(StdVfs), dir.path(), config()).unwrap();
    let (gone, stays) = (DataKey::generate().unwrap(), DataKey::generate().unwrap());
    table.insert(owner(1), &gone).unwrap();
    table.insert(owner(2), &stays).unwrap();
    let holds = |key: &DataKey| file(dir.path()).windows(32).any(|window| window == key.bytes());
    assert!(holds(&gone) && holds(&stays));
    assert!(table.erase(owner(1)).unwrap());
    assert!(!holds(&gone) && holds(&stays));
    assert!(!table.erase(owner(1)).unwrap());
    drop(table);
    let vault = vault(dir.path());
    assert!(matches!(vault.sealer(actor(1), LIFE), Err(Error::NoKey { .. })));
    assert_eq!(vault.incarnations(), [owner(2)]);
}

#[test]
fn the_table_grows_to_its_limit_refuses_and_takes_keys_again_after_an_erasure() {
    let dir = tempfile::tempdir().unwrap();
    let vault = vault(dir.path());
    for byte in 0..10 {
        create(&vault, byte).unwrap();
    }
    assert!(matches!(create(&vault, 10), Err(Error::Full { max: 10 })));
    assert!(vault.erase(actor(3), LIFE).unwrap());
    create(&vault, 10).unwrap();
    assert_eq!(file(dir.path()).len(), 512 * 11);
}

#[test]
fn a_damaged_key_is_reported_and_can_still_be_erased() {
    let dir = tempfile::tempdir().unwrap();
    create(&vault(dir.path()), 1).unwrap();
    let mut bytes = file(dir.path());
    bytes[512 + 80] ^= 4;
    std::fs::write(dir.path().join("keys.table"), &bytes).unwrap();
    let vault = vault(dir.path());
    assert!(matches!(vault.sealer(actor(1), LIFE), Err(Error::Damaged { slot: 0, .. })));
    assert!(!vault.holds(owner(1)) && vault.incarnations() == [owner(1)]);
    assert!(vault.erase(actor(1), LIFE).unwrap());
    assert!(file(dir.path())[512..1024].iter().all(|byte| *byte == 0));
}

#[test]
fn a_slot_that_names_no_owner_is_zeroed_when_the_table_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    create(&vault(dir.path()), 1).unwrap();
    let mut bytes = file(dir.path());
    bytes[512 + 20] ^= 4;
    std::fs::write(dir.path().join("keys.table"), &bytes).unwrap();
    let vault = vault(dir.path());
    assert!(matches!(vault.sealer(actor(1), LIFE), Err(Error::NoKey { .. })));
    assert!(file(dir.path())[512..1024].iter().all(|byte| *byte == 0));
}

#[test]
fn a_file_that_is_not_this_nodes_table_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    create(&vault(dir.path()), 1).unwrap();
    let whole = file(dir.path());
    let refused = |bytes: &[u8], config: TableConfig| {
        std::fs::write(dir.path().join("keys.table"), bytes).unwrap();
        let error = KeyTable::open(Arc::new(StdVfs), dir.path(), config).unwrap_err();
        assert!(matches!(error, Error::Unusable { .. }), "{error}");
        error.to_string()
    };
    let mut damaged = whole.clone();
    damaged[33] ^= 1;
    assert!(refused(&damaged, config()).contains("header is damaged"));
    assert!(refused(&whole[..100], config()).contains("shorter than its header"));
    assert!(refused(&whole[..1000], config()).contains("its 4 slots need"));
    assert!(refused(&whole, TableConfig { node: Uuid::from_u128(9), ..config() }).contains("belongs to node"));
}

#[test]
fn two_vaults_on_one_directory_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _first = vault(dir.path());
    let second = Vault::open(Arc::new(StdVfs), dir.path(), config());
    assert!(matches!(second, Err(Error::Locked { .. })));
}

/// The numbers were computed with another program.
#[test]
fn the_bytes_of_the_table_do_not_change_between_versions() {
    let dir = tempfile::tempdir().unwrap();
    let table = KeyTable::open(Arc::new(StdVfs), dir.path(), config()).unwrap();
    table.insert(owner(1), &DataKey::from_bytes(&[5; 32])).unwrap();
    let bytes = file(dir.path());
    let slot = concat!(
        "4c4b45590100000000000000200000000101010101010101010101010101010101010101010101010101010101010101",
        "000000000000000000000000000000027c58e6a109b0af55050505050505050505050505050505050505050505050505",
        "0505050505050505",
    );
    assert_eq!(
        hex::encode(&bytes[..40]),
        "4c455448454b45592344701101000000000000000000000000000000000000010400000000020000"
    );
    assert_eq!(hex::encode(&bytes[512..512 + slot.len() / 2]), slot);
    let rest = [&bytes[40..512], &bytes[512 + slot.len() / 2..]].concat();
    assert!(rest.iter().all(|byte| *byte == 0));
}
