//! Bytes that no honest client sends: none may stop, hang or confuse the server.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::io::AsyncWriteExt;

use super::http2::{GET, PREFACE, frame};
use super::rig::*;

/// Sends bytes and reads whatever is answered until the server hangs up.
async fn answered(rig: &Rig, bytes: &[u8]) -> String {
    let mut client = Raw::connect(rig.addr).await;
    // The server may hang up in the middle.
    drop(soon("send", client.tcp.write_all(bytes)).await);
    soon(&format!("the end of {:?}", String::from_utf8_lossy(bytes)), client.rest()).await
}

#[tokio::test]
async fn malformed_requests_are_refused_and_the_next_client_is_served() {
    let rig = start(quick(), Handler(describe)).await;
    let table: [&[u8]; 34] = [
        b"",
        b"\n",
        b"\r\n\r\n\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET  /  HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        b"get / http/1.1\r\nHost: a\r\n\r\n",
        b"G\xc3\x84T / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http:// HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://[::1 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
        b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nx: \x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\rx: b\r\n\r\n",
        b"GET / HTTP/1.1\r\n: no name\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\nab",
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    let answers = futures::future::join_all(table.iter().map(|bytes| answered(&rig, bytes))).await;
    for (bytes, answer) in table.iter().zip(answers) {
        assert!(!answer.starts_with("HTTP/1.1 2"), "{:?} got {answer:?}", String::from_utf8_lossy(bytes));
        assert!(!answer.starts_with("HTTP/1.1 5"), "{:?} got {answer:?}", String::from_utf8_lossy(bytes));
    }
    assert_eq!(get(rig.addr, "/").await.status, 200);
}

#[tokio::test]
async fn a_body_is_never_taken_for_the_next_request() {
    let rig = start(quick(), Handler(describe)).await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let length = smuggled.len();
    let table = [
        format!("POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{smuggled}"),
        format!(
            "POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{smuggled}\r\n0\r\n\r\n"
        ),
        format!(
            "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{smuggled}\r\n0\r\n\r\n"
        ),
    ];
    let answers = futures::future::join_all(table.iter().map(|request| answered(&rig, request.as_bytes()))).await;
    for answer in answers {
        assert_eq!(answer.matches("x-lethe-request-id: ").count(), 1, "{answer}");
        assert!(!answer.contains("GET http://a/smuggled"), "{answer}");
    }
}

/// A few random bytes changed, taken out, put in or cut off.
fn damaged(whole: &[u8], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    for _ in 0..random.random_range(1..6) {
        let at = random.random_range(0..bytes.len());
        match random.random_range(0..4) {
            0 => bytes[at] = random.random(),
            1 if bytes.len() > 1 => drop(bytes.remove(at)),
            2 => bytes.insert(at, random.random()),
            _ => bytes.truncate(at.max(1)),
        }
    }
    bytes
}

#[tokio::test]
async fn damaged_requests_never_kill_or_hang_the_server() {
    const TRIES: usize = 300;
    let seed: u64 = rand::rng().random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let rig = start(quick(), Handler(describe)).await;
    let http1: &[u8] =
        b"POST /path?query HTTP/1.1\r\nHost: w.example:80\r\nContent-Type: text/plain\r\nCookie: a=b\r\n\
        Transfer-Encoding: chunked\r\nExpect: 100-continue\r\nConnection: keep-alive\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let http2 = [
        PREFACE,
        // POST http://a/ with a cookie, a body in two frames, a window update, a ping; and a GET beside it.
        &frame(1, 0x04, 1, b"\x83\x84\x86\x41\x01a\x60\x03a=b"),
        &frame(0, 0x00, 1, b"hello"),
        &frame(1, 0x05, 3, GET),
        &frame(8, 0x00, 0, &[0, 0, 1, 0]),
        &frame(6, 0x00, 0, b"12345678"),
        &frame(0, 0x01, 1, b"world"),
    ]
    .concat();
    for whole in [http1, &http2] {
        let answer = answered(&rig, whole).await;
        assert!(answer.contains("POST http://"), "undamaged it is understood: {answer:?}");
        let tries: Vec<_> = (0..TRIES).map(|_| damaged(whole, &mut random)).collect();
        futures::future::join_all(tries.iter().map(|bytes| answered(&rig, bytes))).await;
    }
    assert_eq!(get(rig.addr, "/").await.status, 200);
}
