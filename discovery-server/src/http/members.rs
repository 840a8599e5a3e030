//! Members and their reports: GET and PUT of one, the list of all.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use mesh_proto::discovery::STREAM_CONTENT_TYPE;

use super::answer::{ApiError, envelope_answer, put_answer};
use super::signed::Signed;
use crate::registry::{Key, Submission};
use crate::shared::{Shared, lock};

/// Header of a report: its age in seconds.
const HEADER_AGE: &str = "mesh-age-s";
/// Header of a record: `true` while the lease is live.
const HEADER_FRESH: &str = "mesh-fresh";

pub(super) async fn put_record(
    State(shared): State<Arc<Shared>>,
    signed: Signed,
) -> Result<StatusCode, ApiError> {
    let key = admitted(&shared, &signed)?;
    let repeated = shared.registry().repeated(key, &signed.body);
    let submission = match repeated {
        Some(repeated) => repeated,
        None => Submission::record(key, signed.body)?,
    };
    put_answer(shared.put(submission).await)
}

/// Whom a PUT is for, if that member has not written too often.
fn admitted(shared: &Shared, signed: &Signed) -> Result<Key, ApiError> {
    let key = signed.key()?;
    let now_ms = shared.clock.now().mono_ms;
    let taken = lock(&shared.by_member).take(key, now_ms);
    taken.map_err(|wait_s| {
        ApiError::limited("member_rate", "too many writes of this member", wait_s)
    })?;
    Ok(key)
}

pub(super) async fn put_report(
    State(shared): State<Arc<Shared>>,
    signed: Signed,
) -> Result<StatusCode, ApiError> {
    let key = admitted(&shared, &signed)?;
    let submission = Submission::report(key, signed.body)?;
    put_answer(shared.put(submission).await)
}

pub(super) async fn get_record(
    State(shared): State<Arc<Shared>>,
    signed: Signed,
) -> Result<Response, ApiError> {
    let member = shared.registry().member(signed.key()?);
    let member = member.ok_or_else(|| ApiError::not_found("the member is not known here"))?;
    let mut response = envelope_answer(member.bytes);
    let fresh = HeaderValue::from_static(if member.fresh { "true" } else { "false" });
    response.headers_mut().insert(HEADER_FRESH, fresh);
    Ok(response)
}

pub(super) async fn get_report(
    State(shared): State<Arc<Shared>>,
    signed: Signed,
) -> Result<Response, ApiError> {
    let report = shared.registry().report(signed.key()?, shared.clock.now());
    let (bytes, age_s) =
        report.ok_or_else(|| ApiError::not_found("the member has no report here"))?;
    let mut response = envelope_answer(bytes);
    response
        .headers_mut()
        .insert(HEADER_AGE, HeaderValue::from(age_s));
    Ok(response)
}

pub(super) async fn list(State(shared): State<Arc<Shared>>, signed: Signed) -> Response {
    let cluster = signed.cluster;
    let pages = stream::unfold(Some(0), move |after| {
        let after: Option<u64> = after;
        let shared = Arc::clone(&shared);
        async move {
            let page = shared
                .registry()
                .page(cluster, 0, after?, shared.clock.now());
            let next = (!page.complete).then_some(page.upto);
            Some((Ok::<_, Infallible>(page.lines.concat()), next))
        }
    });
    (
        [(CONTENT_TYPE, STREAM_CONTENT_TYPE)],
        Body::from_stream(pages),
    )
        .into_response()
}
