//! The shell around the mesh core: sockets, files, netlink, WireGuard.

pub mod control;
pub mod linux;
