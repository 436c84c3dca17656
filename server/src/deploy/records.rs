//! What stands in the registry about versions.
//!
//! ```text
//! deploy/current            {"version":"0191..."}
//! deploy/version/<uuid>     {"id":...,"name":"chat","source":"0191...","chunks":3,"bytes":...,"digest":"...","migrations":[...]}
//! deploy/pending/<uuid>     the same, while its chunks are being written
//! deploy/chunk/<uuid>/<n>   bytes of a package; n has five digits
//! ```
//!
//! Values are JSON but for the chunks. A rollback is a new version with the chunks of an old one.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Migration, Project};

/// Name of the record that says which version serves.
pub const CURRENT: &str = "deploy/current";
/// Before the id of a version.
pub const VERSIONS: &str = "deploy/version/";
/// Before the id of a version that is not yet one.
pub const PENDING: &str = "deploy/pending/";
/// Bytes of a chunk.
pub const CHUNK_BYTES: usize = 512 << 10;

/// Which version serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Current {
    /// Its id.
    pub version: Uuid,
}

/// A version of the cluster's worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Its id; later versions compare greater.
    pub id: Uuid,
    /// The worker's name.
    pub name: String,
    /// Under which id its chunks stand.
    pub source: Uuid,
    /// How many there are.
    pub chunks: u32,
    /// Length of the package.
    pub bytes: u64,
    /// SHA-256 of the package, in hex.
    pub digest: String,
    /// The deploying node's clock, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// The migrations of its configuration, in order.
    pub migrations: Vec<Step>,
    /// What ids of each namespace are made from.
    pub namespaces: BTreeMap<String, String>,
}

/// One step of the history of actor classes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its name.
    pub tag: String,
    /// Classes it created.
    pub new: Vec<String>,
    /// Classes it renamed: from, to.
    pub renamed: Vec<(String, String)>,
    /// Classes it deleted.
    pub deleted: Vec<String>,
}

impl Manifest {
    /// Of a project and its package.
    pub fn new(id: Uuid, project: &Project, package: &[u8], created_at_ms: u64) -> Self {
        let namespaces = project.namespaces.iter();
        Self {
            id,
            name: project.config.name.clone(),
            source: id,
            chunks: package.chunks(CHUNK_BYTES).len() as u32,
            bytes: package.len() as u64,
            digest: digest(package),
            created_at_ms,
            migrations: project.config.migrations.iter().map(Step::from).collect(),
            namespaces: namespaces.map(|space| (space.name.clone(), space.unique_key.clone())).collect(),
        }
    }

    /// Why `next` may not follow this version, if so: its actors would not find what they stored.
    pub fn contradicted_by(&self, next: &Self) -> Option<String> {
        if next.name != self.name {
            let (old, new) = (&self.name, &next.name);
            return (!self.namespaces.is_empty()).then(|| {
                format!("this cluster runs the worker {old:?}, which has actors; {new:?} cannot take its place")
            });
        }
        for (step, at) in self.migrations.iter().zip(0..) {
            let tag = &step.tag;
            match next.migrations.get(at) {
                Some(same) if same == step => {}
                Some(other) if other.tag == *tag => {
                    return Some(format!("migration {tag:?} was deployed and is different now; add a new one instead"));
                }
                Some(other) => {
                    return Some(format!(
                        "migration {} is {:?}, but {tag:?} was deployed there; new ones go to the end",
                        at + 1,
                        other.tag
                    ));
                }
                None => {
                    return Some(format!("migration {tag:?} was deployed and is gone; migrations are never removed"));
                }
            }
        }
        let moved =
            self.namespaces.iter().find(|(name, key)| next.namespaces.get(*name).is_some_and(|new| new != *key));
        moved.filter(|_| self.migrations.len() == next.migrations.len()).map(|(name, _)| {
            format!("{name} would lose its actors: its class now has another history without a migration that says so")
        })
    }
}

impl From<&Migration> for Step {
    fn from(migration: &Migration) -> Self {
        Self {
            tag: migration.tag.clone(),
            new: migration.new_classes.clone(),
            renamed: migration.renamed_classes.clone(),
            deleted: migration.deleted_classes.clone(),
        }
    }
}

