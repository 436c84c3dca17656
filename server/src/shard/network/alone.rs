//! `Alone`: the way to other nodes of a node that has none.

use std::future::ready;
use std::time::Instant;

use bytes::Bytes;
use futures::{future::BoxFuture, stream::BoxStream};
use lethe_proto::NodeId;

use crate::peer::{Answers, Error, Head, Transport};

/// Reaches nobody.
pub struct Alone;

impl Transport for Alone {
    fn call(&self, _: NodeId, _: Head, _: Bytes, _: Instant) -> BoxFuture<'static, Result<Bytes, Error>> {
        Box::pin(ready(Err(alone())))
    }

    fn stream(
        &self,
        _: NodeId,
        _: Head,
        _: BoxStream<'static, Bytes>,
    ) -> BoxFuture<'static, Result<Answers<Error>, Error>> {
        Box::pin(ready(Err(alone())))
    }
}

fn alone() -> Error {
    Error::Unreachable("this node is alone".to_owned())
}
