//! Scenarios of several meshes in virtual time.

use std::time::Instant;

/// Where virtual time starts. Only differences count, so the value has no influence.
#[expect(
    clippy::disallowed_methods,
    reason = "an Instant cannot be made otherwise; virtual time needs one to start from"
)]
pub(crate) fn base_instant() -> Instant {
    Instant::now()
}
