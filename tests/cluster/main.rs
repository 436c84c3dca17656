//! Faults of a cluster: real `lethe serve` processes under load, broken from outside.
//!
//! Every test ends alike: all groups are healthy again, every counter is read through every node and holds all that was
//! acknowledged, and the digests of all replicas are equal.

mod bed;
mod clocks;
mod damage;
mod deploys;
mod disks;
mod effects;
mod kills;
mod members;
mod partitions;
mod pauses;
mod restarts;
mod sink;
mod snapshots;
mod standstill;
mod streams;
