//! Answers that are not 2xx: one type that knows status, code and message, and what is counted.

use std::sync::Arc;

use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use mesh_proto::discovery::{ENVELOPE_CONTENT_TYPE, EncodedEnvelope, ErrorBody, ErrorCode};

use crate::registry::{Refusal, SubmissionError};
use crate::writer::Answer;

/// A refused request.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    status: StatusCode,
    body: Box<ErrorBody>,
    retry_after_s: Option<u64>,
    /// Label in the metrics.
    pub(crate) reason: &'static str,
}

impl ApiError {
    pub(crate) fn new(
        status: StatusCode,
        code: ErrorCode,
        reason: &'static str,
        message: &str,
    ) -> Self {
        Self {
            status,
            body: Box::new(ErrorBody {
                code,
                message: message.to_owned(),
                stored: None,
            }),
            retry_after_s: None,
            reason,
        }
    }

    pub(crate) fn bad_request(message: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            ErrorCode::BadRequest,
            "bad_request",
            message,
        )
    }

    pub(crate) fn unauthorized(message: &str) -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            ErrorCode::Unauthorized,
            "unauthorized",
            message,
        )
    }

    pub(crate) fn not_found(message: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            ErrorCode::NotFound,
            "not_found",
            message,
        )
    }

    pub(crate) fn limited(reason: &'static str, message: &str, wait_s: u64) -> Self {
        let mut error = Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            ErrorCode::Limited,
            reason,
            message,
        );
        error.retry_after_s = Some(wait_s);
        error
    }

    fn unavailable() -> Self {
        let mut error = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::Unavailable,
            "unavailable",
            "the server cannot write its store at present; its log says why",
        );
        error.retry_after_s = Some(5);
        error
    }

    fn conflict(stored: &Bytes) -> Self {
        let mut error = Self::new(
            StatusCode::CONFLICT,
            ErrorCode::Conflict,
            "conflict",
            "the stored envelope is newer, or has the same sequence and other bytes",
        );
        error.body.stored = Some(EncodedEnvelope::from_bytes(stored));
        error
    }
}

impl From<SubmissionError> for ApiError {
    fn from(error: SubmissionError) -> Self {
        let status = match error {
            SubmissionError::OtherCluster | SubmissionError::OtherMember => StatusCode::FORBIDDEN,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::new(
            status,
            ErrorCode::BadEnvelope,
            "bad_envelope",
            &error.to_string(),
        )
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Conflict(stored) => Self::conflict(&stored),
            Refusal::TooManyMembers => Self::limited(
                "members",
                "the cluster has as many members as this server takes",
                60,
            ),
            Refusal::TooManyClusters => Self::limited(
                "clusters",
                "this server has as many clusters as it takes",
                60,
            ),
            Refusal::Full => Self::limited("bytes", "this server holds as much as it may", 60),
            Refusal::NoRecord => Self::not_found("the member has no record here; put that first"),
            Refusal::TooSoon(wait_s) => {
                Self::limited("report_rate", "a member may report once a minute", wait_s)
            }
        }
    }
}

/// The answer to a PUT.
pub(crate) fn put_answer(answer: Answer) -> Result<StatusCode, ApiError> {
    match answer {
        Answer::Done => Ok(StatusCode::NO_CONTENT),
        Answer::Refused(refusal) => Err(refusal.into()),
        Answer::Unavailable => Err(ApiError::unavailable()),
    }
}

/// An envelope as a body.
pub(crate) fn envelope_answer(bytes: Bytes) -> Response {
    ([(CONTENT_TYPE, ENVELOPE_CONTENT_TYPE)], bytes).into_response()
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(&*self.body)).into_response();
        if let Some(wait_s) = self.retry_after_s {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(wait_s));
        }
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}
