//! `lethe dev` as a client of its gRPC port sees it: a real process, real actors, reloads under load.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use bytes::Bytes;
use lethe_client::{ActorState, Client, Code, DestroyedBy, Error, Id, Outcome};
use serde_json::{Value, json};
use tempfile::TempDir;

const CONFIG: &str = r#"{
  "name": "chat", "main": "index.js", "compatibility_date": "2026-11-21",
  "durable_objects": { "bindings": [{ "name": "ROOM", "class_name": "Room" }] },
  "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Room"] }]
}"#;

/// A worker whose rooms say which edition of the code they are.
fn code(edition: u32) -> String {
    format!(
        r#"import {{ DurableObject }} from "cloudflare:workers";
export class Room extends DurableObject {{
  edition() {{ return {edition}; }}
  async add(n) {{
    const sum = ((await this.ctx.storage.get("sum")) ?? 0) + n;
    await this.ctx.storage.put("sum", sum);
    return sum;
  }}
  echo(...args) {{ return args; }}
  nothing() {{}}
  fail() {{ throw new RangeError("too far"); }}
  async end() {{ await this.ctx.destroy(); }}
  async fetch(request) {{
    return new Response(request.body, {{ status: 201, headers: {{ "x-method": request.method, "x-url": request.url }} }});
  }}
}}
export default {{ fetch() {{ return new Response("edition {edition}"); }} }};
"#
    )
}

/// A running `lethe dev`.
struct Dev {
    process: Child,
    project: TempDir,
    /// Where the process puts its temporary files; they are large, and a killed process leaves them behind.
    _scratch: TempDir,
    endpoint: String,
}

