//! The end of an actor whose responses are still being sent.

use http_body_util::BodyExt;
use lethe_runtime::body::{self, Body};
use tokio::time::timeout;

use super::{call, spawn_until, start, with_actors};
use crate::hold::DEADLINE;

/// Lines that wait in JavaScript, more than fit what is on its way out. `/open` leaves its body open.
const SCRIPT: &str = "export class A extends DurableObject {
    fetch(request) {
        const lines = ['one ', 'two ', 'three ', 'four'];
        return new Response(new ReadableStream({
            start: (controller) => {
                for (const line of lines) controller.enqueue(new TextEncoder().encode(line));
                if (!request.url.endsWith('/open')) controller.close();
            },
        }));
    }
    ping() { return 'pong'; }
    async wait() { await outside('/held'); return 'late'; }
}";

async fn fetch(actor: &lethe_runtime::engine::Instance, path: &str) -> Body {
    let request = http::Request::get(format!("http://do{path}")).body(body::empty()).expect("a valid request");
    actor.fetch(request).await.expect("it answers").into_body()
}

/// All chunks, and whether the body ended well.
async fn read(mut body: Body) -> (String, bool) {
    let mut text = Vec::new();
    loop {
        match timeout(DEADLINE, body.frame()).await.expect("the body ends") {
            Some(Ok(frame)) => text.extend_from_slice(&frame.into_data().unwrap_or_default()),
            end => return (String::from_utf8(text).expect("text"), end.is_none()),
        }
    }
}

#[test]
fn what_was_written_before_an_actor_finishes_is_sent_and_its_end_too() {
    with_actors(SCRIPT, async |world| {
        let actor = start(&world).await;
        let ended = fetch(&actor, "/ended").await;
        let open = fetch(&actor, "/open").await;
        let finishing = tokio::spawn({
            let actor = actor.clone();
            async move { actor.finish().await }
        });
        let all = "one two three four".to_owned();
        assert_eq!([read(ended).await, read(open).await], [(all.clone(), true), (all, false)]);
        timeout(DEADLINE, finishing).await.expect("it finishes").expect("no panic");
        assert!(actor.broken().is_some());
    });
}

#[test]
fn an_actor_that_finishes_lives_as_long_as_its_reader_needs_and_takes_no_calls() {
    with_actors(SCRIPT, async |world| {
        let actor = start(&world).await;
        let body = fetch(&actor, "/ended").await;
        let finishing = tokio::spawn({
            let actor = actor.clone();
            async move { actor.finish().await }
        });
        assert!(actor.broken().is_none(), "nobody has read what it wrote");
        assert_eq!(read(body).await, ("one two three four".to_owned(), true));
        timeout(DEADLINE, finishing).await.expect("it finishes").expect("no panic");
        assert!(call(&actor, "ping", "[]").await.is_err());
    });
}

#[test]
fn an_actor_without_bodies_finishes_at_once_whatever_it_waits_for() {
    with_actors(SCRIPT, async |world| {
        let (actor, call) = spawn_until(&world, "wait", "outside /held").await;
        timeout(DEADLINE, actor.finish()).await.expect("it finishes");
        let ended = timeout(DEADLINE, call).await.expect("the call ends").expect("no panic");
        assert!(ended.is_err(), "{ended:?}");
    });
}
