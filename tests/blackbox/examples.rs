//! The projects in `examples/`, as a visitor uses them.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use lethe_tests::{Options, Reply, Server, get, open, send};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;

/// A stream that says nothing for so long is broken.
const STREAM_MAX: Duration = Duration::from_secs(20);

fn example(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}

fn options(data: Option<&TempDir>) -> Options {
    Options { data_dir: data.map(|dir| dir.path().to_path_buf()), args: vec!["--no-watch".into()] }
}

#[tokio::test(flavor = "multi_thread")]
async fn hello_greets_by_name_from_an_isolate_that_saw_no_other_request() -> Result<()> {
    let server = Server::start(&example("hello"), &options(None)).await?;
    for _ in 0..10 {
        let reply = get(&server.http, "/?name=Ada").await?;
        assert_eq!((reply.status(), reply.text().as_str()), (StatusCode::OK, "Hello, Ada!\n"));
        assert_eq!(reply.head.headers["x-requests-seen"], "1");
    }
    let too_long = get(&server.http, &format!("/?name={}", "a".repeat(101))).await?;
    assert_eq!(too_long.status(), StatusCode::BAD_REQUEST);
    let post = send(&server.http, Request::post("/").body(Default::default())?).await?;
    assert_eq!(post.status(), StatusCode::METHOD_NOT_ALLOWED);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_counter_keeps_what_it_answered_through_a_kill() -> Result<()> {
    let data = TempDir::new()?;
    let server = Server::start(&example("counter"), &options(Some(&data))).await?;
    for value in 1..=3 {
        let reply = send(&server.http, Request::post("/apples").body(Default::default())?).await?;
        assert_eq!(serde_json::from_slice::<Value>(&reply.body)?, json!({"name": "apples", "value": value}));
    }
    server.kill().await?;
    let server = Server::start(&example("counter"), &options(Some(&data))).await?;
    for (name, value) in [("apples", 3), ("pears", 0)] {
        let reply = get(&server.http, &format!("/{name}")).await?;
        assert_eq!(serde_json::from_slice::<Value>(&reply.body)?, json!({"name": name, "value": value}));
    }
    Ok(())
}

/// One person in a chat.
struct Person {
    http: String,
    token: String,
    session: String,
}

impl Person {
    async fn login(server: &Server, name: &str, session: Option<&str>) -> Result<Person, Reply> {
        let mut body = json!({"name": name});
        if let Some(session) = session {
            body["session"] = json!(session);
        }
        let request = Request::post("/api/login").body(body.to_string().into()).expect("a valid request");
        let reply = send(&server.http, request).await.expect("the server answers");
        if reply.status() != StatusCode::OK {
            return Err(reply);
        }
        let login: Value = serde_json::from_slice(&reply.body).expect("a login is JSON");
        let text = |key: &str| login[key].as_str().expect("a login has a text here").to_owned();
        Ok(Person { http: server.http.clone(), token: text("token"), session: text("session") })
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> Result<Reply> {
        let request = Request::builder().method(method).uri(path);
        let request = request.header("authorization", format!("Bearer {}", self.token));
        let body = if body.is_null() { String::new() } else { body.to_string() };
        send(&self.http, request.body(body.into())?).await
    }

    async fn say(&self, text: &str) -> Result<Reply> {
        self.ask("POST", "/api/messages", json!({"text": text})).await
    }
}

/// Reads a stream until it has said `words`.
async fn hear(stream: &mut Incoming, heard: &mut String, words: &str) -> Result<()> {
    while !heard.contains(words) {
        let frame = timeout(STREAM_MAX, stream.frame()).await.with_context(|| format!("no {words:?} in {heard:?}"))?;
        let frame = frame.with_context(|| format!("the stream ended after {heard:?}"))??;
        heard.push_str(&String::from_utf8_lossy(&frame.into_data().unwrap_or_default()));
    }
    Ok(())
}

fn refused(login: Result<Person, Reply>) -> (StatusCode, String) {
    let reply = login.err().expect("the login is refused");
    (reply.status(), reply.text())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_is_streamed_to_all_and_is_gone_for_all_once_it_is_ended() -> Result<()> {
    let data = TempDir::new()?;
    let server = Server::start(&example("ghost-chat"), &options(Some(&data))).await?;
    let ada = Person::login(&server, "Ada", None).await.map_err(|reply| anyhow::anyhow!(reply.text()))?;
    let grace = Person::login(&server, "Grace", Some(&ada.session)).await.ok().context("Grace joins")?;
    assert_eq!(ada.say("Did anybody write this down?").await?.status(), StatusCode::CREATED);

    // What was said survives a kill; tokens are signed, so they survive it, too.
    server.kill().await?;
    let server = Server::start(&example("ghost-chat"), &options(Some(&data))).await?;
    let (ada, grace) = (Person { http: server.http.clone(), ..ada }, Person { http: server.http.clone(), ..grace });

    let request = Request::get("/api/stream?after=0").header("authorization", format!("Bearer {}", grace.token));
    let mut stream = open(&grace.http, request.body(Default::default())?).await?.into_body();
    let mut heard = String::new();
    hear(&mut stream, &mut heard, "Did anybody write this down?").await?;
    assert_eq!(grace.say("Boo.").await?.status(), StatusCode::CREATED);
    hear(&mut stream, &mut heard, r#""number":2"#).await?;
    assert_eq!(ada.ask("DELETE", "/api/session", Value::Null).await?.status(), StatusCode::NO_CONTENT);
    let ended = "event: ended\ndata: {\"name\":\"Ada\"}\n\n";
    // The stream ends with the session: it does not break off.
    heard.push_str(&String::from_utf8_lossy(&timeout(STREAM_MAX, stream.collect()).await??.to_bytes()));
    assert!(heard.ends_with(ended), "{heard}");

    let gone = (StatusCode::GONE, r#"{"error":"this session was destroyed"}"#.to_string());
    let late = grace.say("Anybody?").await?;
    assert_eq!((late.status(), late.text()), gone);
    server.kill().await?;
    let server = Server::start(&example("ghost-chat"), &options(Some(&data))).await?;
    assert_eq!(refused(Person::login(&server, "Eve", Some(&ada.session)).await), gone);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_lets_in_only_whom_it_knows() -> Result<()> {
    let server = Server::start(&example("ghost-chat"), &options(None)).await?;
    let ada = Person::login(&server, "Ada", None).await.map_err(|reply| anyhow::anyhow!(reply.text()))?;

    // A token that was changed anywhere is none.
    let (claims, signature) = ada.token.split_once('.').context("a token has two parts")?;
    let foreign = Person::login(&server, "Ada", None).await.ok().context("another session")?;
    let (foreign_claims, _) = foreign.token.split_once('.').context("a token has two parts")?;
    for token in [String::new(), claims.into(), format!("{foreign_claims}.{signature}"), format!("{claims}.AAAA")] {
        let mallory = Person { http: ada.http.clone(), session: ada.session.clone(), token };
        assert_eq!(mallory.say("hello").await?.status(), StatusCode::UNAUTHORIZED, "{}", mallory.token);
    }
    for session in ["0".repeat(64), "x".into()] {
        let expected = (StatusCode::BAD_REQUEST, r#"{"error":"this is not a session of this server"}"#.to_string());
        assert_eq!(refused(Person::login(&server, "Eve", Some(&session)).await), expected);
    }
    assert_eq!(refused(Person::login(&server, " ", None).await).0, StatusCode::BAD_REQUEST);
    assert_eq!(ada.say(&"a".repeat(2001)).await?.status(), StatusCode::BAD_REQUEST);
    assert_eq!(ada.ask("POST", "/api/messages", json!("no object")).await?.status(), StatusCode::BAD_REQUEST);

    // The secret in the repository is public: nobody is let in with it from elsewhere.
    let elsewhere = Request::post("/api/login").header("host", "chat.example").body(r#"{"name":"Ada"}"#.into())?;
    assert_eq!(send(&server.http, elsewhere).await?.status(), StatusCode::INTERNAL_SERVER_ERROR);
    Ok(())
}
