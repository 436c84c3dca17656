//! Projects on disk: which files become modules, and the exact words about those that cannot.

use std::os::unix::fs::symlink;

use lethe_runtime::program::Module;
use serde_json::json;
use tempfile::TempDir;

use super::*;

const CONFIG: &str = r#"{"name": "w", "main": "src/index.js", "compatibility_date": "2026-11-21"}"#;

/// A project directory with these files; the configuration is `CONFIG` unless one is given.
fn project(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let configured = files.iter().any(|(name, _)| CONFIG_FILES.contains(name));
    let config = (!configured).then_some(("wrangler.json", CONFIG));
    for (name, text) in config.iter().chain(files) {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

fn source(dir: &TempDir) -> Result<Source, String> {
    let (project, _) = Project::load(dir.path()).map_err(|error| error.to_string())?;
    project.source().map_err(|error| error.to_string())
}

/// Why the project with these files is refused.
fn refused(files: &[(&str, &str)]) -> String {
    source(&project(files)).expect_err("was taken")
}

fn modules(files: &[(&str, &str)]) -> Vec<String> {
    source(&project(files)).unwrap().modules.into_keys().collect()
}

#[test]
fn modules_are_found_by_following_imports_and_named_by_their_paths() {
    let dir = project(&[
        (
            "src/index.js",
            "import './deep/a.mjs'; import '../lib/b.js'; import t from './t.txt'; import 'cloudflare:workers'",
        ),
        (
            "src/deep/a.mjs",
            "import '../index.js'; import j from './j.json'; export * from '../d.bin'; import('../w.wasm')",
        ),
        ("src/deep/j.json", "[1]"),
        ("src/d.bin", "\u{1}\u{2}"),
        ("src/w.wasm", "\0asm"),
        ("lib/b.js", "export default 1"),
        ("src/t.txt", "hi"),
        ("src/unused.js", "import 'not-there'"),
    ]);
    let source = source(&dir).unwrap();
    assert_eq!((source.name.as_str(), source.main.as_str()), ("w", "src/index.js"));
    let names: Vec<_> = source.modules.keys().map(String::as_str).collect();
    let expected =
        ["lib/b.js", "src/d.bin", "src/deep/a.mjs", "src/deep/j.json", "src/index.js", "src/t.txt", "src/w.wasm"];
    assert_eq!(names, expected);
    assert_eq!(source.modules["src/t.txt"], Module::Text("hi".into()));
    assert_eq!(source.modules["src/deep/j.json"], Module::Json("[1]".into()));
    assert_eq!(source.modules["src/d.bin"], Module::Data(vec![1, 2].into()));
    assert_eq!(source.modules["src/w.wasm"], Module::Wasm(b"\0asm".to_vec().into()));
    assert_eq!(source.modules["lib/b.js"], Module::Es("export default 1".into()));
}

#[test]
fn env_holds_vars_and_actor_namespaces() {
    let config = r#"{"name": "w", "main": "i.js", "compatibility_date": "2026-11-21", "vars": {"A": 1},
        "durable_objects": {"bindings": [{"name": "ROOM", "class_name": "Room"}]},
        "migrations": [{"tag": "v1", "new_classes": ["Room"]}]}"#;
    let source = source(&project(&[("wrangler.jsonc", config), ("i.js", "")])).unwrap();
    let expected = BTreeMap::from([
        ("A".into(), Binding::Json(json!(1))),
        ("ROOM".into(), Binding::ActorNamespace { class_name: "Room".into() }),
    ]);
    assert_eq!(source.env, expected);
}

#[test]
fn secrets_of_dev_vars_join_the_vars_and_win_over_them() {
    let config = r#"{"name": "w", "main": "i.js", "vars": {"A": 1, "B": 2}}"#;
    let files = [("wrangler.json", config), ("i.js", ""), (".dev.vars", "B=secret\nC=\"more\"\n")];
    let env = source(&project(&files)).unwrap().env;
    let expected = [("A", json!(1)), ("B", json!("secret")), ("C", json!("more"))];
    assert_eq!(env, expected.map(|(name, value)| (name.to_owned(), Binding::Json(value))).into());
}

#[test]
fn a_secret_named_like_an_actor_binding_is_refused() {
    let config = r#"{"name": "w", "main": "i.js",
        "durable_objects": {"bindings": [{"name": "ROOM", "class_name": "Room"}]}}"#;
    let files = [("wrangler.json", config), ("i.js", ""), (".dev.vars", "# secrets\nROOM=x")];
    let expected = ".dev.vars:2:1: `ROOM` is also an actor binding: two bindings cannot have one name";
    assert_eq!(refused(&files), expected);
}

