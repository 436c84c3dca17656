//! Command line.

use clap::Parser;

/// Closed-loop HTTP load generator.
#[derive(Parser, Debug)]
#[command(name = "http_load", about, max_term_width = 110)]
pub struct Args {
    /// What to ask for. `{n}` becomes the number of the request, `{c}` that of the connection. Without a URL an empty
    /// server in this process is measured, which is the most this program can see.
    pub url: Option<String>,
    /// Connections, each with one request under way.
    #[arg(short, long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub connections: u32,
    /// Seconds to measure.
    #[arg(short, long, default_value_t = 10.0, value_parser = positive)]
    pub seconds: f64,
    /// Seconds before that which do not count.
    #[arg(long, default_value_t = 1.0, value_parser = positive)]
    pub warmup_seconds: f64,
    /// HTTP/2 with prior knowledge, and this many requests under way on each connection. 0 is HTTP/1.1.
    #[arg(long = "h2-streams", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub streams: u32,
    /// Request method.
    #[arg(short = 'X', long, default_value = "GET")]
    pub method: String,
    /// Request header, `name: value`; may be repeated.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// Request body.
    #[arg(short, long, default_value = "")]
    pub data: String,
    /// A new connection for every request.
    #[arg(long, conflicts_with = "streams")]
    pub no_keep_alive: bool,
    /// A request that takes longer than this many seconds is an error.
    #[arg(long, default_value_t = 10.0, value_parser = positive)]
    pub timeout_seconds: f64,
    /// Threads of this program; all cores by default.
    #[arg(long, value_parser = threads)]
    pub threads: Option<usize>,
    /// One line of JSON on stdout.
    #[arg(long)]
    pub json: bool,
    /// What `cargo bench` adds by itself.
    #[arg(long, hide = true)]
    bench: bool,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= 86_400.0 => Ok(value),
        _ => Err("a number of seconds above 0 and up to a day is expected".into()),
    }
}

fn threads(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(value) if (1..=1024).contains(&value) => Ok(value),
        _ => Err("a number from 1 to 1024 is expected".into()),
    }
}
