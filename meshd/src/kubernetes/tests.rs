//! Against a stand-in of the API server that serves a recorded Node over TLS, to the right token only.

use std::fs;

use axum::Router;
use axum::extract::Path as Segment;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use tempfile::TempDir;

use super::*;

const RECORDED: &str = include_str!("recorded_node.json");

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn a_recorded_node() {
    let facts = parse(RECORDED.as_bytes()).unwrap();
    assert_eq!(facts.zone.as_deref(), Some("eu-central-1a"));
    assert_eq!(
        facts.networks,
        nets(&["10.244.3.0/24", "fd00:10:244:3::/64"])
    );
}

#[test]
fn nodes_without_and_with_odd_fields() {
    let bare = r#"{"kind":"Node","metadata":{"name":"a"},"spec":{}}"#;
    assert_eq!(parse(bare.as_bytes()), Ok(NodeFacts::default()));
    let one = r#"{"kind":"Node","spec":{"podCIDR":"10.1.0.0/24"}}"#;
    assert_eq!(
        parse(one.as_bytes()).unwrap().networks,
        nets(&["10.1.0.0/24"])
    );
    for (odd, part) in [
        (r#"{"kind":"Status"}"#, "no Node object"),
        ("<html>", "expected value"),
        (r#"{"kind":"Node","spec":{"podCIDR":"10.1"}}"#, "a pod CIDR"),
        (
            r#"{"kind":"Node","spec":{"podCIDR":"127.0.0.0/8"}}"#,
            "cannot be routed",
        ),
        (
            r#"{"kind":"Node","metadata":{"labels":{"topology.kubernetes.io/zone":"a b"}}}"#,
            "cannot be a zone",
        ),
    ] {
        assert!(parse(odd.as_bytes()).unwrap_err().contains(part), "{odd}");
    }
}

async fn node(Segment(name): Segment<String>, headers: HeaderMap) -> (StatusCode, &'static str) {
    let token = headers
        .get("authorization")
        .and_then(|value| value.to_str().ok());
    match (token, name.as_str()) {
        (Some("Bearer right"), "worker-3") => (StatusCode::OK, RECORDED),
        (Some("Bearer right"), "denied") => (StatusCode::FORBIDDEN, "{}"),
        (Some("Bearer right"), _) => (StatusCode::NOT_FOUND, "{}"),
        _ => (StatusCode::UNAUTHORIZED, "{}"),
    }
}

/// Serves over TLS as an API server does; returns its port and the certificate to trust.
async fn stand_in() -> (u16, String) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let behind = plain.local_addr().unwrap();
    let router = Router::new().route("/api/v1/nodes/{name}", get(node));
    tokio::spawn(async move { axum::serve(plain, router).await });
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let tls = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(tls));
    let outside = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = outside.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = outside.accept().await {
            let Ok(mut secure) = acceptor.accept(stream).await else {
                continue;
            };
            let mut inside = tokio::net::TcpStream::connect(behind).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut secure, &mut inside).await;
        }
    });
    (port, made.cert.pem())
}

#[tokio::test]
async fn asks_with_the_service_account() {
    let (port, ca) = stand_in().await;
    let account = TempDir::new().unwrap();
    fs::write(account.path().join("ca.crt"), ca).unwrap();
    fs::write(account.path().join("token"), "wrong").unwrap();
    let server = ApiServer::at(
        &format!("https://127.0.0.1:{port}"),
        account.path().to_owned(),
    )
    .unwrap();
    let refused = server.node("worker-3").await.unwrap_err().to_string();
    assert!(refused.contains("401"), "{refused}");
    // The kubelet replaces the token while the daemon runs.
    fs::write(account.path().join("token"), "right\n").unwrap();
    let facts = server.node("worker-3").await.unwrap();
    assert_eq!(facts, parse(RECORDED.as_bytes()).unwrap());
    for (name, part) in [
        ("denied", "needs the right to `get` `nodes`"),
        ("other", "MESHD_NODE_NAME"),
        // Nothing a name holds leads to another object.
        ("../pods", "404"),
    ] {
        let error = server.node(name).await.unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[tokio::test]
async fn only_the_clusters_own_certificate_is_trusted() {
    let (port, _) = stand_in().await;
    let (_, other) = stand_in().await;
    let account = TempDir::new().unwrap();
    fs::write(account.path().join("ca.crt"), other).unwrap();
    fs::write(account.path().join("token"), "right").unwrap();
    let url = format!("https://127.0.0.1:{port}");
    let server = ApiServer::at(&url, account.path().to_owned()).unwrap();
    let error = server.node("worker-3").await.unwrap_err();
    assert!(matches!(error, KubernetesError::Api(_)), "{error}");
}

#[test]
fn what_was_kept_is_read_again() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("kubernetes.json");
    assert_eq!(read_kept(&path), None);
    let facts = parse(RECORDED.as_bytes()).unwrap();
    fs::write(&path, serde_json::to_vec(&facts).unwrap()).unwrap();
    assert_eq!(read_kept(&path), Some(facts));
    fs::write(&path, "{").unwrap();
    assert_eq!(read_kept(&path), None);
}
