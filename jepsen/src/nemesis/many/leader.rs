//! Faults of the node that leads the group of an actor in use, while clients go on calling it.
//!
//! ```text
//! keep an actor ─> who leads its group? ─> clients in position ─> fault ─> another node leads ─> it answers a change
//!                                                                                                     │ installed
//!                                       let the actor go <─ witnesses have asked the victim <─ mend <─┘
//! ```

use std::{sync::atomic::Ordering, time::Duration};

use anyhow::Context;
use lethe_client::{ClusterStatus, Id};
use rand::{RngExt, rngs::StdRng};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{CHANGED_MAX, Incident, Nemesis, Nodes, Writer, insist, member};
use crate::aim::{Actors, Sights, Stage, Tally, holds, reaches};

/// Answers through the victim before it is hit: what it has in memory is then in use.
const ANSWERED_BEFORE: u64 = 6;
/// Reads that a victim is asked for after it was overtaken: before some cuts end, and after every fault.
const WITNESSED: u64 = 8;
/// Clients come into position within this time, or the leader has moved meanwhile.
const POSITION_MAX: Duration = Duration::from_secs(20);
/// So many wait for a victim that goes on after a pause.
const ASKED_AFTER: u64 = 2;
/// Within this time they have asked; if not, it goes on all the same.
const ASKED_MAX: Duration = Duration::from_secs(5);
/// Witnesses are waited for so long: a victim that is as it should be lets them wait until their calls end.
const WITNESSED_MAX: Duration = Duration::from_secs(8);
/// A node that is asked for the cluster's status answers within this time, or another one is asked.
const STATUS_MAX: Duration = Duration::from_millis(500);
/// So often the leader may move while clients come into position.
const ATTEMPTS: usize = 20;

/// Whose leaders are aimed at.
pub struct Hunt<'a> {
    /// What clients look through.
    pub sights: &'a Sights,
    /// The actors that they use.
    pub actors: &'a dyn Actors,
    /// The actors' namespace.
    pub namespace: String,
    /// Teams that use an actor each.
    pub teams: usize,
}

/// The leader of an actor, and what clients see of it.
struct Mark<'a> {
    sights: &'a Sights,
    actor: &'a str,
    group: u32,
    /// Number of the node.
    victim: usize,
    /// Nobody writes there any more.
    quiet: bool,
    tally: &'a Tally,
}

impl Nodes {
    /// Hits the leader of an actor, until another leader has answered a change of that actor.
    pub(super) async fn at_leader(
        &mut self,
        fault: Nemesis,
        hunt: &Hunt<'_>,
        writer: &Writer,
        rng: &mut StdRng,
    ) -> anyhow::Result<Option<Incident>> {
        let team = rng.random_range(0..hunt.teams);
        let actor = hunt.actors.keep(team);
        let hit = self.hit(fault, hunt, (team, &actor), writer, rng).await;
        hunt.sights.lower();
        hunt.actors.let_go(team);
        hit
    }

    async fn hit(
        &mut self,
        fault: Nemesis,
        hunt: &Hunt<'_>,
        (team, actor): (usize, &str),
        writer: &Writer,
        rng: &mut StdRng,
    ) -> anyhow::Result<Option<Incident>> {
        // In turns: each shows what the other hides.
        self.quiet = !self.quiet;
        let quiet = self.quiet;
        for _ in 0..ATTEMPTS {
            let Some((group, victim)) = self.leader_of(&hunt.namespace, actor).await else {
                return Ok(Some(("not-healed", format!("who leads the group of {actor}? {CHANGED_MAX:?} are over"))));
            };
            let place = self.members.iter().position(|number| *number == victim).context("the leader is a member")?;
            let still = quiet && fault == Nemesis::LeaderPause;
            let tally = hunt.sights.raise(team, actor, place, quiet, still);
            if !reaches(&tally.at_victim, ANSWERED_BEFORE, POSITION_MAX).await {
                continue;
            }
            hunt.sights.stage(Stage::Hold);
            let idle = || tally.busy.load(Ordering::SeqCst) == 0;
            if !holds(idle, POSITION_MAX).await || self.led_by(group, &[]).await != Some(victim) {
                continue;
            }
            let mark = Mark { sights: hunt.sights, actor, group, victim, quiet, tally: &tally };
            return match fault {
                Nemesis::LeaderCut => self.cut_leader(&mark, writer, rng).await,
                Nemesis::LeaderPause => self.pause_leader(&mark, writer).await,
                Nemesis::LeaderTransfer => self.transfer_leader(&mark, writer, rng).await,
                _ => self.kill_leader(&mark, writer).await,
            };
        }
        let evidence = json!({"status": "skipped", "actor": actor, "why": "its leader moved all the time"});
        writer.nemesis(fault.name(), evidence);
        Ok(None)
    }

