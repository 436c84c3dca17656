//! Host name to addresses. The one replaceable place, so that tests can play a hostile DNS.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::Semaphore;

/// Lookups under way at once. Each holds a thread until the operating system gives up, even when nobody waits for it any
/// more, and those threads are shared with everybody who reads files.
const LOOKUPS_MAX: usize = 64;

/// Finds the addresses of a host name.
pub trait Resolve: Send + Sync + 'static {
    /// All addresses of `host`, in the order they should be tried. `host` may be a number in an odd spelling; whatever
    /// comes back is checked before it is connected to.
    fn resolve(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The operating system's resolver.
#[derive(Clone, Debug)]
pub struct SystemResolver {
    lookups: Arc<Semaphore>,
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self { lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)) }
    }
}

impl Resolve for SystemResolver {
    fn resolve(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let lookups = self.lookups.clone();
        Box::pin(async move {
            let permit = lookups.acquire_owned().await.map_err(io::Error::other)?;
            let lookup = tokio::task::spawn_blocking(move || {
                let found = (host.as_str(), 0).to_socket_addrs();
                drop(permit);
                found.map(|addresses| addresses.map(|address| address.ip()).collect())
            });
            lookup.await.map_err(io::Error::other)?
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lookups_wait_for_a_place_and_give_it_back() {
        let resolver = SystemResolver::default();
        let all = resolver.lookups.clone().acquire_many_owned(LOOKUPS_MAX as u32).await.unwrap();
        let mut waiting = tokio::spawn(resolver.resolve("127.1".into()));
        let early = tokio::time::timeout(std::time::Duration::from_millis(50), &mut waiting).await;
        assert!(early.is_err(), "no place was free");
        drop(all);
        assert_eq!(waiting.await.unwrap().unwrap().first(), Some(&"127.0.0.1".parse().unwrap()));
        assert_eq!(resolver.lookups.available_permits(), LOOKUPS_MAX);
    }
}
