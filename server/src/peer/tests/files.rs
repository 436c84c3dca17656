//! The cluster's authority and the files of its nodes.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use lethe_proto::{ClusterId, NodeId};
use uuid::Uuid;

use super::rig::*;
use crate::peer::{
    Config, Me, TlsFiles, bind,
    ca::{self, Authority},
    tls::Tls,
};

#[test]
fn an_authority_that_was_saved_issues_certificates_that_work() {
    let dir = tempfile::tempdir().unwrap();
    Authority::create(CLUSTER).unwrap().save(dir.path()).unwrap();
    let authority = Authority::load(dir.path(), CLUSTER).unwrap();
    let node = NodeId::from(7);
    ca::save_node(dir.path(), authority.ca_pem(), &authority.issue(node).unwrap()).unwrap();
    assert!(Tls::load(&TlsFiles::in_dir(dir.path()), Me { cluster: CLUSTER, node }).is_ok());
    for entry in fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.file_name());
    }
}

#[test]
fn files_that_exist_are_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::create(CLUSTER).unwrap();
    authority.save(dir.path()).unwrap();
    let error = Authority::create(CLUSTER).unwrap().save(dir.path()).unwrap_err().to_string();
    assert!(error.contains("ca.pem: cannot be written"), "{error}");
    assert_eq!(fs::read_to_string(dir.path().join(ca::CA_FILE)).unwrap(), authority.ca_pem());
}

#[test]
fn an_authority_whose_files_do_not_fit_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    Authority::create(CLUSTER).unwrap().save(dir.path()).unwrap();
    let load = |cluster| match Authority::load(dir.path(), cluster) {
        Ok(_) => panic!("it was taken"),
        Err(error) => error.to_string(),
    };
    let error = load(ClusterId(Uuid::from_u128(9)));
    assert!(error.contains("ca-key.pem: does not belong to the authority of cluster"), "{error}");
    let other = tempfile::tempdir().unwrap();
    Authority::create(CLUSTER).unwrap().save(other.path()).unwrap();
    fs::copy(other.path().join(ca::CA_KEY_FILE), dir.path().join(ca::CA_KEY_FILE)).unwrap();
    let error = load(CLUSTER);
    assert!(error.contains("ca-key.pem: does not belong to the authority of cluster"), "{error}");
    fs::write(dir.path().join(ca::CA_KEY_FILE), "junk").unwrap();
    assert!(load(CLUSTER).contains("ca-key.pem: holds no usable private key"));
    fs::remove_file(dir.path().join(ca::CA_FILE)).unwrap();
    assert!(load(CLUSTER).contains("ca.pem: cannot be read"));
}

#[tokio::test]
async fn wrong_files_of_a_node_are_named_with_the_reason() {
    let (ours, theirs) = (Certificates::new(), Certificates::new());
    let node = NodeId::from(1);
    let (good, other, foreign) = (ours.of(node), ours.of(NodeId::from(2)), theirs.of(node));
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| -> PathBuf {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let (missing, empty) = (dir.path().join("missing.pem"), write("empty.pem", ""));
    let table = [
        (TlsFiles { ca_pem_path: missing.clone(), ..good.clone() }, "missing.pem: cannot be read"),
        (TlsFiles { ca_pem_path: empty.clone(), ..good.clone() }, "empty.pem: holds no certificate"),
        (TlsFiles { node_pem_path: missing.clone(), ..good.clone() }, "missing.pem: cannot be read"),
        (TlsFiles { node_pem_path: other.node_pem_path, ..good.clone() }, "node.pem: is for node"),
        (TlsFiles { node_pem_path: good.ca_pem_path.clone(), ..good.clone() }, "ca.pem: does not name"),
        (TlsFiles { node_key_pem_path: missing, ..good.clone() }, "missing.pem: cannot be read"),
        (TlsFiles { node_key_pem_path: empty, ..good.clone() }, "empty.pem: holds no usable private key"),
        (
            TlsFiles { node_key_pem_path: other.node_key_pem_path, ..good.clone() },
            "node-key.pem: does not belong to the certificate in",
        ),
        (TlsFiles { ca_pem_path: foreign.ca_pem_path, ..good }, "node.pem: is not signed by an authority in"),
    ];
    for (files, expected) in table {
        let config = Config::new("127.0.0.1:0".parse().unwrap(), Some(files));
        let Err(error) = bind(config, Me { cluster: CLUSTER, node }).await else { panic!("{expected}") };
        assert!(error.to_string().contains(expected), "{error} <> {expected}");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let one = bound(config(None), 1).await;
    let taken = Config { listen: one.local_addr(), ..config(None) };
    let Err(error) = bind(taken, Me { cluster: CLUSTER, node: NodeId::from(2) }).await else { panic!("bound twice") };
    let (port, ip) = (one.local_addr().port(), one.local_addr().ip());
    assert!(error.to_string().starts_with(&format!("port {port} on {ip} is in use")), "{error}");
}
