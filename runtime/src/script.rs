//! Source of one ES module and V8's code cache for it, shared by all isolates of a program without copies.

use std::{
    ptr,
    sync::{Arc, RwLock},
};

/// An ES module's source, in the form V8 reads in place, and its code cache.
pub(crate) struct Script {
    text: Text,
    cache: RwLock<Option<Arc<[u8]>>>,
}

enum Text {
    /// Every character is Latin-1.
    OneByte(Arc<[u8]>),
    /// UTF-16.
    TwoByte(Arc<[u16]>),
}

impl Script {
    /// A script without a code cache yet.
    pub(crate) fn new(source: &str) -> Self {
        let one_byte: Option<Vec<u8>> = source.chars().map(|c| u8::try_from(c).ok()).collect();
        let text = match one_byte {
            Some(bytes) => Text::OneByte(bytes.into()),
            None => Text::TwoByte(source.encode_utf16().collect()),
        };
        Self { text, cache: RwLock::new(None) }
    }

    /// The code cache, if there is one.
    pub(crate) fn cache(&self) -> Option<Arc<[u8]>> {
        self.cache.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Replaces the code cache.
    pub(crate) fn set_cache(&self, cache: &[u8]) {
        *self.cache.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(cache.into());
    }

    /// The source as a JavaScript string that refers to the shared text; `None` when it is longer than V8 allows.
    pub(crate) fn text<'s>(&self, scope: &v8::PinScope<'s, '_>) -> Option<v8::Local<'s, v8::String>> {
        match &self.text {
            Text::OneByte(text) if text.is_empty() => Some(v8::String::empty(scope)),
            Text::OneByte(text) => {
                let (len, data) = (text.len(), Arc::into_raw(text.clone()).cast_mut());
                // SAFETY: the text stays valid and unchanged until `release_one_byte` gets it back.
                let string = unsafe { v8::String::new_external_onebyte_raw(scope, data.cast(), len, release_one_byte) };
                if string.is_none() {
                    // SAFETY: V8 took nothing.
                    unsafe { release_one_byte(data.cast(), len) };
                }
                string
            }
            Text::TwoByte(text) => {
                let (len, data) = (text.len(), Arc::into_raw(text.clone()).cast_mut());
                // SAFETY: the text stays valid and unchanged until `release_two_byte` gets it back.
                let string = unsafe { v8::String::new_external_twobyte_raw(scope, data.cast(), len, release_two_byte) };
                if string.is_none() {
                    // SAFETY: V8 took nothing.
                    unsafe { release_two_byte(data.cast(), len) };
                }
                string
            }
        }
    }
}

// SAFETY: called once with what `Script::text` gave to V8.
unsafe extern "C" fn release_one_byte(data: *mut std::ffi::c_char, len: usize) {
    // SAFETY: as above.
    drop(unsafe { Arc::from_raw(ptr::slice_from_raw_parts(data.cast_const().cast::<u8>(), len)) });
}

// SAFETY: called once with what `Script::text` gave to V8.
unsafe extern "C" fn release_two_byte(data: *mut u16, len: usize) {
    // SAFETY: as above.
    drop(unsafe { Arc::from_raw(ptr::slice_from_raw_parts(data.cast_const(), len)) });
}
