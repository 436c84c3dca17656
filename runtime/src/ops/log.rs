//! Natives for console output and uncaught exceptions.

use crate::{
    host::LogLine,
    js, ops,
    state::{self, State},
};

/// `log(level, text)`
pub(crate) fn log<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    _: &mut v8::ReturnValue<v8::Value>,
) {
    let level = match ops::text(scope, args, 0).as_str() {
        "debug" => "debug",
        "info" => "info",
        "warn" => "warn",
        "error" => "error",
        _ => "log",
    };
    let text = ops::text(scope, args, 1);
    write(scope, level, text);
}

/// `logException(error)`: an exception that nobody caught.
pub(crate) fn exception<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    _: &mut v8::ReturnValue<v8::Value>,
) {
    write_exception(scope, args.get(0));
}

/// Tells the worker's listeners of an exception that nobody caught or, with its promise, of a rejection that nobody
/// handled, and logs it unless one of them took care of it.
pub(crate) fn uncaught(
    scope: &mut v8::PinScope,
    exception: v8::Local<v8::Value>,
    promise: Option<v8::Local<v8::Promise>>,
) {
    if !taken_care_of(scope, exception, promise) {
        write_exception(scope, exception);
    }
}

fn taken_care_of(
    scope: &mut v8::PinScope,
    exception: v8::Local<v8::Value>,
    promise: Option<v8::Local<v8::Promise>>,
) -> bool {
    let entry = state::local(scope, |state| &state.entry);
    v8::tc_scope!(scope, scope);
    let function = js::get(scope, entry, "uncaught");
    let Some(Ok(function)) = function.map(v8::Local::<v8::Function>::try_from) else { return false };
    let promise = promise.map_or_else(|| v8::undefined(scope).into(), v8::Local::<v8::Value>::from);
    function.call(scope, entry.into(), &[exception, promise]).is_some_and(|canceled| canceled.is_true())
}

fn write_exception(scope: &mut v8::PinScope, exception: v8::Local<v8::Value>) {
    let error = js::thrown(scope, exception);
    let text = if error.stack.is_empty() { error.to_string() } else { error.stack };
    write(scope, "exception", text);
}

/// Writes a line until the invocation's share is used up; the last line says so.
fn write(scope: &mut v8::PinScope, level: &'static str, mut text: String) {
    let state = state::get(scope);
    let left = state.log_bytes_left;
    if left == 0 {
        return;
    }
    if text.len() < left {
        state.log_bytes_left = left - text.len().max(1);
        return pass_on(state, LogLine { level, text });
    }
    state.log_bytes_left = 0;
    let end = (0..=left).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.truncate(end);
    pass_on(state, LogLine { level, text });
    let text = format!("console output is limited to {} bytes; the rest is dropped", state::LOG_BYTES_MAX);
    pass_on(state, LogLine { level: "warn", text });
}

/// Gives a line to the host: a Worker's at once, an actor's when the turn has ended, so that it rests on a closed batch of
/// writes.
fn pass_on(state: &mut State, line: LogLine) {
    if state.door.is_some() {
        state.lines.push(line);
    } else if let Some(host) = &state.host {
        host.log(line);
    }
}

/// Gives an actor's lines to the host.
pub(crate) fn flush(state: &mut State) {
    if let Some(host) = &state.host {
        state.lines.drain(..).for_each(|line| host.log(line));
    }
}
