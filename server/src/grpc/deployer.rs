//! The `Deployments` service: gathers a package, hands it to `deploy`, encodes what comes back.

use bytes::BytesMut;
use lethe_proto::v1::{self, ErrorCode, deployments_server::Deployments};
use lethe_runtime::host::{CallErrorKind, Outcome};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use super::{
    entry::{bounded, entered},
    error::{ended, refuse},
};
use crate::deploy::{Manifest, PACKAGE_BYTES_MAX, ReleaseError, Released, Releases};

/// Serves `Deployments`.
#[derive(Clone)]
pub(super) struct Service {
    /// None where a node has its project from a directory.
    pub releases: Option<Releases>,
    /// Cancelled when the server no longer waits for calls under way.
    pub cut: CancellationToken,
}

#[tonic::async_trait]
impl Deployments for Service {
    async fn deploy(
        &self,
        request: Request<Streaming<v1::DeployRequest>>,
    ) -> Result<Response<v1::DeployResponse>, Status> {
        let releases = self.releases()?;
        let entered = entered(&request)?;
        let work = async move {
            let mut parts = request.into_inner();
            let mut package = BytesMut::new();
            while let Some(message) = parts.message().await? {
                if package.len() + message.part.len() > PACKAGE_BYTES_MAX {
                    let text = format!("the project is larger than {PACKAGE_BYTES_MAX} bytes");
                    return Err(refuse(ErrorCode::InvalidRequest, text));
                }
                package.extend_from_slice(&message.part);
            }
            releases.deploy(package.freeze()).await.map_err(|error| status(&error))
        };
        bounded(&self.cut, entered.deadline, work).await?.map(response)
    }

    async fn rollback(&self, request: Request<v1::RollbackRequest>) -> Result<Response<v1::DeployResponse>, Status> {
        let releases = self.releases()?;
        let deadline = entered(&request)?.deadline;
        let text = request.into_inner().version;
        let id: Uuid =
            text.parse().map_err(|_| refuse(ErrorCode::InvalidRequest, format!("{text:?} is no version")))?;
        let released = bounded(&self.cut, deadline, releases.roll_back(id)).await?;
        released.map(response).map_err(|error| status(&error))
    }

    async fn list_versions(
        &self,
        request: Request<v1::ListVersionsRequest>,
    ) -> Result<Response<v1::ListVersionsResponse>, Status> {
        let releases = self.releases()?;
        let listed = bounded(&self.cut, entered(&request)?.deadline, releases.list()).await?;
        let (current, versions) = listed.map_err(|error| status(&error))?;
        let current = current.map(|id| id.to_string()).unwrap_or_default();
        let versions = versions.into_iter().map(version).collect();
        Ok(Response::new(v1::ListVersionsResponse { versions, current }))
    }
}

impl Service {
    fn releases(&self) -> Result<Releases, Status> {
        let text = "this node serves the project of a directory; what changes there is deployed by itself";
        self.releases.clone().ok_or_else(|| refuse(ErrorCode::InvalidRequest, text))
    }
}

fn response(released: Released) -> Response<v1::DeployResponse> {
    let Released { manifest, revision, warnings } = released;
    Response::new(v1::DeployResponse { version: Some(version(manifest)), revision, warnings })
}

fn version(manifest: Manifest) -> v1::WorkerVersion {
    let Manifest { id, name, digest, bytes, created_at_ms, namespaces, .. } = manifest;
    let namespaces = namespaces.into_keys().collect();
    v1::WorkerVersion { id: id.to_string(), name, digest, bytes, created_at_ms, namespaces }
}

fn status(error: &ReleaseError) -> Status {
    let text = error.to_string();
    match error {
        ReleaseError::Build(_) | ReleaseError::Contradiction(_) | ReleaseError::NoSuchVersion(_) => {
            refuse(ErrorCode::InvalidRequest, text)
        }
        ReleaseError::Race | ReleaseError::Unavailable(_) => {
            ended(CallErrorKind::Unavailable, Outcome::NotDone, "Unavailable", &text)
        }
        ReleaseError::Unknown(_) => ended(CallErrorKind::Unavailable, Outcome::Unknown, "Unavailable", &text),
    }
}
