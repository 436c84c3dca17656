//! From the wire's request to the worker's: an absolute URL, checked bounds, no hop-by-hop header, a trusted peer address.

use std::net::{IpAddr, SocketAddr};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::{Authority, Scheme};
use http::{Method, Uri, Version};

use super::Peer;
use super::config::Limits;
use super::refusal::Refusal;
use crate::egress::hop;

/// Name of the header that carries the request's id, both ways.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-lethe-request-id");
const CONNECTING_IP: HeaderName = HeaderName::from_static("cf-connecting-ip");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The longest host name DNS knows, a port, and brackets.
pub(super) const HOST_BYTES_MAX: usize = 253 + 6 + 2;

/// Rewrites a request's head in place, or says why it is refused.
pub(super) fn head(parts: &mut Parts, peer: &Peer, local: SocketAddr, limits: &Limits) -> Result<(), Refusal> {
    if parts.method == Method::CONNECT || parts.method == Method::TRACE {
        return Err(Refusal::MethodNotAllowed);
    }
    check_size(parts, limits)?;
    let authority = authority(parts, local)?;
    parts.uri = absolute(&parts.uri, authority, peer.tls)?;
    hop::strip(&mut parts.headers);
    parts.headers.remove(header::EXPECT);
    forwarded(&mut parts.headers, peer);
    if parts.version == Version::HTTP_2 {
        join_cookies(&mut parts.headers);
    }
    Ok(())
}

/// Bounds that the HTTP library knows only roughly, or not for HTTP/2.
fn check_size(parts: &Parts, limits: &Limits) -> Result<(), Refusal> {
    // HTTP/2 gives the URL in pieces; the path is the one that grows.
    let url_bytes = parts.uri.path_and_query().map_or(0, |path| path.as_str().len());
    if url_bytes > limits.url_bytes_max {
        return Err(Refusal::UrlTooLong);
    }
    let header_bytes: usize = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if parts.headers.len() > limits.headers_max || header_bytes > limits.header_bytes_max {
        return Err(Refusal::HeadersTooLarge);
    }
    let length = parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if length.is_some_and(|length| length.parse().map_or(true, |bytes: u64| bytes > limits.request_body_bytes_max)) {
        return Err(Refusal::BodyTooLarge);
    }
    Ok(())
}

/// Whom the request is for: the target's authority, else `Host`; HTTP/1.0 may say nothing and gets our own address.
fn authority(parts: &Parts, local: SocketAddr) -> Result<Authority, Refusal> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Refusal::BadHost);
    }
    let host = host.map(|value| valid_authority(value.as_bytes())).transpose()?;
    let target = parts.uri.authority().map(|authority| valid_authority(authority.as_str().as_bytes())).transpose()?;
    match (target, host) {
        // Over HTTP/2 both may be there and must then agree; over HTTP/1.1 the target wins, but Host is required.
        (Some(target), Some(host)) if parts.version == Version::HTTP_2 && !same(&target, &host) => {
            Err(Refusal::BadHost)
        }
        (Some(_), None) if parts.version == Version::HTTP_11 => Err(Refusal::BadHost),
        (Some(target), _) => Ok(target),
        (None, Some(host)) => Ok(host),
        (None, None) if parts.version == Version::HTTP_10 => {
            Authority::try_from(local.to_string()).map_err(|_| Refusal::BadHost)
        }
        (None, None) => Err(Refusal::BadHost),
    }
}

fn same(a: &Authority, b: &Authority) -> bool {
    a.as_str().eq_ignore_ascii_case(b.as_str())
}

/// A host name, an IPv4 address or a bracketed IPv6 address, and perhaps a port. No user name, no empty host.
fn valid_authority(text: &[u8]) -> Result<Authority, Refusal> {
    let text = std::str::from_utf8(text).map_err(|_| Refusal::BadHost)?;
    if text.is_empty() || text.len() > HOST_BYTES_MAX {
        return Err(Refusal::BadHost);
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or(Refusal::BadHost)?;
            address.parse::<std::net::Ipv6Addr>().map_err(|_| Refusal::BadHost)?;
            (address, port.strip_prefix(':').or_else(|| port.is_empty().then_some("")).ok_or(Refusal::BadHost)?)
        }
        None => text.split_once(':').unwrap_or((text, "")),
    };
    let host_ok = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte));
    let port_ok = port.is_empty() || (port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok());
    if host.is_empty() || !host_ok || !port_ok {
        return Err(Refusal::BadHost);
    }
    Authority::try_from(text.strip_suffix(':').unwrap_or(text)).map_err(|_| Refusal::BadHost)
}

/// The scheme is ours to say: what the socket is, not what the client claims.
fn absolute(target: &Uri, authority: Authority, tls: bool) -> Result<Uri, Refusal> {
    if target.scheme().is_some_and(|scheme| *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS) {
        return Err(Refusal::BadTarget);
    }
    let path = target.path_and_query().ok_or(Refusal::BadTarget)?;
    if !path.as_str().starts_with(['/', '?']) {
        return Err(Refusal::BadTarget);
    }
    Uri::builder()
        .scheme(if tls { Scheme::HTTPS } else { Scheme::HTTP })
        .authority(authority)
        .path_and_query(path.clone())
        .build()
        .map_err(|_| Refusal::BadTarget)
}

