//! Nodes over loopback sockets: what is delivered, to whom, and what the sender is told when it is not.

mod broken;
mod delivery;
mod files;
mod forged;
mod rig;
mod streams;
