//! The `Cluster` service: decodes what an operator asks, hands it to `dyn Operator`, encodes what comes back.

use std::{future::Future, sync::Arc};

use futures::future::BoxFuture;
use lethe_proto::v1::{self, ErrorCode, cluster_server::Cluster};
use lethe_runtime::host::CallError;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::{
    entry::{bounded, entered},
    error::{refuse, status},
};

/// Longest way to say which node is meant, bytes.
const NODE_BYTES_MAX: usize = 256;

/// The cluster for operators; the node implements it over `cluster`.
pub trait Operator: Send + Sync + 'static {
    /// How the cluster is.
    fn status(&self) -> BoxFuture<'static, Result<v1::StatusResponse, CallError>>;

    /// Changes it; the answer is the id of the node that was meant.
    fn change(&self, change: Change) -> BoxFuture<'static, Result<String, CallError>>;
}

/// What an operator wants changed. `node` is an id, or a name that only one node has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// All leadership away from a node.
    Drain {
        /// Which node.
        node: String,
    },
    /// A drain taken back.
    Undrain {
        /// Which node.
        node: String,
    },
    /// A node out of the cluster for good.
    Remove {
        /// Which node.
        node: String,
    },
    /// The leadership of a group to a node.
    Transfer {
        /// Which group.
        group: u32,
        /// Which node.
        node: String,
    },
}

/// Serves `Cluster` over what the rooms below do.
#[derive(Clone)]
pub(super) struct Service {
    pub operator: Arc<dyn Operator>,
    /// Cancelled when the server no longer waits for calls under way.
    pub cut: CancellationToken,
}

#[tonic::async_trait]
impl Cluster for Service {
    async fn status(&self, request: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        self.run(&request, self.operator.status()).await.map(Response::new)
    }

    async fn drain(&self, request: Request<v1::DrainRequest>) -> Result<Response<v1::DrainResponse>, Status> {
        let node = named(&request.get_ref().node)?;
        let node = self.run(&request, self.operator.change(Change::Drain { node })).await?;
        Ok(Response::new(v1::DrainResponse { node }))
    }

    async fn undrain(&self, request: Request<v1::UndrainRequest>) -> Result<Response<v1::UndrainResponse>, Status> {
        let node = named(&request.get_ref().node)?;
        let node = self.run(&request, self.operator.change(Change::Undrain { node })).await?;
        Ok(Response::new(v1::UndrainResponse { node }))
    }

    async fn remove(&self, request: Request<v1::RemoveRequest>) -> Result<Response<v1::RemoveResponse>, Status> {
        let node = named(&request.get_ref().node)?;
        let node = self.run(&request, self.operator.change(Change::Remove { node })).await?;
        Ok(Response::new(v1::RemoveResponse { node }))
    }

    async fn transfer(&self, request: Request<v1::TransferRequest>) -> Result<Response<v1::TransferResponse>, Status> {
        let (group, node) = (request.get_ref().group, named(&request.get_ref().node)?);
        let node = self.run(&request, self.operator.change(Change::Transfer { group, node })).await?;
        Ok(Response::new(v1::TransferResponse { node }))
    }
}

impl Service {
    /// Runs work to its end, the request's deadline, or the end of the server.
    async fn run<R, T>(
        &self,
        request: &Request<R>,
        work: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, Status> {
        let deadline = entered(request)?.deadline;
        bounded(&self.cut, deadline, work).await?.map_err(|error| status(&error))
    }
}

fn named(node: &str) -> Result<String, Status> {
    match node.len() {
        1..=NODE_BYTES_MAX => Ok(node.to_owned()),
        0 => Err(refuse(ErrorCode::InvalidRequest, "the request names no node")),
        bytes => Err(refuse(ErrorCode::InvalidRequest, format!("a node's name has not {bytes} bytes"))),
    }
}
