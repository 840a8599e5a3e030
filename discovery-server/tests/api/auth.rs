//! Who is refused: everybody who cannot prove to hold the cluster secret, here and now, and every
//! member that writes for another.

use mesh_proto::discovery::{ErrorCode, members_path};
use mesh_proto::ids::to_hex;
use mesh_proto::request_auth::{HEADER_NONCE, SignedRequest};
use mesh_proto::{ClusterKeys, EnvelopeKind, ServerId};
use reqwest::{Method, StatusCode};

use crate::client::{Client, Node, TestServer, refusal};

#[tokio::test]
async fn requests_without_proof_are_refused() {
    let server = TestServer::start();
    let client = Client::connect(&server.url()).await;
    let node = Node::new(1, 1);
    client.register(&node, 1).await;
    let stranger = ClusterKeys::derive(&[9; 32]);
    for path in [
        node.path(),
        node.report_path(),
        members_path(&node.cluster()),
        format!("/v1/clusters/{}/watch", node.cluster()),
    ] {
        let answer = client.send(Method::GET, &path, Vec::new(), &[]).await;
        assert_eq!(
            refusal(answer).await.1.code,
            ErrorCode::Unauthorized,
            "no headers: {path}"
        );
        let (status, body) = refusal(client.get(&stranger, &path).await).await;
        assert_eq!(
            (status, body.code),
            (401, ErrorCode::Unauthorized),
            "wrong key: {path}"
        );
    }
    let (status, body) = refusal(client.put(&stranger, &node.path(), node.record(2)).await).await;
    assert_eq!((status, body.code), (401, ErrorCode::Unauthorized));
    let stored = client
        .get(&node.keys, &node.path())
        .await
        .bytes()
        .await
        .unwrap();
    assert_eq!(stored, node.record(1));
    server.stop().await;
}

