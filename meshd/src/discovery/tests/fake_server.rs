//! A server of the discovery API as far as a client sees it: checks signatures and nonces, keeps what
//! is put, streams what a test pushes, fails when told to.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use mesh_proto::discovery::{ErrorBody, ErrorCode, Info, WatchEvent};
use mesh_proto::request_auth::{
    HEADER_KEY, HEADER_NONCE, HEADER_REQUEST_ID, HEADER_SIGNATURE, SignedRequest,
};
use mesh_proto::{ClusterId, MemberId, ServerId};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::PATIENCE;

const SERVER: ServerId = ServerId([5; 16]);
const BODY_LIMIT: usize = 1 << 20;

/// What to answer once instead of the right thing.
#[derive(Debug)]
pub(super) enum Fault {
    Put(u16, ErrorBody),
    Watch(u16, ErrorBody),
    /// A PUT is taken and nothing is said.
    Silence,
}

/// What a test sees and sets.
#[derive(Debug)]
pub(super) struct Knobs {
    pub(super) nonce: String,
    pub(super) info_epoch: u64,
    pub(super) info_text: Option<String>,
    pub(super) infos: usize,
    pub(super) lease_s: u64,
    pub(super) faults: VecDeque<Fault>,
    pub(super) refused: Option<ClusterId>,
    pub(super) reports: BTreeMap<MemberId, Vec<u8>>,
    /// Method, path, body.
    pub(super) puts: Vec<(String, String, Vec<u8>)>,
    watches: VecDeque<(String, String)>,
    streams: Vec<mpsc::UnboundedSender<Bytes>>,
}

type Shared = Arc<Mutex<Knobs>>;

