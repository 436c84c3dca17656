//! `Contacts`: what other nodes said of themselves, and whether they can be reached.
//!
//! A node is *reachable* while it was heard lately. It is *well* when it also was never lost, or has been back for long
//! enough; it is *unwell* from when it was silent for very long until it is well again. In between nothing is concluded.
//! A node that said it is not fresh any more was lost as well: it answers, but takes no requests.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use lethe_proto::NodeId;

use super::config::{Config, ms};
use super::map::Map;
use super::message::Report;
use super::record::State;

/// What is known of the other nodes.
#[derive(Default)]
pub(super) struct Contacts {
    nodes: BTreeMap<NodeId, Contact>,
    /// Nodes that were removed, and when this node first saw that.
    removed: BTreeMap<NodeId, Instant>,
}

struct Contact {
    report: Option<Report>,
    /// When it was last heard; at first when it became known.
    heard: Instant,
    /// Since when it says that it is fresh.
    fresh: Option<Instant>,
    /// It was fresh and is not any more.
    lapsed: bool,
    /// When it came back after it was lost.
    back: Option<Instant>,
    dead: bool,
}

impl Contacts {
    /// Keeps to the members of the map.
    pub fn follow(&mut self, map: &Map, me: NodeId, now: Instant) {
        let present: BTreeSet<NodeId> = map.present().filter(|node| *node != me).collect();
        self.nodes.retain(|node, _| present.contains(node));
        for node in map.nodes(State::Removed) {
            self.removed.entry(node).or_insert(now);
        }
        for node in present {
            self.nodes.entry(node).or_insert_with(|| Contact::new(now));
        }
    }

    /// A node said how it is.
    pub fn heard(&mut self, node: NodeId, report: Report, now: Instant, config: &Config) {
        let Some(contact) = self.nodes.get_mut(&node) else { return };
        if now.saturating_duration_since(contact.heard) > ms(config.silent_ms) {
            contact.back = Some(now);
        }
        match (report.fresh, contact.fresh) {
            (true, None) => {
                contact.fresh = Some(now);
                if std::mem::take(&mut contact.lapsed) {
                    contact.back = Some(now);
                }
            }
            (false, Some(_)) => (contact.fresh, contact.lapsed) = (None, true),
            (true, Some(_)) | (false, None) => {}
        }
        contact.heard = now;
        contact.report = Some(report);
    }

    /// Looks who has been silent for very long, or has been back for long enough.
    pub fn look(&mut self, now: Instant, config: &Config) {
        for contact in self.nodes.values_mut() {
            if now.saturating_duration_since(contact.heard) > ms(config.dead_ms) {
                contact.dead = true;
            } else if contact.reachable(now, config) && contact.recovered(now, config) {
                contact.dead = false;
            }
        }
    }

    /// Nodes that were heard lately.
    pub fn reachable(&self, now: Instant, config: &Config) -> BTreeSet<NodeId> {
        self.matching(|contact| contact.reachable(now, config))
    }

    /// Those of them that have been well for long enough to lead.
    pub fn well(&self, now: Instant, config: &Config) -> BTreeSet<NodeId> {
        self.matching(|contact| contact.reachable(now, config) && contact.recovered(now, config))
    }

    /// Those that can be reached and have been fresh for long enough to take groups from a node that is not.
    pub fn fresh(&self, now: Instant, config: &Config) -> BTreeSet<NodeId> {
        self.matching(|contact| {
            let since = contact.fresh.map(|since| now.saturating_duration_since(since));
            contact.reachable(now, config) && since.is_some_and(|since| since >= ms(config.resign_ms))
        })
    }

    /// Nodes that are not counted on.
    pub fn unwell(&self) -> BTreeSet<NodeId> {
        self.matching(|contact| contact.dead)
    }

    /// The last report of every node that was heard.
    pub fn reports(&self) -> BTreeMap<NodeId, Report> {
        self.nodes.iter().filter_map(|(node, contact)| Some((*node, contact.report.clone()?))).collect()
    }

    /// The last report of a node.
    pub fn report(&self, node: NodeId) -> Option<&Report> {
        self.nodes.get(&node)?.report.as_ref()
    }

    /// Nodes whose log cannot grow by what they said last, and how many bytes are left of it.
    pub fn full(&self) -> BTreeMap<NodeId, u64> {
        let full = |(node, contact): (&NodeId, &Contact)| Some((*node, contact.report.as_ref()?.full.as_ref()?.1));
        self.nodes.iter().filter_map(full).collect()
    }

