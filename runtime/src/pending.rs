//! Asynchronous operations: started by a native, awaited outside the isolate's lock, settled in a later turn.

use std::{collections::HashMap, future::Future};

use futures::future::{BoxFuture, FutureExt};

use crate::{
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

/// Rejects with an error.
pub(crate) fn failed(class: Class, message: String) -> Settle {
    settle(move |scope| Err(js::error(scope, class, &message)))
}

/// Starts an operation and returns its promise; throws and returns `None` when too many are in flight.
pub(crate) fn start<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    operation: impl Future<Output = Settle> + Send + 'static,
) -> Option<v8::Local<'s, v8::Promise>> {
    if state::get(scope).pending.waiting.len() >= PENDING_MAX {
        js::throw(scope, Class::RangeError, &format!("more than {PENDING_MAX} operations in flight"));
        return None;
    }
    let resolver = v8::PromiseResolver::new(scope)?;
    let continuation = scope.get_continuation_preserved_embedder_data();
    let waiting =
        Waiting { resolver: v8::Global::new(scope, resolver), continuation: v8::Global::new(scope, continuation) };
    let pending = &mut state::get(scope).pending;
    pending.next = pending.next.wrapping_add(1);
    let id = pending.next;
    pending.waiting.insert(id, waiting);
    pending.outbox.push(operation.map(move |settle| Completion::Operation { id, settle }).boxed());
    Some(resolver.get_promise(scope))
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
