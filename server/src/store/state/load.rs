//! `Loader`: replaces a group as a whole.
//!
//! The new content goes into a fresh tree, is checked in full, and only then takes the old tree's place in memory; the
//! mark is written last. Whatever is left of an unfinished load has no mark and is dropped when the store opens.

use std::sync::Arc;

use super::digest::frame;
use super::group::{Group, Live};
use super::key::Key;
use super::life::versioned;
use super::registry;
use super::scan::Slice;
use super::verify::verify;
use super::{Error, Mark};

/// A replacement under construction.
pub struct Loader {
    group: Arc<Group>,
    tree: sled::Tree,
    generation: u32,
}

impl Loader {
    /// Begins with nothing.
    pub fn begin(group: &Arc<Group>) -> Result<Self, Error> {
        let generation = group.live.read().generation + 1;
        let name = tree_name(group.id, generation);
        group.engine.drop_tree(&name)?;
        Ok(Self { group: group.clone(), tree: group.engine.tree(&name)?, generation })
    }

    /// Adds keys and framed values.
    pub fn push(&self, slice: Slice) -> Result<(), Error> {
        let mut batch = sled::Batch::default();
        for (key, framed) in slice {
            if !Key::in_snapshot(&key) || Key::decode(&key).is_none() {
                return Err(self.group.damaged("a snapshot holds a key that does not belong there"));
            }
            batch.insert(key, framed);
        }
        self.tree.apply_batch(batch).map_err(|e| self.group.engine.error(e))
    }

    /// Checks the whole and lets it take the group's place.
    pub fn finish(self, mark: Mark) -> Result<(), Error> {
        verify(&self.group.engine, &self.tree, &mark).map_err(|what| self.group.damaged(what))?;
        let registry = registry::stored(&self.tree).map_err(|what| self.group.damaged(what))?;
        let key = Key::Applied.encode();
        let stored = frame(&key, &versioned(&mark));
        self.tree.insert(key, stored).map_err(|e| self.group.engine.error(e))?;
        let old = {
            let mut live = self.group.live.write();
            *self.group.shadow.lock() = None;
            self.group.set_mark(mark);
            self.group.registry.send_replace(registry.revision);
            std::mem::replace(&mut *live, Live { tree: self.tree, generation: self.generation })
        };
        self.group.shadow_room.notify_all();
        self.group.engine.drop_tree(&tree_name(self.group.id, old.generation))
    }
}

/// Trees are named by group and generation, so a load never touches the tree in use.
pub(super) fn tree_name(group: u32, generation: u32) -> String {
    format!("group-{group:08x}-{generation:08x}")
}

/// The group and generation in a tree's name; none for trees that are not ours.
pub(super) fn parse_tree_name(name: &str) -> Option<(u32, u32)> {
    let (group, generation) = name.strip_prefix("group-")?.split_once('-')?;
    let number = |text: &str| (text.len() == 8).then(|| u32::from_str_radix(text, 16).ok()).flatten();
    Some((number(group)?, number(generation)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tree_names_round_trip() {
        assert_eq!(parse_tree_name(&tree_name(7, 0xabcdef01)), Some((7, 0xabcdef01)));
    }

    #[test]
    fn other_trees_are_not_ours() {
        for name in ["__sled__default", "group-", "group-00000001", "group-1-2", "group-0000000x-00000001"] {
            assert_eq!(parse_tree_name(name), None, "{name}");
        }
    }
}
