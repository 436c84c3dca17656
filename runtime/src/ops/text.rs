//! Natives for text: UTF-8 both ways, the legacy encodings, and base64.

use std::{borrow::Cow, collections::BTreeMap};

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose},
};
use encoding_rs::{CoderResult, Decoder, DecoderResult, Encoding, UTF_8};

use crate::{
    js::{self, Class},
    state,
};

/// Decoders that are in the middle of a stream of chunks, per isolate. One more, and the oldest is given up: a worker
/// that never ends its streams must not run out of decoders.
const DECODERS_MAX: usize = 1_000;

/// Base64 as the Infra standard forgives it; padding and white space are dealt with before.
const FORGIVING: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// Decoders in streaming mode by number, in a slot of the isolate.
#[derive(Default)]
struct Decoders {
    last: u32,
    open: BTreeMap<u32, Open>,
}

struct Open {
    decoder: Decoder,
    fatal: bool,
}

/// An argument as text; what is not a string is the empty one. `None` if a RangeError was thrown because the text is
/// larger than the worker's memory: a string of half a gigabyte costs a worker nothing until somebody copies it.
pub(super) fn text_arg(scope: &mut v8::PinScope, args: &v8::FunctionCallbackArguments, index: i32) -> Option<String> {
    let Ok(text) = v8::Local::<v8::String>::try_from(args.get(index)) else { return Some(String::new()) };
    affordable(scope, text).then(|| text.to_rust_string_lossy(scope))
}

/// Whether the worker's memory could hold a copy of the text; throws a RangeError if not.
pub(super) fn affordable(scope: &mut v8::PinScope, text: v8::Local<v8::String>) -> bool {
    let fits = state::get(scope).buffers.fits(text.length());
    if !fits {
        js::throw(scope, Class::RangeError, "the string does not fit into the worker's memory");
    }
    fits
}

/// An argument as bytes; what is not a buffer or a view has none.
pub(super) fn bytes_arg(args: &v8::FunctionCallbackArguments, index: i32) -> Vec<u8> {
    js::copy_bytes(args.get(index)).unwrap_or_default()
}

/// Returns text, or throws a RangeError if it is longer than a string may be.
pub(super) fn return_text(scope: &v8::PinScope, result: &mut v8::ReturnValue<v8::Value>, text: &str) {
    let made = if text.is_ascii() {
        v8::String::new_from_one_byte(scope, text.as_bytes(), v8::NewStringType::Normal)
    } else {
        v8::String::new(scope, text)
    };
    match made {
        Some(text) => result.set(text.into()),
        None => js::throw(scope, Class::RangeError, "the string is too long"),
    }
}

/// Returns bytes, or throws a RangeError if the worker's memory has no room for them.
pub(super) fn return_bytes(scope: &mut v8::PinScope, result: &mut v8::ReturnValue<v8::Value>, bytes: &[u8]) {
    match js::bytes(scope, bytes) {
        Some(bytes) => result.set(bytes.into()),
        None => js::throw(scope, Class::RangeError, "the bytes do not fit into the worker's memory"),
    }
}

/// Writes numbers into a `Uint32Array` argument, as far as it reaches.
pub(super) fn fill_numbers(scope: &v8::PinScope, args: &v8::FunctionCallbackArguments, index: i32, numbers: &[u32]) {
    let Ok(view) = v8::Local::<v8::Uint32Array>::try_from(args.get(index)) else { return };
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_ne_bytes()).collect();
    fill_view(scope, view.into(), &bytes);
}

fn fill_view(scope: &v8::PinScope, view: v8::Local<v8::ArrayBufferView>, bytes: &[u8]) {
    let Some(buffer) = view.buffer(scope) else { return };
    let store = buffer.get_backing_store();
    let start = view.byte_offset().min(store.len());
    let end = (start + view.byte_length()).min(store.len());
    for (cell, byte) in store[start..end].iter().zip(bytes) {
        cell.set(*byte);
    }
}