    /// The group of an actor, and the number of the node that leads it. The actor comes to be with the first call of a
    /// client.
    async fn leader_of(&self, namespace: &str, actor: &str) -> Option<(u32, usize)> {
        let ask = async || {
            for number in &self.members {
                let Ok(client) = self.cluster.client(*number).await else { continue };
                let client = client.with_deadline(STATUS_MAX);
                let Ok(info) = client.actor(namespace, Id::name(actor)).show().await else { continue };
                if let Some(leader) = self.led_by(info.group, &[]).await {
                    return Ok((info.group, leader));
                }
            }
            Err(())
        };
        insist(ask).await
    }

    /// The number of the node that leads a group, as those say that are not left out. Those left out do not lead.
    async fn led_by(&self, group: u32, left_out: &[usize]) -> Option<usize> {
        for number in self.members.iter().filter(|number| !left_out.contains(number)) {
            let asked = timeout(STATUS_MAX, async {
                let client = self.cluster.client(*number).await.ok()?;
                client.cluster_status().await.ok()
            });
            let Ok(Some(status)) = asked.await else { continue };
            let leader = self.leader_in(&status, group).filter(|leader| !left_out.contains(leader));
            if leader.is_some() {
                return leader;
            }
        }
        None
    }

    fn leader_in(&self, status: &ClusterStatus, group: u32) -> Option<usize> {
        let id = status.groups.iter().find(|found| found.id == group)?.leader.as_ref()?;
        let leads = |number: &&usize| {
            let name = &self.cluster.nodes()[**number].name;
            member(status, name).is_some_and(|node| node.id == *id)
        };
        self.members.iter().find(leads).copied()
    }

    fn others(&self, victim: usize) -> Vec<usize> {
        self.members.iter().copied().filter(|number| *number != victim).collect()
    }

    /// Waits until another node leads and has answered a change, and writes down that the fault is installed.
    async fn overtaken(
        &mut self,
        fault: Nemesis,
        mark: &Mark<'_>,
        writer: &Writer,
        mut evidence: Value,
    ) -> anyhow::Result<Option<Incident>> {
        let victim = self.names(&[mark.victim]).remove(0);
        let incident = |what: &str| {
            let (name, actor, group) = (fault.name(), mark.actor, mark.group);
            let why = format!("{what} within {CHANGED_MAX:?}: {name} of {victim}, which led group {group} of {actor}");
            Ok(Some(("no-answers", why)))
        };
        let lead = async || self.led_by(mark.group, &[mark.victim]).await.ok_or(());
        let Some(leader) = insist(lead).await else { return incident("nobody else led") };
        mark.sights.stage(Stage::Overtake);
        if !reaches(&mark.tally.overtaken, 1, CHANGED_MAX).await {
            return incident("the new leader answered no change");
        }
        evidence["status"] = json!("installed");
        evidence["quiet"] = json!(mark.quiet);
        evidence["actor"] = json!(mark.actor);
        evidence["group"] = json!(mark.group);
        evidence["node"] = json!(victim);
        evidence["leader"] = json!(self.names(&[leader])[0]);
        writer.nemesis(fault.name(), evidence);
        Ok(None)
    }

