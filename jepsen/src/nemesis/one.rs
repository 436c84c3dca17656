//! Faults of one server by itself.

use std::time::{Duration, Instant};

use anyhow::Context;
use lethe_tests::Disk;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::json;
use tokio::{sync::watch, time::sleep};

use super::{CALM_END, LOOK_EVERY, Look, Nemesis, Plan, calm, pause_length};
use crate::{
    cluster::{Addresses, Server},
    history::Writer,
};

/// What the nemesis works on.
pub struct Victim {
    /// The server.
    pub server: Server,
    /// Its disk, if its power can be cut.
    pub disk: Option<Disk>,
    /// Tells clients where the server is.
    pub addresses: watch::Sender<Vec<Addresses>>,
}

impl Victim {
    /// Breaks the server as planned until the time is over. `Ok(false)` after an incident, when there is no server any
    /// more, or when it was caught.
    pub async fn torment(&mut self, plan: &Plan<'_>, writer: &Writer) -> anyhow::Result<bool> {
        torment(plan, self, writer).await
    }
}

async fn torment(plan: &Plan<'_>, victim: &mut Victim, writer: &Writer) -> anyhow::Result<bool> {
    let Plan { nemesis, time, seed, .. } = *plan;
    let started = Instant::now();
    let mut rng = StdRng::seed_from_u64(seed ^ 0x6e65_6d65);
    let mut look = Look::new(plan.until_caught);
    loop {
        let left = time.saturating_sub(started.elapsed());
        let pause = match nemesis {
            Nemesis::None => left,
            _ => calm(&mut rng),
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
            Nemesis::Partition
            | Nemesis::Transfer
            | Nemesis::Members
            | Nemesis::Rolling
            | Nemesis::Chaos
            | Nemesis::All
            | Nemesis::LeaderCut
            | Nemesis::LeaderPause
            | Nemesis::LeaderTransfer
            | Nemesis::LeaderKill
            | Nemesis::Leader => anyhow::bail!("{} needs a cluster", nemesis.name()),
        };
        if !alive || look.catches(writer).await? {
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
            victim.addresses.send_replace(vec![new]);
            true
        }
        Err(error) => {
            writer.nemesis("no-restart", json!({"status": "observed", "why": format!("{error:#}")}));
            false
        }
    }
}
