//! What a call of a live actor costs outside of its JavaScript: mailbox, driver, thread, watchdog, and the way back.
//!
//! `cargo bench -p lethe-runtime --bench turn`. Each caller sends its next call when the last was answered; the actor's
//! method does nothing. Processor time and waits are those of the process, averaged over all calls. With 512 actors hardly
//! anything of one is in a cache when its turn comes. Arguments choose the rows whose names contain one
//! (`"at_once 512"`).

#[path = "used/mod.rs"]
mod used;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{future, future::BoxFuture};
use lethe_runtime::{
    body::Body,
    engine::{ActorStart, Config, Engine, Instance},
    host::{
        ActorAddress, ActorCall, ActorReply, CallError, CallErrorKind, Host, IdSource, JsError, LogLine, Outcome,
        Payload,
    },
    program::{Limits, Module, Source},
};
use tokio::runtime::Runtime;
use used::{Used, is_wanted};

const ACTOR: &str = r#"
    import { DurableObject } from "cloudflare:workers";
    export class Counter extends DurableObject {
        at_once(n) { return n; }
        async later(n) { await null; return n; }
    }
    export default { fetch() { return new Response("not here"); } };
"#;
/// Calls over which figures are averaged.
const COUNT: usize = 100_000;
/// Calls before that.
const WARM: usize = 10_000;

/// A host of actors that ask for nothing.
struct Nothing;

impl Host for Nothing {
    fn actor_id(&self, _: &str, _: IdSource) -> Result<String, String> {
        Err("no actors here".into())
    }

    fn call_actor(&self, _: ActorAddress, _: ActorCall) -> BoxFuture<'static, Result<ActorReply, CallError>> {
        let error = JsError { name: "Error".into(), message: "not here".into(), stack: String::new() };
        let failed = CallError { kind: CallErrorKind::InvalidTarget, error, outcome: Outcome::NotDone };
        Box::pin(future::ready(Err(failed)))
    }

    fn fetch(&self, _: http::Request<Body>) -> BoxFuture<'static, Result<http::Response<Body>, String>> {
        Box::pin(async { Err("no network here".into()) })
    }

    fn log(&self, _: LogLine) {}
}

async fn start(engine: &Engine, count: usize) -> Vec<Instance> {
    let modules = BTreeMap::from([("index.js".to_owned(), Module::Es(ACTOR.into()))]);
    let main = "index.js".to_owned();
    let limits = Limits { wall_ms: Some(30_000), ..Limits::default() };
    let source = Source { name: "bench".into(), main, modules, env: BTreeMap::new(), limits };
    let program = engine.compile(source).await.expect("the worker compiles");
    let mut actors = Vec::new();
    for number in 0..count {
        let start = ActorStart { class_name: "Counter".into(), id: format!("{number:064x}"), name: None };
        actors.push(engine.instantiate(&program, start, Arc::new(Nothing)).await.expect("an actor"));
    }
    actors
}

/// `count` calls by `callers`, which spread over the actors.
async fn load(actors: &[Instance], callers: usize, count: usize, method: &'static str) {
    let tasks = (0..callers).map(|caller| {
        let actor = actors[caller % actors.len()].clone();
        tokio::spawn(async move {
            for _ in 0..count / callers {
                let answer = actor.call(method, Payload::Json("[7]".into())).await.expect("an answer");
                assert_eq!(answer, Payload::Json("7".into()));
            }
        })
    });
    for done in future::join_all(tasks).await {
        done.expect("no panic");
    }
}

fn main() {
    let runtime = Runtime::new().expect("a tokio runtime");
    let _in_runtime = runtime.enter();
    let engine = Engine::start(Config { pristine: 0, ..Config::default() });
    for method in ["at_once", "later"] {
        for (actors, callers) in [(1, 1), (1, 8), (64, 1), (64, 2), (64, 4), (64, 8), (64, 64), (512, 512)] {
            if !is_wanted(&format!("{method} {actors} actors")) {
                continue;
            }
            let live = runtime.block_on(start(&engine, actors));
            runtime.block_on(load(&live, callers, WARM, method));
            let (before, began) = (Used::now(), Instant::now());
            runtime.block_on(load(&live, callers, COUNT, method));
            let (after, wall) = (Used::now(), began.elapsed());
            let per_call = |time: Duration| time.as_secs_f64() * 1e6 / COUNT as f64;
            println!(
                "{method:8} {actors:>3} actors, {callers:>3} callers {:>7.1} us CPU {:>6.2} waits {:>5.2} faults {:>9.0} calls/s",
                per_call(after.cpu - before.cpu),
                (after.switches - before.switches) as f64 / COUNT as f64,
                (after.faults - before.faults) as f64 / COUNT as f64,
                COUNT as f64 / wall.as_secs_f64(),
            );
        }
    }
}
