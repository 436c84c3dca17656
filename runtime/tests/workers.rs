//! Worker requests through the engine: entrypoints, errors, bodies, `waitUntil`, and clients that leave.

mod support;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{SinkExt, channel::mpsc};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use lethe_runtime::{
    body::{Body, BodyError},
    engine::{Config, Engine, InvocationError},
    host::LogLine,
    program::{Binding, Module},
};
use support::FakeHost;

/// No step of these tests needs longer.
const STEP_TIME_MAX: Duration = Duration::from_secs(20);

async fn in_time<T>(what: &str, step: impl Future<Output = T>) -> T {
    tokio::time::timeout(STEP_TIME_MAX, step).await.unwrap_or_else(|_| panic!("{what} took too long"))
}

/// Waits until `condition` holds.
async fn until(what: &str, condition: impl Fn() -> bool) {
    in_time(what, async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

fn line(level: &'static str, text: &str) -> LogLine {
    LogLine { level, text: text.into() }
}

/// A request whose body the test writes chunk by chunk.
fn streaming_request() -> (mpsc::Sender<Result<Frame<Bytes>, BodyError>>, http::Request<Body>) {
    let (chunks, body) = mpsc::channel(0);
    let request = http::Request::post("http://test/").body(StreamBody::new(body).boxed_unsync());
    (chunks, request.expect("a valid request"))
}

async fn next_chunk(body: &mut Body) -> Option<Result<Bytes, BodyError>> {
    let frame = in_time("the next chunk", body.frame()).await?;
    Some(frame.map(|frame| frame.into_data().unwrap_or_default()))
}

async fn compile_error(engine: &Engine, modules: [(&str, &str); 2]) -> String {
    let modules = modules.map(|(path, text)| (path, Module::Es(text.into())));
    engine.compile(support::source_of(modules)).await.err().expect("a compile error").to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entrypoints_are_objects_or_classes_and_may_be_named() {
    let engine = support::engine();
    let script = r#"
        import { WorkerEntrypoint, env } from "cloudflare:workers";
        export default class extends WorkerEntrypoint {
          fetch(request) { return new Response(`default ${this.env.GREETING} ${env.GREETING} ${typeof this.ctx.waitUntil}`); }
        }
        export class Admin extends WorkerEntrypoint { fetch() { return new Response("admin"); } }
        export const plain = { fetch(request, env) { return new Response("plain " + env.LIST.length); } };
        export class NotOne { fetch() {} }
        export const number = 7;
    "#;
    let mut source = support::source(script);
    source.env.insert("GREETING".into(), Binding::Json("hi".into()));
    source.env.insert("LIST".into(), Binding::Json(serde_json::json!([1, 2])));
    let program = support::compile(&engine, source).await;
    let answer = async |entrypoint: Option<&str>| {
        let response =
            engine.fetch(&program, entrypoint, support::get("http://test/"), Arc::<FakeHost>::default()).await?;
        Ok(support::text(response.into_body()).await)
    };
    let no_handler = |text: &str| Err(InvocationError::NoHandler(text.into()));
    assert_eq!(answer(None).await, Ok("default hi hi function".into()));
    assert_eq!(answer(Some("Admin")).await, Ok("admin".into()));
    assert_eq!(answer(Some("plain")).await, Ok("plain 2".into()));
    assert_eq!(
        answer(Some("NotOne")).await,
        no_handler("export NotOne is a class that does not extend WorkerEntrypoint")
    );
    assert_eq!(answer(Some("number")).await, no_handler("the worker's export number has no fetch handler"));
    assert_eq!(answer(Some("missing")).await, no_handler("the worker's export missing has no fetch handler"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scheduled_runs_the_handler_with_its_cron_and_time() {
    let engine = support::engine();
    let script = "export default { async scheduled(c, env, ctx) { console.log(c.cron, c.scheduledTime, typeof ctx.waitUntil); } };";
    let program = support::compile(&engine, support::source(script)).await;
    let host = Arc::new(FakeHost::default());
    assert_eq!(engine.scheduled(&program, "*/5 * * * *", 1_700_000_000_000, host.clone()).await, Ok(()));
    assert_eq!(*host.lines.lock(), [line("log", "*/5 * * * * 1700000000000 function")]);
    let answer = support::fetch_text(&engine, &program, Arc::default()).await;
    assert_eq!(answer, Err(InvocationError::NoHandler("the worker's export default has no fetch handler".into())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exception_has_a_stack_of_the_workers_own_files() {
    let engine = support::engine();
    let modules = [
        (
            "src/index.js",
            "import { boom } from './lib/deep.js';\nexport default {\n  async fetch() {\n    await null;\n    boom();\n  },\n};",
        ),
        ("src/lib/deep.js", "export function boom() {\n  throw new TypeError('no luck');\n}"),
    ];
    let program =
        support::compile(&engine, support::source_of(modules.map(|(path, text)| (path, Module::Es(text.into())))))
            .await;
    let answer = support::fetch_text(&engine, &program, Arc::default()).await;
    let Err(InvocationError::Exception(error)) = answer else { panic!("{answer:?}") };
    assert_eq!((error.name.as_str(), error.message.as_str()), ("TypeError", "no luck"));
    let frames: Vec<&str> = error.stack.lines().collect();
    let expected =
        ["TypeError: no luck", "    at boom (src/lib/deep.js:2:9)", "    at Object.fetch (src/index.js:5:5)"];
    assert_eq!(frames, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anything_can_be_thrown() {
    let engine = support::engine();
    for (thrown, name, message) in [
        ("'text'", "Error", "text"),
        ("undefined", "Error", "undefined"),
        ("{ name: 'Odd', message: 'object' }", "Odd", "object"),
        ("Object.create(null)", "Error", "a value that cannot be turned into text was thrown"),
        ("new Proxy({}, { get() { throw 1; } })", "Error", "a value that cannot be turned into text was thrown"),
        ("Symbol('s')", "Error", "a value that cannot be turned into text was thrown"),
    ] {
        let answer = support::run(&engine, &format!("export default {{ fetch() {{ throw {thrown}; }} }};")).await;
        let Err(InvocationError::Exception(error)) = answer else { panic!("{thrown}: {answer:?}") };
        assert_eq!((error.name.as_str(), error.message.as_str()), (name, message), "{thrown}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_returns_no_response_is_an_exception() {
    let engine = support::engine();
    for returned in ["undefined", "'text'", "{}", "new Request('http://x/')"] {
        let answer = support::run(&engine, &format!("export default {{ fetch() {{ return {returned}; }} }};")).await;
        let Err(InvocationError::Exception(error)) = answer else { panic!("{returned}: {answer:?}") };
        assert_eq!(error.name, "TypeError", "{returned}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compile_errors_name_file_and_line_and_point_at_the_place() {
    let engine = support::engine();
    let fine = ("b.js", "export const b = 1;");
    let cases = [
        (
            [("a.js", "export default {\n  fetch() { let x = ; }\n};"), fine],
            "a.js:2:21: SyntaxError: Unexpected token ';'\n      fetch() { let x = ; }\n                        ^",
        ),
        (
            [("a.js", "import './b.js';"), ("b.js", "var ok;\nvar not ok;")],
            "b.js:2:9: SyntaxError: Unexpected identifier 'ok'\n    var not ok;\n            ^^",
        ),
        (
            [("a.js", "export default {};"), ("b.js", "never imported (")],
            "b.js:1:7: SyntaxError: Unexpected identifier 'imported'\n    never imported (\n          ^^^^^^^^",
        ),
        (
            [("a.js", "import { missing } from './b.js';"), fine],
            "a.js:1:10: SyntaxError: The requested module './b.js' does not provide an export named 'missing'\n    \
             import { missing } from './b.js';\n             ^^^^^^^",
        ),
        (
            [("a.js", "undefinedThing();"), fine],
            "a.js:1:1: ReferenceError: undefinedThing is not defined\n    undefinedThing();\n    ^",
        ),
        (
            [("a.js", "await new Promise(() => {});"), fine],
            "Error: a top-level await did not settle; I/O and timers need a request",
        ),
        ([("a.js", "import './gone.js';"), fine], "Error: No such module \"gone.js\", imported by a.js"),
    ];
    for (modules, expected) in cases {
        assert_eq!(compile_error(&engine, modules).await, expected);
    }
    let mut source = support::source("");
    source.main = "other.js".into();
    let error = engine.compile(source).await.err().expect("a compile error");
    assert_eq!(error.to_string(), "there is no module \"other.js\", the worker's `main`");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_stream_both_ways_chunk_by_chunk() {
    let engine = support::engine();
    let script = "export default { fetch(request) { \
                  const upper = new TransformStream({ transform(chunk, out) { out.enqueue(new Uint8Array([...chunk, 33])); } }); \
                  return new Response(request.body.pipeThrough(upper)); } };";
    let program = support::compile(&engine, support::source(script)).await;
    let (mut chunks, request) = streaming_request();
    let answer = engine.fetch(&program, None, request, Arc::<FakeHost>::default());
    let mut body = in_time("the response", answer).await.expect("a response").into_body();
    for text in ["one", "two", "three"] {
        chunks.send(Ok(Frame::data(text.into()))).await.expect("the worker reads");
        let echoed = next_chunk(&mut body).await.expect("a chunk").expect("no error");
        assert_eq!(echoed, format!("{text}!"));
    }
    drop(chunks);
    assert!(next_chunk(&mut body).await.is_none());
    in_time("the isolate's end", engine.idle()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_native_body_streams_on_after_its_isolate_is_gone() {
    let engine = support::engine();
    let script = "export default { fetch(request) { return new Response(request.body); } };";
    let program = support::compile(&engine, support::source(script)).await;
    let (mut chunks, request) = streaming_request();
    let answer = engine.fetch(&program, None, request, Arc::<FakeHost>::default());
    let mut body = in_time("the response", answer).await.expect("a response").into_body();
    in_time("the isolate's end", engine.idle()).await;
    let sent = chunks.send(Ok(Frame::data("late".into())));
    let (sent, got) = tokio::join!(sent, next_chunk(&mut body));
    sent.expect("somebody reads");
    assert_eq!(got.expect("a chunk").expect("no error"), "late");
    drop(chunks);
    assert!(next_chunk(&mut body).await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_fails_on_the_way_is_an_error_on_both_sides() {
    let engine = support::engine();
    let script = "export default { async fetch(request) { \
                  try { await request.text(); return new Response('complete'); } catch (e) { return new Response(e.name); } } };";
    let program = support::compile(&engine, support::source(script)).await;
    let (mut chunks, request) = streaming_request();
    let sending = async move {
        chunks.send(Ok(Frame::data("half".into()))).await.expect("the worker reads");
        chunks.send(Err("connection lost".into())).await.expect("the worker reads");
    };
    let (answer, ()) = tokio::join!(engine.fetch(&program, None, request, Arc::<FakeHost>::default()), sending);
    assert_eq!(support::text(answer.expect("a response").into_body()).await, "TypeError");

    let script = "export default { fetch() { let n = 0; return new Response(new ReadableStream({ \
                  pull(c) { if (n++) throw new Error('broken'); c.enqueue(new Uint8Array([65])); } })); } };";
    let program = support::compile(&engine, support::source(script)).await;
    let answer = engine.fetch(&program, None, support::get("http://test/"), Arc::<FakeHost>::default()).await;
    assert!(answer.expect("a response").into_body().collect().await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wait_until_goes_on_after_the_response() {
    let engine = support::engine();
    let script = "export default { fetch(request, env, ctx) { \
                  ctx.waitUntil(new Promise((done) => setTimeout(done, 30)).then(() => console.log('later'))); \
                  ctx.waitUntil(Promise.reject(new Error('lost'))); return new Response('now'); } };";
    let program = support::compile(&engine, support::source(script)).await;
    let host = Arc::new(FakeHost::default());
    assert_eq!(support::fetch_text(&engine, &program, host.clone()).await.as_deref(), Ok("now"));
    in_time("the isolate's end", engine.idle()).await;
    let lines = host.lines.lock().clone();
    assert_eq!(lines.last(), Some(&line("log", "later")));
    assert!(
        lines[0].level == "exception" && lines[0].text.starts_with("Error: lost\n    at Object.fetch (src/index.js:1:")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wait_until_that_never_ends_is_ended() {
    let engine = Engine::start(Config { wait_until_ms: 100, threads_max: 4, pristine: 1, ..Config::default() });
    let script = "export default { fetch(request, env, ctx) { ctx.waitUntil(fetch('http://never/')); return new Response('now'); } };";
    let program = support::compile(&engine, support::source(script)).await;
    let host = Arc::new(FakeHost::default());
    assert_eq!(support::fetch_text(&engine, &program, host.clone()).await.as_deref(), Ok("now"));
    in_time("the isolate's end", engine.idle()).await;
    assert_eq!(Arc::strong_count(&host), 1, "the isolate still holds its host");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_cancels_the_request() {
    let engine = support::engine();
    let script = "export default { async fetch() { console.log('started'); await fetch('http://never/'); } };";
    let program = support::compile(&engine, support::source(script)).await;
    let host = Arc::new(FakeHost::default());
    let request = tokio::spawn({
        let (engine, host) = (engine.clone(), host.clone());
        async move { engine.fetch(&program, None, support::get("http://test/"), host).await.map(|_| ()) }
    });
    until("the handler's start", || !host.lines.lock().is_empty()).await;
    request.abort();
    in_time("the isolate's end", engine.idle()).await;
    assert_eq!(Arc::strong_count(&host), 1, "the isolate still holds its host");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_does_not_cancel_wait_until() {
    let engine = support::engine();
    let script = "export default { async fetch(request, env, ctx) { \
                  ctx.waitUntil(new Promise((done) => setTimeout(done, 50)).then(() => console.log('kept'))); \
                  console.log('started'); await fetch('http://never/'); } };";
    let program = support::compile(&engine, support::source(script)).await;
    let host = Arc::new(FakeHost::default());
    let request = tokio::spawn({
        let (engine, host) = (engine.clone(), host.clone());
        async move { engine.fetch(&program, None, support::get("http://test/"), host).await.map(|_| ()) }
    });
    until("the handler's start", || !host.lines.lock().is_empty()).await;
    request.abort();
    in_time("the isolate's end", engine.idle()).await;
    assert_eq!(*host.lines.lock(), [line("log", "started"), line("log", "kept")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_response_body_ends_an_endless_stream() {
    let engine = support::engine();
    let script = "export default { fetch() { return new Response(new ReadableStream({ \
                  async pull(c) { await new Promise((done) => setTimeout(done, 1)); c.enqueue(new Uint8Array(10)); } })); } };";
    let program = support::compile(&engine, support::source(script)).await;
    let host = Arc::new(FakeHost::default());
    let response = engine.fetch(&program, None, support::get("http://test/"), host.clone()).await.expect("a response");
    let mut body = response.into_body();
    assert!(next_chunk(&mut body).await.is_some());
    drop(body);
    in_time("the isolate's end", engine.idle()).await;
    assert_eq!(Arc::strong_count(&host), 1, "the isolate still holds its host");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fetch_goes_through_the_host() {
    let engine = support::engine();
    let script = "export default { async fetch() { \
                  const echoed = await fetch('http://echo/path?q=1', { method: 'POST', body: 'sent', headers: { 'x-a': 'b' } }); \
                  let refused; try { await fetch('http://nowhere/'); } catch (e) { refused = e.name; } \
                  const mirror = await fetch('http://mirror/', { method: 'PUT', body: new ReadableStream({ \
                    start(c) { c.enqueue(new Uint8Array([104, 105])); c.close(); } }) }); \
                  return new Response([echoed.status, (await echoed.text()).replaceAll('\\n', '|'), refused, await mirror.text()].join('\\n')); } };";
    let answer = in_time("the answer", support::run(&engine, script)).await.expect("an answer");
    let lines: Vec<&str> = answer.lines().collect();
    assert_eq!((lines[0], lines[2], lines[3]), ("200", "TypeError", "hi"));
    assert!(
        lines[1].starts_with("POST /path?q=1|") && lines[1].contains("x-a: b|") && lines[1].ends_with("||sent"),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_isolates_than_allowed_are_refused_and_not_queued() {
    let engine = Engine::start(Config { isolates_max: 1, pristine: 1, threads_max: 4, ..Config::default() });
    let script = "export default { async fetch() { console.log('started'); await fetch('http://never/'); } };";
    let program = support::compile(&engine, support::source(script)).await;
    let host = Arc::new(FakeHost::default());
    let first = tokio::spawn({
        let (engine, program, host) = (engine.clone(), program.clone(), host.clone());
        async move { engine.fetch(&program, None, support::get("http://test/"), host).await.map(|_| ()) }
    });
    until("the handler's start", || !host.lines.lock().is_empty()).await;
    let second = support::fetch_text(&engine, &program, Arc::default()).await;
    assert_eq!(second, Err(InvocationError::Overloaded("all isolates are taken".into())));
    first.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sources_of_any_script_run_the_same_before_and_after_their_cache_is_warm() {
    let engine = support::engine();
    for text in ["plain", "caf\u{e9}", "\u{436}\u{1f600}"] {
        let script = format!(
            "const late = (n) => n === 0 ? '{text}' : late(n - 1);\n// {text}\n\
             export default {{ fetch() {{ return new Response(late(3) + '{text}'.length + new Error('x').stack.includes(':3:')); }} }};"
        );
        let program = support::compile(&engine, support::source(&script)).await;
        let expected = format!("{text}{}true", text.encode_utf16().count());
        for _ in 0..12 {
            assert_eq!(support::fetch_text(&engine, &program, Arc::default()).await.as_ref(), Ok(&expected));
            engine.idle().await;
        }
    }
}
