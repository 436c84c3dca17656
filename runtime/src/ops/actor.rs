//! Natives behind actor namespaces and stubs: ids, calls, requests, ends of actors.
//!
//! The host is handed calls under the lock, in the order JavaScript made them; that is what keeps calls on one stub in
//! order. A failed call is not an exception here but a record `{failure}`, from which `actor_wire.js` makes the error.

use std::{future::Future, sync::Arc};

use bytes::Bytes;
use futures::future::{Abortable, BoxFuture};

use crate::{
    host::{ActorAddress, ActorCall, ActorReply, CallError, CallErrorKind, Host, IdSource, JsError, Outcome, Payload},
    js::{self, Class},
    ops::{self, fetch},
    pending::{self, Settle},
    quotas::SENT_BYTES_MAX,
    state,
};

/// Longest name of an actor or a method, bytes of UTF-8.
const NAME_BYTES_MAX: usize = 1024;

/// `actorId(binding, kind, text) -> hex`; kind 0 makes the id of a name, 1 a unique one, 2 checks hex digits.
pub(crate) fn id<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    let Some(host) = host(scope) else { return };
    let binding = ops::text(scope, args, 0);
    let Some(text) = name(scope, args, 2, "an actor's name") else { return };
    let source = match ops::id(scope, args, 1) {
        0 => IdSource::Name(text),
        1 => IdSource::Unique,
        _ => IdSource::Hex(text),
    };
    match host.actor_id(&binding, source) {
        Ok(hex) => result.set(js::string(scope, &hex).into()),
        Err(message) => js::throw(scope, Class::TypeError, &message),
    }
}

/// `actorCall(binding, id, name, method, args) -> Promise<{value} | {failure}>`; `args` and `value` are bytes.
pub(crate) fn call<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    let Some(method) = name(scope, args, 3, "a method's name") else { return };
    let bytes = js::copy_bytes(args.get(4)).unwrap_or_default();
    let Some(share) = state::get(scope).quotas.sent.take(bytes.len()) else {
        let text = format!("the arguments of calls in flight exceed {SENT_BYTES_MAX} bytes");
        return js::throw(scope, Class::RangeError, &text);
    };
    let payload = Payload::V8(Bytes::from(bytes));
    send(scope, args, result, ActorCall::Method { method, args: payload }, |reply| async {
        let reply = reply.await;
        drop(share);
        pending::settle(move |scope| match reply {
            Ok(ActorReply::Value(Payload::V8(bytes))) => match js::bytes(scope, &bytes) {
                Some(bytes) => Ok(record(scope, "value", bytes.into())),
                None => Err(js::error(scope, Class::RangeError, "the result does not fit into the memory limit")),
            },
            Ok(_) => Ok(failure(scope, &wrong_reply())),
            Err(error) => Ok(failure(scope, &error)),
        })
    });
}

/// `actorFetch(binding, id, name, request) -> Promise<{value} | {failure}>`; `request` and `value` as of `fetch`.
pub(crate) fn fetch<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    let (id, request) = match fetch::read_request(scope, args.get(3)) {
        Ok(request) => request,
        Err(Some(message)) => return js::throw(scope, Class::TypeError, &message),
        Err(None) => return,
    };
    let registration = fetch::register(scope, id);
    send(scope, args, result, ActorCall::Fetch(request), move |reply| async move {
        let reply = Abortable::new(reply, registration).await;
        pending::settle(move |scope| {
            fetch::unregister(scope, id);
            match reply {
                Ok(Ok(ActorReply::Response(response))) => {
                    let response = fetch::response_object(scope, response)?;
                    Ok(record(scope, "value", response))
                }
                Ok(Ok(_)) => Ok(failure(scope, &wrong_reply())),
                Ok(Err(error)) => Ok(failure(scope, &error)),
                Err(_) => Err(js::error(scope, Class::TypeError, "the fetch was aborted")),
            }
        })
    });
}

/// `actorDestroy(binding, id, name) -> Promise<{} | {failure}>`
pub(crate) fn destroy<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    send(scope, args, result, ActorCall::Destroy { by_operator: false }, |reply| async {
        let reply = reply.await;
        pending::settle(move |scope| {
            Ok(match reply {
                Ok(ActorReply::Destroyed) => v8::Object::new(scope).into(),
                Ok(_) => failure(scope, &wrong_reply()),
                Err(error) => failure(scope, &error),
            })
        })
    });
}