impl Dev {
    fn start() -> Self {
        let (project, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(project.path().join("wrangler.json"), CONFIG).unwrap();
        std::fs::write(project.path().join("index.js"), code(0)).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_lethe"))
            .args(["dev", "--port", "0", "--grpc-port", "0", "--json", "--log", "error"])
            .arg(project.path())
            .env_remove("LETHE_LOG")
            .env("TMPDIR", scratch.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        let ready: Value = serde_json::from_str(&ready).expect("lethe dev did not get ready; its log says why");
        let endpoint = ready["grpc"].as_str().unwrap().to_owned();
        Self { process, project, _scratch: scratch, endpoint }
    }

    async fn client(&self) -> Client {
        Client::connect(&self.endpoint).await.unwrap()
    }

    /// Replaces the worker's code in one step, as editors do.
    fn edit(&self, edition: u32) {
        let new = self.project.path().join("index.js.new");
        std::fs::write(&new, code(edition)).unwrap();
        std::fs::rename(new, self.project.path().join("index.js")).unwrap();
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // It may be gone already; then there is nothing to end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn failure(error: &Error) -> (Code, Outcome, &str, &str) {
    (error.code, error.outcome, &error.name, &error.message)
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_reach_a_real_actor_and_failures_say_what_they_are() {
    let dev = Dev::start();
    let client = dev.client().await;
    let room = client.actor("Room", Id::name("lobby"));
    assert_eq!(room.call_json("add", &json!([2])).await, Ok(json!(2)));
    assert_eq!(room.call_json("add", &json!([3])).await, Ok(json!(5)));
    let odd = json!(["é\u{1f600}", 1.5, null, [true], { "a": {} }]);
    assert_eq!(room.call_json("echo", &odd).await, Ok(odd.clone()));
    assert_eq!(room.call_json("nothing", &json!([])).await, Ok(Value::Null));

    let thrown = room.call_json("fail", &json!([])).await.unwrap_err();
    assert_eq!(failure(&thrown), (Code::Exception, Outcome::Done, "RangeError", "too far"));
    assert!(thrown.stack.contains("index.js:"), "{}", thrown.stack);
    let missing = room.call_json("missing", &json!([])).await.unwrap_err();
    assert_eq!((missing.code, missing.outcome), (Code::InvalidTarget, Outcome::NotDone), "{missing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_request_reaches_the_actor_and_its_body_comes_back() {
    let dev = Dev::start();
    let room = dev.client().await.actor("ROOM", Id::name("lobby"));
    let body = Bytes::from(vec![b'x'; 3 << 20]);
    let request = http::Request::post("http://room/say?a=1").body(body.clone()).unwrap();
    let response = room.fetch(request).await.unwrap();
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["x-method"], "POST");
    assert_eq!(response.headers()["x-url"], "http://room/say?a=1");
    assert_eq!(response.into_body().collect(4 << 20).await.unwrap(), body);
    let request = http::Request::get("http://room/").body(Bytes::new()).unwrap();
    assert_eq!(room.fetch(request).await.unwrap().into_body().collect(1).await.unwrap(), Bytes::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destroyed_actor_is_listed_as_destroyed_and_takes_no_call() {
    let dev = Dev::start();
    let client = dev.client().await;
    let room = client.actor("chat/Room", Id::name("lobby"));
    room.call_json("add", &json!([1])).await.unwrap();
    let info = room.show().await.unwrap();
    assert_eq!((info.state(), info.name.as_deref()), (ActorState::Awake, Some("lobby")));
    assert_eq!(room.destroy().await.unwrap(), info.id);
    assert_eq!(room.destroy().await.unwrap(), info.id, "destroying again is no error");
    let refused = room.call_json("add", &json!([1])).await.unwrap_err();
    assert_eq!((refused.code, refused.outcome), (Code::ActorDestroyed, Outcome::NotDone), "{refused}");
    client.actor("chat/Room", Id::name("other")).call_json("add", &json!([1])).await.unwrap();
    let page = client.list("chat/Room", None, 10).await.unwrap();
    let mut states: Vec<_> = page.actors.iter().map(|actor| (actor.state(), actor.id == info.id)).collect();
    states.sort_by_key(|(_, destroyed)| *destroyed);
    assert_eq!(states, [(ActorState::Awake, false), (ActorState::Destroyed, true)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tombstone_says_who_asked_for_the_destruction() {
    let dev = Dev::start();
    let client = dev.client().await;
    let room = |name: &str| client.actor("Room", Id::name(name));
    room("a").destroy().await.unwrap();
    // Whether this call hears of its own success depends on whether its actor's end or its answer comes first.
    let _ = room("b").call_json("end", &json!([])).await;
    let endpoint = dev.endpoint.clone();
    let lethe = move |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lethe"));
        command.arg("actor").args(args).args(["--api", &endpoint]).env_remove("LETHE_LOG").output().unwrap()
    };
    assert!(lethe(&["destroy", "Room", "c"]).status.success());
    // Who comes later changes nothing.
    room("c").destroy().await.unwrap();
    for (name, by) in [("a", DestroyedBy::Caller), ("b", DestroyedBy::Itself), ("c", DestroyedBy::Operator)] {
        let info = room(name).show().await.unwrap();
        assert_eq!((info.state(), info.destroyed_by()), (ActorState::Destroyed, by), "{name}");
    }
    let shown = lethe(&["show", "Room", "c", "--json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["destroyed_by"], "operator");
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_under_load_fail_no_call_and_lose_no_write() {
    const CALLERS: usize = 4;
    const EDITIONS: u32 = 6;
    let dev = Dev::start();
    let client = dev.client().await;
    let stop = tokio_util::sync::CancellationToken::new();
    let callers: Vec<_> = (0..CALLERS)
        .map(|n| {
            let (room, stop) = (client.actor("Room", Id::name(format!("room {n}"))), stop.clone());
            tokio::spawn(async move {
                let mut added = 0;
                while !stop.is_cancelled() {
                    added += 1;
                    assert_eq!(room.call_json("add", &json!([1])).await, Ok(json!(added)));
                }
                added
            })
        })
        .collect();
    let watcher = client.actor("Room", Id::name("watcher"));
    for edition in 1..=EDITIONS {
        dev.edit(edition);
        let deadline = Instant::now() + Duration::from_secs(30);
        while watcher.call_json("edition", &json!([])).await.unwrap() != json!(edition) {
            assert!(Instant::now() < deadline, "edition {edition} never served");
        }
    }
    stop.cancel();
    for caller in callers {
        assert!(caller.await.unwrap() > u64::from(EDITIONS));
    }
}

#[test]
fn the_command_line_talks_to_a_running_node() {
    let dev = Dev::start();
    let lethe = |args: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_lethe")).args(args).env("LETHE_ENDPOINT", &dev.endpoint).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    assert_eq!(lethe(&["actor", "call", "Room", "lobby", "add", "4"]), (Some(0), "4".into(), String::new()));
    assert_eq!(lethe(&["actor", "call", "Room", "lobby", "add", "[5]"]), (Some(0), "9".into(), String::new()));
    let (code, _, stderr) = lethe(&["actor", "call", "Room", "lobby", "fail"]);
    assert_eq!(code, Some(1));
    assert!(stderr.starts_with("error: RangeError: too far (outcome: done)\n"), "{stderr}");
    let (code, id, _) = lethe(&["actor", "destroy", "Room", "lobby"]);
    assert_eq!((code, id.len()), (Some(0), 64));
    let (code, _, stderr) = lethe(&["actor", "call", "Room", "lobby", "add", "1"]);
    assert_eq!((code, stderr.starts_with("error: ActorDestroyed: ")), (Some(1), true), "{stderr}");
    let (code, listed, _) = lethe(&["actor", "list", "Room", "--json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((code, &listed["id"], &listed["state"]), (Some(0), &json!(id), &json!("destroyed")));
}

#[test]
fn the_project_directory_is_only_read() {
    let dev = Dev::start();
    let names = |dir: &Path| -> Vec<_> {
        let mut names: Vec<_> = dir.read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(dev.project.path()), ["index.js", "wrangler.json"]);
}