/// Sets what workers read about the client. Nothing of it is ever taken from the client, except that an
/// `x-forwarded-for` it sent is kept in front, as every proxy does; only its last element is ours.
fn forwarded(headers: &mut HeaderMap, peer: &Peer) {
    let client = peer.addr.ip().to_canonical();
    headers.remove(REQUEST_ID);
    for name in [CONNECTING_IP, REAL_IP] {
        headers.insert(name, address_value(client));
    }
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static(if peer.tls { "https" } else { "http" }));
    headers.append(FORWARDED_FOR, address_value(client));
    if let Ok(id) = HeaderValue::try_from(peer.request_id.to_string()) {
        headers.insert(REQUEST_ID, id);
    }
}

fn address_value(address: IpAddr) -> HeaderValue {
    // An address has only digits, letters, dots and colons.
    HeaderValue::try_from(address.to_string()).unwrap_or(HeaderValue::from_static("unknown"))
}

/// HTTP/2 may split cookies over several lines; everybody else expects one (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(header::COOKIE).iter().nth(1).is_none() {
        return;
    }
    let lines: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&lines.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use uuid::Uuid;

    use super::*;

    fn peer(tls: bool) -> Peer {
        Peer { addr: "[::ffff:192.0.2.7]:5000".parse().unwrap(), tls, request_id: Uuid::nil() }
    }

    fn decoded(request: http::request::Builder, tls: bool) -> Result<Parts, Refusal> {
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        head(&mut parts, &peer(tls), "127.0.0.1:8787".parse().unwrap(), &Limits::default()).map(|()| parts)
    }

    fn url(request: http::request::Builder, tls: bool) -> Result<String, Refusal> {
        decoded(request, tls).map(|parts| parts.uri.to_string())
    }

    #[test]
    fn the_url_is_absolute_and_its_scheme_is_the_sockets() {
        let get = |target: &str| Request::get(target).header("host", "a.example:81");
        assert_eq!(url(get("/x?y=1"), false).unwrap(), "http://a.example:81/x?y=1");
        assert_eq!(url(get("/"), true).unwrap(), "https://a.example:81/");
        assert_eq!(url(get("http://b.example/p"), true).unwrap(), "https://b.example/p");
        assert_eq!(url(get("ftp://b.example/p"), false), Err(Refusal::BadTarget));
        assert_eq!(url(Request::options("*").header("host", "a"), false), Err(Refusal::BadTarget));
    }

    #[test]
    fn a_host_that_is_not_one_is_refused() {
        let hosts =
            ["", "a b", "user@a", "a/b", "a:x", "a:99999", "a:1:2", "[::1", "[zz]", "::1", "a,b", "a\t", "[::1]x"];
        for host in hosts {
            assert_eq!(url(Request::get("/").header("host", host), false), Err(Refusal::BadHost), "{host:?}");
        }
        for host in ["a", "A.b-c_d.example", "127.0.0.1:1", "[::1]", "[::1]:80", "xn--bcher-kva.example", "a:"] {
            assert!(url(Request::get("/").header("host", host), false).is_ok(), "{host:?}");
        }
        assert_eq!(url(Request::get("/"), false), Err(Refusal::BadHost));
        assert_eq!(url(Request::get("/").header("host", "a").header("host", "a"), false), Err(Refusal::BadHost));
    }

    #[test]
    fn only_http_1_0_may_leave_the_host_out() {
        assert_eq!(url(Request::get("/").version(Version::HTTP_10), false).unwrap(), "http://127.0.0.1:8787/");
    }

    #[test]
    fn http_2_must_not_name_two_hosts() {
        let get = |host| Request::get("http://a.example/").version(Version::HTTP_2).header("host", host);
        assert_eq!(url(get("b.example"), false), Err(Refusal::BadHost));
        assert_eq!(url(get("A.example"), false).unwrap(), "http://a.example/");
    }

    #[test]
    fn the_clients_word_about_its_address_is_not_believed() {
        let request = Request::get("/")
            .header("host", "a")
            .header("cf-connecting-ip", "6.6.6.6")
            .header("x-real-ip", "6.6.6.6")
            .header("x-forwarded-proto", "https")
            .header("x-forwarded-for", "6.6.6.6")
            .header("x-lethe-request-id", "mine");
        let parts = decoded(request, false).unwrap();
        let all = |name: &str| {
            parts.headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(all("cf-connecting-ip"), ["192.0.2.7"]);
        assert_eq!(all("x-real-ip"), ["192.0.2.7"]);
        assert_eq!(all("x-forwarded-proto"), ["http"]);
        assert_eq!(all("x-forwarded-for"), ["6.6.6.6", "192.0.2.7"]);
        assert_eq!(all("x-lethe-request-id"), [Uuid::nil().to_string()]);
    }

    #[test]
    fn http_2_cookies_come_as_one_line() {
        let request =
            Request::get("http://a/").version(Version::HTTP_2).header("cookie", "a=1").header("cookie", "b=2");
        let parts = decoded(request, false).unwrap();
        assert_eq!(parts.headers.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    }

    #[test]
    fn what_is_over_its_bound_is_refused_by_name() {
        let limits = Limits::default();
        let get = |path: &str| Request::get(path).header("host", "a");
        let long = format!("/{}", "x".repeat(limits.url_bytes_max));
        assert_eq!(url(get(&long), false), Err(Refusal::UrlTooLong));
        let over = (limits.request_body_bytes_max + 1).to_string();
        assert_eq!(url(get("/").header("content-length", over), false), Err(Refusal::BodyTooLarge));
        let many = (0..limits.headers_max).fold(get("/"), |request, n| request.header(format!("x-{n}"), "1"));
        assert_eq!(url(many, false), Err(Refusal::HeadersTooLarge));
        assert_eq!(url(Request::connect("a:1").header("host", "a"), false), Err(Refusal::MethodNotAllowed));
    }
}
