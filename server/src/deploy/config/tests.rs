//! What a configuration may say, and the exact words about what it may not.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// A JSON configuration with these further lines after line 3.
fn with(lines: &str) -> String {
    let begin = "{ \"name\": \"w\",\n  \"main\": \"index.js\",\n  \"compatibility_date\": \"2026-11-21\"";
    if lines.is_empty() { format!("{begin}\n}}") } else { format!("{begin},\n{lines}\n}}") }
}

fn fails(file: &str, text: &str) -> String {
    match parse(file, text) {
        Ok((config, _)) => panic!("was taken: {text}\n{config:?}"),
        Err(error) => error.to_string(),
    }
}

fn warns(file: &str, text: &str) -> Vec<String> {
    let (_, warnings) = parse(file, text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    warnings.iter().map(ToString::to_string).collect()
}

const WHOLE_JSON: &str = r#"{
  // A comment, and a trailing comma below.
  "$schema": "node_modules/wrangler/config-schema.json",
  "name": "chat",
  "main": "src/index.js",
  "compatibility_date": "2026-11-21",
  "compatibility_flags": ["nodejs_compat"],
  "vars": { "GREETING": "hi", "LIST": [1, 2.5, null], "DEEP": { "a": true } },
  "durable_objects": { "bindings": [
    { "name": "ROOM", "class_name": "Room" },
    { "name": "LOBBY", "class_name": "Lobby", "script_name": "chat" },
  ] },
  "migrations": [
    { "tag": "v1", "new_classes": ["Old"], "new_sqlite_classes": ["Lobby"] },
    { "tag": "v2", "renamed_classes": [{ "from": "Old", "to": "Room" }] },
  ],
  "rules": [{ "type": "Text", "globs": ["**/*.md"], "fallthrough": true }],
  "limits": { "cpu_ms": 50, "memory_mb": 64, "wall_ms": 1000 },
  "lethe": { "egress": { "allow": ["localhost", "10.0.0.0/8"], "allow_private": false } },
}"#;

const WHOLE_TOML: &str = r#"
name = "chat"
main = "src/index.js"
compatibility_date = 2026-11-21
compatibility_flags = ["nodejs_compat"]
durable_objects.bindings = [
  { name = "ROOM", class_name = "Room" },
  { name = "LOBBY", class_name = "Lobby", script_name = "chat" },
]
[vars]
GREETING = "hi"
LIST = [1, 2.5]
DEEP = { a = true }
[[migrations]]
tag = "v1"
new_classes = ["Old"]
new_sqlite_classes = ["Lobby"]
[[migrations]]
tag = "v2"
[[migrations.renamed_classes]]
from = "Old"
to = "Room"
[[rules]]
type = "Text"
globs = ["**/*.md"]
fallthrough = true
[limits]
cpu_ms = 50
memory_mb = 64
wall_ms = 1_000
[lethe.egress]
allow = ["localhost", "10.0.0.0/8"]
allow_private = false
"#;

#[test]
fn everything_a_configuration_can_say_is_read() {
    let (config, warnings) = parse("wrangler.jsonc", WHOLE_JSON).unwrap();
    assert_eq!(warnings, []);
    let at = |line, column| Position { file: "wrangler.jsonc".into(), line, column };
    let actor = |binding: &str, class_name: &str, at| ActorBinding {
        binding: binding.into(),
        class_name: class_name.into(),
        at,
    };
    let step = |tag: &str, at| Migration {
        tag: tag.into(),
        new_classes: vec![],
        renamed_classes: vec![],
        deleted_classes: vec![],
        at,
    };
    let expected = Config {
        name: "chat".into(),
        main: ("src/index.js".into(), at(5, 11)),
        compatibility_date: Some("2026-11-21".into()),
        compatibility_flags: vec!["nodejs_compat".into()],
        vars: BTreeMap::from([
            ("GREETING".into(), json!("hi")),
            ("LIST".into(), json!([1, 2.5, null])),
            ("DEEP".into(), json!({ "a": true })),
        ]),
        actors: vec![actor("ROOM", "Room", at(10, 37)), actor("LOBBY", "Lobby", at(11, 38))],
        migrations: vec![
            Migration { new_classes: vec!["Old".into(), "Lobby".into()], ..step("v1", at(14, 14)) },
            Migration { renamed_classes: vec![("Old".into(), "Room".into())], ..step("v2", at(15, 14)) },
        ],
        rules: vec![Rule { kind: ModuleKind::Text, globs: vec!["**/*.md".into()], fallthrough: true }],
        limits: Limits { cpu_ms: 50, memory_mb: 64, wall_ms: Some(1000) },
        egress: Egress { allow_private: false, allow: vec!["localhost".into(), "10.0.0.0/8".into()] },
    };
    assert_eq!(config, expected);
}

