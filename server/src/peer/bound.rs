//! Opening the peer port, serving it, and closing it in an orderly way.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use hyper::body::Incoming;
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::body::Body;
use tower_service::Service;

use super::{
    Handler, Peers, SetupError, Topic, accept,
    config::{Config, Me},
    dial::{Dialer, Executor},
    shared::Shared,
    tls::Tls,
};

/// A port that is bound; nothing is served yet, but [`Bound::peers`] can send.
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Tls>,
    shared: Arc<Shared>,
}

/// Reads the certificates and binds the port, before any heavy work is done.
pub async fn bind(config: Config, me: Me) -> Result<Bound, SetupError> {
    let tls = config.tls.as_ref().map(|files| Tls::load(files, me)).transpose()?;
    let address = config.listen;
    let fail = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => SetupError::InUse(address),
        _ => SetupError::Listen { address, error },
    };
    let listener = TcpListener::bind(address).await.map_err(fail)?;
    let address = listener.local_addr().map_err(|error| SetupError::Listen { address, error })?;
    let executor = Executor { tasks: TaskTracker::new(), cut: CancellationToken::new() };
    let cut = executor.cut.clone();
    let connector = tls.as_ref().map(|tls| tls.connector.clone());
    let dialer = Arc::new(Dialer { me, limits: config.limits.clone(), tls: connector, executor });
    let places = Arc::new(Semaphore::new(config.limits.calls_max));
    let shared = Arc::new(Shared {
        me,
        limits: config.limits,
        dialer,
        nodes: Default::default(),
        banned: Default::default(),
        complaint: Default::default(),
        handlers: Default::default(),
        further: Default::default(),
        places,
        serving: TaskTracker::new(),
        stop: CancellationToken::new(),
        cut,
    });
    Ok(Bound { listener, address, tls, shared })
}

impl Bound {
    /// The address that is listened on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The other nodes.
    pub fn peers(&self) -> Peers {
        Peers { shared: self.shared.clone() }
    }

    /// Takes messages for these topics from now on. Others may be added with [`Handle::add`]; until then their messages
    /// are refused: the node is starting.
    pub fn serve(self, handlers: Vec<(Topic, Arc<dyn Handler>)>) -> Handle {
        let Self { listener, tls, shared, .. } = self;
        let handle = Handle { shared: shared.clone() };
        handle.add(handlers);
        let acceptor = tls.map(|tls| tls.acceptor);
        shared.clone().serving.spawn(accept::accept(listener, acceptor, shared));
        handle
    }
}

/// A peer port that is served. Dropping it cuts everything off; [`Handle::drain`] is the orderly way.
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    /// Takes messages for these topics.
    pub fn add(&self, handlers: Vec<(Topic, Arc<dyn Handler>)>) {
        self.shared.handlers.write().extend(handlers);
    }

    /// Serves `further` on the same port, for every path that is not this room's. The requests carry a
    /// [`Caller`](super::Caller) among their extensions.
    pub fn route<S>(&self, further: S)
    where
        S: Service<http::Request<Incoming>, Response = http::Response<Body>, Error = Infallible>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        let further = move |request| -> futures::future::BoxFuture<'static, http::Response<Body>> {
            let answer = further.clone().call(request);
            Box::pin(async move {
                match answer.await {
                    Ok(response) => response,
                    Err(never) => match never {},
                }
            })
        };
        *self.shared.further.write() = Some(Arc::new(further));
    }

    /// Takes no more connections and calls, ends the streams, waits for calls under way, and then closes everything,
    /// the connections to other nodes too. When it returns, no task of the room is left.
    pub async fn drain(self) {
        let Shared { stop, serving, cut, limits, dialer, .. } = &*self.shared;
        stop.cancel();
        serving.close();
        let timeout = Duration::from_millis(limits.drain_timeout_ms);
        if tokio::time::timeout(timeout, serving.wait()).await.is_err() {
            tracing::info!("calls of other nodes were still under way and are cut off");
        }
        cut.cancel();
        serving.wait().await;
        dialer.executor.tasks.close();
        dialer.executor.tasks.wait().await;
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.stop.cancel();
        self.shared.cut.cancel();
        // What takes messages may hold `Peers`.
        self.shared.handlers.write().clear();
        *self.shared.further.write() = None;
    }
}
