//! One reader for each body, until all of them have ended.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use lethe_client::Actor;
use lethe_tests::now_ms;
use tokio::task::JoinSet;

use crate::histogram::Histogram;

/// What readers saw.
#[derive(Default)]
pub struct Seen {
    /// From when a chunk was written to when it was here; clocks tell it in milliseconds.
    pub delays: Histogram,
    /// From one chunk to the next.
    pub gaps: Histogram,
}

/// Reads one body of each actor.
pub async fn read_all(actors: &[Actor], chunks: u64, pace_ms: u64) -> Result<Seen> {
    let mut readers = JoinSet::new();
    for actor in actors.iter().cloned() {
        readers.spawn(read(actor, chunks, pace_ms));
    }
    let mut total = Seen::default();
    while let Some(seen) = readers.join_next().await {
        let seen = seen.context("a reader panicked")??;
        total.delays.add(&seen.delays);
        total.gaps.add(&seen.gaps);
    }
    Ok(total)
}

/// Reads a body, of which every chunk must come, in its order. The wire may join or split chunks; a line is one.
async fn read(actor: Actor, chunks: u64, pace_ms: u64) -> Result<Seen> {
    let request = http::Request::get(format!("http://streams/{chunks}/{pace_ms}")).body(Bytes::new())?;
    let mut body = actor.fetch(request).await?.into_body();
    let (mut seen, mut rest, mut last) = (Seen::default(), Vec::new(), Instant::now());
    while let Some(bytes) = body.chunk().await? {
        rest.extend_from_slice(&bytes);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let text = std::str::from_utf8(&line)?;
            let (number, written) = text.trim().split_once(' ').with_context(|| format!("an odd chunk: {text:?}"))?;
            let before = seen.gaps.count();
            ensure!(number.parse() == Ok(before), "chunk {number} came after {before} others");
            let delay_ms = now_ms() - written.parse::<i64>()?;
            seen.delays.record(Duration::from_millis(delay_ms.try_into().unwrap_or(0)));
            seen.gaps.record(last.elapsed());
            last = Instant::now();
        }
    }
    let came = seen.gaps.count();
    ensure!(came == chunks && rest.is_empty(), "a body ended after {came} of {chunks} chunks");
    Ok(seen)
}
