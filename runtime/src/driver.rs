//! The driver: one task per isolate that waits for whatever comes next and gives the isolate its turns.
//!
//! Nothing else enters the isolate, so its lock is always free; between turns no thread is held.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{sync::mpsc, task::unconstrained};
use tokio_util::sync::CancellationToken;

use crate::{
    error::{InvocationError, Limit},
    host::Host,
    invocation::Event,
    isolate::Isolate,
    kill::Kill,
    modules, platform,
    program::{Limits, Program},
    state,
    threads::{Threads, Urgency},
    turn::{self, Completion, Report},
    watchdog::Watchdog,
};

/// Completions that may wait at an actor's input gate before further events are left in the mailbox.
const AT_DOOR_MAX: usize = 64;
/// Completions delivered in one turn of a thread.
const BATCH_MAX: usize = 64;
/// When a Worker's isolate must end.
#[derive(Clone, Copy)]
pub(crate) struct Ends {
    /// At this time, whatever it does.
    pub(crate) wall: Option<Instant>,
    /// This long after the client has its response or has left.
    pub(crate) wait_until: Duration,
}

/// Drives one isolate.
pub(crate) struct Driver {
    isolate: Arc<Isolate>,
    kill: Kill,
    threads: Threads,
    watchdog: Watchdog,
    /// CPU time of one invocation, and what this one has used. Each event of an actor starts anew.
    cpu_max: Duration,
    cpu_used: Duration,
    /// Operations in flight. They are polled in the order they were started, without tokio's budget: it would make some
    /// wait and later ones overtake them, and calls on one stub must keep their order.
    pending: FuturesUnordered<BoxFuture<'static, Completion>>,
    next_timer: Option<Instant>,
    at_door: usize,
    event_ready: bool,
    replies: usize,
    wait_until: u32,
    streams: u32,
    body_writes: u32,
    /// Whether nothing new enters any more.
    finishing: bool,
    /// Whether a turn gave no report, so that `replies` is not known.
    lost: bool,
}

/// Why the driver woke up.
enum Wake {
    /// Something to deliver, or an event that waits at the open gate.
    Completion(Option<Completion>),
    Killed(InvocationError),
    Deadline,
    Left,
    Closed,
    Never,
}

impl Driver {
    /// Takes over a pristine isolate.
    pub(crate) fn new(isolate: Isolate, limits: &Limits, threads: Threads, watchdog: Watchdog) -> Self {
        Self {
            kill: isolate.kill(),
            isolate: Arc::new(isolate),
            threads,
            watchdog,
            cpu_max: Duration::from_millis(limits.cpu_ms),
            cpu_used: Duration::ZERO,
            pending: FuturesUnordered::new(),
            next_timer: None,
            at_door: 0,
            event_ready: false,
            replies: 0,
            wait_until: 0,
            streams: 0,
            body_writes: 0,
            finishing: false,
            lost: false,
        }
    }

    /// Handle to end the isolate.
    pub(crate) fn kill(&self) -> Kill {
        self.kill.clone()
    }

    /// Loads the program and delivers its first event, in one turn.
    pub(crate) async fn boot(
        &mut self,
        program: Arc<Program>,
        host: Arc<dyn Host>,
        event: Event,
    ) -> Result<(), InvocationError> {
        let kill = self.kill.clone();
        let urgency = match event {
            Event::Fetch { .. } | Event::Scheduled { .. } => Urgency::Start,
            Event::Construct { .. } | Event::Call { .. } | Event::ActorFetch { .. } => Urgency::Turn,
        };
        let report = self.enter(urgency, move |scope| match turn::boot(scope, &program, Some(host)) {
            Ok(()) => Ok(run_batch(scope, vec![Completion::Event(Box::new(event))])),
            Err(error) => {
                let error = kill.reason().unwrap_or(InvocationError::Exception(error));
                event.refuse(error.clone());
                Err(error)
            }
        });
        let report = report.await??;
        self.take(report)
    }

