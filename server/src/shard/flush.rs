//! Writes out the state of groups that changed much since it was last written.
//!
//! Applying an entry changes state in memory only. What was not written out is applied again from the log after a crash,
//! so this bounds both memory and the time that a restart takes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::care::blocking;
use super::replica::Replica;
use super::shards::Hosted;

/// How often it is looked which groups changed much.
const POLL: Duration = Duration::from_millis(100);
/// Pause after one could not be written out.
const REST: Duration = Duration::from_secs(2);

/// Runs until it is told to stop.
pub(super) async fn run(hosted: Arc<Hosted>, mut stop: watch::Receiver<bool>) {
    let memtable_bytes = hosted.config().state.memtable_bytes;
    let mut clock = tokio::time::interval(POLL);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = clock.tick() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let changed = |replica: &Arc<Replica>| replica.group.unwritten_bytes() >= memtable_bytes;
        for replica in hosted.replicas().into_iter().filter(changed) {
            let flushing = replica.clone();
            tokio::select! {
                done = blocking(move || flush(&flushing)) => {
                    if let Err(error) = done {
                        tracing::warn!(group = replica.id, %error, "state is not written out; it is tried again");
                        clock.reset_after(REST);
                        break;
                    }
                }
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }
}

fn flush(replica: &Replica) -> Result<(), String> {
    let _open = replica.machine.hold_open().map_err(|error| error.to_string())?;
    replica.group.flush().map_err(|error| error.to_string())
}
