//! What stands in the registry: names and values of members, placement and slots.
//!
//! ```text
//! cluster        {"id":"0191...","groups":64,"replication":3,"created_at_ms":1700000000000}
//! node/<uuid>    {"name":"n1","peer":"10.0.0.1:7071","grpc":"10.0.0.1:7070","http":"10.0.0.1:8787","life":"0191...",
//!                 "state":"active"}
//! group/<n>      {"replicas":[{"node":"0191...","incarnation":1}],"leader":"0191..."}
//! slots          {"runs":[[1,64],[2,64]]}
//! ```
//!
//! Values are JSON. Fields that this version does not know are kept as they are when a record is written again, so a later
//! version can add some. A record without a field that this version needs is refused. Revisions stand beside the values, in the registry itself.

use bytes::Bytes;
use lethe_proto::{ClusterId, NodeId};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map as Json, Value};

use super::config::Announce;
use crate::shard::{Life, SLOTS};

/// Name of the cluster's own record.
pub(super) const CLUSTER: &str = "cluster";
/// Name of the slot map.
pub(super) const SLOT_MAP: &str = "slots";
/// Before the node's id.
pub(super) const NODE: &str = "node/";
/// Before the group's number.
pub(super) const GROUP: &str = "group/";

/// Most data groups of a cluster.
pub const GROUPS_MAX: u32 = 512;

/// What the cluster is, fixed when it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charter {
    /// The cluster.
    pub id: ClusterId,
    /// Data groups; they are numbered from 1.
    pub groups: u32,
    /// Replicas of a group, as far as there are nodes.
    pub replication: u32,
    /// The founder's clock, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// Fields of later versions.
    #[serde(flatten)]
    pub rest: Json<String, Value>,
}

/// Whether a node takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It leads and holds replicas.
    Active,
    /// It keeps its replicas, but leads nothing where another can, and gets nothing new.
    Draining,
    /// Its replicas are moved to other nodes; then it is removed.
    Leaving,
    /// It was removed for good: nobody takes its messages.
    Removed,
}

/// A node, as it stands in the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// For people.
    pub name: String,
    /// `host:port` for other nodes.
    pub peer: String,
    /// `host:port` of its gRPC face.
    pub grpc: String,
    /// `host:port` of its HTTP face.
    pub http: String,
    /// Its data directory. Another one never takes its place: it would not know what the node promised.
    pub life: Life,
    /// Whether it takes part.
    pub state: State,
    /// Fields of later versions.
    #[serde(flatten)]
    pub rest: Json<String, Value>,
}

/// Where a group should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Its voters. The system group is replicated to all other members besides.
    pub replicas: Vec<Replica>,
    /// Who should lead it, as long as that node is well.
    pub leader: NodeId,
    /// Fields of later versions.
    #[serde(flatten)]
    pub rest: Json<String, Value>,
}

/// One life of a group on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Replica {
    /// The node.
    pub node: NodeId,
    /// Which life: the revision of the record that placed it there; never the same twice for one group and node.
    pub incarnation: u64,
}

/// The slot map, run-length encoded: so many slots belong to this group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Runs {
    pub runs: Vec<(u32, u32)>,
    #[serde(flatten)]
    pub rest: Json<String, Value>,
}

/// Encodes a record.
pub(super) fn encode<T: Serialize>(record: &T) -> Bytes {
    // Records are plain structs with text keys: there is nothing in them that JSON cannot say.
    Bytes::from(serde_json::to_vec(record).expect("a record is JSON"))
}

/// Decodes a record; says what is wrong.
pub(super) fn decode<T: DeserializeOwned>(value: &[u8]) -> Result<T, String> {
    serde_json::from_slice(value).map_err(|error| error.to_string())
}

/// Name of a node's record.
pub(super) fn node_name(node: NodeId) -> String {
    format!("{NODE}{node}")
}

/// Name of a group's record.
pub(super) fn group_name(group: u32) -> String {
    format!("{GROUP}{group}")
}

impl Member {
    /// A member that takes part in everything.
    pub fn active(announce: Announce, life: Life) -> Self {
        let Announce { name, peer, grpc, http } = announce;
        Self { name, peer, grpc, http, life, state: State::Active, rest: Json::new() }
    }
}

impl Placement {
    /// Replicas and who should lead them.
    pub fn new(replicas: Vec<Replica>, leader: NodeId) -> Self {
        Self { replicas, leader, rest: Json::new() }
    }

    /// The life of the group on a node, if it should be there.
    pub fn incarnation(&self, node: NodeId) -> Option<u64> {
        self.replicas.iter().find(|replica| replica.node == node).map(|replica| replica.incarnation)
    }
}

impl Runs {
    /// Slots in ranges of equal size over so many data groups.
    pub fn even(groups: u32) -> Self {
        let slots: Vec<u32> = (0..SLOTS).map(|slot| 1 + slot * groups / SLOTS).collect();
        let runs = slots.chunk_by(|a, b| a == b).map(|run| (run[0], run.len() as u32)).collect();
        Self { runs, rest: Json::new() }
    }

