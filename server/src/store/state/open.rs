//! `Store`: opens the state of groups and finds each group's tree.
//!
//! After anything but a clean stop every group is read in full and compared with its digest; one that does not fit starts
//! empty, and its owner rebuilds it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::group::{Group, stored_mark};
use super::live::{Found, Live};
use super::load::TreeName;
use super::registry;
use super::tree::{Config, Engine, Tree};
use super::verify::verify;
use super::{Error, Mark};

/// The applied state of all groups of a node.
pub struct Store {
    engine: Arc<Engine>,
    /// Read every group in full before it is used.
    check: bool,
    groups: Mutex<BTreeMap<u32, Arc<Group>>>,
}

impl Store {
    /// Uses `dir`, which need not exist. `clean` says that the last stop was a `close` that returned.
    pub fn open(dir: &Path, clean: bool, config: Config) -> Self {
        Self { engine: Arc::new(Engine::new(dir, &config)), check: !clean, groups: Mutex::default() }
    }

    /// Opens the state of one incarnation of a group. What cannot be trusted is dropped, and so is the state of any other
    /// incarnation: its removal may not have reached the disk. The group is then empty. No handle of another incarnation
    /// may be in use; opened twice, it is the same handle. Blocks.
    pub fn group(&self, id: u32, incarnation: u64) -> Result<Arc<Group>, Error> {
        let open = self.groups.lock().get(&id).filter(|group| group.incarnation == incarnation).cloned();
        if let Some(group) = open {
            return Ok(group);
        }
        let (live, mark) = self.find(id, incarnation)?;
        let registry =
            registry::stored(live.get(&registry::mark_key())).map_err(|what| Error::State { group: id, what })?;
        let group = Arc::new(Group::new(id, incarnation, self.engine.clone(), live, mark, registry.revision));
        self.groups.lock().insert(id, group.clone());
        Ok(group)
    }

    /// Empties a group and opens it. No handle of it may be in use. Blocks.
    pub fn reset(&self, id: u32, incarnation: u64) -> Result<Arc<Group>, Error> {
        self.wipe(id)?;
        self.group(id, incarnation)
    }

    /// Removes all that is kept of a group. No handle of it may be in use. Blocks.
    pub fn wipe(&self, id: u32) -> Result<(), Error> {
        self.groups.lock().remove(&id);
        self.trees_of(id)?.iter().try_for_each(|(name, _)| self.engine.remove(name))
    }

    /// Bytes on disk.
    pub fn disk_bytes(&self) -> u64 {
        self.groups.lock().values().map(|group| group.disk_bytes()).sum()
    }

    /// Writes everything out and lets the groups go. Blocks. Nothing may be committed afterwards.
    pub fn close(&self) -> Result<(), Error> {
        let groups = std::mem::take(&mut *self.groups.lock());
        groups.values().try_for_each(|group| group.flush())
    }

    /// The tree of a group that counts, and its mark; a new one if there is none. The others are removed.
    fn find(&self, id: u32, incarnation: u64) -> Result<(Live, Mark), Error> {
        let mut found: Option<(Live, Mark)> = None;
        let mut old = Vec::new();
        for (name, TreeName { generation, incarnation: of, .. }) in self.trees_of(id)? {
            let newer = found.as_ref().is_none_or(|(live, _)| live.generation < generation);
            let trusted = match of == incarnation && newer {
                true => self.trusted(id, self.engine.open(&name)?),
                false => None,
            };
            match trusted {
                Some((tree, mark)) => {
                    let before = found.replace((Live::new(tree, generation), mark));
                    let name =
                        |(live, _): (Live, Mark)| TreeName { group: id, generation: live.generation, incarnation };
                    old.extend(before.map(|before| name(before).to_string()));
                }
                None => old.push(name),
            }
        }
        old.iter().try_for_each(|name| self.engine.remove(name))?;
        match found {
            Some(found) => Ok(found),
            None => {
                let name = TreeName { group: id, generation: 0, incarnation };
                Ok((Live::new(self.engine.open(&name.to_string())?, 0), Mark::default()))
            }
        }
    }

    /// A tree with its mark, if it has one and what it holds can be trusted.
    fn trusted(&self, group: u32, tree: Tree) -> Option<(Tree, Mark)> {
        let mark = stored_mark(&tree)?;
        let fits = match self.check {
            true => verify(&tree, &mark),
            false => Ok(()),
        };
        match fits.and_then(|()| registry::stored(Found::read(&tree, &registry::mark_key()))) {
            Ok(_) => Some((tree, mark)),
            Err(reason) => {
                tracing::warn!(group, %reason, "state does not fit its digest; it is dropped and rebuilt");
                None
            }
        }
    }

    /// The trees of a group, of all its incarnations.
    fn trees_of(&self, id: u32) -> Result<Vec<(String, TreeName)>, Error> {
        let names = self.engine.names()?.into_iter();
        let named = names.filter_map(|name| TreeName::parse(&name).map(|tree| (name, tree)));
        Ok(named.filter(|(_, tree)| tree.group == id).collect())
    }
}
