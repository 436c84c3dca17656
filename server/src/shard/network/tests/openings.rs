//! Openings and the session they share, with the other end in the test's hands.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use openraft::error::RPCError;
use openraft::raft::{AppendEntriesRequest, StreamAppendError};
use tokio::sync::mpsc;

use super::far::{Coming, far, far_with_stall, soon, there, whom};
use super::{entry, log_id, request, vote};
use crate::peer::{Refusal, Topic};
use crate::shard::network::appends::{Appends, WINDOW_MESSAGES};
use crate::shard::network::batch::{Answer, Part, Why};
use crate::shard::types::{LogId, Types};

type Request = AppendEntriesRequest<Types>;
/// What the other end does to a session.
type End = fn(&Coming);

/// An append message with one entry.
fn one(index: u64) -> Request {
    let mut entry = entry(2, 1);
    entry.log_id = log_id(2, index);
    request(Some(log_id(2, index - 1)), vec![entry])
}

/// One without.
fn commit() -> Request {
    request(Some(log_id(2, 4)), vec![])
}

/// These messages, and no end.
fn open_ended(messages: impl IntoIterator<Item = Request>) -> BoxStream<'static, Request> {
    stream::iter(messages.into_iter().collect::<Vec<_>>()).chain(stream::pending()).boxed()
}

fn taken(opening: u64, count: u32) -> Answer {
    Answer::Taken { opening, count }
}

/// Sends messages of a group, each of which is made when the one before it was answered. The position of the last one.
async fn in_turns(appends: Arc<Appends>, group: u32, turns: u64) -> Option<LogId> {
    let (next, mut coming) = mpsc::unbounded_channel();
    let input = stream::poll_fn(move |cx| coming.poll_recv(cx));
    next.send(one(1)).unwrap();
    let mut answers = appends.stream(whom(group), input).await.unwrap();
    let mut last = None;
    for turn in 1..=turns {
        last = answers.next().await.unwrap().unwrap().unwrap();
        if turn < turns {
            next.send(one(turn + 1)).unwrap();
        }
    }
    drop(next);
    assert!(answers.next().await.is_none(), "it ends when everything is answered");
    last
}

#[tokio::test]
async fn what_many_groups_have_to_say_shares_messages() {
    const GROUPS: u32 = 64;
    const TURNS: u64 = 20;
    let (far, mut sessions) = far();
    let groups: Vec<_> = (1..=GROUPS).map(|group| tokio::spawn(in_turns(far.appends.clone(), group, TURNS))).collect();
    let mut session = sessions.next().await;
    let mut appends = 0;
    while appends < u64::from(GROUPS) * TURNS {
        let requests = session.requests(1).await;
        appends += requests.len() as u64;
        session.answer(&requests.iter().map(|(opening, _)| taken(*opening, 1)).collect::<Vec<_>>());
    }
    for last in join_all(groups).await {
        assert_eq!(last.unwrap(), Some(log_id(2, TURNS)));
    }
    assert!(session.count * 8 < appends as usize, "{} messages for {appends} appends", session.count);
    assert_eq!(far.net.calls(Topic::AppendStream), 1, "all groups share one stream");
    far.stop().await;
}

#[tokio::test]
async fn messages_of_a_group_keep_their_order_and_their_answers() {
    const MESSAGES: u64 = 1000;
    let (far, mut sessions) = far();
    let groups = (1..=4).map(|group| {
        let appends = far.appends.clone();
        tokio::spawn(async move {
            let input = stream::iter((1..=MESSAGES).map(one).collect::<Vec<_>>());
            let answers = appends.stream(whom(group), input).await.unwrap();
            answers.map(|answer| answer.unwrap().unwrap()).collect::<Vec<_>>().await
        })
    });
    let groups: Vec<_> = groups.collect();
    let mut session = sessions.next().await;
    let mut next = [1; 5];
    while next[1..] != [MESSAGES + 1; 4] {
        for (opening, request) in session.requests(1).await {
            let group = session.group(opening);
            let expected = &mut next[group as usize];
            assert_eq!(request.entries[0].log_id, log_id(2, *expected), "group {group}");
            *expected += 1;
            session.answer(&[taken(opening, 1)]);
        }
    }
    for answers in join_all(groups).await {
        let answers = answers.unwrap();
        assert!(answers.is_sorted(), "a later answer says no less");
        assert_eq!(answers.last(), Some(&Some(log_id(2, MESSAGES))));
    }
    far.stop().await;
}

