//! Why a counter was silent: what its callers saw, and what the nodes logged meanwhile.

use std::time::{Duration, Instant};

use lethe_tests::{Node, Silence, now_ms};

/// What nodes log so that a silence can be explained. openraft says much, and not of which group.
pub const FILTER: &str = "info,openraft=error,lethe_server::cluster::control=debug,lethe_server::actor::release=debug,\
    lethe_server::actor::activation=debug,lethe_server::routing=debug,lethe_server::store::wal=debug,\
    lethe_server::shard::network=debug,lethe_server::shard::replica=debug,lethe_server::peer=debug";
/// Log lines shown of a node, besides those about the silent group.
const OTHERS_MAX: usize = 60;
/// Of what is about the silent group.
const LINES_MAX: usize = 200;
/// What is logged before and after a silence belongs to it.
const MARGIN: Duration = Duration::from_millis(50);
/// Where a log line tells the time of day: after the date, to the millisecond.
const TIME_OF_DAY: std::ops::Range<usize> = 11..23;

/// Prints it. `group` is the one that the silent counter belongs to.
pub fn explain(silence: &Silence, group: u32, nodes: &[Node]) {
    let Some((began, ended)) = silence.when() else { return };
    let (from, to) = (time_of_day(began - MARGIN), time_of_day(ended + MARGIN));
    println!("group {group}, from {} to {}\n{silence}", time_of_day(began), time_of_day(ended));
    for node in nodes {
        let log = node.log();
        let meanwhile = |line: &&str| line.get(TIME_OF_DAY).is_some_and(|at| *from <= *at && *at <= *to);
        let (about, others): (Vec<&str>, Vec<&str>) =
            log.lines().filter(meanwhile).partition(|line| is_about(line, group));
        println!("{} logged {} lines about the group, and {} others:", node.name, about.len(), others.len());
        let mut shown: Vec<&str> = about.into_iter().take(LINES_MAX).collect();
        // What was going on when it ended says more than what did before it began.
        shown.extend(others.iter().rev().filter(|line| !is_about_a_group(line)).take(OTHERS_MAX));
        shown.sort_unstable();
        for line in shown {
            println!("  {}", line.get(TIME_OF_DAY.start..).unwrap_or_default());
        }
    }
}

/// Whether a log line names this group.
fn is_about(line: &str, group: u32) -> bool {
    [format!("group={group} "), format!("group: {group},"), format!("group: {group} ")]
        .iter()
        .any(|it| line.contains(it))
        || line.ends_with(&format!("group={group}"))
}

fn is_about_a_group(line: &str) -> bool {
    line.contains("group=") || line.contains("group: ")
}

/// `HH:MM:SS.mmm` in UTC, as log lines tell it.
fn time_of_day(at: Instant) -> String {
    let age = i64::try_from(at.elapsed().as_millis()).unwrap_or(0);
    let ms = (now_ms() - age).rem_euclid(86_400_000);
    let (s, ms) = (ms / 1000, ms % 1000);
    format!("{:02}:{:02}:{:02}.{ms:03}", s / 3600, s / 60 % 60, s % 60)
}
