//! `/v1/events`: the kept events as a document, or with `?follow` as lines without end.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use futures_util::{StreamExt as _, stream};
use mesh_proto::control::{EventLevel, EventRecord};
use tokio::sync::Semaphore;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use tokio_util::sync::CancellationToken;

use super::Refusal;
use super::event_log::EventLog;
use super::routes::refuse;

/// Followers at a time: each holds a connection, and there have to be some for everybody else.
pub(super) const MAX_FOLLOWERS: usize = 16;

/// What the route needs.
#[derive(Debug, Clone)]
pub(super) struct EventDesk {
    log: EventLog,
    places: Arc<Semaphore>,
    /// Ends the lines when the server stops.
    stopped: CancellationToken,
}

impl EventDesk {
    pub(super) fn new(log: EventLog, stopped: CancellationToken) -> Self {
        Self {
            log,
            places: Arc::new(Semaphore::new(MAX_FOLLOWERS)),
            stopped,
        }
    }
}

pub(super) async fn events(
    State(desk): State<EventDesk>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    if query.contains_key("follow") {
        follow(&desk)
    } else {
        Json(desk.log.document()).into_response()
    }
}

fn follow(desk: &EventDesk) -> Response {
    let Ok(place) = Arc::clone(&desk.places).try_acquire_owned() else {
        return refuse(&Refusal::unavailable(format!(
            "{MAX_FOLLOWERS} clients follow the events already; end one of them"
        )));
    };
    let (kept, rest) = desk.log.follow();
    let rest = BroadcastStream::new(rest).map(|next| match next {
        Ok(record) => line(&record),
        Err(BroadcastStreamRecvError::Lagged(lost)) => line(&dropped(lost)),
    });
    let kept: Vec<_> = kept.iter().map(|record| line(record)).collect();
    let lines = stream::iter(kept)
        .chain(rest)
        .take_until(desk.stopped.clone().cancelled_owned())
        .map(move |line| {
            // Given back when the stream is dropped.
            let _held = &place;
            Ok::<_, Infallible>(line)
        });
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    (kind, Body::from_stream(lines)).into_response()
}

fn line(record: &EventRecord) -> String {
    serde_json::to_string(record).expect("plain data") + "\n"
}

/// Stands in the place of events that a slow follower lost.
fn dropped(lost: u64) -> EventRecord {
    EventRecord {
        number: 0,
        time: String::new(),
        kind: "events_dropped".to_owned(),
        level: EventLevel::Warn,
        peer: None,
        message: format!("{lost} events are missing here: this client reads too slowly"),
        cost: None,
    }
}
