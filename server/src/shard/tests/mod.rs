//! The shard as its users see it, over real files.

mod fence;
mod restart;
mod world;
