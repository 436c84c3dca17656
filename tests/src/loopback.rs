//! Loopback addresses of our own: servers keep their ports over restarts, and nobody else on the machine has them.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result, bail};

/// A port below those that the kernel gives away by itself.
const CLAIM_PORT: u16 = 7000;
/// The address in each range that says that the range is taken.
const CLAIM_HOST: u8 = 254;

/// A range `127.a.b.0/24`, ours until dropped.
#[derive(Debug)]
pub struct Loopback {
    range: [u8; 2],
    _claim: TcpListener,
}

impl Loopback {
    /// Finds a range that nobody has claimed.
    pub fn claim() -> Result<Self> {
        // Any start will do; one that depends on the process makes collisions rare.
        let begin = std::process::id().wrapping_mul(2_654_435_761);
        for number in 0..4096_u32 {
            let [high, low, ..] = begin.wrapping_add(number << 16).to_be_bytes();
            // 127.0.x.x and 127.255.x.x are left to others.
            let range = [high.clamp(1, 254), low];
            if let Ok(claim) = TcpListener::bind((Ipv4Addr::new(127, range[0], range[1], CLAIM_HOST), CLAIM_PORT)) {
                return Ok(Self { range, _claim: claim });
            }
        }
        bail!("no range of loopback addresses is free")
    }

    /// The address of a host, numbered from 0.
    pub fn address(&self, host: usize) -> Result<Ipv4Addr> {
        let last = u8::try_from(host + 1).ok().filter(|last| *last < CLAIM_HOST);
        Ok(Ipv4Addr::new(127, self.range[0], self.range[1], last.context("at most 253 hosts")?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_ranges_share_an_address() {
        let ranges: Vec<_> = (0..20).map(|_| Loopback::claim().unwrap()).collect();
        let addresses: std::collections::BTreeSet<_> = ranges.iter().map(|range| range.address(0).unwrap()).collect();
        assert_eq!(addresses.len(), ranges.len());
        assert!(ranges[0].address(253).is_err());
    }
}
