//! `.dev.vars`: values of `env` that do not belong in the configuration, because that is shared and they are secret.
//!
//! ```text
//! # a comment
//! KEY=value            up to the end of the line, or to a " #" comment
//! KEY='as it is'       nothing is replaced
//! KEY="two\nlines"     \n, \r, \t, \" and \\ are
//! ```

use super::error::{Error, Position};

/// The file, in the project's directory.
pub(super) const FILE: &str = ".dev.vars";

/// One line of the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Secret {
    pub name: String,
    pub value: String,
    pub at: Position,
}

/// Reads the file's text. Messages never quote a value.
pub(super) fn parse(text: &str) -> Result<Vec<Secret>, Error> {
    let mut secrets: Vec<Secret> = Vec::new();
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let begin = offset + line.len() - line.trim_start().len();
        offset += line.len();
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let at = Position::of(FILE, text, begin);
        let fail = |message: &str| Error::At { at: at.clone(), message: message.to_owned() };
        let Some((name, value)) = line.split_once('=') else { return Err(fail("expected a line like KEY=value")) };
        let name = name.trim();
        let name = name.strip_prefix("export ").map_or(name, str::trim_start);
        let letters = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(letters) || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(fail("a name has letters, digits and `_`, and begins with no digit"));
        }
        if secrets.iter().any(|secret| secret.name == name) {
            return Err(fail(&format!("`{name}` is given twice")));
        }
        let value = read_value(value.trim()).map_err(&fail)?;
        secrets.push(Secret { name: name.to_owned(), value, at });
    }
    Ok(secrets)
}

fn read_value(text: &str) -> Result<String, &'static str> {
    let Some(quote) = text.chars().next().filter(|first| matches!(first, '"' | '\'')) else {
        let value = text.find(" #").map_or(text, |comment| &text[..comment]);
        return Ok(value.trim_end().to_owned());
    };
    let mut value = String::new();
    let mut rest = text[1..].chars();
    loop {
        match rest.next() {
            None => return Err("the quote is not closed on its line"),
            Some(end) if end == quote => break,
            Some('\\') if quote == '"' => match rest.next() {
                Some('n') => value.push('\n'),
                Some('r') => value.push('\r'),
                Some('t') => value.push('\t'),
                Some(plain @ ('"' | '\\')) => value.push(plain),
                Some(other) => value.extend(['\\', other]),
                None => return Err("the quote is not closed on its line"),
            },
            Some(plain) => value.push(plain),
        }
    }
    match rest.as_str().trim_start() {
        after if after.is_empty() || after.starts_with('#') => Ok(value),
        _ => Err("something stands behind the closing quote"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_line_is_read() {
        let text = "\u{20}\n# c\nA=1\n  B = two words # comment\nexport C='a \\n # \"b'\r\nD=\"a\\n\\\"b\\\\\\d\" # x\nE=\nF=a#b\nG=x=y";
        let values: Vec<_> = parse(text).unwrap().into_iter().map(|secret| (secret.name, secret.value)).collect();
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "a \\n # \"b"),
            ("D", "a\n\"b\\\\d"),
            ("E", ""),
            ("F", "a#b"),
            ("G", "x=y"),
        ];
        assert_eq!(values, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn a_broken_line_is_an_error_with_its_place_and_without_the_value() {
        let table = [
            ("A=1\n secret", "2:2: expected a line like KEY=value"),
            ("=secret", "1:1: a name has letters, digits and `_`, and begins with no digit"),
            ("1A=secret", "1:1: a name has letters, digits and `_`, and begins with no digit"),
            ("a b=secret", "1:1: a name has letters, digits and `_`, and begins with no digit"),
            ("A=1\nA=secret", "2:1: `A` is given twice"),
            ("A=\"secret", "1:1: the quote is not closed on its line"),
            ("A=\"secret\\", "1:1: the quote is not closed on its line"),
            ("A='secret' more", "1:1: something stands behind the closing quote"),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text).unwrap_err().to_string(), format!(".dev.vars:{expected}"), "{text}");
        }
    }
}
