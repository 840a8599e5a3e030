//! The shell around the mesh core: sockets, files, netlink, WireGuard.

pub mod app;
pub mod args;
mod bounded;
pub mod config;
pub mod control;
pub mod discovery;
pub mod engine;
pub mod kubernetes;
pub mod linux;
pub mod logging;
pub mod priority;
pub mod resolve;
pub mod state;