/// `utf8Encode(string) -> Uint8Array`; lone surrogates become U+FFFD.
pub(crate) fn utf8_encode<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    if let Some(text) = text_arg(scope, args, 0) {
        return_bytes(scope, result, text.as_bytes());
    }
}

/// `utf8EncodeInto(string, Uint8Array, Uint32Array)`: writes whole characters; then UTF-16 units read and bytes written.
pub(crate) fn utf8_encode_into<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    _: &mut v8::ReturnValue<v8::Value>,
) {
    let Ok(text) = v8::Local::<v8::String>::try_from(args.get(0)) else { return };
    let Ok(view) = v8::Local::<v8::ArrayBufferView>::try_from(args.get(1)) else { return };
    if !affordable(scope, text) {
        return;
    }
    // A UTF-16 unit takes at most three bytes, so a long view needs no more room than the text.
    let room = view.byte_length().min(text.length().saturating_mul(3));
    let mut bytes = vec![0; room];
    let mut read = 0;
    let written = text.write_utf8_v2(scope, &mut bytes, v8::WriteFlags::kReplaceInvalidUtf8, Some(&mut read));
    fill_view(scope, view, &bytes[..written]);
    let saturated = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    fill_numbers(scope, args, 2, &[saturated(read), saturated(written)]);
}

/// `utf8Decode(Uint8Array) -> string` without its byte order mark; what is not UTF-8 becomes U+FFFD.
pub(crate) fn utf8_decode<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    let bytes = bytes_arg(args, 0);
    let (text, _) = UTF_8.decode_with_bom_removal(&bytes);
    return_text(scope, result, &text);
}

/// `utf8Incomplete(bytes) -> number`: how many of the last bytes (three at most) are the start of a character.
pub(crate) fn utf8_incomplete<'s>(
    _: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    result.set_uint32(incomplete(&bytes_arg(args, 0)));
}

fn incomplete(end: &[u8]) -> u32 {
    let starts_character = |count: &u32| {
        let tail = end.len().checked_sub(*count as usize).map(|start| std::str::from_utf8(&end[start..]));
        matches!(tail, Some(Err(error)) if error.valid_up_to() == 0 && error.error_len().is_none())
    };
    (1..=3).find(starts_character).unwrap_or(0)
}

/// `encodingFor(label) -> string | undefined`: the lower-case name of the encoding a label stands for.
pub(crate) fn encoding_for<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    let Some(label) = text_arg(scope, args, 0) else { return };
    if let Some(encoding) = Encoding::for_label_no_replacement(label.as_bytes()) {
        return_text(scope, result, &encoding.name().to_ascii_lowercase());
    }
}

fn decoder(name: &str, ignore_bom: bool) -> Decoder {
    let encoding = Encoding::for_label_no_replacement(name.as_bytes()).unwrap_or(UTF_8);
    if ignore_bom { encoding.new_decoder_without_bom_handling() } else { encoding.new_decoder_with_bom_removal() }
}

/// Decodes a chunk; `None` if `fatal` and the bytes are malformed or there is no room.
fn decode_chunk(decoder: &mut Decoder, bytes: &[u8], last: bool, fatal: bool) -> Option<String> {
    if !fatal {
        let mut text = String::with_capacity(decoder.max_utf8_buffer_length(bytes.len())?);
        let (result, ..) = decoder.decode_to_string(bytes, &mut text, last);
        return (result == CoderResult::InputEmpty).then_some(text);
    }
    let mut text = String::with_capacity(decoder.max_utf8_buffer_length_without_replacement(bytes.len())?);
    let (result, _) = decoder.decode_to_string_without_replacement(bytes, &mut text, last);
    (result == DecoderResult::InputEmpty).then_some(text)
}

