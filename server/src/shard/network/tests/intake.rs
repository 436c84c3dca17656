//! Append messages to real replicas, sent by a test that plays the leader, node 7.

use std::sync::mpsc::Sender;

use bytes::Bytes;
use futures::{StreamExt, stream};
use openraft::EntryPayload;
use openraft::raft::AppendEntriesRequest;
use tokio::sync::{mpsc, oneshot};

use super::far::soon;
use super::{leader, log_id, request, vote};
use crate::peer::{self, Answers, Head, Lane, Refusal, Topic};
use crate::shard::Begin;
use crate::shard::network::appends::WINDOW_MESSAGES;
use crate::shard::network::batch::{self, Answer, Why};
use crate::shard::tests::fleet::{Fleet, within};
use crate::shard::types::{Entry, Types};

/// The replica's life at first.
const LIFE: u64 = 5;

/// A session with a node.
struct Raw {
    messages: mpsc::UnboundedSender<Bytes>,
    answers: Answers<peer::Error>,
}

impl Raw {
    async fn new(fleet: &Fleet) -> Self {
        fleet.net.join(leader(), []);
        let (messages, coming) = mpsc::unbounded_channel();
        let coming = stream::unfold(coming, |mut coming| async move { Some((coming.recv().await?, coming)) });
        let head = Head { lane: Lane::Log, topic: Topic::AppendStream, group: 0, incarnation: 0 };
        let answers = fleet.net.transport(leader()).stream(fleet.id(0), head, coming.boxed()).await;
        Self { messages, answers: answers.map_err(|error| error.to_string()).unwrap() }
    }

    fn send(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut message = batch::begin(0);
        write(&mut message);
        self.messages.send(Bytes::from(message)).unwrap();
    }

    fn open(&self, opening: u64, group: u32, incarnation: u64) {
        self.send(|out| batch::put_open(out, opening, group, incarnation));
    }

    fn append(&self, opening: u64, request: &AppendEntriesRequest<Types>) {
        self.send(|out| batch::put_append(out, opening, request));
    }

    /// The next message's answers.
    async fn answers(&mut self) -> Vec<Answer> {
        let message = soon("answers", self.answers.next()).await.expect("the session goes on").expect("answers");
        batch::decode_answers(&message).unwrap()
    }

    /// What the next answers say, that of several messages added up.
    async fn taken(&mut self, opening: u64, messages: u32) {
        let mut taken = 0;
        while taken < messages {
            for answer in self.answers().await {
                let Answer::Taken { opening: of, count } = answer else { panic!("{answer:?}") };
                assert_eq!(of, opening);
                taken += count;
            }
        }
        assert_eq!(taken, messages);
    }
}

/// A message with one entry, of which nothing is committed.
fn blank(index: u64) -> AppendEntriesRequest<Types> {
    let prev = index.checked_sub(1).map(|before| log_id(3, before));
    let entry = Entry { log_id: log_id(3, index), payload: EntryPayload::Blank };
    AppendEntriesRequest { leader_commit: None, ..request(prev, vec![entry]) }
}

/// A node with an empty replica of group 1 that nobody leads but the test.
async fn one_replica() -> Fleet {
    let fleet = Fleet::bare(1, Fleet::config(2)).await;
    fleet.shards(0).create(1, LIFE, Begin::Join).await.unwrap();
    fleet
}

/// Waits until group 1's log ends there, as it does when everything was answered.
async fn last_is(fleet: &Fleet, index: u64) {
    let shard = fleet.shard(0, 1);
    within("the log's end is known", || std::future::ready(shard.metrics().last == Some(index))).await;
}

