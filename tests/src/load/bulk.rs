//! Bulk: much data in few calls, where a disk is to be filled by what is written to actors.

use std::time::Duration;

use lethe_client::{Client, Error, Id};
use serde_json::json;

use super::NAMESPACE;
use crate::Node;

/// Values that one call writes, and their size: together what fits an entry of the log well.
const VALUES: usize = 16;
const VALUE_BYTES: usize = 100_000;
/// A call that takes longer has no answer.
const CALL_MAX: Duration = Duration::from_secs(20);

/// Has an actor of the project that [`super::counters`] gives, by its number, write 1.6 MB at once. The calls go through
/// this node.
pub async fn write_much(node: &Node, actor: usize) -> Result<(), Error> {
    let client = Client::connect(&node.grpc()).await?.with_deadline(CALL_MAX);
    let actor = client.actor(NAMESPACE, Id::name(format!("bulk-{actor}")));
    actor.call_json("fill", &json!([VALUES, VALUE_BYTES])).await.map(drop)
}
