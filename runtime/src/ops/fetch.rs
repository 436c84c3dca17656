//! Natives behind `fetch()`: one HTTP exchange through the host.

use std::collections::HashMap;

use futures::future::{AbortHandle, AbortRegistration, Abortable};

use crate::{
    body::{self, Body},
    js::{self, Class},
    memory, ops,
    pending::{self, Settle},
    state,
};

/// Fetches in flight that can be aborted, by the number JavaScript gave them.
#[derive(Default)]
pub(crate) struct Fetches(HashMap<u32, AbortHandle>);

/// `fetch({id, method, url, headers, body}) -> Promise<{status, statusText, headers, rid}>`, without redirects.
pub(crate) fn fetch<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    let Some(host) = state::get(scope).host.clone() else {
        return js::throw(scope, Class::Error, "fetch needs a request; there is none at the top level of a module");
    };
    let (id, request) = match read_request(scope, args.get(0)) {
        Ok(request) => request,
        Err(Some(message)) => return js::throw(scope, Class::TypeError, &message),
        Err(None) => return,
    };
    if !count_request(scope) {
        return;
    }
    let registration = register(scope, id);
    let exchange = Abortable::new(host.fetch(request), registration);
    let operation = async move {
        match exchange.await {
            Ok(Ok(response)) => response_settle(id, response),
            Ok(Err(message)) => ended(id, message),
            Err(_) => ended(id, "the fetch was aborted".into()),
        }
    };
    match pending::start(scope, operation) {
        Some(promise) => result.set(promise.into()),
        None => unregister(scope, id),
    }
}

/// `fetchAbort(id)`: gives up on a fetch that has no response yet.
pub(crate) fn abort<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    _: &mut v8::ReturnValue<v8::Value>,
) {
    let id = ops::id(scope, args, 0);
    if let Some(abort) = state::get(scope).fetches.0.remove(&id) {
        abort.abort();
    }
}

fn ended(id: u32, message: String) -> Settle {
    pending::settle(move |scope| {
        unregister(scope, id);
        Err(js::error(scope, Class::TypeError, &message))
    })
}

fn response_settle(id: u32, response: http::Response<Body>) -> Settle {
    pending::settle(move |scope| {
        unregister(scope, id);
        response_object(scope, response)
    })
}

/// Makes an exchange of this number one that `fetchAbort` ends.
pub(crate) fn register(scope: &mut v8::PinScope, id: u32) -> AbortRegistration {
    let (abort, registration) = AbortHandle::new_pair();
    state::get(scope).fetches.0.insert(id, abort);
    registration
}

/// The exchange has ended.
pub(crate) fn unregister(scope: &mut v8::PinScope, id: u32) {
    state::get(scope).fetches.0.remove(&id);
}

/// Counts a request that is about to be sent; throws and returns `false` when there were too many.
pub(crate) fn count_request(scope: &mut v8::PinScope) -> bool {
    match state::get(scope).subrequests_left.checked_sub(1) {
        Some(left) => {
            state::get(scope).subrequests_left = left;
            true
        }
        None => {
            let text = format!("more than {} requests were sent", state::SUBREQUESTS_MAX);
            js::throw(scope, Class::Error, &text);
            false
        }
    }
}

/// `{status, statusText, headers, rid}` of a response, or the error to throw.
pub(crate) fn response_object<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    response: http::Response<Body>,
) -> Result<v8::Local<'s, v8::Value>, v8::Local<'s, v8::Value>> {
    let (parts, body) = response.into_parts();
    let object = v8::Object::new(scope);
    let status = v8::Integer::new(scope, i32::from(parts.status.as_u16())).into();
    js::set(scope, object, "status", status);
    let reason = js::string(scope, parts.status.canonical_reason().unwrap_or("")).into();
    js::set(scope, object, "statusText", reason);
    let headers = header_list(scope, &parts.headers);
    js::set(scope, object, "headers", headers.into());
    let rid = if http_body::Body::is_end_stream(&body) {
        v8::null(scope).into()
    } else {
        match state::get(scope).bodies.receive(body) {
            Some(id) => v8::Integer::new_from_unsigned(scope, id).into(),
            None => return Err(js::error(scope, Class::RangeError, "too many bodies are open")),
        }
    };
    js::set(scope, object, "rid", rid);
    Ok(object.into())
}

