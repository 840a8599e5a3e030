//! A small client that signs like a node does, and a server to talk to.

use std::time::Duration;

use discovery_server::server::Server;
use discovery_server::settings::Settings;
use mesh_proto::discovery::Revision;
use mesh_proto::discovery::{ErrorBody, Info, WatchEvent, member_path, report_path, watch_path};
use mesh_proto::envelope::Contents;
use mesh_proto::ids::to_hex;
use mesh_proto::request_auth::SignedRequest;
use mesh_proto::{ClusterId, ClusterKeys, Envelope, EnvelopeKind, IdentityKey, MemberId, Sequence};
use reqwest::{Method, Response, StatusCode};
use tempfile::TempDir;

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A server of this process with its directory.
pub(crate) struct TestServer {
    pub(crate) server: Server,
    pub(crate) directory: TempDir,
}

impl TestServer {
    pub(crate) fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub(crate) fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::start_in(TempDir::new().unwrap(), change)
    }

    pub(crate) fn start_in(directory: TempDir, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::new(directory.path().to_owned());
        settings.listen = "127.0.0.1:0".parse().unwrap();
        change(&mut settings);
        let server = Server::start(settings).unwrap();
        Self { server, directory }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    pub(crate) async fn stop(self) -> TempDir {
        self.server.stop().await;
        self.directory
    }
}

/// A member of the cluster with secret `[cluster; 32]`.
pub(crate) struct Node {
    pub(crate) keys: ClusterKeys,
    pub(crate) identity: IdentityKey,
}

impl Node {
    pub(crate) fn new(cluster: u8, node: u8) -> Self {
        Self {
            keys: ClusterKeys::derive(&[cluster; 32]),
            identity: IdentityKey::from_seed(&[node; 32]),
        }
    }

    pub(crate) fn cluster(&self) -> ClusterId {
        self.keys.cluster_id()
    }

    pub(crate) fn member(&self) -> MemberId {
        self.identity.public_key().member_id()
    }

    pub(crate) fn path(&self) -> String {
        member_path(&self.cluster(), &self.member())
    }

    pub(crate) fn report_path(&self) -> String {
        report_path(&self.cluster(), &self.member())
    }

    pub(crate) fn seal(&self, kind: EnvelopeKind, sequence: u64, text: &str) -> Vec<u8> {
        let contents = Contents {
            kind,
            sequence: Sequence(sequence),
            plaintext: text.as_bytes(),
        };
        let nonce = [sequence as u8; 24];
        Envelope::seal(&self.keys, &self.identity, contents, nonce)
            .unwrap()
            .encode()
    }

    pub(crate) fn record(&self, sequence: u64) -> Vec<u8> {
        self.seal(EnvelopeKind::Record, sequence, "{}")
    }
}

/// Signs and sends requests to one server.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) http: reqwest::Client,
    pub(crate) url: String,
    pub(crate) info: Info,
}

impl Client {
    pub(crate) async fn connect(url: &str) -> Self {
        Self::connect_with(url, reqwest::Client::builder()).await
    }

    pub(crate) async fn connect_with(url: &str, builder: reqwest::ClientBuilder) -> Self {
        // Fails only if another test was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = builder.build().unwrap();
        let info = http.get(format!("{url}/v1/info")).send().await.unwrap();
        let info = info.error_for_status().unwrap().json().await.unwrap();
        Self {
            http,
            url: url.to_owned(),
            info,
        }
    }

    pub(crate) fn headers(
        &self,
        keys: &ClusterKeys,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> [(&'static str, String); 4] {
        let mut id = [0; 16];
        getrandom::fill(&mut id).unwrap();
        let request = SignedRequest {
            method,
            path_and_query: path,
            body,
            server: self.info.server,
            nonce: &self.info.nonce,
            request_id: &to_hex(&id),
        };
        request.sign(keys)
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        headers: &[(&'static str, String)],
    ) -> Response {
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.url))
            .body(body);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        request.send().await.unwrap()
    }

    pub(crate) async fn put(&self, keys: &ClusterKeys, path: &str, body: Vec<u8>) -> Response {
        let headers = self.headers(keys, "PUT", path, &body);
        self.send(Method::PUT, path, body, &headers).await
    }

    pub(crate) async fn get(&self, keys: &ClusterKeys, path: &str) -> Response {
        let headers = self.headers(keys, "GET", path, b"");
        self.send(Method::GET, path, Vec::new(), &headers).await
    }

    /// Puts a record that must be taken.
    pub(crate) async fn register(&self, node: &Node, sequence: u64) {
        let answer = self
            .put(&node.keys, &node.path(), node.record(sequence))
            .await;
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    }

    pub(crate) async fn watch(&self, keys: &ClusterKeys, from: Option<Revision>) -> Watch {
        let response = self.get(keys, &watch_path(&keys.cluster_id(), from)).await;
        assert_eq!(response.status(), StatusCode::OK);
        Watch {
            response,
            buffer: Vec::new(),
        }
    }
}

/// Lines of a watch.
pub(crate) struct Watch {
    response: Response,
    buffer: Vec<u8>,
}

impl Watch {
    /// The next event but heartbeats, which may come at any time; none at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<WatchEvent> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<_> = self.buffer.drain(..=end).collect();
                let event = serde_json::from_slice(&line).unwrap();
                if !matches!(event, WatchEvent::Heartbeat { .. }) {
                    return Some(event);
                }
                continue;
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk())
                .await
                .unwrap();
            self.buffer.extend_from_slice(&chunk.unwrap()?);
        }
    }

    /// Reads up to and with `synced`: the envelopes' members and sequences, and the revision.
    pub(crate) async fn sync(&mut self) -> (Vec<(MemberId, u64)>, Revision) {
        let mut seen = Vec::new();
        loop {
            match self.next().await.unwrap() {
                WatchEvent::Member(line) => {
                    let envelope = line.envelope.decode().unwrap().verify().unwrap();
                    seen.push((envelope.member(), envelope.sequence().0));
                }
                WatchEvent::Synced { revision } => return (seen, revision),
                other => panic!("{other:?} before synced"),
            }
        }
    }
}

/// Status and code of a refusal.
pub(crate) async fn refusal(response: Response) -> (u16, ErrorBody) {
    let status = response.status().as_u16();
    (status, response.json().await.unwrap())
}
