//! Bad input gets a clear error that says what was wrong and where, and exits with 1.

use std::process::{Command, Output};

use anyhow::Result;
use lethe_tests::{Options, Project, Server, lethe};

fn dev(project: &Project, args: &[&str]) -> Output {
    let mut command = Command::new(lethe());
    command.arg("dev").arg(project.path()).args(["--port", "0", "--grpc-port", "0"]).args(args);
    command.output().expect("lethe runs")
}

/// Runs `lethe dev`, which must refuse with exit code 1; returns what it said.
fn refusal(project: &Project, args: &[&str]) -> String {
    let output = dev(project, args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(output.stdout.is_empty(), "nothing is ready, so stdout is empty");
    said
}

const WORKER: &str = "export default { fetch() { return new Response('ok'); } };";

#[test]
fn a_directory_without_a_configuration_is_refused() {
    let said = refusal(&Project::empty(), &[]);
    assert!(said.contains("no wrangler.jsonc, wrangler.json or wrangler.toml"), "{said}");
}

#[test]
fn a_broken_configuration_names_file_and_line() {
    let project = Project::new(WORKER, &[]);
    project.write("wrangler.jsonc", "{\n  \"name\": \"w\",\n  \"main\": 7\n}");
    let said = refusal(&project, &[]);
    assert!(said.contains("wrangler.jsonc:3"), "{said}");
}

#[test]
fn a_missing_entry_file_is_named() {
    let project = Project::new(WORKER, &[]);
    project.configure(|config| config["main"] = "src/gone.js".into());
    let said = refusal(&project, &[]);
    assert!(said.contains("src/gone.js"), "{said}");
}

#[test]
fn a_syntax_error_shows_file_line_and_caret() {
    let project = Project::new("export default {\n  fetch( { }\n};", &[]);
    let said = refusal(&project, &[]);
    assert!(said.contains("SyntaxError") && said.contains("index.js:3") && said.contains('^'), "{said}");
}

#[test]
fn a_bound_class_that_is_not_exported_is_named() {
    let project = Project::new(WORKER, &[("ROOM", "Room")]);
    let said = refusal(&project, &[]);
    assert!(said.contains("`Room` is bound as `ROOM`"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named() -> Result<()> {
    let project = Project::new(WORKER, &[]);
    let server = Server::start(project.path(), &Options::default()).await?;
    let port = server.http.rsplit(':').next().expect("a port").to_owned();
    let mut command = Command::new(lethe());
    command.arg("dev").arg(project.path()).args(["--grpc-port", "0", "--port", &port]);
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&port) && said.contains("in use"), "{said}");
    Ok(())
}