/// An id above `last`, also if the clock went back.
pub fn next_id(last: Option<Uuid>) -> Uuid {
    let now = Uuid::now_v7();
    match last {
        Some(last) if now <= last => {
            // A millisecond after the last one; the rest is as random as ever.
            let time_ms = (last.as_u128() >> 80) + 1;
            Uuid::from_u128((time_ms << 80) | (now.as_u128() & ((1 << 80) - 1)))
        }
        _ => now,
    }
}

/// SHA-256, in hex.
pub fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Name of a version's record.
pub fn version_name(id: Uuid) -> String {
    format!("{VERSIONS}{id}")
}

/// Name of the record of what is to be a version.
pub fn pending_name(id: Uuid) -> String {
    format!("{PENDING}{id}")
}

/// Name of a chunk.
pub fn chunk_name(source: Uuid, number: u32) -> String {
    format!("deploy/chunk/{source}/{number:05}")
}

/// The bytes of a record.
pub fn encode<T: Serialize>(record: &T) -> Bytes {
    // Records are plain structs with text keys: there is nothing in them that JSON cannot say.
    serde_json::to_vec(record).expect("a record is JSON").into()
}

/// Reads a record; says what is wrong with it.
pub fn decode<T: DeserializeOwned>(name: &str, value: &[u8]) -> Result<T, String> {
    serde_json::from_slice(value).map_err(|error| format!("the registry's record `{name}` cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(tag: &str, new: &[&str]) -> Step {
        let new = new.iter().map(|name| name.to_string()).collect();
        Step { tag: tag.into(), new, renamed: vec![], deleted: vec![] }
    }

    fn manifest(name: &str, migrations: Vec<Step>, namespaces: &[(&str, &str)]) -> Manifest {
        let id = Uuid::from_u128(1);
        let namespaces = namespaces.iter().map(|(name, key)| (name.to_string(), key.to_string())).collect();
        let (digest, name) = (String::new(), name.to_owned());
        Manifest { id, name, source: id, chunks: 1, bytes: 1, digest, created_at_ms: 0, migrations, namespaces }
    }

    #[test]
    fn a_version_keeps_the_history_of_the_one_before_it() {
        let spaces = [("chat/Room", "chat-Room")];
        let first = manifest("chat", vec![step("v1", &["Room"])], &spaces);
        let says = |next: &Manifest| first.contradicted_by(next).unwrap_or_default();
        let longer = manifest("chat", vec![step("v1", &["Room"]), step("v2", &["B"])], &[("chat/B", "chat-B")]);
        assert_eq!((says(&first), says(&longer)), (String::new(), String::new()));
        assert!(says(&manifest("chat", vec![], &spaces)).contains("migrations are never removed"));
        assert!(says(&manifest("chat", vec![step("v1", &["X"])], &spaces)).contains("is different now"));
        assert!(
            says(&manifest("chat", vec![step("v0", &[]), step("v1", &["Room"])], &spaces)).contains("go to the end")
        );
        assert!(
            says(&manifest("chat", first.migrations.clone(), &[("chat/Room", "chat-X")])).contains("lose its actors")
        );
        assert!(says(&manifest("other", vec![], &[])).contains("cannot take its place"));
        assert_eq!(manifest("plain", vec![], &[]).contradicted_by(&first), None, "a worker without actors gives way");
    }

    #[test]
    fn ids_grow_even_if_the_clock_goes_back() {
        let first = next_id(None);
        let far = Uuid::from_u128(first.as_u128() + (1_000_000 << 80));
        let after = next_id(Some(far));
        assert!(after > far && next_id(Some(after)) > after);
        assert_eq!(after.get_version_num(), 7);
    }

    #[test]
    fn records_have_these_names_and_bytes() {
        let id = Uuid::from_u128(7);
        assert_eq!(chunk_name(id, 12), format!("deploy/chunk/{id}/00012"));
        let current = encode(&Current { version: id });
        assert_eq!(&current[..], br#"{"version":"00000000-0000-0000-0000-000000000007"}"#);
        let manifest = manifest("chat", vec![step("v1", &["Room"])], &[("chat/Room", "chat-Room")]);
        assert_eq!(decode::<Manifest>("x", &encode(&manifest)), Ok(manifest));
        assert!(decode::<Current>("deploy/current", b"{}").unwrap_err().contains("`deploy/current`"));
    }
}