#[test]
fn rules_say_what_kind_of_module_a_file_is() {
    let config =
        r#"{"name": "w", "main": "i.js", "rules": [{"type": "Text", "globs": ["**/*.md"], "fallthrough": true}]}"#;
    let files = [("wrangler.json", config), ("i.js", "import a from './a.md'"), ("a.md", "# hi")];
    assert_eq!(source(&project(&files)).unwrap().modules["a.md"], Module::Text("# hi".into()));
}

#[test]
fn a_file_whose_default_rule_was_switched_off_is_refused_with_the_remedy() {
    let config = r#"{"name": "w", "main": "i.js", "rules": [{"type": "Text", "globs": ["**/*.md"]}]}"#;
    let files = [("wrangler.json", config), ("i.js", "import a from './a.txt'"), ("a.txt", "hi")];
    assert_eq!(
        refused(&files),
        "i.js:1:15: no rule says what kind of module \"./a.txt\" is: wrangler.json has a Text rule that switches off \
         the default one; give it \"fallthrough\": true"
    );
}

#[test]
fn imports_in_a_circle_end() {
    assert_eq!(
        modules(&[("src/index.js", "import './a.js'"), ("src/a.js", "import './index.js'; import './a.js'")]).len(),
        2
    );
}

#[test]
fn a_dynamic_import_that_cannot_be_found_is_left_to_fail_when_it_runs() {
    let files = [
        ("src/index.js", "import('./none.js'); import('npm'); import('../../out.js'); import('./a.js')"),
        ("src/a.js", ""),
    ];
    assert_eq!(modules(&files), ["src/a.js", "src/index.js"]);
}

#[test]
fn a_directory_must_hold_exactly_one_configuration() {
    let empty = tempfile::tempdir().unwrap();
    let root = empty.path().canonicalize().unwrap();
    assert_eq!(Project::load(empty.path()).unwrap_err(), Error::NoConfig(root));
    let two = project(&[("wrangler.toml", "name = 'w'"), ("wrangler.jsonc", CONFIG)]);
    let shown = Project::load(two.path()).unwrap_err().to_string();
    assert!(shown.ends_with(" holds wrangler.jsonc and wrangler.toml: keep one of them"), "{shown}");
    let missing = Project::load(Path::new("/nowhere/at/all")).unwrap_err().to_string();
    assert_eq!(missing, "cannot read /nowhere/at/all: No such file or directory (os error 2)");
}

#[test]
fn a_configuration_that_is_not_text_or_too_large_is_refused() {
    let dir = project(&[("wrangler.json", "")]);
    fs::write(dir.path().join("wrangler.json"), [0xff, 0xfe]).unwrap();
    let shown = Project::load(dir.path()).unwrap_err().to_string();
    assert!(shown.ends_with("wrangler.json: stream did not contain valid UTF-8"), "{shown}");
    fs::write(dir.path().join("wrangler.json"), vec![b' '; (1 << 20) + 1]).unwrap();
    let shown = Project::load(dir.path()).unwrap_err().to_string();
    assert_eq!(shown, "wrangler.json has 1048577 bytes; at most 1048576 are read");
}

#[test]
fn an_entry_that_cannot_be_used_is_refused_where_the_configuration_names_it() {
    let inside = "`main` must be a path inside the project, like \"src/index.js\", not";
    let table = [
        ("none.js", "the entry module \"none.js\" does not exist".to_owned()),
        ("src", "the entry module \"src\" does not exist".into()),
        ("src/index.ts", "TypeScript is not bundled yet; point `main` at JavaScript".into()),
        ("src/app.tsx", "TypeScript is not bundled yet; point `main` at JavaScript".into()),
        ("readme.txt", "`main` must be a JavaScript module (.js or .mjs), not \"readme.txt\"".into()),
        ("../out.js", format!("{inside} \"../out.js\"")),
        ("/etc/passwd", format!("{inside} \"/etc/passwd\"")),
        ("a/../..", format!("{inside} \"a/../..\"")),
        ("", format!("{inside} \"\"")),
    ];
    for (main, expected) in table {
        let config = format!("{{\"name\": \"w\",\n \"main\": \"{main}\"}}");
        let files = [("wrangler.json", config.as_str()), ("src/index.ts", ""), ("readme.txt", "")];
        assert_eq!(refused(&files), format!("wrangler.json:2:10: {expected}"), "{main}");
    }
}

#[test]
fn an_entry_may_be_written_in_roundabout_ways() {
    let config = r#"{"name": "w", "main": "./src/../src/./index.js"}"#;
    assert_eq!(source(&project(&[("wrangler.json", config), ("src/index.js", "")])).unwrap().main, "src/index.js");
}

