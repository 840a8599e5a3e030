//! Rules of the repository that no compiler checks: file heads, file lengths, names, units, links.
//! Not about behaviour.

use std::fs;
use std::path::{Path, PathBuf};

/// Hard limit of lines in a source file.
const MAX_LINES: usize = 400;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ has a parent")
        .to_owned()
}

fn files_below(dir: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("the tree is readable") {
        let path = entry.expect("the tree is readable").path();
        let name = path
            .file_name()
            .expect("entries have names")
            .to_string_lossy()
            .into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && name != "target" && name != "dist" {
                files_below(&path, ending, found);
            }
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
}

fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    files_below(&root(), ".rs", &mut found);
    assert!(found.len() > 50, "only {} sources found", found.len());
    found.sort();
    found
        .into_iter()
        .map(|path| {
            (
                path.clone(),
                fs::read_to_string(path).expect("sources are text"),
            )
        })
        .collect()
}

fn report(broken: &[String]) {
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn every_source_says_what_it_is() {
    let broken: Vec<_> = sources()
        .iter()
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(path, _)| format!("{} does not open with //!", path.display()))
        .collect();
    report(&broken);
}

#[test]
fn no_source_is_over_the_limit() {
    let broken: Vec<_> = sources()
        .iter()
        .filter(|(_, text)| text.lines().count() > MAX_LINES)
        .map(|(path, text)| format!("{}: {} lines", path.display(), text.lines().count()))
        .collect();
    report(&broken);
}

#[test]
fn no_file_has_a_name_that_says_nothing() {
    let empty_names = [
        "utils", "util", "common", "helpers", "helper", "manager", "misc", "mod",
    ];
    let broken: Vec<_> = sources()
        .iter()
        .filter(|(path, _)| {
            let stem = path.file_stem().unwrap().to_string_lossy();
            empty_names.contains(&stem.as_ref())
        })
        .map(|(path, _)| path.display().to_string())
        .collect();
    report(&broken);
}

#[test]
fn the_core_and_proto_stay_pure() {
    for manifest in ["proto/Cargo.toml", "meshd/core/Cargo.toml"] {
        let text = fs::read_to_string(root().join(manifest)).unwrap();
        for banned in ["tokio", "reqwest", "netlink", "nix", "socket2", "getrandom"] {
            assert!(!text.contains(banned), "{manifest} depends on {banned}");
        }
    }
}

#[test]
fn links_in_documents_point_at_files() {
    let mut documents = Vec::new();
    files_below(&root(), ".md", &mut documents);
    let mut broken = Vec::new();
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let target = link.split('#').next().unwrap_or_default();
            let external = target.is_empty() || target.contains("://");
            if !external && !document.parent().unwrap().join(target).exists() {
                broken.push(format!("{}: {link}", document.display()));
            }
        }
    }
    report(&broken);
}

/// `SECURITY.md` says what attackers can and cannot do by naming the tests that are their scripts.
#[test]
fn tests_that_the_threat_model_names_exist() {
    let text = fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let words = text.split('`').skip(1).step_by(2);
    let is_name = |word: &&str| {
        word.matches('_').count() >= 3
            && word
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    let names: Vec<_> = words.filter(is_name).collect();
    assert!(names.len() > 20, "only {} tests are named", names.len());
    let sources = sources();
    let is_test = |name: &str| {
        let head = format!("fn {name}(");
        sources.iter().any(|(_, text)| text.contains(&head))
    };
    let broken: Vec<_> = names
        .into_iter()
        .filter(|name| !is_test(name))
        .map(|name| format!("SECURITY.md names {name}, and there is no such test"))
        .collect();
    report(&broken);
}

#[test]
fn units_name_binaries_and_keep_tunnels_over_restarts() {
    for (unit, wanted) in [
        ("meshd.service", "RestartKillSignal=SIGUSR2"),
        (
            "meshd.service",
            "ExecStart=/usr/bin/meshd --config /etc/meshd/meshd.yaml",
        ),
        ("meshd.service", "DeviceAllow=/dev/net/tun rw"),
        ("discovery-server.service", "DynamicUser=yes"),
    ] {
        let text = fs::read_to_string(root().join("deploy/systemd").join(unit)).unwrap();
        assert!(
            text.lines().any(|line| line == wanted),
            "{unit} lacks {wanted}"
        );
        let odd: Vec<_> = text
            .lines()
            .filter(|line| !(line.is_empty() || line.starts_with(['#', '[']) || line.contains('=')))
            .collect();
        assert!(odd.is_empty(), "{unit}: {odd:?}");
    }
}
