//! TLS: the protocol is agreed on by ALPN, and wrong files are named.

use std::path::PathBuf;
use std::sync::Arc;

use http::{Request, Version};
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use lethe_runtime::body;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::rig::*;
use crate::gateway::{Config, Gateway, Limits, Tls};

pub struct Files {
    directory: tempfile::TempDir,
    pub certificate: rcgen::CertifiedKey<rcgen::KeyPair>,
}

impl Files {
    pub fn new() -> Self {
        let certificate = rcgen::generate_simple_self_signed(["w.example".to_owned()]).unwrap();
        Self { directory: tempfile::tempdir().unwrap(), certificate }
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn tls(&self) -> Tls {
        Tls {
            cert_pem_path: self.write("cert.pem", &self.certificate.cert.pem()),
            key_pem_path: self.write("key.pem", &self.certificate.signing_key.serialize_pem()),
        }
    }
}

async fn start_tls(files: &Files, limits: Limits) -> Rig {
    start_with(Config { tls: Some(files.tls()), limits, ..Config::new(loopback()) }, Handler(describe)).await
}

async fn connect(rig: &Rig, files: &Files, alpn: &[&[u8]]) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(files.certificate.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let tcp = TcpStream::connect(rig.addr).await.unwrap();
    let name = ServerName::try_from("w.example").unwrap();
    soon("the handshake", TlsConnector::from(Arc::new(config)).connect(name, tcp)).await.unwrap()
}

#[tokio::test]
async fn alpn_chooses_http_2_when_the_client_can() {
    let files = Files::new();
    let rig = start_tls(&files, Limits::default()).await;
    let tls = connect(&rig, &files, &[b"h2", b"http/1.1"]).await;
    assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (mut send, connection) = builder.handshake(TokioIo::new(tls)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("https://w.example/a").body(body::empty()).unwrap();
    let response = soon("a response", send.send_request(request)).await.unwrap();
    assert_eq!(response.version(), Version::HTTP_2);
    let text = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(text, "GET https://w.example/a ");
    connection.abort();
}

#[tokio::test]
async fn without_alpn_it_is_http_1_1_and_the_url_is_https() {
    let files = Files::new();
    let rig = start_tls(&files, Limits::default()).await;
    for alpn in [&[][..], &[&b"http/1.1"[..]][..]] {
        let tls = connect(&rig, &files, alpn).await;
        let (mut send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = Request::get("/a").header("host", "w.example").body(body::empty()).unwrap();
        let response = soon("a response", send.send_request(request)).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "GET https://w.example/a ");
        connection.abort();
    }
}

#[tokio::test]
async fn who_does_not_speak_tls_is_hung_up_on() {
    let files = Files::new();
    let rig = start_tls(&files, quick()).await;
    let mut plain = Raw::connect(rig.addr).await;
    plain.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(!plain.rest().await.starts_with("HTTP"));
    let mut silent = Raw::connect(rig.addr).await;
    assert_eq!(silent.rest().await, "");
    let mut half = Raw::connect(rig.addr).await;
    half.send(b"\x16\x03\x01\x02\x00\x01").await;
    half.rest().await;
    let tls = connect(&rig, &files, &[b"http/1.1"]).await;
    assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]), "others are served");
}

#[tokio::test]
async fn wrong_files_are_named_with_the_reason() {
    let files = Files::new();
    let good = files.tls();
    let other = Files::new();
    let missing = files.directory.path().join("missing.pem");
    let table = [
        (missing.clone(), good.key_pem_path.clone(), "missing.pem: cannot be read: No such file"),
        (good.cert_pem_path.clone(), missing, "missing.pem: cannot be read: No such file"),
        (files.write("empty.pem", ""), good.key_pem_path.clone(), "empty.pem: holds no certificate"),
        (good.cert_pem_path.clone(), files.write("junk.pem", "junk"), "junk.pem: holds no usable private key"),
        (good.cert_pem_path.clone(), good.cert_pem_path.clone(), "cert.pem: holds no usable private key"),
        (good.cert_pem_path.clone(), other.tls().key_pem_path, "key.pem: does not belong to the certificate in"),
    ];
    for (cert_pem_path, key_pem_path, expected) in table {
        let tls = Some(Tls { cert_pem_path, key_pem_path });
        let Err(error) = Gateway::bind(Config { tls, ..Config::new(loopback()) }).await else { panic!("{expected}") };
        assert!(error.to_string().contains(expected), "{error} <> {expected}");
    }
}
