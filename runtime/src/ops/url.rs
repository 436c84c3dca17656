//! Natives for URLs, over the `url` crate. JavaScript holds a URL as its serialization and eight offsets into it.

use url::{Url, form_urlencoded, quirks};

use crate::{
    js::{self, Class},
    ops::text::{affordable, fill_numbers, return_bytes, return_text, text_arg},
};

/// Longest URL that is parsed; a longer one is not valid. As in browsers.
const URL_CHARS_MAX: usize = 2 * 1024 * 1024;

/// Stands for "there is none" among the offsets.
const NONE: u32 = u32::MAX;

/// Scheme end, user name end, host start, host end, port, path start, query start, fragment start.
fn parts(url: &Url) -> [u32; 8] {
    let inner = quirks::internal_components(url);
    [
        inner.scheme_end,
        inner.username_end,
        inner.host_start,
        inner.host_end,
        inner.port.map_or(NONE, u32::from),
        inner.path_start,
        inner.query_start.unwrap_or(NONE),
        inner.fragment_start.unwrap_or(NONE),
    ]
}

fn return_url(
    scope: &v8::PinScope,
    args: &v8::FunctionCallbackArguments,
    index: i32,
    result: &mut v8::ReturnValue<v8::Value>,
    url: &Url,
) {
    fill_numbers(scope, args, index, &parts(url));
    return_text(scope, result, url.as_str());
}

/// A URL argument, or a part of one; `None` for one that is too long to be a URL.
fn url_arg(scope: &mut v8::PinScope, args: &v8::FunctionCallbackArguments, index: i32) -> Option<String> {
    let length = v8::Local::<v8::String>::try_from(args.get(index)).map_or(0, |text| text.length());
    if length > URL_CHARS_MAX { None } else { text_arg(scope, args, index) }
}

/// `urlParse(input, base | undefined, Uint32Array(8) | undefined) -> href | undefined`
pub(crate) fn parse<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    let (Some(input), Some(base)) = (url_arg(scope, args, 0), url_arg(scope, args, 1)) else { return };
    let parsed = if args.get(1).is_undefined() {
        Url::parse(&input)
    } else {
        Url::parse(&base).and_then(|base| base.join(&input))
    };
    if let Ok(mut url) = parsed {
        normalize_drive(&mut url);
        return_url(scope, args, 2, result, &url);
    }
}

/// `urlSet(href, part, value, Uint32Array(8)) -> href | undefined`: a changed URL, or undefined if the value is ignored.
pub(crate) fn set<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    let (Some(href), Some(part), Some(value)) =
        (url_arg(scope, args, 0), url_arg(scope, args, 1), url_arg(scope, args, 2))
    else {
        return;
    };
    let Ok(mut url) = Url::parse(&href) else { return };
    if change(&mut url, &part, &value).is_ok() {
        normalize_drive(&mut url);
        return_url(scope, args, 3, result, &url);
    }
}

/// `file:///C|/x` is `file:///C:/x`, which the crate overlooks when the URL has slashes.
fn normalize_drive(url: &mut Url) {
    if url.scheme() != "file" {
        return;
    }
    if let [b'/', drive, b'|', rest @ ..] = url.path().as_bytes()
        && drive.is_ascii_alphabetic()
        && (rest.is_empty() || rest[0] == b'/')
    {
        let path = url.path().replacen('|', ":", 1);
        url.set_path(&path);
    }
}

/// The setters of the URL interface.
fn change(url: &mut Url, part: &str, value: &str) -> Result<(), ()> {
    match part {
        "protocol" => quirks::set_protocol(url, value),
        "username" => quirks::set_username(url, value),
        "password" => quirks::set_password(url, value),
        "host" => quirks::set_host(url, value),
        "hostname" => quirks::set_hostname(url, value),
        "port" => quirks::set_port(url, value),
        "pathname" => {
            quirks::set_pathname(url, value);
            Ok(())
        }
        "search" => {
            quirks::set_search(url, value);
            Ok(())
        }
        "hash" => {
            quirks::set_hash(url, value);
            Ok(())
        }
        _ => Err(()),
    }
}

/// `percentDecode(string) -> Uint8Array`
pub(crate) fn percent_decode<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    let Some(text) = text_arg(scope, args, 0) else { return };
    return_bytes(scope, result, &decoded(text.as_bytes()));
}

fn decoded(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        match (text[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                // Two hexadecimal digits make a number below 256.
                bytes.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                bytes.push(byte);
                at += 1;
            }
        }
    }
    bytes
}

/// `formParse(query) -> [name, value, name, value, ...]`
pub(crate) fn form_parse<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    let Some(query) = text_arg(scope, args, 0) else { return };
    let list: Vec<v8::Local<v8::Value>> = form_urlencoded::parse(query.as_bytes())
        .flat_map(|(name, value)| [name, value])
        .map(|text| js::string(scope, &text).into())
        .collect();
    result.set(v8::Array::new_with_elements(scope, &list).into());
}

/// `formSerialize([name, value, name, value, ...]) -> query`
pub(crate) fn form_serialize<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    let Ok(list) = v8::Local::<v8::Array>::try_from(args.get(0)) else {
        return js::throw(scope, Class::TypeError, "formSerialize needs an array");
    };
    let mut output = form_urlencoded::Serializer::new(String::new());
    for i in (0..list.length().saturating_sub(1)).step_by(2) {
        let (Some(name), Some(value)) = (text_at(scope, list, i), text_at(scope, list, i + 1)) else { return };
        output.append_pair(&name, &value);
    }
    return_text(scope, result, &output.finish());
}

fn text_at(scope: &mut v8::PinScope, list: v8::Local<v8::Array>, index: u32) -> Option<String> {
    let text = v8::Local::<v8::String>::try_from(list.get_index(scope, index)?).ok()?;
    affordable(scope, text).then(|| text.to_rust_string_lossy(scope))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_escapes_are_decoded() {
        assert_eq!(decoded(b"a%20%zz%4%41%"), b"a %zz%4A%");
    }

    #[test]
    fn drive_letters_of_file_urls_get_a_colon() {
        let normal = |text: &str| {
            let mut url = Url::parse(text).expect("a valid URL");
            normalize_drive(&mut url);
            url.to_string()
        };
        assert_eq!(normal("file:///C|/x"), "file:///C:/x");
        assert_eq!(normal("file:///C|"), "file:///C:");
        assert_eq!(normal("file:///CD|/x"), "file:///CD|/x");
        assert_eq!(normal("http://h/C|/x"), "http://h/C|/x");
    }
}
