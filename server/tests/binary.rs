//! The `lethe` command from outside: help, exit codes, what goes to stdout and what to stderr.

#[path = "grpc/fake.rs"]
mod fake;

use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::fake::{ids, start};

fn lethe(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lethe"));
    command.args(args).env_remove("LETHE_LOG").env_remove("LETHE_ENDPOINT").output().expect("lethe does not start")
}

/// Exit code, stdout, stderr.
fn run(args: &[&str]) -> (i32, String, String) {
    let output = lethe(args);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().expect("killed by a signal"), text(output.stdout), text(output.stderr))
}

/// Runs `lethe actor VERB ... --endpoint` without blocking the server in this process.
async fn actor(address: &str, args: &[&str]) -> (i32, String, String) {
    let endpoint = ["--endpoint", address];
    let args: Vec<String> = ["actor"].iter().chain(args).chain(&endpoint).map(|arg| arg.to_string()).collect();
    let run = move || run(&args.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[test]
fn every_subcommand_has_help_with_examples_that_fits_a_terminal() {
    let verbs = [
        ("actor", &["call", "destroy", "list", "show"][..]),
        ("cluster", &["init", "add", "join", "status", "drain", "undrain", "remove", "transfer"]),
    ];
    let single = ["dev", "serve", "deploy", "versions", "actor", "cluster"];
    let mut commands = vec![vec![]];
    commands.extend(single.map(|command| vec![command]));
    commands.extend(verbs.iter().flat_map(|(room, verbs)| verbs.iter().map(|verb| vec![*room, *verb])));
    let reference = include_str!("../../docs/reference.md");
    for command in commands {
        let whole = format!("lethe {}", command.join(" "));
        assert!(
            reference.contains(&format!("`{whole}")) || command.is_empty(),
            "docs/reference.md is silent on {whole}"
        );
        for flag in ["--help", "-h"] {
            let args = [&command[..], &[flag]].concat();
            let (code, stdout, stderr) = run(&args);
            assert_eq!((code, stderr.as_str()), (0, ""), "{args:?}");
            assert!(stdout.contains("Usage: lethe") && stdout.contains("Examples:"), "{args:?}: {stdout}");
            let long: Vec<_> = stdout.lines().filter(|line| line.chars().count() > 100).collect();
            assert!(long.is_empty(), "{args:?}: {long:?}");
        }
    }
}

#[test]
fn help_names_every_subcommand() {
    let (_, top, _) = run(&["--help"]);
    let (_, actor, _) = run(&["actor", "--help"]);
    let listed = |help: &str, name: &str| help.lines().any(|line| line.trim_start().starts_with(&format!("{name} ")));
    for name in ["dev", "serve", "deploy", "versions", "actor", "cluster"] {
        assert!(listed(&top, name), "{name}: {top}");
    }
    for name in ["call", "destroy", "list", "show"] {
        assert!(listed(&actor, name), "{name}: {actor}");
    }
}

#[test]
fn version_goes_to_stdout() {
    assert_eq!(run(&["--version"]), (0, format!("lethe {}\n", env!("CARGO_PKG_VERSION")), String::new()));
}

#[test]
fn wrong_usage_exits_with_2_and_says_why_on_stderr() {
    let table: [(&[&str], &str); 20] = [
        (&[], "Usage: lethe"),
        (&["serve-everything"], "unrecognized subcommand 'serve-everything'"),
        (&["dev", "--prot", "1"], "a similar argument exists: '--port'"),
        (&["dev", "--port", "70000"], "70000 is not in 0..=65535"),
        (&["dev", "--host", "here"], "invalid IP address syntax"),
        (&["dev", "--tls-cert", "cert.pem"], "--tls-key <FILE>"),
        (&["dev", "--tls-key", "key.pem"], "--tls-cert <FILE>"),
        (&["actor", "call", "Room", "lobby"], "the METHOD to call is missing"),
        (&["actor", "call", "Room", "lobby", "say", "hi"], "the arguments are not JSON"),
        (&["actor", "call", "--unique", "Room", "say", "1", "2"], "an argument too many: \"2\""),
        (&["actor", "call", "--unique", "--id", "00", "Room", "say"], "cannot be used with"),
        (&["actor", "show", "Room"], "<NAME|--id <HEX>>"),
        (&["actor", "list", "Room", "--timeout", "0"], "0 is not in 1..=900"),
        (&["cluster", "init", "--groups", "513"], "513 is not in 16..=512"),
        (&["cluster", "init", "--groups", "15"], "15 is not in 16..=512"),
        (&["cluster", "init", "--replication", "0"], "a group has 1, 3, 5 or 7 replicas"),
        (&["cluster", "init", "--replication", "4"], "a group has 1, 3, 5 or 7 replicas"),
        (&["cluster", "init", "--replication", "9"], "a group has 1, 3, 5 or 7 replicas"),
        (&["cluster", "add", "n2"], "--out <FILE>"),
        (&["cluster", "drain"], "<NODE>"),
    ];
    for (args, reason) in table {
        let (code, stdout, stderr) = run(args);
        assert_eq!((code, stdout.as_str()), (2, ""), "{args:?}: {stderr}");
        assert!(stderr.contains(reason), "{args:?}: {stderr}");
    }
}

#[test]
fn a_directory_without_a_project_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().canonicalize().unwrap();
    let (code, stdout, stderr) = run(&["dev", "--port", "0", "--grpc-port", "0", dir.path().to_str().unwrap()]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    let expected = format!("error: no wrangler.jsonc, wrangler.json or wrangler.toml in {}\n", real.display());
    assert_eq!(stderr, expected);
}

#[test]
fn a_log_filter_that_is_none_is_refused() {
    let (code, _, stderr) = run(&["dev", "--log", "a=b=c"]);
    assert_eq!(code, 1);
    assert!(stderr.starts_with("error: --log \"a=b=c\" is not a filter"), "{stderr}");
}

#[test]
fn a_node_that_is_not_there_is_refused_with_its_outcome() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = format!("http://{unused}");
    let args = ["actor", "destroy", "Room", "lobby", "--endpoint", &endpoint];
    let (code, stdout, stderr) = run(&args);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.starts_with("error: Unavailable: cannot connect to http://"), "{stderr}");
    assert!(stderr.ends_with("(outcome: not done)\n"), "{stderr}");
    let (code, _, stderr) = run(&[&args[..], &["--json"]].concat());
    let error: Value = serde_json::from_str(&stderr).unwrap();
    assert_eq!(
        (code, &error["error"]["code"], &error["error"]["outcome"]),
        (1, &json!("UNAVAILABLE"), &json!("not done"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_of_a_call_are_an_array_or_one_value() {
    let (_, address, _server) = start(|_| {}).await;
    let table: [(&[&str], Value); 6] = [
        (&[], json!([])),
        (&["[]"], json!([])),
        (&["[1, \"a\"]"], json!([1, "a"])),
        (&["5"], json!([5])),
        (&["-5"], json!([-5])),
        (&["{\"a\": null}"], json!([{"a": null}])),
    ];
    for (json, expected) in table {
        let args = [&["call", "chat/Room", "lobby", "echo"], json].concat();
        let (code, stdout, stderr) = actor(&address, &args).await;
        assert_eq!((code, stdout, stderr.as_str()), (0, format!("{expected}\n"), ""), "{json:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn json_output_holds_the_id_and_the_result() {
    let (_, address, _server) = start(|_| {}).await;
    let id = ids().from_name("lobby").unwrap().to_string();
    let (code, stdout, _) = actor(&address, &["call", "chat/Room", "--id", &id, "echo", "1", "--json"]).await;
    let value: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, value), (0, json!({ "id": id, "result": [1] })));
    let (code, stdout, _) = actor(&address, &["destroy", "chat/Room", "lobby", "--json"]).await;
    let value: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, value), (0, json!({ "id": id, "destroyed": true })));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exception_is_told_with_its_outcome_and_stack() {
    let (_, address, _server) = start(|_| {}).await;
    let (code, stdout, stderr) = actor(&address, &["call", "chat/Room", "lobby", "fail", "[0, 0]"]).await;
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert_eq!(stderr, "error: Oops: Exception (outcome: done)\nat room.js:1:1\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_is_a_table_or_json_lines() {
    let (_, address, _server) = start(|_| {}).await;
    let (code, stdout, _) = actor(&address, &["list", "chat/Room"]).await;
    let lines: Vec<_> = stdout.lines().collect();
    assert_eq!((code, lines.len()), (0, 6), "{stdout}");
    assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), [&"0".repeat(64), "destroyed", "1970-01-01T00:00:00Z"]);
    let (_, stdout, _) = actor(&address, &["list", "chat/Room", "--json", "--limit", "3"]).await;
    let ids: Vec<Value> =
        stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].clone()).collect();
    assert_eq!(ids, ["00", "01", "02"].map(|byte| json!(byte.repeat(32))));
}