/// A running server; stops when dropped.
pub(super) struct FakeServer {
    address: SocketAddr,
    knobs: Shared,
    task: AbortHandle,
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeServer {
    pub(super) async fn start() -> Self {
        let knobs = Arc::new(Mutex::new(Knobs {
            nonce: "first".into(),
            info_epoch: 1,
            info_text: None,
            infos: 0,
            lease_s: 300,
            faults: VecDeque::new(),
            refused: None,
            reports: BTreeMap::new(),
            puts: Vec::new(),
            watches: VecDeque::new(),
            streams: Vec::new(),
        }));
        let router = Router::new()
            .route("/v1/info", get(info))
            .route("/v1/clusters/{cluster}/watch", get(signed))
            .route(
                "/v1/clusters/{cluster}/members/{member}",
                get(signed).put(signed),
            )
            .route(
                "/v1/clusters/{cluster}/members/{member}/report",
                get(signed).put(signed),
            )
            .with_state(knobs.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            address,
            knobs,
            task: task.abort_handle(),
        }
    }

    pub(super) async fn unused_url() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn set(&self, change: impl FnOnce(&mut Knobs)) {
        change(&mut self.knobs.lock().unwrap());
    }

    pub(super) fn state<T>(&self, look: impl FnOnce(&mut Knobs) -> T) -> T {
        look(&mut self.knobs.lock().unwrap())
    }

    /// The next watch request: method and path.
    pub(super) async fn watch(&self) -> (String, String) {
        self.wait(|knobs| knobs.watches.pop_front()).await
    }

    /// The first PUT.
    pub(super) async fn put(&self) -> (String, String, Vec<u8>) {
        self.wait(|knobs| knobs.puts.first().cloned()).await
    }

    /// Waits until every fault has happened.
    pub(super) async fn fault_taken(&self) {
        self.wait(|knobs| knobs.faults.is_empty().then_some(()))
            .await;
    }

    /// Sends a line to the newest stream.
    pub(super) async fn push(&self, event: &WatchEvent) {
        let line = serde_json::to_string(event).unwrap();
        self.push_text(&format!("{line}\n")).await;
    }

    pub(super) async fn push_text(&self, text: &str) {
        self.wait(|knobs| {
            knobs.streams.retain(|stream| !stream.is_closed());
            let stream = knobs.streams.last()?;
            stream.send(Bytes::from(text.to_owned())).ok()
        })
        .await;
    }

    /// Ends every stream.
    pub(super) async fn cut_streams(&self) {
        self.wait(|knobs| (!knobs.streams.is_empty()).then(|| knobs.streams.clear()))
            .await;
    }

    async fn wait<T>(&self, mut look: impl FnMut(&mut Knobs) -> Option<T>) -> T {
        timeout(PATIENCE, async {
            loop {
                if let Some(found) = self.state(&mut look) {
                    return found;
                }
                sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("what is waited for comes")
    }
}

async fn info(State(knobs): State<Shared>) -> Response {
    let mut knobs = knobs.lock().unwrap();
    knobs.infos += 1;
    if let Some(text) = &knobs.info_text {
        return text.clone().into_response();
    }
    axum::Json(Info {
        server: SERVER,
        epoch: knobs.info_epoch,
        nonce: knobs.nonce.clone(),
        stun_port: Some(3478),
        stun_address: None,
        your_address: "127.0.0.1".parse().unwrap(),
        time_ms: 0,
        lease_s: knobs.lease_s,
    })
    .into_response()
}

async fn signed(
    State(knobs): State<Shared>,
    Path(parts): Path<Vec<String>>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, BODY_LIMIT).await.unwrap();
    let path = head.uri.path_and_query().unwrap().to_string();
    let header = |name: &str| head.headers[name].to_str().unwrap().to_owned();
    let nonce = header(HEADER_NONCE);
    let request = SignedRequest {
        method: head.method.as_str(),
        path_and_query: &path,
        body: &body,
        server: SERVER,
        nonce: &nonce,
        request_id: &header(HEADER_REQUEST_ID),
    };
    let cluster: ClusterId = parts[0].parse().unwrap();
    request
        .verify(cluster, &header(HEADER_KEY), &header(HEADER_SIGNATURE))
        .expect("every request is signed for this server");
    if is_silent(&knobs, &head.method) {
        return std::future::pending().await;
    }
    let mut knobs = knobs.lock().unwrap();
    if nonce != knobs.nonce {
        return refuse(401, ErrorCode::NonceExpired);
    }
    if knobs.refused == Some(cluster) {
        return refuse(403, ErrorCode::ClusterNotAllowed);
    }
    let method = head.method.to_string();
    match (method.as_str(), parts.get(1)) {
        ("GET", None) => watch(&mut knobs, method, path),
        ("GET", Some(member)) => report(&knobs, member),
        _ => put(&mut knobs, method, path, body.to_vec()),
    }
}

fn is_silent(knobs: &Shared, method: &axum::http::Method) -> bool {
    let mut knobs = knobs.lock().unwrap();
    let silent =
        *method == axum::http::Method::PUT && matches!(knobs.faults.front(), Some(Fault::Silence));
    if silent {
        knobs.faults.pop_front();
    }
    silent
}

fn watch(knobs: &mut Knobs, method: String, path: String) -> Response {
    if let Some(Fault::Watch(..)) = knobs.faults.front()
        && let Some(Fault::Watch(status, body)) = knobs.faults.pop_front()
    {
        return (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response();
    }
    let (sender, lines) = mpsc::unbounded_channel();
    knobs.streams.push(sender);
    knobs.watches.push_back((method, path));
    Body::from_stream(UnboundedReceiverStream::new(lines).map(Ok::<_, std::io::Error>))
        .into_response()
}

fn report(knobs: &Knobs, member: &str) -> Response {
    match knobs.reports.get(&member.parse().unwrap()) {
        Some(report) => ([("mesh-age-s", "7")], report.clone()).into_response(),
        None => refuse(404, ErrorCode::NotFound),
    }
}

fn put(knobs: &mut Knobs, method: String, path: String, body: Vec<u8>) -> Response {
    if let Some(Fault::Put(..)) = knobs.faults.front()
        && let Some(Fault::Put(status, body)) = knobs.faults.pop_front()
    {
        return (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response();
    }
    knobs.puts.push((method, path, body));
    StatusCode::OK.into_response()
}

fn refuse(status: u16, code: ErrorCode) -> Response {
    let body = ErrorBody {
        code,
        message: "refused".into(),
        stored: None,
    };
    (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response()
}
