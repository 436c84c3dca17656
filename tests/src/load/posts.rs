//! Writers over HTTP/1.1 that keep their connections: every request they send must get an answer.
//!
//! A port that refuses a connection has surely not taken a request, and is tried again; that is all that a planned restart
//! may ask of a client.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet};

use crate::{Cluster, Node};

/// Writers of each node, each to an actor of its own.
const WRITERS: usize = 3;
/// A request that is not answered within this time has no answer.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// After a connection that was refused.
const AFTER_REFUSAL: Duration = Duration::from_millis(20);

/// Writers at work.
pub struct Posts {
    shared: Arc<Shared>,
    writers: JoinSet<Result<()>>,
}

#[derive(Default)]
struct Shared {
    answered: AtomicU64,
    stopped: AtomicBool,
}

impl Posts {
    /// Starts to write through all nodes of the cluster, to which `counters` are deployed.
    pub fn start(cluster: &Cluster) -> Self {
        let (shared, mut writers) = (Arc::<Shared>::default(), JoinSet::new());
        for (node, door) in cluster.nodes().iter().map(Node::http).enumerate() {
            for writer in 0..WRITERS {
                writers.spawn(write(Arc::clone(&shared), door.clone(), format!("/posts-{node}-{writer}")));
            }
        }
        Self { shared, writers }
    }

    /// Ends all writers, and gives how many requests were answered well. Fails if any was not answered.
    pub async fn stop(mut self) -> Result<u64> {
        self.shared.stopped.store(true, Ordering::Relaxed);
        while let Some(writer) = self.writers.join_next().await {
            writer.context("a writer panicked")??;
        }
        Ok(self.shared.answered.load(Ordering::Relaxed))
    }
}

async fn write(shared: Arc<Shared>, door: String, path: String) -> Result<()> {
    let host = door.strip_prefix("http://").context("only http:// here")?;
    let mut sender = None;
    while !shared.stopped.load(Ordering::Relaxed) {
        let Some(open) = &mut sender else {
            match connect(host).await? {
                Some(connected) => sender = Some(connected),
                None => tokio::time::sleep(AFTER_REFUSAL).await,
            }
            continue;
        };
        let request = Request::post(&path).header("host", host).body(Full::<Bytes>::default())?;
        let what = || format!("POST {door}{path}");
        let answer = async {
            let response = open.send_request(request).await?;
            let (ok, closes) = (response.status().is_success(), response.headers().contains_key("connection"));
            response.into_body().collect().await?;
            Ok::<_, hyper::Error>((ok, closes))
        };
        let (ok, closes) = tokio::time::timeout(ANSWER_MAX, answer).await.with_context(what)?.with_context(what)?;
        shared.answered.fetch_add(u64::from(ok), Ordering::Relaxed);
        // Nothing is sent on a connection after its last answer.
        if closes {
            sender = None;
        }
    }
    Ok(())
}

/// A connection, if it is not refused.
async fn connect(host: &str) -> Result<Option<SendRequest<Full<Bytes>>>> {
    let Ok(stream) = TcpStream::connect(host).await else { return Ok(None) };
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.context("a connection")?;
    tokio::spawn(connection);
    Ok(Some(sender))
}