#[test]
fn an_import_that_cannot_be_used_is_refused_where_it_stands() {
    let table = [
        ("./none.js", "cannot find \"./none.js\""),
        ("./lib", "cannot find \"./lib\"; write the whole path: \"./lib.js\""),
        ("./dir", "cannot find \"./dir\"; write the whole path: \"./dir/index.js\""),
        ("./typed.ts", "\"./typed.ts\" is TypeScript, which is not bundled yet; import JavaScript"),
        ("./a.md", "no rule says what kind of module \"./a.md\" is: add one to `rules` in wrangler.json"),
        ("../../out.js", "\"../../out.js\" lies outside the project"),
        ("node:assert", "\"node:assert\" is not supported yet"),
        ("https://x/y.js", "\"https://x/y.js\" is a URL; only files of the project can be imported"),
        ("/src/lib.js", "\"/src/lib.js\" is an absolute path; import by a relative one (\"./...\")"),
        ("hono", "\"hono\" is an npm package, which is not bundled yet; bundle first or import a relative path"),
        (
            "@scope/x",
            "\"@scope/x\" is an npm package, which is not bundled yet; bundle first or import a relative path",
        ),
    ];
    for (specifier, expected) in table {
        let code = format!("export default {{}};\n  import x from \"{specifier}\";");
        let files = [
            ("src/index.js", code.as_str()),
            ("src/lib.js", ""),
            ("src/dir/index.js", ""),
            ("src/typed.ts", ""),
            ("src/a.md", ""),
        ];
        assert_eq!(refused(&files), format!("src/index.js:2:17: {expected}"), "{specifier}");
    }
}

#[test]
fn a_broken_json_or_text_module_is_refused_where_it_breaks() {
    let main = ("src/index.js", "import './a.json'");
    assert_eq!(refused(&[main, ("src/a.json", "{\n  \"a\": }")]), "src/a.json:2:8: not valid JSON: expected value");
    let dir = project(&[("src/index.js", "import './a.txt'")]);
    fs::write(dir.path().join("src/a.txt"), b"ok\nno: \xff").unwrap();
    assert_eq!(source(&dir).unwrap_err(), "src/a.txt:2:5: not valid UTF-8");
}

#[test]
fn a_link_out_of_the_project_is_refused_and_one_inside_is_followed() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret.txt"), "secret").unwrap();
    let dir = project(&[("src/index.js", "import './a.txt'"), ("real.txt", "inside")]);
    let link = dir.path().join("src/a.txt");
    symlink(outside.path().join("secret.txt"), &link).unwrap();
    let shown = source(&dir).unwrap_err();
    assert!(shown.ends_with("src/a.txt: it is a link to a place outside the project"), "{shown}");
    fs::remove_file(&link).unwrap();
    symlink(dir.path().join("real.txt"), &link).unwrap();
    assert_eq!(source(&dir).unwrap().modules["src/a.txt"], Module::Text("inside".into()));
}

#[test]
fn modules_larger_than_the_limit_together_are_refused() {
    let dir = project(&[("src/index.js", "import './a.bin'; import './b.bin'")]);
    for name in ["src/a.bin", "src/b.bin"] {
        fs::File::create(dir.path().join(name)).unwrap().set_len(33 << 20).unwrap();
    }
    assert_eq!(source(&dir).unwrap_err(), "the worker's modules are larger than 64 MiB together");
}

#[test]
fn more_modules_than_the_limit_are_refused() {
    let files: Vec<_> = (0..5000).map(|n| (format!("src/{n}.js"), String::new())).collect();
    let main: String = files.iter().map(|(name, _)| format!("import '../{name}'\n")).collect();
    let mut files: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    files.push(("src/index.js", &main));
    assert_eq!(refused(&files), "the worker has more than 4096 modules");
}

#[test]
fn a_bound_class_that_is_not_exported_is_refused_where_it_is_bound() {
    let config = "{\"name\": \"w\", \"main\": \"i.js\",\n\
        \"durable_objects\": {\"bindings\": [{\"name\": \"ROOM\", \"class_name\": \"Room\"}]}}";
    let (project, _) = Project::load(project(&[("wrangler.json", config)]).path()).unwrap();
    assert_eq!(project.check_classes(&["Room".into(), "Other".into()]), Ok(()));
    assert_eq!(
        project.check_classes(&["Other".into()]).unwrap_err().to_string(),
        "wrangler.json:2:65: `Room` is bound as `ROOM`, but i.js exports no class `Room` that extends DurableObject"
    );
}
