//! A session with one server: its HTTP client, identity and nonce; signs requests and signs again when
//! the nonce has run out.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use mesh_proto::discovery::{ENVELOPE_CONTENT_TYPE, ErrorCode, Info};
use mesh_proto::ids::to_hex;
use mesh_proto::request_auth::SignedRequest;
use mesh_proto::{ClusterKeys, ServerId};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Method, Response, Url};
use tokio::time::{Instant, timeout_at};

use super::error::RequestError;

/// For an answer to begin. Streams then have their own bound.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// For the whole of a short answer: one that drips a byte at a time must not hold anybody up.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Characters of a nonce; it travels back in a header.
const MAX_NONCE: usize = 256;
/// Bytes of `/v1/info`.
const MAX_INFO_BYTES: usize = 16 * 1024;

/// What is signed for.
#[derive(Debug, Clone)]
struct Ticket {
    server: ServerId,
    nonce: String,
}

/// A session with one server.
#[derive(Debug)]
pub(super) struct Session {
    client: Client,
    url: Url,
    ticket: Mutex<Ticket>,
    /// What the server said of itself when the session began.
    pub(super) info: Info,
}

impl Session {
    /// Asks the server who it is.
    pub(super) async fn begin(client: Client, url: Url) -> Result<(Self, Response), RequestError> {
        let (info, response) = fetch_info(&client, &url).await?;
        let ticket = Mutex::new(Ticket {
            server: info.server,
            nonce: info.nonce.clone(),
        });
        let session = Self {
            client,
            url,
            ticket,
            info,
        };
        Ok((session, response))
    }

    /// The server, for messages.
    pub(super) const fn url(&self) -> &Url {
        &self.url
    }

    /// A nonce that came with a heartbeat. False if it cannot be one: the old one stays.
    #[must_use]
    pub(super) fn set_nonce(&self, nonce: String) -> bool {
        let fits = is_nonce(&nonce);
        if fits {
            self.ticket().nonce = nonce;
        }
        fits
    }

    /// Sends a signed GET or, with a body, a PUT, whose answer has to begin within `limit`; one that is
    /// not 2xx is an error.
    pub(super) async fn send(
        &self,
        keys: &ClusterKeys,
        path: &str,
        body: Option<Vec<u8>>,
        limit: Duration,
    ) -> Result<Response, RequestError> {
        let error = match self.send_once(keys, path, body.clone(), limit).await {
            Err(error) => error,
            done => return done,
        };
        match error.code() {
            // A restarted server may not know its old nonces, or itself, any more.
            Some(ErrorCode::NonceExpired | ErrorCode::Unauthorized) => {
                let (info, _) = fetch_info(&self.client, &self.url).await?;
                *self.ticket() = Ticket {
                    server: info.server,
                    nonce: info.nonce,
                };
            }
            // The first copy was taken, its answer lost; a new request id makes a new request.
            Some(ErrorCode::Replayed) => {}
            _ => return Err(error),
        }
        self.send_once(keys, path, body, limit).await
    }

    async fn send_once(
        &self,
        keys: &ClusterKeys,
        path: &str,
        body: Option<Vec<u8>>,
        limit: Duration,
    ) -> Result<Response, RequestError> {
        let method = if body.is_some() {
            Method::PUT
        } else {
            Method::GET
        };
        let target = self
            .url
            .join(path)
            .map_err(|error| RequestError::malformed(&self.url, error.to_string()))?;
        let mut id = [0; 16];
        getrandom::fill(&mut id)
            .map_err(|error| RequestError::malformed(&self.url, error.to_string()))?;
        let ticket = self.ticket().clone();
        let headers = SignedRequest {
            method: method.as_str(),
            path_and_query: path,
            body: body.as_deref().unwrap_or_default(),
            server: ticket.server,
            nonce: &ticket.nonce,
            request_id: &to_hex(&id),
        }
        .sign(keys);
        let mut request = self.client.request(method, target);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(body) = body {
            request = request
                .header(CONTENT_TYPE, ENVELOPE_CONTENT_TYPE)
                .body(body);
        }
        let response = answer_by(Instant::now() + limit, &self.url, request.send()).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(RequestError::refused(&self.url, Some(keys.cluster_id()), response).await)
    }

    fn ticket(&self) -> std::sync::MutexGuard<'_, Ticket> {
        self.ticket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `GET /v1/info`; the response is given for its connection's address.
async fn fetch_info(client: &Client, url: &Url) -> Result<(Info, Response), RequestError> {
    let target = url
        .join("/v1/info")
        .map_err(|error| RequestError::malformed(url, error.to_string()))?;
    let mut response = answer(url, client.get(target).send()).await?;
    if !response.status().is_success() {
        return Err(RequestError::refused(url, None, response).await);
    }
    let deadline = Instant::now() + BODY_TIMEOUT;
    let mut body = Vec::new();
    while let Some(chunk) = answer_by(deadline, url, response.chunk()).await? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_INFO_BYTES {
            return Err(RequestError::malformed(url, "/v1/info is too large"));
        }
    }
    let info: Info = serde_json::from_slice(&body)
        .map_err(|error| RequestError::malformed(url, format!("/v1/info: {error}")))?;
    if !is_nonce(&info.nonce) {
        return Err(RequestError::malformed(url, "/v1/info: not a nonce"));
    }
    Ok((info, response))
}

/// True for what can be sent back in a header and cannot be mistaken for another part of what is signed.
fn is_nonce(text: &str) -> bool {
    (1..=MAX_NONCE).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The whole body of at most `max` bytes, in time.
pub(super) async fn read_bounded(
    url: &Url,
    response: Response,
    max: usize,
) -> Result<Vec<u8>, RequestError> {
    let deadline = Instant::now() + BODY_TIMEOUT;
    let mut stream = response.bytes_stream();
    let mut body = Vec::new();
    loop {
        let next = async { stream.next().await.transpose() };
        let Some(chunk) = answer_by(deadline, url, next).await? else {
            return Ok(body);
        };
        if body.len() + chunk.len() > max {
            return Err(RequestError::malformed(url, "an answer is too large"));
        }
        body.extend_from_slice(&chunk);
    }
}

/// Waits for an answer to begin.
async fn answer<T>(
    url: &Url,
    step: impl Future<Output = Result<T, reqwest::Error>>,
) -> Result<T, RequestError> {
    answer_by(Instant::now() + ANSWER_TIMEOUT, url, step).await
}

/// Waits for one step of an answer until `deadline`.
async fn answer_by<T>(
    deadline: Instant,
    url: &Url,
    step: impl Future<Output = Result<T, reqwest::Error>>,
) -> Result<T, RequestError> {
    match timeout_at(deadline, step).await {
        Ok(done) => done.map_err(|error| RequestError::transport(url, &error)),
        Err(_) => Err(RequestError::Transport {
            url: url.clone(),
            port: url.port_or_known_default().unwrap_or_default(),
            reason: "no answer in time".to_owned(),
        }),
    }
}
