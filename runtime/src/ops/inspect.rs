//! Natives that look into values which JavaScript cannot look into without running a worker's code.

use crate::js;

/// `proxyTarget(object) -> object | null | undefined`: a proxy's target, null for a revoked one, undefined for no proxy.
pub(crate) fn proxy_target<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    let Ok(proxy) = v8::Local::<v8::Proxy>::try_from(args.get(0)) else { return };
    if proxy.is_revoked() {
        result.set_null();
    } else {
        result.set(proxy.get_target(scope));
    }
}

/// `isError(value) -> boolean`: whether an Error constructor made it, whatever its prototype is now.
pub(crate) fn is_error<'s>(
    _: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    result.set_bool(args.get(0).is_native_error());
}

/// `promiseState(object) -> { state, value } | undefined`: undefined for no promise.
pub(crate) fn promise_state<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    let Ok(promise) = v8::Local::<v8::Promise>::try_from(args.get(0)) else { return };
    let (state, value) = match promise.state() {
        v8::PromiseState::Pending => ("pending", v8::undefined(scope).into()),
        v8::PromiseState::Fulfilled => ("fulfilled", promise.result(scope)),
        v8::PromiseState::Rejected => ("rejected", promise.result(scope)),
    };
    let details = v8::Object::new(scope);
    let state = js::string(scope, state).into();
    js::set(scope, details, "state", state);
    js::set(scope, details, "value", value);
    result.set(details.into());
}
