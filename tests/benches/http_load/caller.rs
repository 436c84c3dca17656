//! One connection that asks, waits and asks again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use super::args::Args;
use super::histogram::Histogram;

/// How long to leave a server alone that cannot be connected to.
const CONNECT_RETRY: Duration = Duration::from_millis(20);

/// What is asked for.
pub struct Target {
    url: String,
    authority: String,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
    timeout: Duration,
    keep_alive: bool,
    asked: AtomicU64,
}

impl Target {
    pub fn new(url: &str, args: &Args) -> anyhow::Result<Self> {
        let plain: Uri = url.replace(['{', '}'], "_").parse().with_context(|| format!("`{url}` is not a URL"))?;
        ensure!(plain.scheme_str() == Some("http"), "`{url}`: only http: URLs can be measured");
        let host = plain.host().context("the URL has no host")?;
        let authority = format!("{host}:{}", plain.port_u16().unwrap_or(80));
        let mut headers = HeaderMap::new();
        for line in &args.headers {
            let (name, value) = line.split_once(':').with_context(|| format!("`{line}` is not `name: value`"))?;
            headers.append(HeaderName::try_from(name.trim())?, HeaderValue::try_from(value.trim())?);
        }
        if args.streams == 0 {
            headers.entry(http::header::HOST).or_insert(HeaderValue::try_from(authority.as_str())?);
        }
        Ok(Self {
            url: url.to_owned(),
            authority,
            method: Method::from_bytes(args.method.as_bytes())?,
            headers,
            body: Bytes::from(args.data.clone()),
            timeout: Duration::from_secs_f64(args.timeout_seconds),
            keep_alive: !args.no_keep_alive,
            asked: AtomicU64::new(0),
        })
    }

    fn request(&self, connection: u32, h2: bool) -> anyhow::Result<Request<Full<Bytes>>> {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let url = if self.url.contains('{') {
            self.url.replace("{n}", &number.to_string()).replace("{c}", &connection.to_string())
        } else {
            self.url.clone()
        };
        let uri: Uri = url.parse()?;
        let uri = match uri.path_and_query() {
            Some(path) if !h2 => path.as_str().parse()?,
            Some(_) | None => uri,
        };
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers.clone();
        Ok(request)
    }
}

/// Where the run is; shared by all callers.
#[derive(Default)]
pub struct Phase(AtomicU8);

const MEASURING: u8 = 1;
const STOPPED: u8 = 2;

impl Phase {
    pub fn measure(&self) {
        self.0.store(MEASURING, Ordering::Release);
    }

    pub fn stop(&self) {
        self.0.store(STOPPED, Ordering::Release);
    }

    fn is(&self, phase: u8) -> bool {
        self.0.load(Ordering::Acquire) == phase
    }
}

/// What was seen while measuring.
#[derive(Default)]
pub struct Tally {
    pub latencies: Histogram,
    pub body_bytes: u64,
    /// Answered, but with a status outside 200 to 399: counted in `latencies` too.
    pub statuses: BTreeMap<u16, u64>,
    /// Not answered.
    pub errors: BTreeMap<&'static str, u64>,
    first_error: Option<String>,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.latencies.add(&other.latencies);
        self.body_bytes += other.body_bytes;
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        for (kind, count) in &other.errors {
            *self.errors.entry(kind).or_default() += count;
        }
        if self.first_error.is_none() {
            self.first_error.clone_from(&other.first_error);
        }
    }

    pub fn first_error_text(&self) -> String {
        self.first_error.as_ref().map_or_else(String::new, |error| format!(": {error}"))
    }

    fn fail(&mut self, phase: &Phase, kind: &'static str, error: &dyn std::fmt::Display) {
        self.first_error.get_or_insert_with(|| format!("{kind}: {error}"));
        if phase.is(MEASURING) {
            *self.errors.entry(kind).or_default() += 1;
        }
    }
}

/// A way to send one request.
#[derive(Clone)]
enum Sender {
    One(Arc<tokio::sync::Mutex<http1::SendRequest<Full<Bytes>>>>),
    Many(http2::SendRequest<Full<Bytes>>),
}

/// See the module's text.
#[derive(Clone)]
pub struct Caller {
    connection: u32,
    target: Arc<Target>,
    phase: Arc<Phase>,
}

impl Caller {
    pub fn new(connection: u32, target: Arc<Target>, phase: Arc<Phase>) -> Self {
        Self { connection, target, phase }
    }

    /// Calls until the run stops. `streams` 0 is HTTP/1.1.
    pub async fn run(self, streams: u32) -> Tally {
        let mut tally = Tally::default();
        while !self.phase.is(STOPPED) {
            let (sender, _connection) = match self.connect(streams > 0).await {
                Ok(connected) => connected,
                Err(error) => {
                    tally.fail(&self.phase, "connect", &error);
                    tokio::time::sleep(CONNECT_RETRY).await;
                    continue;
                }
            };
            let mut loops = tokio::task::JoinSet::new();
            for _ in 0..streams.max(1) {
                loops.spawn(self.clone().ask_on(sender.clone()));
            }
            while let Some(Ok(part)) = loops.join_next().await {
                tally.add(&part);
            }
        }
        tally
    }

    async fn connect(&self, h2: bool) -> anyhow::Result<(Sender, AbortOnDropHandle<()>)> {
        let tcp = tokio::time::timeout(self.target.timeout, TcpStream::connect(&self.target.authority)).await??;
        tcp.set_nodelay(true)?;
        let io = TokioIo::new(tcp);
        if h2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
            let task = tokio::spawn(async move { drop(connection.await) });
            return Ok((Sender::Many(sender), AbortOnDropHandle::new(task)));
        }
        let (sender, connection) = http1::handshake(io).await?;
        let task = tokio::spawn(async move { drop(connection.await) });
        Ok((Sender::One(Arc::new(tokio::sync::Mutex::new(sender))), AbortOnDropHandle::new(task)))
    }

    /// Asks until the run stops or the connection is of no more use.
    async fn ask_on(self, mut sender: Sender) -> Tally {
        let mut tally = Tally::default();
        while !self.phase.is(STOPPED) {
            let began = Instant::now();
            let answered = tokio::time::timeout(self.target.timeout, self.ask(&mut sender)).await;
            match answered {
                Ok(Ok((status, bytes))) if self.phase.is(MEASURING) => {
                    tally.latencies.record(began.elapsed());
                    tally.body_bytes += bytes;
                    if !(200..400).contains(&status) {
                        *tally.statuses.entry(status).or_default() += 1;
                    }
                }
                Ok(Ok(_)) => {}
                Ok(Err(error)) => {
                    tally.fail(&self.phase, "broken", &format!("{error:#}"));
                    break;
                }
                Err(_) => {
                    tally.fail(&self.phase, "timeout", &"no answer in time");
                    break;
                }
            }
            if !self.target.keep_alive {
                break;
            }
        }
        tally
    }

    async fn ask(&self, sender: &mut Sender) -> anyhow::Result<(u16, u64)> {
        let response = match sender {
            Sender::One(sender) => {
                let mut sender = sender.lock().await;
                sender.ready().await?;
                sender.send_request(self.target.request(self.connection, false)?).await?
            }
            Sender::Many(sender) => {
                sender.ready().await?;
                sender.send_request(self.target.request(self.connection, true)?).await?
            }
        };
        let status = response.status().as_u16();
        let mut body = response.into_body();
        let mut bytes = 0;
        while let Some(frame) = body.frame().await {
            bytes += frame?.data_ref().map_or(0, |data| data.len() as u64);
        }
        Ok((status, bytes))
    }
}
