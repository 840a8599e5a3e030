//! The unsigned paths: what they tell, and what they must not.

use crate::client::{Client, Node, TestServer};

#[tokio::test]
async fn unsigned_paths_answer_and_name_nobody() {
    let server = TestServer::start();
    let client = Client::connect(&server.url()).await;
    let node = Node::new(1, 1);
    client.register(&node, 1).await;
    assert_eq!(client.info.your_address, server.server.address().ip());
    assert_eq!(
        client.info.stun_port,
        server.server.stun_address().map(|at| at.port())
    );
    assert_eq!(client.info.lease_s, 300);
    for (path, part) in [
        ("/", "mesh discovery server"),
        ("/healthz", "ok"),
        ("/readyz", "ready"),
        ("/metrics", "discovery_members 1"),
        (
            "/metrics",
            "discovery_requests_total{route=\"member\",status=\"204\"} 1",
        ),
    ] {
        let answer = client
            .http
            .get(format!("{}{path}", client.url))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let text = answer.text().await.unwrap();
        assert!(text.contains(part), "{path}: {text}");
        assert!(!text.contains(&node.member().short()), "{path}");
        assert!(!text.contains(&node.cluster().short()), "{path}");
    }
    for (path, status) in [("/v1/nothing", 404), ("/v1/clusters/xyz/members", 400)] {
        let answer = client
            .http
            .get(format!("{}{path}", client.url))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), status, "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_store_holds_nothing_in_clear() {
    let server = TestServer::start();
    let client = Client::connect(&server.url()).await;
    let node = Node::new(1, 1);
    let secret = "a-name-and-an-address-192.0.2.1";
    let sealed = node.seal(mesh_proto::EnvelopeKind::Record, 1, secret);
    assert!(
        client
            .put(&node.keys, &node.path(), sealed.clone())
            .await
            .status()
            .is_success()
    );
    let directory = server.stop().await;
    let mut file = Vec::new();
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            file.extend(std::fs::read(path).unwrap());
        }
    }
    let holds = |part: &[u8]| file.windows(part.len()).any(|window| window == part);
    assert!(holds(&sealed), "the search works");
    assert!(!holds(secret.as_bytes()));
    assert!(!holds(&[1; 32]), "the cluster secret");
    assert!(!holds(b"127.0.0.1"));
}
