//! What systemd is told: ready, reloading, stopping, and that the daemon is alive, which it is only if
//! its engine is. Does nothing where nobody listens.

use std::time::Duration;

use sd_notify::NotifyState;

/// Between two signs of life if systemd does not ask for more.
const PERIOD: Duration = Duration::from_secs(5);

/// Start-up is complete, or a reload is.
pub(super) fn ready() {
    notify(&[NotifyState::Ready]);
}

/// The configuration is being read again; [`ready`] ends it.
pub(super) fn reloading() {
    // Since version 253 systemd wants to know when.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "no monotonic time for systemd"),
    }
}

/// The daemon is about to end.
pub(super) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Signs of life.
#[derive(Debug)]
pub(super) struct Watchdog {
    last_beat: Option<u64>,
}

impl Watchdog {
    pub(super) const fn new() -> Self {
        Self { last_beat: None }
    }

    /// How often [`Self::check`] wants to be called.
    pub(super) fn period() -> Duration {
        period(sd_notify::watchdog_enabled())
    }

    /// Tells systemd that the daemon is alive, if `beat` of the engine has moved since the last call.
    pub(super) fn check(&mut self, beat: u64) {
        if self.is_alive(beat) {
            notify(&[NotifyState::Watchdog]);
        } else {
            tracing::error!("the WireGuard engine does not move");
        }
    }

    fn is_alive(&mut self, beat: u64) -> bool {
        self.last_beat.replace(beat) != Some(beat)
    }
}

/// Two signs of life in the time that systemd waits.
fn period(limit: Option<Duration>) -> Duration {
    limit
        .filter(|limit| !limit.is_zero())
        .map_or(PERIOD, |limit| PERIOD.min(limit / 2))
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd could not be notified");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_stands_still_is_not_alive() {
        let mut watchdog = Watchdog::new();
        let alive: Vec<bool> = [0, 4, 4, 4, 5]
            .into_iter()
            .map(|beat| watchdog.is_alive(beat))
            .collect();
        assert_eq!(alive, [true, true, false, false, true]);
    }

    #[test]
    fn a_short_watchdog_is_fed_in_time() {
        assert_eq!(period(None), PERIOD);
        assert_eq!(period(Some(Duration::ZERO)), PERIOD);
        assert_eq!(period(Some(Duration::from_secs(30))), PERIOD);
        assert_eq!(period(Some(Duration::from_secs(2))), Duration::from_secs(1));
    }
}
