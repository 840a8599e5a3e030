//! A mesh on one machine: zones, routers, NATs, nodes and pods made of network namespaces, the real
//! daemons inside, and instruments to watch them. Touches nothing of the host's own network.

pub mod binaries;
pub mod capture;
pub mod classify;
pub mod config;
pub mod daemon_output;
pub mod error;
pub mod fixture;
pub mod meshctl;
pub mod namespace;
pub mod network;
pub mod packages;
pub mod packet;
pub mod pcap;
pub mod ping;
pub mod plan;
pub mod process;
pub mod registry;
pub mod requirements;
pub mod rotation;
pub mod running;
pub mod snapshot;
pub mod wait;

pub use error::LabError;
pub use plan::Plan;
pub use running::Lab;
