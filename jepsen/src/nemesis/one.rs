//! The nemesis: breaks the server while it is used, and writes down what really happened.
//!
//! A fault is `installed` only when there is evidence for it: a kill when the operating system says that signal 9
//! ended the process, a pause when it says that the process stands still, a power cut when writes fail after it and what was not synced is gone. A server that ends by itself, or does not come back, is an incident, and an incident is a
//! violation whatever the history says.

use std::time::{Duration, Instant};

use anyhow::Context;
use clap::ValueEnum;
use lethe_tests::Disk;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::{sync::watch, time::sleep};

use crate::{
    cluster::{Addresses, Server},
    door::DEADLINE,
    history::Writer,
};

/// Lines that the nemesis writes and that no run may have.
pub const INCIDENTS: [&str; 2] = ["server-died", "no-restart"];

/// What is done to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Nemesis {
    /// Nothing.
    None,
    /// SIGKILL and a restart on the same data, again and again, sometimes right after the restart.
    Kill,
    /// SIGSTOP for a moment, or for longer than clients wait for an answer, and SIGCONT.
    Pause,
    /// Like kill, but all that was not synced is lost, too. Needs root and a few programs (see `lethe_tests::Disk`).
    PowerCut,
}

impl Nemesis {
    /// Its name, as on the command line and in a history.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::PowerCut => "power-cut",
        }
    }
}

/// How often the server is looked at while nothing is done to it.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The last fault leaves this much of the run.
const CALM_END: Duration = Duration::from_secs(2);

/// What the nemesis works on.
pub struct Victim {
    /// The server.
    pub server: Server,
    /// Its disk, if its power can be cut.
    pub disk: Option<Disk>,
    /// Tells clients where the server is.
    pub addresses: watch::Sender<Addresses>,
}

/// Breaks the server until `time` is over. `Ok(false)` after an incident: there is no server any more.
pub async fn torment(
    nemesis: Nemesis,
    victim: &mut Victim,
    writer: &Writer,
    time: Duration,
    seed: u64,
) -> anyhow::Result<bool> {
    let started = Instant::now();
    let mut rng = StdRng::seed_from_u64(seed ^ 0x6e65_6d65);
    loop {
        let left = time.saturating_sub(started.elapsed());
        let pause = match nemesis {
            Nemesis::None => left,
            // One fault in four comes while the server has hardly started.
            _ if rng.random_bool(0.25) => Duration::from_millis(rng.random_range(0..200)),
            Nemesis::Kill | Nemesis::Pause | Nemesis::PowerCut => Duration::from_millis(rng.random_range(600..2_500)),
        };
        let last = pause + CALM_END > left;
        if let Some(why) = watch_for(&mut victim.server, if last { left } else { pause }).await? {
            writer.nemesis("server-died", json!({"status": "observed", "why": why}));
            return Ok(false);
        }
        if last {
            return Ok(true);
        }
        let alive = match nemesis {
            Nemesis::None => true,
            Nemesis::Pause => pause_for(victim, writer, pause_length(&mut rng)).await.map(|()| true)?,
            Nemesis::Kill => kill(victim, writer).await && restart(victim, writer, &mut rng).await,
            Nemesis::PowerCut => cut_power(victim, writer).await? && restart(victim, writer, &mut rng).await,
        };
        if !alive {
            return Ok(false);
        }
    }
}

/// Waits, looking at the server; returns early with the reason if it died.
async fn watch_for(server: &mut Server, time: Duration) -> anyhow::Result<Option<String>> {
    let until = Instant::now() + time;
    loop {
        if let Some(why) = server.died()? {
            return Ok(Some(why));
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        sleep(left.min(LOOK_EVERY)).await;
    }
}

/// `false` after an incident.
async fn kill(victim: &mut Victim, writer: &Writer) -> bool {
    let pid = victim.server.pid();
    match victim.server.kill().await {
        Ok(took) => {
            let took_ms = took.as_millis() as u64;
            writer.nemesis("kill", json!({"status": "installed", "pid": pid, "signal": 9, "took_ms": took_ms}));
            true
        }
        Err(error) => {
            writer.nemesis("server-died", json!({"status": "observed", "why": format!("{error:#}")}));
            false
        }
    }
}

/// Most pauses are short; one in four outlasts every call that is under way.
fn pause_length(rng: &mut StdRng) -> Duration {
    match rng.random_bool(0.25) {
        true => DEADLINE + Duration::from_millis(rng.random_range(100..1_000)),
        false => Duration::from_millis(rng.random_range(50..1_500)),
    }
}

/// Fails when the process did not stand still.
async fn pause_for(victim: &mut Victim, writer: &Writer, length: Duration) -> anyhow::Result<()> {
    victim.server.pause().await?;
    let length_ms = length.as_millis() as u64;
    writer.nemesis("pause", json!({"status": "installed", "pid": victim.server.pid(), "length_ms": length_ms}));
    sleep(length).await;
    victim.server.resume()?;
    writer.nemesis("resume", json!({"status": "done"}));
    Ok(())
}

/// Fails when there is no evidence that the power was cut.
async fn cut_power(victim: &mut Victim, writer: &Writer) -> anyhow::Result<bool> {
    let disk = victim.disk.as_mut().context("there is no disk whose power could be cut")?;
    disk.cut()?;
    // A server may end by itself now: its disk answers nothing but errors.
    victim.server.end().await?;
    disk.restore()?;
    writer.nemesis("power-cut", json!({"status": "installed", "evidence": "EIO after it, the canary is gone"}));
    Ok(true)
}

/// Starts the server again after a moment; `false` after an incident.
async fn restart(victim: &mut Victim, writer: &Writer, rng: &mut StdRng) -> bool {
    sleep(Duration::from_millis(rng.random_range(0..300))).await;
    let started = Instant::now();
    match victim.server.start().await {
        Ok(new) => {
            let ready_ms = started.elapsed().as_millis() as u64;
            writer.nemesis("restart", json!({"status": "done", "pid": victim.server.pid(), "ready_ms": ready_ms}));
            victim.addresses.send_replace(new);
            true
        }
        Err(error) => {
            writer.nemesis("no-restart", json!({"status": "observed", "why": format!("{error:#}")}));
            false
        }
    }
}
