//! How commands reach a node that runs: over gRPC.

use std::time::Duration;

use clap::Args;
use lethe_client::Client;

/// Where a node is, and how to print what it says.
#[derive(Debug, Args)]
pub(super) struct ApiArgs {
    /// gRPC address of any node.
    #[arg(
        long,
        alias = "endpoint",
        default_value = "http://127.0.0.1:7070",
        value_name = "URL",
        env = "LETHE_ENDPOINT"
    )]
    api: String,
    /// Print JSON, errors (on stderr) included.
    #[arg(long)]
    pub json: bool,
}

impl ApiArgs {
    /// Connects; each request then has so much time.
    pub async fn connect(&self, within: Duration) -> Result<Client, lethe_client::Error> {
        Ok(Client::connect(&self.api).await?.with_deadline(within))
    }
}
