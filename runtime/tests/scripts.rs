//! Behaviour tests that are a script and the text it must print: `tests/{cases,web}/NAME.js` and `NAME.txt`.
//!
//! A script is a worker. The harness sends it one GET; what it logs and then what it answers must equal the text. A
//! folder instead of a file is a worker of several modules with `index.js` as its entry. With `LETHE_BLESS=1` the
//! texts are written instead of compared; read the difference before committing it.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use lethe_runtime::{
    engine::Engine,
    program::{Limits, Module, Source},
};
use support::FakeHost;

/// No script needs longer.
const SCRIPT_TIME_MAX: Duration = Duration::from_secs(60);

fn module(path: &Path) -> Module {
    let bytes = fs::read(path).expect("read a module");
    let text = || String::from_utf8(bytes.clone()).expect("a text module is UTF-8");
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("js") => Module::Es(text()),
        Some("json") => Module::Json(text()),
        Some("txt") => Module::Text(text()),
        Some("wasm") => Module::Wasm(Bytes::from(bytes)),
        _ => Module::Data(Bytes::from(bytes)),
    }
}

fn load(case: &Path) -> Source {
    let files: Vec<PathBuf> = if case.is_dir() {
        fs::read_dir(case).expect("read a case's folder").map(|entry| entry.expect("read an entry").path()).collect()
    } else {
        vec![case.to_owned()]
    };
    let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).expect("a UTF-8 name").to_owned();
    let main = if case.is_dir() { "index.js".to_owned() } else { name(case) };
    let modules = files.iter().map(|path| (name(path), module(path))).collect();
    Source { name: main.clone(), main, modules, env: Default::default(), limits: Limits::default() }
}

async fn output(engine: &Engine, case: &Path) -> String {
    let program = match engine.compile(load(case)).await {
        Ok(program) => program,
        Err(error) => return format!("compile error: {error}\n"),
    };
    let host = Arc::new(FakeHost::default());
    let answer = tokio::time::timeout(SCRIPT_TIME_MAX, support::fetch_text(engine, &program, host.clone())).await;
    let mut lines = host.printed();
    lines.push(match answer {
        Ok(Ok(text)) => text,
        Ok(Err(error)) => format!("error: {error}"),
        Err(_) => "error: no answer in time".into(),
    });
    lines.iter().map(|line| format!("{}\n", line.strip_prefix("log: ").unwrap_or(line))).collect()
}

async fn check_folder(folder: &str) {
    let engine = support::engine();
    let mut cases: Vec<PathBuf> = fs::read_dir(Path::new("tests").join(folder))
        .expect("read the folder of cases")
        .map(|entry| entry.expect("read an entry").path())
        .filter(|path| path.is_dir() || path.extension().is_some_and(|extension| extension == "js"))
        .collect();
    cases.sort();
    assert!(!cases.is_empty(), "there are no cases in {folder}");
    let mut failed = Vec::new();
    for case in cases {
        let actual = output(&engine, &case).await;
        let expected = case.with_extension("txt");
        if std::env::var_os("LETHE_BLESS").is_some() {
            fs::write(&expected, &actual).expect("write the expected text");
        } else if fs::read_to_string(&expected).unwrap_or_default() != actual {
            failed.push(format!("{} printed:\n{actual}", case.display()));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_print_what_they_must() {
    check_folder("cases").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn web_apis_print_what_they_must() {
    check_folder("web").await;
}
