//! A wire that can be cut: a TCP proxy between a client and a server.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
};

pub struct Proxy {
    /// Begins with `http://`.
    pub address: String,
    /// Connections that were made through it.
    pub connections: Arc<AtomicUsize>,
    cut: Arc<Notify>,
}

impl Proxy {
    /// A proxy to `server`, which begins with `http://`.
    pub async fn start(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (connections, cut) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let (counted, cuts) = (connections.clone(), cut.clone());
        let server = server.trim_start_matches("http://").to_owned();
        tokio::spawn(async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let mut far = TcpStream::connect(&server).await.unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                let cut = cuts.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        () = cut.notified() => {}
                    }
                });
            }
        });
        Self { address, connections, cut }
    }

    /// Cuts every connection there is.
    pub fn cut(&self) {
        self.cut.notify_waiters();
    }
}
