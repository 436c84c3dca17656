//! The one table of all keys: section, name, what it means, what it may be, and where it is kept.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::Settings;
use crate::store::wal::SEGMENT_BYTES_MAX;

/// Where a value is kept, and so of which kind it is.
pub(super) enum Slot<'a> {
    /// A short name that need not be given.
    MaybeName(&'a mut Option<String>),
    /// A file or directory.
    Path(&'a mut PathBuf),
    /// A file or directory that need not be given.
    MaybePath(&'a mut Option<PathBuf>),
    /// `address:port` to listen on.
    Listen(&'a mut SocketAddr),
    /// `host:port` for others, which need not be given.
    MaybeHost(&'a mut Option<String>),
    /// A list of `host:port`.
    Hosts(&'a mut Vec<String>),
    /// `true` or `false`.
    Flag(&'a mut bool),
    U32(&'a mut u32),
    U64(&'a mut u64),
    Usize(&'a mut usize),
    /// In milliseconds.
    Ms(&'a mut Duration),
}

/// One key of the file.
pub(super) struct Key {
    /// Empty at the top of the file.
    pub section: &'static str,
    pub name: &'static str,
    /// One sentence.
    pub doc: &'static str,
    /// Smallest and largest number, where it is one.
    pub range: (u64, u64),
    pub slot: fn(&mut Settings) -> Slot<'_>,
}

/// What each section is about, in the order of the file.
pub(super) const SECTIONS: [(&str, &str); 13] = [
    ("", "One node of a Lethe cluster. Relative paths are relative to this file's directory."),
    ("http", "The HTTP port: where browsers and programs reach the Worker."),
    ("grpc", "The gRPC port: actors for programs, and the cluster for operators. It has no authentication."),
    ("peer", "The port for other nodes."),
    ("tls", "Certificates between nodes: ca.pem, node.pem and node-key.pem, made by `lethe cluster`."),
    ("cluster", "Who leads what, and when. The same on all nodes, if possible."),
    ("keys", "Data keys of actors."),
    ("raft", "Replication."),
    ("log", "The write-ahead log, one for all groups of the node."),
    ("state", "The state store. It can always be rebuilt from snapshots and the log."),
    ("actors", "Actors of this node."),
    ("javascript", "The JavaScript engine."),
    ("egress", "Outgoing requests of Workers and actors, all together."),
];

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const HOUR_MS: u64 = 3_600_000;
/// A count of things that each cost memory.
const MANY: u64 = 1_000_000;

/// A key whose value is no number.
const fn key(section: &'static str, name: &'static str, doc: &'static str, slot: fn(&mut Settings) -> Slot<'_>) -> Key {
    Key { section, name, doc, range: (0, 0), slot }
}

/// A key whose value is a number.
const fn number(
    section: &'static str,
    name: &'static str,
    range: (u64, u64),
    doc: &'static str,
    slot: fn(&mut Settings) -> Slot<'_>,
) -> Key {
    Key { section, name, doc, range, slot }
}

/// All keys, section by section.
pub(super) fn all() -> impl Iterator<Item = &'static Key> {
    [PLACE, HTTP, GRPC, PEER, CLUSTER, RAFT, STORAGE, ACTORS, EGRESS].into_iter().flatten()
}

const PLACE: &[Key] = &[
    key("", "name", "What people call this node. Default: the name in its join file, or the machine's.", |s| {
        Slot::MaybeName(&mut s.name)
    }),
    key("", "data_dir", "Where everything durable is: log, keys, state, snapshots.", |s| Slot::Path(&mut s.data_dir)),
    key("", "join", "Peer addresses of other nodes; asked until this node knows the cluster.", |s| {
        Slot::Hosts(&mut s.join)
    }),
];

const HTTP: &[Key] = &[
    key("http", "listen", "Address and port.", |s| Slot::Listen(&mut s.http.listen)),
    key("http", "advertise", "host:port that `lethe cluster status` shows. Default: where it listens.", |s| {
        Slot::MaybeHost(&mut s.http_advertise)
    }),
    key("http", "tls_cert", "Certificate chain (PEM); with it the port speaks HTTPS only.", |s| {
        Slot::MaybePath(&mut s.http_cert)
    }),
    key("http", "tls_key", "Private key of the certificate (PEM).", |s| Slot::MaybePath(&mut s.http_key)),
    key("http", "access_log", "Whether each request is a log line.", |s| Slot::Flag(&mut s.http.access_log)),
    number("http", "connections_max", (1, MANY), "Open connections; one more is answered 503.", |s| {
        Slot::Usize(&mut s.http.limits.connections_max)
    }),
    number("http", "drain_idle_ms", (0, HOUR_MS), "How long a stop waits for requests on idle connections.", |s| {
        Slot::U64(&mut s.http.limits.drain_idle_ms)
    }),
    number("http", "requests_max", (1, MANY), "Requests under way; one more is answered 503.", |s| {
        Slot::Usize(&mut s.http.limits.requests_max)
    }),
    number("http", "request_body_bytes_max", (0, 1 << 40), "Largest request body; more is 413.", |s| {
        Slot::U64(&mut s.http.limits.request_body_bytes_max)
    }),
    number("http", "header_bytes_max", (8 * KIB, 16 * MIB), "Request line and headers together; more is 431.", |s| {
        Slot::Usize(&mut s.http.limits.header_bytes_max)
    }),
    number("http", "headers_max", (1, 10_000), "Header lines; more is 431.", |s| {
        Slot::Usize(&mut s.http.limits.headers_max)
    }),
    number("http", "url_bytes_max", (1, MIB), "Longest URL; more is 414.", |s| {
        Slot::Usize(&mut s.http.limits.url_bytes_max)
    }),
    number(
        "http",
        "header_timeout_ms",
        (1, HOUR_MS),
        "For a request head (then 408), and for the TLS handshake.",
        |s| Slot::U64(&mut s.http.limits.header_timeout_ms),
    ),
    number("http", "idle_timeout_ms", (1, HOUR_MS), "A connection without a request is closed after this.", |s| {
        Slot::U64(&mut s.http.limits.idle_timeout_ms)
    }),
    number(
        "http",
        "body_stall_timeout_ms",
        (1, HOUR_MS),
        "How long a body may stand still; a request's is then 408.",
        |s| Slot::U64(&mut s.http.limits.body_stall_timeout_ms),
    ),
    number("http", "drain_timeout_ms", (0, HOUR_MS), "How long a stopping node waits for requests under way.", |s| {
        Slot::U64(&mut s.http.limits.drain_timeout_ms)
    }),
];

const GRPC: &[Key] = &[
    key("grpc", "listen", "Address and port. Beyond loopback, everybody who reaches it may do everything.", |s| {
        Slot::Listen(&mut s.grpc.listen)
    }),
    key("grpc", "advertise", "host:port that `lethe cluster status` shows. Default: where it listens.", |s| {
        Slot::MaybeHost(&mut s.grpc_advertise)
    }),
    number("grpc", "connections_max", (1, MANY), "Open connections; one more is closed at once.", |s| {
        Slot::Usize(&mut s.grpc.connections_max)
    }),
    number("grpc", "calls_max", (1, MANY), "Calls under way; one more is refused with OVERLOADED.", |s| {
        Slot::Usize(&mut s.grpc.calls_max)
    }),
    number("grpc", "connection_calls_max", (1, MANY), "Calls under way on one connection; one more waits.", |s| {
        Slot::U32(&mut s.grpc.connection_calls_max)
    }),
    number("grpc", "preface_timeout_ms", (1, HOUR_MS), "A new connection must speak HTTP/2 within this.", |s| {
        Slot::U64(&mut s.grpc.preface_timeout_ms)
    }),
    number("grpc", "keepalive_interval_ms", (100, HOUR_MS), "A silent connection is pinged this often.", |s| {
        Slot::U64(&mut s.grpc.keepalive_interval_ms)
    }),
    number("grpc", "keepalive_timeout_ms", (100, HOUR_MS), "And closed without an answer within this.", |s| {
        Slot::U64(&mut s.grpc.keepalive_timeout_ms)
    }),
    number("grpc", "drain_timeout_ms", (0, HOUR_MS), "How long a stopping node waits for calls under way.", |s| {
        Slot::U64(&mut s.grpc.drain_timeout_ms)
    }),
];

const PEER: &[Key] = &[
    key("peer", "listen", "Address and port.", |s| Slot::Listen(&mut s.peer_listen)),
    key("peer", "advertise", "host:port at which other nodes reach this one. Default: where it listens.", |s| {
        Slot::MaybeHost(&mut s.peer_advertise)
    }),
    number("peer", "connections_max", (8, MANY), "Connections that come in; one more is closed at once.", |s| {
        Slot::Usize(&mut s.peer.connections_max)
    }),
    number("peer", "calls_max", (64, MANY), "Messages of all nodes under way; one more is refused.", |s| {
        Slot::Usize(&mut s.peer.calls_max)
    }),
    number("peer", "connect_timeout_ms", (10, 60_000), "A connection must be made, TLS included, within this.", |s| {
        Slot::U64(&mut s.peer.connect_timeout_ms)
    }),
    number(
        "peer",
        "keepalive_interval_ms",
        (10, 60_000),
        "A connection is asked for a sign of life this often.",
        |s| Slot::U64(&mut s.peer.keepalive_interval_ms),
    ),
    number("peer", "keepalive_timeout_ms", (10, 60_000), "And taken for broken without one within this.", |s| {
        Slot::U64(&mut s.peer.keepalive_timeout_ms)
    }),
    number("peer", "drain_timeout_ms", (0, HOUR_MS), "How long a stopping node waits for messages under way.", |s| {
        Slot::U64(&mut s.peer.drain_timeout_ms)
    }),
    key("tls", "dir", "Directory of the certificates. Default: `tls` in data_dir.", |s| {
        Slot::MaybePath(&mut s.tls_dir)
    }),
    key("tls", "insecure", "Plain text between nodes: only for trials, and then on every node.", |s| {
        Slot::Flag(&mut s.tls_insecure)
    }),
];

const CLUSTER: &[Key] = &[
    number("cluster", "pulse_ms", (10, 60_000), "How often nodes tell each other how they are.", |s| {
        Slot::U64(&mut s.cluster.pulse_ms)
    }),
    number("cluster", "silent_ms", (20, HOUR_MS), "A node not heard for so long counts as unreachable.", |s| {
        Slot::U64(&mut s.cluster.silent_ms)
    }),
    number("cluster", "dead_ms", (20, 24 * HOUR_MS), "A node not heard for so long gets no new replicas.", |s| {
        Slot::U64(&mut s.cluster.dead_ms)
    }),
    number("cluster", "recovered_ms", (0, HOUR_MS), "A node that came back leads again after so long.", |s| {
        Slot::U64(&mut s.cluster.recovered_ms)
    }),
    number("cluster", "moves_max", (1, 512), "Groups that move at a time only to even things out.", |s| {
        Slot::Usize(&mut s.cluster.moves_max)
    }),
    number("cluster", "repairs_max", (1, 512), "Groups that get missing replicas at a time.", |s| {
        Slot::Usize(&mut s.cluster.repairs_max)
    }),
    number("cluster", "transfers_max", (1, 512), "Leaders that are handed over at a time.", |s| {
        Slot::Usize(&mut s.cluster.transfers_max)
    }),
    number(
        "keys",
        "rotate_ms",
        (10_000, 24 * HOUR_MS),
        "Age of a node's key pair. Erased keys are gone after two.",
        |s| Slot::Ms(&mut s.keys.rotate),
    ),
];

const RAFT: &[Key] = &[
    number("raft", "heartbeat_ms", (10, 60_000), "How often a leader says that it leads.", |s| {
        Slot::U64(&mut s.shard.heartbeat_ms)
    }),
    number("raft", "election_min_ms", (20, 600_000), "A follower that hears nothing waits at least this long.", |s| {
        Slot::U64(&mut s.shard.election_min_ms)
    }),
    number("raft", "election_max_ms", (21, 600_000), "And at most this long before it wants to lead.", |s| {
        Slot::U64(&mut s.shard.election_max_ms)
    }),
    number("raft", "snapshot_entries", (1, 100_000_000), "A group's snapshot is due after so many entries.", |s| {
        Slot::U64(&mut s.shard.snapshot_entries)
    }),
    number(
        "raft",
        "read_ms",
        (1, HOUR_MS),
        "Longest wait of a read; for a quorum to confirm it, no longer than election_max_ms.",
        |s| Slot::U64(&mut s.shard.read_ms),
    ),
    number("raft", "proposals_max", (1, MANY), "Writes of one group that wait; more are refused.", |s| {
        Slot::Usize(&mut s.shard.proposals_max)
    }),
    number("raft", "proposals_bytes_max", (16 * MIB, 64 * GIB), "Bytes of all writes that wait; the same.", |s| {
        Slot::Usize(&mut s.shard.proposals_bytes_max)
    }),
    number("raft", "reads_max", (1, MANY), "Reads of one group that wait; more are refused.", |s| {
        Slot::Usize(&mut s.shard.reads_max)
    }),
];

const STORAGE: &[Key] = &[
    number(
        "log",
        "segment_bytes",
        (64 * MIB, SEGMENT_BYTES_MAX),
        "Size of one file of the log, a multiple of 4096.",
        |s| Slot::U64(&mut s.shard.wal_segment_bytes),
    ),
    number("log", "bytes_max", (256 * MIB, 1 << 44), "Largest log; snapshots are taken early enough.", |s| {
        Slot::U64(&mut s.shard.wal_bytes_max)
    }),
    number("state", "cache_bytes", (MIB, 1 << 40), "Blocks of the state store that are kept in memory.", |s| {
        Slot::U64(&mut s.shard.state.cache_bytes)
    }),
    number("state", "memtable_bytes", (64 << 10, 32 * MIB), "A group's changes are written out when so many.", |s| {
        Slot::U64(&mut s.shard.state.memtable_bytes)
    }),
];

const ACTORS: &[Key] = &[
    number(
        "actors",
        "live_max",
        (1, MANY),
        "Actors awake; for one more an idle one sleeps. vm.max_map_count may allow fewer.",
        |s| Slot::Usize(&mut s.actors.live_max),
    ),
    number(
        "actors",
        "memory_percent_max",
        (1, 100),
        "With more memory in use, one sleeps for each that wakes, from the 65th on.",
        |s| Slot::U64(&mut s.actors.memory_percent_max),
    ),
    number("actors", "calls_max", (1, MANY), "Calls in one actor at once; one more is refused.", |s| {
        Slot::Usize(&mut s.actors.calls_max)
    }),
    number("actors", "idle_ms", (1, 24 * HOUR_MS), "An actor without work falls asleep after this.", |s| {
        Slot::Ms(&mut s.actors.idle)
    }),
    number("actors", "drain_ms", (0, HOUR_MS), "How long calls may run on when their code was replaced.", |s| {
        Slot::Ms(&mut s.actors.drain)
    }),
    number("actors", "hand_over_ms", (0, HOUR_MS), "How long calls may run on before their group moves away.", |s| {
        Slot::Ms(&mut s.actors.release_wait)
    }),
    number(
        "actors",
        "farewell_ms",
        (0, HOUR_MS),
        "For responses being sent to end when their actor is destroyed.",
        |s| Slot::Ms(&mut s.actors.farewell),
    ),
    number("actors", "call_timeout_ms", (1, HOUR_MS), "Longest wait of a Worker or actor for another one.", |s| {
        Slot::Ms(&mut s.actors.call_timeout)
    }),
    number("actors", "leader_timeout_ms", (1, HOUR_MS), "Longest wait for a group that has no leader.", |s| {
        Slot::Ms(&mut s.actors.leader_timeout)
    }),
    number("javascript", "threads_max", (1, 4096), "Turns under way; as many run as there are processors.", |s| {
        Slot::Usize(&mut s.engine.threads_max)
    }),
    number("javascript", "pristine", (0, 1024), "Fresh isolates kept ready.", |s| Slot::Usize(&mut s.engine.pristine)),
    number("javascript", "isolates_max", (1, 100_000), "Worker requests at once; one more is answered 503.", |s| {
        Slot::Usize(&mut s.engine.isolates_max)
    }),
    number("javascript", "wait_until_ms", (0, HOUR_MS), "How long waitUntil may go on after the response.", |s| {
        Slot::U64(&mut s.engine.wait_until_ms)
    }),
    number("javascript", "section_timeout_ms", (1, HOUR_MS), "Longest blockConcurrencyWhile or transaction.", |s| {
        Slot::U64(&mut s.engine.section_timeout_ms)
    }),
];

const EGRESS: &[Key] = &[
    number("egress", "requests_max", (1, MANY), "Requests under way; one more waits, then fails.", |s| {
        Slot::Usize(&mut s.egress.requests_max)
    }),
    number("egress", "connections_max", (1, MANY), "Open connections; one more waits, then fails.", |s| {
        Slot::Usize(&mut s.egress.connections_max)
    }),
    number("egress", "connect_timeout_ms", (1, HOUR_MS), "Resolving, connecting and the TLS handshake.", |s| {
        Slot::U64(&mut s.egress.connect_timeout_ms)
    }),
    number("egress", "response_timeout_ms", (1, HOUR_MS), "From the connection to the response's head.", |s| {
        Slot::U64(&mut s.egress.response_timeout_ms)
    }),
    number("egress", "body_stall_timeout_ms", (1, HOUR_MS), "How long a response's body may stand still.", |s| {
        Slot::U64(&mut s.egress.body_stall_timeout_ms)
    }),
    number("egress", "idle_timeout_ms", (1, HOUR_MS), "How long an idle connection is kept.", |s| {
        Slot::U64(&mut s.egress.idle_timeout_ms)
    }),
    number("egress", "idle_per_host_max", (0, 10_000), "Idle connections kept for one host.", |s| {
        Slot::Usize(&mut s.egress.idle_per_host_max)
    }),
];
