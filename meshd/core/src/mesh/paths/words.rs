//! Words: every path of a peer and every candidate that makes none, with the reason of the choice, for
//! people.

use std::time::Instant;

use mesh_proto::control::{Path as PathStatus, PathState};

use super::choosing::margin;
use super::{Gain, Path};
use crate::Now;
use crate::mesh::peer::Peer;
use crate::mesh::status::millis;
use crate::mesh::timestamp;

/// The paths of `peer` in order of preference, then candidates that are not dialled.
pub(in crate::mesh) fn paths(peer: &Peer, now: Now) -> Vec<PathStatus> {
    let shown = peer.paths.iter().map(|path| shown(peer, path, now));
    let unusable = peer.endpoints.iter().filter(|endpoint| !endpoint.usable);
    let refused = unusable.map(|endpoint| PathStatus {
        endpoint: endpoint.candidate.address,
        local: None,
        kind: Some(endpoint.candidate.kind),
        in_use: false,
        state: PathState::Refused,
        rtt_ms: None,
        loss_percent: None,
        last_receive: None,
        reason: endpoint.reason.clone(),
    });
    shown.chain(refused).collect()
}

fn shown(peer: &Peer, path: &Path, now: Now) -> PathStatus {
    let facts = &path.facts;
    let in_use = peer.path() == Some(path.id);
    let origin = peer
        .endpoints
        .iter()
        .find(|endpoint| endpoint.candidate.address == path.id.remote)
        .filter(|_| path.kind.is_some());
    let origin = origin.map_or("learned from the peer's own packets", |endpoint| {
        endpoint.reason.as_str()
    });
    PathStatus {
        endpoint: path.id.remote,
        local: path.id.local,
        kind: path.kind,
        in_use,
        state: state(peer, path, now.instant),
        rtt_ms: facts.rtt.smoothed().map(millis),
        loss_percent: facts.loss.percent(),
        last_receive: facts.last_receive.map(|at| timestamp::of(at, now)),
        reason: format!("{origin}; {}", verdict(peer, path, now.instant)),
    }
}

fn state(peer: &Peer, path: &Path, now: Instant) -> PathState {
    let facts = &path.facts;
    let in_use = peer.path() == Some(path.id);
    if !in_use && facts.penalty.held_until(now).is_some() {
        PathState::HeldDown
    } else if facts.refused.is_some() || facts.misses >= DEAD_MISSES {
        PathState::Dead
    } else if facts.last_answer.is_none() {
        PathState::Unknown
    } else if facts.misses > 0 || (in_use && peer.is_racing()) {
        PathState::Suspect
    } else {
        PathState::Good
    }
}

/// Misses in a row after which people call a path dead.
const DEAD_MISSES: u32 = 4;

fn verdict(peer: &Peer, path: &Path, now: Instant) -> String {
    let facts = &path.facts;
    if peer.path() == Some(path.id) {
        return chosen(peer, path, now);
    }
    if let Some(until) = facts.penalty.held_until(now) {
        let seconds = until.saturating_duration_since(now).as_secs() + 1;
        let failures = match facts.penalty.failures() {
            0 | 1 => String::new(),
            count => format!(" {count} times"),
        };
        return format!("failed in use{failures}, held down for {seconds} s more");
    }
    if facts.refused.is_some() {
        return "the host cannot send there now".to_owned();
    }
    match (facts.last_answer, facts.misses) {
        (None, 0) => "not asked yet".to_owned(),
        (None, misses) => format!("has never answered {misses} probes"),
        (Some(_), 0) => compared(peer, path, now),
        (Some(_), misses) => format!("has not answered the last {misses} probes"),
    }
}

/// Why the path in use is that.
fn chosen(peer: &Peer, path: &Path, now: Instant) -> String {
    if peer.is_racing() {
        return "in use, does not answer: all paths are asked".to_owned();
    }
    let mut words = match &peer.chosen {
        Some((since, why)) => {
            let seconds = now.saturating_duration_since(*since).as_secs();
            format!("in use for {seconds} s: {why}")
        }
        None => "in use".to_owned(),
    };
    let earlier: Vec<&Path> = peer
        .paths
        .iter()
        .filter(|other| other.place < path.place)
        .collect();
    let held = |other: &&&Path| other.facts.penalty.held_until(now).is_some();
    let held_down = earlier.iter().filter(held).count();
    let silent = earlier
        .iter()
        .filter(|other| !held(other) && !other.facts.is_good())
        .count();
    if earlier.is_empty() {
        words += "; the most preferred path";
    }
    for (count, what) in [(silent, "not answering"), (held_down, "held down")] {
        if count > 0 {
            words += &format!("; {count} more preferred {what}");
        }
    }
    words
}

/// What speaks for and against a path that works, beside the one in use.
fn compared(peer: &Peer, path: &Path, now: Instant) -> String {
    let Some(current) = peer.paths.current() else {
        return "works".to_owned();
    };
    match peer.paths.gain(path, peer.their_path, now) {
        Some(Gain::Preferred) => {
            return "more preferred than the one in use, is being confirmed".to_owned();
        }
        Some(Gain::Faster) => {
            return "faster than the one in use, is being confirmed".to_owned();
        }
        Some(Gain::Agreed) => {
            return "the peer sends there, is being confirmed".to_owned();
        }
        None => {}
    }
    if path.place.class > current.place.class {
        return "works; a later entry of the filter decides about it than about the one in use"
            .to_owned();
    }
    let (Some(theirs), Some(ours)) = (path.facts.rtt.smoothed(), current.facts.rtt.smoothed())
    else {
        return "works; its round trips are not known well enough to compare".to_owned();
    };
    format!(
        "works; {} ms against {} ms in use, a switch needs {} ms less",
        millis(theirs),
        millis(ours),
        millis(margin(ours))
    )
}
