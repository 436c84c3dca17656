//! Natives for Web Cryptography: digests, HMAC, AES-GCM, random UUIDs and comparison in constant time.

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq;

use crate::{
    js::{self, Class},
    ops::{
        gcm::Gcm,
        text::{bytes_arg, return_bytes, return_text, text_arg},
    },
};

/// `digest(hash, bytes) -> Uint8Array`
pub(crate) fn digest<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    let data = bytes_arg(args, 1);
    let Some(name) = text_arg(scope, args, 0) else { return };
    match hash(&name, &data) {
        Some(digest) => return_bytes(scope, result, &digest),
        None => js::throw(scope, Class::TypeError, "unknown hash"),
    }
}

fn hash(name: &str, data: &[u8]) -> Option<Vec<u8>> {
    Some(match name {
        "SHA-1" => Sha1::digest(data).to_vec(),
        "SHA-256" => Sha256::digest(data).to_vec(),
        "SHA-384" => Sha384::digest(data).to_vec(),
        "SHA-512" => Sha512::digest(data).to_vec(),
        _ => return None,
    })
}

/// `hmac(hash, key, bytes) -> Uint8Array`
pub(crate) fn hmac<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    let (key, data) = (bytes_arg(args, 1), bytes_arg(args, 2));
    let Some(name) = text_arg(scope, args, 0) else { return };
    match authenticate(&name, &key, &data) {
        Some(code) => return_bytes(scope, result, &code),
        None => js::throw(scope, Class::TypeError, "unknown hash"),
    }
}

fn authenticate(name: &str, key: &[u8], data: &[u8]) -> Option<Vec<u8>> {
    match name {
        "SHA-1" => code::<Hmac<Sha1>>(key, data),
        "SHA-256" => code::<Hmac<Sha256>>(key, data),
        "SHA-384" => code::<Hmac<Sha384>>(key, data),
        "SHA-512" => code::<Hmac<Sha512>>(key, data),
        _ => None,
    }
}

fn code<M: Mac + KeyInit>(key: &[u8], data: &[u8]) -> Option<Vec<u8>> {
    let mut mac = <M as KeyInit>::new_from_slice(key).ok()?;
    mac.update(data);
    Some(mac.finalize().into_bytes().to_vec())
}

/// `aesGcmEncrypt(key, iv, additional, bytes, tagBytes) -> Uint8Array | undefined`: the ciphertext followed by its tag.
pub(crate) fn aes_gcm_encrypt<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    aes_gcm(scope, args, result, |gcm, iv, additional, data, tag_bytes| gcm.encrypt(iv, additional, data, tag_bytes));
}

/// `aesGcmDecrypt(key, iv, additional, bytes, tagBytes) -> Uint8Array | undefined`: undefined if the tag is wrong.
pub(crate) fn aes_gcm_decrypt<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    aes_gcm(scope, args, result, |gcm, iv, additional, data, tag_bytes| gcm.decrypt(iv, additional, data, tag_bytes));
}

fn aes_gcm<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
    run: impl FnOnce(&Gcm, &[u8], &[u8], Vec<u8>, usize) -> Option<Vec<u8>>,
) {
    let tag_bytes = args.get(4).uint32_value(scope).unwrap_or(0) as usize;
    let Some(gcm) = Gcm::new(&bytes_arg(args, 0)) else {
        return js::throw(scope, Class::TypeError, "an AES key has 16, 24 or 32 bytes");
    };
    if let Some(output) = run(&gcm, &bytes_arg(args, 1), &bytes_arg(args, 2), bytes_arg(args, 3), tag_bytes) {
        return_bytes(scope, result, &output);
    }
}

/// `equalConstantTime(bytes, bytes) -> boolean`
pub(crate) fn equal_constant_time<'s>(
    _: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    let (left, right) = (bytes_arg(args, 0), bytes_arg(args, 1));
    result.set_bool(left.ct_eq(&right).into());
}

/// `randomUuid() -> string`: version 4.
pub(crate) fn random_uuid<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    _: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    return_text(scope, result, &uuid::Uuid::new_v4().to_string());
}
