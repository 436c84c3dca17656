//! A running server and ways to reach it.

use lethe_client::Client;
use lethe_server::grpc;

use crate::fake::{Fake, start};

pub struct Server {
    pub fake: Fake,
    pub address: String,
    pub handle: grpc::Handle,
}

pub async fn serve() -> Server {
    serve_with(|_| {}).await
}

pub async fn serve_with(adjust: impl FnOnce(&mut grpc::Config)) -> Server {
    let (fake, address, handle) = start(adjust).await;
    Server { fake, address, handle }
}

impl Server {
    pub async fn client(&self) -> Client {
        Client::connect(&self.address).await.unwrap()
    }
}
