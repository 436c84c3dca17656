//! A place outside the cluster where effects of actors are seen: an HTTP server that remembers who called, in their order.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard},
};

use anyhow::Result;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// The server. It ends when it is dropped.
pub struct Sink {
    /// `http://ADDRESS:PORT`. Whoever calls says who it is by the path.
    pub address: String,
    heard: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Sink {
    /// Starts it at an address that the nodes reach.
    pub async fn start(at: Ipv4Addr) -> Result<Self> {
        let listener = TcpListener::bind((at, 0)).await?;
        let address = format!("http://{}", listener.local_addr()?);
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let (mut tasks, hears) = (JoinSet::new(), heard.clone());
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                connections.spawn(answer(connection, hears.clone()));
            }
        });
        Ok(Self { address, heard, _tasks: tasks })
    }

    /// How often this one called.
    pub fn count(&self, who: &str) -> usize {
        self.heard().iter().filter(|heard| *heard == who).count()
    }

    /// How often this one called after another one had called for the first time.
    pub fn count_after(&self, who: &str, other: &str) -> usize {
        self.heard().iter().skip_while(|heard| *heard != other).filter(|heard| *heard == who).count()
    }

    fn heard(&self) -> MutexGuard<'_, Vec<String>> {
        self.heard.lock().expect("nobody panics with it")
    }
}

/// Answers one request.
async fn answer(connection: TcpStream, heard: Arc<Mutex<Vec<String>>>) {
    let mut lines = BufReader::new(connection).lines();
    let Ok(Some(first)) = lines.next_line().await else { return };
    while let Ok(Some(line)) = lines.next_line().await
        && !line.is_empty()
    {}
    let path = first.split(' ').nth(1).unwrap_or("/");
    heard.lock().expect("nobody panics with it").push(path.trim_start_matches('/').to_owned());
    let response = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
    let _ = lines.into_inner().into_inner().write_all(response).await;
}
