//! TLS for the gateway: reads a certificate chain and its key, offers HTTP/2 and HTTP/1.1.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::{Error, Tls};

/// Reads both files. Every error names the file it is about.
pub(super) fn acceptor(tls: &Tls) -> Result<TlsAcceptor, Error> {
    let wrong_cert = |reason: String| wrong(&tls.cert_pem_path, reason);
    let wrong_key = |reason: String| wrong(&tls.key_pem_path, reason);

    let pem = read(&tls.cert_pem_path)?;
    let chain = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| wrong_cert(format!("not a PEM certificate chain: {error}")))?;
    if chain.is_empty() {
        return Err(wrong_cert("holds no certificate (a `BEGIN CERTIFICATE` block is expected)".into()));
    }
    let pem = read(&tls.key_pem_path)?;
    let key = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|error| wrong_key(format!("holds no usable private key (PKCS#8, PKCS#1 or SEC1 PEM): {error}")))?;

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong_cert(error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                wrong_key(format!("does not belong to the certificate in {}", tls.cert_pem_path.display()))
            }
            rustls::Error::InvalidCertificate(error) => wrong_cert(format!("bad certificate: {error}")),
            other => wrong_key(format!("cannot be used: {other}")),
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| wrong(path, format!("cannot be read: {error}")))
}

fn wrong(path: &Path, reason: String) -> Error {
    Error::TlsFile { path: path.to_owned(), reason }
}