/// Reads the request JavaScript describes. `Err(None)` means an exception is pending already.
pub(crate) fn read_request(
    scope: &mut v8::PinScope,
    value: v8::Local<v8::Value>,
) -> Result<(u32, http::Request<Body>), Option<String>> {
    let object = value.to_object(scope).ok_or(None)?;
    let id = js::get(scope, object, "id").and_then(|id| id.uint32_value(scope)).ok_or(None)?;
    let method = js::get(scope, object, "method").ok_or(None)?.to_rust_string_lossy(scope);
    let url = js::get(scope, object, "url").ok_or(None)?.to_rust_string_lossy(scope);
    let headers = js::get(scope, object, "headers").ok_or(None)?;
    let body = js::get(scope, object, "body").ok_or(None)?;
    let headers = read_headers(scope, headers)?;
    let body = take_body(scope, body)?;
    let mut request = http::Request::builder()
        .method(method.as_str())
        .uri(url.as_str())
        .body(body)
        .map_err(|error| Some(format!("the request cannot be sent: {error}")))?;
    *request.headers_mut() = headers;
    Ok((id, request))
}

/// Headers from a list of `[name, value]`. Values are byte strings.
pub(crate) fn read_headers(
    scope: &mut v8::PinScope,
    list: v8::Local<v8::Value>,
) -> Result<http::HeaderMap, Option<String>> {
    let list = v8::Local::<v8::Array>::try_from(list).map_err(|_| Some("headers must be a list".into()))?;
    let mut headers = http::HeaderMap::new();
    for i in 0..list.length() {
        let pair = list.get_index(scope, i).and_then(|pair| pair.to_object(scope)).ok_or(None)?;
        let name = pair.get_index(scope, 0).ok_or(None)?.to_rust_string_lossy(scope);
        let value = pair.get_index(scope, 1).ok_or(None)?.to_rust_string_lossy(scope);
        let bytes: Option<Vec<u8>> = value.chars().map(|c| u8::try_from(c).ok()).collect();
        let value = bytes.and_then(|bytes| http::HeaderValue::from_bytes(&bytes).ok());
        let (Ok(name), Some(value)) = (http::HeaderName::try_from(name.as_str()), value) else {
            return Err(Some(format!("the header {name:?} is not valid")));
        };
        if headers.try_append(name, value).is_err() {
            return Err(Some("too many headers".into()));
        }
    }
    Ok(headers)
}

/// A body given as `null`, bytes or the number of a body.
pub(crate) fn take_body(scope: &mut v8::PinScope, value: v8::Local<v8::Value>) -> Result<Body, Option<String>> {
    if value.is_null_or_undefined() {
        return Ok(body::empty());
    }
    if value.is_number() {
        let id = value.uint32_value(scope).ok_or(None)?;
        return state::get(scope).bodies.take(id).ok_or_else(|| Some("the body was used already".into()));
    }
    memory::leaving(scope, value).map(body::full).map_err(Some)
}

/// Headers as a JavaScript list of `[name, value]`.
pub(crate) fn header_list<'s>(scope: &mut v8::PinScope<'s, '_>, headers: &http::HeaderMap) -> v8::Local<'s, v8::Array> {
    let pairs: Vec<v8::Local<v8::Value>> = headers
        .iter()
        .map(|(name, value)| {
            let name = js::string(scope, name.as_str());
            let value = v8::String::new_from_one_byte(scope, value.as_bytes(), v8::NewStringType::Normal)
                .unwrap_or_else(|| v8::String::empty(scope));
            v8::Array::new_with_elements(scope, &[name.into(), value.into()]).into()
        })
        .collect();
    v8::Array::new_with_elements(scope, &pairs)
}
