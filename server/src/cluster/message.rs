//! What nodes say to each other in this room, and how it is encoded.
//!
//! A version byte, then postcard. Fields of later versions are appended to the outer structs and passed over here.

use bytes::Bytes;
use lethe_proto::NodeId;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::config::Announce;
use super::record::Replica;
use crate::peer::Refusal;
use crate::shard::{Expect, Life, RegistryOp};

/// Raised with every change that the other side could misread; nodes of two versions do not understand each other.
const VERSION: u8 = 2;

/// How a node is. Nodes send it to each other all the time, both ways.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Report {
    /// The program's version.
    pub version: String,
    /// Since the node started, in milliseconds.
    pub uptime_ms: u64,
    /// The revision of the registry it acts on.
    pub revision: u64,
    /// It has confirmed that revision within its lease.
    pub fresh: bool,
    /// It is about to stop, or its log cannot grow: it should not be asked to lead.
    pub stopping: bool,
    /// The epoch of the key pair that data keys for it are sealed to.
    pub key_epoch: u32,
    /// Its replicas.
    pub groups: Vec<GroupReport>,
    /// If its log cannot grow: why, and how many bytes are left of it.
    pub full: Option<(String, u64)>,
}

/// A replica, as its node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GroupReport {
    pub group: u32,
    pub incarnation: u64,
    /// Index of the last entry it applied.
    pub applied: Option<u64>,
    /// Digest of its state there.
    pub digest: [u8; 16],
    /// Data keys it lacks.
    pub missing_keys: u32,
    /// If it leads the group.
    pub lead: Option<Lead>,
}

/// What a leader knows of its group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lead {
    pub term: u64,
    /// Index of its last entry.
    pub last: Option<u64>,
    pub confirmed: Option<Confirmed>,
    /// Index of the last entry that each member is known to have.
    pub progress: Vec<(NodeId, Option<u64>)>,
}

/// Members of a group, confirmed by its leader with a quorum after it had confirmed where the group should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Confirmed {
    /// Revision of the group's placement that the leader knew to be the newest.
    pub revision: u64,
    /// In order.
    pub voters: Vec<Replica>,
    /// In order.
    pub learners: Vec<Replica>,
}

/// A node wants to be a member, or says where it listens now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Join {
    /// Who; another node than the sender if that one passes it on.
    pub node: NodeId,
    pub announce: Announce,
    /// Its data directory.
    pub life: Life,
}

/// The answer to `Join`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Joined {
    /// It is a member. These are all members and where they are.
    Welcome(Vec<(NodeId, String)>),
    /// It was a member and was removed for good.
    Removed,
    /// There are as many members as there may be.
    Full,
    /// Ask again: there is no leader, or it could not do it.
    NotNow(String),
    /// Another data directory is this node. Final: what it promised is not known to the one that asks.
    Taken,
}

/// A question to the leader of the system group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Ask {
    /// What is the newest revision?
    Confirm,
    /// Change these names, if the expected revisions are so.
    Write { expect: Vec<Expect>, ops: Vec<RegistryOp> },
}

/// The answer to `Ask`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Told {
    /// The newest revision is at least this one; of a write: it was done at this one.
    Revision(u64),
    /// Not done: a name is not what was expected.
    Conflict(String),
    /// Not done, and never will be: it is over a limit.
    Refused(String),
    /// Not done: this node does not lead.
    NotLeader(Option<NodeId>),
    /// Not done: not now.
    NotNow(String),
    /// It may or may not be done.
    Unknown(String),
}

/// Encodes a message.
pub(super) fn encode<T: Serialize>(message: &T) -> Bytes {
    // Messages are plain data whose lengths are known: postcard has nothing against them.
    Bytes::from(postcard::to_extend(message, vec![VERSION]).expect("a message can be encoded"))
}

/// Decodes a message.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => match postcard::take_from_bytes(rest) {
            Ok((message, _later)) => Ok(message),
            Err(error) => Err(Refusal::Malformed(error.to_string())),
        },
        Some((version, _)) => Err(Refusal::Malformed(format!("its version is {version}, this node knows {VERSION}"))),
        None => Err(Refusal::Malformed("it is empty".to_owned())),
    }
}

impl Report {
    /// The report on a replica.
    pub fn group(&self, group: u32) -> Option<&GroupReport> {
        self.groups.iter().find(|report| report.group == group)
    }
}

impl Confirmed {
    /// Whether this life of a replica is a member.
    pub fn has(&self, replica: Replica) -> bool {
        self.voters.contains(&replica) || self.learners.contains(&replica)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn report() -> Report {
        let replica = Replica { node: 7.into(), incarnation: 9 };
        let confirmed = Confirmed { revision: 12, voters: vec![replica], learners: vec![] };
        let lead = Lead { term: 3, last: Some(8), confirmed: Some(confirmed), progress: vec![(7.into(), Some(8))] };
        let group = GroupReport {
            group: 1,
            incarnation: 9,
            applied: Some(8),
            digest: [3; 16],
            missing_keys: 2,
            lead: Some(lead),
        };
        Report {
            version: "0.1.0".to_owned(),
            uptime_ms: 5,
            revision: 12,
            fresh: true,
            stopping: false,
            key_epoch: 4,
            groups: vec![group],
            full: Some(("no space".to_owned(), 7)),
        }
    }

    #[test]
    fn what_a_later_version_appends_is_passed_over() {
        let mut bytes = encode(&report()).to_vec();
        assert_eq!(decode::<Report>(&bytes), Ok(report()));
        bytes.extend_from_slice(b"what a later version adds");
        assert_eq!(decode::<Report>(&bytes), Ok(report()));
    }

    #[test]
    fn a_message_that_is_cut_off_or_of_another_version_is_malformed() {
        let bytes = encode(&report());
        for len in 0..bytes.len() {
            assert!(matches!(decode::<Report>(&bytes[..len]), Err(Refusal::Malformed(_))), "{len} bytes");
        }
        let mut other = bytes.to_vec();
        other[0] = 1;
        let refused = Refusal::Malformed("its version is 1, this node knows 2".to_owned());
        assert_eq!(decode::<Report>(&other), Err(refused), "before joins named a life");
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let bytes = [&[VERSION], bytes.as_slice()].concat();
            let _ = (decode::<Report>(&bytes), decode::<Join>(&bytes), decode::<Ask>(&bytes), decode::<Told>(&bytes));
        }
    }
}
