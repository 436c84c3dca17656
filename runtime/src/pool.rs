//! Pristine isolates made ahead: snapshot and context, nothing of any program, never entered by a request before.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::{
    isolate::Isolate,
    program::Limits,
    tasks::Tasks,
    threads::{Threads, Urgency},
};

/// Handle of the pool.
#[derive(Clone)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
    threads: Threads,
    tasks: Tasks,
}

struct Shared {
    ready: Mutex<Ready>,
    target: usize,
}

#[derive(Default)]
struct Ready {
    isolates: Vec<Isolate>,
    /// Isolates that are being made.
    making: usize,
    /// Whether a job that makes isolates waits or runs.
    refilling: bool,
}

impl Pool {
    /// A pool that keeps `target` isolates of the default memory limit.
    pub(crate) fn new(target: usize, threads: Threads, tasks: Tasks) -> Self {
        let pool = Self { shared: Arc::new(Shared { ready: Mutex::default(), target }), threads, tasks };
        pool.refill();
        pool
    }

    /// A pristine isolate, ready or made now. `None` when no thread can make one.
    pub(crate) async fn take(&self, memory_mb: u64) -> Option<Isolate> {
        let ready = self.take_ready(memory_mb);
        let isolate = match ready {
            Some(isolate) => isolate,
            None => {
                let (threads, tasks) = (self.threads.clone(), self.tasks.clone());
                self.threads.run(Urgency::Start, move || Isolate::new(memory_mb, threads, tasks)).await.ok()?
            }
        };
        Some(isolate.replaced_by(self.clone()))
    }

    fn take_ready(&self, memory_mb: u64) -> Option<Isolate> {
        if memory_mb != Limits::default().memory_mb {
            return None;
        }
        let isolate = self.shared.ready.lock().isolates.pop();
        self.refill();
        isolate
    }

    /// Makes isolates on a JavaScript thread, one by one, until the pool is full. Anything else goes first.
    fn refill(&self) {
        {
            let mut ready = self.shared.ready.lock();
            if ready.refilling || ready.isolates.len() >= self.shared.target {
                return;
            }
            ready.refilling = true;
        }
        let pool = self.clone();
        let job = move || {
            pool.make();
            pool.shared.ready.lock().refilling = false;
            pool.refill();
        };
        self.threads.push(Urgency::Spare, Box::new(job));
    }

    /// Makes an isolate on this thread, unless there are enough.
    pub(crate) fn make(&self) {
        {
            let mut ready = self.shared.ready.lock();
            if ready.isolates.len() + ready.making >= self.shared.target {
                return;
            }
            ready.making += 1;
        }
        let isolate = Isolate::new(Limits::default().memory_mb, self.threads.clone(), self.tasks.clone());
        let mut ready = self.shared.ready.lock();
        ready.making -= 1;
        ready.isolates.push(isolate);
    }
}
