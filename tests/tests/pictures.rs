//! The pictures of the documentation, from a mesh that runs, and that they show what is broken. Written to
//! `docs/images` if `MESH_WRITE_IMAGES` is set.

#![cfg(test)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use mesh_tests::lab::fixture::{Fixture, PATIENCE};
use mesh_tests::lab::{Lab, Plan, wait};

fn target(scratch: &Path, name: &str) -> PathBuf {
    match std::env::var_os("MESH_WRITE_IMAGES") {
        Some(_) => Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../docs/images")
            .join(name),
        None => scratch.join(name),
    }
}

/// What meshctl prints on a node; exit codes other than those of a finding are failures.
fn meshctl(lab: &Lab, node: &str, arguments: &[&str]) -> String {
    let mut command = lab.machine(node).unwrap().command("meshctl");
    let output = command.args(arguments).output().unwrap();
    let code = output.status.code().unwrap();
    assert!([0, 3].contains(&code), "{arguments:?}: {code}");
    String::from_utf8(output.stdout).unwrap()
}

/// A terminal's text as a picture.
fn terminal(command: &str, text: &str) -> String {
    let lines: Vec<String> = std::iter::once(format!("$ {command}"))
        .chain(text.lines().map(str::to_owned))
        .collect();
    let columns = lines
        .iter()
        .map(|line| line.chars().count())
        .max()
        .unwrap_or(0);
    let (width, height) = (columns * 8 + 32, lines.len() * 18 + 28);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"DejaVu Sans Mono,monospace\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#12171d\"/>\n"
    );
    for (number, line) in lines.iter().enumerate() {
        let line = line
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        let fill = if line.contains("down") || line.starts_with('!') {
            "#ff8a80"
        } else {
            "#e6ebf0"
        };
        let y = number * 18 + 28;
        writeln!(
            out,
            "<text x=\"16\" y=\"{y}\" fill=\"{fill}\" xml:space=\"preserve\">{line}</text>"
        )
        .unwrap();
    }
    out + "</svg>\n"
}

/// Drops what a1 and b1 send each other.
fn cut_link(lab: &Lab) {
    for (node, far) in [("a1", "b1"), ("b1", "a1")] {
        let far = lab.plan.node(far).unwrap().address;
        let cut = format!(
            "nft add table ip cut; nft 'add chain ip cut in {{ type filter hook input priority 0; }}'; \
             nft add rule ip cut in ip saddr {far} udp sport 51840 drop"
        );
        lab.machine(node).unwrap().script(&cut).unwrap();
    }
}

/// The page in a browser. Where there is none the page itself was checked.
fn screenshot(page: &Path, picture: &Path, scratch: &Path) {
    let chromium = Command::new("chromium")
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--window-size=1440,900",
            "--virtual-time-budget=2000",
        ])
        .arg(format!(
            "--user-data-dir={}",
            scratch.join("profile").display()
        ))
        .arg(format!("--screenshot={}", picture.display()))
        .arg(format!("file://{}", page.display()))
        .output();
    if chromium.is_ok_and(|output| output.status.success()) {
        assert!(picture.metadata().unwrap().len() > 10_000);
    }
}

#[test]
fn six_nodes_with_a_broken_link() {
    let Some(fixture) = Fixture::running(Plan::new(3, 2).unwrap()) else {
        return;
    };
    let lab = &fixture.lab;
    cut_link(lab);
    wait::until("the peer down", PATIENCE, || {
        let status = meshctl(lab, "a1", &["status"]);
        if status.contains("peer_down: b1") {
            Ok(())
        } else {
            Err(status)
        }
    })
    .unwrap();
    let (html, _) = wait::until("one broken link, all others reported", PATIENCE * 2, || {
        let html = meshctl(lab, "a1", &["topology", "--format", "html"]);
        let wanted = "<strong>1 broken link among 12 tunnels</strong>";
        if html.contains(wanted) {
            Ok(html)
        } else {
            Err(meshctl(lab, "a1", &["topology"]))
        }
    })
    .unwrap();
    assert!(html.contains("data-a=\"a1\" data-b=\"b1\""), "{html}");
    let svg = meshctl(lab, "a1", &["topology", "--format", "svg"]);
    assert!(svg.contains("a1 – b1: down"), "{svg}");
    let scratch = tempfile::tempdir().unwrap();
    let status = meshctl(lab, "a1", &["status"]);
    assert!(status.contains("peer_down: b1"), "{status}");
    std::fs::write(
        target(scratch.path(), "status.svg"),
        terminal("meshctl status", &status),
    )
    .unwrap();
    let top = meshctl(lab, "a1", &["top", "--count", "2"]);
    let last = top.rfind("a1  zone a").unwrap();
    std::fs::write(
        target(scratch.path(), "top.svg"),
        terminal("meshctl top", &top[last..]),
    )
    .unwrap();
    std::fs::write(target(scratch.path(), "topology-6.svg"), svg).unwrap();
    let page = scratch.path().join("mesh.html");
    std::fs::write(&page, html).unwrap();
    let picture = target(scratch.path(), "topology-6.png");
    screenshot(&page, &picture, scratch.path());
}
