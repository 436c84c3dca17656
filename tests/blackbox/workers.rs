//! A Worker answers over HTTP: bindings, modules, streaming, reload, drain.

use anyhow::Result;
use http::{Request, StatusCode};
use lethe_tests::{Options, Project, Server, Signal, get, send, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_sees_the_request_and_its_variables() -> Result<()> {
    let project = Project::new(
        "import greeting from './greeting.txt';
         import { shout } from './lib/shout.js';
         export default {
           async fetch(request, env, ctx) {
             const url = new URL(request.url);
             const body = await request.text();
             return Response.json({
               method: request.method, path: url.pathname, query: url.searchParams.get('q'),
               header: request.headers.get('x-test'), body, place: env.PLACE, greeting: shout(greeting),
             }, { status: 201, headers: { 'x-worker': 'yes' } });
           },
         };",
        &[],
    );
    project.write("greeting.txt", "hello");
    project.write("lib/shout.js", "export const shout = (text) => text.toUpperCase();");
    project.configure(|config| config["vars"] = serde_json::json!({ "PLACE": "here" }));
    let server = Server::start(project.path(), &Options::default()).await?;
    let request = Request::put("/a/b?q=1%202").header("x-test", "t").body("payload".into())?;
    let reply = send(&server.http, request).await?;
    assert_eq!((reply.status(), reply.head.headers["x-worker"].to_str()?), (StatusCode::CREATED, "yes"));
    let seen: serde_json::Value = serde_json::from_slice(&reply.body)?;
    let expected = serde_json::json!({
        "method": "PUT", "path": "/a/b", "query": "1 2", "header": "t", "body": "payload", "place": "here", "greeting": "HELLO",
    });
    assert_eq!(seen, expected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_until_runs_on_after_the_response() -> Result<()> {
    let project = Project::new(
        "export default {
           async fetch(request, env, ctx) {
             ctx.waitUntil(scheduler.wait(200).then(() => console.log('waited until the end')));
             return new Response('at once');
           },
         };",
        &[],
    );
    let server = Server::start(project.path(), &Options::default()).await?;
    assert_eq!(get(&server.http, "/").await?.text(), "at once");
    let printed = async || server.output().contains("waited until the end").then_some(());
    wait_for("the line of waitUntil", printed).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_serves_without_a_restart_and_a_broken_one_keeps_the_old_version() -> Result<()> {
    let worker = |text: &str| format!("export default {{ fetch() {{ return new Response('{text}'); }} }};");
    let project = Project::new(&worker("one"), &[]);
    let server = Server::start(project.path(), &Options::default()).await?;
    assert_eq!(get(&server.http, "/").await?.text(), "one");

    project.write("index.js", "export default { fetch() { return new Response('two' } };");
    let refused = async || server.output().contains("SyntaxError").then_some(());
    wait_for("the syntax error", refused).await;
    assert_eq!(get(&server.http, "/").await?.text(), "one");

    project.write("index.js", &worker("three"));
    let changed = async || (get(&server.http, "/").await.ok()?.text() == "three").then_some(());
    wait_for("the new version", changed).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_finishes_the_request_in_flight_and_exits_with_0() -> Result<()> {
    let project = Project::new(
        "export default { async fetch() { console.log('begun'); await scheduler.wait(500); return new Response('whole'); } };",
        &[],
    );
    let server = Server::start(project.path(), &Options::default()).await?;
    let http = server.http.clone();
    let request = tokio::spawn(async move { get(&http, "/").await });
    wait_for("the request to begin", async || server.output().contains("begun").then_some(())).await;
    let (status, output) = server.stop().await?;
    assert_eq!(status.code(), Some(0), "{output}");
    assert_eq!(request.await??.text(), "whole");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sigterm_ends_the_server_without_waiting_for_the_request_in_flight() -> Result<()> {
    let project = Project::new(
        "export default { async fetch() { console.log('begun'); await new Promise(() => setInterval(() => {}, 1000)); } };",
        &[],
    );
    let server = Server::start(project.path(), &Options::default()).await?;
    let http = server.http.clone();
    let request = tokio::spawn(async move { get(&http, "/").await });
    wait_for("the request to begin", async || server.output().contains("begun").then_some(())).await;
    server.signal(Signal::TERM);
    wait_for("the stop to begin", async || server.output().contains("stopping: ").then_some(())).await;
    assert!(!request.is_finished());
    server.signal(Signal::TERM);
    // A clean stop would exit with 0, the signal itself with no code.
    assert_eq!(server.ended().await?.0.code(), Some(1));
    assert!(request.await?.is_err());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exception_is_a_500_and_its_stack_names_the_worker_s_file() -> Result<()> {
    let project =
        Project::new("export default {\n  fetch() {\n    throw new RangeError('out of cheese');\n  },\n};", &[]);
    let server = Server::start(project.path(), &Options::default()).await?;
    let reply = get(&server.http, "/").await?;
    assert_eq!(reply.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let logged = async || {
        let output = server.output();
        (output.contains("RangeError: out of cheese") && output.contains("index.js:3")).then_some(())
    };
    wait_for("the logged stack", logged).await;
    Ok(())
}