/// `decode(encoding, bytes, fatal, ignoreBOM) -> string | undefined`: all of a text; undefined if it is malformed.
pub(crate) fn decode<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    let Some(name) = text_arg(scope, args, 0) else { return };
    let bytes = bytes_arg(args, 1);
    let (fatal, ignore_bom) = (args.get(2).is_true(), args.get(3).is_true());
    if name == "utf-8" {
        if let Some(text) = decode_utf8(&bytes, fatal, ignore_bom) {
            return_text(scope, result, &text);
        }
    } else if let Some(text) = decode_chunk(&mut decoder(&name, ignore_bom), &bytes, true, fatal) {
        return_text(scope, result, &text);
    }
}

/// All of a UTF-8 text; nothing is copied if it is valid. `None` if `fatal` and it is not.
fn decode_utf8(bytes: &[u8], fatal: bool, ignore_bom: bool) -> Option<Cow<'_, str>> {
    let bytes = if ignore_bom { bytes } else { bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes) };
    if fatal {
        UTF_8.decode_without_bom_handling_and_without_replacement(bytes)
    } else {
        Some(UTF_8.decode_without_bom_handling(bytes).0)
    }
}

/// `decoderOpen(encoding, fatal, ignoreBOM) -> id`: a decoder that remembers what the last chunk left.
pub(crate) fn decoder_open<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    let Some(name) = text_arg(scope, args, 0) else { return };
    if scope.get_slot::<Decoders>().is_none() {
        scope.set_slot(Decoders::default());
    }
    let Some(decoders) = scope.get_slot_mut::<Decoders>() else { return };
    if decoders.open.len() >= DECODERS_MAX {
        decoders.open.pop_first();
    }
    decoders.last = decoders.last.wrapping_add(1);
    let id = decoders.last;
    decoders.open.insert(id, Open { decoder: decoder(&name, args.get(2).is_true()), fatal: args.get(1).is_true() });
    result.set_uint32(id);
}

/// `decoderPush(id, bytes, last) -> string | undefined`: the next chunk. The last one, or a malformed one, closes it.
pub(crate) fn decoder_push<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    let id = args.get(0).uint32_value(scope).unwrap_or(0);
    let bytes = bytes_arg(args, 1);
    let last = args.get(2).is_true();
    let Some(decoders) = scope.get_slot_mut::<Decoders>() else { return };
    let Some(open) = decoders.open.get_mut(&id) else {
        return js::throw(scope, Class::TypeError, "the decoder was given up: too many are in the middle of a stream");
    };
    let text = decode_chunk(&mut open.decoder, &bytes, last, open.fatal);
    if last || text.is_none() {
        decoders.open.remove(&id);
    }
    if let Some(text) = text {
        return_text(scope, result, &text);
    }
}

/// The bytes of a string whose characters are all below U+0100.
fn binary_arg(scope: &mut v8::PinScope, args: &v8::FunctionCallbackArguments) -> Option<Vec<u8>> {
    let text = v8::Local::<v8::String>::try_from(args.get(0)).ok()?;
    if !affordable(scope, text) || !text.contains_only_onebyte() {
        return None;
    }
    let mut bytes = vec![0; text.length()];
    text.write_one_byte_v2(scope, 0, &mut bytes, v8::WriteFlags::empty());
    Some(bytes)
}

/// `btoa(string) -> string | undefined`
pub(crate) fn btoa<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    if let Some(bytes) = binary_arg(scope, args) {
        return_text(scope, result, &general_purpose::STANDARD.encode(bytes));
    }
}

/// `atob(string) -> string | undefined`
pub(crate) fn atob<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    let Some(bytes) = binary_arg(scope, args).and_then(forgiving_decode) else { return };
    if let Some(text) = v8::String::new_from_one_byte(scope, &bytes, v8::NewStringType::Normal) {
        result.set(text.into());
    }
}

