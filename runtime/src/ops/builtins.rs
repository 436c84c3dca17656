//! Natives behind `lethe.use`, and the getter of lazy globals.

use v8::script_compiler::{CachedData, CompileOptions, NoCacheReason, Source, compile_function};

use crate::{
    builtins,
    js::{self, Class},
    modules, ops,
};

/// `native(name) -> function`: makes the function behind `lethe.ops.NAME`.
pub(crate) fn native<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    let name = ops::text(scope, args, 0);
    match ops::function(scope, &name) {
        Some(function) => result.set(function.into()),
        None => js::throw(scope, Class::Error, &format!("there is no native {name}")),
    }
}

/// `builtin(name) -> function | undefined`: compiles a lazy builtin from its code cache.
pub(crate) fn compile<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    let name = ops::text(scope, args, 0);
    let Some(builtin) = builtins::find(&name) else { return };
    let Some(text) = v8::String::new_from_onebyte_const(scope, builtin.source) else { return };
    let resource = js::string(scope, builtin.origin).into();
    let origin = v8::ScriptOrigin::new(scope, resource, 0, 0, false, 0, None, false, false, false, None);
    let mut source = Source::new_with_cached_data(text, Some(&origin), CachedData::new(builtin.cache));
    let parameter = js::string(scope, "lethe");
    let options = CompileOptions::ConsumeCodeCache;
    let function = compile_function(scope, &mut source, &[parameter], &[], options, NoCacheReason::NoReason);
    debug_assert!(source.get_cached_data().is_some_and(|cache| !cache.rejected()), "stale code cache of {name}");
    if let Some(function) = function {
        result.set(function.into());
    }
}

/// Getter of a lazy global: evaluates the builtin that exports it. V8 then makes it a plain data property.
pub(crate) fn lazy_global<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    key: v8::Local<'s, v8::Name>,
    args: v8::PropertyCallbackArguments<'s>,
    mut result: v8::ReturnValue<v8::Value>,
) {
    let name = args.data().to_rust_string_lossy(scope);
    let Some(exports) = modules::use_builtin(scope, &name) else { return };
    if let Some(value) = exports.get(scope, key.into()) {
        result.set(value);
    }
}
