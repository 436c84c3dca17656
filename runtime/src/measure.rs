//! Building blocks for the benchmarks, not for programs: what an isolate costs without a request.

use crate::{isolate::Isolate, platform, program::Limits, tasks::Tasks, threads::Threads};

/// Makes isolates on the calling thread. Must be made inside a tokio runtime.
pub struct Maker {
    threads: Threads,
    tasks: Tasks,
}

/// An isolate that is disposed when it is dropped.
pub struct Made {
    isolate: Isolate,
}

impl Maker {
    /// Initializes V8. Threads that use the maker must be started afterwards.
    pub fn start() -> Self {
        platform::initialize();
        Self { threads: Threads::new(1), tasks: Tasks::new() }
    }

    /// Isolate, context and dispose with V8's own snapshot: the least V8 can do.
    pub fn bare(&self) {
        let isolate = &mut v8::Isolate::new(v8::CreateParams::default());
        v8::scope!(let scope, isolate);
        let _context = v8::Context::new(scope, Default::default());
    }

    /// A pristine isolate of ours. Dropping it disposes it on another thread; [`Maker::dispose`] does so on this one.
    pub fn pristine(&self) -> Made {
        Made { isolate: Isolate::new(Limits::default().memory_mb, self.threads.clone(), self.tasks.clone()) }
    }

    /// Disposes an isolate on this thread.
    pub fn dispose(&self, made: Made) {
        made.isolate.dispose_here();
    }
}
