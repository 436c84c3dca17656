//! Which configuration file a command is about.

use std::path::PathBuf;

use clap::Args;

use super::config::{self, Settings};

/// Which configuration file.
#[derive(Clone, Debug, Args)]
pub struct FileArgs {
    /// The node's configuration.
    #[arg(long, value_name = "FILE", default_value = "lethe.toml", env = "LETHE_CONFIG")]
    config: PathBuf,
}

impl FileArgs {
    /// Reads and checks it.
    pub fn settings(&self) -> Result<Settings, config::Error> {
        Settings::load(&self.config)
    }
}
