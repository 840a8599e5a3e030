//! What a release is made from: one version, a changelog, scripts that at least parse.

use std::process::Command;

use super::{deploy, text};

#[test]
fn the_version_is_in_one_place() {
    let workspace = std::fs::read_to_string(deploy("../Cargo.toml")).unwrap();
    let versions = workspace
        .lines()
        .filter(|line| line.starts_with("version = "));
    assert_eq!(versions.count(), 1, "deploy/release reads the only one");
    let version = env!("CARGO_PKG_VERSION");
    for file in [
        "kubernetes/base/meshd.yaml",
        "kubernetes/base/discovery.yaml",
    ] {
        let images: Vec<_> = text(file)
            .lines()
            .filter_map(|line| line.trim().strip_prefix("image: ").map(str::to_owned))
            .collect();
        assert!(!images.is_empty(), "{file}");
        for image in images {
            assert!(image.ends_with(&format!(":{version}")), "{file}: {image}");
        }
    }
}

#[test]
fn the_changelog_has_an_entry() {
    let text = std::fs::read_to_string(deploy("../CHANGELOG.md")).unwrap();
    let heading = format!("## [{}]", env!("CARGO_PKG_VERSION"));
    let section = text
        .split(&heading)
        .nth(1)
        .or_else(|| text.split("## [Unreleased]").nth(1))
        .expect("CHANGELOG.md has a section for what comes next");
    let section = section.split("\n## ").next().unwrap();
    assert!(section.lines().any(|line| line.starts_with("- ")));
}

#[test]
fn scripts_parse() {
    for script in [
        "release",
        "debian/build",
        "oci/image",
        "oci/sbom",
        "../tests/deploy/packages",
        "../tests/deploy/machine",
        "../tests/deploy/empty_root",
    ] {
        let status = Command::new("bash")
            .arg("-n")
            .arg(deploy(script))
            .status()
            .unwrap();
        assert!(status.success(), "{script}");
    }
    for package in ["meshd", "discovery-server"] {
        for kind in ["postinst", "prerm", "postrm"] {
            let script = deploy(&format!("debian/{package}.{kind}"));
            let status = Command::new("sh").arg("-n").arg(&script).status().unwrap();
            assert!(status.success(), "{}", script.display());
        }
    }
}
