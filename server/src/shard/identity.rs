//! The identity of a data directory: which node of which cluster it is, and how many data groups the cluster has.
//!
//! ```text
//! lethe-node 3
//! cluster 0191e1c2-...
//! node 0191e1c2-...
//! groups 64
//! life 0191e1c2-...
//! crc 1a2b3c4d
//! ```
//!
//! The life is `none` until the log was opened for the first time, and is made then. From then on a directory without a
//! log has lost it, and the node refuses to start instead of voting with amnesia. A directory that was made or copied
//! anew for the same node gets another life, by which the cluster knows that it is not the one that voted.

use std::io;
use std::path::Path;

use lethe_proto::{ClusterId, NodeId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Error;
use crate::store::vfs::Vfs;

const FILE: &str = "node";
/// Before the number of the format.
const MAGIC: &str = "lethe-node ";
const VERSION: &str = "3";
/// Stands for the life of a directory whose log was never opened.
const UNBORN: &str = "none";
const BYTES_MAX: u64 = 4096;

/// The life of a node: the one data directory that keeps what the node promised. Random, so that no two are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Life(pub Uuid);

impl Life {
    /// Of a directory whose log is opened for the first time.
    pub(super) fn begin() -> Self {
        Self(Uuid::new_v4())
    }
}

/// Who a data directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// The node. Made with the directory and never used again for another one.
    pub node: NodeId,
    /// Data groups of the cluster: 1 to this number. Group 0 is the system group.
    pub groups: u32,
    /// Made when the log is opened for the first time.
    pub(super) life: Option<Life>,
}

impl Identity {
    /// Of a directory that is to be made.
    pub fn new(cluster: ClusterId, node: NodeId, groups: u32) -> Self {
        Self { cluster, node, groups, life: None }
    }

    /// Of the first node of a new cluster.
    pub fn first(groups: u32) -> Self {
        Self::new(ClusterId(Uuid::new_v4()), NodeId(Uuid::new_v4()), groups)
    }

    /// Makes the data directory of this node, durably. Refuses a directory that belongs to a node already. Blocks.
    pub fn found(&self, vfs: &dyn Vfs, dir: &Path) -> Result<(), Error> {
        let io = |source| Error::Io { action: "make", path: dir.to_owned(), source };
        vfs.create_dir_all(dir).map_err(io)?;
        if let Some(other) = Self::read(vfs, dir)? {
            let (dir, node, cluster) = (dir.display(), other.node, other.cluster);
            return Err(Error::Refused(format!("{dir} belongs to node {node} of cluster {cluster} already")));
        }
        self.write(vfs, dir)
    }

    /// Reads the identity of a data directory; none if nobody made one. Blocks.
    pub fn read(vfs: &dyn Vfs, dir: &Path) -> Result<Option<Self>, Error> {
        let path = dir.join(FILE);
        let io = |source| Error::Io { action: "read", path: path.clone(), source };
        if !vfs.exists(&path).map_err(io)? {
            return Ok(None);
        }
        let bytes = vfs.open(&path).and_then(|file| file.read_whole(BYTES_MAX)).map_err(io)?;
        match parse(&bytes) {
            Some(identity) => Ok(Some(identity)),
            None => Err(Error::Refused(match other_version(&bytes) {
                Some(other) => {
                    format!("{} has format {other}, this node reads {VERSION}", path.display())
                }
                None => format!("{} is damaged; without it nobody knows which node this is", path.display()),
            })),
        }
    }

    /// Replaces the file, durably.
    pub(super) fn write(&self, vfs: &dyn Vfs, dir: &Path) -> Result<(), Error> {
        replace(vfs, dir, FILE, self.text().as_bytes())
    }

    fn text(&self) -> String {
        let Self { cluster, node, groups, .. } = self;
        let life = self.life.map_or_else(|| UNBORN.to_owned(), |life| life.0.to_string());
        sealed(format!("{MAGIC}{VERSION}\ncluster {cluster}\nnode {node}\ngroups {groups}\nlife {life}\n"))
    }
}

