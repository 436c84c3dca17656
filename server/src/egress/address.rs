//! Which addresses are special: not part of the public Internet, and so refused unless a policy allows them.
//!
//! IPv6 is closed by default: of it only global unicast (2000::/3) is public, and every form that carries an IPv4
//! address inside is judged by that address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A range of addresses: those that share `prefix_bits` leading bits with `base`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Cidr {
    pub(super) base: IpAddr,
    pub(super) prefix_bits: u8,
}

impl Cidr {
    /// Whether `address` is in the range. An IPv4-mapped IPv6 address counts as the IPv4 address it is.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(address)) => v4_in(address, base, self.prefix_bits),
            (IpAddr::V6(base), IpAddr::V6(address)) => v6_in(address, base, self.prefix_bits),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

fn v4_in(address: Ipv4Addr, base: Ipv4Addr, prefix_bits: u8) -> bool {
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix_bits)).unwrap_or(0);
    address.to_bits() & mask == base.to_bits() & mask
}

fn v6_in(address: Ipv6Addr, base: Ipv6Addr, prefix_bits: u8) -> bool {
    let mask = u128::MAX.checked_shl(128 - u32::from(prefix_bits)).unwrap_or(0);
    address.to_bits() & mask == base.to_bits() & mask
}

/// Special IPv4 ranges (IANA's registry, plus one cloud's metadata server that has a public address).
const V4: [([u8; 4], u8, &str); 18] = [
    ([0, 0, 0, 0], 8, "an unspecified address"),
    ([10, 0, 0, 0], 8, "a private address"),
    ([100, 64, 0, 0], 10, "a private (carrier-grade NAT) address"),
    ([127, 0, 0, 0], 8, "a loopback address"),
    ([168, 63, 129, 16], 32, "a cloud metadata address"),
    ([169, 254, 0, 0], 16, "a link-local address"),
    ([172, 16, 0, 0], 12, "a private address"),
    ([192, 0, 0, 0], 24, "a reserved address"),
    ([192, 0, 2, 0], 24, "a documentation address"),
    ([192, 31, 196, 0], 24, "a reserved address"),
    ([192, 52, 193, 0], 24, "a reserved address"),
    ([192, 88, 99, 0], 24, "a reserved address"),
    ([192, 168, 0, 0], 16, "a private address"),
    ([198, 18, 0, 0], 15, "a benchmarking address"),
    ([198, 51, 100, 0], 24, "a documentation address"),
    ([203, 0, 113, 0], 24, "a documentation address"),
    ([224, 0, 0, 0], 4, "a multicast address"),
    ([240, 0, 0, 0], 4, "a reserved address"),
];

/// Special IPv6 ranges. Those outside 2000::/3 are here for their names only.
const V6: [([u16; 8], u8, &str); 12] = [
    ([0, 0, 0, 0, 0, 0, 0, 0], 128, "an unspecified address"),
    ([0, 0, 0, 0, 0, 0, 0, 1], 128, "a loopback address"),
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, "a private address"),
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, "a link-local address"),
    ([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, "a private (site-local) address"),
    ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, "a multicast address"),
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, "a tunnel (Teredo) address"),
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, "a reserved address"),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, "a documentation address"),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, "a documentation address"),
    ([0x0064, 0xff9b, 1, 0, 0, 0, 0, 0], 48, "a private (local NAT64) address"),
    ([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48, "a reserved address"),
];

/// What sort of special address this is, with its article; `None` for the public Internet.
pub(super) fn special(address: IpAddr) -> Option<&'static str> {
    match address.to_canonical() {
        IpAddr::V4(v4) => special_v4(v4),
        IpAddr::V6(v6) => special_v6(v6),
    }
}

fn special_v4(address: Ipv4Addr) -> Option<&'static str> {
    V4.iter().find(|(base, bits, _)| v4_in(address, Ipv4Addr::from(*base), *bits)).map(|(_, _, kind)| *kind)
}

fn special_v6(address: Ipv6Addr) -> Option<&'static str> {
    let listed = V6.iter().find(|(base, bits, _)| v6_in(address, Ipv6Addr::from(*base), *bits));
    if let Some((_, _, kind)) = listed {
        return Some(kind);
    }
    if let Some(inner) = carried_v4(address) {
        return special_v4(inner);
    }
    let global_unicast = v6_in(address, Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
    if global_unicast { None } else { Some("a reserved address") }
}

/// The IPv4 address that a packet to this IPv6 address would end at: 6to4, NAT64, ISATAP, SIIT and the deprecated
/// IPv4-compatible form. (IPv4-mapped addresses are canonicalized before.)
fn carried_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let parts = address.segments();
    let join = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match parts {
        [0x2002, high, low, ..] => Some(join(high, low)),
        [0x0064, 0xff9b, 0, 0, 0, 0, high, low] => Some(join(high, low)),
        [0, 0, 0, 0, 0xffff, 0, high, low] | [0, 0, 0, 0, 0, 0, high, low] => Some(join(high, low)),
        [_, _, _, _, 0 | 0x0200, 0x5efe, high, low] => Some(join(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_special_address_is_refused_in_every_form() {
        let table = [
            ("0.0.0.0", "an unspecified address"),
            ("0.1.2.3", "an unspecified address"),
            ("127.0.0.1", "a loopback address"),
            ("127.255.255.254", "a loopback address"),
            ("10.0.0.1", "a private address"),
            ("172.16.0.1", "a private address"),
            ("172.31.255.255", "a private address"),
            ("192.168.1.1", "a private address"),
            ("100.64.0.1", "a private (carrier-grade NAT) address"),
            ("100.100.100.200", "a private (carrier-grade NAT) address"),
            ("169.254.169.254", "a link-local address"),
            ("168.63.129.16", "a cloud metadata address"),
            ("192.0.0.192", "a reserved address"),
            ("198.19.255.255", "a benchmarking address"),
            ("224.0.0.1", "a multicast address"),
            ("255.255.255.255", "a reserved address"),
            ("::", "an unspecified address"),
            ("::1", "a loopback address"),
            ("::127.0.0.1", "a loopback address"),
            ("::ffff:127.0.0.1", "a loopback address"),
            ("::ffff:a9fe:a9fe", "a link-local address"),
            ("::ffff:0:10.0.0.1", "a private address"),
            ("64:ff9b::7f00:1", "a loopback address"),
            ("64:ff9b::169.254.169.254", "a link-local address"),
            ("64:ff9b:1::1", "a private (local NAT64) address"),
            ("2002:7f00:1::", "a loopback address"),
            ("2002:a9fe:a9fe::1", "a link-local address"),
            ("2001:0:1::1", "a tunnel (Teredo) address"),
            ("2001:db8::1", "a documentation address"),
            ("2600::5efe:10.0.0.1", "a private address"),
            ("fc00::1", "a private address"),
            ("fd00:ec2::254", "a private address"),
            ("fe80::1", "a link-local address"),
            ("fec0::1", "a private (site-local) address"),
            ("ff02::1", "a multicast address"),
            ("100::1", "a reserved address"),
            ("4000::1", "a reserved address"),
            ("5f00::1", "a reserved address"),
        ];
        for (address, kind) in table {
            assert_eq!(special(address.parse().unwrap()), Some(kind), "{address}");
        }
    }

    #[test]
    fn the_public_internet_is_not_special() {
        let public = [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2a00:1450:4001:81b::200e",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
            "2002:101:101::1",
        ];
        for address in public {
            assert_eq!(special(address.parse().unwrap()), None, "{address}");
        }
    }
}
