//! Typed reading of a configuration tree: what is asked for is checked, what is never asked for becomes a warning.

use std::cell::RefCell;

use super::super::error::{Error, Position, Warning};
use super::tree::{Entry, Kind, Node};

/// The file being read, and the warnings it has caused.
pub(super) struct Document<'a> {
    pub file: &'a str,
    pub text: &'a str,
    pub warnings: RefCell<Vec<Warning>>,
}

impl Document<'_> {
    pub(super) fn error(&self, at: usize, message: impl Into<String>) -> Error {
        Error::At { at: Position::of(self.file, self.text, at), message: message.into() }
    }

    pub(super) fn warn(&self, at: usize, message: impl Into<String>) {
        self.warn_at(Position::of(self.file, self.text, at), message);
    }

    pub(super) fn warn_at(&self, at: Position, message: impl Into<String>) {
        self.warnings.borrow_mut().push(Warning { at, message: message.into() });
    }
}

/// A table being read. `done` warns of every key that nobody took.
pub(super) struct Table<'a> {
    document: &'a Document<'a>,
    /// Path of this table, for messages: empty at the top, else `limits.`
    path: String,
    /// Where the table begins.
    pub at: usize,
    rest: Vec<&'a Entry>,
    known: Vec<&'static str>,
}

impl<'a> Table<'a> {
    /// `path` names the table in messages; empty for the whole file.
    pub(super) fn new(document: &'a Document<'a>, path: &str, node: &'a Node) -> Result<Self, Error> {
        let Kind::Table(entries) = &node.kind else {
            let what = if path.is_empty() { "the configuration".to_owned() } else { format!("`{path}`") };
            return Err(document.error(node.at, format!("{what} must be a table, not {}", node.describe())));
        };
        let path = if path.is_empty() { String::new() } else { format!("{path}.") };
        Ok(Self { document, path, at: node.at, rest: entries.iter().collect(), known: Vec::new() })
    }

    /// Full name of a key, as messages say it.
    pub(super) fn name(&self, key: &str) -> String {
        format!("{}{key}", self.path)
    }

    /// Takes whatever stands under `key`.
    pub(super) fn take(&mut self, key: &'static str) -> Option<&'a Node> {
        self.take_entry(key).map(|entry| &entry.value)
    }

    pub(super) fn take_entry(&mut self, key: &'static str) -> Option<&'a Entry> {
        self.known.push(key);
        let index = self.rest.iter().position(|entry| entry.key == key)?;
        Some(self.rest.remove(index))
    }

    fn wrong(&self, key: &str, expected: &str, node: &Node) -> Error {
        self.document.error(node.at, format!("`{}` must be {expected}, not {}", self.name(key), node.describe()))
    }

    /// An optional string, with the place of its value.
    pub(super) fn text(&mut self, key: &'static str) -> Result<Option<(&'a str, usize)>, Error> {
        let Some(node) = self.take(key) else { return Ok(None) };
        match &node.kind {
            Kind::Text(text) => Ok(Some((text, node.at))),
            _ => Err(self.wrong(key, "a string", node)),
        }
    }

    /// A string that must be there.
    pub(super) fn required_text(&mut self, key: &'static str, why: &str) -> Result<(&'a str, usize), Error> {
        let at = self.at;
        self.text(key)?.ok_or_else(|| self.document.error(at, format!("`{}` is missing: {why}", self.name(key))))
    }

    /// An optional `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str) -> Result<Option<bool>, Error> {
        let Some(node) = self.take(key) else { return Ok(None) };
        match node.kind {
            Kind::Bool(value) => Ok(Some(value)),
            _ => Err(self.wrong(key, "true or false", node)),
        }
    }

    /// An optional whole number in `range`.
    pub(super) fn integer(
        &mut self,
        key: &'static str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<Option<u64>, Error> {
        let Some(node) = self.take(key) else { return Ok(None) };
        let value = match node.kind {
            Kind::Integer(value) => u64::try_from(value).ok().filter(|value| range.contains(value)),
            _ => None,
        };
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        value.map(Some).ok_or_else(|| self.wrong(key, &expected, node))
    }

    /// An optional list of strings, each with its place.
    pub(super) fn texts(&mut self, key: &'static str) -> Result<Vec<(&'a str, usize)>, Error> {
        let items = self.list(key)?;
        let text = |item: &'a Node| match &item.kind {
            Kind::Text(text) => Ok((text.as_str(), item.at)),
            _ => Err(self.wrong(key, "a list of strings", item)),
        };
        items.iter().map(text).collect()
    }

    /// An optional list.
    pub(super) fn list(&mut self, key: &'static str) -> Result<&'a [Node], Error> {
        let Some(node) = self.take(key) else { return Ok(&[]) };
        match &node.kind {
            Kind::List(items) => Ok(items),
            _ => Err(self.wrong(key, "a list", node)),
        }
    }

    /// An optional list of tables.
    pub(super) fn tables(&mut self, key: &'static str) -> Result<Vec<Table<'a>>, Error> {
        let items = self.list(key)?;
        let table = |(index, item)| Table::new(self.document, &format!("{}[{index}]", self.name(key)), item);
        items.iter().enumerate().map(table).collect()
    }

    /// An optional table.
    pub(super) fn table(&mut self, key: &'static str) -> Result<Option<Table<'a>>, Error> {
        let Some(node) = self.take(key) else { return Ok(None) };
        Table::new(self.document, &self.name(key), node).map(Some)
    }

    /// Takes and drops these keys; those that are there get `warning`, if any.
    pub(super) fn ignore(&mut self, keys: &[&'static str], warning: Option<&str>) {
        for key in keys {
            let (Some(entry), name) = (self.take_entry(key), self.name(key)) else { continue };
            if let Some(warning) = warning {
                self.document.warn(entry.key_at, format!("`{name}` {warning}"));
            }
        }
    }

    /// Everything in the table, whatever its name.
    pub(super) fn into_entries(self) -> impl Iterator<Item = &'a Entry> {
        self.rest.into_iter()
    }

    /// Ends the reading: every key that is left was never asked for.
    pub(super) fn done(self) {
        for entry in &self.rest {
            let hint = closest(&entry.key, &self.known).map(|key| format!(" (did you mean `{key}`?)"));
            let message = format!("unknown key `{}`{}", self.name(&entry.key), hint.unwrap_or_default());
            self.document.warn(entry.key_at, message);
        }
    }
}

/// The known word that `word` is most likely a misspelling of.
pub(crate) fn closest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let length = word.chars().count();
    let allowed = if length < 4 { 1 } else { (length / 3).max(2) };
    let scored = known.iter().map(|candidate| (distance(word, candidate), *candidate));
    scored.filter(|(score, _)| *score <= allowed).min().map(|(_, candidate)| candidate)
}

/// Levenshtein distance, one row at a time.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_word_finds_its_neighbour_and_a_strange_one_does_not() {
        let known = ["name", "main", "migrations", "compatibility_date"];
        assert_eq!(closest("nmae", &known), Some("name"));
        assert_eq!(closest("mian", &known), Some("main"));
        assert_eq!(closest("migration", &known), Some("migrations"));
        assert_eq!(closest("compatability_date", &known), Some("compatibility_date"));
        assert_eq!(closest("nam", &known), Some("name"));
        assert_eq!(closest("zebra", &known), None);
    }
}
