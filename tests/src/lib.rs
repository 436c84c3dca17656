//! Black-box tests' hold on real servers: starts the `lethe` binary, alone or as a cluster, talks to it, and breaks it.
//!
//! ```text
//!   Cluster ── Node ── Process ── Place ─┬─ Network   a host of its own, links that can be cut
//!                                        └─ Disk      a file system of its own, power that can be cut, a brake
//! ```

mod bench;
mod brake;
mod clock;
mod cluster;
pub mod damage;
mod disk;
mod http;
mod load;
mod loopback;
mod network;
mod process;
mod project;
mod server;
mod space;
mod usage;

pub use bench::run_bench;
pub use clock::{Clock, now_ms, try_clock};
pub use cluster::{Cluster, HEALTHY_MAX, Node, PATIENCE, Setup, leaders};
pub use disk::{Disk, try_cut, try_slow};
pub use http::{Reply, get, open, send};
pub use load::{
    Attempt, Ledger, Load, NAMESPACE, Posts, Silence, counters, deploy_counters, name as counter_name, write_much,
};
pub use loopback::Loopback;
pub use network::{HOSTS_MAX, Network, try_network};
pub use process::{Place, Process, state};
pub use project::Project;
pub use server::{Options, Server, Signal, lethe, wait_for, wait_up_to};
pub use space::{Apart, Space, guarded, run};
pub use usage::{Usage, disk_bytes, disk_bytes_by_entry};

/// Whether this machine can do what a test needs, by trying it. If not, the test says so and shows nothing; where
/// `LETHE_TESTS_SKIP_NOTHING` is set, it fails.
pub fn can(what: &str, attempt: impl FnOnce() -> anyhow::Result<()>) -> bool {
    match attempt() {
        Ok(()) => true,
        Err(why) if std::env::var_os("LETHE_TESTS_SKIP_NOTHING").is_some() => {
            panic!("this machine must be able to {what}: {why:#}")
        }
        Err(why) => {
            eprintln!("skipped: this machine cannot {what}: {why:#}");
            false
        }
    }
}
