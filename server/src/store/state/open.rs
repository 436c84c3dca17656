//! `Store`: opens the databases and finds each group's tree.
//!
//! A few groups share a database, so that one that is damaged takes only its own groups with it. After anything but a
//! clean stop every group is read in full and compared with its digest; one that does not fit starts empty, and its
//! owner rebuilds it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::engine::{Config, Engine};
use super::group::{Group, Live, stored_mark};
use super::load::TreeName;
use super::registry;
use super::verify::verify;
use super::{Error, Mark};

/// How many groups share a database.
const GROUPS_PER_ENGINE: u32 = 8;

/// The applied state of all groups of a node.
pub struct Store {
    dir: PathBuf,
    config: Config,
    /// Read every group in full before it is used.
    check: bool,
    engines: Mutex<BTreeMap<u32, Arc<Engine>>>,
}

impl Store {
    /// Uses `dir`, which need not exist. `clean` says that the last stop was a `close` that returned.
    pub fn open(dir: &Path, clean: bool, config: Config) -> Self {
        Self { dir: dir.to_owned(), config, check: !clean, engines: Mutex::default() }
    }

    /// Opens the state of one incarnation of a group. What cannot be trusted is dropped, and so is the state of any other
    /// incarnation: its removal may not have reached the disk. The group is then empty. Blocks.
    pub fn group(&self, id: u32, incarnation: u64) -> Result<Arc<Group>, Error> {
        let engine = self.engine(id / GROUPS_PER_ENGINE)?;
        let mut found: Option<(Live, Mark)> = None;
        for (name, TreeName { generation, incarnation: of, .. }) in trees_of(&engine, id) {
            if of != incarnation {
                engine.drop_tree(&name)?;
                continue;
            }
            let tree = engine.tree(&name)?;
            let newer = found.as_ref().is_none_or(|(live, _)| live.generation < generation);
            match stored_mark(&tree) {
                Some(mark) if newer && self.trusted(&engine, &tree, &mark, id) => {
                    if let Some((old, _)) = found.replace((Live { tree, generation }, mark)) {
                        engine
                            .drop_tree(&TreeName { group: id, generation: old.generation, incarnation }.to_string())?;
                    }
                }
                Some(_) | None => {
                    drop(tree);
                    engine.drop_tree(&name)?;
                }
            }
        }
        let (live, mark) = match found {
            Some(found) => found,
            None => {
                let name = TreeName { group: id, generation: 0, incarnation };
                (Live { tree: engine.tree(&name.to_string())?, generation: 0 }, Mark::default())
            }
        };
        let registry = registry::stored(&live.tree).map_err(|what| Error::State { group: id, what })?;
        Ok(Arc::new(Group::new(id, incarnation, engine, live, mark, registry.revision)))
    }

    /// Empties a group and opens it. No handle of it may be in use. Blocks.
    pub fn reset(&self, id: u32, incarnation: u64) -> Result<Arc<Group>, Error> {
        self.wipe(id)?;
        self.group(id, incarnation)
    }

    /// Removes all that is kept of a group. No handle of it may be in use. Blocks.
    pub fn wipe(&self, id: u32) -> Result<(), Error> {
        let engine = self.engine(id / GROUPS_PER_ENGINE)?;
        trees_of(&engine, id).iter().try_for_each(|(name, _)| engine.drop_tree(name))
    }

    /// Bytes on disk.
    pub fn disk_bytes(&self) -> Result<u64, Error> {
        self.engines.lock().values().map(|engine| engine.disk_bytes()).sum()
    }

    /// Writes everything out, syncs it and lets the databases go. Blocks. Nothing may be committed afterwards.
    pub fn close(&self) -> Result<(), Error> {
        let engines = std::mem::take(&mut *self.engines.lock());
        engines.values().try_for_each(|engine| engine.sync())
    }

    fn engine(&self, number: u32) -> Result<Arc<Engine>, Error> {
        let mut engines = self.engines.lock();
        if let Some(engine) = engines.get(&number) {
            return Ok(engine.clone());
        }
        let engine = Arc::new(Engine::open(&self.dir.join(format!("{number:04}")), &self.config)?);
        engines.insert(number, engine.clone());
        Ok(engine)
    }

    fn trusted(&self, engine: &Engine, tree: &sled::Tree, mark: &Mark, group: u32) -> bool {
        let fits = match self.check {
            true => verify(engine, tree, mark),
            false => Ok(()),
        };
        match fits.and_then(|()| registry::stored(tree)) {
            Ok(_) => true,
            Err(reason) => {
                tracing::warn!(group, %reason, "state does not fit its digest; it is dropped and rebuilt");
                false
            }
        }
    }
}

/// The trees of a group, of all its incarnations.
fn trees_of(engine: &Engine, id: u32) -> Vec<(String, TreeName)> {
    let named = engine.trees().into_iter().filter_map(|name| TreeName::parse(&name).map(|tree| (name, tree)));
    named.filter(|(_, tree)| tree.group == id).collect()
}
