//! Native behind `wasm.js`.

use std::sync::atomic::Ordering;

use crate::state;

/// `wasmClaim(bytes) -> boolean`: whether WebAssembly memories of that many bytes in all fit into the worker's limit,
/// beside its array buffers. If so, they count from now on.
pub(crate) fn claim<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    let bytes = args.get(0).number_value(scope).filter(|bytes| bytes.is_finite()).unwrap_or(f64::MAX) as usize;
    let state = state::get(scope);
    state.heap_guard.wasm_used.store(true, Ordering::Relaxed);
    let fits = state.buffers.fits(bytes);
    if fits {
        state.wasm_bytes = bytes;
    }
    result.set_bool(fits);
}