    async fn cut_leader(
        &mut self,
        mark: &Mark<'_>,
        writer: &Writer,
        rng: &mut StdRng,
    ) -> anyhow::Result<Option<Incident>> {
        let (victim, others, network) = (mark.victim, self.others(mark.victim), self.cluster.network());
        // One that is heard, or hears, soon learns that it is deposed. Reads are stale for longest where it is alone.
        let shape = match rng.random_range(0..if mark.quiet { 8 } else { 4 }) {
            0 => others.iter().try_for_each(|to| network.cut(victim, *to)).map(|()| "the leader is not heard")?,
            1 => others.iter().try_for_each(|from| network.cut(*from, victim)).map(|()| "the leader hears nobody")?,
            _ => network.part(&[victim], &others).map(|()| "the leader is alone")?,
        };
        writer.nemesis("leader-cut", json!({"status": "begun", "shape": shape}));
        let incident = self.overtaken(Nemesis::LeaderCut, mark, writer, json!({"shape": shape})).await?;
        // Half of the cuts end at once: what the victim was asked and has not answered then meets the truth.
        if incident.is_none() && rng.random_bool(0.5) {
            witnessed(mark).await;
        }
        self.heal(writer)?;
        if incident.is_none() {
            witnessed(mark).await;
        }
        Ok(incident)
    }

    async fn pause_leader(&mut self, mark: &Mark<'_>, writer: &Writer) -> anyhow::Result<Option<Incident>> {
        self.cluster.node(mark.victim).pause().await?;
        writer.nemesis("leader-pause", json!({"status": "begun"}));
        let incident = self.overtaken(Nemesis::LeaderPause, mark, writer, json!({})).await?;
        if incident.is_none() {
            reaches(&mark.tally.asked, ASKED_AFTER, ASKED_MAX).await;
        }
        self.cluster.node(mark.victim).resume()?;
        writer.nemesis("resume", json!({"status": "done"}));
        if incident.is_none() {
            witnessed(mark).await;
        }
        Ok(incident)
    }

    /// Hands the group over to another node, and back.
    async fn transfer_leader(
        &mut self,
        mark: &Mark<'_>,
        writer: &Writer,
        rng: &mut StdRng,
    ) -> anyhow::Result<Option<Incident>> {
        let others = self.others(mark.victim);
        let there = self.names(&[others[rng.random_range(0..others.len())]]).remove(0);
        let back = self.names(&[mark.victim]).remove(0);
        let client = self.cluster.client(mark.victim).await?;
        if let Err(error) = client.transfer_group(mark.group, &there).await {
            // A node that lags, or was lately away, may not lead.
            let evidence = json!({"status": "refused", "group": mark.group, "to": there, "why": error.to_string()});
            writer.nemesis("leader-transfer", evidence);
            return Ok(None);
        }
        let incident = self.overtaken(Nemesis::LeaderTransfer, mark, writer, json!({"to": there})).await?;
        if incident.is_some() {
            return Ok(incident);
        }
        witnessed(mark).await;
        let status = match client.transfer_group(mark.group, &back).await {
            Ok(_) => "done",
            Err(_) => "refused",
        };
        writer.nemesis("transfer-back", json!({"status": status, "group": mark.group, "to": back}));
        witnessed(mark).await;
        Ok(None)
    }

    async fn kill_leader(&mut self, mark: &Mark<'_>, writer: &Writer) -> anyhow::Result<Option<Incident>> {
        if let Err(error) = self.cluster.node(mark.victim).kill().await {
            return Ok(Some(("server-died", format!("{error:#}"))));
        }
        writer.nemesis("leader-kill", json!({"status": "begun", "signal": 9}));
        let incident = self.overtaken(Nemesis::LeaderKill, mark, writer, json!({})).await?;
        self.cluster.node(mark.victim).launch()?;
        let incident = incident.or(self.ready(&[mark.victim], writer).await?);
        if incident.is_none() {
            witnessed(mark).await;
        }
        Ok(incident)
    }
}

/// Waits until witnesses have asked the victim some more.
async fn witnessed(mark: &Mark<'_>) {
    let so_far = mark.tally.witnessed.load(Ordering::SeqCst);
    reaches(&mark.tally.witnessed, so_far + WITNESSED, WITNESSED_MAX).await;
}
