//! The routes: each turns a request into a [`ControlRequest`], and its answer into JSON.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use mesh_proto::Envelope;
use mesh_proto::control::{ControlError as ErrorBody, Remove};
use mesh_proto::discovery::EncodedEnvelope;
use mesh_proto::limits::{MAX_ENVELOPE_BYTES, MAX_SECRETS};
use serde::Serialize;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::event_routes::{self, EventDesk};
use super::{ControlRequest, MAX_IN_FLIGHT, Refusal, Reply};

/// Of a request: lists of removals for every secret there may be, in base64.
const MAX_BODY_BYTES: usize = 2 * MAX_SECRETS * MAX_ENVELOPE_BYTES;

/// What all routes share.
#[derive(Debug)]
struct Desk {
    requests: mpsc::Sender<ControlRequest>,
    in_flight: Semaphore,
    timeout: Duration,
}

type Shared = State<Arc<Desk>>;

/// The part of the control API that changes nothing. `timeout` bounds one answer, the wait for a place in the queue included.
pub(super) fn reading(
    requests: mpsc::Sender<ControlRequest>,
    events: EventDesk,
    timeout: Duration,
) -> Router {
    let desk = Arc::new(Desk {
        requests,
        in_flight: Semaphore::new(MAX_IN_FLIGHT),
        timeout,
    });
    let events = Router::new()
        .route("/v1/events", get(event_routes::events))
        .with_state(events);
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/peers", get(peers))
        .route("/v1/members", get(members))
        .route("/v1/paths/{name}", get(paths))
        .route("/v1/ping/{name}", get(ping))
        .route("/v1/topology", get(topology))
        .route("/v1/routes", get(routes))
        .route("/v1/explain/{address}", get(explain))
        .route("/v1/showconf", get(show_conf))
        .route("/v1/removals", get(removals))
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .with_state(desk)
        .merge(events)
}

/// The part that does.
pub(super) fn changing(requests: mpsc::Sender<ControlRequest>, timeout: Duration) -> Router {
    let desk = Arc::new(Desk {
        requests,
        in_flight: Semaphore::new(MAX_IN_FLIGHT),
        timeout,
    });
    Router::new()
        .route("/v1/leave", post(leave))
        .route("/v1/remove", post(remove))
        .route("/v1/key/rotate", post(rotate_key))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .method_not_allowed_fallback(wrong_method)
        .with_state(desk)
}

async fn status(State(desk): Shared) -> Response {
    desk.ask(ControlRequest::Status).await
}

async fn peers(State(desk): Shared) -> Response {
    desk.ask(ControlRequest::Peers).await
}

async fn members(State(desk): Shared) -> Response {
    desk.ask(ControlRequest::Members).await
}

async fn paths(State(desk): Shared, Path(name): Path<String>) -> Response {
    desk.ask(|reply| ControlRequest::Paths { name, reply })
        .await
}

async fn ping(State(desk): Shared, Path(name): Path<String>) -> Response {
    desk.ask(|reply| ControlRequest::Ping { name, reply }).await
}

async fn topology(State(desk): Shared) -> Response {
    desk.ask(ControlRequest::Topology).await
}

async fn routes(State(desk): Shared) -> Response {
    desk.ask(ControlRequest::Routes).await
}

async fn explain(State(desk): Shared, Path(text): Path<String>) -> Response {
    let Ok(address) = text.parse::<IpAddr>() else {
        return refuse(&Refusal::bad_request(format!(
            "{:?} is not an IP address",
            text.chars().take(80).collect::<String>()
        )));
    };
    desk.ask(|reply| ControlRequest::Explain { address, reply })
        .await
}

async fn show_conf(
    State(desk): Shared,
    Query(mut query): Query<BTreeMap<String, String>>,
) -> Response {
    let as_peer = query.remove("as_peer");
    desk.ask(|reply| ControlRequest::ShowConf { as_peer, reply })
        .await
}

async fn leave(State(desk): Shared) -> Response {
    desk.ask(ControlRequest::Leave).await
}

async fn removals(State(desk): Shared) -> Response {
    desk.ask(ControlRequest::Removals).await
}

async fn remove(State(desk): Shared, Json(body): Json<Remove>) -> Response {
    let verified = |encoded: &EncodedEnvelope| encoded.decode().and_then(Envelope::verify);
    let list: Result<Vec<_>, _> = body.envelopes.iter().map(verified).collect();
    match list {
        Ok(list) if list.len() <= MAX_SECRETS => {
            desk.ask(|reply| ControlRequest::Remove { list, reply })
                .await
        }
        Ok(_) => refuse(&Refusal::bad_request("more lists than secrets")),
        Err(error) => refuse(&Refusal::bad_request(format!("not taken: {error}"))),
    }
}

async fn rotate_key(
    State(desk): Shared,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let cut = query.get("cut_external_peers").map(String::as_str);
    let external_too = match cut {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => {
            let message = "cut_external_peers is true or false";
            return refuse(&Refusal::bad_request(message));
        }
    };
    desk.ask(|reply| ControlRequest::RotateKey {
        external_too,
        reply,
    })
    .await
}

async fn unknown_route(uri: Uri) -> Response {
    refuse(&Refusal::not_found(format!(
        "this meshd does not know {}; meshctl may be newer than the daemon",
        uri.path()
    )))
}

async fn wrong_method(uri: Uri) -> Response {
    refuse(&Refusal {
        status: StatusCode::METHOD_NOT_ALLOWED.as_u16(),
        message: format!("wrong method for {}", uri.path()),
    })
}

impl Desk {
    /// Hands a request to the event loop and waits for the answer.
    async fn ask<T: Serialize>(&self, build: impl FnOnce(Reply<T>) -> ControlRequest) -> Response {
        let Ok(_permit) = self.in_flight.try_acquire() else {
            return refuse(&Refusal::unavailable(format!(
                "{MAX_IN_FLIGHT} requests are waiting already; try again in a moment"
            )));
        };
        let (reply, answer) = oneshot::channel();
        let exchange = async {
            self.requests.send(build(reply)).await.ok()?;
            answer.await.ok()
        };
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(Some(Ok(document))) => Json(document).into_response(),
            Ok(Some(Err(refusal))) => refuse(&refusal),
            Ok(None) => refuse(&Refusal::unavailable("meshd is stopping")),
            Err(_) => refuse(&Refusal {
                status: StatusCode::GATEWAY_TIMEOUT.as_u16(),
                message: format!(
                    "meshd did not answer within {} s: it is overloaded or stuck; see its log",
                    self.timeout.as_secs_f32()
                ),
            }),
        }
    }
}

pub(super) fn refuse(refusal: &Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.status)
        .ok()
        .filter(|status| status.is_client_error() || status.is_server_error())
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = ErrorBody {
        error: refusal.message.clone(),
    };
    (status, Json(body)).into_response()
}
