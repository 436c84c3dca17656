//! Asynchronous operations: started by a native, awaited outside the isolate's lock, settled in a later turn.

use std::{collections::HashMap, future::Future};

use futures::future::{BoxFuture, FutureExt};

use crate::{
    gate::Pass,
    js::{self, Class},
    state,
    turn::Completion,
};

/// Operations one isolate may have in flight.
const PENDING_MAX: usize = 10_000;

/// What an operation's promise is settled with, made under the lock.
pub(crate) type Settle = Box<
    dyn for<'s, 'i> FnOnce(&mut v8::PinScope<'s, 'i>) -> Result<v8::Local<'s, v8::Value>, v8::Local<'s, v8::Value>>
        + Send,
>;

/// Operations in flight, and those started in this turn that the driver has not seen yet.
#[derive(Default)]
pub(crate) struct Pending {
    next: u32,
    waiting: HashMap<u32, Waiting>,
    outbox: Vec<BoxFuture<'static, Completion>>,
}

struct Waiting {
    /// How the end of the operation comes in; none in a Worker.
    pass: Option<Pass>,
    resolver: v8::Global<v8::PromiseResolver>,
    /// Continuation-preserved embedder data of the code that started the operation.
    continuation: v8::Global<v8::Value>,
}

impl Pending {
    /// Operations started since the last call.
    pub(crate) fn take_started(&mut self) -> Vec<BoxFuture<'static, Completion>> {
        std::mem::take(&mut self.outbox)
    }
}

/// Boxes a closure as [`Settle`]; the function's bounds help type inference.
pub(crate) fn settle<F>(settle: F) -> Settle
where
    F: for<'s, 'i> FnOnce(&mut v8::PinScope<'s, 'i>) -> Result<v8::Local<'s, v8::Value>, v8::Local<'s, v8::Value>>
        + Send
        + 'static,
{
    Box::new(settle)
}

/// Settles with `undefined`.
pub(crate) fn done() -> Settle {
    settle(|scope| Ok(v8::undefined(scope).into()))
}

/// What may happen in an actor while an operation is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// Nothing: the input gate stays shut until the operation has come back.
    Shut,
    /// Other events, timers and replies may enter, and the end of the operation waits its turn among them.
    Open,
}

/// Starts an operation during which others may enter, and returns its promise; throws and returns `None` when too many
/// are in flight.
pub(crate) fn start<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    operation: impl Future<Output = Settle> + Send + 'static,
) -> Option<v8::Local<'s, v8::Promise>> {
    start_with(scope, Input::Open, operation)
}

/// As [`start`], saying what may enter meanwhile.
pub(crate) fn start_with<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    input: Input,
    operation: impl Future<Output = Settle> + Send + 'static,
) -> Option<v8::Local<'s, v8::Promise>> {
    let (id, promise) = wait(scope)?;
    let state = state::get(scope);
    let pass = state.door.as_mut().map(|door| match input {
        Input::Shut => door.hold(),
        Input::Open => door.wait(),
    });
    if let Some(waiting) = state.pending.waiting.get_mut(&id) {
        waiting.pass = pass;
    }
    state.pending.outbox.push(operation.map(move |settle| Completion::Operation { id, settle }).boxed());
    Some(promise)
}

/// A promise that a [`Completion::Operation`] of the returned number settles; throws and returns `None` when there are
/// too many.
pub(crate) fn wait<'s>(scope: &mut v8::PinScope<'s, '_>) -> Option<(u32, v8::Local<'s, v8::Promise>)> {
    if state::get(scope).pending.waiting.len() >= PENDING_MAX {
        js::throw(scope, Class::RangeError, &format!("more than {PENDING_MAX} operations in flight"));
        return None;
    }
    let resolver = v8::PromiseResolver::new(scope)?;
    let continuation = scope.get_continuation_preserved_embedder_data();
    let waiting = Waiting {
        pass: None,
        resolver: v8::Global::new(scope, resolver),
        continuation: v8::Global::new(scope, continuation),
    };
    let pending = &mut state::get(scope).pending;
    pending.next = pending.next.wrapping_add(1);
    let id = pending.next;
    pending.waiting.insert(id, waiting);
    Some((id, resolver.get_promise(scope)))
}

/// How the end of an operation comes in. The first call takes the pass.
pub(crate) fn take_pass(scope: &mut v8::PinScope, id: u32) -> Option<Pass> {
    state::get(scope).pending.waiting.get_mut(&id)?.pass.take()
}

/// Forgets a promise of [`wait`] that nobody got.
pub(crate) fn forget(scope: &mut v8::PinScope, id: u32) {
    state::get(scope).pending.waiting.remove(&id);
}

/// Settles an operation's promise.
pub(crate) fn finish(scope: &mut v8::PinScope, id: u32, settle: Settle) {
    let Some(waiting) = state::get(scope).pending.waiting.remove(&id) else { return };
    let continuation = v8::Local::new(scope, waiting.continuation);
    scope.set_continuation_preserved_embedder_data(continuation);
    let resolver = v8::Local::new(scope, waiting.resolver);
    match settle(scope) {
        Ok(value) => resolver.resolve(scope, value),
        Err(error) => resolver.reject(scope, error),
    };
}
