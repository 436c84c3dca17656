//! The shard as its users see it, over real files.

mod faults;
mod fence;
mod golden;
mod power;
mod registry;
mod replay;
mod restart;
mod suite;
mod world;
