//! Reads the file: every key is looked up in the table, every value checked against its kind and range.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue},
};

use super::{
    Error, Position, Settings,
    table::{self, Key, SECTIONS, Slot},
};
use crate::{deploy::closest, store::wal::SEGMENT_BYTES_UNIT};

/// Longest name of a node.
const NAME_CHARS_MAX: usize = 63;
/// Most addresses in `join`.
const JOIN_MAX: usize = 64;

/// Whether a text can name a node: letters, digits, `-`, `_` and `.`.
pub fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=NAME_CHARS_MAX).contains(&text.len()) && text.chars().all(fits)
}

/// Whether a text is `host:port` with a port that can be connected to.
pub(super) fn is_host(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let named = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'));
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = bracketed.is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok());
    (named || address) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// The file being read.
struct File<'a> {
    name: &'a str,
    text: &'a str,
    /// What relative paths are relative to.
    dir: &'a Path,
}

impl File<'_> {
    fn error(&self, at: usize, message: impl Into<String>) -> Error {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        Error::At { at: Position { file: self.name.to_owned(), line }, message: message.into() }
    }
}

impl Settings {
    /// Reads `text`, the content of `file`. Relative paths are relative to `dir`.
    pub fn parse(file: &str, text: &str, dir: &Path) -> Result<Self, Error> {
        let file = File { name: file, text, dir };
        let parsed = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            file.error(at, format!("not valid TOML: {}", error.message().replace('\n', "; ")))
        })?;
        let mut settings = Self::default();
        for (key, value) in parsed.into_inner() {
            let (at, name) = (key.span().start, key.into_inner());
            let is_section = SECTIONS.iter().any(|(section, _)| !section.is_empty() && *section == name);
            match (is_section, value.into_inner()) {
                (true, DeValue::Table(inner)) => settings.section(&file, &name, inner)?,
                (true, _) => return Err(file.error(at, format!("`{name}` is a section: write [{name}]"))),
                (false, value) => settings.set(&file, "", (at, &name), value)?,
            }
        }
        settings.check(&file)?;
        Ok(settings)
    }

    fn section(&mut self, file: &File<'_>, section: &str, table: DeTable<'_>) -> Result<(), Error> {
        for (key, value) in table {
            self.set(file, section, (key.span().start, key.get_ref()), value.into_inner())?;
        }
        Ok(())
    }

    fn set(
        &mut self,
        file: &File<'_>,
        section: &str,
        (at, name): (usize, &str),
        value: DeValue<'_>,
    ) -> Result<(), Error> {
        let Some(key) = table::all().find(|key| key.section == section && key.name == name) else {
            return Err(file.error(at, unknown(section, name)));
        };
        let path = key.path();
        store(file, key, (key.slot)(self), value).map_err(|expected| {
            let message = format!("`{path}` must be {expected}");
            file.error(at, message)
        })
    }

    /// What several keys say together.
    fn check(&self, file: &File<'_>) -> Result<(), Error> {
        let wrong = |key: &str, message: &str| Err(file.error(place(file.text, key), message));
        let raft = &self.shard;
        if self.http_cert.is_some() && self.http_key.is_none() {
            return wrong("http.tls_cert", "`http.tls_cert` is given without `http.tls_key`");
        }
        if self.http_key.is_some() && self.http_cert.is_none() {
            return wrong("http.tls_key", "`http.tls_key` is given without `http.tls_cert`");
        }
        if raft.election_min_ms < 2 * raft.heartbeat_ms {
            return wrong("raft.election_min_ms", "`raft.election_min_ms` must be at least twice `raft.heartbeat_ms`");
        }
        if raft.election_max_ms <= raft.election_min_ms {
            return wrong("raft.election_max_ms", "`raft.election_max_ms` must be above `raft.election_min_ms`");
        }
        if self.cluster.silent_ms < 2 * self.cluster.pulse_ms {
            return wrong("cluster.silent_ms", "`cluster.silent_ms` must be at least twice `cluster.pulse_ms`");
        }
        if self.cluster.dead_ms < self.cluster.silent_ms {
            return wrong("cluster.dead_ms", "`cluster.dead_ms` must not be below `cluster.silent_ms`");
        }
        if self.http.limits.url_bytes_max > self.http.limits.header_bytes_max {
            return wrong("http.url_bytes_max", "`http.url_bytes_max` must not be above `http.header_bytes_max`");
        }
        if !raft.wal_segment_bytes.is_multiple_of(SEGMENT_BYTES_UNIT) {
            return wrong("log.segment_bytes", "`log.segment_bytes` must be a multiple of 4096");
        }
        if raft.wal_bytes_max < 4 * raft.wal_segment_bytes {
            return wrong("log.bytes_max", "`log.bytes_max` must hold at least four segments (`log.segment_bytes`)");
        }
        if self.peer_listen.ip().is_unspecified() && self.peer_advertise.is_none() {
            let text = "`peer.advertise` is missing: other nodes cannot reach an address like 0.0.0.0; \
                        give host:port, or listen on one address";
            return wrong("peer.listen", text);
        }
        Ok(())
    }
}

