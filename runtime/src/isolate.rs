//! One V8 isolate: made from the startup snapshot, entered one turn at a time, disposed on a JavaScript thread.

use std::{ptr, sync::Arc};

use crate::{
    allocator,
    bodies::Bodies,
    builtins,
    error::InvocationError,
    js,
    kill::Kill,
    mappings,
    memory::{self, Buffers, HeapGuard},
    modules::{self, Modules},
    ops,
    pending::Pending,
    pool::Pool,
    quotas::Quotas,
    state::{self, State},
    tasks::Tasks,
    threads::{Threads, Urgency},
    timers::Timers,
    watchdog,
};

/// An isolate with its context. It belongs to no thread; whoever drives it enters it.
pub(crate) struct Isolate {
    shared: Option<v8::SharedIsolate>,
    /// Shared because V8 holds its address.
    guard: Arc<HeapGuard>,
    threads: Threads,
    tasks: Tasks,
    /// Where an isolate is made when this one has ended; none while it is in there itself.
    successor: Option<Pool>,
}

impl Isolate {
    /// Makes a pristine isolate: snapshot and context, no program. Must run on a JavaScript thread.
    pub(crate) fn new(memory_mb: u64, threads: Threads, tasks: Tasks) -> Self {
        mappings::making(|| Self::make(memory_mb, threads, tasks))
    }

    fn make(memory_mb: u64, threads: Threads, tasks: Tasks) -> Self {
        watchdog::forget_time();
        let bytes_max = usize::try_from(memory_mb.saturating_mul(1 << 20)).unwrap_or(usize::MAX);
        let buffers = Buffers::new(bytes_max);
        let params = v8::CreateParams::default()
            .snapshot_blob(v8::StartupData::from(builtins::SNAPSHOT))
            .external_references(ops::external_references())
            .array_buffer_allocator(memory::allocator(&buffers))
            .allow_atomics_wait(false)
            .heap_limits(0, bytes_max);
        let mut isolate = v8::Isolate::new(params);
        let kill = Kill::new(isolate.thread_safe_handle());
        let guard = Arc::new(HeapGuard::new(kill, buffers.clone(), bytes_max));
        guard.install(&mut isolate);
        isolate.set_microtasks_policy(v8::MicrotasksPolicy::Explicit);
        isolate.set_promise_reject_callback(ops::rejection::rejected);
        isolate.set_allow_wasm_code_generation_callback(modules::wasm_allowed);
        isolate.set_host_import_module_dynamically_callback(modules::import);
        isolate.set_capture_stack_trace_for_uncaught_exceptions(false, 0);
        let state = make_state(&mut isolate, guard.clone(), buffers, tasks.clone());
        isolate.set_slot(state);
        // SAFETY: everything attached to the isolate is Send: the state holds Send values and handles, the callbacks
        // are functions, the allocator's handle is an atomic counter and the snapshot is static.
        let shared = unsafe { isolate.try_into_shared() }.unwrap_or_else(|error| panic!("share an isolate: {error}"));
        Self { shared: Some(shared), guard, threads, tasks, successor: None }
    }

    /// The thread that ends this isolate makes another one for `pool`, from memory that is still in its caches.
    pub(crate) fn replaced_by(mut self, pool: Pool) -> Self {
        self.successor = Some(pool);
        self
    }

    /// What watches its limits.
    pub(crate) fn guard(&self) -> Arc<HeapGuard> {
        self.guard.clone()
    }

    /// Handle to end this isolate.
    pub(crate) fn kill(&self) -> Kill {
        self.guard.kill().clone()
    }

    /// Disposes it on this thread instead of handing it over.
    pub(crate) fn dispose_here(mut self) {
        drop(self.shared.take());
    }

