//! A wire that can be cut or held: a TCP proxy between a client and a server.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

pub struct Proxy {
    /// Begins with `http://`.
    pub address: String,
    /// Connections that were made through it.
    pub connections: Arc<AtomicUsize>,
    wire: Arc<Wire>,
}

#[derive(Default)]
struct Wire {
    cut: Notify,
    /// Bytes to the server that still pass; `u64::MAX` never runs out in a test.
    left: AtomicU64,
    held: Notify,
}

impl Proxy {
    /// A proxy to `server`, which begins with `http://`.
    pub async fn start(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (connections, wire) = (Arc::new(AtomicUsize::new(0)), Arc::new(Wire::default()));
        wire.left.store(u64::MAX, Ordering::SeqCst);
        let (counted, shared) = (connections.clone(), wire.clone());
        let server = server.trim_start_matches("http://").to_owned();
        tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                let far = TcpStream::connect(&server).await.unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(shared.clone().carry(near, far));
            }
        });
        Self { address, connections, wire }
    }

    /// Cuts every connection there is.
    pub fn cut(&self) {
        self.wire.cut.notify_waiters();
    }

    /// Lets this many further bytes pass to the server, then none.
    pub fn hold_after(&self, bytes: u64) {
        self.wire.left.store(bytes, Ordering::SeqCst);
    }

    /// Waits until bytes are held.
    pub async fn held(&self) {
        self.wire.held.notified().await;
    }
}

impl Wire {
    async fn carry(self: Arc<Self>, mut near: TcpStream, mut far: TcpStream) {
        let (mut from_client, mut to_client) = near.split();
        let (mut from_server, mut to_server) = far.split();
        let there = async {
            let mut buffer = [0; 16 << 10];
            while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
                if self.left.load(Ordering::SeqCst) < count as u64 {
                    self.held.notify_one();
                    return std::future::pending().await;
                }
                self.left.fetch_sub(count as u64, Ordering::SeqCst);
                if to_server.write_all(&buffer[..count]).await.is_err() {
                    return;
                }
            }
        };
        let back = tokio::io::copy(&mut from_server, &mut to_client);
        tokio::select! {
            () = there => {}
            _ = back => {}
            () = self.cut.notified() => {}
        }
    }
}
