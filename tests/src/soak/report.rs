//! The result of a long transfer, for people and as JSON, and whether it is good.

use std::fmt::Write as _;

use serde::Serialize;

use super::drops::Drops;
use super::flow::Tally;

/// Sessions are renewed so often (WireGuard's Rekey-After-Time), seconds.
const REKEY_SECONDS: f64 = 120.0;
/// Half a minute of grace for the last one.
const REKEY_GRACE: f64 = 30.0;

/// What a long transfer showed.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// How long it took.
    pub seconds: f64,
    /// Packets per second that the machine can do.
    pub highest_rate: f64,
    /// Packets per second that were sent.
    pub rate: f64,
    /// UDP payload of a packet.
    pub packet_bytes: usize,
    /// Handshakes after the first.
    pub rekeys: usize,
    /// What became of the packets.
    pub tally: Tally,
    /// What the daemons have dropped meanwhile, by name.
    pub drops: Drops,
}

impl Report {
    /// True if nothing was lost or corrupted, and sessions were renewed as often as they should.
    #[must_use]
    pub fn passed(&self) -> bool {
        let due = ((self.seconds - REKEY_GRACE) / REKEY_SECONDS).max(0.0) as usize;
        let tally = &self.tally;
        tally.received > 0
            && tally.lost() == 0
            && tally.corrupted == 0
            && tally.repeated == 0
            && self.rekeys >= due
    }

    /// The report as text.
    #[must_use]
    pub fn text(&self) -> String {
        let tally = &self.tally;
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "{:.0} s, {} packets of {} bytes, {:.0}/s ({:.0} % of {:.0}/s), {} rekeys",
            self.seconds,
            tally.sent,
            self.packet_bytes,
            self.rate,
            100.0 * self.rate / self.highest_rate,
            self.highest_rate,
            self.rekeys
        );
        let _ = writeln!(
            out,
            "lost {}, corrupted {}, repeated {}, overtaken {}: {}",
            tally.lost(),
            tally.corrupted,
            tally.repeated,
            tally.overtaken,
            if self.passed() { "ok" } else { "NOT ok" }
        );
        for (name, packets) in &self.drops {
            let _ = writeln!(out, "dropped, {name}: {packets}");
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_corruption_and_missing_rekeys_are_faults() {
        let tally = Tally {
            sent: 10,
            received: 10,
            ..Tally::default()
        };
        let good = Report {
            seconds: 300.0,
            highest_rate: 2.0,
            rate: 1.0,
            packet_bytes: 1200,
            rekeys: 2,
            tally,
            drops: Drops::new(),
        };
        assert!(good.passed() && good.text().contains(": ok"));
        let with = |change: fn(&mut Report)| {
            let mut report = good.clone();
            change(&mut report);
            report.passed()
        };
        assert!(!with(|report| report.tally.received = 9));
        assert!(!with(|report| report.tally.corrupted = 1));
        assert!(!with(|report| report.rekeys = 1));
        assert!(with(|report| report.seconds = 200.0));
        let mut told = good.clone();
        told.drops.insert("a1 tun_queue".to_owned(), 3);
        assert!(told.text().contains("dropped, a1 tun_queue: 3\n"));
    }
}
