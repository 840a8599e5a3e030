//! TLS with a self-signed certificate, HTTP/2 and HTTP/1.1.

use rcgen::{CertifiedKey, generate_simple_self_signed};
use reqwest::Certificate;

use crate::client::{Client, Node, TestServer};

#[tokio::test]
async fn both_protocols_work_over_tls() {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (
        directory.path().join("cert.pem"),
        directory.path().join("key.pem"),
    );
    std::fs::write(&certificate, cert.pem()).unwrap();
    std::fs::write(&key, signing_key.serialize_pem()).unwrap();
    let server = TestServer::start_with(|settings| settings.tls = Some((certificate, key)));
    let address = server.server.address();
    let url = format!("https://localhost:{}", address.port());
    for http1 in [false, true] {
        let trusted = Certificate::from_pem(cert.pem().as_bytes()).unwrap();
        let mut builder = reqwest::Client::builder()
            .tls_certs_only([trusted])
            .resolve("localhost", address);
        if http1 {
            builder = builder.http1_only();
        }
        // Fails only if another test was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
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
