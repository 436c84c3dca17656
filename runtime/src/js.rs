//! Small bridges between Rust values and JavaScript values.

use crate::host::JsError;

/// Longest text of an exception's name, message or stack that leaves an isolate.
const ERROR_TEXT_CHARS_MAX: usize = 64 * 1024;

/// Which JavaScript error to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Error,
    TypeError,
    RangeError,
}

/// A JavaScript string; an exception-free stand-in when the text is longer than V8 allows.
pub(crate) fn string<'s>(scope: &v8::PinScope<'s, '_>, text: &str) -> v8::Local<'s, v8::String> {
    v8::String::new(scope, text).unwrap_or_else(|| v8::String::empty(scope))
}

/// As [`string`], for a name that is looked up: V8 finds the string that it has already instead of making one.
pub(crate) fn name<'s>(scope: &v8::PinScope<'s, '_>, text: &str) -> v8::Local<'s, v8::String> {
    let name = v8::String::new_from_utf8(scope, text.as_bytes(), v8::NewStringType::Internalized);
    name.unwrap_or_else(|| v8::String::empty(scope))
}

/// A JavaScript error object.
pub(crate) fn error<'s>(scope: &v8::PinScope<'s, '_>, class: Class, message: &str) -> v8::Local<'s, v8::Value> {
    let message = string(scope, message);
    match class {
        Class::Error => v8::Exception::error(scope, message),
        Class::TypeError => v8::Exception::type_error(scope, message),
        Class::RangeError => v8::Exception::range_error(scope, message),
    }
}

/// Throws a JavaScript error from a native.
pub(crate) fn throw(scope: &v8::PinScope, class: Class, message: &str) {
    let error = error(scope, class, message);
    scope.throw_exception(error);
}

/// Reads a property, `None` if it throws.
pub(crate) fn get<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    object: v8::Local<v8::Object>,
    key: &str,
) -> Option<v8::Local<'s, v8::Value>> {
    let key = name(scope, key);
    object.get(scope, key.into())
}

/// Sets a property of an object that has no setters.
pub(crate) fn set(scope: &mut v8::PinScope, object: v8::Local<v8::Object>, key: &str, value: v8::Local<v8::Value>) {
    let key = name(scope, key);
    object.create_data_property(scope, key.into(), value);
}

/// What was thrown, as it leaves the isolate. Reading it may run getters of the worker; their exceptions are swallowed.
pub(crate) fn thrown(scope: &mut v8::PinScope, exception: v8::Local<v8::Value>) -> JsError {
    v8::tc_scope!(scope, scope);
    if let Ok(object) = v8::Local::<v8::Object>::try_from(exception)
        && !object.is_function()
    {
        let name = text_property(scope, object, "name");
        let message = text_property(scope, object, "message");
        let stack = text_property(scope, object, "stack").map(|stack| own_frames(&stack)).unwrap_or_default();
        if name.is_some() || message.is_some() {
            return JsError {
                name: name.unwrap_or_else(|| "Error".into()),
                message: message.unwrap_or_default(),
                stack,
            };
        }
    }
    let message = match exception.to_string(scope) {
        Some(text) => bounded(text.to_rust_string_lossy(scope)),
        None => "a value that cannot be turned into text was thrown".into(),
    };
    JsError { name: "Error".into(), message, stack: String::new() }
}

fn text_property(
    scope: &mut v8::PinnedRef<v8::TryCatch<v8::HandleScope>>,
    object: v8::Local<v8::Object>,
    key: &str,
) -> Option<String> {
    let value = get(scope, object, key);
    scope.reset();
    let text = value.filter(|value| value.is_string())?;
    Some(bounded(text.to_rust_string_lossy(scope)))
}

fn bounded(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(ERROR_TEXT_CHARS_MAX) {
        text.truncate(end);
    }
    text
}

/// Removes the runtime's own frames from a stack.
fn own_frames(stack: &str) -> String {
    let own = |line: &&str| !line.trim_start().starts_with("at ") || !line.contains("lethe:");
    stack.lines().filter(own).collect::<Vec<_>>().join("\n")
}

/// The exception a compile error text is made of: `file:line:column: text`, the source line, a caret.
pub(crate) fn located(
    scope: &mut v8::PinScope,
    exception: v8::Local<v8::Value>,
    message: Option<v8::Local<v8::Message>>,
) -> String {
    let error = thrown(scope, exception);
    let Some(message) = message else { return error.to_string() };
    let file = message.get_script_resource_name(scope).filter(|name| name.is_string());
    let file = file.map_or_else(|| "?".into(), |name| name.to_rust_string_lossy(scope));
    let column = message.get_start_column();
    // V8 gives -1 where an error has no place in a source.
    let line = message.get_line_number(scope).filter(|_| i32::try_from(column).is_ok());
    let Some(line) = line else { return error.to_string() };
    let mut text = format!("{file}:{line}:{}: {error}", column + 1);
    if let Some(source) = message.get_source_line(scope) {
        let source = source.to_rust_string_lossy(scope);
        let (source, column) = excerpt(&source, column);
        let width = message.get_end_column().saturating_sub(message.get_start_column()).clamp(1, 40);
        text += &format!("\n    {source}\n    {}{}", " ".repeat(column), "^".repeat(width));
    }
    text
}

/// At most 120 characters of a source line around a column, and the column in them.
fn excerpt(line: &str, column: usize) -> (String, usize) {
    const CHARS_MAX: usize = 120;
    let start = column.saturating_sub(CHARS_MAX / 2);
    let text: String = line.chars().skip(start).take(CHARS_MAX).map(|c| if c == '\t' { ' ' } else { c }).collect();
    (text, column - start)
}

/// Bytes as a `Uint8Array`, or `None` if the worker's memory limit does not allow it.
pub(crate) fn bytes<'s>(scope: &mut v8::PinScope<'s, '_>, bytes: &[u8]) -> Option<v8::Local<'s, v8::Uint8Array>> {
    let buffer = crate::memory::array_buffer(scope, bytes)?;
    v8::Uint8Array::new(scope, buffer, 0, bytes.len())
}

/// Copies the bytes of an `ArrayBuffer` or a view.
pub(crate) fn copy_bytes(value: v8::Local<v8::Value>) -> Option<Vec<u8>> {
    if let Ok(view) = v8::Local::<v8::ArrayBufferView>::try_from(value) {
        let mut bytes = vec![0; view.byte_length()];
        let copied = view.copy_contents(&mut bytes);
        bytes.truncate(copied);
        return Some(bytes);
    }
    let buffer = v8::Local::<v8::ArrayBuffer>::try_from(value).ok()?;
    let store = buffer.get_backing_store();
    Some(store.iter().map(std::cell::Cell::get).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_builtins_do_not_leave_the_isolate() {
        let stack = "Error: x\n    at f (src/a.js:1:2)\n    at run (lethe:entry:3:4)\n    at src/a.js:9:1";
        assert_eq!(own_frames(stack), "Error: x\n    at f (src/a.js:1:2)\n    at src/a.js:9:1");
    }

    #[test]
    fn excerpt_of_a_long_line_keeps_the_column_in_sight() {
        let line = "a".repeat(10_000) + "!" + &"b".repeat(10_000);
        let (text, column) = excerpt(&line, 10_000);
        assert_eq!((text.chars().count(), text.chars().nth(column)), (120, Some('!')));
        assert_eq!(excerpt("short", 2), ("short".into(), 2));
    }
}
