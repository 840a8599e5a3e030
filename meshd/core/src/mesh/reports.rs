//! Reports: this node's view of its peers, for the topologies others draw.

use std::time::{Duration, Instant};

use mesh_proto::limits::MAX_REPORT_PEERS;
use mesh_proto::report::ReportedPeer;
use mesh_proto::{EnvelopeKind, Report, Sequence, VerifiedEnvelope};

use super::Mesh;
use super::timers::Timer;
use crate::timing::{REPORT_DELAY, REPORT_GAP};
use crate::{Action, Now};

/// A report as fetched from a server: the sealed report and its age in seconds.
#[derive(Debug, Clone)]
pub struct FetchedReport {
    /// The sealed report; verified, not yet opened.
    pub envelope: VerifiedEnvelope,
    /// Seconds since the server stored it.
    pub age_s: u64,
}

/// When the next report is due.
#[derive(Debug)]
pub(super) struct Reporter {
    last: Option<Sequence>,
    sent_at: Option<Instant>,
}

impl Reporter {
    pub(super) const fn new(last: Option<Sequence>) -> Self {
        Self {
            last,
            sent_at: None,
        }
    }

    /// Last sequence used.
    pub(super) const fn last(&self) -> Option<Sequence> {
        self.last
    }

    fn due(&self, now: Instant) -> Instant {
        let soon = now + REPORT_DELAY;
        self.sent_at
            .map_or(soon, |sent| soon.max(sent + REPORT_GAP))
    }

    fn take_sequence(&mut self, now: Now) -> Sequence {
        let next = Sequence::next(self.last, now.unix_ms);
        self.last = Some(next);
        self.sent_at = Some(now.instant);
        next
    }
}

impl Mesh {
    /// Something a report tells has changed. Later changes do not put it off.
    pub(super) fn report_changed(&mut self, now: Instant) {
        let due = self.reporter.due(now);
        self.timers.set_earlier(Timer::Report, due);
    }

    /// Seals and sends the report, unless there is nobody to send it to: then the next connection
    /// asks again.
    pub(super) fn send_report(&mut self, now: Now) {
        if !self.servers.iter().any(|server| server.connected) {
            return;
        }
        let Ok(plaintext) = self.report().encode() else {
            return;
        };
        let sequence = self.reporter.take_sequence(now);
        let sealed = self.seal(EnvelopeKind::Report, sequence, &plaintext);
        if !sealed.is_empty() {
            self.persist(now.instant);
        }
        for envelope in sealed {
            self.out.act(Action::PublishReport(envelope));
        }
    }

    fn report(&self) -> Report {
        let mut peers: Vec<_> = self
            .peers
            .values()
            .filter(|peer| !peer.boundary.is_closing())
            .filter_map(|peer| Some((peer, peer.member()?)))
            .collect();
        if peers.len() > MAX_REPORT_PEERS {
            peers.sort_by_key(|(peer, _)| std::cmp::Reverse(peer.since));
            peers.truncate(MAX_REPORT_PEERS);
        }
        peers.sort_by_key(|(_, id)| *id);
        let reported = peers.into_iter().map(|(peer, id)| ReportedPeer {
            id,
            state: peer.state,
            rtt_ms: peer.paths.rtt().map(rtt_class),
            path_kind: peer.path_kind(),
        });
        Report {
            peers: reported.collect(),
        }
    }
}

/// Milliseconds rounded to a power of the square root of two, at least 1: jitter does not change it.
fn rtt_class(rtt: Duration) -> u32 {
    let ms = (rtt.as_secs_f64() * 1000.0).max(1.0);
    let class = (ms.log2() * 2.0).round() / 2.0;
    class.exp2().round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_coarse_and_monotonic() {
        for (micros, class) in [
            (10, 1),
            (1_000, 1),
            (1_500, 1),
            (2_000, 2),
            (10_000, 11),
            (100_000, 91),
        ] {
            assert_eq!(rtt_class(Duration::from_micros(micros)), class, "{micros}");
        }
        let classes: Vec<u32> = (1..1000)
            .map(|ms| rtt_class(Duration::from_millis(ms)))
            .collect();
        assert!(classes.is_sorted());
    }
}
