//! The load program's histogram against exact numbers: a wrong one would make every measurement a lie.

mod histogram;

use std::time::Duration;

use histogram::Histogram;

/// The exact quantile of sorted values.
fn exact(sorted: &[u64], share: f64) -> u64 {
    sorted[((sorted.len() as f64 * share).ceil() as usize).max(1) - 1]
}

#[test]
fn quantiles_are_within_two_percent_of_the_exact_ones() {
    // From 0 µs to more than a minute, growing steadily; every value a little different.
    let mut values: Vec<u64> = (0..5000u64).map(|n| n + (1.0035f64.powi(n as i32)) as u64).collect();
    let (mut even, mut odd) = (Histogram::default(), Histogram::default());
    for (number, us) in values.iter().enumerate() {
        if number % 2 == 0 { &mut even } else { &mut odd }.record(Duration::from_micros(*us));
    }
    even.add(&odd);
    values.sort_unstable();
    assert_eq!((even.count(), even.max_us()), (5000, values[4999]));
    for share in [0.0, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0] {
        let (exact, found) = (exact(&values, share), even.quantile_us(share));
        assert!(found >= exact && found as f64 <= exact as f64 * 1.02 + 1.0, "{share}: {found} for {exact}");
    }
}

#[test]
fn the_longest_latency_has_a_place() {
    let mut histogram = Histogram::default();
    histogram.record(Duration::MAX);
    assert_eq!((histogram.count(), histogram.max_us()), (1, u64::MAX));
}

#[test]
fn nothing_recorded_is_all_zero() {
    let histogram = Histogram::default();
    assert_eq!((histogram.count(), histogram.max_us(), histogram.quantile_us(0.99)), (0, 0, 0));
}
