//! A minimal HTTP client: one connection per request, so that no pool hides what the server does.

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// A whole response.
#[derive(Debug)]
pub struct Reply {
    /// Status and headers.
    pub head: http::response::Parts,
    /// The whole body.
    pub body: Bytes,
}

impl Reply {
    /// The status.
    pub fn status(&self) -> StatusCode {
        self.head.status
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Sends one request to `http://host:port` and reads the whole response.
pub async fn send(base: &str, request: Request<Full<Bytes>>) -> Result<Reply> {
    let (head, body) = open(base, request).await?.into_parts();
    let body = body.collect().await.context("reading the body")?.to_bytes();
    Ok(Reply { head, body })
}

/// `GET path`.
pub async fn get(base: &str, path: &str) -> Result<Reply> {
    send(base, Request::get(path).body(Full::default())?).await
}

/// Sends one request and gives the response as soon as its head is there, with its body still streaming.
pub async fn open(base: &str, mut request: Request<Full<Bytes>>) -> Result<Response<hyper::body::Incoming>> {
    let host = base.strip_prefix("http://").context("only http:// here")?;
    let stream = TcpStream::connect(host).await.with_context(|| format!("connecting to {host}"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    request.headers_mut().entry("host").or_insert(host.parse()?);
    Ok(sender.send_request(request).await?)
}