    /// Enters the isolate on this thread and runs `turn`. Only the isolate's one driver calls this, so the lock is free.
    pub(crate) fn enter<R>(&self, turn: impl FnOnce(&mut v8::PinScope) -> R) -> R {
        let shared = self.shared.as_ref().expect("only drop takes the isolate");
        let mut locker = shared.lock();
        v8::scope!(let scope, &mut *locker);
        let context = ptr::from_ref(&state::get(scope).context);
        // SAFETY: as in `state::local`, which needs the context to be entered.
        let context = v8::Local::new(scope, unsafe { &*context });
        let scope = &mut v8::ContextScope::new(scope, context);
        turn(scope)
    }
}

impl Drop for Isolate {
    fn drop(&mut self) {
        let Some(shared) = self.shared.take() else { return };
        // The heap guard's address must stay valid until the isolate is gone.
        let (guard, token) = (self.guard.clone(), self.tasks.token());
        let successor = self.successor.take();
        let took_much = matches!(guard.kill().reason(), Some(InvocationError::Limit(_)));
        let job = move || {
            watchdog::forget_time();
            drop(shared);
            drop(guard);
            if took_much {
                mappings::give_back();
                allocator::give_back();
            }
            drop(token);
            if let Some(pool) = successor.filter(|_| !took_much) {
                pool.make();
            }
        };
        self.threads.push(Urgency::End, Box::new(job));
    }
}

fn make_state(isolate: &mut v8::OwnedIsolate, guard: Arc<HeapGuard>, buffers: Arc<Buffers>, tasks: Tasks) -> State {
    v8::scope!(let scope, isolate);
    let context = v8::Context::new(scope, Default::default());
    let scope = &mut v8::ContextScope::new(scope, context);
    let data = "the snapshot holds lethe and entry";
    let lethe = scope.get_context_data_from_snapshot_once::<v8::Object>(0).expect(data);
    let entry = scope.get_context_data_from_snapshot_once::<v8::Object>(1).expect(data);
    let key = crate::js::string(scope, "unclonables");
    let unclonables = lethe.get(scope, key.into()).expect(data).cast::<v8::Set>();
    count_wasm(scope, lethe);
    let guard_max = guard.max();
    State {
        context: v8::Global::new(scope, context),
        lethe: v8::Global::new(scope, lethe),
        entry: v8::Global::new(scope, entry),
        entry_functions: Vec::new(),
        method_names: Vec::new(),
        unclonables: v8::Global::new(scope, unclonables),
        program: None,
        host: None,
        kill: guard.kill().clone(),
        heap_guard: guard,
        door: None,
        buffers,
        outgoing: Buffers::new(guard_max),
        modules: Modules::default(),
        exports: None,
        pending: Pending::default(),
        quotas: Quotas::default(),
        fetches: Default::default(),
        tasks,
        bodies: Bodies::default(),
        timers: Timers::default(),
        replies: Default::default(),
        turn_written: 0,
        turn_commit: None,
        lines: Vec::new(),
        answers: Vec::new(),
        last_invocation: 0,
        wait_until: 0,
        streams: 0,
        body_writes: 0,
        rejections: Vec::new(),
        log_bytes_left: state::LOG_BYTES_MAX,
        subrequests_left: state::SUBREQUESTS_MAX,
        last_collection: None,
        wasm_bytes: 0,
        wasm_allowed: false,
    }
}

/// Moves V8's `WebAssembly` to `lethe.WebAssembly` and puts the lazy builtin `wasm` in its place. V8 adds that global to
/// contexts itself, so it cannot be done in the snapshot.
fn count_wasm(scope: &mut v8::PinScope, lethe: v8::Local<v8::Object>) {
    let global = scope.get_current_context().global(scope);
    let name = js::string(scope, "WebAssembly");
    let Some(original) = global.get(scope, name.into()) else { return };
    js::set(scope, lethe, "WebAssembly", original);
    global.delete(scope, name.into());
    let builtin = js::string(scope, "wasm").into();
    global.set_lazy_data_property_with_data(
        scope,
        name.into(),
        ops::builtins::lazy_global,
        builtin,
        v8::PropertyAttribute::DONT_ENUM,
        v8::SideEffectType::HasSideEffect,
        v8::SideEffectType::HasSideEffect,
    );
}
