//! The programs to compare with: installed into a directory of their own, saying so. One that cannot be
//! had is left out, saying so.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::lab::LabError;

/// What is compared with, from crates.io.
const BORINGTUN: Crate = Crate {
    name: "boringtun-cli",
    version: "0.7.1",
    program: "boringtun-cli",
};
const GOTATUN: Crate = Crate {
    name: "gotatun-cli",
    version: "0.10.2",
    program: "gotatun",
};

/// A crate with a program.
#[derive(Debug, Clone, Copy)]
struct Crate {
    name: &'static str,
    version: &'static str,
    program: &'static str,
}

/// Where the programs are.
#[derive(Debug, Clone, Default)]
pub struct Tools {
    /// `boringtun-cli`.
    pub boringtun: Option<PathBuf>,
    /// `gotatun-cli`.
    pub gotatun: Option<PathBuf>,
    /// `wireguard-go`, with offloads if Debian trixie's can be had.
    pub wireguard_go: Option<PathBuf>,
}

impl Tools {
    /// Finds or installs them under `dir`, those whose implementation is in `only`, or all.
    ///
    /// # Errors
    /// If the directory cannot be made.
    pub fn provide(dir: &Path, only: &[String], note: &dyn Fn(&str)) -> Result<Self, LabError> {
        std::fs::create_dir_all(dir).map_err(LabError::file("make", dir))?;
        let dir = dir.canonicalize().map_err(LabError::file("find", dir))?;
        let wanted = |names: &[&str]| {
            only.is_empty()
                || names
                    .iter()
                    .any(|name| only.iter().any(|given| given == name))
        };
        let mut tools = Self::default();
        if wanted(&["boringtun", "boringtun-1"]) {
            tools.boringtun = from_crates(&dir, BORINGTUN, note);
        }
        if wanted(&["gotatun"]) {
            tools.gotatun = from_crates(&dir, GOTATUN, note);
        }
        if wanted(&["wireguard-go"]) {
            tools.wireguard_go = Some(wireguard_go(&dir, note));
        }
        Ok(tools)
    }
}

fn from_crates(dir: &Path, wanted: Crate, note: &dyn Fn(&str)) -> Option<PathBuf> {
    let Crate { name, version, .. } = wanted;
    let program = dir.join("bin").join(wanted.program);
    if program.is_file() {
        return Some(program);
    }
    note(&format!(
        "installing {name} {version} from crates.io into {}",
        dir.display()
    ));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["install", "--quiet", "--locked", name, "--version", version]);
    // Each as its authors publish it and as meshd is built: the release profile of its own, and no flags
    // for this machine. The AEAD of all of them looks for vector instructions by itself.
    command
        .args([OsStr::new("--root"), dir.as_os_str()])
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("CARGO_TARGET_DIR", dir.join("build"))
        .current_dir(dir);
    if command.status().is_ok_and(|status| status.success()) {
        return Some(program);
    }
    note(&format!("{name} cannot be installed: it is left out"));
    None
}

fn wireguard_go(dir: &Path, note: &dyn Fn(&str)) -> PathBuf {
    let program = dir.join("trixie/usr/bin/wireguard-go");
    if !program.is_file() {
        note("unpacking Debian trixie's wireguard-go, which has offloads; it is not installed");
        // A package system of its own, so that nothing of the host's changes.
        let script = r#"
            mkdir -p state/lists/partial cache/archives/partial parts
            signed=/usr/share/keyrings/debian-archive-keyring.gpg
            echo "deb [signed-by=$signed] http://deb.debian.org/debian trixie main" > sources.list
            set -- -qq -o Dir::Etc::sourcelist="$PWD/sources.list" -o Dir::Etc::sourceparts="$PWD/parts" \
                -o Dir::State="$PWD/state" -o Dir::Cache="$PWD/cache" -o Dir::State::status=/dev/null \
                -o APT::Sandbox::User=root
            touch state/status
            apt-get "$@" update
            apt-get "$@" download wireguard-go
            dpkg -x wireguard-go_*.deb trixie
        "#;
        let status = Command::new("sh")
            .args(["-euc", script])
            .current_dir(dir)
            .status();
        if !status.is_ok_and(|status| status.success()) || !program.is_file() {
            note(
                "it cannot be had: the host's own wireguard-go is measured, which has no offloads",
            );
            return PathBuf::from("wireguard-go");
        }
    }
    program
}