/// Writes a small file of the data directory under another name, syncs it, renames it and syncs the directory.
pub(super) fn replace(vfs: &dyn Vfs, dir: &Path, name: &str, bytes: &[u8]) -> Result<(), Error> {
    let (path, temp) = (dir.join(name), dir.join(format!("{name}.tmp")));
    let replace = || -> io::Result<()> {
        if vfs.exists(&temp)? {
            vfs.remove(&temp)?;
        }
        let file = vfs.create(&temp)?;
        file.write_all_at(bytes, 0)?;
        file.sync_all()?;
        vfs.rename(&temp, &path)?;
        vfs.sync_dir(dir)
    };
    replace().map_err(|source| Error::Io { action: "write", path: path.clone(), source })
}

/// A text with its checksum behind it.
pub(super) fn sealed(body: String) -> String {
    let crc = crc32fast::hash(body.as_bytes());
    format!("{body}crc {crc:08x}\n")
}

/// The format of a whole file that another Lethe wrote.
fn other_version(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (body, _) = text.rsplit_once("crc ")?;
    let (version, _) = body.strip_prefix(MAGIC)?.split_once('\n')?;
    (sealed(body.to_owned()) == text && version != VERSION).then_some(version)
}

fn parse(bytes: &[u8]) -> Option<Identity> {
    let text = std::str::from_utf8(bytes).ok()?;
    let rest = text.strip_prefix(MAGIC)?.strip_prefix(VERSION)?.strip_prefix("\ncluster ")?;
    let (cluster, rest) = rest.split_once("\nnode ")?;
    let (node, rest) = rest.split_once("\ngroups ")?;
    let (groups, rest) = rest.split_once("\nlife ")?;
    let life = match rest.split_once('\n')? {
        (UNBORN, _) => None,
        (life, _) => Some(Life(life.parse().ok()?)),
    };
    let (cluster, node) = (ClusterId(cluster.parse().ok()?), NodeId(node.parse().ok()?));
    let identity = Identity { cluster, node, groups: groups.parse().ok()?, life };
    (identity.text() == text).then_some(identity)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::vfs::StdVfs;

    #[test]
    fn the_file_round_trips_and_any_changed_byte_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Identity::read(&StdVfs, dir.path()).unwrap(), None);
        let identity = Identity::first(64);
        identity.write(&StdVfs, dir.path()).unwrap();
        let identity = Identity { life: Some(Life::begin()), ..identity };
        identity.write(&StdVfs, dir.path()).unwrap();
        assert_eq!(Identity::read(&StdVfs, dir.path()).unwrap(), Some(identity));

        let path = dir.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            std::fs::write(&path, changed).unwrap();
            assert!(Identity::read(&StdVfs, dir.path()).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_directory_of_another_format_is_refused_by_its_number() {
        let dir = tempfile::tempdir().unwrap();
        let old = "lethe-node 2\ncluster 00000000-0000-0000-0000-000000000001\n\
                   node 00000000-0000-0000-0000-000000000002\ngroups 64\nstate ready\n";
        std::fs::write(dir.path().join(FILE), sealed(old.to_owned())).unwrap();
        let refused = Identity::read(&StdVfs, dir.path()).unwrap_err().to_string();
        assert!(refused.ends_with("node has format 2, this node reads 3"), "{refused}");
    }

    #[test]
    fn a_directory_that_belongs_to_a_node_is_not_given_to_another() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (Identity::first(1), Identity::first(1));
        first.found(&StdVfs, &dir.path().join("data")).unwrap();
        let refused = second.found(&StdVfs, &dir.path().join("data")).unwrap_err().to_string();
        assert!(refused.contains(&first.node.to_string()), "{refused}");
        assert_eq!(Identity::read(&StdVfs, &dir.path().join("data")).unwrap(), Some(first));
    }
}
