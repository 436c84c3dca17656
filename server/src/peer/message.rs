//! What stands before every message: its lane, its topic, and which replica it is for.

/// A connection of its own, so that what is large does not stand before what is urgent. The number is its name on
/// the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Heartbeats, votes, transfers, questions of the cluster.
    Control = 1,
    /// Log entries.
    Log = 2,
    /// Snapshots.
    Bulk = 3,
}

/// Everything nodes say to each other; the number is its name on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Raft: asks for a vote.
    Vote = 1,
    /// Raft: asks whether a vote would be granted.
    PreVote = 2,
    /// Raft: append-entries messages of many groups at once, mostly empty.
    Heartbeats = 3,
    /// Raft: one append-entries message.
    Append = 4,
    /// Raft: a stream of append-entries messages of all groups.
    AppendStream = 5,
    /// Raft: a snapshot, as a stream of chunks.
    Snapshot = 6,
    /// Raft: the leader asks this node to lead.
    TransferLeader = 7,
    /// Cluster: a node announces itself and where it listens.
    Join = 32,
    /// Cluster: how a node is.
    Status = 33,
    /// Cluster: a change of the registry, for its leader.
    Registry = 34,
    /// Cluster: asks for data keys of actors.
    Keys = 35,
}

/// What stands before a message, or before a stream of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The connection it takes.
    pub lane: Lane,
    /// What it is about.
    pub topic: Topic,
    /// The Raft group it is about; 0 also where none is.
    pub group: u32,
    /// The life of the receiver's replica that is meant; 0 where none is.
    pub incarnation: u64,
}

impl Lane {
    /// Every lane.
    pub const ALL: [Lane; 3] = [Lane::Control, Lane::Log, Lane::Bulk];
}

impl Topic {
    /// Every topic.
    pub const ALL: [Topic; 11] = [
        Topic::Vote,
        Topic::PreVote,
        Topic::Heartbeats,
        Topic::Append,
        Topic::AppendStream,
        Topic::Snapshot,
        Topic::TransferLeader,
        Topic::Join,
        Topic::Status,
        Topic::Registry,
        Topic::Keys,
    ];
}
