//! Log lines of an actor, held until the writes they rest on are committed, like everything else it says.

use std::sync::Arc;

use lethe_runtime::host::LogLine;
use tokio::sync::mpsc;

use super::output_gate::{Mark, OutputGate};
use crate::journal;

/// Lines that may wait; more are dropped, and their number is logged.
const LINES_MAX: usize = 1_000;

/// Where an instance's lines go.
pub(super) struct Logs {
    lines: mpsc::Sender<(Mark, LogLine)>,
}

impl Logs {
    /// Takes lines until dropped; lines whose writes are lost are counted, not shown.
    pub fn start(gate: Arc<OutputGate>, source: String) -> Self {
        let (lines, mut queue) = mpsc::channel::<(Mark, LogLine)>(LINES_MAX);
        tokio::spawn(async move {
            let mut withheld = 0_u64;
            while let Some((mark, line)) = queue.recv().await {
                match gate.wait(mark).await {
                    Ok(()) => journal::print(&source, &line),
                    Err(_) => withheld += 1,
                }
            }
            if withheld > 0 {
                tracing::warn!(source, withheld, "log lines of work that was not committed are withheld");
            }
        });
        Self { lines }
    }

    /// Queues a line said at `mark`.
    pub fn push(&self, mark: Mark, line: LogLine) {
        if self.lines.try_send((mark, line)).is_err() {
            tracing::warn!(lines_max = LINES_MAX, "an actor logs faster than it commits: a line is dropped");
        }
    }
}
