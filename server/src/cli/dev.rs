//! Arguments of `lethe dev`.

use std::{net::IpAddr, path::PathBuf};

use clap::Args;

const EXAMPLES: &str = "\
Examples:
  lethe dev                                    serve the project in this directory
  lethe dev examples/counter --port 8080       serve another project on another port
  lethe dev --data-dir ./state                 keep actors' data between runs
  lethe dev --tls-cert cert.pem --tls-key key.pem

Once it serves, one line with the addresses is printed on stdout; logs go to stderr.
Ctrl-C or SIGTERM finishes the requests in flight and exits with 0; a second one stops at once.";

/// Arguments of `lethe dev`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DevArgs {
    /// Directory of the project.
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// Port for HTTP; 0 takes a free one.
    #[arg(long, default_value_t = 8787)]
    pub port: u16,
    /// Port for gRPC; 0 takes a free one.
    #[arg(long, default_value_t = 7070, value_name = "PORT")]
    pub grpc_port: u16,
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    pub host: IpAddr,
    /// Directory for actors' data; without it they live in a temporary one that is removed at the end.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Don't reload when the project changes.
    #[arg(long)]
    pub no_watch: bool,
    /// Serve HTTPS with this certificate chain (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Print the ready line as JSON: {"worker", "http", "grpc"}.
    #[arg(long)]
    pub json: bool,
}
