//! Pristine isolates made ahead: snapshot and context, nothing of any program, never entered by a request before.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::{isolate::Isolate, program::Limits, tasks::Tasks, threads::Threads};

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
        if memory_mb == Limits::default().memory_mb {
            let isolate = self.shared.ready.lock().isolates.pop();
            self.refill();
            if isolate.is_some() {
                return isolate;
            }
        }
        let (threads, tasks) = (self.threads.clone(), self.tasks.clone());
        self.threads.run(move || Isolate::new(memory_mb, threads, tasks)).await.ok()
    }

    /// Makes one isolate on a JavaScript thread, and goes on until the pool is full. One such job runs at a time.
    fn refill(&self) {
        {
            let mut ready = self.shared.ready.lock();
            if ready.refilling || ready.isolates.len() >= self.shared.target {
                return;
            }
            ready.refilling = true;
        }
        let pool = self.clone();
        self.threads.push(Box::new(move || {
            let isolate = Isolate::new(Limits::default().memory_mb, pool.threads.clone(), pool.tasks.clone());
            {
                let mut ready = pool.shared.ready.lock();
                ready.isolates.push(isolate);
                ready.refilling = false;
            }
            pool.refill();
        }));
    }
}