#[tokio::test]
async fn a_group_without_answers_stops_at_its_window_and_delays_nobody() {
    let (far, mut sessions) = far();
    let appends = far.appends.clone();
    let stuck = tokio::spawn(async move {
        let mut answers = appends.stream(whom(1), open_ended((1..=1000).map(one))).await.unwrap();
        answers.next().await
    });
    let mut session = sessions.next().await;
    let sent = session.requests(WINDOW_MESSAGES).await;
    assert_eq!(sent.len(), WINDOW_MESSAGES);
    let other = tokio::spawn(in_turns(far.appends.clone(), 2, 100));
    for _ in 0..100 {
        let requests = session.requests(1).await;
        let [(opening, _)] = requests[..] else { panic!("{} messages", requests.len()) };
        assert_ne!(opening, sent[0].0, "more than the window");
        session.answer(&[taken(opening, 1)]);
    }
    assert_eq!(soon("the other group", other).await.unwrap(), Some(log_id(2, 100)));
    session.answer(&[taken(sent[0].0, 1)]);
    assert_eq!(session.requests(1).await.len(), 1, "one answer makes room for one message");
    assert_eq!(stuck.await.unwrap().unwrap().unwrap(), Ok(Some(log_id(2, 1))));
    far.stop().await;
}

#[tokio::test]
async fn a_message_that_is_not_answered_in_time_ends_its_opening_only() {
    let (far, mut sessions) = far_with_stall(Duration::from_millis(200));
    let appends = far.appends.clone();
    let silent = tokio::spawn(async move {
        let mut answers = appends.stream(whom(1), open_ended([one(1)])).await.unwrap();
        answers.next().await.unwrap()
    });
    let mut session = sessions.next().await;
    let (silent_opening, _) = session.requests(1).await.remove(0);
    let ended = soon("the end of a silent group", silent).await.unwrap();
    assert!(matches!(ended, Err(RPCError::Network(_))), "{ended:?}");
    let appends = far.appends.clone();
    let next = tokio::spawn(async move {
        let mut answers = appends.stream(whom(2), open_ended([one(1)])).await.unwrap();
        answers.next().await.map(drop)
    });
    let mut parts = Vec::new();
    while parts.len() < 3 {
        parts.extend(session.parts().await.expect("the session goes on"));
    }
    assert_eq!(parts[0], Part::Close { opening: silent_opening });
    assert_eq!(parts[1], Part::Open { opening: session.opening(2), group: 2, incarnation: 1 });
    drop(session);
    soon("the end of the session", next).await.unwrap();
    far.stop().await;
}

#[tokio::test]
async fn what_is_said_to_an_opening_reaches_no_other() {
    let (far, mut sessions) = far();
    let mut first = far.appends.stream(whom(1), open_ended([one(1)])).boxed();
    assert!(futures::poll!(&mut first).is_pending());
    let mut session = sessions.next().await;
    let mut first = first.await.unwrap();
    assert!(futures::poll!(first.next()).is_pending());
    let (old, _) = session.requests(1).await.remove(0);
    drop(first);
    // The same group again, and an answer that comes too late.
    let mut second = far.appends.stream(whom(1), open_ended([one(1)])).await.unwrap();
    assert!(futures::poll!(second.next()).is_pending());
    let parts = session.parts().await.unwrap();
    assert_eq!(parts[0], Part::Close { opening: old });
    let Part::Open { opening: new, group: 1, incarnation: 1 } = parts[1] else { panic!("{parts:?}") };
    assert_ne!(old, new);
    let late = Answer::HigherVote { opening: old, vote: vote(9, false) };
    session.answer(&[late, taken(old, 1), taken(new, 1)]);
    let answer = soon("an answer", second.next()).await.unwrap().unwrap();
    assert_eq!(answer, Ok(Some(log_id(2, 1))));
    far.stop().await;
}

