//! Live actors through the engine: construction, calls in both encodings, errors, abort.

mod support;

use std::sync::Arc;

use lethe_runtime::{
    engine::{ActorStart, Engine, Instance, InvocationError, Limit},
    host::Payload,
};
use support::FakeHost;

const COUNTER: &str = r#"
    import { DurableObject } from "cloudflare:workers";
    export class Counter extends DurableObject {
      count = 0;
      hidden = () => "not on the prototype";
      add(n) { this.count += n; return this.count; }
      async slow(ms) { await new Promise((done) => setTimeout(done, ms)); return "slept"; }
      who() { return [this.ctx.id.toString(), this.ctx.id.name]; }
      fail() { throw new RangeError("on purpose"); }
      reset() { this.ctx.abort("asked for"); }
      work(ms) { const end = Date.now() + ms; while (Date.now() < end); return "worked"; }
      hoard() { this.kept = []; for (;;) this.kept.push(new Array(1000).fill(1)); }
      spin() { for (;;); }
      fetch(request) { return new Response(`${request.method} ${this.count}`); }
    }
    export class Plain { fetch() { return new Response("plain"); } }
    export default { fetch() { return new Response("worker"); } };
"#;

fn id() -> String {
    "ab".repeat(32)
}

async fn counter(engine: &Engine) -> Instance {
    let program = support::compile(engine, support::source(COUNTER)).await;
    let start = ActorStart { class_name: "Counter".into(), id: id(), name: Some("it".into()) };
    engine.instantiate(&program, start, Arc::new(FakeHost::default())).await.expect("an instance")
}

async fn call(actor: &Instance, method: &str, args: &str) -> Result<Payload, InvocationError> {
    actor.call(method, Payload::Json(args.into())).await
}

fn json(text: &str) -> Result<Payload, InvocationError> {
    Ok(Payload::Json(text.into()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_actor_keeps_its_memory_between_calls() {
    let engine = support::engine();
    let actor = counter(&engine).await;
    assert_eq!(call(&actor, "add", "[2]").await, json("2"));
    assert_eq!(call(&actor, "add", "[3]").await, json("5"));
    assert_eq!(call(&actor, "who", "[]").await, json(&format!("[\"{}\",\"it\"]", id())));
    let response = actor.fetch(support::get("http://actor/x")).await.expect("a response");
    assert_eq!(support::text(response.into_body()).await, "GET 5");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn classes_that_extend_durable_object_are_listed() {
    let engine = support::engine();
    let program = support::compile(&engine, support::source(COUNTER)).await;
    assert_eq!(program.actor_classes(), ["Counter"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_methods_of_the_class_can_be_called() {
    let engine = support::engine();
    let actor = counter(&engine).await;
    for method in ["hidden", "count", "constructor", "fetch", "toString", "__proto__", "missing"] {
        let answer = call(&actor, method, "[]").await;
        assert_eq!(answer, Err(InvocationError::NoHandler(format!("the actor has no method {method}"))));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exceptions_keep_name_message_and_a_stack_of_the_workers_files() {
    let engine = support::engine();
    let actor = counter(&engine).await;
    let Err(InvocationError::Exception(error)) = call(&actor, "fail", "[]").await else { panic!("no exception") };
    assert_eq!((error.name.as_str(), error.message.as_str()), ("RangeError", "on purpose"));
    assert!(error.stack.contains("at Counter.fail (src/index.js:9:"), "{}", error.stack);
    assert!(!error.stack.contains("lethe:"), "{}", error.stack);
    assert_eq!(call(&actor, "add", "[1]").await, json("1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_overlap_while_one_awaits() {
    let engine = support::engine();
    let actor = counter(&engine).await;
    let slow = tokio::spawn({
        let actor = actor.clone();
        async move { call(&actor, "slow", "[50]").await }
    });
    assert_eq!(call(&actor, "add", "[1]").await, json("1"));
    assert_eq!(slow.await.unwrap(), json("\"slept\""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctx_abort_resets_the_actor_and_says_why() {
    let engine = support::engine();
    let actor = counter(&engine).await;
    let aborted = InvocationError::Aborted("asked for".into());
    assert_eq!(call(&actor, "reset", "[]").await, Err(aborted.clone()));
    assert_eq!(actor.broken(), Some(aborted.clone()));
    assert_eq!(call(&actor, "add", "[1]").await, Err(aborted));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn abort_from_outside_ends_a_busy_actor() {
    let engine = support::engine();
    let actor = counter(&engine).await;
    let spinning = tokio::spawn({
        let actor = actor.clone();
        async move { call(&actor, "spin", "[]").await }
    });
    while actor.is_idle() {
        tokio::task::yield_now().await;
    }
    actor.abort("operator");
    assert_eq!(spinning.await.unwrap(), Err(InvocationError::Aborted("operator".into())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_class_is_no_handler() {
    let engine = support::engine();
    let program = support::compile(&engine, support::source(COUNTER)).await;
    let start = ActorStart { class_name: "Nobody".into(), id: id(), name: None };
    let answer = engine.instantiate(&program, start, Arc::new(FakeHost::default())).await;
    assert_eq!(answer.err(), Some(InvocationError::NoHandler("the worker exports no class Nobody".into())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_end_the_actor_and_its_next_call_says_which() {
    let engine = support::engine();
    for (method, limit) in [("spin", Limit::Cpu), ("hoard", Limit::Memory)] {
        let mut source = support::source(COUNTER);
        source.limits.cpu_ms = if limit == Limit::Cpu { 300 } else { 60_000 };
        let program = support::compile(&engine, source).await;
        let start = ActorStart { class_name: "Counter".into(), id: id(), name: None };
        let actor = engine.instantiate(&program, start, Arc::new(FakeHost::default())).await.expect("an instance");
        assert_eq!(call(&actor, method, "[]").await, Err(InvocationError::Limit(limit)));
        assert_eq!(actor.broken(), Some(InvocationError::Limit(limit)));
        assert_eq!(call(&actor, "add", "[1]").await, Err(InvocationError::Limit(limit)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_has_the_whole_cpu_limit() {
    let engine = support::engine();
    let mut source = support::source(COUNTER);
    source.limits.cpu_ms = 400;
    let program = support::compile(&engine, source).await;
    let start = ActorStart { class_name: "Counter".into(), id: id(), name: None };
    let actor = engine.instantiate(&program, start, Arc::new(FakeHost::default())).await.expect("an instance");
    for _ in 0..4 {
        assert_eq!(call(&actor, "work", "[150]").await, json("\"worked\""));
    }
}
