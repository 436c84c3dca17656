//! Deploying a project to a cluster, and its versions.

use futures::stream;
use lethe_proto::v1::{self, deployments_client::DeploymentsClient};
use tonic::transport::Channel;

use crate::{Client, Error};

/// Bytes of a package sent at once.
const PART_BYTES: usize = 256 << 10;

/// A version of the cluster's worker.
pub type WorkerVersion = v1::WorkerVersion;

/// What a deploy did.
pub type Deployed = v1::DeployResponse;

/// The versions a cluster keeps.
pub type Versions = v1::ListVersionsResponse;

impl Client {
    /// Deploys a package. When this returns `Ok`, no node starts anything on older code any more.
    pub async fn deploy(&self, package: bytes::Bytes) -> Result<Deployed, Error> {
        let parts: Vec<_> =
            package.chunks(PART_BYTES).map(|part| v1::DeployRequest { part: package.slice_ref(part) }).collect();
        let request = self.request(stream::iter(parts));
        self.bounded(self.deployments().deploy(request)).await
    }

    /// Deploys a version that is still kept again.
    pub async fn roll_back(&self, version: &str) -> Result<Deployed, Error> {
        let request = self.request(v1::RollbackRequest { version: version.to_owned() });
        self.bounded(self.deployments().rollback(request)).await
    }

    /// The versions that are kept, the newest first.
    pub async fn versions(&self) -> Result<Versions, Error> {
        let request = self.request(v1::ListVersionsRequest {});
        self.bounded(self.deployments().list_versions(request)).await
    }

    fn deployments(&self) -> DeploymentsClient<Channel> {
        DeploymentsClient::new(self.route.channel())
    }
}
