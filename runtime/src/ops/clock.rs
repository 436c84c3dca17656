//! Natives for time and randomness.

use std::{
    sync::LazyLock,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use crate::js::{self, Class};

static START: LazyLock<(Instant, f64)> = LazyLock::new(|| {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64() * 1000.0);
    (Instant::now(), wall)
});

/// `now() -> number`: milliseconds since 1970 that never go backwards.
pub(crate) fn now(_: &mut v8::PinScope, _: &v8::FunctionCallbackArguments, result: &mut v8::ReturnValue<v8::Value>) {
    let (start, wall) = *START;
    result.set_double(wall + start.elapsed().as_secs_f64() * 1000.0);
}

/// `randomFill(Uint8Array)`: fills it from the operating system.
pub(crate) fn random_fill<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    _: &mut v8::ReturnValue<v8::Value>,
) {
    let Ok(view) = v8::Local::<v8::Uint8Array>::try_from(args.get(0)) else {
        return js::throw(scope, Class::TypeError, "randomFill needs a Uint8Array");
    };
    let mut bytes = vec![0; view.byte_length()];
    if getrandom::fill(&mut bytes).is_err() {
        return js::throw(scope, Class::Error, "the operating system gives no randomness");
    }
    let Some(buffer) = view.buffer(scope) else { return };
    let store = buffer.get_backing_store();
    for (cell, byte) in store[view.byte_offset()..].iter().zip(&bytes) {
        cell.set(*byte);
    }
}
