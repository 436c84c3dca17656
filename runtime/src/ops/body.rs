//! Natives that read and write bodies.

use bytes::Bytes;
use http_body_util::BodyExt;

use crate::{
    bodies::{Held, Part},
    js::{self, Class},
    memory, ops,
    pending::{self, Settle},
    state,
};

/// Largest piece of a body that one read returns.
const CHUNK_BYTES_MAX: usize = 256 * 1024;

/// `bodyRead(rid) -> Promise<Uint8Array | undefined>`: the next bytes, `undefined` at the end.
pub(crate) fn read<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    let id = ops::id(scope, args, 0);
    let Some(body) = state::get(scope).bodies.start_read(id) else {
        return js::throw(scope, Class::TypeError, "the body is gone or is being read");
    };
    if let Some(promise) = pending::start(scope, read_chunk(id, body)) {
        result.set(promise.into());
    }
}

async fn read_chunk(id: u32, mut body: crate::body::Body) -> Settle {
    loop {
        let frame = match body.frame().await {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                let message = format!("the body ended early: {error}");
                return pending::settle(move |scope| {
                    state::get(scope).bodies.remove(id);
                    Err(js::error(scope, Class::TypeError, &message))
                });
            }
            None => {
                return pending::settle(move |scope| {
                    state::get(scope).bodies.remove(id);
                    Ok(v8::undefined(scope).into())
                });
            }
        };
        let Ok(data) = frame.into_data() else { continue };
        if data.is_empty() {
            continue;
        }
        return pending::settle(move |scope| give_chunk(scope, id, body, data));
    }
}

fn give_chunk<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    id: u32,
    body: crate::body::Body,
    mut data: Bytes,
) -> Result<v8::Local<'s, v8::Value>, v8::Local<'s, v8::Value>> {
    let body = if data.len() > CHUNK_BYTES_MAX {
        let rest = data.split_off(CHUNK_BYTES_MAX);
        crate::bodies::prepend(rest, body)
    } else {
        body
    };
    state::get(scope).bodies.end_read(id, body);
    match js::bytes(scope, &data) {
        Some(bytes) => Ok(bytes.into()),
        None => Err(js::error(scope, Class::RangeError, "the body does not fit into the worker's memory")),
    }
}

/// `bodyCancel(rid)`: nobody wants the rest.
pub(crate) fn cancel<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    _: &mut v8::ReturnValue<v8::Value>,
) {
    let id = ops::id(scope, args, 0);
    state::get(scope).bodies.remove(id);
}

/// `bodyOpen() -> rid`: a body that JavaScript writes.
pub(crate) fn open<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    _: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    match state::get(scope).bodies.open() {
        Some(id) => result.set_uint32(id),
        None => js::throw(scope, Class::RangeError, "too many bodies are open"),
    }
}

/// `bodyWrite(rid, Uint8Array) -> Promise`: resolves when there is room for more, rejects when the reader is gone.
pub(crate) fn write<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    let id = ops::id(scope, args, 0);
    let Some(writer) = state::get(scope).bodies.writer(id) else {
        return js::throw(scope, Class::TypeError, "the body is closed");
    };
    let bytes = match memory::leaving(scope, args.get(1)) {
        Ok(bytes) => bytes,
        Err(message) => return js::throw(scope, Class::TypeError, &message),
    };
    let send = async move {
        let taken = writer.send(Part::Data(bytes)).await.is_ok();
        pending::settle(move |scope| {
            state::get(scope).body_writes -= 1;
            match taken {
                true => Ok(v8::undefined(scope).into()),
                false => Err(js::error(scope, Class::TypeError, "the reader of this body is gone")),
            }
        })
    };
    if let Some(promise) = pending::start(scope, send) {
        state::get(scope).body_writes += 1;
        result.set(promise.into());
    }
}

/// `bodyEnd(rid)`: the body is complete.
pub(crate) fn end<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    _: &mut v8::ReturnValue<v8::Value>,
) {
    let id = ops::id(scope, args, 0);
    close(scope, id, Part::End);
}

/// `bodyFail(rid, message)`: the body cannot be completed.
pub(crate) fn fail<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    _: &mut v8::ReturnValue<v8::Value>,
) {
    let id = ops::id(scope, args, 0);
    let message = ops::text(scope, args, 1);
    close(scope, id, Part::Failed(message));
}

/// Sends the last part. The task outlives the isolate, so a slow reader does not keep it alive. An actor's waits for the end
/// of the turn, as answers do, so that it rests on a closed batch of writes; a turn that is stopped leaves the body broken.
fn close(scope: &mut v8::PinScope, id: u32, part: Part) {
    let state = state::get(scope);
    let Some(Held::Outgoing { writer, .. }) = state.bodies.remove(id) else { return };
    let tasks = state.tasks.clone();
    state.answer(move || {
        tasks.spawn(async move {
            // An error means that the reader is gone and needs no end.
            let _ = writer.send(part).await;
        });
    });
}
