//! Why a counter was silent: what its callers saw, and what the nodes logged meanwhile.

use std::time::{Duration, Instant};

use lethe_tests::{Node, Silence, now_ms};

/// What nodes log so that a silence can be explained.
pub const FILTER: &str = "info,lethe_server::cluster::control=debug,lethe_server::actor::release=debug,\
    lethe_server::actor::activation=debug,lethe_server::store::wal=debug,lethe_server::shard::network=debug";
/// Log lines shown of a node.
const LINES_MAX: usize = 200;
/// What is logged before and after a silence belongs to it.
const MARGIN: Duration = Duration::from_millis(50);
/// Where a log line tells the time of day: after the date, to the millisecond.
const TIME_OF_DAY: std::ops::Range<usize> = 11..23;

/// Prints it.
pub fn explain(silence: &Silence, nodes: &[Node]) {
    let Some((began, ended)) = silence.when() else { return };
    let (from, to) = (time_of_day(began - MARGIN), time_of_day(ended + MARGIN));
    println!("from {} to {}\n{silence}", time_of_day(began), time_of_day(ended));
    for node in nodes {
        let log = node.log();
        let meanwhile = |line: &&str| line.get(TIME_OF_DAY).is_some_and(|at| *from <= *at && *at <= *to);
        let lines: Vec<&str> = log.lines().filter(meanwhile).collect();
        println!("{} logged {} lines:", node.name, lines.len());
        for line in lines.iter().take(LINES_MAX) {
            println!("  {}", line.get(TIME_OF_DAY.start..).unwrap_or_default());
        }
    }
}

/// `HH:MM:SS.mmm` in UTC, as log lines tell it.
fn time_of_day(at: Instant) -> String {
    let age = i64::try_from(at.elapsed().as_millis()).unwrap_or(0);
    let ms = (now_ms() - age).rem_euclid(86_400_000);
    let (s, ms) = (ms / 1000, ms % 1000);
    format!("{:02}:{:02}:{:02}.{ms:03}", s / 3600, s / 60 % 60, s % 60)
}
