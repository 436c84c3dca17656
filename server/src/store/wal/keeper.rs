//! The keeper thread: makes segments ahead of their use and deletes those nothing lives in, so that the writer never
//! waits for either.
//!
//! Segments are deleted oldest first, each removal durable before the next, so a power cut never leaves a gap between
//! segments. They are made in order too, so what a power cut leaves half made is always the last.

use std::sync::Arc;

use parking_lot::MutexGuard;

use super::{
    Error,
    segment::{self, Segment},
    shared::{Full, Shared, State},
};

enum Job {
    Delete(Arc<Segment>),
    Make(u64),
    Wait,
    Stop,
}

/// Runs until the log ends.
pub fn run(shared: &Shared) {
    let mut state = shared.state.lock();
    loop {
        let outcome = match next(shared, &mut state) {
            Job::Stop => return,
            Job::Wait => {
                state.keeper_rests = true;
                shared.idle.notify_all();
                shared.upkeep.wait(&mut state);
                Ok(())
            }
            Job::Delete(segment) => MutexGuard::unlocked(&mut state, || delete(shared, &segment)),
            Job::Make(number) => make(shared, &mut state, number),
        };
        if let Err(error) = outcome {
            MutexGuard::unlocked(&mut state, || shared.fail(error, Vec::new()));
        }
    }
}

fn next(shared: &Shared, state: &mut State) -> Job {
    state.keeper_rests = false;
    if state.failed.is_some() || state.written_out {
        return Job::Stop;
    }
    if let Some(oldest) = state.deletable() {
        return Job::Delete(oldest);
    }
    if !state.needs_spare(&shared.config) {
        state.starved = false;
        state.full = None;
        return Job::Wait;
    }
    let bytes = (state.segments.len() as u64 + 1) * shared.config.segment_bytes;
    if bytes > shared.config.total_bytes_max {
        state.full = Some(Full::Log(shared.config.total_bytes_max));
        shared.room.notify_all();
        return Job::Wait;
    }
    Job::Make(state.segments.keys().next_back().map_or(1, |last| last + 1))
}

fn delete(shared: &Shared, segment: &Segment) -> Result<(), Error> {
    shared.vfs.remove(&segment.path).map_err(Error::io("remove", &segment.path))?;
    shared.vfs.sync_dir(&shared.dir).map_err(Error::io("sync", &shared.dir))?;
    tracing::debug!(segment = segment.number, "deleted a log segment");
    Ok(())
}

fn make(shared: &Shared, state: &mut MutexGuard<'_, State>, number: u64) -> Result<(), Error> {
    let made = MutexGuard::unlocked(state, || segment::make(&*shared.vfs, &shared.dir, number, &shared.config));
    match made {
        Ok(segment) => {
            state.segments.insert(number, Arc::new(segment));
            state.full = None;
            shared.room.notify_all();
            Ok(())
        }
        Err(error) if segment::is_full(&error) => {
            tracing::warn!(%error, "no space for another log segment");
            state.full = Some(Full::Disk(error.to_string()));
            shared.room.notify_all();
            state.keeper_rests = true;
            shared.idle.notify_all();
            shared.upkeep.wait_for(state, shared.config.retry);
            Ok(())
        }
        Err(error) => Err(Error::io("make a segment in", &shared.dir)(error)),
    }
}
