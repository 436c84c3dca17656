//! Egress against servers on loopback: what is refused, and what a fetch carries both ways.

mod exchange;
mod refusal;
mod rig;
