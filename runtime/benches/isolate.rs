//! What a fresh isolate costs: V8 alone, with our snapshot, and as a whole hello request.
//!
//! `cargo bench -p lethe-runtime --bench isolate`. The goal is a hello request within 1.5 times of bare V8; both are
//! measured in this one run. CPU time and memory are printed after the wall-clock numbers.

use std::{
    collections::BTreeMap,
    fs,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{Criterion, criterion_group, criterion_main};
use futures::{StreamExt, future::BoxFuture, stream};
use http_body_util::BodyExt;
use lethe_runtime::{
    body::{self, Body},
    engine::{Config, Engine, Program},
    host::{ActorAddress, ActorCall, ActorReply, CallError, CallErrorKind, Host, IdSource, JsError, LogLine, Outcome},
    measure::Maker,
    program::{Limits, Module, Source},
};
use tokio::runtime::Runtime;

const HELLO: &str = "export default { fetch(request) { return new Response('hello'); } };";
/// Isolates that are alive at once when memory is measured.
const ALIVE: usize = 200;
/// Requests over which CPU time is averaged.
const REQUESTS: u32 = 1000;

struct Nobody;

impl Host for Nobody {
    fn actor_id(&self, _: &str, _: IdSource) -> Result<String, String> {
        Err("no actors here".into())
    }

    fn call_actor(&self, _: ActorAddress, _: ActorCall) -> BoxFuture<'static, Result<ActorReply, CallError>> {
        let error = JsError { name: "Error".into(), message: "no actors here".into(), stack: String::new() };
        let error = CallError { kind: CallErrorKind::InvalidTarget, error, outcome: Outcome::NotDone };
        Box::pin(async { Err(error) })
    }

    fn fetch(&self, _: http::Request<Body>) -> BoxFuture<'static, Result<http::Response<Body>, String>> {
        Box::pin(async { Err("no network here".into()) })
    }

    fn log(&self, _: LogLine) {}
}

async fn hello(engine: &Engine, program: &Arc<Program>, host: Arc<Nobody>) -> usize {
    let request = http::Request::get("http://bench/").body(body::empty()).expect("a valid request");
    let response = engine.fetch(program, None, request, host).await.expect("a response");
    response.into_body().collect().await.expect("a whole body").to_bytes().len()
}

async fn compile(engine: &Engine) -> Arc<Program> {
    let modules = BTreeMap::from([("index.js".to_owned(), Module::Es(HELLO.into()))]);
    let main = "index.js".to_owned();
    let source = Source { name: "hello".into(), main, modules, env: BTreeMap::new(), limits: Limits::default() };
    engine.compile(source).await.expect("hello compiles")
}

/// Processor time that the live threads of this process have used.
fn cpu_time() -> Duration {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let sum: u64 = tasks
        .filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|line| line.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()))
        .sum();
    Duration::from_nanos(sum)
}

fn resident_kb() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4
}

fn isolates(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a tokio runtime");
    let _in_runtime = runtime.enter();
    let maker = Maker::start();
    let mut group = criterion.benchmark_group("isolate");
    group.bench_function("bare V8: isolate, context, dispose", |bencher| bencher.iter(|| maker.bare()));
    group.bench_function("ours: isolate, context, dispose", |bencher| {
        bencher.iter(|| maker.dispose(black_box(maker.pristine())));
    });
    for (name, pristine) in [("hello request, isolate made in it", 0), ("hello request, isolate made ahead", 8)] {
        let engine = Engine::start(Config { threads_max: 8, pristine, ..Config::default() });
        let program = runtime.block_on(compile(&engine));
        let host = Arc::new(Nobody);
        group.bench_function(name, |bencher| {
            bencher.to_async(&runtime).iter(|| hello(&engine, &program, host.clone()));
        });
    }
    group.finish();
    print_cpu_and_memory(&runtime, &maker);
}

fn print_cpu_and_memory(runtime: &Runtime, maker: &Maker) {
    let before = resident_kb();
    let alive: Vec<_> = (0..ALIVE).map(|_| maker.pristine()).collect();
    println!("resident memory of a pristine isolate: {} KB", (resident_kb() - before) / ALIVE as u64);
    for made in alive {
        maker.dispose(made);
    }
    let start = cpu_time();
    for _ in 0..REQUESTS {
        maker.bare();
    }
    println!("CPU time of bare V8: {:?}", (cpu_time() - start) / REQUESTS);
    let start = cpu_time();
    for _ in 0..REQUESTS {
        maker.dispose(maker.pristine());
    }
    println!("CPU time of a pristine isolate: {:?}", (cpu_time() - start) / REQUESTS);
    let engine = Engine::start(Config { threads_max: 4, pristine: 2, ..Config::default() });
    let program = runtime.block_on(compile(&engine));
    let host = Arc::new(Nobody);
    let start = cpu_time();
    for _ in 0..REQUESTS {
        runtime.block_on(hello(&engine, &program, host.clone()));
    }
    runtime.block_on(engine.idle());
    println!("CPU time of a hello request, everything included: {:?}", (cpu_time() - start) / REQUESTS);
    print_throughput(runtime, &program);
}

/// Many requests at a time: how many this machine answers, each in an isolate of its own.
fn print_throughput(runtime: &Runtime, program: &Arc<Program>) {
    let engine = {
        let _in_runtime = runtime.enter();
        Engine::start(Config { threads_max: 64, pristine: 8, ..Config::default() })
    };
    for concurrency in [1, 16, 256] {
        let (engine, program) = (engine.clone(), program.clone());
        let count = (REQUESTS * 4) as usize;
        let (started, cpu) = (Instant::now(), cpu_time());
        let mut times = runtime.block_on(async move {
            let one = |_| {
                let (engine, program) = (engine.clone(), program.clone());
                tokio::spawn(async move {
                    let started = Instant::now();
                    hello(&engine, &program, Arc::new(Nobody)).await;
                    started.elapsed()
                })
            };
            let times = stream::iter(0..count).map(one).buffer_unordered(concurrency);
            times.filter_map(|time| std::future::ready(time.ok())).collect::<Vec<_>>().await
        });
        let (elapsed, cpu) = (started.elapsed(), cpu_time() - cpu);
        times.sort();
        println!(
            "{concurrency} at a time: {:.0} requests/s, {:.0} per CPU second, p50 {:?}, p99 {:?}",
            count as f64 / elapsed.as_secs_f64(),
            count as f64 / cpu.as_secs_f64(),
            times[times.len() / 2],
            times[times.len() * 99 / 100],
        );
    }
}

criterion_group!(benches, isolates);
criterion_main!(benches);
