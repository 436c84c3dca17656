//! Data keys, sealing and erasure: everything an actor stores passes through here before it reaches the log.
