//! Whether this node gives its groups away because its log cannot grow, and for how long.
//!
//! A full disk is not made empty by anything the node does, so it resigns at once. A log that is as large as it may be gets room
//! as soon as something is purged, which is usual when much is written: that is waited for. In both cases the node takes
//! groups back only when there has been room for a while, since each move makes a group's actors start anew.

use std::time::{Duration, Instant};

use crate::store::wal::Full;

/// A log that has had no room for so long counts as full.
const FULL_MAX: Duration = Duration::from_secs(5);
/// A log that has had room for so long does not.
const ROOM_MIN: Duration = Duration::from_secs(5);

/// What is known of the log's room.
#[derive(Default)]
pub(super) struct Fullness {
    resigned: bool,
    /// Since when there is none.
    full: Option<Instant>,
    /// Since when there is some.
    room: Option<Instant>,
}

impl Fullness {
    /// Whether to lead nothing, given why the log cannot grow now.
    pub fn look(&mut self, now: Instant, full: Option<&Full>) -> bool {
        let since = |since: &mut Option<Instant>| now.saturating_duration_since(*since.get_or_insert(now));
        match full {
            Some(why) => {
                self.room = None;
                let passed = since(&mut self.full);
                self.resigned |= matches!(why, Full::Disk(_)) || passed >= FULL_MAX;
            }
            None => {
                self.full = None;
                self.resigned &= since(&mut self.room) < ROOM_MIN;
            }
        }
        self.resigned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What it says at these moments, in milliseconds.
    fn said(looks: &[(u64, Option<&Full>)]) -> Vec<bool> {
        let (start, mut fullness) = (Instant::now(), Fullness::default());
        looks.iter().map(|(at, full)| fullness.look(start + Duration::from_millis(*at), *full)).collect()
    }

    #[test]
    fn a_node_whose_disk_is_full_resigns_at_once_and_until_there_has_been_room_for_a_while() {
        let disk = Full::Disk("no space left on device".to_owned());
        let looks = [(0, None), (1, Some(&disk)), (2, None), (5_001, None), (5_002, None)];
        assert_eq!(said(&looks), [false, true, true, true, false]);
        let again = [(0, Some(&disk)), (1, None), (5_000, Some(&disk)), (5_001, None), (10_000, None), (10_001, None)];
        assert_eq!(said(&again), [true, true, true, true, true, false]);
    }

    #[test]
    fn a_log_that_is_as_large_as_it_may_be_for_a_moment_makes_nobody_resign() {
        let log = Full::Log(1 << 30);
        let looks = [(0, Some(&log)), (4_999, Some(&log)), (5_000, None), (5_001, Some(&log)), (10_000, Some(&log))];
        assert_eq!(said(&looks), [false; 5]);
        assert_eq!(
            said(&[(0, Some(&log)), (5_000, Some(&log)), (5_001, None), (10_001, None)]),
            [false, true, true, false]
        );
    }
}
