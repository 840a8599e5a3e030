//! Waits for conditions by asking again, never by a fixed sleep.

use std::thread;
use std::time::{Duration, Instant};

use super::error::LabError;

const PAUSE: Duration = Duration::from_millis(100);

/// How many times longer everything may take here: `MESH_LAB_SLOWNESS`, set in emulated machines.
#[must_use]
pub fn slowness() -> u32 {
    let text = std::env::var("MESH_LAB_SLOWNESS").unwrap_or_default();
    text.parse().map_or(1, |times: u32| times.clamp(1, 100))
}

/// Asks until `condition` yields `Ok`, and returns that with the time it took. `Err` is the observation
/// to report if it never does.
///
/// # Errors
/// [`LabError::Timeout`] with the last observation after `limit`.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Result<T, String>,
) -> Result<(T, Duration), LabError> {
    let start = Instant::now();
    let limit = limit * slowness();
    loop {
        match condition() {
            Ok(value) => return Ok((value, start.elapsed())),
            Err(last) if start.elapsed() >= limit => {
                return Err(LabError::Timeout {
                    what: what.to_owned(),
                    seconds: limit.as_secs(),
                    last,
                });
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}
