//! HTTP(S) out: what a worker's `fetch` does, and which addresses it may reach.

pub(crate) mod hop;
