//! Simulator: many nodes with the real core, and discovery servers with the real registry, over a
//! virtual network in virtual time. The same seed gives the same run, to the last packet.
//!
//! What is real: every decision of `meshd-core`, every record and its seal, the registry. What is a
//! model: WireGuard sessions (two of them, one for each backend), links, NATs, clocks, HTTP.
//!
//! A [`World`] is made from a [`Plan`], disturbed by [`Fault`]s, and watched all the time: whatever must
//! never happen stops it as a [`Violation`]. [`Scenario`]s are plans and disturbances drawn from a seed.

mod chance;
mod checks;
mod discovery;
mod engine;
mod nat;
mod net;
mod node;
mod oracle;
mod packet;
mod plan;
mod probing;
pub mod recovery;
mod scenario;
mod seam;
mod time;
mod watch;
mod world;

pub use checks::{Bounds, Violation};
pub use discovery::Lie;
pub use engine::Mode;
pub use nat::{Dependence, NatKind};
pub use net::{Area, INTERNET, RealmId, Weather};
pub use plan::{NodePlan, Plan};
pub use probing::{Probing, Spent, probing};
pub use scenario::{Outcome, Scenario, Size, Step};
pub use time::SimTime;
pub use world::{Fault, World};

/// A node by its place in the plan.
pub type NodeId = usize;

/// What a process finds when it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// Its state directory.
    Disk,
    /// Its keys, but an empty cache.
    Keys,
    /// Nothing: it is another member on the same host.
    Nothing,
}
