//! What workers print: each line becomes one event of target `worker`, so that filters can tell it from the node's own.

use lethe_runtime::host::LogLine;

/// Logs a line of `source` (a worker's or an actor's name).
pub(crate) fn print(source: &str, line: &LogLine) {
    let text = &line.text;
    match line.level {
        "debug" => tracing::debug!(target: "worker", "[{source}] {text}"),
        "warn" => tracing::warn!(target: "worker", "[{source}] {text}"),
        "error" | "exception" => tracing::error!(target: "worker", "[{source}] {text}"),
        _ => tracing::info!(target: "worker", "[{source}] {text}"),
    }
}
