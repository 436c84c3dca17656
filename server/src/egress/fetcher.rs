//! The HTTP client: one pool per policy, all under the same bounds.

use std::error::Error as StdError;
use std::sync::Arc;

use http::header::{self, HeaderValue};
use http::uri::Scheme;
use http::{Method, Request, Response, Version};
use http_body::Body as _;
use http_body_util::BodyExt;
use lethe_runtime::body::Body;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::Semaphore;

use super::connect::bare_host;
use super::incoming::{Held, ResponseBody};
use super::pools::Pools;
use super::{Config, Error, Policy, Resolve, SystemResolver, gunzip, hop};

/// Sends requests to the outside. Cheap to clone; all clones share connections and bounds. When the last clone and
/// the last response are dropped, every connection is closed.
#[derive(Clone)]
pub struct Fetcher {
    config: Arc<Config>,
    requests: Arc<Semaphore>,
    pools: Arc<Pools>,
}

impl Fetcher {
    /// Fails only when the extra roots cannot be read.
    pub fn new(config: Config) -> Result<Self, Error> {
        Self::with_resolver(config, Arc::new(SystemResolver::default()))
    }

    /// With another way to find addresses than the operating system's.
    pub fn with_resolver(config: Config, resolver: Arc<dyn Resolve>) -> Result<Self, Error> {
        let tls = Arc::new(client_tls(config.extra_roots_pem.as_deref())?);
        let config = Arc::new(config);
        let requests = Arc::new(Semaphore::new(config.requests_max.min(Semaphore::MAX_PERMITS)));
        let pools = Pools::new(config.clone(), resolver, tls);
        Ok(Self { config, requests, pools })
    }

    /// Sends one request and returns when the response's head is there. Follows no redirects. A gzip body is decoded and
    /// loses the headers that describe its coded form. Dropping the future, or the response's body, ends the exchange.
    pub async fn fetch(&self, request: Request<Body>, policy: &Policy) -> Result<Response<Body>, Error> {
        let config = &self.config;
        let request = outgoing(request)?;
        let host = bare_host(request.uri()).unwrap_or_default().to_owned();
        let method = request.method().clone();
        let waiting = tokio::time::timeout(config.connect_timeout(), self.requests.clone().acquire_owned());
        let permit = waiting.await.map_err(|_| Error::Busy)?.map_err(|_| Error::Busy)?;
        let pool = self.pools.get(request.uri(), policy);
        let bound = config.connect_timeout() + config.response_timeout();
        let response = match tokio::time::timeout(bound, pool.request(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(explained(&error, host)),
            Err(_) => return Err(Error::ResponseTimeout { host, ms: config.response_timeout_ms }),
        };
        let (mut parts, incoming) = response.into_parts();
        hop::strip(&mut parts.headers);
        parts.extensions.clear();
        let held = Held { _permit: permit, _pools: self.pools.clone() };
        let body = ResponseBody::new(incoming, config.body_stall_timeout(), held).boxed_unsync();
        let body = gunzip::decoded(&method, parts.status, &mut parts.headers, body);
        Ok(Response::from_parts(parts, body))
    }
}

/// Trusts the public web's roots and the extra ones.
fn client_tls(extra_roots_pem: Option<&str>) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let wrong = |error: &dyn std::fmt::Display| Error::Roots(error.to_string());
    for certificate in CertificateDer::pem_slice_iter(extra_roots_pem.unwrap_or_default().as_bytes()) {
        let certificate = certificate.map_err(|error| wrong(&error))?;
        roots.add(certificate).map_err(|error| wrong(&error))?;
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Makes a worker's request fit to be sent: `Host` comes from the URL, lengths from the body, hop-by-hop headers go.
fn outgoing(request: Request<Body>) -> Result<Request<Body>, Error> {
    let (mut parts, body) = request.into_parts();
    if parts.uri.scheme() != Some(&Scheme::HTTP) && parts.uri.scheme() != Some(&Scheme::HTTPS) {
        return Err(Error::Scheme);
    }
    let authority = parts.uri.authority().ok_or(Error::Request("the URL has no host"))?;
    if authority.as_str().contains('@') {
        return Err(Error::Request("the URL has a user name or password in it"));
    }
    if bare_host(&parts.uri).is_none_or(str::is_empty) {
        return Err(Error::Request("the URL has no host"));
    }
    if [Method::CONNECT, Method::TRACE].contains(&parts.method) {
        return Err(Error::Request("CONNECT and TRACE are not allowed"));
    }
    hop::strip(&mut parts.headers);
    parts.headers.remove(header::HOST);
    parts.headers.remove(header::EXPECT);
    gunzip::offer(&mut parts.headers);
    if let Some(bytes) = body.size_hint().exact() {
        parts.headers.remove(header::CONTENT_LENGTH);
        // A body of nothing is worth a header only where one is expected.
        if bytes > 0 || [Method::POST, Method::PUT, Method::PATCH].contains(&parts.method) {
            parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
        }
    }
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    Ok(Request::from_parts(parts, body))
}

/// The reason behind the client library's error.
fn explained(error: &hyper_util::client::legacy::Error, host: String) -> Error {
    let mut source: Option<&(dyn StdError + 'static)> = error.source();
    let mut reason = "the connection ended before it answered";
    while let Some(cause) = source {
        if let Some(ours) = cause.downcast_ref::<Error>() {
            return ours.clone();
        }
        if let Some(http) = cause.downcast_ref::<hyper::Error>() {
            if http.is_parse_too_large() {
                reason = "its headers are too large";
            } else if http.is_parse() {
                reason = "it does not speak HTTP as it should";
            } else if http.is_user() {
                reason = "the request's body failed or has another length than declared";
            }
        }
        source = cause.source();
    }
    tracing::debug!(host, %error, "fetch failed");
    Error::Response { host, reason }
}
