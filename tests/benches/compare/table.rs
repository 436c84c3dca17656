//! The table of results, and how systems stand to each other.

use std::collections::BTreeMap;

use crate::round::Seen;

/// What Lethe does is compared with what others do for the same purpose.
const PAIRS: [(&str, &str, &str, &str); 4] = [
    ("lethe", "put", "etcd", "put"),
    ("lethe", "add", "etcd", "put"),
    ("lethe", "get", "etcd", "get"),
    ("lethe", "http add", "restate", "http add"),
];

/// All rounds so far.
#[derive(Default)]
pub struct Table {
    /// Calls a second and p99 in µs of each round, by system, operation and callers.
    rounds: BTreeMap<(String, String, u16), Vec<(f64, u64)>>,
}

impl Table {
    pub fn head() {
        println!(
            "{:<16} {:<9} {:>8} {:>10} {:>10} {:>10} {:>10} {:>10} {:>8}",
            "system", "call", "callers", "calls/s", "p50 ms", "p99 ms", "max ms", "CPU us", "errors"
        );
    }

    pub fn row(&mut self, system: &str, operation: &str, callers: u16, seen: &Seen) {
        let ms = |us: u64| us as f64 / 1000.0;
        let latencies = &seen.latencies;
        let per_second = latencies.count() as f64 / seen.elapsed.as_secs_f64();
        println!(
            "{system:<16} {operation:<9} {callers:>8} {per_second:>10.0} {:>10.2} {:>10.2} {:>10.2} {:>10.0} {:>8}",
            ms(latencies.quantile_us(0.5)),
            ms(latencies.quantile_us(0.99)),
            ms(latencies.max_us()),
            seen.cpu.as_micros() as f64 / latencies.count().max(1) as f64,
            seen.errors.values().sum::<u64>(),
        );
        for (error, count) in seen.errors.iter().take(3) {
            println!("         {count} x {error}");
        }
        let name = system.split(' ').next().unwrap_or(system).to_owned();
        let rounds = self.rounds.entry((name, operation.to_owned(), callers)).or_default();
        rounds.push((per_second, latencies.quantile_us(0.99)));
    }

    /// Prints Lethe's throughput and p99 in terms of the others', over the medians of all rounds.
    pub fn ratios(&self) {
        for (ours, our_call, theirs, their_call) in PAIRS {
            for ((system, call, callers), rounds) in &self.rounds {
                if (system.as_str(), call.as_str()) != (ours, our_call) {
                    continue;
                }
                let other = (theirs.to_owned(), their_call.to_owned(), *callers);
                let Some(others) = self.rounds.get(&other) else { continue };
                let (throughput, p99) = median(rounds);
                let (their_throughput, their_p99) = median(others);
                println!(
                    "{ours} {our_call} : {theirs} {their_call}, {callers} callers: {:.2} of the throughput, {:.2} of the p99",
                    throughput / their_throughput,
                    p99 / their_p99
                );
            }
        }
    }
}

fn median(rounds: &[(f64, u64)]) -> (f64, f64) {
    let middle = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    (
        middle(rounds.iter().map(|(per_second, _)| *per_second).collect()),
        middle(rounds.iter().map(|(_, p99)| *p99 as f64).collect()),
    )
}
