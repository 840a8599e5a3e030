//! TLS with a self-signed certificate, HTTP/2 and HTTP/1.1.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use reqwest::Certificate;

use crate::client::{Client, Node, TestServer};

pub(crate) fn certificate(directory: &Path) -> (String, (PathBuf, PathBuf)) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = (directory.join("cert.pem"), directory.join("key.pem"));
    std::fs::write(&files.0, cert.pem()).unwrap();
    std::fs::write(&files.1, signing_key.serialize_pem()).unwrap();
    (cert.pem(), files)
}

/// A client that trusts only `pem`.
fn trusting(pem: &str, address: SocketAddr) -> reqwest::ClientBuilder {
    // Fails only if another test was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .tls_certs_only([Certificate::from_pem(pem.as_bytes()).unwrap()])
        .resolve("localhost", address)
}

#[tokio::test]
async fn both_protocols_work_over_tls() {
    let directory = tempfile::tempdir().unwrap();
    let (pem, files) = certificate(directory.path());
    let server = TestServer::start_with(|settings| settings.tls = Some(files));
    let address = server.server.address();
    let url = format!("https://localhost:{}", address.port());
    for http1 in [false, true] {
        let mut builder = trusting(&pem, address);
        if http1 {
            builder = builder.http1_only();
        }
        let client = Client::connect_with(&url, builder).await;
        let node = Node::new(1, 1);
        client.register(&node, 1).await;
        let answer = client.get(&node.keys, &node.path()).await;
        let expected = if http1 {
            reqwest::Version::HTTP_11
        } else {
            reqwest::Version::HTTP_2
        };
        assert_eq!(answer.version(), expected);
        let (seen, _) = client.watch(&node.keys, None).await.sync().await;
        assert_eq!(seen, [(node.member(), 1)]);
    }
    let plain = reqwest::get(format!("http://{address}/healthz")).await;
    assert!(plain.is_err(), "plain HTTP on the TLS port");
    server.stop().await;
}

#[tokio::test]
async fn a_renewed_certificate_is_used_after_a_reload() {
    let directory = tempfile::tempdir().unwrap();
    let (old, files) = certificate(directory.path());
    let key_file = files.1.clone();
    let server = TestServer::start_with(|settings| settings.tls = Some(files));
    let address = server.server.address();
    let health = format!("https://localhost:{}/healthz", address.port());
    let reach = async |pem: &str| {
        let client = trusting(pem, address).build().unwrap();
        client.get(&health).send().await.is_ok()
    };
    let (new, _) = certificate(directory.path());
    assert!(reach(&old).await && !reach(&new).await);
    server.server.reload().unwrap();
    assert!(!reach(&old).await && reach(&new).await);
    std::fs::write(key_file, "nothing").unwrap();
    assert!(server.server.reload().is_err());
    assert!(reach(&new).await, "the last good one stays");
    server.stop().await;
}

/// As certbot and cert-manager do it: nobody sends a signal.
#[tokio::test]
async fn a_renewed_certificate_is_found_without_a_signal() {
    let directory = tempfile::tempdir().unwrap();
    let (old, files) = certificate(directory.path());
    let server = TestServer::start_with(|settings| settings.tls = Some(files.clone()));
    let address = server.server.address();
    let health = format!("https://localhost:{}/healthz", address.port());
    let reach = async |pem: &str| {
        let client = trusting(pem, address).build().unwrap();
        client.get(&health).send().await.is_ok()
    };
    server.server.tick().await;
    assert!(reach(&old).await);
    // Half of a pair is refused, the whole is taken, whichever file comes first.
    let key = std::fs::read(&files.1).unwrap();
    let (new, _) = certificate(directory.path());
    let new_key = std::fs::read(&files.1).unwrap();
    std::fs::write(&files.1, key).unwrap();
    server.server.tick().await;
    assert!(reach(&old).await && !reach(&new).await);
    std::fs::write(&files.1, new_key).unwrap();
    server.server.tick().await;
    assert!(!reach(&old).await && reach(&new).await);
    server.stop().await;
}
