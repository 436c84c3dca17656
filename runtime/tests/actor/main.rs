//! Actors inside an isolate: a script, what a test does to it from outside, and what it must print or answer.

mod calls;
mod finish;
mod gate;
mod hold;
mod hostile;
mod host;
mod sections;
mod storage;
mod storage_api;
mod transactions;

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use lethe_runtime::{
    body,
    engine::{Config, Engine, Instance, InvocationError},
    host::Payload,
    program::{Binding, Limits, Module, Source},
};
use tokio::runtime::Runtime;

use crate::host::{World, id_of};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("start tokio"));
static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let _inside = RUNTIME.enter();
    Engine::start(Config::default())
});

/// In front of every script. `outside(path)` calls something that is no actor of the program: the fake world answers
/// `[path]`, when the test lets it.
const PRELUDE: &str = "import { DurableObject, RpcTarget, env } from 'cloudflare:workers';
    const outside = (path) => env.OUTSIDE.getByName('o').get(path);
    ";

/// Runs `test` over a world whose program is `script`. Its exported class `A` is bound as `A`, and `B` as `B`.
fn with_actors(script: &str, test: impl AsyncFnOnce(Arc<World>)) {
    RUNTIME.block_on(run(ENGINE.clone(), Limits::default(), script, test));
}

/// As [`with_actors`], with limits of its own.
fn with_limits(limits: Limits, script: &str, test: impl AsyncFnOnce(Arc<World>)) {
    RUNTIME.block_on(run(ENGINE.clone(), limits, script, test));
}

/// As [`with_actors`], in an engine of its own.
fn with_engine(config: Config, script: &str, test: impl AsyncFnOnce(Arc<World>)) {
    RUNTIME.block_on(async { run(Engine::start(config), Limits::default(), script, test).await });
}

async fn run(engine: Engine, limits: Limits, script: &str, test: impl AsyncFnOnce(Arc<World>)) {
    let namespace = |class: &str| (class.to_owned(), Binding::ActorNamespace { class_name: class.to_owned() });
    let source = Source {
        name: "test".into(),
        main: "index.js".into(),
        modules: BTreeMap::from([("index.js".to_owned(), Module::Es(PRELUDE.to_owned() + script))]),
        env: BTreeMap::from([namespace("A"), namespace("B"), namespace("OUTSIDE")]),
        limits,
    };
    let program = engine.compile(source).await.unwrap_or_else(|error| panic!("{error}"));
    test(World::new(engine, program)).await;
}

/// Starts the actor `a` of class `A`.
async fn start(world: &World) -> Instance {
    world.start("A", &id_of("a")).await.expect("the constructor works")
}

/// Calls a method with JSON arguments; the answer is JSON text.
async fn call(actor: &Instance, method: &str, args: &str) -> Result<String, InvocationError> {
    match actor.call(method, Payload::Json(args.into())).await? {
        Payload::Json(text) => Ok(text),
        Payload::V8(_) => panic!("a call that came as JSON is answered in JSON"),
    }
}

/// Starts a call and lets it run on its own.
fn spawn(actor: &Instance, method: &'static str) -> tokio::task::JoinHandle<Result<String, InvocationError>> {
    let actor = actor.clone();
    tokio::spawn(async move { call(&actor, method, "[]").await })
}

/// Starts the actor `a` and its method, and returns once the method waits for `held`, which the test must release.
async fn spawn_until(
    world: &World,
    method: &'static str,
    held: &str,
) -> (Instance, tokio::task::JoinHandle<Result<String, InvocationError>>) {
    world.holds.hold(held);
    let actor = start(world).await;
    let call = spawn(&actor, method);
    world.holds.until(held, 1).await;
    (actor, call)
}

/// Waits until `condition` holds.
async fn until(condition: impl Fn() -> bool, what: &str) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(hold::DEADLINE, wait).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

/// Runs an actor's method once, expecting that it prints these lines and succeeds.
fn prints(script: &str, expected: &[&str]) {
    with_actors(script, async |world| {
        let actor = start(&world).await;
        let answer = call(&actor, "run", "[]").await;
        assert_eq!(world.log(), expected, "answer: {answer:?}");
        answer.expect("run works");
    });
}

/// Sends a request to the worker itself, in a fresh isolate, and reads the whole response as text.
async fn request(world: &World, url: &str) -> Result<String, InvocationError> {
    use http_body_util::BodyExt;
    let request = http::Request::get(url).body(body::empty()).expect("a valid request");
    let response = world.engine.fetch(&world.program, None, request, world.worker()).await?;
    let bytes = response.into_body().collect().await.expect("the body ends well").to_bytes();
    Ok(String::from_utf8(bytes.to_vec()).expect("UTF-8"))
}
