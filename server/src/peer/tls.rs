//! Mutual TLS: reads a node's files, and says which node is at the other end of a connection.

use std::{fs, path::Path, sync::Arc, time::Duration};

use lethe_proto::{ClusterId, NodeId};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::{ParsedCertificate, WebPkiClientVerifier},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{
    SetupError,
    ca::{any_name, parse_name, server_name},
    config::{Me, TlsFiles},
};

const ALPN: &[u8] = b"h2";

/// Both ends of TLS.
#[derive(Clone)]
pub(super) struct Tls {
    pub acceptor: TlsAcceptor,
    pub connector: TlsConnector,
}

impl Tls {
    /// Reads the files of node `me`. Every error names the file it is about.
    pub fn load(files: &TlsFiles, me: Me) -> Result<Self, SetupError> {
        let wrong_cert = |reason: String| SetupError::file(&files.node_pem_path, reason);
        let roots = Arc::new(roots(&files.ca_pem_path)?);
        let chain = chain(&files.node_pem_path)?;
        match chain.first().and_then(identity) {
            Some(named) if named == (me.cluster, me.node) => {}
            Some((cluster, node)) => {
                let (here, ours) = (me.node, me.cluster);
                let text = format!("is for node {node} of cluster {cluster}; this is node {here} of cluster {ours}");
                return Err(wrong_cert(text));
            }
            None => return Err(wrong_cert(format!("does not name {}", server_name(me.cluster, me.node)))),
        }
        let text = read(&files.node_key_pem_path)?;
        let wrong_key = |reason: String| SetupError::file(&files.node_key_pem_path, reason);
        let key = PrivateKeyDer::from_pem_slice(&text)
            .map_err(|error| wrong_key(format!("holds no usable private key (PEM is expected): {error}")))?;
        let pair = |error: rustls::Error| match error {
            rustls::Error::InconsistentKeys(_) => {
                wrong_key(format!("does not belong to the certificate in {}", files.node_pem_path.display()))
            }
            other => wrong_key(format!("cannot be used: {other}")),
        };
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider())
            .build()
            .map_err(|error| SetupError::file(&files.ca_pem_path, error.to_string()))?;
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| wrong_cert(error.to_string()))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(pair)?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        let mut client = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| wrong_cert(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier::new(roots.clone(), me, &files.ca_pem_path)?))
            .with_client_auth_cert(chain.clone(), key)
            .map_err(pair)?;
        client.alpn_protocols = vec![ALPN.to_vec()];
        issued_by(&roots, &chain).map_err(|reason| {
            wrong_cert(format!("is not signed by an authority in {}: {reason}", files.ca_pem_path.display()))
        })?;
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(server)), connector: TlsConnector::from(Arc::new(client)) })
    }
}

/// The name to ask a server for: `node`, or whichever node of the cluster it is.
pub(super) fn name_of(me: Me, node: Option<NodeId>) -> Result<ServerName<'static>, String> {
    let name = node.map_or_else(|| any_name(me.cluster), |node| server_name(me.cluster, node));
    ServerName::try_from(name).map_err(|error| error.to_string())
}

/// Checks a server's certificate: that it is the node wanted, or any node of the cluster where nobody is named.
#[derive(Debug)]
struct Verifier {
    roots: Arc<RootCertStore>,
    cluster: ClusterId,
    any: String,
    usual: Arc<WebPkiServerVerifier>,
}

impl Verifier {
    fn new(roots: Arc<RootCertStore>, me: Me, ca_path: &Path) -> Result<Self, SetupError> {
        let usual = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider())
            .build()
            .map_err(|error| SetupError::file(ca_path, error.to_string()))?;
        Ok(Self { roots, cluster: me.cluster, any: any_name(me.cluster), usual })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if name.to_str() != self.any {
            return self.usual.verify_server_cert(leaf, between, name, ocsp, now);
        }
        signed(&self.roots, leaf, between, now)?;
        match identity(leaf) {
            Some((cluster, _)) if cluster == self.cluster => Ok(ServerCertVerified::assertion()),
            _ => Err(CertificateError::NotValidForName.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls12_signature(message, leaf, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls13_signature(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

/// Which node of which cluster a certificate names.
pub(super) fn identity(certificate: &CertificateDer<'_>) -> Option<(ClusterId, NodeId)> {
    webpki::EndEntityCert::try_from(certificate).ok()?.valid_dns_names().find_map(parse_name)
}

/// Whether the authority in `ca_pem` signed the certificate in `node_pem`.
pub(super) fn check(ca_pem: &str, node_pem: &str) -> Result<(), String> {
    let parse = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| error.to_string());
    let mut roots = RootCertStore::empty();
    roots.add(parse(ca_pem)?).map_err(|error| error.to_string())?;
    issued_by(&roots, &[parse(node_pem)?])
}

fn issued_by(roots: &RootCertStore, chain: &[CertificateDer<'static>]) -> Result<(), String> {
    let (leaf, between) = chain.split_first().ok_or("it holds no certificate")?;
    let now = UnixTime::since_unix_epoch(Duration::from_millis(crate::clock::now_ms()));
    signed(roots, leaf, between, now).map_err(|error| error.to_string())
}

fn signed(
    roots: &RootCertStore,
    leaf: &CertificateDer<'_>,
    between: &[CertificateDer<'_>],
    now: UnixTime,
) -> Result<(), rustls::Error> {
    let leaf = ParsedCertificate::try_from(leaf)?;
    let algorithms = provider().signature_verification_algorithms.all;
    rustls::client::verify_server_cert_signed_by_trust_anchor(&leaf, roots, between, now, algorithms)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn roots(path: &Path) -> Result<RootCertStore, SetupError> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(path)? {
        roots.add(certificate).map_err(|error| SetupError::file(path, format!("bad certificate: {error}")))?;
    }
    Ok(roots)
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, SetupError> {
    let chain = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| SetupError::file(path, format!("not a PEM certificate: {error}")))?;
    if chain.is_empty() {
        return Err(SetupError::file(path, "holds no certificate (a `BEGIN CERTIFICATE` block is expected)"));
    }
    Ok(chain)
}

fn read(path: &Path) -> Result<Vec<u8>, SetupError> {
    fs::read(path).map_err(|error| SetupError::file(path, format!("cannot be read: {error}")))
}
