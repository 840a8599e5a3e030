//! etcd's JSON gateway (gRPC over HTTP with JSON, `/v3/…`), as far as it is needed: ranges, transactions,
//! leases and watches, at whichever of several endpoints answers. Knows nothing of members.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Client, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, de};
use serde_json::{Value, json};

/// A member of etcd that is alone for a moment answers late; a dead one refuses at once.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);
const CONNECT_TIMEOUT: Duration = Duration::from_millis(800);
/// A connection without acknowledgement for this long is dead.
const DEAD_AFTER: Duration = Duration::from_secs(4);
const KEEPALIVE: Duration = Duration::from_secs(1);

/// Why etcd did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EtcdError {
    /// No endpoint answered; the last one's reason.
    #[error("no endpoint of etcd answers, the last says: {0}")]
    Unreachable(String),
    /// It answered with an error, or something that is no answer.
    #[error("etcd refused: {0}")]
    Refused(String),
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct KeyValue {
    /// The key.
    #[serde(deserialize_with = "bytes")]
    pub(super) key: Vec<u8>,
    /// The value; empty in a deletion.
    #[serde(default, deserialize_with = "bytes")]
    pub(super) value: Vec<u8>,
    /// Revision of its last change; of the deletion in a deletion.
    #[serde(default, deserialize_with = "number")]
    pub(super) mod_revision: u64,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Event {
    #[serde(default)]
    r#type: String,
    /// What changed.
    pub(super) kv: KeyValue,
}

impl Event {
    /// True if the key is gone.
    pub(super) fn is_deletion(&self) -> bool {
        self.r#type == "DELETE"
    }
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Header {
    #[serde(default, deserialize_with = "number")]
    pub(super) revision: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct RangeAnswer {
    pub(super) header: Header,
    #[serde(default)]
    pub(super) kvs: Vec<KeyValue>,
    #[serde(default)]
    pub(super) more: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct TxnAnswer {
    pub(super) header: Header,
    #[serde(default)]
    pub(super) succeeded: bool,
    #[serde(default)]
    responses: Vec<TxnPart>,
}

#[derive(Debug, Deserialize)]
struct TxnPart {
    response_range: Option<RangePart>,
}

#[derive(Debug, Deserialize)]
struct RangePart {
    #[serde(default)]
    kvs: Vec<KeyValue>,
}

impl TxnAnswer {
    /// The first key that the transaction read.
    pub(super) fn found(&self) -> Option<&KeyValue> {
        let mut ranges = self
            .responses
            .iter()
            .filter_map(|part| part.response_range.as_ref());
        ranges.find_map(|range| range.kvs.first())
    }
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct WatchLine {
    #[serde(default)]
    pub(super) result: WatchResult,
    pub(super) error: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct WatchResult {
    #[serde(default)]
    pub(super) events: Vec<Event>,
    #[serde(default)]
    pub(super) canceled: bool,
    /// Set if what was asked for is compacted away.
    #[serde(default, deserialize_with = "number")]
    pub(super) compact_revision: u64,
}

/// The members of one etcd cluster.
#[derive(Debug)]
pub struct Gateway {
    http: Client,
    endpoints: Vec<Url>,
    preferred: AtomicUsize,
}

impl Gateway {
    /// Talks to these endpoints, the first one first.
    ///
    /// # Errors
    /// [`EtcdError::Refused`] if no HTTP client can be made.
    pub fn new(endpoints: Vec<Url>) -> Result<Self, EtcdError> {
        // Fails only if there is one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_user_timeout(DEAD_AFTER)
            .tcp_keepalive(KEEPALIVE)
            .tcp_keepalive_interval(KEEPALIVE);
        if endpoints.iter().all(|url| url.scheme() == "http") {
            builder = builder.tls_certs_only([]);
        }
        let http = builder
            .build()
            .map_err(|error| EtcdError::Refused(error.to_string()))?;
        Ok(Self {
            http,
            endpoints,
            preferred: AtomicUsize::new(0),
        })
    }

    /// Up to `limit` keys from `start` to before `end`, as they were at `revision` (0: now).
    pub(super) async fn range(
        &self,
        (start, end): (&[u8], &[u8]),
        limit: usize,
        revision: u64,
    ) -> Result<RangeAnswer, EtcdError> {
        let body = json!({
            "key": text(start), "range_end": text(end), "limit": limit, "revision": revision,
        });
        self.call("kv/range", &body).await
    }

    /// Does `then` if the keys' revisions are as given, else reads the first of them.
    pub(super) async fn transaction(
        &self,
        (key, revision): (&[u8], u64),
        then: Vec<Value>,
    ) -> Result<TxnAnswer, EtcdError> {
        let body = json!({
            "compare": [{
                "key": text(key), "target": "MOD", "result": "EQUAL", "mod_revision": revision,
            }],
            "success": then,
            "failure": [{ "request_range": { "key": text(key) } }],
        });
        self.call("kv/txn", &body).await
    }

    /// Gives the lease its full term again; false if there is no such lease.
    pub(super) async fn keep_alive(&self, lease: i64) -> Result<bool, EtcdError> {
        #[derive(Deserialize)]
        struct Answer {
            result: Kept,
        }
        #[derive(Deserialize)]
        struct Kept {
            #[serde(default, rename = "TTL", deserialize_with = "number")]
            seconds: u64,
        }
        let answer: Answer = self
            .call("lease/keepalive", &json!({ "ID": lease }))
            .await?;
        Ok(answer.result.seconds > 0)
    }

    /// Makes a lease; one that is there already is as good.
    pub(super) async fn grant(&self, lease: i64, seconds: u64) -> Result<(), EtcdError> {
        let body = json!({ "ID": lease, "TTL": seconds });
        match self.call::<Value>("lease/grant", &body).await {
            Err(EtcdError::Refused(reason)) if reason.contains("already exists") => Ok(()),
            done => done.map(|_| ()),
        }
    }

    /// Changes of the keys from `start` to before `end`, from `revision` on: a stream of lines. Ends
    /// when the endpoint has no leader.
    pub(super) async fn watch(
        &self,
        (start, end): (&[u8], &[u8]),
        revision: u64,
    ) -> Result<Response, EtcdError> {
        let body = json!({ "create_request": {
            "key": text(start), "range_end": text(end), "start_revision": revision,
        }});
        self.first_answer("watch", &body, |request| {
            request.header("Grpc-Metadata-hasleader", "true")
        })
        .await
    }

    /// The next call begins with another endpoint.
    pub(super) fn give_up_endpoint(&self) {
        self.preferred.fetch_add(1, Ordering::Relaxed);
    }

    async fn call<T: DeserializeOwned>(&self, method: &str, body: &Value) -> Result<T, EtcdError> {
        let answer = self
            .first_answer(method, body, |request| request.timeout(CALL_TIMEOUT))
            .await?;
        let bytes = answer.bytes().await;
        let bytes = bytes.map_err(|error| EtcdError::Unreachable(error.to_string()))?;
        // The answer to a keepalive is a stream of one line.
        serde_json::from_slice(&bytes).map_err(|error| EtcdError::Refused(error.to_string()))
    }

    /// Asks one endpoint after the other. An answer that says the endpoint is cut off counts as none.
    async fn first_answer(
        &self,
        method: &str,
        body: &Value,
        finish: impl Fn(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
    ) -> Result<Response, EtcdError> {
        let mut last = String::new();
        for _ in 0..self.endpoints.len() {
            let index = self.preferred.load(Ordering::Relaxed) % self.endpoints.len();
            let target = self.endpoints[index].join(&format!("/v3/{method}"));
            let target = target.map_err(|error| EtcdError::Refused(error.to_string()))?;
            let request = finish(self.http.post(target).json(body));
            let asked = tokio::time::timeout(CALL_TIMEOUT, request.send()).await;
            match asked {
                Ok(Ok(answer)) if answer.status().is_success() => return Ok(answer),
                Ok(Ok(answer)) => {
                    let status = answer.status();
                    let reason = answer.text().await.unwrap_or_default();
                    // 408 is how the gateway says that the members did not agree in time.
                    if status.is_client_error() && status != StatusCode::REQUEST_TIMEOUT {
                        return Err(EtcdError::Refused(reason));
                    }
                    last = reason;
                }
                Ok(Err(error)) => last = error.to_string(),
                Err(_) => "it did not answer in time".clone_into(&mut last),
            }
            self.preferred.store(index + 1, Ordering::Relaxed);
        }
        Err(EtcdError::Unreachable(last))
    }
}

/// Bytes as the gateway writes them.
pub(super) fn text(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The gateway writes 64-bit numbers as strings.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    String::deserialize(deserializer)?
        .parse()
        .map_err(de::Error::custom)
}

fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    STANDARD
        .decode(String::deserialize(deserializer)?)
        .map_err(de::Error::custom)
}
