//! Natives behind critical sections: `blockConcurrencyWhile` and `transaction`.

use crate::{
    error::InvocationError,
    js::{self, Class},
    ops::{self, log},
    pending, state,
    turn::Completion,
};

/// `sectionBegin() -> Promise<number>`: resolves when the section runs, with the number `sectionEnd` wants.
pub(crate) fn begin<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    _: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    if state::get(scope).door.is_none() {
        return js::throw(scope, Class::Error, "only an actor has critical sections");
    }
    let Some((id, promise)) = pending::wait(scope) else { return };
    let Some(door) = &mut state::get(scope).door else { return };
    let begun = door.begin(|section| Completion::Operation {
        id,
        settle: pending::settle(move |scope| Ok(v8::Number::new(scope, section as f64).into())),
    });
    match begun {
        Ok(()) => result.set(promise.into()),
        Err(error) => {
            pending::forget(scope, id);
            js::throw(scope, Class::Error, &error.to_string());
        }
    }
}

/// `sectionEnd(number) -> Promise`: resolves before anything from outside of the section enters.
pub(crate) fn end<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    let section = args.get(0).number_value(scope).unwrap_or(0.0) as u64;
    let Some((id, promise)) = pending::wait(scope) else { return };
    let Some(door) = &mut state::get(scope).door else { return };
    let pass = door.end(section).unwrap_or_else(|| door.wait());
    door.arrive(pass, Completion::Operation { id, settle: pending::done() });
    result.set(promise.into());
}

/// `sectionFail(error)`: the section's callback threw, so the actor is reset. Nothing of this isolate runs after it.
pub(crate) fn fail<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    _: &mut v8::ReturnValue<v8::Value>,
) {
    let error = js::thrown(scope, args.get(0));
    reset(scope, format!("a blockConcurrencyWhile() callback threw: {error}"));
}

/// `actorAbort(reason)`: `ctx.abort()`. Nothing of this isolate runs after it.
pub(crate) fn abort<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    _: &mut v8::ReturnValue<v8::Value>,
) {
    let reason = ops::text(scope, args, 0);
    reset(scope, reason);
}

/// Ends the actor's isolate: its gate is broken, its host takes no more writes, its JavaScript stops.
pub(crate) fn reset(scope: &mut v8::PinScope, reason: String) {
    let state = state::get(scope);
    if let Some(door) = &mut state.door {
        door.fail(reason.clone());
    }
    log::flush(state);
    if let Some(host) = &state.host {
        host.aborted(&reason);
    }
    state.kill.kill(InvocationError::Aborted(reason));
}
