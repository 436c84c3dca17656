//! Reads of a group that wait for their read index. Its heartbeats are what they wait for, and are sent at once while
//! there are any.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::Links;
use super::beats::Beats;

/// A bound on the reads of one group that wait.
pub(in crate::shard) struct Reads {
    places: Semaphore,
    max: usize,
    beats: Arc<Beats>,
}

impl Reads {
    pub fn new(max: usize, links: &Links) -> Arc<Self> {
        Arc::new(Self { places: Semaphore::new(max), max, beats: links.beats.clone() })
    }

    /// Takes a place until the read has its index; none if all are taken.
    pub fn begin(&self) -> Option<SemaphorePermit<'_>> {
        let place = self.places.try_acquire().ok()?;
        // The group's last heartbeat may still be waiting for company, and the next one follows only its answer.
        self.beats.hurry();
        Some(place)
    }

    /// Whether reads wait.
    pub(super) fn any(&self) -> bool {
        self.places.available_permits() < self.max
    }
}
