//! Natives: the functions built-in JavaScript calls as `lethe.ops.NAME`.
//!
//! All share one entry, [`dispatch`]; the index in the function's data picks the Rust function. So a startup snapshot
//! needs to know one address only.

pub(crate) mod actor;
pub(crate) mod body;
pub(crate) mod builtins;
pub(crate) mod clock;
pub(crate) mod clone;
pub(crate) mod crypto;
pub(crate) mod fetch;
mod gcm;
pub(crate) mod inspect;
pub(crate) mod log;
pub(crate) mod multipart;
pub(crate) mod rejection;
pub(crate) mod reply;
pub(crate) mod section;
pub(crate) mod storage;
pub(crate) mod text;
pub(crate) mod timers;
pub(crate) mod url;
pub(crate) mod wasm;

use std::{
    borrow::Cow,
    ffi::c_void,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::OnceLock,
};

use v8::MapFnTo;

use crate::{
    allocator,
    js::{self, Class},
};

/// A native function.
pub(crate) type Op = for<'s, 'i, 'r> fn(
    &mut v8::PinScope<'s, 'i>,
    &v8::FunctionCallbackArguments<'s>,
    &mut v8::ReturnValue<'r, v8::Value>,
);

macro_rules! ops {
    ($($name:ident => $function:path,)*) => {
        static OPS: &[(&str, super::Op)] = &[$((stringify!($name), $function)),*];
    };
}

mod table {
    include!("table.in");

    /// Name and function of a native.
    pub(super) fn op(index: i64) -> (&'static str, super::Op) {
        OPS[usize::try_from(index).expect("build.rs numbers natives from 0")]
    }
}

fn dispatch<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: v8::FunctionCallbackArguments<'s>,
    mut result: v8::ReturnValue<v8::Value>,
) {
    let (name, op) = table::op(args.data().cast::<v8::Integer>().value());
    // A native may be called by a getter inside the serializer.
    let call = AssertUnwindSafe(|| allocator::refuse_nothing(|| op(scope, &args, &mut result)));
    if catch_unwind(call).is_err() {
        tracing::error!(op = name, "a native panicked");
        js::throw(scope, Class::Error, "internal error");
    }
}

/// What the addresses in the startup snapshot stand for, in the order `build.rs` uses.
pub(crate) fn external_references() -> Cow<'static, [v8::ExternalReference]> {
    struct List([v8::ExternalReference; 3]);
    // SAFETY: the list holds addresses of functions and never changes.
    unsafe impl Sync for List {}
    // SAFETY: as above.
    unsafe impl Send for List {}
    static LIST: OnceLock<List> = OnceLock::new();
    let list = LIST.get_or_init(|| {
        let getter: v8::AccessorNameGetterCallback = builtins::lazy_global.map_fn_to();
        List([
            v8::ExternalReference { function: dispatch.map_fn_to() },
            v8::ExternalReference { pointer: getter as *mut c_void },
            v8::ExternalReference { pointer: std::ptr::null_mut() },
        ])
    });
    Cow::Borrowed(&list.0)
}

/// A whole number argument.
pub(crate) fn id(scope: &mut v8::PinScope, args: &v8::FunctionCallbackArguments, index: i32) -> u32 {
    args.get(index).uint32_value(scope).unwrap_or(0)
}

/// A text argument.
pub(crate) fn text(scope: &mut v8::PinScope, args: &v8::FunctionCallbackArguments, index: i32) -> String {
    args.get(index).to_rust_string_lossy(scope)
}
