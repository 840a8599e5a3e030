//! The device before and between engines: what the kernel can do, what an earlier process left, and how
//! that goes.

use std::fs;
use std::io;
use std::net::UdpSocket;
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};

use super::super::{EngineConfig, EngineError, io_error};
use super::netlink::WgNetlink;

/// Not there if the kernel has no IPv6 at all; `1` if somebody switched it off.
const IPV6_OFF: &str = "/proc/sys/net/ipv6/conf/all/disable_ipv6";

/// Whether this host can have WireGuard in the kernel with everything meshd needs beside it. Makes
/// nothing; asking loads the kernel's module.
///
/// # Errors
/// What is missing, in words.
pub fn kernel_available() -> Result<(), String> {
    WgNetlink::open("", Arc::default()).map_err(|error| match error.raw_os_error() {
        Some(libc::ENOENT) => "the kernel has no WireGuard".to_owned(),
        _ => format!("WireGuard in the kernel cannot be asked: {error}"),
    })?;
    // Probes inside the tunnel go between IPv6 addresses.
    if fs::read_to_string(IPV6_OFF).map_or(true, |off| off.trim() != "0") {
        return Err("the host has no IPv6, which the kernel backend's probes need".to_owned());
    }
    Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP)).map_err(|error| {
        format!("no raw socket for STUN on the WireGuard port ({error}): it needs CAP_NET_RAW")
    })?;
    Ok(())
}

/// The interface index of the device that an earlier process left with this configuration: same name,
/// key and port. None if there is none.
#[must_use]
pub fn kernel_device(config: &EngineConfig) -> Option<u32> {
    let mut netlink = WgNetlink::open(&config.interface, Arc::default()).ok()?;
    let reading = netlink.read().ok()?;
    if !reading.is_of(&config.private_key) || reading.listen_port != config.listen_port {
        return None;
    }
    nix::net::if_::if_nametoindex(config.interface.as_str()).ok()
}

/// Removes the device that an earlier process left, whatever its port: the userspace engine needs the
/// name. One with another key is somebody else's and stays.
pub fn remove_kernel_device(config: &EngineConfig) {
    let Ok(mut netlink) = WgNetlink::open(&config.interface, Arc::default()) else {
        return;
    };
    if netlink
        .read()
        .is_ok_and(|reading| reading.is_of(&config.private_key))
        && let Err(error) = netlink.remove()
    {
        tracing::warn!(%error, "the kernel's WireGuard interface cannot be removed");
    }
}

/// Removes what a killed process left under the name, unless it is somebody else's.
pub(super) fn remove_predecessor(
    netlink: &mut WgNetlink,
    config: &EngineConfig,
) -> Result<(), EngineError> {
    let Ok(reading) = netlink.read() else {
        return Ok(());
    };
    if !reading.is_of(&config.private_key) {
        let message = format!(
            "{} is a WireGuard interface with another key: remove it or set wireguard.interface",
            config.interface
        );
        return Err(io_error("make the WireGuard interface")(io::Error::other(
            message,
        )));
    }
    netlink
        .remove()
        .map_err(io_error("remove an old WireGuard interface"))
}

/// The kernel would only say so when the interface comes up.
pub(super) fn check_port(port: u16) -> Result<(), EngineError> {
    match UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, port)) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(EngineError::PortInUse(port)),
        _ => Ok(()),
    }
}
