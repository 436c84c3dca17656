//! The cluster as operators see it: its status, and changes of who does what.

use lethe_proto::v1::{self, cluster_client::ClusterClient};
use tonic::transport::Channel;

use crate::{Client, ClusterStatus, Error};

/// Largest status taken from a node, bytes: 512 groups with 7 replicas each are a tenth of it.
const STATUS_BYTES_MAX: usize = 8 << 20;

/// `node` is an id, or a name that only one node has. What is changed is decided when the call returns, and done later:
/// [`Client::cluster_status`] tells.
impl Client {
    /// How the cluster is, as the node this client is connected to sees it.
    pub async fn cluster_status(&self) -> Result<ClusterStatus, Error> {
        let request = self.request(v1::StatusRequest {});
        self.bounded(self.cluster().status(request)).await
    }

    /// Moves all leadership away from a node, and keeps it away. Returns the node's id.
    pub async fn drain_node(&self, node: &str) -> Result<String, Error> {
        let request = self.request(v1::DrainRequest { node: node.to_owned() });
        Ok(self.bounded(self.cluster().drain(request)).await?.node)
    }

    /// Takes a drain back. Returns the node's id.
    pub async fn undrain_node(&self, node: &str) -> Result<String, Error> {
        let request = self.request(v1::UndrainRequest { node: node.to_owned() });
        Ok(self.bounded(self.cluster().undrain(request)).await?.node)
    }

    /// Takes a node, live or dead, out of the cluster for good. Returns its id.
    pub async fn remove_node(&self, node: &str) -> Result<String, Error> {
        let request = self.request(v1::RemoveRequest { node: node.to_owned() });
        Ok(self.bounded(self.cluster().remove(request)).await?.node)
    }

    /// Hands the leadership of a group to a node. Returns the node's id when it leads.
    pub async fn transfer_group(&self, group: u32, node: &str) -> Result<String, Error> {
        let request = self.request(v1::TransferRequest { group, node: node.to_owned() });
        Ok(self.bounded(self.cluster().transfer(request)).await?.node)
    }

    fn cluster(&self) -> ClusterClient<Channel> {
        ClusterClient::new(self.route.channel()).max_decoding_message_size(STATUS_BYTES_MAX)
    }
}
