//! Nodes that call each other's actors over their peer ports.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use futures::future::BoxFuture;
use lethe_proto::{ClusterId, NodeId};
use lethe_runtime::host::{ActorCall, ActorReply, CallErrorKind, Outcome, Payload};
use lethe_server::{
    actor::{ActorRef, Call, Failed, Place},
    grpc::{Remotes, for_nodes},
    peer::{self, Bound, Config, Handle, Me, Peers, TlsFiles, ca},
    routing::Places,
};
use uuid::Uuid;

use crate::fake::{Fake, ids};

const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(0xC1));
/// No test waits as long as this.
const LONG: Duration = Duration::from_secs(60);

/// Node 2, where actors live, and node 1, which calls them.
struct Pair {
    near: Node,
    far: Node,
    fake: Fake,
    files: tempfile::TempDir,
}

struct Node {
    id: NodeId,
    peers: Peers,
    port: Handle,
}

/// Actors do what the method's name says; `elsewhere` says that they live on node 3.
struct There(Fake);

impl Place for There {
    fn attempt(
        &self,
        to: ActorRef,
        call: ActorCall,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<ActorReply, Failed>> {
        if matches!(&call, ActorCall::Method { method, .. } if method == "elsewhere") {
            return Box::pin(async { Err(Failed::NotLeader { leader: Some(NodeId::from(3)) }) });
        }
        let reply = self.0.call(to, call, deadline);
        Box::pin(async move { Ok(reply.await?) })
    }
}

async fn bind(node: u64, files: &Path) -> Bound {
    // An address that nobody else uses: a port that was free there stays free.
    let own = Ipv4Addr::new(127, rand::random_range(1..=254), rand::random(), rand::random_range(1..=254));
    let mut config = Config::new(SocketAddr::from((own, 0)), Some(TlsFiles::in_dir(files)));
    // So that a loaded machine is not taken for a broken connection, nor a slow end for one that hangs.
    config.limits.connect_timeout_ms = 30_000;
    config.limits.keepalive_timeout_ms = 30_000;
    config.limits.drain_timeout_ms = 3_600_000;
    peer::bind(config, Me { cluster: CLUSTER, node: NodeId::from(node) }).await.unwrap()
}

impl Pair {
    async fn start() -> Self {
        let files = tempfile::tempdir().unwrap();
        let authority = ca::Authority::create(CLUSTER).unwrap();
        let mut bound = Vec::new();
        for number in [1, 2] {
            let dir = files.path().join(number.to_string());
            std::fs::create_dir(&dir).unwrap();
            ca::save_node(&dir, authority.ca_pem(), &authority.issue(NodeId::from(number)).unwrap()).unwrap();
            bound.push(bind(number, &dir).await);
        }
        let address = bound[1].local_addr().to_string();
        let mut nodes = (1..).zip(bound).map(|(number, bound): (u64, Bound)| {
            let peers = bound.peers();
            Node { id: NodeId::from(number), peers, port: bound.serve(Vec::new()) }
        });
        let (near, far) = (nodes.next().unwrap(), nodes.next().unwrap());
        drop(nodes);
        near.peers.learn(far.id, &address);
        let fake = Fake::default();
        far.port.route(for_nodes(Arc::new(There(fake.clone())), Arc::new(fake.clone()), 100));
        Self { near, far, fake, files }
    }

    /// Node 2 once more, at another address.
    async fn serve_again(&self) -> (Handle, String, Fake) {
        let bound = bind(2, &self.files.path().join("2")).await;
        let (address, fake) = (bound.local_addr().to_string(), Fake::default());
        let port = bound.serve(Vec::new());
        port.route(for_nodes(Arc::new(There(fake.clone())), Arc::new(fake.clone()), 100));
        (port, address, fake)
    }

    fn far(&self) -> Arc<dyn Place> {
        Remotes::new(self.near.peers.clone()).place(self.far.id).unwrap()
    }
}

async fn call(place: &Arc<dyn Place>, method: &str) -> Result<String, Failed> {
    let name = Some("lobby".to_owned());
    let to = ActorRef { namespace: "chat/Room".into(), id: ids().from_name("lobby").unwrap(), name };
    let call = ActorCall::Method { method: method.into(), args: Payload::Json("[1]".into()) };
    match place.attempt(to, call, Instant::now() + LONG).await? {
        ActorReply::Value(Payload::Json(text)) => Ok(text),
        _ => panic!("the answer is no JSON"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_reaches_the_other_node_and_one_for_another_is_told_where_to_go() {
    let pair = Pair::start().await;
    let far = pair.far();
    assert_eq!(call(&far, "echo").await, Ok("[1]".into()));
    assert_eq!(call(&far, "whoami").await, Ok(r#"["chat/Room","lobby"]"#.into()));
    assert_eq!(call(&far, "elsewhere").await, Err(Failed::NotLeader { leader: Some(NodeId::from(3)) }));
    assert!(Remotes::new(pair.near.peers.clone()).place(NodeId::from(3)).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_stream_does_not_hold_the_end_of_the_peer_port_up_and_later_calls_are_not_done() {
    let pair = Pair::start().await;
    let far = pair.far();
    call(&far, "echo").await.unwrap();
    let waiting = tokio::spawn({
        let far = far.clone();
        async move { call(&far, "wait").await }
    });
    while pair.fake.calls.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    let ended = tokio::spawn(pair.far.port.drain());
    // What came before is answered, what comes later was not done: whichever of the two ways it is told.
    let mut served = 0;
    while let Ok(text) = call(&far, "echo").await {
        assert_eq!(text, "[1]");
        served += 1;
    }
    pair.fake.go.notify_one();
    assert_eq!(waiting.await.unwrap(), Ok("[1]".into()));
    tokio::time::timeout(LONG, ended).await.expect("the port does not end").unwrap();
    let deadline = Instant::now() + LONG;
    loop {
        let Err(Failed::Call(error)) = call(&far, "echo").await else { panic!("a node that has ended answers") };
        assert_eq!(error.kind, CallErrorKind::Unavailable, "{error:?}");
        // Until the end of the connection has arrived here, a request may be on its way.
        if error.outcome == Outcome::NotDone {
            break;
        }
        assert!(Instant::now() < deadline, "{error:?}");
    }
    assert_eq!(pair.fake.calls.load(Ordering::SeqCst), 2 + served);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_removed_calls_nobody_over_the_stream_it_has() {
    let pair = Pair::start().await;
    let far = pair.far();
    call(&far, "echo").await.unwrap();
    pair.far.peers.ban(pair.near.id);
    for _ in 0..3 {
        let failed = call(&far, "echo").await;
        assert!(matches!(failed, Err(Failed::Call(_))), "{failed:?}");
    }
    assert_eq!(pair.fake.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_moved_is_called_where_it_is_now() {
    let pair = Pair::start().await;
    let far = pair.far();
    call(&far, "echo").await.unwrap();
    let (port, address, fake) = pair.serve_again().await;
    pair.near.peers.learn(pair.far.id, &address);
    let deadline = Instant::now() + LONG;
    // The old connection closes; what is on its way there may still be answered, or lost.
    while fake.calls.load(Ordering::SeqCst) == 0 {
        drop(call(&far, "echo").await);
        assert!(Instant::now() < deadline, "nobody is called at the new address");
    }
    drop(port);
}