#[tokio::test]
async fn what_a_replica_refuses_ends_its_opening_and_is_told() {
    let higher = vote(9, false);
    let conflict = StreamAppendError::Conflict(log_id(2, 1));
    let gone = Why::NoReplica { group: 3, incarnation: 1 };
    let (far, mut sessions) = far();
    let groups = (1..=5).map(|group| {
        let appends = far.appends.clone();
        tokio::spawn(async move {
            let answers = appends.stream(whom(group), open_ended([one(1), one(2)])).await.unwrap();
            answers.collect::<Vec<_>>().await
        })
    });
    let groups: Vec<_> = groups.collect();
    let mut session = sessions.next().await;
    session.requests(10).await;
    session.answer(&[
        taken(session.opening(1), 1),
        Answer::Conflict { opening: session.opening(1) },
        Answer::HigherVote { opening: session.opening(2), vote: higher },
        Answer::Ended { opening: session.opening(3), why: gone },
        taken(session.opening(4), 3),
        Answer::HigherVote { opening: session.opening(5), vote: vote(3, true) },
    ]);
    let all: Vec<_> = join_all(groups).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(all[0], [Ok(Ok(Some(log_id(2, 1)))), Ok(Err(conflict))]);
    assert_eq!(all[1], [Ok(Err(StreamAppendError::HigherVote(higher)))]);
    assert!(matches!(all[2][..], [Err(RPCError::Unreachable(_))]), "no replica: {:?}", all[2]);
    assert!(matches!(all[3][..], [Err(RPCError::Network(_))]), "more answers than messages: {:?}", all[3]);
    assert!(matches!(all[4][..], [Err(RPCError::Network(_))]), "a vote that is not higher: {:?}", all[4]);
    far.stop().await;
}

#[tokio::test]
async fn when_the_session_ends_all_openings_do_and_the_next_one_begins_another() {
    let (far, mut sessions) = far();
    let ends: [(&str, End); 3] = [
        ("it refuses", |session| session.refuse(Refusal::Unavailable("the node stops".to_owned()))),
        ("garbage", |session| session.send(Bytes::from_static(b"\x01 no answers"))),
        ("another version", |session| session.send(Bytes::from_static(b"\x09"))),
    ];
    for (number, (what, end)) in ends.into_iter().enumerate() {
        let groups = (1..=8).map(|group| {
            let appends = far.appends.clone();
            tokio::spawn(async move {
                let mut answers = appends.stream(whom(group), open_ended([one(1)])).await.unwrap();
                answers.next().await.unwrap()
            })
        });
        let groups: Vec<_> = groups.collect();
        let mut session = sessions.next().await;
        session.requests(8).await;
        end(&session);
        for ended in join_all(groups).await {
            let ended = ended.unwrap();
            assert!(matches!(ended, Err(RPCError::Unreachable(_) | RPCError::Network(_))), "{what}: {ended:?}");
        }
        assert_eq!(far.net.calls(Topic::AppendStream), 1 + number as u64, "{what}");
    }
    far.stop().await;
}

#[tokio::test]
async fn a_message_that_tells_only_of_a_commit_is_left_out_when_another_follows_soon() {
    let (far, mut sessions) = far();
    let appends = far.appends.clone();
    let messages = [one(1), commit(), commit(), one(2), one(3), commit()];
    let group = tokio::spawn(async move {
        let answers = appends.stream(whom(1), stream::iter(messages)).await.unwrap();
        answers.collect::<Vec<_>>().await
    });
    let lonely = [commit(), commit()];
    let appends = far.appends.clone();
    let lonely = tokio::spawn(async move {
        let mut answers = appends.stream(whom(2), open_ended(lonely)).await.unwrap();
        answers.next().await.unwrap()
    });
    let mut session = sessions.next().await;
    let mut entries = [Vec::new(), Vec::new()];
    for (opening, request) in session.requests(6).await {
        entries[session.group(opening) as usize - 1].push(request.entries.len());
    }
    assert_eq!(entries, [vec![1, 1, 1, 0], vec![0, 0]], "the first message of a stream never waits");
    session.answer(&[taken(session.opening(1), 4), taken(session.opening(2), 2)]);
    assert_eq!(group.await.unwrap(), [Ok(Ok(Some(log_id(2, 4))))]);
    assert_eq!(lonely.await.unwrap(), Ok(Ok(Some(log_id(2, 4)))));
    far.stop().await;
}

#[tokio::test]
async fn a_replica_that_cannot_be_reached_is_not_tried_before_there_is_something_to_send() {
    let (far, _sessions) = far();
    far.net.leave(there());
    // openraft makes its first message only when it has waited for long enough after a failure.
    let mut waiting = far.appends.stream(whom(1), stream::pending()).boxed();
    assert!(futures::poll!(&mut waiting).is_pending());
    assert_eq!(far.net.calls(Topic::AppendStream), 0);
    drop(waiting);
    let tried = far.appends.stream(whom(1), open_ended([one(1)])).await;
    assert!(matches!(tried, Err(RPCError::Unreachable(_))));
    assert_eq!(far.net.calls(Topic::AppendStream), 1);
    far.stop().await;
}
