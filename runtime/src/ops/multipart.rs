//! The native behind `formData()`: parses multipart/form-data (RFC 7578, as browsers write it). Lines may end in LF
//! alone, as those of forms written by hand do.

use crate::{
    js::{self, Class},
    ops::text::{bytes_arg, text_arg},
};

/// Parts of one form.
const PARTS_MAX: usize = 10_000;
/// Header lines of one part.
const HEADERS_MAX: usize = 32;

#[derive(Debug, PartialEq, Eq)]
struct Part<'a> {
    name: String,
    filename: Option<String>,
    content_type: Option<String>,
    content: &'a [u8],
}

/// `multipartParse(bytes, boundary) -> [name, filename, type, bytes, name, ...] | undefined`: undefined if malformed.
pub(crate) fn parse<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    let body = bytes_arg(args, 0);
    let Some(boundary) = text_arg(scope, args, 1) else { return };
    let Some(parts) = parts(&body, &boundary) else { return };
    let mut list = Vec::with_capacity(parts.len() * 4);
    for part in parts {
        let optional = |text: Option<String>| match text {
            Some(text) => js::string(scope, &text).into(),
            None => v8::undefined(scope).into(),
        };
        list.push(js::string(scope, &part.name).into());
        list.push(optional(part.filename));
        list.push(optional(part.content_type));
        match js::bytes(scope, part.content) {
            Some(bytes) => list.push(bytes.into()),
            None => return js::throw(scope, Class::RangeError, "the form does not fit into the worker's memory"),
        }
    }
    result.set(v8::Array::new_with_elements(scope, &list).into());
}

fn parts<'a>(body: &'a [u8], boundary: &str) -> Option<Vec<Part<'a>>> {
    let delimiter = format!("\n--{boundary}");
    // The first delimiter has no line break before it; whatever precedes it is not part of the form.
    let first = &delimiter.as_bytes()[1..];
    let mut rest = if body.starts_with(first) { &body[first.len()..] } else { split_at(body, delimiter.as_bytes())?.1 };
    let mut parts = Vec::new();
    loop {
        if rest.starts_with(b"--") {
            return Some(parts);
        }
        let line_end = rest.iter().position(|byte| !matches!(byte, b' ' | b'\t'))?;
        let line = &rest[line_end..];
        rest = line.strip_prefix(b"\r\n").or_else(|| line.strip_prefix(b"\n"))?;
        let (part, after) = split_at(rest, delimiter.as_bytes())?;
        let part = part.strip_suffix(b"\r").unwrap_or(part);
        if parts.len() == PARTS_MAX {
            return None;
        }
        parts.push(parse_part(part)?);
        rest = after;
    }
}

/// What comes before and after the first `needle`.
fn split_at<'a>(hay: &'a [u8], needle: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = find(hay, needle)?;
    Some((&hay[..at], &hay[at + needle.len()..]))
}

/// Place of the first `needle`, which starts with a byte that is rare in most data (a line break).
fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let mut start = 0;
    while let Some(at) = hay[start..].iter().position(|byte| *byte == first) {
        if hay[start + at..].starts_with(needle) {
            return Some(start + at);
        }
        start += at + 1;
    }
    None
}

fn parse_part(part: &[u8]) -> Option<Part<'_>> {
    let mut rest = part;
    let (mut disposition, mut content_type) = (None, None);
    for _ in 0..HEADERS_MAX {
        let (line, after) = match split_at(rest, b"\n") {
            Some(split) => split,
            // A part without content ends with its last header line.
            None if rest.is_empty() => (rest, rest),
            None => return None,
        };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        rest = after;
        if line.is_empty() {
            let (name, filename) = disposition?;
            return Some(Part { name, filename, content_type, content: rest });
        }
        let colon = line.iter().position(|byte| *byte == b':')?;
        let value = String::from_utf8_lossy(&line[colon + 1..]);
        if line[..colon].eq_ignore_ascii_case(b"content-disposition") {
            disposition = Some(parse_disposition(value.trim())?);
        } else if line[..colon].eq_ignore_ascii_case(b"content-type") {
            content_type = Some(value.trim().to_ascii_lowercase());
        }
    }
    None
}

/// Name and file name of `form-data; name="..."; filename="..."`.
fn parse_disposition(value: &str) -> Option<(String, Option<String>)> {
    let (kind, mut rest) = value.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("form-data") {
        return None;
    }
    let (mut name, mut filename) = (None, None);
    while !rest.trim().is_empty() {
        let (key, after) = rest.split_once('=')?;
        let (text, after) = parameter_value(after.trim_start())?;
        match key.trim().to_ascii_lowercase().as_str() {
            "name" => name = Some(text),
            "filename" => filename = Some(text),
            _ => {}
        }
        rest = after;
    }
    Some((name?, filename))
}

/// A quoted or plain value, and what follows its semicolon.
fn parameter_value(text: &str) -> Option<(String, &str)> {
    let (value, rest) = match text.strip_prefix('"') {
        Some(quoted) => {
            let (value, rest) = quoted.split_once('"')?;
            (unescaped(value), rest)
        }
        None => {
            let end = text.find(';').unwrap_or(text.len());
            (text[..end].trim().to_owned(), &text[end..])
        }
    };
    let rest = rest.trim_start();
    Some((value, rest.strip_prefix(';').unwrap_or(rest)))
}

fn unescaped(value: &str) -> String {
    value.replace("%0A", "\n").replace("%0D", "\r").replace("%22", "\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part<'a>(name: &str, content: &'a [u8]) -> Part<'a> {
        Part { name: name.into(), filename: None, content_type: None, content }
    }

    #[test]
    fn texts_and_files_are_told_apart() {
        let body = b"--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\none\r\n--B\r\n\
            content-disposition: form-data; name=\"f\"; filename=\"x%22y.txt\"\r\nContent-Type: Text/HTML\r\n\r\n\
            <p>\r\n--b\r\n--B--\r\n";
        let file = Part {
            name: "f".into(),
            filename: Some("x\"y.txt".into()),
            content_type: Some("text/html".into()),
            content: b"<p>\r\n--b",
        };
        assert_eq!(parts(body, "B"), Some(vec![part("a", b"one"), file]));
    }

    #[test]
    fn lines_may_end_without_a_carriage_return() {
        let body = b"--B\nContent-Disposition: form-data; name=\"a\"\n\none\ntwo\n--B--";
        assert_eq!(parts(body, "B"), Some(vec![part("a", b"one\ntwo")]));
    }

    #[test]
    fn an_empty_form_and_a_preamble_are_allowed() {
        assert_eq!(parts(b"--B--\r\n", "B"), Some(vec![]));
        assert_eq!(parts(b"preamble\r\n--B--", "B"), Some(vec![]));
        let empty = b"--B\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n--B--";
        assert_eq!(parts(empty, "B"), Some(vec![part("a", b"")]));
    }

    #[test]
    fn what_is_cut_off_or_unnamed_is_refused() {
        let whole = b"--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\none\r\n--B--";
        assert!(parts(whole, "B").is_some());
        for end in 0..whole.len() {
            assert_eq!(parts(&whole[..end], "B"), None, "cut at {end}");
        }
        assert_eq!(parts(b"--B\r\nContent-Type: a/b\r\n\r\none\r\n--B--", "B"), None);
        assert_eq!(parts(b"--B\r\nContent-Disposition: attachment; name=a\r\n\r\none\r\n--B--", "B"), None);
    }
}
