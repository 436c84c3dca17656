//! How a node is told to stop: by Ctrl-C or SIGTERM. The first one asks for a clean stop, the second one for an end at once.

use std::future::Future;

use anyhow::{Result, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Hears of both signals from the moment it is made.
pub(super) struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    /// From now on the signals do not end the process by themselves.
    pub fn listen() -> Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Resolves when the next of them comes.
    pub async fn told(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Waits for a start; `None` if a signal came first, and then it goes no further.
    pub async fn unless_told<T>(&mut self, starting: impl Future<Output = Result<T>>) -> Result<Option<T>> {
        tokio::select! {
            started = starting => started.map(Some),
            () = self.told() => {
                tracing::info!("stopped before it served");
                Ok(None)
            }
        }
    }

    /// Waits for a clean stop; one more signal gives it up.
    pub async fn unless_told_again(&mut self, stopping: impl Future<Output = Result<()>>) -> Result<()> {
        tokio::select! {
            stopped = stopping => stopped,
            () = self.told() => bail!("told to stop again: stopped without waiting"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    /// One test, because signals are the whole process's.
    #[tokio::test]
    async fn either_signal_ends_a_start_or_a_stop_that_takes_long_and_no_other() {
        let mut stop = Stop::listen().unwrap();
        assert_eq!(stop.unless_told(async { Ok(7) }).await.unwrap(), Some(7));
        stop.unless_told_again(async { Ok(()) }).await.unwrap();
        for told in [Signal::INT, Signal::TERM] {
            kill_process(getpid(), told).unwrap();
            assert!(stop.unless_told(pending::<Result<()>>()).await.unwrap().is_none());
            kill_process(getpid(), told).unwrap();
            let given_up = stop.unless_told_again(pending()).await.unwrap_err();
            assert_eq!(given_up.to_string(), "told to stop again: stopped without waiting");
        }
    }
}
