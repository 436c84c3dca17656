//! Workloads: what clients ask while things break.

mod register;
mod schedule;

pub use register::{Clients, final_reads, work};
pub use schedule::Schedule;
