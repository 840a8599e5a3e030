//! The demo mesh of three zones with WireGuard in the kernel, and with kernel and userspace mixed. The demos
//! themselves are marked as ignored: the last test runs them in the virtual machine, whose kernel has
//! WireGuard.

#![cfg(test)]

use std::process::Command;
use std::time::Duration;

use mesh_tests::vm::run_ignored_tests;

/// Both demos in the machine.
const WITHIN: Duration = Duration::from_secs(1100);
/// Discovery is gone for so long: emulation makes the rest long enough.
const OUTAGE_SECONDS: &str = "30";

fn assert_demo_passes(backend: &str) {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_mesh-lab"));
    demo.arg("demo")
        .env("MESH_LAB_BACKEND", backend)
        .env("MESH_LAB_OUTAGE_SECONDS", OUTAGE_SECONDS);
    let passed = demo.status().unwrap().success();
    if !passed {
        // Now: the next one removes them, and nothing is left of the machine.
        let tail = "tail -n 40 /var/lib/mesh-lab/*/*/*.log";
        let _ = Command::new("sh").args(["-c", tail]).status();
    }
    assert!(passed, "with {backend}");
}

#[test]
#[ignore = "needs WireGuard in the kernel: run by the virtual machine"]
fn it_passes_with_the_kernel() {
    assert_demo_passes("kernel");
}

#[test]
#[ignore = "needs WireGuard in the kernel: run by the virtual machine"]
fn it_passes_with_kernel_and_userspace_mixed() {
    assert_demo_passes("mixed");
}

#[test]
fn in_the_virtual_machine() {
    run_ignored_tests(WITHIN);
}
