//! The join file: everything a new machine needs to become the node that `lethe cluster add` has made an id for.
//!
//! JSON, readable by its owner alone: it holds the new node's private key.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use lethe_proto::{ClusterId, NodeId};
use serde::{Deserialize, Serialize};

use super::durable::write_new;
use crate::cluster::GROUPS_MAX;

/// Largest join file, bytes.
const BYTES_MAX: u64 = 1 << 20;
/// Format of the file.
const VERSION: u32 = 1;

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JoinFile {
    lethe_join_file: u32,
    /// The cluster to join.
    pub cluster: ClusterId,
    /// Data groups of the cluster.
    pub groups: u32,
    /// The new node.
    pub node: NodeId,
    /// What people call it.
    pub name: String,
    /// Peer addresses of nodes that are members.
    pub join: Vec<String>,
    /// Its certificates; none in a cluster that speaks plain text.
    pub certificates: Option<Certificates>,
}

/// Certificates of a node, PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Certificates {
    /// Of the cluster's authority.
    pub ca_pem: String,
    /// Of the node.
    pub node_pem: String,
    /// Its private key.
    pub node_key_pem: String,
}

impl JoinFile {
    pub fn new(cluster: ClusterId, groups: u32, node: NodeId, name: String, join: Vec<String>) -> Self {
        Self { lethe_join_file: VERSION, cluster, groups, node, name, join, certificates: None }
    }

    /// Writes the file; it must not be there yet.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("a join file as JSON")?;
        write_new(path, format!("{text}\n").as_bytes())
    }

    /// Reads and checks the file.
    pub fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let length = std::fs::metadata(path).with_context(|| format!("cannot read {shown}"))?.len();
        ensure!(length <= BYTES_MAX, "{shown} is no join file: it has {length} bytes");
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
        let version = serde_json::from_str::<Version>(&text);
        let version = version.with_context(|| format!("{shown} is no join file (see `lethe cluster add`)"))?;
        let version = version.lethe_join_file;
        ensure!(version == VERSION, "{shown} is a join file of version {version}; this is a Lethe of {VERSION}");
        let file: Self = serde_json::from_str(&text).with_context(|| format!("{shown} is damaged"))?;
        let groups = file.groups;
        ensure!((1..=GROUPS_MAX).contains(&groups), "{shown} is damaged: a cluster has no {groups} data groups");
        Ok(file)
    }
}

/// What every version of the file has.
#[derive(Deserialize)]
struct Version {
    lethe_join_file: u32,
}

#[cfg(test)]
mod tests {
    use lethe_proto::{ClusterId, NodeId};
    use uuid::Uuid;

    use super::*;

    fn file() -> JoinFile {
        let (cluster, node) = (ClusterId(Uuid::from_u128(1)), NodeId(Uuid::from_u128(2)));
        JoinFile::new(cluster, 64, node, "n2".into(), vec!["10.0.0.1:7071".into()])
    }

    #[test]
    fn the_file_round_trips_and_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n2.join");
        file().write(&path).unwrap();
        assert_eq!(JoinFile::read(&path).unwrap(), file());
        let other = JoinFile { name: "n3".into(), ..file() };
        assert!(other.write(&path).unwrap_err().to_string().contains("exists already"));
        assert_eq!(JoinFile::read(&path).unwrap(), file());
    }

    #[test]
    fn other_files_are_named_for_what_they_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let mut later = serde_json::to_value(file()).unwrap();
        later["lethe_join_file"] = 2.into();
        let mut odd = serde_json::to_value(file()).unwrap();
        odd["extra"] = true.into();
        let of = |groups| serde_json::to_string(&JoinFile { groups, ..file() }).unwrap();
        let table = [
            (of(0), "is damaged: a cluster has no 0 data groups"),
            (of(513), "is damaged: a cluster has no 513 data groups"),
            ("name = \"n1\"".to_owned(), "is no join file (see `lethe cluster add`)"),
            ("{}".to_owned(), "is no join file (see `lethe cluster add`)"),
            (later.to_string(), "is a join file of version 2; this is a Lethe of 1"),
            (odd.to_string(), "is damaged"),
        ];
        for (text, expected) in table {
            std::fs::write(&path, &text).unwrap();
            let error = JoinFile::read(&path).unwrap_err().to_string();
            assert_eq!(error, format!("{} {expected}", path.display()), "{text}");
        }
        let error = JoinFile::read(&dir.path().join("g")).unwrap_err().to_string();
        assert!(error.starts_with("cannot read "), "{error}");
    }
}
