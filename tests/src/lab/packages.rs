//! System programs the lab needs: found, or installed by apt on Debian, saying so.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use super::error::LabError;

/// Program and the Debian package it comes in.
const NEEDED: [(&str, &str); 5] = [
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("ping", "iputils-ping"),
    ("wg", "wireguard-tools"),
    ("wireguard-go", "wireguard-go"),
];

/// What only the recovery scenarios need.
const NEEDED_FOR_RECOVERY: [(&str, &str); 2] =
    [("conntrack", "conntrack"), ("faketime", "faketime")];

/// What only throughput needs.
const NEEDED_FOR_THROUGHPUT: [(&str, &str); 2] = [("iperf3", "iperf3"), ("ethtool", "ethtool")];

/// Checks for root and for the programs, and installs what is missing.
///
/// # Errors
/// If not root, or a program is missing and apt cannot install it.
pub fn provide() -> Result<(), LabError> {
    install(&NEEDED)
}

/// The same for what the recovery scenarios need besides.
///
/// # Errors
/// If not root, or a program is missing and apt cannot install it.
pub fn provide_for_recovery() -> Result<(), LabError> {
    install(&NEEDED_FOR_RECOVERY)
}

/// The same for what measuring throughput needs besides.
///
/// # Errors
/// If not root, or a program is missing and apt cannot install it.
pub fn provide_for_throughput() -> Result<(), LabError> {
    install(&NEEDED_FOR_THROUGHPUT)
}

fn install(needed: &[(&str, &str)]) -> Result<(), LabError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(LabError::Unusable(
            "the lab makes network namespaces and so needs root: run it with sudo".to_owned(),
        ));
    }
    let missing: Vec<_> = needed
        .iter()
        .filter(|(program, _)| !on_path(program))
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    let _ = writeln!(std::io::stderr(), "installing Debian packages: {list}");
    let install = format!(
        "apt-get update -qq && apt-get install -y -qq --no-install-recommends {list} >/dev/null"
    );
    let status = Command::new("sh")
        .args(["-c", &install])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status()
        .map_err(LabError::io("run apt-get"))?;
    if !status.success() {
        return Err(LabError::Unusable(format!(
            "cannot install {list} ({status}): install them and try again"
        )));
    }
    Ok(())
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin"].map(OsStr::new).map(Path::new);
    std::env::split_paths(&path)
        .chain(usual.map(Path::to_path_buf))
        .any(|dir| dir.join(program).is_file())
}
