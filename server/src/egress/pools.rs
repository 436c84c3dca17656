//! Idle connections, kept apart by policy and host, and given up when their sockets are needed.
//!
//! Each pair of policy and host has a pool of its own. So a connection made under one policy is never used under another,
//! and when all sockets are taken every idle connection of every *other* host can be closed at once, by forgetting its
//! pool. A pool with requests under way lives on until they are done.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use http::Uri;
use hyper::rt::Executor;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioTimer;
use lethe_runtime::body::Body;
use parking_lot::Mutex;
use rustls::ClientConfig;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connect::Connector;
use super::{Config, Policy, Resolve};

/// The connections to one host.
pub(super) type Pool = Client<Connector, Body>;

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    policy: Policy,
    secure: bool,
    authority: String,
}

struct Kept {
    pool: Pool,
    /// Value of `Map::turn` when it was last asked for.
    used: u64,
}

#[derive(Default)]
struct Map {
    kept: HashMap<Key, Kept>,
    turn: u64,
}

/// See the module's text.
pub(super) struct Pools {
    config: Arc<Config>,
    resolver: Arc<dyn Resolve>,
    tls: Arc<ClientConfig>,
    sockets: Arc<Semaphore>,
    map: Mutex<Map>,
    tasks: Tasks,
    /// For the connectors, which must not keep the pools alive that own them.
    this: Weak<Pools>,
}

impl Pools {
    pub(super) fn new(config: Arc<Config>, resolver: Arc<dyn Resolve>, tls: Arc<ClientConfig>) -> Arc<Self> {
        let sockets = Arc::new(Semaphore::new(config.connections_max.min(Semaphore::MAX_PERMITS)));
        Arc::new_cyclic(|this| Self {
            config,
            resolver,
            tls,
            sockets,
            map: Mutex::default(),
            tasks: Tasks::default(),
            this: this.clone(),
        })
    }

    /// The pool for a request to `target`; made when it is first asked for.
    pub(super) fn get(&self, target: &Uri, policy: &Policy) -> Pool {
        let key = Key {
            policy: policy.clone(),
            secure: target.scheme() == Some(&http::uri::Scheme::HTTPS),
            authority: target.authority().map_or_else(String::new, |authority| authority.as_str().to_ascii_lowercase()),
        };
        let mut map = self.map.lock();
        map.turn += 1;
        let turn = map.turn;
        if let Some(kept) = map.kept.get_mut(&key) {
            kept.used = turn;
            return kept.pool.clone();
        }
        if map.kept.len() >= self.config.pools_max.max(1) {
            let oldest = map.kept.iter().min_by_key(|(_, kept)| kept.used).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| map.kept.remove(&oldest));
        }
        let pool = self.new_pool(Arc::new(policy.clone()));
        map.kept.insert(key, Kept { pool: pool.clone(), used: turn });
        pool
    }

    /// Closes all idle connections. Rare: it happens when every socket is taken.
    pub(super) fn make_room(&self) {
        let forgotten = std::mem::take(&mut self.map.lock().kept);
        tracing::debug!(pools = forgotten.len(), "all sockets are taken, closing idle connections");
    }

    fn new_pool(&self, policy: Arc<Policy>) -> Pool {
        let config = &self.config;
        let connector = Connector {
            policy,
            resolver: self.resolver.clone(),
            tls: self.tls.clone(),
            sockets: self.sockets.clone(),
            pools: self.this.clone(),
            timeout: config.connect_timeout(),
        };
        Client::builder(self.tasks.clone())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(config.idle_timeout())
            .pool_max_idle_per_host(config.idle_per_host_max)
            .http1_max_buf_size(config.header_bytes_max.max(HTTP1_BUFFER_BYTES_MIN))
            .http1_max_headers(config.headers_max)
            .http2_max_header_list_size(u32::try_from(config.header_bytes_max).unwrap_or(u32::MAX))
            .build(connector)
    }
}

/// hyper refuses to work with a smaller buffer.
const HTTP1_BUFFER_BYTES_MIN: usize = 8 << 10;

impl Drop for Pools {
    fn drop(&mut self) {
        self.tasks.end.cancel();
    }
}

/// Runs the tasks of connections; they end when the pools are dropped.
#[derive(Clone, Default)]
struct Tasks {
    tracker: TaskTracker,
    end: CancellationToken,
}

impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, connection: F) {
        let end = self.end.clone();
        self.tracker.spawn(async move {
            tokio::select! {
                _ = connection => {}
                () = end.cancelled() => {}
            }
        });
    }
}
