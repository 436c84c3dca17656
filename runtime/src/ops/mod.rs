//! Natives: the functions built-in JavaScript calls as `lethe.ops.NAME`. A few are in the startup snapshot, `native` makes the
//! others when they are asked for.
//!
//! All share one entry, [`dispatch`]; the index in the function's data picks the Rust function. So a startup snapshot
//! needs to know one address for all of them.

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
    ptr,
    sync::OnceLock,
};

use v8::MapFnTo;

use crate::{
    allocator,
    builtins::SOURCES,
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

    /// Index of a native.
    pub(super) fn index(name: &str) -> Option<i32> {
        OPS.iter().position(|(known, _)| *known == name).and_then(|index| i32::try_from(index).ok())
    }
}

/// The function behind `lethe.ops.NAME`.
fn function<'s>(scope: &mut v8::PinScope<'s, '_>, name: &str) -> Option<v8::Local<'s, v8::Function>> {
    let index = v8::Integer::new(scope, table::index(name)?).into();
    v8::Function::builder(dispatch).data(index).constructor_behavior(v8::ConstructorBehavior::Throw).build(scope)
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
    struct List(Vec<v8::ExternalReference>);
    // SAFETY: the list holds addresses of functions and constants, and never changes.
    unsafe impl Sync for List {}
    // SAFETY: as above.
    unsafe impl Send for List {}
    static LIST: OnceLock<List> = OnceLock::new();
    let list = LIST.get_or_init(|| {
        let getter: v8::AccessorNameGetterCallback = builtins::lazy_global.map_fn_to();
        let mut list = vec![
            v8::ExternalReference { function: dispatch.map_fn_to() },
            v8::ExternalReference { pointer: getter as *mut c_void },
        ];
        let texts = SOURCES.iter().map(|text| ptr::from_ref(text).cast_mut().cast());
        list.extend(texts.map(|pointer| v8::ExternalReference { pointer }));
        list.push(v8::ExternalReference { pointer: ptr::null_mut() });
        List(list)
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
