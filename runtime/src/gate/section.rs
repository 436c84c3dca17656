//! `Section`, the name of a critical section, and `Lock`, the right to keep others out of one.

use std::sync::Arc;

/// Names a critical section of one gate; cheap to clone. A completion carries the section it began in.
///
/// A section that has ended stands for the innermost one around it that still runs: stragglers it began are adopted.
#[derive(Clone, Debug)]
pub(crate) struct Section(Arc<Link>);

#[derive(Debug)]
struct Link {
    id: u64,
    depth: u32,
    // At most `SECTION_DEPTH_MAX` links, so dropping the last clone cannot overflow the stack.
    outer: Option<Section>,
}

impl Section {
    pub(super) fn outermost() -> Self {
        Self(Arc::new(Link { id: 0, depth: 0, outer: None }))
    }

    pub(super) fn inside(outer: &Section, id: u64) -> Self {
        Self(Arc::new(Link { id, depth: outer.depth() + 1, outer: Some(outer.clone()) }))
    }

    /// How many sections are around this one; 0 for code outside of every section.
    pub(crate) fn depth(&self) -> u32 {
        self.0.depth
    }

    /// Unique in its gate; 0 is the outermost section.
    pub(crate) fn id(&self) -> u64 {
        self.0.id
    }

    pub(super) fn outer(&self) -> Option<&Section> {
        self.0.outer.as_ref()
    }
}

impl PartialEq for Section {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// The right to run inside a section while everybody else waits. Give it back with
/// [`InputGate::release`](super::InputGate::release); a lock that is only dropped keeps the gate shut for good.
#[must_use = "a lock that is not released keeps the gate shut"]
#[derive(Debug, PartialEq)]
pub(crate) struct Lock {
    pub(super) section: Section,
}

impl Lock {
    /// The section it was given out in: what a turn that runs under this lock begins belongs to it.
    pub(crate) fn section(&self) -> &Section {
        &self.section
    }
}

/// More than [`SECTION_DEPTH_MAX`](super::SECTION_DEPTH_MAX) sections inside one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("blockConcurrencyWhile() or transaction() calls are nested too deeply (limit {})", super::SECTION_DEPTH_MAX)]
pub(crate) struct TooDeep;
