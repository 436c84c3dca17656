//! Arguments of `lethe serve`.

use clap::Args;

use super::{config, file::FileArgs};

const EXAMPLES: &str = "\
Examples:
  lethe serve --config lethe.toml                   run a node made by `lethe cluster init` or `join`
  lethe serve --config lethe.toml --print-config    print the effective configuration and exit

Once the node serves, one line with its addresses is printed on stdout; logs go to stderr. Ctrl-C
or SIGTERM hands leadership over, finishes what is under way and exits with 0; a second one stops
at once.";

/// Arguments of `lethe serve`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{}", config::help()))]
pub struct ServeArgs {
    /// Which configuration.
    #[command(flatten)]
    pub file: FileArgs,
    /// Print the ready line as JSON: {"node", "http", "grpc", "peer"}.
    #[arg(long)]
    pub json: bool,
    /// Print the effective configuration, which is a valid file, and exit.
    #[arg(long)]
    pub print_config: bool,
}
