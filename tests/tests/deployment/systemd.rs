//! The units, as `systemd-analyze` and a reader see them.

use std::io::Write as _;
use std::process::Command;

use super::{deploy, text};

/// What `systemd-analyze security` may say at most.
const MOST_EXPOSED: f64 = 2.5;

/// Whether there is systemd-analyze; if not, stderr says so.
fn analyzer() -> bool {
    if Command::new("systemd-analyze")
        .arg("--version")
        .output()
        .is_ok()
    {
        return true;
    }
    assert_ne!(
        std::env::var("CI").as_deref(),
        Ok("true"),
        "systemd-analyze is missing in CI"
    );
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED: there is no systemd-analyze here"
    );
    false
}

#[test]
fn units_are_hardened() {
    if !analyzer() {
        return;
    }
    for unit in ["meshd.service", "discovery-server.service"] {
        let output = Command::new("systemd-analyze")
            .args(["security", "--offline=true"])
            .arg(deploy("systemd").join(unit))
            .output()
            .unwrap();
        let report = String::from_utf8_lossy(&output.stdout).into_owned();
        let exposure: f64 = report
            .lines()
            .find_map(|line| line.split("exposure level for ").nth(1)?.split(": ").nth(1))
            .and_then(|rest| rest.split(' ').next()?.parse().ok())
            .unwrap_or_else(|| panic!("{report}"));
        assert!(exposure <= MOST_EXPOSED, "{unit}: {exposure}\n{report}");
    }
}

/// With stand-ins for the binaries, in a root of its own: nothing of this machine is asked.
#[test]
fn units_are_right() {
    if !analyzer() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for unit in ["meshd.service", "discovery-server.service"] {
        let runnable = text(&format!("systemd/{unit}"))
            .replace("/usr/bin/meshd", "/bin/true")
            .replace("/usr/bin/discovery-server", "/bin/true")
            .replace("Documentation=file:", "Documentation=https:");
        let path = dir.path().join(unit);
        std::fs::write(&path, runnable).unwrap();
        let output = Command::new("systemd-analyze")
            .args(["verify", "--man=no"])
            .arg(&path)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let about: Vec<_> = said.lines().filter(|line| line.contains(unit)).collect();
        assert!(about.is_empty(), "{about:?}");
        assert!(output.status.success(), "{said}");
    }
}

#[test]
fn the_packages_users_and_directories_are_those_of_the_unit() {
    let unit = text("systemd/meshd.service");
    let has = |line: &str| assert!(unit.lines().any(|found| found == line), "no {line}");
    for line in [
        "User=meshd",
        "LoadCredential=cluster.secret:/etc/meshd/cluster.secret",
        "Type=notify",
        "WatchdogSec=30",
        "ReadWritePaths=-/run/wireguard",
    ] {
        has(line);
    }
    assert!(text("systemd/meshd.sysusers").contains("\nu meshd "));
    assert!(text("systemd/meshd.tmpfiles").contains("\nd /run/wireguard 0775 root meshd"));
    assert!(
        text("systemd/meshd.modules-load")
            .lines()
            .any(|line| line == "tun")
    );
}
