//! Natives behind `timers.js`.

use std::time::Duration;

use crate::{
    gate::Door,
    js::{self, Class},
    ops, state,
    timers::{TIMERS_MAX, Timer},
};

/// `timerStart(ms, repeat, handler) -> id`
pub(crate) fn start<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    let ms = args.get(0).number_value(scope).filter(|ms| ms.is_finite() && *ms > 0.0).unwrap_or(0.0);
    let delay = Duration::from_millis(ms as u64);
    let Ok(handler) = v8::Local::<v8::Function>::try_from(args.get(2)) else {
        return js::throw(scope, Class::TypeError, "a timer's handler must be a function");
    };
    let continuation = scope.get_continuation_preserved_embedder_data();
    let section = state::get(scope).door.as_ref().map(Door::section);
    let timer = Timer {
        handler: v8::Global::new(scope, handler),
        continuation: v8::Global::new(scope, continuation),
        period: args.get(1).is_true().then_some(delay),
        section,
    };
    match state::get(scope).timers.set(delay, timer) {
        Some(id) => result.set_uint32(id),
        None => js::throw(scope, Class::RangeError, &format!("more than {TIMERS_MAX} timers are set")),
    }
}

/// `timerClear(id)`
pub(crate) fn clear<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    _: &mut v8::ReturnValue<v8::Value>,
) {
    let id = ops::id(scope, args, 0);
    state::get(scope).timers.clear(id);
}