/// Keeps a replica from doing anything until it is told to go on, or nobody can tell it.
pub(super) async fn hold(fleet: &Fleet, number: usize, group: u32) -> Sender<()> {
    let replica = fleet.shards(number).hosted.replica(group).unwrap();
    let (go_on, told) = std::sync::mpsc::channel();
    let (tell, held) = oneshot::channel();
    tokio::spawn(async move {
        let holding = replica.raft.with_raft_state(move |_| {
            tokio::task::block_in_place(|| {
                let _ = tell.send(());
                let _ = told.recv();
            });
        });
        drop(holding.await);
    });
    soon("the replica to be held", held).await.unwrap();
    go_on
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_reaches_only_the_life_it_is_for() {
    let fleet = one_replica().await;
    let mut raw = Raw::new(&fleet).await;
    let absent =
        |opening, group, incarnation| vec![Answer::Ended { opening, why: Why::NoReplica { group, incarnation } }];
    for (opening, group, life) in [(1, 2, LIFE), (2, 1, LIFE - 1), (3, 1, LIFE + 1), (4, u32::MAX, LIFE)] {
        raw.open(opening, group, life);
        raw.append(opening, &blank(0));
        assert_eq!(raw.answers().await, absent(opening, group, life));
    }
    raw.open(5, 1, LIFE);
    for index in 0..3 {
        raw.append(5, &blank(index));
    }
    raw.taken(5, 3).await;

    fleet.shards(0).remove(1).await.unwrap();
    fleet.shards(0).create(1, LIFE + 1, Begin::Join).await.unwrap();
    raw.append(5, &blank(3));
    let answers = raw.answers().await;
    assert!(matches!(answers[..], [Answer::Ended { opening: 5, why: Why::Stopped(_) }]), "{answers:?}");
    raw.append(5, &blank(3));
    raw.open(6, 1, LIFE);
    assert_eq!(raw.answers().await, absent(6, 1, LIFE), "a message of an opening that is over is not answered");
    raw.open(7, 1, LIFE + 1);
    raw.append(7, &blank(0));
    raw.taken(7, 1).await;
    last_is(&fleet, 0).await;
    fleet.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_message_ends_its_opening_behind_the_answers_before() {
    let fleet = one_replica().await;
    let mut raw = Raw::new(&fleet).await;
    let foreign = AppendEntriesRequest { vote: vote(3, false), ..blank(1) };
    raw.open(1, 1, LIFE);
    raw.append(1, &blank(0));
    raw.append(1, &foreign);
    raw.append(1, &blank(1));
    let mut answers = raw.answers().await;
    if answers.len() == 1 {
        answers.extend(raw.answers().await);
    }
    assert_eq!(answers[0], Answer::Taken { opening: 1, count: 1 });
    assert!(matches!(answers[1..], [Answer::Ended { opening: 1, why: Why::Malformed(_) }]), "{answers:?}");

    raw.open(2, 1, LIFE);
    raw.append(2, &blank(9));
    assert_eq!(raw.answers().await, [Answer::Conflict { opening: 2 }], "there is a hole before it");
    raw.open(3, 1, LIFE);
    raw.append(3, &blank(1));
    raw.taken(3, 1).await;
    raw.send(|out| batch::put_close(out, 3));
    raw.append(3, &blank(2));
    raw.open(3, 1, LIFE);
    raw.append(3, &AppendEntriesRequest { vote: vote(2, true), ..blank(2) });
    let answers = raw.answers().await;
    assert!(
        matches!(answers[..], [Answer::Ended { opening: 3, why: Why::Malformed(_) }]),
        "an entry above its leader's term: {answers:?}"
    );
    raw.open(4, 1, LIFE);
    let stale = AppendEntriesRequest { vote: vote(2, true), leader_commit: None, ..request(None, vec![]) };
    raw.append(4, &stale);
    assert_eq!(raw.answers().await, [Answer::HigherVote { opening: 4, vote: vote(3, true) }]);
    last_is(&fleet, 1).await;
    fleet.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_cannot_be_read_ends_its_session_and_no_other() {
    let fleet = one_replica().await;
    let mut sound = Raw::new(&fleet).await;
    sound.open(1, 1, LIFE);
    sound.append(1, &blank(0));
    sound.taken(1, 1).await;
    let twice: fn(&mut Vec<u8>) = |out| {
        batch::put_open(out, 1, 1, LIFE);
        batch::put_open(out, 1, 1, LIFE);
    };
    let wrong: [fn(&mut Vec<u8>); 4] =
        [twice, |out| out.push(99), |out| out.extend([2, 0, 0]), |out| out.extend([2, 1, 0, 0, 0, 0, 0, 0, 0, 255])];
    for (number, write) in wrong.into_iter().enumerate() {
        let mut raw = Raw::new(&fleet).await;
        raw.send(write);
        let refused = soon("a refusal", raw.answers.next()).await;
        let malformed = matches!(refused, Some(Err(peer::Error::Refused(Refusal::Malformed(_)))));
        assert!(malformed, "{number}: {refused:?}");
        assert!(soon("the end", raw.answers.next()).await.is_none(), "{number}");
    }
    sound.append(1, &blank(1));
    sound.taken(1, 1).await;
    fleet.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_stuck_holds_no_more_than_a_window_and_delays_nobody() {
    let fleet = one_replica().await;
    fleet.shards(0).create(2, LIFE, Begin::Join).await.unwrap();
    let go_on = hold(&fleet, 0, 1).await;
    let mut raw = Raw::new(&fleet).await;
    raw.open(1, 1, LIFE);
    raw.open(2, 2, LIFE);
    let messages = WINDOW_MESSAGES as u64;
    for index in 0..=messages {
        raw.append(1, &blank(index));
    }
    for index in 0..100 {
        raw.append(2, &blank(index));
        raw.taken(2, 1).await;
    }
    go_on.send(()).unwrap();
    let (mut taken, mut end) = (0, None);
    while end.is_none() {
        for answer in raw.answers().await {
            match answer {
                Answer::Taken { opening: 1, count } => taken += u64::from(count),
                Answer::Ended { opening: 1, why } => end = Some(why),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(taken, messages);
    assert!(matches!(end, Some(Why::Malformed(_))), "{end:?}");
    last_is(&fleet, messages - 1).await;
    fleet.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_breaks_off_without_harm_while_messages_are_worked_on() {
    let fleet = one_replica().await;
    let go_on = hold(&fleet, 0, 1).await;
    let mut raw = Raw::new(&fleet).await;
    raw.open(1, 1, LIFE);
    raw.append(1, &blank(0));
    // Whether it was taken before the end is nobody's promise.
    assert!(futures::poll!(raw.answers.next()).is_pending());
    fleet.net.leave(leader());
    let broken = soon("the end", raw.answers.next()).await;
    // Either end may be the first to see it.
    let unavailable = matches!(broken, Some(Err(peer::Error::Refused(Refusal::Unavailable(_)))));
    assert!(unavailable || matches!(broken, Some(Err(peer::Error::Lost(_)))), "{broken:?}");
    go_on.send(()).unwrap();
    let mut next = Raw::new(&fleet).await;
    next.open(1, 1, LIFE);
    next.append(1, &blank(0));
    next.taken(1, 1).await;
    last_is(&fleet, 0).await;
    fleet.stop_all().await;
}