    /// Delivers completions in one turn.
    async fn turn(&mut self, batch: Vec<Completion>) -> Result<(), InvocationError> {
        if self.event_ready || batch.iter().any(|completion| matches!(completion, Completion::Event(_))) {
            self.cpu_used = Duration::ZERO;
        }
        let report = self.enter(Urgency::Turn, move |scope| run_batch(scope, batch)).await?;
        self.take(report)
    }

    /// Enters the isolate on a JavaScript thread, within what is left of its CPU time.
    async fn enter<R: Send + 'static>(
        &mut self,
        urgency: Urgency,
        turn: impl FnOnce(&mut v8::PinScope) -> R + Send + 'static,
    ) -> Result<R, InvocationError> {
        let (isolate, watchdog) = (self.isolate.clone(), self.watchdog.clone());
        let budget = self.cpu_max.saturating_sub(self.cpu_used);
        let job = move || watchdog.guard(isolate.guard(), budget, || isolate.enter(turn));
        let abandoned = self.kill.abandoned();
        self.lost = true;
        let (result, used) = self.threads.run_or_abandon(urgency, job, abandoned).await.map_err(|_| self.lost())?;
        self.lost = false;
        self.cpu_used += used;
        Ok(result)
    }

    fn take(&mut self, report: Report) -> Result<(), InvocationError> {
        self.pending.extend(report.started);
        self.next_timer = report.next_timer.filter(|_| !self.finishing);
        self.at_door = report.at_door;
        self.event_ready = report.event_ready;
        self.replies = report.replies;
        self.wait_until = report.wait_until;
        self.streams = report.streams;
        self.body_writes = report.body_writes;
        self.kill.reason().map_or(Ok(()), Err)
    }

    /// The error of a turn that never came back.
    fn lost(&self) -> InvocationError {
        let internal = || InvocationError::exception("the isolate was lost to an internal error");
        self.kill.reason().unwrap_or_else(internal)
    }

    /// Runs a Worker's isolate to its end: answer given, body written, `waitUntil` settled.
    pub(crate) async fn run_worker(mut self, program: Arc<Program>, ends: Ends, left: CancellationToken) {
        let reason = self.worker_loop(ends, left).await;
        if self.kill.reason().is_none() && program.count_request() {
            // An error ends the isolate, which is ending anyway.
            let _ = self.enter(Urgency::End, move |scope| modules::keep_caches(scope, &program)).await;
        }
        self.end(reason).await;
    }

    async fn worker_loop(&mut self, ends: Ends, left: CancellationToken) -> InvocationError {
        let mut client_left = false;
        let mut wait_until_end: Option<Instant> = None;
        loop {
            let answering = !client_left && (self.replies > 0 || self.streams > 0);
            if !answering && self.wait_until == 0 {
                return InvocationError::exception("the client has left");
            }
            if !answering {
                wait_until_end.get_or_insert_with(|| Instant::now() + ends.wait_until);
            }
            let deadline = wait_until_end.filter(|_| !answering).into_iter().chain(ends.wall).min();
            let wake = tokio::select! {
                biased;
                () = left.cancelled(), if !client_left => Wake::Left,
                wake = self.next(None, deadline) => wake,
            };
            match wake {
                Wake::Completion(first) => {
                    let batch = self.batch(first);
                    if let Err(reason) = self.turn(batch).await {
                        return reason;
                    }
                }
                Wake::Left => client_left = true,
                Wake::Killed(reason) => return reason,
                Wake::Deadline => return InvocationError::Limit(Limit::Wall),
                Wake::Never | Wake::Closed => return hung(),
            }
        }
    }

    /// Runs an actor's isolate until its last handle is dropped or it is killed. `tell` hears after each turn whether the
    /// isolate is idle, and how many completions wait at its input gate. Once it shall `finish`, no event and no timer
    /// enters any more, and it ends when all that JavaScript wrote to bodies was taken.
    pub(crate) async fn run_actor(
        mut self,
        mut events: mpsc::Receiver<Event>,
        finish: CancellationToken,
        tell: impl Fn(bool, usize),
    ) {
        let reason = loop {
            if self.finishing && self.body_writes == 0 {
                break InvocationError::Aborted("the instance has finished".into());
            }
            let rests = self.pending.is_empty() && self.next_timer.is_none() && self.at_door == 0;
            tell(rests && self.wait_until == 0 && self.streams == 0, self.at_door);
            let source = (!self.finishing).then_some(&mut events);
            let finishing = self.finishing;
            let wake = tokio::select! {
                biased;
                () = finish.cancelled(), if !finishing => {
                    (self.finishing, self.next_timer) = (true, None);
                    continue;
                }
                wake = self.next(source, None) => wake,
            };
            match wake {
                Wake::Completion(first) => {
                    // Before the turn: its answer may reach a caller who then asks whether the instance is idle.
                    tell(false, self.at_door);
                    let mut batch = self.batch(first);
                    let room = if self.finishing { 0 } else { AT_DOOR_MAX.saturating_sub(self.at_door + batch.len()) };
                    let more = std::iter::from_fn(|| events.try_recv().ok()).take(room);
                    batch.extend(more.map(|event| Completion::Event(Box::new(event))));
                    if let Err(reason) = self.turn(batch).await {
                        break reason;
                    }
                }
                Wake::Killed(reason) => break reason,
                Wake::Closed | Wake::Never | Wake::Deadline | Wake::Left => {
                    break InvocationError::Aborted("the instance was dropped".into());
                }
            }
        };
        self.kill.kill(reason.clone());
        events.close();
        while let Some(event) = events.recv().await {
            event.refuse(reason.clone());
        }
        self.end(reason).await;
    }

    /// Waits for the next thing to deliver.
    async fn next(&mut self, events: Option<&mut mpsc::Receiver<Event>>, deadline: Option<Instant>) -> Wake {
        if self.event_ready {
            return Wake::Completion(None);
        }
        let no_events = events.is_none();
        if no_events && self.pending.is_empty() && self.next_timer.is_none() {
            return Wake::Never;
        }
        let event = async {
            match events {
                Some(events) => events.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            reason = self.kill.killed() => Wake::Killed(reason),
            event = event, if self.at_door < AT_DOOR_MAX => event.map_or(Wake::Closed, |event| Wake::Completion(Some(Completion::Event(Box::new(event))))),
            Some(completion) = unconstrained(self.pending.next()), if !self.pending.is_empty() => Wake::Completion(Some(completion)),
            () = until(self.next_timer) => Wake::Completion(Some(Completion::Timer)),
            () = until(deadline) => Wake::Deadline,
        }
    }

    /// `first`, if there is one, and whatever else is ready by now.
    fn batch(&mut self, first: Option<Completion>) -> Vec<Completion> {
        let mut batch = Vec::from_iter(first);
        while batch.len() < BATCH_MAX
            && let Some(Some(completion)) = unconstrained(self.pending.next()).now_or_never()
        {
            batch.push(completion);
        }
        batch
    }

    /// Answers what is unanswered and disposes the isolate.
    pub(crate) async fn end(self, reason: InvocationError) {
        self.kill.kill(reason.clone());
        if self.replies == 0 && !self.lost {
            // Dropping the isolate disposes it; there is nobody to tell.
            return;
        }
        let isolate = self.isolate;
        let job = move || {
            let replies = isolate.enter(|scope| std::mem::take(&mut state::get(scope).replies));
            for reply in replies.into_values() {
                reply.fail(reason.clone());
            }
        };
        // A lost job means that its replies were dropped, which their receivers see as an error.
        let _ = self.threads.run_or_abandon(Urgency::Turn, job, self.kill.abandoned()).await;
    }
}

fn run_batch(scope: &mut v8::PinScope, batch: Vec<Completion>) -> Report {
    turn::deliver(scope, batch);
    platform::run_tasks(scope);
    turn::report(scope)
}

async fn until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when.into()).await,
        None => std::future::pending().await,
    }
}

fn hung() -> InvocationError {
    InvocationError::exception("the worker's promise can never settle: nothing it could wait for is pending")
}
