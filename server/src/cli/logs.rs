//! Logging to stderr: what is let through, and in which form.

use std::io::IsTerminal;

use anyhow::Context;
use clap::{Args, ValueEnum};
use tracing_subscriber::{EnvFilter, fmt, prelude::*};

/// openraft warns of what is usual when a leader is elected; its errors are shown.
const DEFAULT_FILTER: &str = "info,openraft=error";

/// Form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How to log.
#[derive(Clone, Debug, Args)]
pub struct LogArgs {
    /// Which log lines to show: a level, or targets with levels like "warn,lethe_server::gateway=debug".
    #[arg(
        long,
        global = true,
        help_heading = "Logging",
        default_value = DEFAULT_FILTER,
        value_name = "FILTER",
        env = "LETHE_LOG"
    )]
    pub log: String,
    /// Form of log lines on stderr.
    #[arg(long, global = true, help_heading = "Logging", default_value = "text", value_name = "FORMAT")]
    pub log_format: LogFormat,
}

impl LogArgs {
    /// Starts logging for the whole process.
    pub(super) fn init(&self) -> anyhow::Result<()> {
        let filter = EnvFilter::try_new(&self.log).with_context(|| format!("--log {:?} is not a filter", self.log))?;
        let registry = tracing_subscriber::registry().with(filter);
        let done = match self.log_format {
            LogFormat::Text => registry
                .with(fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr))
                .try_init(),
            LogFormat::Json => registry.with(fmt::layer().json().with_writer(std::io::stderr)).try_init(),
        };
        done.context("cannot start logging")
    }
}
