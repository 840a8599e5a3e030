//! Tests that only a kernel with WireGuard can pass, run inside: the ignored ones of a test program.

use std::io::Write as _;
use std::time::Duration;

use super::Vm;
use crate::lab::binaries;

/// Runs the ignored tests of this test program in the machine, if `MESH_VM` is set: emulation takes
/// minutes. `MESH_VM_ONLY` names one of them.
///
/// # Panics
/// If one fails or is skipped inside, or if `MESH_VM` is set and there is no machine.
pub fn run_ignored_tests(within: Duration) {
    let say = |text: &str| {
        let _ = writeln!(std::io::stderr(), "{text}");
    };
    if std::env::var_os("MESH_VM").is_none() {
        return say("SKIPPED: takes minutes in a virtual machine: set MESH_VM=1");
    }
    let vm = Vm::find().expect("MESH_VM asks for a virtual machine");
    let own = std::env::current_exe().expect("a test knows its program");
    let bin_dir = binaries::provide().expect("the programs build");
    let only = std::env::var("MESH_VM_ONLY").unwrap_or_default();
    let command = format!(
        "MESH_LAB_BIN_DIR={} {} --ignored --test-threads 1 --nocapture {only}; status=$?; \
         [ $status = 0 ] || tail -n 40 /var/lib/mesh-lab/*/*/*.log; exit $status",
        bin_dir.display(),
        own.display()
    );
    let outcome = vm.run(&command, within).expect("the machine runs");
    say(&outcome.output);
    assert_eq!(outcome.status, 0, "a test failed inside");
    assert!(!outcome.output.contains("SKIPPED"), "skipped inside");
}
