//! What one worker may reach.

use std::net::IpAddr;
use std::str::FromStr;

use super::address::{Cidr, special};

/// Which addresses a fetch may connect to. The public Internet always; others only as said here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Every address is allowed.
    pub allow_private: bool,
    /// These are allowed beside the public Internet.
    pub allow: Vec<Pattern>,
}

/// One allowed target: a host name (`db.internal`, `*.svc.local`), an address or a range (`10.1.0.0/16`, `fd00::/8`).
/// Names and single addresses may be narrowed to a port: `localhost:9000`, `[::1]:9000`.
///
/// A name is allowed whatever it resolves to; whoever writes it down trusts its DNS.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern(Form);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Form {
    Name { name: String, below: bool, port: Option<u16> },
    Range { range: Cidr, port: Option<u16> },
}

/// Why a pattern is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` is not a host name, an address or a CIDR range: {reason}")]
pub struct PatternError {
    pattern: String,
    reason: &'static str,
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let wrong = |reason| PatternError { pattern: text.to_owned(), reason };
        if let Some((base, bits)) = text.split_once('/') {
            let base: IpAddr = base.parse().map_err(|_| wrong("an address is expected before the `/`"))?;
            let bits_max = if base.is_ipv4() { 32 } else { 128 };
            let prefix_bits: u8 = bits.parse().map_err(|_| wrong("a number of bits is expected after the `/`"))?;
            if prefix_bits > bits_max {
                return Err(wrong("more bits than the address has"));
            }
            return Ok(Self(Form::Range { range: Cidr { base, prefix_bits }, port: None }));
        }
        if let Ok(base) = text.parse() {
            return Ok(Self(one_address(base, None)));
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().map_err(|_| wrong("the port is not a number to 65535"))?)),
            None => (text, None),
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(base) = bare.parse() {
            return Ok(Self(one_address(base, port)));
        }
        let (below, name) = host.strip_prefix("*.").map_or((false, host), |name| (true, name));
        let name = normal(name);
        let letters = |part: &str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        if !name.split('.').all(letters) {
            return Err(wrong("a host name has letters, digits, `-`, `_` and dots, and `*.` only in front"));
        }
        Ok(Self(Form::Name { name, below, port }))
    }
}

fn one_address(base: IpAddr, port: Option<u16>) -> Form {
    let base = base.to_canonical();
    let prefix_bits = if base.is_ipv4() { 32 } else { 128 };
    Form::Range { range: Cidr { base, prefix_bits }, port }
}

/// Lower case, without the dot of a fully qualified name.
fn normal(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

impl Policy {
    /// Whether `host` (as the URL has it, without brackets) may be reached at this address and port.
    /// If not, says what sort of address it is.
    pub(super) fn check(&self, host: &str, address: IpAddr, port: u16) -> Result<(), &'static str> {
        let Some(kind) = special(address) else { return Ok(()) };
        let host = normal(host);
        if self.allow_private || self.allow.iter().any(|pattern| pattern.allows(&host, address, port)) {
            return Ok(());
        }
        Err(kind)
    }
}

impl Pattern {
    fn allows(&self, host: &str, address: IpAddr, port: u16) -> bool {
        match &self.0 {
            Form::Range { range, port: only } => range.contains(address) && only.is_none_or(|only| only == port),
            Form::Name { name, below, port: only } => {
                let named = if *below {
                    host.strip_suffix(name.as_str()).is_some_and(|front| front.len() > 1 && front.ends_with('.'))
                } else {
                    host == name
                };
                named && only.is_none_or(|only| only == port)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(allow: &[&str]) -> Policy {
        Policy { allow_private: false, allow: allow.iter().map(|text| text.parse().unwrap()).collect() }
    }

    fn allowed(allow: &[&str], host: &str, address: &str, port: u16) -> bool {
        policy(allow).check(host, address.parse().unwrap(), port).is_ok()
    }

    #[test]
    fn nothing_special_is_allowed_by_default() {
        assert_eq!(Policy::default().check("a", "10.0.0.1".parse().unwrap(), 80), Err("a private address"));
        assert_eq!(Policy::default().check("a", "1.1.1.1".parse().unwrap(), 80), Ok(()));
        let open = Policy { allow_private: true, allow: vec![] };
        assert_eq!(open.check("a", "127.0.0.1".parse().unwrap(), 80), Ok(()));
    }

    #[test]
    fn a_name_allows_itself_and_no_other() {
        assert!(allowed(&["Db.Internal"], "db.internal.", "10.0.0.1", 80));
        assert!(!allowed(&["db.internal"], "x.db.internal", "10.0.0.1", 80));
        assert!(!allowed(&["db.internal"], "evildb.internal", "10.0.0.1", 80));
        assert!(allowed(&["*.svc.local"], "a.b.svc.local", "10.0.0.1", 80));
        assert!(!allowed(&["*.svc.local"], "svc.local", "10.0.0.1", 80));
        assert!(!allowed(&["*.svc.local"], "evilsvc.local", "10.0.0.1", 80));
        assert!(!allowed(&["*.svc.local"], ".svc.local", "10.0.0.1", 80));
        assert!(allowed(&["localhost:9000"], "localhost", "127.0.0.1", 9000));
        assert!(!allowed(&["localhost:9000"], "localhost", "127.0.0.1", 9001));
    }

    #[test]
    fn a_range_allows_the_addresses_in_it_under_any_name() {
        assert!(allowed(&["10.1.0.0/16"], "whatever", "10.1.255.1", 80));
        assert!(allowed(&["10.1.0.0/16"], "whatever", "::ffff:10.1.255.1", 80));
        assert!(!allowed(&["10.1.0.0/16"], "whatever", "10.2.0.1", 80));
        assert!(allowed(&["fd00::/8"], "whatever", "fd12::1", 80));
        assert!(allowed(&["[::1]:80", "127.0.0.1"], "whatever", "::1", 80));
        assert!(!allowed(&["[::1]:80"], "whatever", "::1", 81));
        assert!(allowed(&["0.0.0.0/0"], "whatever", "127.0.0.1", 81));
        assert!(!allowed(&["0.0.0.0/0"], "whatever", "::1", 81));
    }

    #[test]
    fn what_is_not_a_pattern_is_refused_with_the_reason() {
        for wrong in
            ["", "*", "a b", "10.0.0.0/33", "x/8", "10.0.0.0/", "a:port", "a:70000", "http://a", "a..b", "*.*.a"]
        {
            let error = wrong.parse::<Pattern>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{wrong}` is not")), "{error}");
        }
    }
}
