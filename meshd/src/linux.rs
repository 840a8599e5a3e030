//! The kernel's network configuration and the TUN device. The only module that knows netlink types;
//! what to configure is decided in the core.

pub mod tun;
