//! Natives that answer invocations and keep their isolate alive.

use bytes::Bytes;

use crate::{
    body::Body,
    error::InvocationError,
    host::{JsError, Payload},
    invocation::Reply,
    js::{self, Class},
    ops::{self, fetch},
    state,
};

/// `replyResponse(invocation, status, statusText, headers, body)`
pub(crate) fn response<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    _: &mut v8::ReturnValue<v8::Value>,
) {
    let id = ops::id(scope, args, 0);
    let built = build_response(scope, args);
    match built {
        Ok(response) => {
            if let Some(Reply::Response(reply)) = state::get(scope).replies.remove(&id) {
                // An error means that the client has left; the driver sees that on its own.
                state::get(scope).answer(|| drop(reply.send(Ok(response))));
            }
        }
        Err(Some(message)) => js::throw(scope, Class::TypeError, &message),
        Err(None) => {}
    }
}

fn build_response<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
) -> Result<http::Response<Body>, Option<String>> {
    let headers = fetch::read_headers(scope, args.get(3))?;
    let body = fetch::take_body(scope, args.get(4))?;
    let status = u16::try_from(ops::id(scope, args, 1)).ok().and_then(|code| http::StatusCode::from_u16(code).ok());
    let status = status.ok_or_else(|| Some("the response's status is not valid".to_owned()))?;
    let mut response = http::Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

/// `replyValue(invocation, Uint8Array | string | undefined)`
pub(crate) fn value<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    _: &mut v8::ReturnValue<v8::Value>,
) {
    let id = ops::id(scope, args, 0);
    let value = args.get(1);
    match state::get(scope).replies.remove(&id) {
        Some(Reply::Value(reply)) => {
            let payload = if value.is_string() {
                Payload::Json(value.to_rust_string_lossy(scope))
            } else {
                Payload::V8(Bytes::from(js::copy_bytes(value).unwrap_or_default()))
            };
            state::get(scope).answer(|| drop(reply.send(Ok(payload))));
        }
        Some(Reply::Done(reply)) => state::get(scope).answer(|| drop(reply.send(Ok(())))),
        Some(Reply::Response(_)) | None => {}
    }
}

/// `replyError(invocation, error, noHandler)`
pub(crate) fn error<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    _: &mut v8::ReturnValue<v8::Value>,
) {
    let id = ops::id(scope, args, 0);
    let JsError { name, message, stack } = js::thrown(scope, args.get(1));
    let error = if args.get(2).is_true() {
        InvocationError::NoHandler(message)
    } else {
        InvocationError::Exception(JsError { name, message, stack })
    };
    if let Some(reply) = state::get(scope).replies.remove(&id) {
        state::get(scope).answer(|| reply.fail(error));
    }
}

/// `hold(kind, change)`: counts what keeps the isolate alive; kind 0 is `waitUntil`, kind 1 a response body.
pub(crate) fn hold<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    _: &mut v8::ReturnValue<v8::Value>,
) {
    let kind = ops::id(scope, args, 0);
    let change = args.get(1).int32_value(scope).unwrap_or(0);
    let state = state::get(scope);
    let count = if kind == 0 { &mut state.wait_until } else { &mut state.streams };
    *count = count.saturating_add_signed(change);
}
