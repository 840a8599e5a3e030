//! Runs of the lab on this machine: one directory each with configurations, state and logs, and a file
//! that says who owns it and which process stands for which machine. Directories of dead owners are
//! leftovers and are removed by the next run; their processes died with the owner.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::LabError;

const BASE: &str = "/var/lib/mesh-lab";
const FILE: &str = "lab.json";
/// How the processes that stand for machines are called, followed by the machine's name.
pub const HOLDER: &str = "mesh-lab:";

/// What `exec` and `down` need to know of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Name of the run.
    pub name: String,
    /// Process that owns everything.
    pub owner: u32,
    /// Start time of that process in clock ticks: tells it from a later one of the same number.
    pub owner_started: u64,
    /// Directory of the programs.
    pub bin_dir: PathBuf,
    /// Process that stands for each machine.
    pub machines: BTreeMap<String, u32>,
}

/// A directory owned by this process; removed on drop.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    keep: bool,
}

impl RunDir {
    /// Removes leftovers of dead runs, then makes the directory of a new one.
    ///
    /// # Errors
    /// If a live run has that name.
    pub fn create(name: &str) -> Result<Self, LabError> {
        check_name(name)?;
        remove_leftovers();
        // Complete before it has its name: a directory without an owner is somebody's leftover.
        let (path, unborn) = (
            Path::new(BASE).join(name),
            Path::new(BASE).join(format!(".{name}")),
        );
        let _ = fs::remove_dir_all(&unborn);
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder
            .create(&unborn)
            .map_err(LabError::file("make", &unborn))?;
        let mut run = Self {
            path: unborn,
            keep: false,
        };
        run.write(name, Path::new(""), BTreeMap::new())?;
        if fs::rename(&run.path, &path).is_err() {
            return Err(LabError::Unusable(format!(
                "a lab named {name} is running: `mesh-lab down --name {name}` or choose another name"
            )));
        }
        run.path = path;
        Ok(run)
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the directory to be looked at, until the next run.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    /// Writes down where everything is.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(
        &self,
        name: &str,
        bin_dir: &Path,
        machines: BTreeMap<String, u32>,
    ) -> Result<(), LabError> {
        let owner = std::process::id();
        let entry = Entry {
            name: name.to_owned(),
            owner,
            owner_started: started(owner).unwrap_or_default(),
            bin_dir: bin_dir.to_owned(),
            machines,
        };
        let path = self.path.join(FILE);
        let text = serde_json::to_string_pretty(&entry).expect("plain data");
        fs::write(&path, text).map_err(LabError::file("write", &path))
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if !self.keep {
            remove(&self.path);
        }
    }
}

/// Checks that a run may have this name.
///
/// # Errors
/// If it may not.
pub fn check_name(name: &str) -> Result<(), LabError> {
    let sound = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if name.is_empty() || name.len() > 64 || name.starts_with('-') || !name.chars().all(sound) {
        return Err(LabError::Unusable(format!(
            "{name:?} is no name: use letters, digits and -"
        )));
    }
    Ok(())
}

/// Live runs, by name.
#[must_use]
pub fn live() -> Vec<Entry> {
    let mut all: Vec<_> = entries()
        .filter_map(|(_, entry)| entry)
        .filter(is_alive)
        .collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// The live run of this name, or the only one.
///
/// # Errors
/// If there is none, or several and no name is given.
pub fn find(name: Option<&str>) -> Result<Entry, LabError> {
    let mut all = live();
    if let Some(name) = name {
        all.retain(|entry| entry.name == name);
    }
    match (all.len(), name) {
        (1, _) => Ok(all.remove(0)),
        (0, Some(name)) => Err(LabError::Unusable(format!(
            "no lab named {name} is running"
        ))),
        (0, None) => Err(LabError::Unusable(
            "no lab is running: start one with `mesh-lab up`".to_owned(),
        )),
        _ => {
            let names: Vec<_> = all.iter().map(|entry| entry.name.as_str()).collect();
            Err(LabError::Unusable(format!(
                "several labs are running: choose with --name {}",
                names.join(" or --name ")
            )))
        }
    }
}

/// Removes what dead runs left; returns their names.
pub fn remove_leftovers() -> Vec<String> {
    let dead = entries().filter(|(_, entry)| !entry.as_ref().is_some_and(is_alive));
    dead.map(|(path, _)| {
        remove(&path);
        path.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    })
    .collect()
}

/// True while the owner of a run lives.
#[must_use]
pub fn is_alive(entry: &Entry) -> bool {
    started(entry.owner).is_some_and(|ticks| ticks == entry.owner_started)
}

/// Number of processes of a run that still live: its owner and those that stand for machines.
#[must_use]
pub fn processes(entry: &Entry) -> usize {
    let machines = entry.machines.values().filter(|pid| {
        let name = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        name.starts_with(HOLDER)
    });
    machines.count() + usize::from(is_alive(entry))
}

/// Removes the directories of this process, when it is about to end.
pub fn remove_own() {
    let own = |entry: &Entry| entry.owner == std::process::id() && is_alive(entry);
    for (path, _) in entries().filter(|(_, entry)| entry.as_ref().is_some_and(own)) {
        remove(&path);
    }
}

fn entries() -> impl Iterator<Item = (PathBuf, Option<Entry>)> {
    let dirs = fs::read_dir(BASE).into_iter().flatten().flatten();
    let born = dirs.filter(|dir| !dir.file_name().as_encoded_bytes().starts_with(b"."));
    born.map(|dir| {
        let text = fs::read_to_string(dir.path().join(FILE)).ok();
        let entry = text.and_then(|text| serde_json::from_str(&text).ok());
        (dir.path(), entry)
    })
}

fn remove(path: &Path) {
    let _ = fs::remove_dir_all(path);
    // Only succeeds when it is empty.
    let _ = fs::remove_dir(BASE);
}

/// Field 22 of /proc/PID/stat (proc(5)), counted behind the name, which may contain anything.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    // A zombie holds nothing any more.
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_another_of_the_same_number() {
        let me = std::process::id();
        let mut entry = Entry {
            name: "x".to_owned(),
            owner: me,
            owner_started: started(me).unwrap(),
            bin_dir: PathBuf::new(),
            machines: BTreeMap::new(),
        };
        assert!(is_alive(&entry));
        entry.owner_started += 1;
        assert!(!is_alive(&entry));
    }
}
