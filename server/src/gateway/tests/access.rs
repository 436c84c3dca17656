//! The access log: one event per request, whatever becomes of it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use http::Response;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use super::rig::*;
use crate::gateway::{Config, Limits};

#[derive(Clone, Default)]
struct Log {
    lines: Arc<Mutex<Vec<BTreeMap<String, String>>>>,
    written: Arc<Notify>,
}

#[derive(Default)]
struct Fields(BTreeMap<String, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
}

impl<S: tracing::Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &tracing::Event<'_>, _context: Context<'_, S>) {
        if event.metadata().target() == "lethe::access" {
            let mut fields = Fields::default();
            event.record(&mut fields);
            self.lines.lock().push(fields.0);
            self.written.notify_one();
        }
    }
}

impl Log {
    /// Listens on this thread, on which a test's whole runtime runs.
    fn listen(&self) -> DefaultGuard {
        tracing::subscriber::set_default(tracing_subscriber::registry().with(self.clone()))
    }

    async fn line(&self) -> BTreeMap<String, String> {
        loop {
            if let Some(line) = self.lines.lock().pop() {
                return line;
            }
            soon("a line", self.written.notified()).await;
        }
    }
}

fn picked(line: &BTreeMap<String, String>, names: &[&str]) -> Vec<String> {
    names.iter().map(|name| line.get(*name).cloned().unwrap_or_else(|| panic!("no {name} in {line:?}"))).collect()
}

const NAMES: [&str; 8] = ["method", "host", "path", "status", "complete", "bytes_in", "bytes_out", "protocol"];

#[tokio::test]
async fn a_request_is_one_line_without_its_query() {
    let log = Log::default();
    let _listening = log.listen();
    let rig = start(Limits::default(), Handler(describe)).await;
    let request = "POST /p?secret=1 HTTP/1.1\r\nHost: w.example\r\nContent-Length: 2\r\n\r\nhi";
    let answer = Raw::connect(rig.addr).await.ask(request).await;
    let line = log.line().await;
    let sent = answer.body.len().to_string();
    assert_eq!(picked(&line, &NAMES), ["POST", "w.example", "/p", "200", "true", "2", &sent, "HTTP/1.1"]);
    assert!(answer.head.contains(&format!("x-lethe-request-id: {}\r\n", line["request_id"])), "{line:?}");
    assert_eq!(line["peer"], "127.0.0.1");
    assert!(line["duration_us"].parse::<u64>().is_ok(), "{line:?}");
    assert!(!format!("{line:?}").contains("secret"), "{line:?}");
    assert!(log.lines.lock().is_empty());
}

#[tokio::test]
async fn refusals_and_clients_that_leave_are_lines_too() {
    let log = Log::default();
    let _listening = log.listen();
    let began = Arc::new(Notify::new());
    let signal = began.clone();
    let handler = move |_, _| {
        signal.notify_one();
        std::future::pending::<Response<_>>()
    };
    let rig = start(Limits::default(), Handler(handler)).await;
    Raw::connect(rig.addr).await.ask("TRACE /t HTTP/1.1\r\nHost: w.example\r\n\r\n").await;
    let refused = log.line().await;
    assert_eq!(picked(&refused, &["method", "host", "path", "status"]), ["TRACE", "w.example", "/t", "405"]);

    let mut client = Raw::connect(rig.addr).await;
    client.send("GET /gone HTTP/1.1\r\nHost: a\r\n\r\n").await;
    soon("the request", began.notified()).await;
    drop(client);
    assert_eq!(picked(&log.line().await, &["path", "status", "complete"]), ["/gone", "499", "false"]);
}

#[tokio::test]
async fn it_can_be_turned_off() {
    let log = Log::default();
    let _listening = log.listen();
    let off = start_with(Config { access_log: false, ..Config::new(loopback()) }, Handler(describe)).await;
    let on = start(Limits::default(), Handler(describe)).await;
    assert_eq!(get(off.addr, "/off").await.status, 200);
    assert_eq!(soon("drain", off.handle.drain()).await.cut, 0);
    assert_eq!(get(on.addr, "/on").await.status, 200);
    assert_eq!(log.line().await["path"], "/on");
    assert!(log.lines.lock().is_empty());
}
