//! The gateway over real sockets: raw bytes where the wire matters, a hyper client where it does not.

mod access;
mod bounds;
mod hostile;
mod http1;
mod http2;
mod lifecycle;
mod outward;
mod rig;
mod streaming;
mod tls;
