//! Self-hosted discovery server of the mesh: keeps sealed member records and pushes their changes.
//!
//! [`registry`] is pure and can be driven by a simulator; [`server::Server`] runs the whole in one
//! process. The server holds no secret of any cluster and cannot read what it keeps.

#![forbid(unsafe_code)]

pub mod backing;
pub mod backup;
pub mod backup_socket;
pub mod callers;
pub mod etcd;
pub mod heartbeats;
pub mod http;
pub mod limits;
pub mod listener;
pub mod metrics;
pub mod nonce;
pub mod rate;
pub mod registry;
pub mod server;
pub mod settings;
pub mod shared;
pub mod store;
pub mod stun;
pub mod tls;
pub mod watchers;
pub mod writer;
