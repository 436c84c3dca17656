//! One caller of a system: a key or an actor of its own, and a connection it may share.

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use lethe_client::Actor;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::etcd::Key;

/// What a call is.
pub enum Caller {
    /// Puts a value into etcd.
    EtcdPut { key: Key, value: Bytes },
    /// Reads it, linearizably.
    EtcdGet { key: Key },
    /// Calls a method of an actor over gRPC.
    Actor { actor: Actor, method: &'static str, arguments: Value },
    /// Sends a request over an HTTP/1.1 connection of its own.
    Http(Http),
}

impl Caller {
    /// One call. The error is a few words.
    pub async fn call(&mut self) -> Result<(), String> {
        let result = match self {
            Self::EtcdPut { key, value } => key.put(value.clone()).await,
            Self::EtcdGet { key } => key.get().await,
            Self::Actor { actor, method, arguments } => {
                return actor.call_json(method, arguments).await.map(drop).map_err(|error| error.describe());
            }
            Self::Http(http) => http.call().await,
        };
        result.map_err(|error| format!("{error:#}"))
    }
}

/// A POST without a body.
pub struct Http {
    authority: String,
    path: String,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Http {
    /// Not connected yet.
    pub fn new(authority: String, path: String) -> Self {
        Self { authority, path, sender: None }
    }

    async fn call(&mut self) -> Result<()> {
        let mut sender = match self.sender.take() {
            Some(sender) if !sender.is_closed() => sender,
            _ => {
                let stream = TcpStream::connect(&self.authority).await.context("connecting")?;
                stream.set_nodelay(true)?;
                let (sender, connection) = handshake(TokioIo::new(stream)).await?;
                // Ends with its sender.
                tokio::spawn(connection);
                sender
            }
        };
        let request = Request::post(&self.path).header("host", &self.authority).body(Full::default())?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            bail!("{status}: {}", String::from_utf8_lossy(&body));
        }
        ensure!(!body.is_empty(), "an empty answer");
        self.sender = Some(sender);
        Ok(())
    }
}
