//! The cluster's own certificate authority: made with the cluster, it says which node is which.
//!
//! A node's certificate holds one name, [`server_name`], and is good for both ends of a connection. Certificates do not
//! run out: clocks may be wrong, and who is a member is the registry's business, not the calendar's.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use lethe_proto::{ClusterId, NodeId};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use uuid::Uuid;

use super::{SetupError, tls};

/// The authority's certificate, which every node has.
pub const CA_FILE: &str = "ca.pem";
/// The authority's private key, which only the machine has that adds nodes.
pub const CA_KEY_FILE: &str = "ca-key.pem";
/// A node's certificate.
pub const NODE_FILE: &str = "node.pem";
/// A node's private key.
pub const NODE_KEY_FILE: &str = "node-key.pem";

/// What every name of a node ends with.
const SUFFIX: &str = "lethe.internal";
/// Stands for the node where any will do.
const ANY: &str = "any";

/// The name in a node's certificate: `NODE.CLUSTER.lethe.internal`.
pub fn server_name(cluster: ClusterId, node: NodeId) -> String {
    format!("{node}.{cluster}.{SUFFIX}")
}

/// The name to ask for where any node of the cluster will do; no certificate holds it.
pub(super) fn any_name(cluster: ClusterId) -> String {
    format!("{ANY}.{cluster}.{SUFFIX}")
}

/// The node and the cluster that a name stands for.
pub(super) fn parse_name(name: &str) -> Option<(ClusterId, NodeId)> {
    let (node, rest) = name.split_once('.')?;
    let (cluster, suffix) = rest.split_once('.')?;
    let uuid = |text| Uuid::try_parse(text).ok();
    (suffix == SUFFIX).then_some((ClusterId(uuid(cluster)?), NodeId(uuid(node)?)))
}

/// A node's certificate and its key, in PEM.
pub struct Issued {
    /// The certificate.
    pub node_pem: String,
    /// Its private key. Keep it from everybody else.
    pub node_key_pem: String,
}

/// The certificate authority of a cluster.
pub struct Authority {
    cluster: ClusterId,
    ca_pem: String,
    key: KeyPair,
}

impl Authority {
    /// Makes the authority of a new cluster; nothing is written yet.
    pub fn create(cluster: ClusterId) -> Result<Self, SetupError> {
        let key = KeyPair::generate().map_err(failed)?;
        let ca_pem = params(cluster).self_signed(&key).map_err(failed)?.pem();
        Ok(Self { cluster, ca_pem, key })
    }

    /// Reads the authority of a cluster from `dir`.
    pub fn load(dir: &Path, cluster: ClusterId) -> Result<Self, SetupError> {
        let (ca_path, key_path) = (dir.join(CA_FILE), dir.join(CA_KEY_FILE));
        let read = |path: &Path| match fs::read_to_string(path) {
            Ok(text) => Ok(text),
            Err(error) => Err(SetupError::file(path, format!("cannot be read: {error}"))),
        };
        let ca_pem = read(&ca_path)?;
        let key = KeyPair::from_pem(&read(&key_path)?)
            .map_err(|error| SetupError::file(&key_path, format!("holds no usable private key: {error}")))?;
        let authority = Self { cluster, ca_pem, key };
        let probe = authority.issue(NodeId(Uuid::nil()))?;
        tls::check(&authority.ca_pem, &probe.node_pem).map_err(|_| {
            let other = format!("does not belong to the authority of cluster {cluster} in {}", ca_path.display());
            SetupError::file(&key_path, other)
        })?;
        Ok(authority)
    }

    /// The authority's certificate, in PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Makes a node's certificate and key.
    pub fn issue(&self, node: NodeId) -> Result<Issued, SetupError> {
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::new([server_name(self.cluster, node)]).map_err(failed)?;
        params.distinguished_name = named(format!("Lethe node {node}"));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let issuer = self::params(self.cluster);
        let issuer = Issuer::from_params(&issuer, &self.key);
        let certificate = params.signed_by(&key, &issuer).map_err(failed)?;
        Ok(Issued { node_pem: certificate.pem(), node_key_pem: key.serialize_pem() })
    }

    /// Writes [`CA_FILE`] and [`CA_KEY_FILE`] into `dir`, durably; neither may exist.
    pub fn save(&self, dir: &Path) -> Result<(), SetupError> {
        write(dir, CA_FILE, &self.ca_pem)?;
        write(dir, CA_KEY_FILE, &self.key.serialize_pem())?;
        sync(dir)
    }
}

/// Writes [`NODE_FILE`], [`NODE_KEY_FILE`] and, where it is not yet, [`CA_FILE`] into `dir`, durably.
pub fn save_node(dir: &Path, ca_pem: &str, issued: &Issued) -> Result<(), SetupError> {
    if !dir.join(CA_FILE).exists() {
        write(dir, CA_FILE, ca_pem)?;
    }
    write(dir, NODE_FILE, &issued.node_pem)?;
    write(dir, NODE_KEY_FILE, &issued.node_key_pem)?;
    sync(dir)
}

fn params(cluster: ClusterId) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(format!("Lethe cluster {cluster}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params
}

fn named(name: String) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

fn failed(error: rcgen::Error) -> SetupError {
    SetupError::Certificate(error.to_string())
}

/// A new file that only its owner can read.
fn write(dir: &Path, name: &str, text: &str) -> Result<(), SetupError> {
    use std::os::unix::fs::OpenOptionsExt;
    let path: PathBuf = dir.join(name);
    let fail = |error: std::io::Error| SetupError::file(&path, format!("cannot be written: {error}"));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(fail)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(fail)
}

fn sync(dir: &Path) -> Result<(), SetupError> {
    let synced = fs::File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|error| SetupError::file(dir, format!("cannot be synced: {error}")))
}