    /// The group of every slot; none unless all slots have one of `1..=groups`.
    pub fn slots(&self, groups: u32) -> Option<Vec<u32>> {
        let total: u64 = self.runs.iter().map(|(_, count)| u64::from(*count)).sum();
        let known = self.runs.iter().all(|(group, _)| (1..=groups).contains(group));
        let whole = total == u64::from(SLOTS) && known;
        whole.then(|| self.runs.iter().flat_map(|(group, count)| vec![*group; *count as usize]).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<T: Serialize>(record: &T) -> String {
        String::from_utf8(encode(record).to_vec()).unwrap()
    }

    #[test]
    fn records_are_written_as_they_always_were() {
        let charter = Charter {
            id: ClusterId(uuid::Uuid::from_u128(1)),
            groups: 64,
            replication: 3,
            created_at_ms: 5,
            rest: Json::new(),
        };
        let announce = Announce { name: "n1".into(), peer: "a:1".into(), grpc: "b:2".into(), http: "c:3".into() };
        let member = Member::active(announce, Life(uuid::Uuid::from_u128(7)));
        let replicas = vec![Replica { node: 2.into(), incarnation: 1 }, Replica { node: 3.into(), incarnation: 9 }];
        let group = Placement::new(replicas, 3.into());
        let golden = [
            (
                text(&charter),
                r#"{"id":"00000000-0000-0000-0000-000000000001","groups":64,"replication":3,"created_at_ms":5}"#,
            ),
            (
                text(&member),
                concat!(
                    r#"{"name":"n1","peer":"a:1","grpc":"b:2","http":"c:3","#,
                    r#""life":"00000000-0000-0000-0000-000000000007","state":"active"}"#
                ),
            ),
            (
                text(&group),
                concat!(
                    r#"{"replicas":[{"node":"00000000-0000-0000-0000-000000000002","incarnation":1},"#,
                    r#"{"node":"00000000-0000-0000-0000-000000000003","incarnation":9}],"#,
                    r#""leader":"00000000-0000-0000-0000-000000000003"}"#
                ),
            ),
            (text(&Runs::even(4)), r#"{"runs":[[1,1024],[2,1024],[3,1024],[4,1024]]}"#),
        ];
        for (written, expected) in golden {
            assert_eq!(written, expected);
        }
        assert_eq!(decode::<Charter>(&encode(&charter)), Ok(charter));
        assert_eq!(decode::<Member>(&encode(&member)), Ok(member));
        assert_eq!(decode::<Placement>(&encode(&group)), Ok(group));
    }

    #[test]
    fn states_have_fixed_names_and_an_unknown_one_is_an_error() {
        let named = [State::Active, State::Draining, State::Leaving, State::Removed].map(|state| text(&state));
        assert_eq!(named, [r#""active""#, r#""draining""#, r#""leaving""#, r#""removed""#]);
        assert!(decode::<State>(br#""dancing""#).is_err());
    }

    #[test]
    fn a_record_that_lacks_a_field_is_refused_by_its_name() {
        let old = br#"{"name":"n1","peer":"a:1","grpc":"b:2","http":"c:3","state":"active"}"#;
        let refused = decode::<Member>(old).unwrap_err();
        assert!(refused.starts_with("missing field `life`"), "{refused}");
    }

    #[test]
    fn fields_of_a_later_version_survive_a_change_by_this_one() {
        let later = concat!(
            r#"{"name":"n1","peer":"a:1","grpc":"b:2","http":"c:3","#,
            r#""life":"00000000-0000-0000-0000-000000000007","state":"active","rack":{"row":7}}"#
        );
        let mut member: Member = decode(later.as_bytes()).unwrap();
        member.state = State::Draining;
        assert_eq!(text(&member), later.replace("active", "draining"));
    }

    #[test]
    fn slots_are_spread_in_ranges_of_equal_size_and_round_trip() {
        for groups in [1, 4, 64, 100, 512, 4096] {
            let slots = Runs::even(groups).slots(groups).unwrap();
            let mut counts = vec![0_usize; groups as usize + 1];
            slots.iter().for_each(|group| counts[*group as usize] += 1);
            let (least, most) = (counts[1..].iter().min().unwrap(), counts[1..].iter().max().unwrap());
            assert!(slots.is_sorted() && counts[0] == 0 && most - least <= 1, "{groups}: {least} to {most}");
        }
    }

    #[test]
    fn a_slot_map_with_holes_or_unknown_groups_is_refused() {
        for runs in [vec![], vec![(1, 4095)], vec![(1, 4097)], vec![(0, 4096)], vec![(1, 1), (9, 4095)]] {
            assert_eq!(Runs { runs, rest: Json::new() }.slots(8), None);
        }
        assert_eq!(Runs { runs: vec![(1, u32::MAX), (2, 4097)], rest: Json::new() }.slots(8), None);
    }
}