#[tokio::test(flavor = "multi_thread")]
async fn show_tells_what_is_known() {
    let (_, address, _server) = start(|_| {}).await;
    let id = ids().from_name("lobby").unwrap().to_string();
    let (code, stdout, _) = actor(&address, &["show", "chat/Room", "lobby"]).await;
    let expected = format!(
        "id           {id}\nnamespace    chat/Room\nstate        destroyed\n\
         incarnation  00000000-0000-0000-0000-000000000000\ngroup        3\n\
         created      1970-01-01T00:00:00Z\n\
         destroyed    1970-01-01T00:00:00Z (operator)\n"
    );
    assert_eq!((code, stdout), (0, expected));
    let (code, _, stderr) = actor(&address, &["show", "chat/Room", "nobody"]).await;
    assert_eq!(code, 1);
    assert!(stderr.contains("there is no actor "), "{stderr}");
}

/// Runs `lethe cluster VERB ... --api` without blocking the server in this process.
async fn cluster(address: &str, args: &[&str]) -> (i32, String, String) {
    let api = ["--api", address];
    let args: Vec<String> = ["cluster"].iter().chain(args).chain(&api).map(|arg| arg.to_string()).collect();
    let run = move || run(&args.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_is_changed_and_each_change_is_waited_for() {
    let (fake, address, _server) = start(|_| {}).await;
    let table: [(&[&str], &str, Value); 4] = [
        (&["drain", "n1"], "id-of-n1 is draining\n", json!({ "node": "id-of-n1", "state": "draining" })),
        (&["undrain", "n1"], "id-of-n1 is active\n", json!({ "node": "id-of-n1", "state": "active" })),
        (&["transfer", "7", "n1"], "id-of-n1 leads group 7\n", json!({ "group": 7, "leader": "id-of-n1" })),
        (&["remove", "n1"], "id-of-n1 is removed\n", json!({ "node": "id-of-n1", "state": "removed" })),
    ];
    for (args, text, value) in table {
        assert_eq!(cluster(&address, args).await, (0, text.to_owned(), String::new()), "{args:?}");
        let (code, stdout, _) = cluster(&address, &[args, &["--json"]].concat()).await;
        assert_eq!((code, serde_json::from_str::<Value>(&stdout).unwrap()), (0, value), "{args:?}");
    }
    assert_eq!(fake.changes.lock().unwrap().len(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_is_a_table_or_json_and_can_be_a_check() {
    let (_, address, _server) = start(|_| {}).await;
    let (code, stdout, stderr) = cluster(&address, &["status", "--check"]).await;
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    assert!(stdout.ends_with("\nAll 1 groups are healthy.\n"), "{stdout}");
    cluster(&address, &["transfer", "7", "n1"]).await;
    let (code, stdout, stderr) = cluster(&address, &["status", "--check"]).await;
    assert_eq!((code, stderr.as_str()), (1, "error: the cluster is not healthy\n"));
    assert!(stdout.ends_with("GROUP  LEADER  REPLICAS  PROBLEM\n7      -                 it moves\n"), "{stdout}");
    let (code, stdout, _) = cluster(&address, &["status", "--json"]).await;
    let value: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &value["healthy"], &value["groups"][0]["problem"]), (0, &json!(false), &json!("it moves")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_cluster_refuses_is_told_with_the_reason() {
    let (_, address, _server) = start(|_| {}).await;
    let (code, stdout, stderr) = cluster(&address, &["drain", "n9"]).await;
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.starts_with("error: Oops: InvalidTarget (outcome: not done)"), "{stderr}");
    let (code, _, stderr) = cluster(&address, &["remove", "n9", "--json"]).await;
    let error: Value = serde_json::from_str(&stderr).unwrap();
    assert_eq!((code, &error["error"]["outcome"]), (1, &json!("not done")));
}
