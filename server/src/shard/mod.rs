//! Raft groups: propose, apply, read index, leadership, snapshots. Only this room names openraft.
