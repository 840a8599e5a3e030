//! The server over real sockets on loopback, in this process and as the real binary.

#![expect(
    clippy::unwrap_used,
    reason = "a failed step of a test is to fail the test"
)]

mod attackers;
mod auth;
mod backups;
mod client;
mod etcd;
mod health;
mod kills;
mod limits;
mod process;
mod records;
mod replicas;
mod stun;
mod tls;
mod vectors;
mod watching;
