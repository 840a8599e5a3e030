//! The programs under test: built once by cargo in release mode, or taken from a directory.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::LabError;

/// Use the programs in this directory instead of building them.
pub const BIN_DIR_VARIABLE: &str = "MESH_LAB_BIN_DIR";

const PROGRAMS: [&str; 3] = ["meshd", "discovery-server", "meshctl"];

/// Builds the programs if need be; returns the directory they are in. Cargo's messages go to stderr.
///
/// # Errors
/// If the build fails or a program is missing.
pub fn provide() -> Result<PathBuf, LabError> {
    let dir = match std::env::var_os(BIN_DIR_VARIABLE) {
        Some(dir) => PathBuf::from(dir),
        None => build()?,
    };
    for program in PROGRAMS {
        let path = dir.join(program);
        if !path.is_file() {
            return Err(LabError::Unusable(format!("{} is missing", path.display())));
        }
    }
    dir.canonicalize().map_err(LabError::file("find", &dir))
}

fn build() -> Result<PathBuf, LabError> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // Of the whole workspace, as everything else builds: one package alone has other features of its
    // dependencies, and all of them would be compiled again.
    command.args(["build", "--release", "--locked"]);
    for program in PROGRAMS {
        command.args(["--bin", program]);
    }
    // What the outer cargo tells this program of its own package. `ring` is compiled anew whenever it changes.
    let of_package = |name: &str| {
        ["CARGO_PKG_", "CARGO_MANIFEST_"]
            .iter()
            .any(|of| name.starts_with(of))
    };
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(of_package) {
            command.env_remove(name);
        }
    }
    let status = command
        .current_dir(&root)
        .stdin(Stdio::null())
        .status()
        .map_err(LabError::io("run cargo build"))?;
    if !status.success() {
        return Err(LabError::Unusable(format!("cargo build failed ({status})")));
    }
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(target.join("release"))
}
