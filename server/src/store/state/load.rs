//! `Loader`: replaces a group as a whole.
//!
//! The new content goes into a fresh tree, is checked in full, and only then takes the old tree's place in memory; the
//! mark is written last. Whatever is left of an unfinished load has no mark and is dropped when the store opens.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::group::{Group, stored_form};
use super::key::Key;
use super::live::{Found, Live};
use super::registry;
use super::scan::Slice;
use super::tree::Tree;
use super::verify::verify;
use super::{Error, Mark};

/// What is pushed is written out when it has this many bytes.
const LOADED_BYTES_MAX: u64 = 16 << 20;

/// A replacement under construction.
pub struct Loader {
    group: Arc<Group>,
    tree: Tree,
    generation: u32,
}

impl Loader {
    /// Begins with nothing.
    pub fn begin(group: &Arc<Group>) -> Result<Self, Error> {
        let generation = group.live.read().generation + 1;
        let name = TreeName { group: group.id, generation, incarnation: group.incarnation }.to_string();
        group.engine.remove(&name)?;
        Ok(Self { group: group.clone(), tree: group.engine.open(&name)?, generation })
    }

    /// Adds keys and framed values.
    pub fn push(&self, slice: Slice) -> Result<(), Error> {
        if slice.iter().any(|(key, _)| !Key::in_snapshot(key) || Key::decode(key).is_none()) {
            return Err(self.group.damaged("a snapshot holds a key that does not belong there"));
        }
        self.tree.apply(slice.into_iter().map(|(key, framed)| (key, Some(framed.into()))));
        match self.tree.unsealed_bytes() < LOADED_BYTES_MAX {
            true => Ok(()),
            false => self.write_out(),
        }
    }

    /// Checks the whole and lets it take the group's place.
    pub fn finish(self, mark: Mark) -> Result<(), Error> {
        verify(&self.tree, &mark).map_err(|what| self.group.damaged(what))?;
        let registry = registry::stored(Found::read(&self.tree, &registry::mark_key()))
            .map_err(|what| self.group.damaged(what))?;
        self.tree.apply([stored_form(&mark)]);
        self.write_out()?;
        // The old tree goes when it is neither read nor written out.
        let mut sealed = self.group.flushing.lock();
        let old = {
            let mut live = self.group.live.write();
            *sealed = mark.index();
            self.group.unwritten.store(0, Ordering::Relaxed);
            self.group.set_mark(mark);
            self.group.registry.send_replace(registry.revision);
            std::mem::replace(&mut *live, Live::new(self.tree, self.generation))
        };
        let Group { id: group, incarnation, .. } = *self.group;
        self.group.engine.remove(&TreeName { group, generation: old.generation, incarnation }.to_string())
    }

    fn write_out(&self) -> Result<(), Error> {
        self.tree.seal();
        self.tree.flush()
    }
}

/// What a tree is: trees are named by group, generation and incarnation, so a load never touches the tree in use, and the
/// state of a replica that was removed is never taken for that of the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TreeName {
    pub group: u32,
    /// How often the group was replaced as a whole.
    pub generation: u32,
    pub incarnation: u64,
}

impl fmt::Display for TreeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "group-{:08x}-{:08x}-{:016x}", self.group, self.generation, self.incarnation)
    }
}

impl TreeName {
    /// Reads a tree's name; none for trees that are not ours.
    pub fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix("group-")?.split('-');
        let mut number = |digits: usize| {
            let text = parts.next().filter(|text| text.len() == digits)?;
            u64::from_str_radix(text, 16).ok()
        };
        let (group, generation, incarnation) = (number(8)?, number(8)?, number(16)?);
        let tree = Self { group: group.try_into().ok()?, generation: generation.try_into().ok()?, incarnation };
        (tree.to_string() == name).then_some(tree)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tree_names_round_trip() {
        let tree = TreeName { group: 7, generation: 0xabcdef01, incarnation: u64::MAX - 1 };
        assert_eq!(TreeName::parse(&tree.to_string()), Some(tree));
    }

    #[test]
    fn other_trees_are_not_ours() {
        let whole = TreeName { group: 7, generation: 1, incarnation: 2 }.to_string();
        let longer = format!("{whole}-00000001");
        let others = ["tables", "group-", "group-00000001", "group-00000001-00000001", "group-1-2-3", &longer];
        for name in others.into_iter().chain([&whole[..whole.len() - 1], &whole.replace('7', "+")]) {
            assert_eq!(TreeName::parse(name), None, "{name}");
        }
    }
}
