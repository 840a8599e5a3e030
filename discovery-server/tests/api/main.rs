//! The server over real sockets on loopback, in this process and as the real binary.

#![expect(
    clippy::unwrap_used,
    reason = "a failed step of a test is to fail the test"
)]

mod auth;
mod client;
mod health;
mod process;
mod records;
mod stun;
mod tls;
mod vectors;
mod watching;
