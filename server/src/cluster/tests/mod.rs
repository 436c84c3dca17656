//! The cluster as its users see it, and its decisions as pure functions.

mod alone;
mod fleet;
mod life;
mod lost_disk;
mod model;
mod plan;
mod steps;
pub(super) mod world;

/// There are no data keys.
impl super::KeyState for () {
    fn epoch(&self) -> u32 {
        0
    }

    fn missing(&self, _: u32) -> usize {
        0
    }
}
