//! Signed requests: everything under `/v1/clusters` proves that the caller holds the cluster secret.
//! Checks go from cheap to dear, and nothing is remembered for a caller that has not proven it.

use std::sync::Arc;

use axum::RequestPartsExt as _;
use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, RawPathParams, Request};
use axum::http::header::CONTENT_LENGTH;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use mesh_proto::discovery::ErrorCode;
use mesh_proto::limits::MAX_ENVELOPE_BYTES;
use mesh_proto::request_auth::{
    HEADER_KEY, HEADER_NONCE, HEADER_REQUEST_ID, HEADER_SIGNATURE, SignedRequest,
};
use mesh_proto::{ClusterId, MemberId};

use super::answer::ApiError;
use crate::limits::BODY_TIMEOUT;
use crate::nonce::Seen;
use crate::registry::Key;
use crate::shared::{Shared, lock};

/// Hex digits of a request id.
const REQUEST_ID_DIGITS: usize = 32;

/// A request whose signature, nonce and request id are right.
#[derive(Debug)]
pub(crate) struct Signed {
    /// The cluster of the path, which the caller belongs to.
    pub(crate) cluster: ClusterId,
    /// The member of the path.
    member: Option<MemberId>,
    /// The body.
    pub(crate) body: Bytes,
}

impl Signed {
    /// Cluster and member of the path.
    pub(crate) fn key(&self) -> Result<Key, ApiError> {
        let member = self.member;
        let member = member.ok_or_else(|| ApiError::bad_request("the path names no member"))?;
        Ok(Key {
            cluster: self.cluster,
            member,
        })
    }
}

impl FromRequest<Arc<Shared>> for Signed {
    type Rejection = ApiError;

    async fn from_request(request: Request, shared: &Arc<Shared>) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let (cluster, member) = path_ids(&mut parts).await?;
        let headers = AuthHeaders::of(&parts.headers)?;
        let now_ms = shared.clock.now().mono_ms;
        if !shared.nonces.is_valid(headers.nonce, shared.nonce_ms()) {
            return Err(ApiError::new(
                StatusCode::UNAUTHORIZED,
                ErrorCode::NonceExpired,
                "nonce",
                "the nonce is too old or not of this server; ask /v1/info for a new one",
            ));
        }
        let body = read_body(&parts.headers, body).await?;
        let signed = SignedRequest {
            method: parts.method.as_str(),
            path_and_query: parts.uri.path_and_query().map_or("", |path| path.as_str()),
            body: &body,
            server: shared.server,
            nonce: headers.nonce,
            request_id: headers.request_id,
        };
        signed
            .verify(cluster, headers.key, headers.signature)
            .map_err(|error| ApiError::unauthorized(&error.to_string()))?;
        admit(shared, cluster, &headers, now_ms)?;
        Ok(Self {
            cluster,
            member,
            body,
        })
    }
}

/// What is asked only of callers that have proven to belong to the cluster.
fn admit(
    shared: &Shared,
    cluster: ClusterId,
    headers: &AuthHeaders<'_>,
    now_ms: u64,
) -> Result<(), ApiError> {
    if !shared.allowed.is_empty() && !shared.allowed.contains(&cluster) {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            ErrorCode::ClusterNotAllowed,
            "cluster_not_allowed",
            "this server does not serve the cluster; see its --allow-cluster",
        ));
    }
    let seen = lock(&shared.replays).see(&cluster, headers.request_id, now_ms);
    match seen {
        Seen::New => {}
        Seen::Again => {
            return Err(ApiError::new(
                StatusCode::UNAUTHORIZED,
                ErrorCode::Replayed,
                "replayed",
                "this request came before; sign each request with a new id",
            ));
        }
        Seen::Full => {
            return Err(ApiError::limited(
                "replay_memory",
                "the server has too many requests",
                30,
            ));
        }
    }
    lock(&shared.by_cluster)
        .take(cluster, now_ms)
        .map_err(|wait_s| {
            ApiError::limited("cluster_rate", "too many requests of this cluster", wait_s)
        })
}

async fn path_ids(parts: &mut Parts) -> Result<(ClusterId, Option<MemberId>), ApiError> {
    let params = parts.extract::<RawPathParams>().await;
    let params = params.map_err(|_| ApiError::bad_request("the path is not UTF-8"))?;
    let (mut cluster, mut member) = (None, None);
    for (name, value) in &params {
        if value.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(ApiError::bad_request("ids in paths are lower-case hex"));
        }
        let bad = |error: &dyn std::fmt::Display| ApiError::bad_request(&error.to_string());
        match name {
            "cluster" => cluster = Some(value.parse().map_err(|error| bad(&error))?),
            _ => member = Some(value.parse().map_err(|error| bad(&error))?),
        }
    }
    let cluster = cluster.ok_or_else(|| ApiError::bad_request("the path names no cluster"))?;
    Ok((cluster, member))
}

/// The four headers, as text.
struct AuthHeaders<'a> {
    key: &'a str,
    nonce: &'a str,
    request_id: &'a str,
    signature: &'a str,
}

impl<'a> AuthHeaders<'a> {
    fn of(headers: &'a HeaderMap) -> Result<Self, ApiError> {
        let get = |name: &str| {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            value.ok_or_else(|| ApiError::unauthorized(&format!("the header {name} is missing")))
        };
        let headers = Self {
            key: get(HEADER_KEY)?,
            nonce: get(HEADER_NONCE)?,
            request_id: get(HEADER_REQUEST_ID)?,
            signature: get(HEADER_SIGNATURE)?,
        };
        let is_id = headers.request_id.len() == REQUEST_ID_DIGITS
            && headers
                .request_id
                .bytes()
                .all(|byte| byte.is_ascii_hexdigit());
        if !is_id {
            return Err(ApiError::unauthorized(
                "the request id must be 32 hex digits",
            ));
        }
        Ok(headers)
    }
}

async fn read_body(headers: &HeaderMap, body: Body) -> Result<Bytes, ApiError> {
    let too_large = || {
        ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            ErrorCode::TooLarge,
            "too_large",
            &format!("a body may have {MAX_ENVELOPE_BYTES} bytes"),
        )
    };
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > MAX_ENVELOPE_BYTES as u64) {
        return Err(too_large());
    }
    match tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, MAX_ENVELOPE_BYTES)).await {
        Ok(Ok(body)) => Ok(body),
        // The connection failing looks the same here, but then nobody reads the answer.
        Ok(Err(_)) => Err(too_large()),
        Err(_) => Err(ApiError::bad_request("the body took too long to arrive")),
    }
}