#[test]
fn toml_says_the_same_as_json() {
    let (toml, warnings) = parse("wrangler.toml", WHOLE_TOML).unwrap();
    let (json, _) = parse("wrangler.json", &WHOLE_JSON.replace(", null", "")).unwrap();
    assert_eq!(warnings, []);
    assert_eq!((toml.name, toml.main.0, toml.compatibility_date), (json.name, json.main.0, json.compatibility_date));
    assert_eq!((toml.vars, toml.limits, toml.egress, toml.rules), (json.vars, json.limits, json.egress, json.rules));
    assert_eq!(toml.compatibility_flags, json.compatibility_flags);
    let classes = |config: Vec<ActorBinding>| -> Vec<_> {
        config.into_iter().map(|actor| (actor.binding, actor.class_name)).collect()
    };
    assert_eq!(classes(toml.actors), classes(json.actors));
    let steps = |migrations: Vec<Migration>| -> Vec<_> {
        migrations.into_iter().map(|step| (step.tag, step.new_classes, step.renamed_classes)).collect()
    };
    assert_eq!(steps(toml.migrations), steps(json.migrations));
}

#[test]
fn the_least_configuration_has_the_default_limits_and_no_warning() {
    let (config, warnings) = parse("wrangler.json", &with("")).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(config.limits, Limits { cpu_ms: 30_000, memory_mb: 128, wall_ms: None });
    assert_eq!(config.egress, Egress::default());
}

#[test]
fn text_that_is_not_json_or_toml_is_an_error_with_its_place() {
    let table = [
        ("wrangler.json", "", "1:1: the file is empty: expected a JSON object"),
        ("wrangler.json", "{ \"name\": }", "1:11: not valid JSON: Unexpected close brace"),
        ("wrangler.json", "{\n  name: 1\n}", "2:3: not valid JSON: Expected string for object property"),
        ("wrangler.json", "{\"a\": 1", "1:1: not valid JSON: Unterminated object"),
        ("wrangler.json", "{\"a\": 'x'}", "1:7: not valid JSON: Single-quoted strings are not allowed"),
        ("wrangler.json", "{\"a\": 1} x", "1:10: not valid JSON: Text cannot contain more than one JSON value"),
        ("wrangler.json", "[1]", "1:1: the configuration must be a table, not a list"),
        ("wrangler.json", "{\"a\": 1,\n \"a\": 2}", "2:2: `a` is given twice"),
        ("wrangler.json", "{\"a\": 1e999}", "1:7: not a number that fits 64 bits"),
        (
            "wrangler.toml",
            "name = \"w\"\nmain = ",
            "2:8: not valid TOML: string values must be quoted, expected literal string",
        ),
        ("wrangler.toml", "name = \"w\"\nname = \"w\"", "2:1: not valid TOML: duplicate key"),
        ("wrangler.toml", "a = 99999999999999999999", "1:5: this integer does not fit 64 bits"),
    ];
    for (file, text, expected) in table {
        assert_eq!(fails(file, text), format!("{file}:{expected}"), "{text}");
    }
}

#[test]
fn nesting_without_end_is_refused_not_followed() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(fails("wrangler.json", &with(&format!("\"vars\": {{\"a\": {deep}}}"))).contains("nesting depth"));
    let deep = format!("{}{}", "[".repeat(70), "]".repeat(70));
    let text = with(&format!("\"vars\": {{\"a\": {deep}}}"));
    assert_eq!(fails("wrangler.json", &text), "wrangler.json:4:78: nested deeper than 64 levels");
    let text = format!("name = \"w\"\nmain = \"m\"\na = {deep}");
    assert!(fails("wrangler.toml", &text).contains("nested deeper than 64 levels"));
}

