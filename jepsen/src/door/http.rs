//! HTTP: a request to the gateway, a Worker in a fresh isolate, and from there a call to the actor.
//!
//! hyper's bare connection is used, because a pooled client would repeat requests behind our back.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header::RETRY_AFTER};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, task::JoinHandle, time::timeout};

use super::{Answer, DEADLINE};
use crate::cluster::Addresses;

const CONNECT_MAX: Duration = Duration::from_secs(2);
/// Answers are a few bytes; a longer one is none of ours.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// A connection to the gateway it was last asked to call.
#[derive(Default)]
pub struct HttpDoor {
    connection: Option<Connection>,
}

struct Connection {
    endpoint: String,
    sender: SendRequest<Full<Bytes>>,
    task: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl HttpDoor {
    /// Not connected yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// See [`super::Door::call`].
    pub async fn call(&mut self, at: &Addresses, class: &str, name: &str, method: &str, args: &Value) -> Answer {
        let mut connection = match self.connection.take() {
            Some(connection) if connection.endpoint == at.http && !connection.sender.is_closed() => connection,
            _ => match connect(&at.http).await {
                Ok(connection) => connection,
                Err(error) => return Answer::NotDone(format!("{error:#}")),
            },
        };
        let request = Request::post(format!("/{class}/{name}/{method}"))
            .header("host", at.http.trim_start_matches("http://"))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(args.to_string())))
            .expect("names are made of letters and digits");
        match timeout(DEADLINE, exchange(&mut connection.sender, request)).await {
            Err(_) => Answer::Unknown(format!("no answer within {DEADLINE:?}")),
            Ok(Err(error)) => Answer::Unknown(format!("{error:#}")),
            Ok(Ok(reply)) => {
                self.connection = Some(connection);
                answer(&reply)
            }
        }
    }
}

/// What came back.
struct Reply {
    status: StatusCode,
    /// It says when to come again.
    later: bool,
    body: Bytes,
}

async fn connect(endpoint: &str) -> anyhow::Result<Connection> {
    let uri: Uri = endpoint.parse().context("the server's address")?;
    let authority = uri.authority().context("the server's address has no host")?;
    let stream = timeout(CONNECT_MAX, TcpStream::connect(authority.as_str())).await.context("connecting")??;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Errors of the connection reach the caller through `sender`.
    let task = tokio::spawn(async move { drop(connection.await) });
    Ok(Connection { endpoint: endpoint.to_string(), sender, task })
}

async fn exchange(sender: &mut SendRequest<Full<Bytes>>, request: Request<Full<Bytes>>) -> anyhow::Result<Reply> {
    sender.ready().await?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let later = response.headers().contains_key(RETRY_AFTER);
    let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!("the answer's body: {error}"))?;
    Ok(Reply { status, later, body: body.to_bytes() })
}

fn answer(reply: &Reply) -> Answer {
    let Reply { status, later, body } = reply;
    let text = || format!("{status}: {}", String::from_utf8_lossy(body));
    let json = serde_json::from_slice::<Value>(body).unwrap_or_default();
    let not_done = json["outcome"] == "not done";
    if status.is_server_error() {
        // The Worker tells what the actor threw. That the actor found itself overtaken must not pass as unknown.
        return match json["name"] == "Error" {
            true => Answer::Unexpected(text()),
            // The gateway refuses before any Worker runs: "come again later". Else the runtime told the Worker.
            false if not_done || (*status == StatusCode::SERVICE_UNAVAILABLE && *later) => Answer::NotDone(text()),
            false => Answer::Unknown(text()),
        };
    }
    match *status {
        StatusCode::GONE if not_done => Answer::Destroyed,
        StatusCode::GONE => Answer::Ended,
        StatusCode::OK => match json.get("value") {
            Some(value) => Answer::Value(value.clone()),
            None => Answer::Unexpected(text()),
        },
        _ => Answer::Unexpected(text()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_status_says_what_may_be_believed() {
        let text = |status: &str, body: &str| format!("{status}: {body}");
        let (internal, unavailable) = ("500 Internal Server Error", "503 Service Unavailable");
        let overtaken = r#"{"name":"Error","message":"overtaken","outcome":"done"}"#;
        let reset = r#"{"name":"ActorReset","outcome":"unknown"}"#;
        let refused = r#"{"name":"Unavailable","outcome":"not done"}"#;
        let cases = [
            (200, false, r#"{"value":7}"#, Answer::Value(json!(7))),
            (200, false, r#"{"value":null}"#, Answer::Value(json!(null))),
            (200, false, "hello", Answer::Unexpected("200 OK: hello".into())),
            (404, false, "x", Answer::Unexpected("404 Not Found: x".into())),
            (410, false, r#"{"name":"ActorDestroyed"}"#, Answer::Ended),
            (410, false, r#"{"name":"ActorDestroyed","outcome":"unknown"}"#, Answer::Ended),
            (410, false, r#"{"name":"ActorDestroyed","outcome":"not done"}"#, Answer::Destroyed),
            (503, false, "overloaded", Answer::Unknown(text(unavailable, "overloaded"))),
            (503, true, "starting", Answer::NotDone(text(unavailable, "starting"))),
            (500, true, "starting", Answer::Unknown(text(internal, "starting"))),
            (500, false, overtaken, Answer::Unexpected(text(internal, overtaken))),
            (500, false, reset, Answer::Unknown(text(internal, reset))),
            (500, false, refused, Answer::NotDone(text(internal, refused))),
        ];
        for (status, later, body, expected) in cases {
            let status = StatusCode::from_u16(status).unwrap();
            let reply = Reply { status, later, body: Bytes::from_static(body.as_bytes()) };
            assert_eq!(answer(&reply), expected);
        }
    }

    #[tokio::test]
    async fn a_refused_connection_was_not_done() {
        // A port that was free a moment ago.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let at = Addresses { node: None, grpc: http.clone(), http };
        let answer = HttpDoor::new().call(&at, "A", "a", "read", &json!([])).await;
        assert!(matches!(answer, Answer::NotDone(_)), "{answer:?}");
    }

    #[tokio::test]
    async fn a_connection_lost_after_the_request_leaves_it_unknown() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            stream.readable().await.unwrap();
        });
        let at = Addresses { node: None, grpc: http.clone(), http };
        let answer = HttpDoor::new().call(&at, "A", "a", "write", &json!([1])).await;
        assert!(matches!(answer, Answer::Unknown(_)), "{answer:?}");
        server.await.unwrap();
    }
}
