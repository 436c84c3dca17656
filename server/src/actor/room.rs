//! Room for live actors: how many may be awake, and which fall asleep early when one more is to wake up.
//!
//! ```text
//! one more is to start ── as many as may be awake, or too much memory in use? ── no: it starts
//!                                  │ yes
//!                          the ones idle for longest fall asleep ── none is idle: it is refused
//! ```
//!
//! The count is bounded by the configuration and by the memory mappings that Linux allows a process: V8 takes several for
//! each isolate, and ends the process when it gets no more. Memory is that of the whole process as the kernel sees it, so
//! requests, caches and what the allocator keeps count too; a few actors may be awake however much is in use.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use lethe_proto::ActorId;
use lethe_runtime::host::CallError;

use super::{
    actors::{Config, Slot, Slots},
    error,
    live::Live,
};

/// Mappings of one live actor: 9.5 were counted for small ones.
const MAPPINGS_EACH: u64 = 12;
/// Mappings that are left to everything else: threads, files, Workers' isolates.
const MAPPINGS_OTHERS: u64 = 16 << 10;
/// What a start that is under way is taken to need, in bytes: 1.6 MB were measured for small actors.
const START_BYTES: u64 = 2 << 20;
/// One in so many live actors is put to sleep at once, so that looking for the idlest is rare.
const BATCH_SHARE: usize = 64;
/// What the kernel counts memory in, on the machines we build for.
const PAGE_BYTES: u64 = 4096;
/// When none was idle nobody looks again for so long: every call that is refused would look at all actors.
const FRUITLESS: Duration = Duration::from_millis(10);

/// How much room there is.
#[derive(Clone, Debug)]
pub(super) struct Room {
    /// Most actors that are awake.
    pub live_max: usize,
    /// Of which so many are without regard to memory.
    live_min: usize,
    /// Resident memory of the process from which on nothing more wakes up unless something falls asleep.
    memory_bytes_max: u64,
}

/// What is known of room that was made.
#[derive(Default)]
pub(super) struct Made {
    /// Starts that memory was made for already.
    starts: usize,
    /// When nobody was found to be idle.
    fruitless: Option<Instant>,
}

impl Room {
    /// The room that configuration and machine give.
    pub fn new(config: &Config) -> Self {
        let live_max = live_max(config.live_max, read_number("/proc/sys/vm/max_map_count"));
        if live_max < config.live_max {
            // Usual: what is configured is for kernels that allow more than Linux does by itself.
            tracing::info!(
                live_max,
                configured = config.live_max,
                "vm.max_map_count of this machine allows fewer live actors than configured"
            );
        }
        let share = |bytes: u64| bytes / 100 * config.memory_percent_max;
        let memory_bytes_max = machine_bytes().map_or(u64::MAX, share);
        Self { live_max, live_min: config.live_min, memory_bytes_max }
    }

    /// Whether more memory is in use than actors may wake up in.
    pub fn is_short(&self, starting: usize) -> bool {
        resident_bytes().is_some_and(|bytes| bytes + starting as u64 * START_BYTES >= self.memory_bytes_max)
    }

    /// Makes room for one more actor if there is none, and gives what fell asleep for it. Refuses if all are busy. `short`
    /// is what `is_short` said.
    pub fn make(&self, slots: &mut Slots, short: bool) -> Result<Vec<Slot>, CallError> {
        let (live, crowded) = (slots.by_id.len(), slots.by_id.len() >= self.live_max);
        let short = short && live >= self.live_min;
        if !crowded && !short {
            slots.made.starts = 0;
            return Ok(Vec::new());
        }
        if !crowded && slots.made.starts > 0 {
            slots.made.starts -= 1;
            return Ok(Vec::new());
        }
        let lately = slots.made.fruitless.is_some_and(|looked| looked.elapsed() < FRUITLESS);
        let asleep = if lately { Vec::new() } else { put_to_sleep(slots, (live / BATCH_SHARE).max(1)) };
        if !asleep.is_empty() {
            slots.made = Made { starts: asleep.len() - 1, fruitless: None };
            return Ok(asleep);
        }
        if !lately {
            slots.made.fruitless = Some(Instant::now());
        }
        let why = match crowded {
            true => format!("{live} actors are live on this node, which is its limit"),
            false => {
                format!("{} MB of memory are in use on this node, which is its limit", self.memory_bytes_max >> 20)
            }
        };
        Err(error::overloaded(format!("{why}, and none of them is idle")))
    }
}

/// Closes idle actors, those first that are idle for longest, and takes them out of the map.
fn put_to_sleep(slots: &mut Slots, most: usize) -> Vec<Slot> {
    let quiet = |(id, slot): (&ActorId, &Slot)| {
        let live: Arc<Live> = slot.start.peek()?.as_ref().ok()?.clone();
        Some((live.quiet_since()?, *id, live))
    };
    let mut idle: Vec<_> = slots.by_id.iter().filter_map(quiet).collect();
    if idle.len() > most {
        idle.select_nth_unstable_by_key(most, |(since, ..)| *since);
        idle.truncate(most);
    }
    let closed = idle.into_iter().filter(|(.., live)| live.close_if_idle(Duration::ZERO));
    closed.filter_map(|(_, id, _)| slots.by_id.remove(&id)).collect()
}

/// How many actors may be awake, of those that are configured, given how many mappings a process may have.
fn live_max(configured: usize, mappings: Option<u64>) -> usize {
    let fit = |mappings: u64| mappings.saturating_sub(MAPPINGS_OTHERS).max(mappings / 2) / MAPPINGS_EACH;
    mappings.map_or(configured, |mappings| configured.min(usize::try_from(fit(mappings)).unwrap_or(usize::MAX)).max(1))
}

/// Memory of the machine, or what the control group of this process may use if that is less.
fn machine_bytes() -> Option<u64> {
    let memory = fs::read_to_string("/proc/meminfo").ok()?;
    let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let total = total.split_whitespace().next()?.parse::<u64>().ok()? << 10;
    Some(read_number("/sys/fs/cgroup/memory.max").map_or(total, |allowed| allowed.min(total)))
}

/// Resident memory of this process.
fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = status.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * PAGE_BYTES)
}

fn read_number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_actors_are_awake_than_the_kernel_has_mappings_for() {
        assert_eq!(live_max(20_000, Some(65_530)), 4_095);
        assert_eq!(live_max(100, Some(65_530)), 100);
        assert_eq!(live_max(20_000, Some(1 << 20)), 20_000);
        assert_eq!(live_max(20_000, None), 20_000);
        // Too few for anything else, too: half of them is for actors, and one may always be awake.
        assert_eq!((live_max(20_000, Some(1200)), live_max(20_000, Some(3))), (50, 1));
    }

    #[test]
    fn the_machine_s_memory_and_our_share_of_it_are_known() {
        let (all, ours) = (machine_bytes().unwrap(), resident_bytes().unwrap());
        assert!(ours > 1 << 20 && ours < all, "{ours} of {all}");
    }
}
