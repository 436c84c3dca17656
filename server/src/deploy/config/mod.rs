//! The project's configuration: `wrangler.jsonc`, `wrangler.json` or `wrangler.toml`, checked and typed.
//!
//! ```text
//! text ── tree (values with places) ── reader (typed, warns of unknown keys) ── Config
//! ```
//!
//! A broken value is an error with its place; a key that means nothing here is a warning that names it.

mod actors;
mod reader;
mod tree;

#[cfg(test)]
mod tests;

use std::{cell::RefCell, collections::BTreeMap};

use lethe_runtime::program::Limits;

use self::reader::{Document, Table};
use super::{
    error::{Error, Position, Warning},
    rules::{ModuleKind, Rule},
};
use crate::egress::Pattern;

pub use self::actors::{ActorBinding, Migration};
pub(crate) use self::reader::closest;

/// Longest `limits.cpu_ms`: five minutes.
const CPU_MS_MAX: u64 = 300_000;
/// Longest `limits.wall_ms`: one hour.
const WALL_MS_MAX: u64 = 3_600_000;
/// Smallest and largest `limits.memory_mb`.
const MEMORY_MB: std::ops::RangeInclusive<u64> = 16..=4096;
/// Longest worker name.
const NAME_CHARS_MAX: usize = 63;

/// Keys of Cloudflare's service that mean nothing on a machine of one's own: taken without a word.
const MEANINGLESS: &[&str] = &[
    "$schema",
    "account_id",
    "workers_dev",
    "preview_urls",
    "send_metrics",
    "keep_vars",
    "logpush",
    "placement",
    "observability",
    "upload_source_maps",
    "minify",
    "keep_names",
    "no_bundle",
    "find_additional_modules",
    "preserve_file_names",
    "base_dir",
    "dev",
    "first_party_worker",
    "legacy_env",
    "tsconfig",
];

/// Keys whose absence a worker would notice.
const NOT_SUPPORTED: &[&str] = &[
    "env",
    "routes",
    "route",
    "triggers",
    "assets",
    "site",
    "build",
    "alias",
    "define",
    "kv_namespaces",
    "r2_buckets",
    "d1_databases",
    "queues",
    "services",
    "workflows",
    "hyperdrive",
    "analytics_engine_datasets",
    "vectorize",
    "ai",
    "browser",
    "images",
    "send_email",
    "mtls_certificates",
    "version_metadata",
    "tail_consumers",
    "containers",
    "pipelines",
    "secrets_store_secrets",
    "dispatch_namespaces",
    "unsafe",
    "wasm_modules",
    "text_blobs",
    "data_blobs",
    "ratelimits",
    "worker_loaders",
    "jsx_factory",
    "jsx_fragment",
    "python_modules",
];

/// What a worker may reach over the network beyond public addresses: the `lethe.egress` table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Egress {
    /// Loopback, link-local and private addresses are allowed.
    pub allow_private: bool,
    /// Hosts and CIDR ranges that are allowed although they are not public.
    pub allow: Vec<String>,
}

/// A checked configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The worker's name.
    pub name: String,
    /// Entry module as written, and where.
    pub main: (String, Position),
    /// `YYYY-MM-DD`, if given.
    pub compatibility_date: Option<String>,
    /// As given.
    pub compatibility_flags: Vec<String>,
    /// Plain values of `env`.
    pub vars: BTreeMap<String, serde_json::Value>,
    /// Actor namespaces of `env`.
    pub actors: Vec<ActorBinding>,
    /// History of actor classes.
    pub migrations: Vec<Migration>,
    /// Module rules, first match wins; Wrangler's default rules follow them.
    pub rules: Vec<Rule>,
    /// Limits of one invocation.
    pub limits: Limits,
    /// Outbound network policy.
    pub egress: Egress,
}

/// Reads the text of a configuration file; `file` says by its ending whether it is TOML.
pub(super) fn parse(file: &str, text: &str) -> Result<(Config, Vec<Warning>), Error> {
    let root = if file.ends_with(".toml") { tree::parse_toml(file, text) } else { tree::parse_json(file, text) }?;
    let document = Document { file, text, warnings: RefCell::default() };
    let config = read(&document, &root)?;
    let mut warnings = document.warnings.into_inner();
    warnings.sort_by_key(|warning| (warning.at.line, warning.at.column));
    Ok((config, warnings))
}

