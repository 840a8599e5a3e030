//! Why a request failed, in words that say what to do.

use std::error::Error as _;
use std::time::Duration;

use mesh_proto::ClusterId;
use mesh_proto::discovery::{EncodedEnvelope, ErrorBody, ErrorCode};
use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode, Url};

use super::session::read_bounded;

/// Bytes of an error body: a stored envelope in base64 and a message.
const MAX_ERROR_BYTES: usize = 64 * 1024;
/// A server may not silence a node for longer.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    /// The name of the server has no address, now or ever.
    #[error(
        "{host} cannot be resolved: {reason}; check DNS, or write its address in discovery.servers"
    )]
    Name { host: String, reason: String },
    /// No answer.
    #[error(
        "{url} cannot be reached: {reason}; check that the server runs and that TCP port {port} is open to it"
    )]
    Transport { url: Url, port: u16, reason: String },
    /// The server's certificate is not trusted, or names another server.
    #[error(
        "{url} cannot be trusted: {reason}; name the certificate of its authority in discovery.caFile, \
         and write the server in discovery.servers as the certificate names it"
    )]
    Certificate { url: Url, reason: String },
    /// The answer is not what the API says.
    #[error("{url} does not answer like a discovery server: {reason}; check discovery.servers")]
    Malformed { url: Url, reason: String },
    /// The server says no.
    #[error("{url} refused: {message}")]
    Refused {
        url: Url,
        code: Option<ErrorCode>,
        message: String,
        retry_after: Option<Duration>,
        stored: Option<EncodedEnvelope>,
    },
}

impl RequestError {
    /// What the server said, if it said something.
    pub(super) const fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { code, .. } => *code,
            _ => None,
        }
    }

    /// How long the server wants to be left alone.
    pub(super) const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    pub(super) fn transport(url: &Url, error: &reqwest::Error) -> Self {
        let reason = chain(error);
        if reason.contains("certificate") {
            return Self::Certificate {
                url: url.clone(),
                reason,
            };
        }
        Self::Transport {
            url: url.clone(),
            port: url.port_or_known_default().unwrap_or_default(),
            reason,
        }
    }

    pub(super) fn malformed(url: &Url, reason: impl Into<String>) -> Self {
        Self::Malformed {
            url: url.clone(),
            reason: reason.into(),
        }
    }

    /// Reads an answer that is not 2xx.
    pub(super) async fn refused(url: &Url, cluster: Option<ClusterId>, response: Response) -> Self {
        let status = response.status();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(|seconds| Duration::from_secs(seconds).min(MAX_RETRY_AFTER));
        let body = read_bounded(url, response, MAX_ERROR_BYTES).await.ok();
        let body: Option<ErrorBody> = body.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let (code, said, stored) = match body {
            Some(body) => (Some(body.code), body.message, body.stored),
            None => (None, String::new(), None),
        };
        Self::Refused {
            url: url.clone(),
            message: describe(status, code, &said, cluster),
            code,
            retry_after,
            stored,
        }
    }
}

/// What the user reads, with the remedy where there is one at this end.
fn describe(
    status: StatusCode,
    code: Option<ErrorCode>,
    said: &str,
    cluster: Option<ClusterId>,
) -> String {
    let said: String = said.chars().filter(|c| !c.is_control()).take(300).collect();
    match (code, cluster) {
        (Some(ErrorCode::ClusterNotAllowed), Some(cluster)) => {
            format!("it does not serve this cluster; start it with --allow-cluster {cluster}")
        }
        (Some(ErrorCode::Unauthorized), _) => format!(
            "it does not accept this node's signature ({said}); check that no proxy changes requests \
             and that both ends have versions that fit"
        ),
        _ if said.is_empty() => format!("HTTP status {status}"),
        _ => format!("{said} (HTTP status {})", status.as_u16()),
    }
}

/// An error and what it came from; reqwest's own text names only the address.
fn chain(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause = error.source();
    let mut last = None;
    while let Some(error) = cause {
        last = Some(error.to_string());
        cause = error.source();
    }
    last.unwrap_or_else(|| error.to_string())
}