#[test]
fn a_missing_or_broken_name_main_or_date_is_an_error() {
    let names = "`name` must be 1 to 63 of a-z, 0-9, `-` and `_`, not starting with `-`; got";
    let table = [
        (
            "{\"main\": \"a.js\"}",
            "1:1: `name` is missing: it names the worker, its logs and its actors' namespaces".into(),
        ),
        (
            "{\"name\": \"w\"}",
            "1:1: `main` is missing: it is the path of the entry module, like \"src/index.js\"".into(),
        ),
        ("{\"name\": 5}", "1:10: `name` must be a string, not 5".into()),
        ("{\"name\": \"A b\"}", format!("1:10: {names} \"A b\"")),
        ("{\"name\": \"\"}", format!("1:10: {names} \"\"")),
        ("{\"name\": \"-a\"}", format!("1:10: {names} \"-a\"")),
        ("{\"name\": \"w\", \"main\": []}", "1:23: `main` must be a string, not a list".into()),
    ];
    for (text, expected) in table {
        assert_eq!(fails("wrangler.json", text), format!("wrangler.json:{expected}"), "{text}");
    }
    for date in
        ["\"2026-02-30\"", "\"2026-13-01\"", "\"2025-02-29\"", "\"26-1-1\"", "\"2026/11/21\"", "\"\"", "\"2026-11-2é\""]
    {
        let text = format!("{{\"name\": \"w\", \"main\": \"a.js\",\n\"compatibility_date\": {date}}}");
        let expected = format!("2:23: `compatibility_date` must be a date like \"2026-11-21\", not the string {date}");
        assert_eq!(fails("wrangler.json", &text), format!("wrangler.json:{expected}"));
    }
    assert_eq!(
        warns("wrangler.json", "{\"name\": \"w\", \"main\": \"a.js\"}"),
        ["wrangler.json:1:1: `compatibility_date` is missing: the newest behaviour is used"]
    );
}

#[test]
fn a_value_of_the_wrong_type_or_size_is_an_error_with_what_was_expected() {
    let table = [
        ("\"compatibility_flags\": \"x\"", "4:24: `compatibility_flags` must be a list, not the string \"x\""),
        ("\"compatibility_flags\": [1]", "4:25: `compatibility_flags` must be a list of strings, not 1"),
        ("\"vars\": []", "4:9: `vars` must be a table, not a list"),
        ("\"limits\": {\"cpu_ms\": 0}", "4:22: `limits.cpu_ms` must be a whole number from 1 to 300000, not 0"),
        ("\"limits\": {\"cpu_ms\": 1.5}", "4:22: `limits.cpu_ms` must be a whole number from 1 to 300000, not 1.5"),
        ("\"limits\": {\"cpu_ms\": -1}", "4:22: `limits.cpu_ms` must be a whole number from 1 to 300000, not -1"),
        ("\"limits\": {\"memory_mb\": 8}", "4:25: `limits.memory_mb` must be a whole number from 16 to 4096, not 8"),
        (
            "\"limits\": {\"wall_ms\": \"1s\"}",
            "4:23: `limits.wall_ms` must be a whole number from 1 to 3600000, not the string \"1s\"",
        ),
        (
            "\"rules\": [{\"type\": \"CommonJS\", \"globs\": [\"*\"]}]",
            "4:20: `rules[0].type` must be one of ESModule, Text, Data, Json, CompiledWasm, not \"CommonJS\"",
        ),
        ("\"rules\": [{\"type\": \"Text\"}]", "4:11: `rules[0].globs` is missing: a list like [\"**/*.md\"]"),
        (
            "\"rules\": [{\"type\": \"Text\", \"globs\": [\"*\"], \"fallthrough\": 1}]",
            "4:59: `rules[0].fallthrough` must be true or false, not 1",
        ),
        ("\"lethe\": {\"egress\": 1}", "4:21: `lethe.egress` must be a table, not 1"),
        (
            "\"lethe\": {\"egress\": {\"allow\": [\"http://x\"]}}",
            "4:32: `lethe.egress.allow`: `http://x` is not a host name, an address or a CIDR range: an address is expected before the `/`",
        ),
    ];
    for (line, expected) in table {
        assert_eq!(fails("wrangler.json", &with(line)), format!("wrangler.json:{expected}"), "{line}");
    }
}