    /// The node that says it leads a group, in the newest term.
    pub fn leader(&self, group: u32) -> Option<NodeId> {
        let reports = self.nodes.iter().filter_map(|(node, contact)| Some((*node, contact.report.as_ref()?)));
        let leads = reports.filter_map(|(node, report)| Some((report.group(group)?.lead.as_ref()?.term, node)));
        leads.max().map(|(_, node)| node)
    }

    /// Whether a node was removed so lately that its last lease, which is of length `lease`, may not be over.
    pub fn any_removed_within(&self, lease: Duration, now: Instant) -> bool {
        self.removed.values().any(|seen| now.saturating_duration_since(*seen) < lease)
    }

    /// Nodes that were heard lately and do not stop.
    pub fn able(&self, now: Instant, config: &Config) -> BTreeSet<NodeId> {
        let stops = |contact: &Contact| contact.report.as_ref().is_some_and(|report| report.stopping);
        self.matching(|contact| contact.reachable(now, config) && !stops(contact))
    }

    fn matching(&self, matches: impl Fn(&Contact) -> bool) -> BTreeSet<NodeId> {
        self.nodes.iter().filter(|(_, contact)| matches(contact)).map(|(node, _)| *node).collect()
    }
}

impl Contact {
    fn new(now: Instant) -> Self {
        Self { report: None, heard: now, fresh: None, lapsed: false, back: None, dead: false }
    }

    fn reachable(&self, now: Instant, config: &Config) -> bool {
        self.report.is_some() && now.saturating_duration_since(self.heard) <= ms(config.silent_ms)
    }

    fn recovered(&self, now: Instant, config: &Config) -> bool {
        self.back.is_none_or(|back| now.saturating_duration_since(back) >= ms(config.recovered_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests::world::{founded, set};

    #[test]
    fn a_node_that_was_lost_leads_again_only_when_it_has_been_back_for_long_enough() {
        let config = Config::default();
        let (me, other, start) = (NodeId::from(1), NodeId::from(2), Instant::now());
        let at = |millis| start + ms(millis);
        let mut map = founded(1, 3);
        set(&mut map, 2, State::Active);
        let mut contacts = Contacts::default();
        contacts.follow(&map, me, start);
        let look = |contacts: &mut Contacts, now, hears: bool| {
            if hears {
                contacts.heard(other, Report::default(), now, &config);
            }
            contacts.look(now, &config);
            let has = |nodes: BTreeSet<NodeId>| nodes.contains(&other);
            (has(contacts.reachable(now, &config)), has(contacts.well(now, &config)), has(contacts.unwell()))
        };
        let seen = [
            look(&mut contacts, at(0), false),
            look(&mut contacts, at(1), true),
            look(&mut contacts, at(3_001), false),
            look(&mut contacts, at(3_002), false),
            look(&mut contacts, at(60_001), false),
            look(&mut contacts, at(60_002), false),
            look(&mut contacts, at(61_000), true),
            look(&mut contacts, at(63_000), true),
            look(&mut contacts, at(66_000), true),
            look(&mut contacts, at(69_000), true),
            look(&mut contacts, at(71_000), true),
        ];
        let (never, fine, lost, dead, back) = (
            (false, false, false),
            (true, true, false),
            (false, false, false),
            (false, false, true),
            (true, false, true),
        );
        assert_eq!(seen, [never, fine, fine, lost, lost, dead, back, back, back, back, fine]);
    }

    #[test]
    fn a_node_that_was_not_fresh_takes_groups_of_stale_ones_after_a_moment_and_leads_its_own_after_a_long_one() {
        let config = Config { resign_ms: 1_000, recovered_ms: 10_000, ..Config::default() };
        let (me, other, start) = (NodeId::from(1), NodeId::from(2), Instant::now());
        let mut map = founded(1, 3);
        set(&mut map, 2, State::Active);
        let mut contacts = Contacts::default();
        contacts.follow(&map, me, start);
        let mut look = |at_ms, fresh| {
            let now = start + ms(at_ms);
            contacts.heard(other, Report { fresh, ..Report::default() }, now, &config);
            (contacts.fresh(now, &config).contains(&other), contacts.well(now, &config).contains(&other))
        };
        // It starts: it was never lost.
        assert_eq!(look(0, false), (false, true));
        assert_eq!(
            [look(1_000, true), look(1_999, true), look(2_000, true)],
            [(false, true), (false, true), (true, true)]
        );
        // It lapses, and is back.
        assert!(!look(3_000, false).0);
        let back = [4_000, 4_999, 5_000, 7_000, 10_000, 13_000, 13_999, 14_000].map(|at_ms| look(at_ms, true));
        let (moment, long) = ((false, false), (true, false));
        assert_eq!(back, [moment, moment, long, long, long, long, long, (true, true)]);
    }
}
