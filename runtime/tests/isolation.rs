//! What one request must never see or suffer from another: its globals, its memory, its busy loops.

mod support;

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use lethe_runtime::{
    body,
    engine::{Engine, InvocationError, Limit, Program},
};
use support::FakeHost;

/// Requests that run at the same time.
const CONCURRENCY: usize = 8;

/// Sends `count` requests, some at a time, and returns the answers.
async fn many(engine: &Engine, program: &Arc<Program>, count: usize) -> Vec<Result<String, InvocationError>> {
    let host = Arc::new(FakeHost::default());
    stream::iter(0..count)
        .map(|_| support::fetch_text(engine, program, host.clone()))
        .buffer_unordered(CONCURRENCY)
        .collect()
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_requests_never_see_a_global_of_another() {
    let engine = support::engine();
    let script = r#"
        import { state } from "./state.js";
        export default {
          fetch() {
            const seen = [globalThis.x, state.count, Object.prototype.y, Response.z, [].last].map(String).join();
            globalThis.x = Math.random();
            state.count++;
            Object.prototype.y = Response.z = "left behind";
            Array.prototype.last = () => 1;
            return new Response(seen);
          },
        };
    "#;
    let modules = [
        ("index.js", lethe_runtime::program::Module::Es(script.into())),
        ("state.js", lethe_runtime::program::Module::Es("export const state = { count: 0 };".into())),
    ];
    let program = support::compile(&engine, support::source_of(modules)).await;
    let answers = many(&engine, &program, 10_000).await;
    assert_eq!(answers.len(), 10_000);
    let clean = Ok("undefined,0,undefined,undefined,undefined".to_owned());
    assert_eq!(answers.into_iter().find(|answer| *answer != clean), None);
}

/// Arenas of the system's malloc, which V8's own code uses, start at multiples of this.
const MALLOC_ARENA_ALIGN: usize = 64 << 20;

/// Searches this process's writable memory, except what allocators hand out: Rust's own buffers are there, the needle too.
fn memory_holds(needle: &[u8]) -> Option<String> {
    let maps = fs::read_to_string("/proc/self/maps").expect("read the memory map");
    let memory = File::open("/proc/self/mem").expect("open the memory");
    for line in maps.lines().filter(|line| line.contains(" rw") && !line.ends_with("[heap]")) {
        let (start, rest) = line.split_once('-').expect("a range");
        let end = rest.split_once(' ').expect("a range").0;
        let (start, end) = (usize::from_str_radix(start, 16).unwrap(), usize::from_str_radix(end, 16).unwrap());
        // Rust's arena is a region of its own.
        let is_rusts = (start..end).contains(&needle.as_ptr().addr());
        // Large copies have a mapping of their own, so a region is copied in small pieces.
        if start % MALLOC_ARENA_ALIGN != 0 && !is_rusts && region_holds(&memory, start, end, needle) {
            return Some(line.to_owned());
        }
    }
    None
}

fn region_holds(memory: &File, start: usize, end: usize, needle: &[u8]) -> bool {
    let mut window = [0; 64 << 10];
    let mut at = start;
    while at < end {
        let len = window.len().min(end - at);
        let Ok(read) = memory.read_at(&mut window[..len], at as u64) else { return false };
        // SAFETY: both ranges are valid for their lengths.
        let found = unsafe { libc::memmem(window.as_ptr().cast(), read, needle.as_ptr().cast(), needle.len()) };
        if !found.is_null() {
            return true;
        }
        if read < needle.len() || at + read >= end {
            return false;
        }
        at += read - needle.len() + 1;
    }
    false
}

/// UTF-16 of a text: how a JavaScript heap holds text that is not Latin-1.
fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_of_a_request_is_in_no_javascript_heap_after_it() {
    let engine = support::engine();
    let script = r#"
        const kept = [];
        export default {
          async fetch(request) {
            const secret = await request.text();
            globalThis.secret = [secret, secret + "!", secret.split(""), new Map([[secret, { secret }]])];
            kept.push(JSON.parse(JSON.stringify([secret])), secret.replace("ж", "з"));
            if (new URL(request.url).pathname === "/stay") {
              console.log("stays");
              await fetch("http://never/");
            }
            return new Response(secret.length + "");
          },
        };
    "#;
    let program = support::compile(&engine, support::source(script)).await;
    let secret = format!("жг{}", uuid::Uuid::new_v4().simple());
    let needle = utf16(&secret);
    let request = |path: &str| {
        let body = body::full(secret.clone().into_bytes());
        http::Request::post(format!("http://test{path}")).body(body).expect("a valid request")
    };

    // The search finds the secret while an isolate holds it: without this the test could not fail.
    let host = Arc::new(FakeHost::default());
    let staying = tokio::spawn({
        let (engine, program, host, request) = (engine.clone(), program.clone(), host.clone(), request("/stay"));
        async move { engine.fetch(&program, None, request, host).await.map(|_| ()) }
    });
    let deadline = Instant::now() + Duration::from_secs(20);
    while host.lines.lock().is_empty() {
        assert!(Instant::now() < deadline, "the worker did not start");
        tokio::task::yield_now().await;
    }
    assert!(memory_holds(&needle).is_some(), "the search does not find what a live isolate holds");
    staying.abort();

    let answers = stream::iter(0..1000)
        .map(|_| async {
            let response = engine.fetch(&program, None, request("/"), Arc::<FakeHost>::default()).await?;
            Ok(support::text(response.into_body()).await)
        })
        .buffer_unordered(CONCURRENCY)
        .collect::<Vec<Result<String, InvocationError>>>()
        .await;
    assert_eq!(answers.iter().find(|answer| answer.as_deref() != Ok("34")), None);
    engine.idle().await;
    nowhere(&needle).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_that_a_living_heap_gave_up_are_empty_for_the_next() {
    let engine = support::engine();
    let script = r#"
        export default {
          async fetch(request) {
            const secret = await request.text();
            const copies = JSON.stringify(Array(1000).fill(secret));
            for (let i = 0, kept = []; i < 1000; i++) if (kept.push(JSON.parse(copies)) === 300) kept = [];
            console.log("stays");
            await fetch("http://never/");
          },
        };
    "#;
    let program = support::compile(&engine, support::source(script)).await;
    let secret = format!("жг{}", uuid::Uuid::new_v4().simple());
    let needle = utf16(&secret);
    let host = Arc::new(FakeHost::default());
    let request = http::Request::post("http://test/").body(body::full(secret.into_bytes())).expect("a valid request");
    let staying = tokio::spawn({
        let (engine, host) = (engine.clone(), host.clone());
        async move { engine.fetch(&program, None, request, host).await.map(|_| ()) }
    });
    let deadline = Instant::now() + Duration::from_secs(20);
    while host.lines.lock().is_empty() {
        assert!(Instant::now() < deadline, "the worker did not start");
        tokio::task::yield_now().await;
    }
    assert!(memory_holds(&needle).is_some(), "the search does not find what a live isolate holds");

    // These isolates are made while the other lives, and live on after it.
    let others = support::engine();
    let hello = support::compile(&others, support::source("export default { fetch: () => new Response('hi') }")).await;
    assert_eq!(many(&others, &hello, 20).await.into_iter().find(|answer| answer.as_deref() != Ok("hi")), None);
    staying.abort();
    engine.idle().await;
    nowhere(&needle).await;
}

/// Waits until no JavaScript heap holds `needle`.
async fn nowhere(needle: &[u8]) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Some(place) = memory_holds(needle) {
        assert!(Instant::now() < deadline, "a JavaScript heap still holds the secret: {place}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_endless_requests_leave_the_memory_where_it_was() {
    let engine = support::engine();
    let hoard = "export default { fetch() { const hoard = [new Uint8Array(50e6).fill(1)]; for (;;) hoard.push({ a: hoard.length }); } };";
    let program = support::compile(&engine, support::source(hoard)).await;
    let limit = Err(InvocationError::Limit(Limit::Memory));
    assert_eq!(support::fetch_text(&engine, &program, Arc::default()).await, limit);
    let before = resident_mb();
    for _ in 0..10 {
        assert_eq!(support::fetch_text(&engine, &program, Arc::default()).await, limit);
    }
    engine.idle().await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while resident_mb() > before + 100 {
        assert!(Instant::now() < deadline, "{} MB resident, {before} MB before ten of them", resident_mb());
        tokio::task::yield_now().await;
    }
}

fn resident_mb() -> usize {
    let status = fs::read_to_string("/proc/self/statm").expect("read the memory's size");
    status.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number of pages") / 256
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn array_buffers_of_a_dead_isolate_are_zero_for_the_next() {
    let engine = support::engine();
    let script = "export default { fetch() { const all = []; for (let i = 0; i < 200; i++) { \
                  const b = new Uint8Array(1000 + i * 500); if (b.some((x) => x !== 0)) return new Response('dirty'); b.fill(77); \
                  all.push(b); } return new Response('clean'); } };";
    let program = support::compile(&engine, support::source(script)).await;
    let answers = many(&engine, &program, 100).await;
    assert_eq!(answers.into_iter().find(|answer| answer.as_deref() != Ok("clean")), None);
}
