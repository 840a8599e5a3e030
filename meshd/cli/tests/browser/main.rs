//! Pages of meshctl in a real browser: what an operator sees in the first screenful, search, colours,
//! and the live view with its protection. With `MESH_WRITE_IMAGES=1` the pictures of `docs/images` are made.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod chromium;
mod live;
mod mesh;

use std::path::{Path, PathBuf};
use std::process::Command;

use chromium::{Chromium, pictures, url};
use mesh_proto::control::Topology;

fn meshctl() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshctl"));
    command.env_remove("MESHCTL_SOCKET");
    command
}

/// Draws a topology from disk, without a mesh.
fn draw(topology: &Topology, dir: &Path, arguments: &[&str]) -> String {
    let file = dir.join("mesh.json");
    std::fs::write(&file, serde_json::to_vec(topology).unwrap()).unwrap();
    let output = meshctl()
        .args(["--socket", "/nonexistent", "topology", "--from"])
        .arg(&file)
        .args(arguments)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout).unwrap()
}

fn page(topology: &Topology, dir: &Path) -> PathBuf {
    let html = draw(topology, dir, &["--format", "html"]);
    let file = dir.join("mesh.html");
    std::fs::write(&file, html).unwrap();
    file
}

/// The page with a script of the test at its end, allowed by the page's own policy.
fn with_script(file: &Path, script: &str) -> PathBuf {
    let text = std::fs::read_to_string(file).unwrap();
    let nonce = text
        .split("'nonce-")
        .nth(1)
        .unwrap()
        .split('\'')
        .next()
        .unwrap();
    let script = format!("<script nonce=\"{nonce}\">{script}</script></body>");
    let out = file.with_extension("probe.html");
    std::fs::write(&out, text.replace("</body>", &script)).unwrap();
    out
}

/// What the script wrote into the attribute `data-said` of the body.
fn said(document: &str) -> &str {
    let rest = document
        .split("data-said=\"")
        .nth(1)
        .expect("the script ran");
    rest.split('"').next().unwrap()
}

fn broken_mesh() -> Topology {
    let mut topology = mesh::mesh(12, 25);
    mesh::break_link(&mut topology, "blr-17", "ord-04");
    topology
}

#[test]
fn one_broken_link_among_300_nodes_is_in_the_first_screenful() {
    let Some(browser) = Chromium::find() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let file = page(&broken_mesh(), dir.path());
    let probe = with_script(
        &file,
        "const seen = (e) => { const r = e.getBoundingClientRect();
             return r.width > 0 && r.top >= 0 && r.bottom <= innerHeight && r.left >= 0 && r.right <= innerWidth; };
         const row = document.querySelector('#broken tr');
         const cells = [...document.querySelectorAll('#matrix td.s-down')];
         const red = getComputedStyle(cells[0]).backgroundColor;
         document.body.dataset.said = [innerWidth, document.body.dataset.ready,
             seen(document.querySelector('#banner')), seen(row), row.innerText.replace(/\\s+/g, ' ').trim(),
             cells.length, cells.every(seen), red,
             document.querySelectorAll('#map .broken').length, scrollY].join('|');",
    );
    let document = browser.document(&url(&probe));
    assert_eq!(
        said(&document),
        "1440|yes|true|true|blr-17 – ord-04 down as of 20s ago|2|true|rgb(214, 23, 44)|1|0",
    );
    assert!(document.contains("1 broken link among 41250 tunnels"));
    let out = pictures(dir.path());
    browser.screenshot(&url(&file), false, &out.join("topology-300.png"));
    browser.screenshot(&url(&file), true, &out.join("topology-300-dark.png"));
}

#[test]
fn search_zooms_and_colours_change() {
    let Some(browser) = Chromium::find() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let file = page(&broken_mesh(), dir.path());
    let probe = with_script(
        &file,
        "const box = () => document.getElementById('map').getAttribute('viewBox').split(' ').map(Number);
         const before = box(), line = document.querySelector('#map .bundle line');
         const color = () => getComputedStyle(line).stroke;
         const state = color();
         const select = document.getElementById('color');
         select.value = 'rtt'; select.dispatchEvent(new Event('change'));
         const rtt = color();
         const search = document.getElementById('search');
         search.value = 'SYD-25'; search.dispatchEvent(new Event('input'));
         const hits = document.querySelectorAll('#map .hit').length;
         const dim = document.querySelectorAll('#map .dim').length;
         search.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', bubbles: true }));
         const near = box()[2] < before[2] / 2;
         const details = document.getElementById('details').innerText;
         document.getElementById('fit').click();
         const node = document.querySelector('[data-node=\"blr-17\"]');
         node.querySelector('circle').dispatchEvent(new MouseEvent('mouseover', { bubbles: true }));
         const hover = document.getElementById('details').innerText;
         document.body.dataset.said = [state !== rtt, hits, dim, near, details.includes('10.11.0.25'),
             box()[2] === before[2], hover.includes('zone blr'), hover.includes('ord-04: tunnel down')].join('|');",
    );
    let document = browser.document(&url(&probe));
    assert_eq!(said(&document), "true|1|299|true|true|true|true|true");
}

#[test]
fn nothing_of_a_page_comes_from_elsewhere_and_hostile_names_run_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut topology = mesh::mesh(3, 2);
    let evil = "\"><img src=x onerror=\"document.body.dataset.evil=1\"><script>document.body.dataset.evil=2</script>";
    evil.clone_into(&mut topology.zones[0].name);
    let old = std::mem::replace(&mut topology.zones[1].nodes[0].name, evil.to_owned());
    for link in &mut topology.links {
        for end in [&mut link.a, &mut link.b] {
            if *end == old {
                evil.clone_into(end);
            }
        }
    }
    let file = page(&topology, dir.path());
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains("<img") && text.matches("<script").count() == 1);
    assert!(
        !text.contains("http://") && !text.contains("https://"),
        "asks the network"
    );
    assert!(text.contains("default-src 'none'") && text.contains("connect-src 'none'"));
    let Some(browser) = Chromium::find() else {
        return;
    };
    let document = browser.document(&url(&file));
    assert!(document.contains("data-ready=\"yes\"") && !document.contains("data-evil"));
}

#[test]
fn pictures_are_valid_and_show_small_meshes_completely() {
    let dir = tempfile::tempdir().unwrap();
    let mut topology = mesh::mesh(3, 2);
    mesh::break_link(&mut topology, "ams-01", "blr-02");
    let svg = draw(
        &topology,
        dir.path(),
        &["--format", "svg", "--color", "rtt"],
    );
    for node in topology.zones.iter().flat_map(|zone| &zone.nodes) {
        assert!(
            svg.contains(&format!(">{}</text>", node.name)),
            "{}",
            node.name
        );
    }
    assert!(svg.contains("1 broken link among 12 tunnels"));
    let Some(browser) = Chromium::find() else {
        return;
    };
    let file = dir.path().join("mesh.svg");
    std::fs::write(&file, svg).unwrap();
    // A browser shows an error document for XML that is not well-formed.
    let document = browser.document(&url(&file));
    assert!(!document.contains("parsererror"), "{document}");
    browser.screenshot(&url(&file), false, &dir.path().join("mesh.png"));
}
