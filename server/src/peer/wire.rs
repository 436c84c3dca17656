//! The one table between this room's types and the messages of `lethe/peer/v1/peer.proto`.

use std::time::Duration;

use lethe_proto::{
    ClusterId, NodeId,
    peer::v1::{self, refusal::Why},
};
use prost::Message;
use tonic::{Code, Status, metadata::MetadataValue};
use uuid::Uuid;

use super::{Error, Head, Lane, Refusal, Topic, config::Me, link::LinkError};

/// The trailer in which a refusal travels.
const TRAILER: &str = "lethe-refusal-bin";
/// Longest text of a refusal, bytes; gRPC clients take 8 KiB of headers.
const TEXT_BYTES_MAX: usize = 1 << 10;

/// The envelope of a message to `to`.
pub(super) fn head(me: Me, to: NodeId, head: Head, timeout: Duration) -> v1::Head {
    v1::Head {
        cluster: bytes(me.cluster.0),
        from: bytes(me.node.0),
        to: bytes(to.0),
        lane: head.lane as u32,
        topic: head.topic as u32,
        group: head.group,
        incarnation: head.incarnation,
        timeout_ms: timeout.as_millis().try_into().unwrap_or(u32::MAX),
    }
}

/// What an envelope says.
pub(super) struct Envelope {
    pub cluster: ClusterId,
    pub from: NodeId,
    pub to: NodeId,
    pub head: Head,
    pub timeout: Duration,
}

/// Reads an envelope.
pub(super) fn read_head(head: Option<v1::Head>) -> Result<Envelope, Refusal> {
    let head = head.ok_or_else(|| malformed("it has no head".into()))?;
    let uuid = |bytes: &[u8]| Uuid::from_slice(bytes).map_err(|error| malformed(error.to_string()));
    let lane = Lane::ALL.into_iter().find(|lane| *lane as u32 == head.lane);
    let topic = Topic::ALL.into_iter().find(|topic| *topic as u32 == head.topic);
    Ok(Envelope {
        cluster: ClusterId(uuid(&head.cluster)?),
        from: NodeId(uuid(&head.from)?),
        to: NodeId(uuid(&head.to)?),
        head: Head {
            lane: lane.ok_or_else(|| malformed(format!("there is no lane {}", head.lane)))?,
            topic: topic.ok_or_else(|| malformed(format!("there is no topic {}", head.topic)))?,
            group: head.group,
            incarnation: head.incarnation,
        },
        timeout: Duration::from_millis(head.timeout_ms.into()),
    })
}

fn bytes(uuid: Uuid) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(uuid.as_bytes())
}

fn malformed(text: String) -> Refusal {
    Refusal::Malformed(text)
}

/// A refusal as the end of a call.
pub(super) fn status(refusal: &Refusal) -> Status {
    let cut = |text: &str| text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned();
    let mismatch = |theirs: &str, ours: &str| v1::Mismatch { theirs: cut(theirs), ours: cut(ours) };
    let (code, why) = match refusal {
        Refusal::OtherCluster { theirs, ours } => (Code::FailedPrecondition, Why::OtherCluster(mismatch(theirs, ours))),
        Refusal::OtherNode { meant, here } => (Code::FailedPrecondition, Why::OtherNode(mismatch(meant, here))),
        Refusal::Sender(text) => (Code::PermissionDenied, Why::Sender(cut(text))),
        Refusal::NoReplica { group, incarnation } => {
            let replica = v1::NoReplica { group: *group, incarnation: *incarnation };
            (Code::NotFound, Why::NoReplica(replica))
        }
        Refusal::Malformed(text) => (Code::InvalidArgument, Why::Malformed(cut(text))),
        Refusal::Unavailable(text) => (Code::Unavailable, Why::Unavailable(cut(text))),
    };
    let mut status = Status::new(code, "refused");
    let detail = v1::Refusal { why: Some(why) }.encode_to_vec();
    status.metadata_mut().insert_bin(TRAILER, MetadataValue::from_bytes(&detail));
    status
}