#[tokio::test]
async fn a_signature_holds_for_one_request_at_one_server() {
    let server = TestServer::start();
    let client = Client::connect(&server.url()).await;
    let node = Node::new(1, 1);
    let (path, body) = (node.path(), node.record(1));

    let headers = client.headers(&node.keys, "PUT", &path, &body);
    let altered = client
        .send(Method::PUT, &path, node.record(2), &headers)
        .await;
    assert_eq!(
        refusal(altered).await.1.code,
        ErrorCode::Unauthorized,
        "another body"
    );
    let moved = client
        .send(Method::PUT, &format!("{path}?x=1"), body.clone(), &headers)
        .await;
    assert_eq!(
        refusal(moved).await.1.code,
        ErrorCode::Unauthorized,
        "another path"
    );
    let first = client
        .send(Method::PUT, &path, body.clone(), &headers)
        .await;
    assert_eq!(first.status(), StatusCode::NO_CONTENT);
    let again = client
        .send(Method::PUT, &path, body.clone(), &headers)
        .await;
    let (status, refused) = refusal(again).await;
    assert_eq!((status, refused.code), (401, ErrorCode::Replayed));

    let mut headers = client.headers(&node.keys, "PUT", &path, &body);
    for header in headers.iter_mut().filter(|(name, _)| *name == HEADER_NONCE) {
        header.1 = to_hex(&[7; 24]);
    }
    let forged = client
        .send(Method::PUT, &path, body.clone(), &headers)
        .await;
    assert_eq!(
        refusal(forged).await.1.code,
        ErrorCode::NonceExpired,
        "made-up nonce"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_signature_for_another_server_or_with_a_short_id_is_refused() {
    let server = TestServer::start();
    let mut client = Client::connect(&server.url()).await;
    let node = Node::new(1, 1);
    let (path, body) = (node.path(), node.record(1));
    let request_id = to_hex(&[5; 15]);
    let short = SignedRequest {
        method: "PUT",
        path_and_query: &path,
        body: &body,
        server: client.info.server,
        nonce: &client.info.nonce,
        request_id: &request_id,
    };
    let short = client
        .send(Method::PUT, &path, body.clone(), &short.sign(&node.keys))
        .await;
    assert_eq!(
        refusal(short).await.1.code,
        ErrorCode::Unauthorized,
        "short request id"
    );

    client.info.server = ServerId([9; 16]);
    let elsewhere = client.put(&node.keys, &path, body).await;
    assert_eq!(
        refusal(elsewhere).await.1.code,
        ErrorCode::Unauthorized,
        "another server's id"
    );
    server.stop().await;
}

#[tokio::test]
async fn nonces_of_another_process_are_refused_and_fetched_anew() {
    let server = TestServer::start();
    let mut client = Client::connect(&server.url()).await;
    let server = TestServer::start_in(server.stop().await, |_| {});
    let node = Node::new(1, 1);
    client.url = server.url();
    let (status, refused) =
        refusal(client.put(&node.keys, &node.path(), node.record(1)).await).await;
    assert_eq!((status, refused.code), (401, ErrorCode::NonceExpired));
    Client::connect(&server.url())
        .await
        .register(&node, 1)
        .await;
    server.stop().await;
}

#[tokio::test]
async fn a_member_writes_only_for_itself() {
    let server = TestServer::start();
    let client = Client::connect(&server.url()).await;
    let (honest, rogue) = (Node::new(1, 1), Node::new(1, 2));
    client.register(&honest, 1).await;

    let foreign = client
        .put(&rogue.keys, &honest.path(), rogue.record(5))
        .await;
    let (status, body) = refusal(foreign).await;
    assert_eq!(
        (status, body.code),
        (403, ErrorCode::BadEnvelope),
        "its own under another path"
    );

    let mut tampered = honest.record(5);
    let last = tampered.len() - 1;
    tampered[last] ^= 1;
    let (status, body) = refusal(client.put(&rogue.keys, &honest.path(), tampered).await).await;
    assert_eq!(
        (status, body.code),
        (422, ErrorCode::BadEnvelope),
        "a changed signature"
    );

    let other_cluster = Node::new(2, 1).record(5);
    let (status, body) =
        refusal(client.put(&rogue.keys, &honest.path(), other_cluster).await).await;
    assert_eq!(
        (status, body.code),
        (403, ErrorCode::BadEnvelope),
        "of another cluster"
    );

    let garbage = client
        .put(&rogue.keys, &honest.path(), b"garbage".to_vec())
        .await;
    assert_eq!(refusal(garbage).await.0, 422);
    let stored = client
        .get(&rogue.keys, &honest.path())
        .await
        .bytes()
        .await
        .unwrap();
    assert_eq!(stored, honest.record(1));
    server.stop().await;
}

#[tokio::test]
async fn only_allowed_clusters_are_served_and_none_can_be_enumerated() {
    let allowed = Node::new(1, 1);
    let id = allowed.cluster();
    let server = TestServer::start_with(|settings| settings.allow_clusters = vec![id]);
    let client = Client::connect(&server.url()).await;
    client.register(&allowed, 1).await;
    let other = Node::new(2, 1);
    let (status, body) = refusal(
        client
            .put(&other.keys, &other.path(), other.record(1))
            .await,
    )
    .await;
    assert_eq!((status, body.code), (403, ErrorCode::ClusterNotAllowed));
    server.stop().await;

    let server = TestServer::start();
    let client = Client::connect(&server.url()).await;
    let answer = client
        .get(&other.keys, &members_path(&other.cluster()))
        .await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.bytes().await.unwrap().len(), 0);
    // Without a signature a served and an unknown cluster look the same.
    client.register(&allowed, 1).await;
    let mut answers = Vec::new();
    for cluster in [allowed.cluster(), other.cluster()] {
        let answer = client
            .send(Method::GET, &members_path(&cluster), Vec::new(), &[])
            .await;
        answers.push(refusal(answer).await);
    }
    assert_eq!(answers[0], answers[1]);
    server.stop().await;
}

#[tokio::test]
async fn a_member_deletes_nobody_else() {
    let server = TestServer::start();
    let client = Client::connect(&server.url()).await;
    let (honest, rogue) = (Node::new(1, 1), Node::new(1, 2));
    client.register(&honest, 1).await;
    let leave = rogue.seal(EnvelopeKind::Left, u64::MAX, "{}");
    let under_its_path = client.put(&rogue.keys, &honest.path(), leave.clone()).await;
    assert_eq!(refusal(under_its_path).await.0, 403, "its own leave");
    // The honest one's member id on the rogue's leave: the id is the hash of another identity key.
    let mut relabelled = leave;
    let id = honest.record(1)[34..66].to_vec();
    relabelled[34..66].copy_from_slice(&id);
    let (status, body) = refusal(
        client
            .put(&rogue.keys, &honest.path(), relabelled.clone())
            .await,
    )
    .await;
    assert_eq!((status, body.code), (422, ErrorCode::BadEnvelope));
    // And its identity key too: then the signature is not the one of that key.
    let key = honest.record(1)[66..98].to_vec();
    relabelled[66..98].copy_from_slice(&key);
    let (status, body) = refusal(client.put(&rogue.keys, &honest.path(), relabelled).await).await;
    assert_eq!((status, body.code), (422, ErrorCode::BadEnvelope));
    for method in [Method::DELETE, Method::POST, Method::PATCH] {
        let headers = client.headers(&rogue.keys, method.as_str(), &honest.path(), &[]);
        let answer = client
            .send(method.clone(), &honest.path(), Vec::new(), &headers)
            .await;
        assert!(answer.status().is_client_error(), "{method}");
    }
    let (seen, _) = client.watch(&rogue.keys, None).await.sync().await;
    assert_eq!(seen.len(), 1);
    let stored = client.get(&rogue.keys, &honest.path()).await;
    assert_eq!(stored.headers()["mesh-fresh"], "true");
    assert_eq!(stored.bytes().await.unwrap(), honest.record(1));
    server.stop().await;
}
