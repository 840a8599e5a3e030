//! A thread with its own network namespace, and the `ip` command to build and check with, which shares
//! no code with what is tested.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Command;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};

use crate::linux::tun::Tun;
use crate::linux::{Netlink, Ownership};

/// Runs a test in a fresh network namespace with nothing but a loopback interface that is up. Without
/// the privilege to make one, says so and passes.
pub(super) fn in_namespace<T, F>(test: T)
where
    T: FnOnce() -> F + Send + 'static,
    F: Future<Output = ()>,
{
    let thread = std::thread::spawn(move || {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            // Not by a macro: the test harness would hide it.
            let reason = format!("SKIPPED: needs root for a network namespace: {error}\n");
            std::io::stderr().write_all(reason.as_bytes()).unwrap();
            return;
        }
        ip("link set lo up");
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(test());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs `ip` with these arguments in the namespace of this thread; its output.
pub(super) fn ip(arguments: &str) -> String {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
        .expect("the ip command of the package iproute2");
    assert!(
        output.status.success(),
        "ip {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Writes a sysctl of the namespace of this thread.
pub(super) fn sysctl(key: &str, value: &str) {
    std::fs::write(format!("/proc/sys/net/{key}"), value).unwrap();
}

/// Everything that meshd could have left behind, as text.
pub(super) fn configuration() -> String {
    let mut text = String::new();
    for arguments in [
        "-oneline link show",
        "-oneline address show",
        "-4 rule show",
        "-6 rule show",
        "-4 route show table all",
        "-6 route show table all",
    ] {
        writeln!(text, "# {arguments}\n{}", ip(arguments)).unwrap();
    }
    text
}

/// An uplink `eth0` with 10.1.0.1/24 and fd01::1/64, and a default route.
pub(super) fn uplink() {
    connect("eth0", "far0");
    ip("address add 10.1.0.1/24 dev eth0");
    ip("address add fd01::1/64 dev eth0 nodad");
    ip("route add default via 10.1.0.254");
    ip("-6 route add default via fd01::254");
    // The kernel finishes the address in the background.
    while !ip("-6 route show table local").contains("local fd01::1") {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A pair of connected links, up and at rest: without addresses that the kernel makes and checks in the
/// background, and with the carrier noticed, which also takes the kernel a moment.
pub(super) fn connect(near: &str, far: &str) {
    ip(&format!("link add {near} type veth peer name {far}"));
    for link in [near, far] {
        ip(&format!("link set {link} addrgenmode none"));
        ip(&format!("link set {link} up"));
    }
    for link in [near, far] {
        while !ip(&format!("link show {link}")).contains("state UP") {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Closes a TUN device and waits until the interface is gone: a child process that another test is just
/// starting holds a copy of the descriptor for a moment.
pub(super) fn close(tun: Tun) {
    let name = tun.name().to_owned();
    drop(tun);
    while ip("-oneline link show").contains(&name) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The defaults of the configuration.
pub(super) fn ownership() -> Ownership {
    Ownership {
        interface: "mesh0".to_owned(),
        table: 5184,
        rule_priority: 500,
        protocol: 84,
        mark: 0x1000,
        mask: 0x1000,
    }
}

/// A handle with the defaults.
pub(super) async fn netlink() -> Netlink {
    Netlink::open(ownership()).await.unwrap()
}
