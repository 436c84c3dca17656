//! What the integration tests share: an engine, sources from text, and a host that only remembers.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::BodyExt;
use lethe_runtime::{
    body::{self, Body},
    engine::{Config, Engine, InvocationError, Program},
    host::{ActorAddress, ActorCall, ActorReply, CallError, CallErrorKind, Host, IdSource, JsError, LogLine, Outcome},
    program::{Limits, Module, Source},
};
use parking_lot::Mutex;

/// A host without a world: it collects logs, and its one web server echoes.
#[derive(Default)]
pub struct FakeHost {
    /// Lines the worker printed.
    pub lines: Mutex<Vec<LogLine>>,
    /// How often a turn ended.
    pub turns: Mutex<u64>,
}

impl FakeHost {
    /// The printed text.
    pub fn printed(&self) -> Vec<String> {
        self.lines.lock().iter().map(|line| format!("{}: {}", line.level, line.text)).collect()
    }
}

impl Host for FakeHost {
    fn actor_id(&self, _: &str, _: IdSource) -> Result<String, String> {
        Err("this host has no actors".into())
    }

    fn call_actor(&self, _: ActorAddress, _: ActorCall) -> BoxFuture<'static, Result<ActorReply, CallError>> {
        let error = JsError { name: "Error".into(), message: "this host has no actors".into(), stack: String::new() };
        Box::pin(async { Err(CallError { kind: CallErrorKind::InvalidTarget, error, outcome: Outcome::NotDone }) })
    }

    /// `http://echo/...` answers with method, path, headers and body, `http://mirror/` with the body alone,
    /// `http://redirect/STATUS?LOCATION` redirects, `http://hops/N` redirects N times, `http://endless/` never stops
    /// sending, `http://never/` never answers; everything else is refused.
    fn fetch(&self, request: http::Request<Body>) -> BoxFuture<'static, Result<http::Response<Body>, String>> {
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            match parts.uri.host() {
                Some("echo") => {
                    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
                    let mut text = format!("{} {path}\n", parts.method);
                    for (name, value) in &parts.headers {
                        text += &format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes()));
                    }
                    let bytes = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
                    text += &format!("\n{}", String::from_utf8_lossy(&bytes));
                    Ok(http::Response::new(body::full(text)))
                }
                Some("mirror") => Ok(http::Response::new(body)),
                Some("redirect") => {
                    let status: u16 = parts.uri.path()[1..].parse().map_err(|_| "no status")?;
                    Ok(redirect(status, parts.uri.query().unwrap_or_default()))
                }
                Some("hops") => match parts.uri.path()[1..].parse::<u32>().map_err(|_| "no number")? {
                    0 => Ok(http::Response::new(body::full("landed"))),
                    left => Ok(redirect(302, &format!("/{}", left - 1))),
                },
                Some("endless") => {
                    let frames = futures::stream::repeat_with(|| Ok(http_body::Frame::data(Bytes::from_static(b"."))));
                    Ok(http::Response::new(http_body_util::StreamBody::new(frames).boxed_unsync()))
                }
                Some("never") => std::future::pending().await,
                host => Err(format!("cannot connect to {}", host.unwrap_or("nothing"))),
            }
        })
    }

    fn log(&self, line: LogLine) {
        self.lines.lock().push(line);
    }

    fn turn_ended(&self) {
        *self.turns.lock() += 1;
    }
}

fn redirect(status: u16, location: &str) -> http::Response<Body> {
    let response = http::Response::builder().status(status).header("location", location);
    response.body(body::full("moved")).expect("a valid response")
}

/// An engine with few threads.
pub fn engine() -> Engine {
    Engine::start(Config { threads_max: 16, pristine: 2, ..Config::default() })
}

/// A worker of one ES module.
pub fn source(text: &str) -> Source {
    source_of([("src/index.js", Module::Es(text.into()))])
}

/// A worker of several modules; the first is the entry.
pub fn source_of<const N: usize>(modules: [(&str, Module); N]) -> Source {
    let main = modules[0].0.to_owned();
    let modules = modules.into_iter().map(|(path, module)| (path.to_owned(), module)).collect();
    Source { name: "test".into(), main, modules, env: BTreeMap::new(), limits: Limits::default() }
}

/// A request without a body.
pub fn get(url: &str) -> http::Request<Body> {
    http::Request::get(url).body(body::empty()).expect("a valid request")
}

/// Compiles a worker that must compile.
pub async fn compile(engine: &Engine, source: Source) -> Arc<Program> {
    engine.compile(source).await.unwrap_or_else(|error| panic!("{error}"))
}

/// Sends one GET and returns the whole body as text.
pub async fn fetch_text(
    engine: &Engine,
    program: &Arc<Program>,
    host: Arc<FakeHost>,
) -> Result<String, InvocationError> {
    let response = engine.fetch(program, None, get("http://test/"), host).await?;
    Ok(text(response.into_body()).await)
}

/// Compiles a worker of one module and answers one GET.
pub async fn run(engine: &Engine, script: &str) -> Result<String, InvocationError> {
    let program = compile(engine, source(script)).await;
    fetch_text(engine, &program, Arc::default()).await
}

/// A whole body as text.
pub async fn text(body: Body) -> String {
    let bytes: Bytes = body.collect().await.unwrap_or_else(|error| panic!("the body failed: {error}")).to_bytes();
    String::from_utf8_lossy(&bytes).into_owned()
}