/// `actorDestroySelf() -> Promise<{} | {failure}>`
pub(crate) fn destroy_self<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    _: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    let Some(host) = host(scope) else { return };
    let destroyed = host.destroy_self();
    let operation = async {
        let destroyed = destroyed.await;
        pending::settle(move |scope| {
            Ok(match destroyed {
                Ok(()) => v8::Object::new(scope).into(),
                Err(error) => failure(scope, &error),
            })
        })
    };
    if let Some(promise) = pending::start(scope, operation) {
        result.set(promise.into());
    }
}

/// Hands a call to the host, and returns a promise of what `settle` makes of the reply.
fn send<'s, S, F>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
    call: ActorCall,
    settle: S,
) where
    S: FnOnce(BoxFuture<'static, Result<ActorReply, CallError>>) -> F,
    F: Future<Output = Settle> + Send + 'static,
{
    let Some(host) = host(scope) else { return };
    if !fetch::count_request(scope) {
        return;
    }
    let name = args.get(2);
    let to = ActorAddress {
        binding: ops::text(scope, args, 0),
        id: ops::text(scope, args, 1),
        name: name.is_string().then(|| name.to_rust_string_lossy(scope)),
    };
    let operation = settle(host.call_actor(to, call));
    if let Some(promise) = pending::start(scope, operation) {
        result.set(promise.into());
    }
}

/// The host, or an exception at the top level of a module, where there is none.
fn host(scope: &mut v8::PinScope) -> Option<Arc<dyn Host>> {
    let host = state::get(scope).host.clone();
    if host.is_none() {
        js::throw(scope, Class::Error, "actors cannot be used at the top level of a module, before there is a request");
    }
    host
}

/// A text argument of bounded size.
fn name(scope: &mut v8::PinScope, args: &v8::FunctionCallbackArguments, index: i32, what: &str) -> Option<String> {
    let name = ops::text(scope, args, index);
    if name.len() > NAME_BYTES_MAX {
        let text = format!("{what} has {} bytes of UTF-8, the limit is {NAME_BYTES_MAX}", name.len());
        js::throw(scope, Class::TypeError, &text);
        return None;
    }
    Some(name)
}

fn wrong_reply() -> CallError {
    CallError {
        kind: CallErrorKind::Internal,
        error: JsError {
            name: "InternalError".into(),
            message: "the actor's reply is of another kind than the call".into(),
            stack: String::new(),
        },
        outcome: Outcome::Unknown,
    }
}

/// `{[key]: value}`
fn record<'s>(scope: &mut v8::PinScope<'s, '_>, key: &str, value: v8::Local<v8::Value>) -> v8::Local<'s, v8::Value> {
    let record = v8::Object::new(scope);
    js::set(scope, record, key, value);
    record.into()
}

/// `{failure: {kind, outcome, name, message, stack}}`
fn failure<'s>(scope: &mut v8::PinScope<'s, '_>, error: &CallError) -> v8::Local<'s, v8::Value> {
    let kind = match error.kind {
        CallErrorKind::Exception => "exception",
        CallErrorKind::Destroyed => "destroyed",
        CallErrorKind::Overloaded => "overloaded",
        CallErrorKind::Limit => "limit",
        CallErrorKind::InvalidTarget => "invalid target",
        CallErrorKind::Reset => "reset",
        CallErrorKind::Unavailable => "unavailable",
        CallErrorKind::Deadline => "deadline",
        CallErrorKind::Internal => "internal",
    };
    let outcome = match error.outcome {
        Outcome::Done => "done",
        Outcome::NotDone => "not done",
        Outcome::Unknown => "unknown",
    };
    let JsError { name, message, stack } = &error.error;
    let fields = v8::Object::new(scope);
    for (key, text) in [("kind", kind), ("outcome", outcome), ("name", name), ("message", message), ("stack", stack)] {
        let text = js::string(scope, text).into();
        js::set(scope, fields, key, text);
    }
    record(scope, "failure", fields.into())
}
