//! The gateway over real sockets: raw bytes where the wire matters, a hyper client where it does not.

mod http1;
mod lifecycle;
mod rig;
