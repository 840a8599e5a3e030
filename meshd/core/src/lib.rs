//! The mesh as a pure state machine.
//!
//! No sockets, no clock, no threads, no async: time and bytes come in as [`Input`], what is to be
//! done comes out as [`Action`]. The same core runs in production and in the simulator.
//!
//! The loop a shell runs:
//!
//! 1. [`Mesh::handle_input`] for everything that happened, with the time it happened at
//! 2. [`Mesh::handle_timeout`] when [`Mesh::poll_timeout`] is due
//! 3. [`Mesh::poll_action`] until empty; carry out in order ([`Action::Persist`] before what follows)
//! 4. [`Mesh::poll_event`] until empty; log them
//! 5. sleep until an input or [`Mesh::poll_timeout`]
//!
//! Decisions are pure functions wherever they can be; `mesh` only joins them.

#![forbid(unsafe_code)]

pub mod action;
pub mod allowed_ips;
pub mod candidates;
pub mod data_plane;
pub mod diff;
pub mod event;
pub mod explain;
pub mod filter;
pub mod input;
pub mod links;
pub mod mesh;
pub mod mtu;
pub mod network;
pub mod persistent;
pub mod recovery_counters;
pub mod routing;
pub mod settings;
pub mod time;
pub mod timing;
pub mod zone;

pub use action::Action;
pub use event::Event;
pub use input::Input;
pub use mesh::Mesh;
pub use recovery_counters::RecoveryCounters;
pub use settings::Settings;
pub use time::Now;