fn read(document: &Document<'_>, root: &tree::Node) -> Result<Config, Error> {
    let mut table = Table::new(document, "", root)?;
    let (name, name_at) = table.required_text("name", "it names the worker, its logs and its actors' namespaces")?;
    check_name(name).map_err(|message| document.error(name_at, message))?;
    let (main, main_at) = table.required_text("main", "it is the path of the entry module, like \"src/index.js\"")?;
    let compatibility_date = read_date(document, &mut table)?;
    let flags = table.texts("compatibility_flags")?;
    let vars = read_vars(&mut table)?;
    let actors = actors::read_bindings(document, &mut table, name)?;
    let migrations = actors::read_migrations(document, &mut table)?;
    let rules = read_rules(document, &mut table)?;
    let limits = read_limits(&mut table)?;
    let egress = read_lethe(document, &mut table)?;
    table.ignore(MEANINGLESS, None);
    table.ignore(NOT_SUPPORTED, Some("is not supported yet and has no effect"));
    table.done();

    for actor in &actors {
        if vars.contains_key(&actor.binding) {
            let message = format!("`{}` is also one of `vars`: two bindings cannot have one name", actor.binding);
            return Err(Error::At { at: actor.at.clone(), message });
        }
    }
    actors::check_migrations(document, &actors, &migrations)?;
    Ok(Config {
        name: name.to_owned(),
        main: (main.to_owned(), Position::of(document.file, document.text, main_at)),
        compatibility_date,
        compatibility_flags: flags.into_iter().map(|(flag, _)| flag.to_owned()).collect(),
        vars,
        actors,
        migrations,
        rules,
        limits,
        egress,
    })
}

fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let fits = !name.is_empty() && name.len() <= NAME_CHARS_MAX && name.chars().all(plain) && !name.starts_with('-');
    if fits {
        return Ok(());
    }
    Err(format!("`name` must be 1 to {NAME_CHARS_MAX} of a-z, 0-9, `-` and `_`, not starting with `-`; got {name:?}"))
}

fn read_date(document: &Document<'_>, table: &mut Table<'_>) -> Result<Option<String>, Error> {
    let Some(node) = table.take("compatibility_date") else {
        document.warn(table.at, "`compatibility_date` is missing: the newest behaviour is used");
        return Ok(None);
    };
    match &node.kind {
        tree::Kind::Text(text) | tree::Kind::Date(text) if is_date(text) => Ok(Some(text.clone())),
        _ => {
            let message = format!("`compatibility_date` must be a date like \"2026-11-21\", not {}", node.describe());
            Err(document.error(node.at, message))
        }
    }
}

fn is_date(text: &str) -> bool {
    let number = |range: std::ops::Range<usize>| -> Option<u32> {
        let digits = text.get(range).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
        digits.parse().ok()
    };
    let shape = text.len() == 10 && text.as_bytes()[4] == b'-' && text.as_bytes()[7] == b'-';
    let (Some(year), Some(month), Some(day)) = (number(0..4), number(5..7), number(8..10)) else { return false };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => 0,
    };
    shape && (1..=days).contains(&day)
}

fn read_vars(table: &mut Table<'_>) -> Result<BTreeMap<String, serde_json::Value>, Error> {
    let Some(vars) = table.table("vars")? else { return Ok(BTreeMap::new()) };
    Ok(vars.into_entries().map(|entry| (entry.key.clone(), entry.value.to_json())).collect())
}

fn read_rules(document: &Document<'_>, table: &mut Table<'_>) -> Result<Vec<Rule>, Error> {
    let mut rules = Vec::new();
    for mut rule in table.tables("rules")? {
        let (kind, kind_at) = rule.required_text("type", "it is one of ESModule, Text, Data, Json, CompiledWasm")?;
        let name = rule.name("type");
        let kind = ModuleKind::from_config(kind).ok_or_else(|| {
            let expected = "one of ESModule, Text, Data, Json, CompiledWasm";
            document.error(kind_at, format!("`{name}` must be {expected}, not {kind:?}"))
        })?;
        let globs = rule.texts("globs")?;
        if globs.is_empty() {
            return Err(
                document.error(rule.at, format!("`{}` is missing: a list like [\"**/*.md\"]", rule.name("globs")))
            );
        }
        let globs = globs.into_iter().map(|(glob, _)| glob.to_owned()).collect();
        let fallthrough = rule.flag("fallthrough")?.unwrap_or(false);
        rule.done();
        rules.push(Rule { kind, globs, fallthrough });
    }
    Ok(rules)
}

fn read_limits(table: &mut Table<'_>) -> Result<Limits, Error> {
    let mut limits = Limits::default();
    let Some(mut table) = table.table("limits")? else { return Ok(limits) };
    limits.cpu_ms = table.integer("cpu_ms", 1..=CPU_MS_MAX)?.unwrap_or(limits.cpu_ms);
    limits.memory_mb = table.integer("memory_mb", MEMORY_MB)?.unwrap_or(limits.memory_mb);
    limits.wall_ms = table.integer("wall_ms", 1..=WALL_MS_MAX)?.or(limits.wall_ms);
    table.done();
    Ok(limits)
}

fn read_lethe(document: &Document<'_>, table: &mut Table<'_>) -> Result<Egress, Error> {
    let mut egress = Egress::default();
    let Some(mut lethe) = table.table("lethe")? else { return Ok(egress) };
    if let Some(mut table) = lethe.table("egress")? {
        egress.allow_private = table.flag("allow_private")?.unwrap_or(false);
        for (pattern, at) in table.texts("allow")? {
            if let Err(error) = pattern.parse::<Pattern>() {
                return Err(document.error(at, format!("`{}`: {error}", table.name("allow"))));
            }
            egress.allow.push(pattern.to_owned());
        }
        table.done();
    }
    lethe.done();
    Ok(egress)
}