#[test]
fn bindings_of_actors_are_checked() {
    let bindings = |rows: &str| with(&format!("\"durable_objects\": {{\"bindings\": [\n{rows}]}}"));
    let room = "{\"name\": \"ROOM\", \"class_name\": \"Room\"}";
    let table = [
        (
            "{\"class_name\": \"Room\"}".into(),
            "5:1: `durable_objects.bindings[0].name` is missing: it is the binding's name in `env`",
        ),
        (
            "{\"name\": \"ROOM\"}".into(),
            "5:1: `durable_objects.bindings[0].class_name` is missing: it is the exported class of the actors",
        ),
        (
            "{\"name\": \"my room\", \"class_name\": \"Room\"}".into(),
            "5:10: `durable_objects.bindings[0].name` must be a JavaScript name like \"Room\", not \"my room\"",
        ),
        (
            "{\"name\": \"ROOM\", \"class_name\": \"1\"}".into(),
            "5:32: `durable_objects.bindings[0].class_name` must be a JavaScript name like \"Room\", not \"1\"",
        ),
        (format!("{room},\n{room}"), "6:10: two bindings are named `ROOM`"),
        (
            "{\"name\": \"ROOM\", \"class_name\": \"Room\", \"script_name\": \"other\"}".into(),
            "5:55: `durable_objects.bindings[0].script_name` names another worker, \"other\": only this worker's own classes can be bound",
        ),
    ];
    for (rows, expected) in table {
        assert_eq!(fails("wrangler.json", &bindings(&rows)), format!("wrangler.json:{expected}"), "{rows}");
    }
    let text = with(&format!("\"vars\": {{\"ROOM\": 1}}, \"durable_objects\": {{\"bindings\": [{room}]}}"));
    let expected = "`ROOM` is also one of `vars`: two bindings cannot have one name";
    assert!(fails("wrangler.json", &text).ends_with(expected));
}

#[test]
fn the_history_of_classes_must_make_sense() {
    let bound = "\"durable_objects\": {\"bindings\": [{\"name\": \"ROOM\", \"class_name\": \"Room\"}]}";
    let text = |steps: &str| with(&format!("{bound},\n\"migrations\": [\n{steps}]"));
    let table = [
        (
            "{\"new_classes\": [\"Room\"]}",
            "6:1: `migrations[0].tag` is missing: it is the step's unique name, like \"v1\"",
        ),
        ("{\"tag\": \"v1\"},\n{\"tag\": \"v1\"}", "7:9: two migrations have the tag \"v1\""),
        (
            "{\"tag\": \"v1\", \"new_classes\": [\"Room\", \"Room\"]}",
            "6:9: migration \"v1\" creates `Room`, which exists already",
        ),
        (
            "{\"tag\": \"v1\", \"renamed_classes\": [{\"from\": \"A\", \"to\": \"Room\"}]}",
            "6:9: migration \"v1\" renames `A`, which no earlier step created",
        ),
        (
            "{\"tag\": \"v1\", \"new_classes\": [\"A\", \"Room\"], \"renamed_classes\": [{\"from\": \"A\", \"to\": \"Room\"}]}",
            "6:9: migration \"v1\" renames `A` to `Room`, which exists already",
        ),
        (
            "{\"tag\": \"v1\", \"deleted_classes\": [\"A\"]}",
            "6:9: migration \"v1\" deletes `A`, which no earlier step created",
        ),
        (
            "{\"tag\": \"v1\", \"new_classes\": [\"Room\"]},\n{\"tag\": \"v2\", \"deleted_classes\": [\"Room\"]}",
            "4:65: `Room` is bound as `ROOM`, but a migration deletes it",
        ),
        (
            "{\"tag\": \"v1\", \"new_classes\": [\"Room\"]},\n{\"tag\": \"v2\", \"renamed_classes\": [{\"from\": \"Room\", \"to\": \"B\"}]}",
            "4:65: `Room` is bound as `ROOM`, but migration \"v2\" renames it",
        ),
        (
            "{\"tag\": \"v1\", \"transferred_classes\": []}",
            "6:15: `transferred_classes` is not supported: there is no other worker to take actors from",
        ),
    ];
    for (steps, expected) in table {
        assert_eq!(fails("wrangler.json", &text(steps)), format!("wrangler.json:{expected}"), "{steps}");
    }
    assert_eq!(
        warns("wrangler.json", &with(bound)),
        ["wrangler.json:4:65: no migration creates `Room`: add it to `new_sqlite_classes` of a step in `migrations`"]
    );
}

