//! Whether tests that need root and namespaces can run here.

use std::io::Write as _;

use super::packages;

/// True if they can. If not, says `SKIPPED` and why; where skipping would hide something (`CI=true`) it
/// panics instead.
///
/// # Panics
/// If they cannot run and the environment says `CI=true`.
#[must_use]
pub fn met() -> bool {
    let Err(reason) = packages::provide() else {
        return true;
    };
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "cannot run in CI: {reason}"
    );
    let _ = writeln!(std::io::stderr(), "SKIPPED: {reason}");
    false
}