impl Key {
    /// `section.name`, or the name alone at the top.
    pub(super) fn path(&self) -> String {
        if self.section.is_empty() { self.name.to_owned() } else { format!("{}.{}", self.section, self.name) }
    }
}

/// Says that nobody knows a key, and which one was probably meant.
fn unknown(section: &str, name: &str) -> String {
    let path = if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") };
    let mut known: Vec<&str> = table::all().filter(|key| key.section == section).map(|key| key.name).collect();
    if section.is_empty() {
        known.extend(SECTIONS.iter().map(|(section, _)| *section).filter(|section| !section.is_empty()));
    }
    if let Some(meant) = closest(name, &known) {
        return format!("unknown key `{path}` (did you mean `{meant}`?)");
    }
    match table::all().find(|key| key.name == name) {
        Some(elsewhere) => format!("unknown key `{path}` (did you mean `{}`?)", elsewhere.path()),
        None => format!("unknown key `{path}`"),
    }
}

/// Where `section.name` stands in the text, for messages about several keys: else its section, else the beginning.
fn place(text: &str, key: &str) -> usize {
    let (section, name) = key.split_once('.').unwrap_or(("", key));
    let (mut at, mut inside, mut best) = (0, section.is_empty(), 0);
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim();
        if trimmed.starts_with('[') {
            inside = trimmed.trim_matches(['[', ']']).trim() == section;
            best = if inside { at } else { best };
        }
        let rest = trimmed.strip_prefix(name).filter(|_| inside);
        if rest.is_some_and(|rest| rest.trim_start().starts_with('=')) {
            return at;
        }
        at += line.len();
    }
    best
}

/// Puts a value in its place, or says what was expected.
fn store(file: &File<'_>, key: &Key, slot: Slot<'_>, value: DeValue<'_>) -> Result<(), String> {
    match slot {
        Slot::MaybeName(place) => {
            let name = text(value)?;
            if !is_name(&name) {
                return Err(format!("1 to {NAME_CHARS_MAX} letters, digits, `-`, `_` or `.`, not {name:?}"));
            }
            *place = Some(name);
        }
        Slot::Path(place) => *place = path(file, value)?,
        Slot::MaybePath(place) => *place = Some(path(file, value)?),
        Slot::Listen(place) => *place = listen(value)?,
        Slot::MaybeHost(place) => *place = Some(host(value)?),
        Slot::Hosts(place) => *place = hosts(value)?,
        Slot::Flag(place) => {
            *place = value.as_bool().ok_or_else(|| format!("true or false, not {}", describe(&value)))?;
        }
        Slot::U32(place) => {
            let number = number(key, &value)?;
            *place = u32::try_from(number).map_err(|_| "a smaller number".to_owned())?;
        }
        Slot::U64(place) => *place = number(key, &value)?,
        Slot::Usize(place) => {
            let number = number(key, &value)?;
            *place = usize::try_from(number).map_err(|_| "a smaller number".to_owned())?;
        }
        Slot::Ms(place) => *place = Duration::from_millis(number(key, &value)?),
    }
    Ok(())
}

fn text(value: DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.into_owned()),
        other => Err(format!("a string, not {}", describe(&other))),
    }
}

fn path(file: &File<'_>, value: DeValue<'_>) -> Result<PathBuf, String> {
    let text = text(value)?;
    if text.is_empty() || text.contains('\0') {
        return Err("a path".to_owned());
    }
    Ok(file.dir.join(text))
}

fn listen(value: DeValue<'_>) -> Result<SocketAddr, String> {
    let text = text(value)?;
    text.parse().map_err(|_| format!("address:port like \"127.0.0.1:7070\" or \"[::]:7070\", not {text:?}"))
}

fn host(value: DeValue<'_>) -> Result<String, String> {
    let text = text(value)?;
    if is_host(&text) { Ok(text) } else { Err(format!("host:port like \"10.0.0.1:7071\", not {text:?}")) }
}

fn hosts(value: DeValue<'_>) -> Result<Vec<String>, String> {
    let DeValue::Array(list) = value else {
        return Err(format!("a list of host:port like [\"10.0.0.1:7071\"], not {}", describe(&value)));
    };
    let hosts: Vec<String> = DeArray::into_iter(list).map(Spanned::into_inner).map(host).collect::<Result<_, _>>()?;
    if hosts.len() > JOIN_MAX { Err(format!("a list of at most {JOIN_MAX} addresses")) } else { Ok(hosts) }
}

fn number(key: &Key, value: &DeValue<'_>) -> Result<u64, String> {
    let (min, max) = key.range;
    let integer = value.as_integer().and_then(|integer| u64::from_str_radix(integer.as_str(), integer.radix()).ok());
    let found = integer.filter(|number| (min..=max).contains(number));
    found.ok_or_else(|| format!("a whole number from {min} to {max}, not {}", describe(value)))
}

/// A value, in an error.
fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the string {:?}", text.chars().take(60).collect::<String>()),
        DeValue::Integer(integer) => integer.to_string(),
        DeValue::Float(float) => float.as_str().to_owned(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(date) => format!("the date {date}"),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}