#[test]
fn unknown_keys_are_warnings_that_guess_what_was_meant() {
    let table = [
        ("\"compatability_flags\": []", "4:1: unknown key `compatability_flags` (did you mean `compatibility_flags`?)"),
        ("\"limits\": {\"cpu\": 1}", "4:12: unknown key `limits.cpu`"),
        ("\"limits\": {\"cpu_m\": 1}", "4:12: unknown key `limits.cpu_m` (did you mean `cpu_ms`?)"),
        (
            "\"durable_objects\": {\"binding\": []}",
            "4:21: unknown key `durable_objects.binding` (did you mean `bindings`?)",
        ),
        ("\"lethe\": {\"egres\": {}}", "4:11: unknown key `lethe.egres` (did you mean `egress`?)"),
        ("\"zebra\": 1", "4:1: unknown key `zebra`"),
        ("\"kv_namespaces\": []", "4:1: `kv_namespaces` is not supported yet and has no effect"),
    ];
    for (line, expected) in table {
        assert_eq!(warns("wrangler.json", &with(line)), [format!("wrangler.json:{expected}")], "{line}");
    }
    let toml = "name = \"w\"\nmain = \"a.js\"\ncompatibility_date = \"2026-11-21\"\n[limit]\ncpu_ms = 1";
    assert_eq!(warns("wrangler.toml", toml), ["wrangler.toml:4:2: unknown key `limit` (did you mean `limits`?)"]);
}

#[test]
fn names_and_numbers_at_their_limits_are_taken() {
    let text =
        |name: &str, limits: &str| format!("{{\"name\": \"{name}\", \"main\": \"a.js\", \"limits\": {{{limits}}}}}");
    let taken = |name: &str, limits: &str| parse("wrangler.json", &text(name, limits)).is_ok();
    assert!(taken(&"x".repeat(63), "") && taken("a", "") && taken("_a-9", ""));
    assert!(!taken(&"x".repeat(64), ""));
    for (key, min, max) in [("cpu_ms", 1, 300_000), ("memory_mb", 16, 4096), ("wall_ms", 1, 3_600_000)] {
        let at = |value: i64| taken("w", &format!("\"{key}\": {value}"));
        assert_eq!([at(min - 1), at(min), at(max), at(max + 1)], [false, true, true, false], "{key}");
    }
}

#[test]
fn warnings_come_in_the_order_of_the_file() {
    let lines = "\"zebra\": 1,\n\"limits\": {\"cpu\": 1},\n\"kv_namespaces\": [],\n\"ant\": 1";
    let places: Vec<_> = warns("wrangler.json", &with(lines)).iter().map(|line| line[..18].to_owned()).collect();
    assert_eq!(places, ["wrangler.json:4:1:", "wrangler.json:5:12", "wrangler.json:6:1:", "wrangler.json:7:1:"]);
}

#[test]
fn keys_that_only_mean_something_to_the_cloud_are_taken_without_a_word() {
    let lines = "\"account_id\": \"x\", \"workers_dev\": true, \"observability\": {\"enabled\": true}";
    assert_eq!(warns("wrangler.json", &with(lines)), Vec::<String>::new());
}

/// `text` with pieces cut out and others put in.
fn damaged(text: &str, edits: &[(prop::sample::Index, prop::sample::Index, String)]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for (at, length, insert) in edits {
        let from = at.index(chars.len() + 1);
        let to = from + length.index(9).min(chars.len() - from);
        chars.splice(from..to, insert.chars());
    }
    chars.into_iter().collect()
}

proptest! {
    #[test]
    fn a_damaged_configuration_is_read_or_refused_at_a_place_in_it(
        toml in any::<bool>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), "[\\PC\n]{0,6}"), 1..4),
    ) {
        let (file, whole) = if toml { ("wrangler.toml", WHOLE_TOML) } else { ("wrangler.json", WHOLE_JSON) };
        let text = damaged(whole, &edits);
        if let Err(Error::At { at, .. }) = parse(file, &text) {
            // A place just behind the last line is one too: there the file ends too early.
            let lines: Vec<&str> = text.split('\n').collect();
            prop_assert!((1..=lines.len()).contains(&at.line), "{at}");
            prop_assert!((1..=lines[at.line - 1].chars().count() + 1).contains(&at.column), "{at}");
        }
    }
}
