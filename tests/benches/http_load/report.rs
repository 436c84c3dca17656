//! What is printed: the same numbers for people and as JSON.

use std::time::Duration;

use serde_json::{Value, json};

use super::args::Args;
use super::caller::Tally;

/// The result of a run, with its conditions.
pub struct Report<'a> {
    url: &'a str,
    args: &'a Args,
    elapsed: Duration,
    total: &'a Tally,
}

impl<'a> Report<'a> {
    pub fn new(url: &'a str, args: &'a Args, elapsed: Duration, total: &'a Tally) -> Self {
        Self { url, args, elapsed, total }
    }

    fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.elapsed.as_secs_f64()
    }

    fn errors(&self) -> u64 {
        self.total.errors.values().sum::<u64>() + self.total.statuses.values().sum::<u64>()
    }

    fn protocol(&self) -> String {
        match self.args.streams {
            0 if self.args.no_keep_alive => "HTTP/1.1, a connection per request".to_owned(),
            0 => "HTTP/1.1".to_owned(),
            streams => format!("HTTP/2, {streams} streams each"),
        }
    }

    pub fn json(&self) -> Value {
        let latencies = &self.total.latencies;
        json!({
            "url": self.url,
            "method": self.args.method,
            "connections": self.args.connections,
            "h2_streams": self.args.streams,
            "keep_alive": !self.args.no_keep_alive,
            "seconds": self.elapsed.as_secs_f64(),
            "requests": latencies.count(),
            "requests_per_second": self.per_second(latencies.count()),
            "body_bytes": self.total.body_bytes,
            "latency_us": {
                "p50": latencies.quantile_us(0.5),
                "p90": latencies.quantile_us(0.9),
                "p99": latencies.quantile_us(0.99),
                "p99_9": latencies.quantile_us(0.999),
                "max": latencies.max_us(),
            },
            "errors": self.errors(),
            "errors_by_kind": self.total.errors,
            "errors_by_status": self.total.statuses,
        })
    }

    pub fn text(&self) -> String {
        let latencies = &self.total.latencies;
        let ms = |us: u64| format!("{:.3} ms", us as f64 / 1000.0);
        let mut lines = vec![
            format!("{} {}", self.args.method, self.url),
            format!(
                "{} connections ({}), {:.1} s after {:.1} s of warm-up",
                self.args.connections,
                self.protocol(),
                self.elapsed.as_secs_f64(),
                self.args.warmup_seconds
            ),
            format!("requests   {:>12}   {:.0}/s", latencies.count(), self.per_second(latencies.count())),
            format!("bodies     {:>12} bytes", self.total.body_bytes),
            format!("p50        {:>15}", ms(latencies.quantile_us(0.5))),
            format!("p90        {:>15}", ms(latencies.quantile_us(0.9))),
            format!("p99        {:>15}", ms(latencies.quantile_us(0.99))),
            format!("p99.9      {:>15}", ms(latencies.quantile_us(0.999))),
            format!("max        {:>15}", ms(latencies.max_us())),
            format!("errors     {:>12}{}", self.errors(), self.total.first_error_text()),
        ];
        lines.extend(self.total.statuses.iter().map(|(status, count)| format!("  status {status}  {count}")));
        lines.extend(self.total.errors.iter().map(|(kind, count)| format!("  {kind}  {count}")));
        lines.join("\n") + "\n"
    }
}
