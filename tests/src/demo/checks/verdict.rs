//! What several checks conclude in the same way.

use std::net::SocketAddrV4;

use crate::demo::{CheckError, Outcome};
use crate::lab::capture::Frames;
use crate::lab::packet::{Packet, Transport};
use crate::lab::ping::{Ping, run_all};

/// So many of the pairs that fail are named.
const NAMED: usize = 8;

/// A broken promise.
pub(crate) fn broken<T>(what: impl Into<String>) -> Result<T, CheckError> {
    Err(CheckError::Broken(what.into()))
}

/// Runs all pings; every answer must come. Evidence: how many.
pub(crate) fn all_answered(pings: &[Ping<'_>]) -> Outcome {
    let mut answers = 0;
    let mut failed = Vec::new();
    for (ping, score) in pings.iter().zip(run_all(pings)) {
        match score {
            Ok(score) if score.perfect() => answers += score.received,
            Ok(score) => failed.push(format!(
                "{} -> {}: {} of {} answered",
                ping.from.name(),
                ping.to,
                score.received,
                score.sent
            )),
            Err(error) => failed.push(error.to_string()),
        }
    }
    if failed.is_empty() {
        return Ok(format!(
            "{} pairs, {answers} of {answers} pings answered",
            pings.len()
        ));
    }
    let count = failed.len();
    failed.truncate(NAMED);
    broken(format!(
        "{count} of {} pairs fail: {}",
        pings.len(),
        failed.join(", ")
    ))
}

/// Only WireGuard, STUN, discovery and the links' own housekeeping may be in `frames`, and never the
/// marker. Evidence: counts by kind.
pub(crate) fn only_mesh_traffic(
    frames: &Frames,
    discovery: SocketAddrV4,
    marker: &[u8],
) -> Outcome {
    if frames.lost > 0 {
        return broken(format!("the capture lost {} frames", frames.lost));
    }
    if let Some(frame) = frames.containing(marker).next() {
        return broken(format!("payload in clear: {}", describe(&frame.bytes)));
    }
    let foreign: Vec<_> = frames.foreign(discovery).collect();
    if let Some(frame) = foreign.first() {
        let what = describe(&frame.bytes);
        return broken(format!(
            "{} frames that may not be there, e.g. {what}",
            foreign.len()
        ));
    }
    let counts = frames.count(discovery);
    let words: Vec<_> = counts
        .iter()
        .map(|(kind, count)| format!("{count} {kind:?}").to_lowercase())
        .collect();
    Ok(format!(
        "{} frames: {}",
        frames.frames.len(),
        words.join(", ")
    ))
}

/// A frame in a few words.
pub(crate) fn describe(frame: &[u8]) -> String {
    match Packet::parse(frame) {
        Packet::Ip(packet) => {
            let what = match packet.transport {
                Transport::Udp(segment) => {
                    format!("UDP {} -> {}", segment.source, segment.destination)
                }
                Transport::Tcp(segment) => {
                    format!("TCP {} -> {}", segment.source, segment.destination)
                }
                Transport::Icmp { kind, .. } => format!("ICMP type {kind}"),
                Transport::Other(protocol) => format!("protocol {protocol}"),
            };
            format!(
                "{} -> {} {what}, {} bytes",
                packet.source,
                packet.destination,
                frame.len()
            )
        }
        other => format!("{other:?}"),
    }
}
