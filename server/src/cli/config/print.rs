//! Writes settings as a file that [`Settings::parse`] reads back: the effective one, the commented example, the help.

use std::fmt::Write as _;

use super::{
    Settings,
    table::{self, Key, SECTIONS, Slot},
};

/// Widest line of the help.
const HELP_CHARS_MAX: usize = 98;
/// Width of its first column.
const PATH_CHARS: usize = 29;

impl Settings {
    /// The effective configuration, with every key that has a value.
    pub fn print(&self) -> String {
        let mut settings = self.clone();
        let mut out = String::new();
        for (section, about) in SECTIONS {
            header(&mut out, section, about);
            for key in table::all().filter(|key| key.section == section) {
                if let Some(value) = show((key.slot)(&mut settings)) {
                    line(&mut out, format_args!("{} = {value}", key.name));
                }
            }
        }
        out
    }
}

/// The commented example: every key with its documentation, what it may be, and its default.
pub fn example() -> String {
    let mut settings = Settings::default();
    let mut out = String::new();
    for (section, about) in SECTIONS {
        header(&mut out, section, about);
        for key in table::all().filter(|key| key.section == section) {
            let value = sample(key, &mut settings);
            line(&mut out, format_args!("# {}{}", key.doc, range(key)));
            line(&mut out, format_args!("{value}"));
        }
    }
    out
}

/// All keys for `lethe serve --help`: path and meaning.
pub fn help() -> String {
    let mut out = String::from("Keys of the configuration file (docs/lethe.toml has them all with their defaults):\n");
    for key in table::all() {
        let path = key.path();
        if PATH_CHARS + 3 + key.doc.chars().count() <= HELP_CHARS_MAX {
            line(&mut out, format_args!("  {path:<PATH_CHARS$} {}", key.doc));
        } else {
            line(&mut out, format_args!("  {path}\n      {}", key.doc));
        }
    }
    out
}

/// What a number may be; nothing of other keys.
fn range(key: &Key) -> String {
    match key.range {
        (0, 0) => String::new(),
        (min, max) => format!(" {min} to {max}."),
    }
}

fn header(out: &mut String, section: &str, about: &str) {
    if section.is_empty() {
        line(out, format_args!("# {about}"));
    } else {
        line(out, format_args!("\n# {about}\n[{section}]"));
    }
}

/// The key as the example has it. What differs from machine to machine, or may be absent, is a comment or an example.
fn sample(key: &Key, settings: &mut Settings) -> String {
    let name = key.name;
    let fixed = match key.path().as_str() {
        "name" => Some("\"n1\""),
        "join" => Some("[\"10.0.0.2:7071\", \"10.0.0.3:7071\"]"),
        "peer.advertise" => Some("\"10.0.0.1:7071\""),
        _ => None,
    };
    if let Some(value) = fixed {
        return format!("{name} = {value}");
    }
    let absent = match key.path().as_str() {
        "http.tls_cert" => "\"/etc/lethe/http.pem\"",
        "http.tls_key" => "\"/etc/lethe/http-key.pem\"",
        "http.advertise" => "\"10.0.0.1:8787\"",
        "tls.dir" => "\"/var/lib/lethe/tls\"",
        _ => "\"10.0.0.1:7070\"",
    };
    match show((key.slot)(settings)) {
        Some(value) => format!("{name} = {value}"),
        None => format!("# {name} = {absent}"),
    }
}

/// A value as TOML; `None` if there is none.
fn show(slot: Slot<'_>) -> Option<String> {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    Some(match slot {
        Slot::MaybeName(text) => quoted(text.as_ref()?),
        Slot::Path(path) => quoted(&path.display().to_string()),
        Slot::MaybePath(path) => quoted(&path.as_ref()?.display().to_string()),
        Slot::Listen(address) => quoted(&address.to_string()),
        Slot::MaybeHost(host) => quoted(host.as_ref()?),
        Slot::Hosts(hosts) => toml::Value::from(hosts.clone()).to_string(),
        Slot::Flag(flag) => flag.to_string(),
        Slot::U32(number) => number.to_string(),
        Slot::U64(number) => number.to_string(),
        Slot::Usize(number) => number.to_string(),
        Slot::Ms(duration) => duration.as_millis().to_string(),
    })
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{text}");
}
