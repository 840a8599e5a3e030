//! The highest rate of small datagrams at which few are lost, found by search.

use std::time::Duration;

use super::instruments::{self, Reading, number};
use super::rig::Rig;
use super::subject::Running;
use crate::lab::LabError;

/// Where the search starts, packets per second: what every implementation carries.
const FIRST_RATE: f64 = 20_000.0;
/// How much further each step goes while nothing is lost.
const STEP: f64 = 1.5;
/// Halvings of the last step: the answer is exact to 5 %.
const HALVINGS: u32 = 3;
/// No sender here comes near it.
const MAX_RATE: f64 = 3_000_000.0;
/// More lost than this and a rate does not count, percent.
const MAX_LOSS: f64 = 5.0;
const DATAGRAM_BYTES: u32 = 64;
/// As large as is allowed without privileges everywhere: iperf3 sends in bursts.
const SOCKET_BUFFER: &str = "208K";
/// One rate is tried for so long.
const TRIAL: Duration = Duration::from_secs(2);

/// What came of one rate.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Trial {
    /// Packets received per second.
    received: f64,
    /// Percent.
    lost: f64,
    /// The sender kept the rate.
    was_offered: bool,
}

/// Packets received per second at the highest rate of which at least 95 % arrive.
pub(super) fn highest_rate(
    rig: &Rig,
    running: &Running,
    length: Duration,
) -> Result<Vec<Reading>, LabError> {
    let best = search(|rate| offer(rig, running, length.min(TRIAL), rate))?;
    Ok(vec![Reading::new("", best, "packets/s")])
}

/// A rate that fails is tried once more: a machine may hiccup.
fn search(mut offer: impl FnMut(f64) -> Result<Trial, LabError>) -> Result<f64, LabError> {
    let mut best: f64 = 0.0;
    let mut passes = |rate: f64| -> Result<bool, LabError> {
        for _ in 0..2 {
            let trial = offer(rate)?;
            if trial.lost <= MAX_LOSS {
                best = best.max(trial.received);
                return Ok(trial.was_offered);
            }
        }
        Ok(false)
    };
    let (mut low, mut high) = (0.0, FIRST_RATE);
    while high < MAX_RATE && passes(high)? {
        (low, high) = (high, high * STEP);
    }
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if passes(middle)? {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(best)
}

fn offer(rig: &Rig, running: &Running, length: Duration, rate: f64) -> Result<Trial, LabError> {
    let bits = (rate * f64::from(DATAGRAM_BYTES) * 8.0).round();
    let arguments = [
        "--udp".to_owned(),
        "--length".to_owned(),
        DATAGRAM_BYTES.to_string(),
        "--window".to_owned(),
        SOCKET_BUFFER.to_owned(),
        "--bitrate".to_owned(),
        bits.to_string(),
    ];
    let result = instruments::iperf(rig, running, length, &arguments)?;
    let sum = &result["end"]["sum"];
    let (lost, packets) = (number(&sum["lost_percent"])?, number(&sum["packets"])?);
    let offered = packets / number(&sum["seconds"])?;
    Ok(Trial {
        received: offered * (1.0 - lost / 100.0),
        lost,
        was_offered: offered > rate * 0.9,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tunnel that carries up to `capacity`, a sender that sends up to `sender`.
    fn carried(capacity: f64, sender: f64) -> f64 {
        search(|rate| {
            let offered = rate.min(sender);
            Ok(Trial {
                received: offered.min(capacity),
                lost: (100.0 * (1.0 - capacity / offered)).max(0.0),
                was_offered: rate <= sender,
            })
        })
        .unwrap()
    }

    #[test]
    fn finds_what_a_tunnel_carries_within_some_percent() {
        let found = carried(7_000.0, 1e9);
        assert!((4_000.0..=7_000.0).contains(&found), "{found}");
        for capacity in [21_000.0, 95_000.0, 150_000.0, 400_000.0] {
            let found = carried(capacity, 1e9);
            assert!(found > capacity * 0.93 && found <= capacity, "{found}");
        }
    }

    #[test]
    fn a_sender_at_its_end_ends_the_search() {
        assert_eq!(carried(1e9, 100_000.0), 100_000.0);
        assert!(carried(1e9, 1e9) > 1e6);
    }

    #[test]
    fn one_hiccup_does_not_count() {
        let mut trials = 0;
        let found = search(|rate| {
            trials += 1;
            let hiccup = trials == 3;
            let lost = if hiccup || rate > 100_000.0 {
                50.0
            } else {
                0.0
            };
            Ok(Trial {
                received: rate * (1.0 - lost / 100.0),
                lost,
                was_offered: true,
            })
        });
        assert!(found.unwrap() > 90_000.0);
    }
}