/// "Forgiving-base64 decode" of the Infra standard.
fn forgiving_decode(mut text: Vec<u8>) -> Option<Vec<u8>> {
    text.retain(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0c));
    if text.len().is_multiple_of(4) {
        for _ in 0..2 {
            if text.last() == Some(&b'=') {
                text.pop();
            }
        }
    }
    FORGIVING.decode(text).ok()
}

/// `base64Forgiving(bytes) -> Uint8Array | undefined`: decodes text that is held as bytes.
pub(crate) fn base64_forgiving<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    if let Some(bytes) = forgiving_decode(bytes_arg(args, 0)) {
        return_bytes(scope, result, &bytes);
    }
}

/// `base64UrlEncode(bytes) -> string`, without padding.
pub(crate) fn base64_url_encode<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    return_text(scope, result, &general_purpose::URL_SAFE_NO_PAD.encode(bytes_arg(args, 0)));
}

/// `base64UrlDecode(string) -> Uint8Array | undefined`
pub(crate) fn base64_url_decode<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    let Some(text) = text_arg(scope, args, 0) else { return };
    if let Ok(bytes) = general_purpose::URL_SAFE_NO_PAD.decode(text) {
        return_bytes(scope, result, &bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_forgives_white_space_and_missing_padding_only() {
        let decode = |text: &str| forgiving_decode(text.as_bytes().to_vec());
        assert_eq!(decode(" Y\tW J\nj\r\x0c"), Some(b"abc".to_vec()));
        assert_eq!(decode("YQ"), Some(b"a".to_vec()));
        assert_eq!(decode("YQ=="), Some(b"a".to_vec()));
        assert_eq!(decode("YR=="), Some(b"a".to_vec()));
        assert_eq!(decode("YQ="), None);
        assert_eq!(decode("Y"), None);
        assert_eq!(decode("YQ==="), None);
        assert_eq!(decode("Y-_Q"), None);
        assert_eq!(decode(""), Some(Vec::new()));
    }

    #[test]
    fn only_the_start_of_a_character_is_incomplete() {
        let cases: [(&[u8], u32); 9] = [
            (b"", 0),
            (b"a", 0),
            (b"\xe2", 1),
            (b"a\xe2\x82", 2),
            (b"\xf0\x9f\x98", 3),
            (b"\xe2\x82\xac", 0),
            (b"\x82\xac", 0),
            (b"\xe0\x80", 0),
            (b"\xc0", 0),
        ];
        for (bytes, expected) in cases {
            assert_eq!(incomplete(bytes), expected, "{bytes:x?}");
        }
    }

    #[test]
    fn decoder_keeps_the_start_of_a_character_for_the_next_chunk() {
        let mut utf8 = decoder("utf-8", false);
        assert_eq!(decode_chunk(&mut utf8, b"\xe2\x82", false, true).as_deref(), Some(""));
        assert_eq!(decode_chunk(&mut utf8, b"\xac", true, true).as_deref(), Some("\u{20ac}"));
    }

    #[test]
    fn valid_utf8_is_not_copied_and_a_mark_is_removed_once() {
        assert!(matches!(decode_utf8("\u{20ac}".as_bytes(), true, false), Some(Cow::Borrowed("\u{20ac}"))));
        assert_eq!(decode_utf8(b"\xef\xbb\xbf\xef\xbb\xbfa", false, false).as_deref(), Some("\u{feff}a"));
        assert_eq!(decode_utf8(b"\xef\xbb\xbfa", false, true).as_deref(), Some("\u{feff}a"));
        assert_eq!(decode_utf8(b"a\xff", true, false), None);
        assert_eq!(decode_utf8(b"a\xff", false, false).as_deref(), Some("a\u{fffd}"));
    }

    #[test]
    fn fatal_decoder_refuses_what_the_other_replaces() {
        assert_eq!(decode_chunk(&mut decoder("utf-8", false), b"a\xff", true, true), None);
        assert_eq!(decode_chunk(&mut decoder("utf-8", false), b"a\xff", true, false).as_deref(), Some("a\u{fffd}"));
    }
}