/// What the end of a call says.
pub(super) fn error(status: &Status) -> Error {
    let detail = status.metadata().get_bin(TRAILER).and_then(|value| value.to_bytes().ok());
    let detail = detail.and_then(|bytes| v1::Refusal::decode(bytes).ok()).and_then(|detail| detail.why);
    if let Some(why) = detail {
        return Error::Refused(match why {
            Why::OtherCluster(v1::Mismatch { theirs, ours }) => Refusal::OtherCluster { theirs, ours },
            Why::OtherNode(v1::Mismatch { theirs, ours }) => Refusal::OtherNode { meant: theirs, here: ours },
            Why::Sender(text) => Refusal::Sender(text),
            Why::NoReplica(v1::NoReplica { group, incarnation }) => Refusal::NoReplica { group, incarnation },
            Why::Malformed(text) => Refusal::Malformed(text),
            Why::Unavailable(text) => Refusal::Unavailable(text),
        });
    }
    if let Some(LinkError::NotSent(why)) = causes(status).find_map(|error| error.downcast_ref()) {
        return Error::Unreachable(why.clone());
    }
    if status.code() == Code::DeadlineExceeded {
        return Error::Deadline;
    }
    let last = causes(status).last().map(|error| format!(": {error}")).unwrap_or_default();
    Error::Lost(format!("{}{last}", status.message()))
}

fn causes(status: &Status) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(std::error::Error::source(status), |error| error.source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_survives_the_wire() {
        let text = |text: &str| text.to_owned();
        let table = [
            Refusal::OtherCluster { theirs: text("a"), ours: text("b") },
            Refusal::OtherNode { meant: text("a"), here: text("b") },
            Refusal::Sender(text("s")),
            Refusal::NoReplica { group: 7, incarnation: u64::MAX },
            Refusal::Malformed(text("m")),
            Refusal::Unavailable(text("é")),
        ];
        for refusal in table {
            assert_eq!(error(&status(&refusal)), Error::Refused(refusal));
        }
    }

    #[test]
    fn a_long_text_of_a_refusal_is_cut() {
        let Error::Refused(Refusal::Sender(text)) = error(&status(&Refusal::Sender("é".repeat(5000)))) else {
            panic!("another refusal");
        };
        assert_eq!(text.len(), TEXT_BYTES_MAX);
    }

    #[test]
    fn every_lane_and_topic_survives_the_wire() {
        let me = Me { cluster: ClusterId(Uuid::from_u128(1)), node: NodeId::from(2) };
        for lane in Lane::ALL {
            for topic in Topic::ALL {
                let sent = Head { lane, topic, group: 3, incarnation: 4 };
                let read = read_head(Some(head(me, NodeId::from(5), sent, Duration::from_millis(6)))).unwrap();
                assert_eq!((read.cluster, read.from, read.to), (me.cluster, me.node, NodeId::from(5)));
                assert_eq!((read.head, read.timeout), (sent, Duration::from_millis(6)));
            }
        }
    }

    #[test]
    fn an_envelope_that_makes_no_sense_is_malformed() {
        let me = Me { cluster: ClusterId(Uuid::from_u128(1)), node: NodeId::from(2) };
        let sent = Head { lane: Lane::Log, topic: Topic::Append, group: 0, incarnation: 0 };
        let good = head(me, NodeId::from(5), sent, Duration::ZERO);
        let table = [
            None,
            Some(v1::Head { lane: 9, ..good.clone() }),
            Some(v1::Head { topic: 99, ..good.clone() }),
            Some(v1::Head { from: bytes::Bytes::from_static(b"short"), ..good }),
        ];
        for wrong in table {
            assert!(matches!(read_head(wrong), Err(Refusal::Malformed(_))));
        }
    }
}
