//! Natives over V8's value serializer: what crosses between isolates and into storage.

use v8::{ValueDeserializerHelper, ValueSerializerHelper};

use crate::{
    allocator,
    js::{self, Class},
    program::Limits,
    state,
};

/// Prototypes of an object that are looked at to tell whether it can be cloned.
const PROTOTYPES_MAX: usize = 16;

/// Largest buffer the serializer may use for what leaves the isolate. V8 doubles it as it grows, so this is enough for
/// every message of `actor_wire.js`.
const BUFFER_BYTES_MAX: usize = 96 << 20;

/// What V8 asks back while it reads or writes.
#[derive(Default)]
struct Delegate {
    /// `Object.prototype`: what has it as its prototype is a plain object, and most objects are.
    plain: Option<v8::Global<v8::Value>>,
}

impl v8::ValueSerializerImpl for Delegate {
    fn throw_data_clone_error<'s>(&self, scope: &mut v8::PinScope<'s, '_>, message: v8::Local<'s, v8::String>) {
        let entry = state::local(scope, |state| &state.entry);
        let error = js::get(scope, entry, "dataCloneError")
            .and_then(|make| v8::Local::<v8::Function>::try_from(make).ok())
            .and_then(|make| make.call(scope, entry.into(), &[message.into()]));
        if let Some(error) = error {
            scope.throw_exception(error);
        }
    }

    fn has_custom_host_object(&self, _: &v8::Isolate) -> bool {
        true
    }

    fn is_host_object<'s>(&self, scope: &mut v8::PinScope<'s, '_>, object: v8::Local<'s, v8::Object>) -> Option<bool> {
        let mut holder = object;
        for _ in 0..PROTOTYPES_MAX {
            let Some(prototype) = holder.get_prototype(scope) else { return Some(false) };
            if self.plain.as_ref().is_some_and(|plain| *plain == prototype) {
                return Some(false);
            }
            let Ok(prototype) = v8::Local::<v8::Object>::try_from(prototype) else { return Some(false) };
            let unclonables = state::local(scope, |state| &state.unclonables);
            if unclonables.has(scope, prototype.into())? {
                return Some(true);
            }
            holder = prototype;
        }
        Some(false)
    }

    fn write_host_object<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        object: v8::Local<'s, v8::Object>,
        _: &dyn ValueSerializerHelper,
    ) -> Option<bool> {
        let name = object.get_constructor_name().to_rust_string_lossy(scope);
        let message = js::string(scope, &format!("#<{name}> could not be cloned."));
        self.throw_data_clone_error(scope, message);
        None
    }

    fn get_wasm_module_transfer_id(&self, scope: &mut v8::PinScope, _: v8::Local<v8::WasmModuleObject>) -> Option<u32> {
        let message = js::string(scope, "a WebAssembly.Module cannot be cloned");
        self.throw_data_clone_error(scope, message);
        None
    }
}

impl v8::ValueDeserializerImpl for Delegate {}

/// `serialize(value) -> Uint8Array`
pub(crate) fn serialize<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    let Some(bytes) = write(scope, args.get(0), &[], BUFFER_BYTES_MAX) else { return };
    match js::bytes(scope, &bytes) {
        Some(bytes) => result.set(bytes.into()),
        None => js::throw(scope, Class::RangeError, "the value does not fit into the worker's memory"),
    }
}

/// `deserialize(Uint8Array) -> value`
pub(crate) fn deserialize<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    let Some(bytes) = js::copy_bytes(args.get(0)) else {
        return js::throw(scope, Class::TypeError, "deserialize needs bytes");
    };
    if let Some(value) = read(scope, &bytes, &[]) {
        result.set(value);
    }
}

/// `structuredClone(value, transfer) -> value`; `transfer` is an array of array buffers.
pub(crate) fn structured_clone<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    let Some(buffers) = transfer_list(scope, args.get(1)) else { return };
    let memory_mb = state::get(scope).program.as_ref().map_or(Limits::default(), |program| program.limits).memory_mb;
    let buffer_bytes_max = usize::try_from(memory_mb << 21).unwrap_or(usize::MAX).max(BUFFER_BYTES_MAX);
    let Some(bytes) = write(scope, args.get(0), &buffers, buffer_bytes_max) else { return };
    let mut moved = Vec::with_capacity(buffers.len());
    for buffer in &buffers {
        let store = buffer.get_backing_store();
        buffer.detach(None);
        moved.push(v8::ArrayBuffer::with_backing_store(scope, &store));
    }
    if let Some(value) = read(scope, &bytes, &moved) {
        result.set(value);
    }
}

fn transfer_list<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    list: v8::Local<'s, v8::Value>,
) -> Option<Vec<v8::Local<'s, v8::ArrayBuffer>>> {
    let Ok(list) = v8::Local::<v8::Array>::try_from(list) else { return Some(Vec::new()) };
    let mut buffers: Vec<v8::Local<v8::ArrayBuffer>> = Vec::new();
    for i in 0..list.length() {
        let item = list.get_index(scope, i)?;
        let buffer = v8::Local::<v8::ArrayBuffer>::try_from(item).ok();
        match buffer.filter(|buffer| buffer.is_detachable() && !buffer.was_detached() && !buffers.contains(buffer)) {
            Some(buffer) => buffers.push(buffer),
            None => {
                let message = js::string(scope, "a value in the transfer list cannot be transferred");
                v8::ValueSerializerImpl::throw_data_clone_error(&Delegate::default(), scope, message);
                return None;
            }
        }
    }
    Some(buffers)
}

fn write<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
    transfer: &[v8::Local<'s, v8::ArrayBuffer>],
    buffer_bytes_max: usize,
) -> Option<Vec<u8>> {
    let context = scope.get_current_context();
    let plain = v8::Object::new(scope).get_prototype(scope).map(|plain| v8::Global::new(scope, plain));
    let serializer = v8::ValueSerializer::new(scope, Box::new(Delegate { plain }));
    serializer.write_header();
    for (id, buffer) in (0..).zip(transfer) {
        serializer.transfer_array_buffer(id, *buffer);
    }
    let written = allocator::refuse_above(buffer_bytes_max, || serializer.write_value(context, value));
    written.filter(|done| *done)?;
    Some(serializer.release())
}

fn read<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    bytes: &[u8],
    moved: &[v8::Local<'s, v8::ArrayBuffer>],
) -> Option<v8::Local<'s, v8::Value>> {
    let context = scope.get_current_context();
    let deserializer = v8::ValueDeserializer::new(scope, Box::new(Delegate::default()), bytes);
    for (id, buffer) in (0..).zip(moved) {
        deserializer.transfer_array_buffer(id, *buffer);
    }
    if deserializer.read_header(context) != Some(true) {
        js::throw(scope, Class::Error, "the bytes are not a serialized value");
        return None;
    }
    deserializer.read_value(context)
}
