//! A configuration file as a tree whose every node knows where it stands, the same for JSON, JSONC and TOML.

use jsonc_parser::{CollectOptions, ParseOptions, ast, common::Ranged};
use serde_json::Value as Json;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::super::error::{Error, Position};

/// Deepest nesting of a configuration.
const DEPTH_MAX: usize = 64;

/// A value and the byte offset at which it begins.
#[derive(Debug)]
pub(super) struct Node {
    pub kind: Kind,
    pub at: usize,
}

#[derive(Debug)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    /// A TOML date or time, as written.
    Date(String),
    List(Vec<Node>),
    Table(Vec<Entry>),
}

/// One `key = value` of a table, in the file's order.
#[derive(Debug)]
pub(super) struct Entry {
    pub key: String,
    pub key_at: usize,
    pub value: Node,
}

impl Node {
    /// What this is, in an error: `the string "x"`, `a table`.
    pub(super) fn describe(&self) -> String {
        match &self.kind {
            Kind::Null => "null".into(),
            Kind::Bool(value) => value.to_string(),
            Kind::Integer(value) => value.to_string(),
            Kind::Float(value) => value.to_string(),
            Kind::Text(text) => format!("the string {:?}", text.chars().take(60).collect::<String>()),
            Kind::Date(text) => format!("the date {text}"),
            Kind::List(_) => "a list".into(),
            Kind::Table(_) => "a table".into(),
        }
    }

    /// The value as JSON, as it goes to `env`. Dates become strings.
    pub(super) fn to_json(&self) -> Json {
        match &self.kind {
            Kind::Null => Json::Null,
            Kind::Bool(value) => Json::Bool(*value),
            Kind::Integer(value) => Json::from(*value),
            Kind::Float(value) => Json::from(*value),
            Kind::Text(text) | Kind::Date(text) => Json::String(text.clone()),
            Kind::List(items) => Json::Array(items.iter().map(Node::to_json).collect()),
            Kind::Table(entries) => entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect(),
        }
    }
}

/// Reads JSON with comments and trailing commas.
pub(super) fn parse_json(file: &str, text: &str) -> Result<Node, Error> {
    let options = ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    let parsed = jsonc_parser::parse_to_ast(text, &CollectOptions::default(), &options).map_err(|error| Error::At {
        at: Position::of(file, text, error.range().start),
        message: format!("not valid JSON: {}", error.kind()),
    })?;
    let builder = Builder { file, text };
    match parsed.value {
        Some(value) => builder.json(value, 0),
        None => Err(builder.error(0, "the file is empty: expected a JSON object")),
    }
}

/// Reads TOML.
pub(super) fn parse_toml(file: &str, text: &str) -> Result<Node, Error> {
    let table = DeTable::parse(text).map_err(|error| Error::At {
        at: Position::of(file, text, error.span().map_or(0, |span| span.start)),
        message: format!("not valid TOML: {}", error.message().replace('\n', "; ")),
    })?;
    Builder { file, text }.table(table, 0)
}

struct Builder<'a> {
    file: &'a str,
    text: &'a str,
}

impl Builder<'_> {
    fn error(&self, at: usize, message: impl Into<String>) -> Error {
        Error::At { at: Position::of(self.file, self.text, at), message: message.into() }
    }

    fn check_depth(&self, at: usize, depth: usize) -> Result<(), Error> {
        if depth > DEPTH_MAX { Err(self.error(at, format!("nested deeper than {DEPTH_MAX} levels"))) } else { Ok(()) }
    }

    fn json(&self, value: ast::Value<'_>, depth: usize) -> Result<Node, Error> {
        let at = value.range().start;
        self.check_depth(at, depth)?;
        let kind = match value {
            ast::Value::NullKeyword(_) => Kind::Null,
            ast::Value::BooleanLit(literal) => Kind::Bool(literal.value),
            ast::Value::StringLit(literal) => Kind::Text(literal.value.into_owned()),
            ast::Value::NumberLit(literal) => self.number(at, literal.value)?,
            ast::Value::Array(array) => {
                let items = array.elements.into_iter().map(|item| self.json(item, depth + 1));
                Kind::List(items.collect::<Result<_, _>>()?)
            }
            ast::Value::Object(object) => {
                let mut entries: Vec<Entry> = Vec::with_capacity(object.properties.len());
                for property in object.properties {
                    let (key_at, key) = (property.range.start, property.name.into_string());
                    if entries.iter().any(|entry| entry.key == key) {
                        return Err(self.error(key_at, format!("`{key}` is given twice")));
                    }
                    entries.push(Entry { key, key_at, value: self.json(property.value, depth + 1)? });
                }
                Kind::Table(entries)
            }
        };
        Ok(Node { kind, at })
    }

    fn table(&self, table: Spanned<DeTable<'_>>, depth: usize) -> Result<Node, Error> {
        let at = table.span().start;
        self.check_depth(at, depth)?;
        let entries = table.into_inner().into_iter().map(|(key, value)| {
            let key_at = key.span().start;
            Ok(Entry { key: key.into_inner().into_owned(), key_at, value: self.toml(value, depth + 1)? })
        });
        Ok(Node { kind: Kind::Table(entries.collect::<Result<_, Error>>()?), at })
    }

    fn toml(&self, value: Spanned<DeValue<'_>>, depth: usize) -> Result<Node, Error> {
        let span = value.span();
        let at = span.start;
        self.check_depth(at, depth)?;
        let kind = match value.into_inner() {
            DeValue::String(text) => Kind::Text(text.into_owned()),
            DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
                Ok(value) => Kind::Integer(value),
                Err(_) => return Err(self.error(at, "this integer does not fit 64 bits")),
            },
            DeValue::Float(float) => self.number(at, float.as_str())?,
            DeValue::Boolean(value) => Kind::Bool(value),
            DeValue::Datetime(date) => Kind::Date(date.to_string()),
            DeValue::Array(array) => {
                let items = array.into_iter().map(|item| self.toml(item, depth + 1));
                Kind::List(items.collect::<Result<_, _>>()?)
            }
            DeValue::Table(table) => return self.table(Spanned::new(span, table), depth),
        };
        Ok(Node { kind, at })
    }

    fn number(&self, at: usize, text: &str) -> Result<Kind, Error> {
        if let Ok(value) = text.parse() {
            return Ok(Kind::Integer(value));
        }
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Kind::Float(value)),
            _ => Err(self.error(at, "not a number that fits 64 bits")),
        }
    }
}
