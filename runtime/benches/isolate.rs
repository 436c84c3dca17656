//! What a fresh isolate costs: V8 alone, with our snapshot, as a whole request, and as a request that calls an actor.
//!
//! `cargo bench -p lethe-runtime --bench isolate`. What counts is processor time and page faults: other programs on the
//! machine change wall-clock times far more. All figures are of one run. Arguments choose the rows whose names contain one.

#[path = "used/mod.rs"]
mod used;

use std::{
    collections::BTreeMap,
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt, future::BoxFuture, stream};
use http_body_util::BodyExt;
use lethe_runtime::{
    body::{self, Body},
    engine::{Config, Engine, Program},
    host::{ActorAddress, ActorCall, ActorReply, CallError, CallErrorKind, Host, IdSource, JsError, LogLine, Outcome},
    measure::Maker,
    program::{Binding, Limits, Module, Source},
};
use tokio::runtime::Runtime;
use used::{Used, is_wanted};

const HELLO: &str = "export default { fetch(request) { return new Response('hello'); } };";
const ADD: &str = r#"
    import { DurableObject } from "cloudflare:workers";
    export class Counter extends DurableObject { add(n) { return n + 1; } }
    export default {
        async fetch(request, env) {
            const count = await env.COUNTER.getByName(new URL(request.url).pathname).add(1);
            return new Response(String(count), { headers: { "content-type": "text/plain" } });
        },
    };
"#;
/// Isolates that are alive at once when memory is measured.
const ALIVE: usize = 200;
/// Isolates or requests of a batch, and batches.
const BATCH: u32 = 100;
const BATCHES: u32 = 25;

/// A host whose one actor answers at once with its arguments.
struct Echo;

impl Host for Echo {
    fn actor_id(&self, _: &str, _: IdSource) -> Result<String, String> {
        Ok("ab".repeat(32))
    }

    fn call_actor(&self, _: ActorAddress, call: ActorCall) -> BoxFuture<'static, Result<ActorReply, CallError>> {
        Box::pin(async move {
            match call {
                ActorCall::Method { args, .. } => Ok(ActorReply::Value(args)),
                ActorCall::Fetch(_) | ActorCall::Destroy { .. } => {
                    let error = JsError { name: "Error".into(), message: "not here".into(), stack: String::new() };
                    Err(CallError { kind: CallErrorKind::InvalidTarget, error, outcome: Outcome::NotDone })
                }
            }
        })
    }

    fn fetch(&self, _: http::Request<Body>) -> BoxFuture<'static, Result<http::Response<Body>, String>> {
        Box::pin(async { Err("no network here".into()) })
    }

    fn log(&self, _: LogLine) {}
}

async fn request(engine: &Engine, program: &Arc<Program>) -> usize {
    let request = http::Request::get("http://bench/").body(body::empty()).expect("a valid request");
    let response = engine.fetch(program, None, request, Arc::new(Echo)).await.expect("a response");
    assert_eq!(response.status(), 200);
    response.into_body().collect().await.expect("a whole body").to_bytes().len()
}

async fn compile(engine: &Engine, text: &str) -> Arc<Program> {
    let modules = BTreeMap::from([("index.js".to_owned(), Module::Es(text.into()))]);
    let main = "index.js".to_owned();
    let env = BTreeMap::from([("COUNTER".to_owned(), Binding::ActorNamespace { class_name: "Counter".into() })]);
    let source = Source { name: "bench".into(), main, modules, env, limits: Limits::default() };
    engine.compile(source).await.expect("the worker compiles")
}

fn resident_kb() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4
}

/// Prints what each call of `work` took: the best and the median of many batches, because other programs on the machine
/// only ever make a batch dearer.
fn measure(name: &str, mut work: impl FnMut(u32)) {
    if !is_wanted(name) {
        return;
    }
    let (began, start) = (Used::now(), Instant::now());
    let mut batches: Vec<Duration> = (0..BATCHES)
        .map(|_| {
            let before = Used::now();
            work(BATCH);
            Used::now().cpu - before.cpu
        })
        .collect();
    let (ended, wall, count) = (Used::now(), start.elapsed(), f64::from(BATCHES * BATCH));
    batches.sort();
    let micros = |batch: Duration| batch.as_secs_f64() * 1e6 / f64::from(BATCH);
    println!(
        "{name:40} {:>7.0} us CPU at best {:>7.0} median {:>7.1} page faults {:>5.1} waits {:>8.0}/s",
        micros(batches[0]),
        micros(batches[batches.len() / 2]),
        (ended.faults - began.faults) as f64 / count,
        (ended.switches - began.switches) as f64 / count,
        count / wall.as_secs_f64(),
    );
}

fn main() {
    let runtime = Runtime::new().expect("a tokio runtime");
    let _in_runtime = runtime.enter();
    let maker = Maker::start();
    let before = resident_kb();
    let alive: Vec<_> = (0..ALIVE).map(|_| maker.pristine()).collect();
    println!("resident memory of a pristine isolate: {} KB", (resident_kb() - before) / ALIVE as u64);
    alive.into_iter().for_each(|made| maker.dispose(made));
    measure("bare V8", |count| (0..count).for_each(|_| maker.bare()));
    // A node always has one: V8's heap of constants is made with the first isolate and dies with the last.
    let _one = maker.pristine();
    measure("pristine isolate", |count| (0..count).for_each(|_| maker.dispose(maker.pristine())));
    for (name, text) in [("hello", HELLO), ("actor call", ADD)] {
        for concurrency in [1, 64] {
            let row = format!("{name} request, {concurrency} at a time");
            if !is_wanted(&row) {
                continue;
            }
            let engine = Engine::start(Config { threads_max: 128, pristine: 8, ..Config::default() });
            let program = runtime.block_on(compile(&engine, text));
            let run = |count: u32| {
                let requests = stream::iter(0..count).map(|_| {
                    let (engine, program) = (engine.clone(), program.clone());
                    tokio::spawn(async move { request(&engine, &program).await })
                });
                runtime.block_on(requests.buffer_unordered(concurrency).for_each(|done| async {
                    done.expect("no panic");
                }));
                runtime.block_on(engine.idle());
            };
            run(200);
            measure(&row, run);
        }
    }
}
