//! The identity of a data directory: who the node is, how many groups it has, and whether they were ever started.
//!
//! ```text
//! lethe-node 1
//! node 0191e1c2-...
//! groups 64
//! state ready
//! crc 1a2b3c4d
//! ```
//!
//! A new directory starts its groups itself, once: the file says `new` until every group's log holds its first entry.
//! From then on a group without a log is a lost log, and the node refuses to start instead of voting with amnesia.

use std::io;
use std::path::Path;

use uuid::Uuid;

use super::Error;
use crate::store::vfs::Vfs;

const FILE: &str = "node";
const BYTES_MAX: u64 = 4096;

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub node: Uuid,
    pub groups: u32,
    /// All groups were started.
    pub ready: bool,
}

impl Identity {
    /// Reads the file; none if there is none.
    pub fn read(vfs: &dyn Vfs, dir: &Path) -> Result<Option<Self>, Error> {
        let path = dir.join(FILE);
        let io = |source| Error::Io { action: "read", path: path.clone(), source };
        if !vfs.exists(&path).map_err(io)? {
            return Ok(None);
        }
        let bytes = vfs.open(&path).and_then(|file| file.read_whole(BYTES_MAX)).map_err(io)?;
        match parse(&bytes) {
            Some(identity) => Ok(Some(identity)),
            None => Err(Error::Refused(format!(
                "{} is damaged; without it nobody knows which node this is",
                path.display()
            ))),
        }
    }

    /// Replaces the file, durably.
    pub fn write(&self, vfs: &dyn Vfs, dir: &Path) -> Result<(), Error> {
        let (path, temp) = (dir.join(FILE), dir.join(format!("{FILE}.tmp")));
        replace(vfs, dir, &temp, &path, self.text().as_bytes()).map_err(|source| Error::Io {
            action: "write",
            path,
            source,
        })
    }

    fn text(&self) -> String {
        let state = if self.ready { "ready" } else { "new" };
        let body = format!("lethe-node 1\nnode {}\ngroups {}\nstate {state}\n", self.node, self.groups);
        format!("{body}crc {:08x}\n", crc32fast::hash(body.as_bytes()))
    }
}

/// Writes a small file under another name, syncs it, renames it and syncs the directory.
pub(super) fn replace(vfs: &dyn Vfs, dir: &Path, temp: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    if vfs.exists(temp)? {
        vfs.remove(temp)?;
    }
    let file = vfs.create(temp)?;
    file.write_all_at(bytes, 0)?;
    file.sync_all()?;
    vfs.rename(temp, path)?;
    vfs.sync_dir(dir)
}

fn parse(bytes: &[u8]) -> Option<Identity> {
    let text = std::str::from_utf8(bytes).ok()?;
    let rest = text.strip_prefix("lethe-node 1\nnode ")?;
    let (node, rest) = rest.split_once("\ngroups ")?;
    let (groups, rest) = rest.split_once("\nstate ")?;
    let (state, _) = rest.split_once('\n')?;
    let ready = match state {
        "ready" => true,
        "new" => false,
        _ => return None,
    };
    let identity = Identity { node: node.parse().ok()?, groups: groups.parse().ok()?, ready };
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
        let identity = Identity { node: Uuid::from_u128(7), groups: 64, ready: false };
        identity.write(&StdVfs, dir.path()).unwrap();
        let identity = Identity { ready: true, ..identity };
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
}
