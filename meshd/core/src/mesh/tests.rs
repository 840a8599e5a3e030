//! Scenarios of several meshes in virtual time: a small deterministic world of fake engines and a fake
//! discovery server around real state machines.

mod attackers;
mod chaos;
mod discovery;
mod engine;
mod floods;
mod identities;
mod joining;
mod keys;
mod members;
mod native_checks;
mod node;
mod path_size;
mod paths;
mod recovery;
mod removals;
mod resume;
mod secrets;
mod storms;
mod streams;
mod views;
mod world;
mod zones;

use std::time::Instant;

/// Where virtual time starts. Only differences count, so the value has no influence.
#[expect(
    clippy::disallowed_methods,
    reason = "an Instant cannot be made otherwise; virtual time needs one to start from"
)]
pub(crate) fn base_instant() -> Instant {
    Instant::now()
}
