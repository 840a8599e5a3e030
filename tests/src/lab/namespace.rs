//! One machine of the lab: a network, mount and UTS namespace kept alive by a holder process. Nothing
//! has a name on the host: when the holder dies, the kernel removes everything.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::Signal;

use super::error::LabError;
use super::process::{self, Daemon};
use super::registry::HOLDER;

/// Entered in this order: the mount namespace last, it changes what paths mean.
const ENTERED: [(&str, CloneFlags); 3] = [
    ("uts", CloneFlags::CLONE_NEWUTS),
    ("net", CloneFlags::CLONE_NEWNET),
    ("mnt", CloneFlags::CLONE_NEWNS),
];

/// A set of namespaces that processes can be started in.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    holder: Daemon,
    entry: Entry,
}

/// Open handles on the namespaces of a holder.
#[derive(Debug, Clone)]
pub struct Entry {
    handles: Arc<Vec<(OwnedFd, CloneFlags)>>,
    /// Prepended to `PATH` inside.
    bin_dir: PathBuf,
}

impl Namespace {
    /// Makes the namespaces, with a private `/run`, `/sys` of its own and `name` as host name.
    ///
    /// # Errors
    /// If not root, or the kernel lacks namespaces.
    pub fn create(name: &str, bin_dir: &Path) -> Result<Self, LabError> {
        let mut command = Command::new("sleep");
        command.arg("infinity").arg0(format!("{HOLDER}{name}"));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let host = name.to_owned();
        // SAFETY: the closure runs in the forked child before exec and only makes system calls.
        unsafe {
            command.pre_exec(move || Ok(isolate(&host)?));
        }
        let holder = Daemon::spawn(&format!("holder of {name}"), command)?;
        let entry = Entry::of(holder.pid(), bin_dir)?;
        let namespace = Self {
            name: name.to_owned(),
            holder,
            entry,
        };
        namespace.script("ip link set lo up")?;
        Ok(namespace)
    }

    /// Name of the machine.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Process id that stands for the namespaces.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.holder.pid()
    }

    /// Handles to enter it by.
    #[must_use]
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// A command that runs inside and dies with the lab.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        self.entry.command(program)
    }

    /// Runs a command inside and returns what it printed.
    ///
    /// # Errors
    /// If it cannot be started or exits non-zero.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String, LabError> {
        let mut command = self.command(program);
        command.args(arguments).stdin(Stdio::null());
        let output = command
            .output()
            .map_err(LabError::io(format!("run {program} in {}", self.name)))?;
        let line = format!("{}: {program} {}", self.name, arguments.join(" "));
        checked(&line, output)
    }

    /// Runs a shell script inside; the first failing line ends it.
    ///
    /// # Errors
    /// If a line fails.
    pub fn script(&self, text: &str) -> Result<String, LabError> {
        let what = format!("script in {}", self.name);
        let mut command = self.command("sh");
        command.args(["-eux"]);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(LabError::io(what.as_str()))?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin
                .write_all(text.as_bytes())
                .map_err(LabError::io(what.as_str()))?;
        }
        let output = child
            .wait_with_output()
            .map_err(LabError::io(what.as_str()))?;
        checked(&what, output)
    }
}

impl Entry {
    /// Opens the namespaces of process `pid`.
    ///
    /// # Errors
    /// If the process is gone or not ours.
    pub fn of(pid: u32, bin_dir: &Path) -> Result<Self, LabError> {
        let mut handles = Vec::with_capacity(ENTERED.len());
        for (kind, flag) in ENTERED {
            let path = PathBuf::from(format!("/proc/{pid}/ns/{kind}"));
            let file = File::open(&path).map_err(LabError::file("open", &path))?;
            handles.push((file.into(), flag));
        }
        Ok(Self {
            handles: Arc::new(handles),
            bin_dir: bin_dir.to_owned(),
        })
    }

    /// A command that enters at exec, in a process group of its own, and dies with the thread that
    /// starts it.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = self.command_of_caller(program);
        command.process_group(0);
        process::die_with_parent(&mut command);
        command
    }

    /// The same, but in the caller's process group and outliving it: for a person's shell.
    #[must_use]
    pub fn command_of_caller(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env(
            "PATH",
            format!("{}:/usr/sbin:/sbin:{path}", self.bin_dir.display()),
        );
        let handles = Arc::clone(&self.handles);
        // SAFETY: the closure runs in the forked child before exec and only makes system calls.
        unsafe {
            command.pre_exec(move || {
                for (handle, flag) in handles.iter() {
                    setns(handle.as_fd(), *flag)?;
                }
                Ok(())
            });
        }
        command
    }

    /// Moves the calling thread into the network namespace, for good.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn enter_network(&self) -> Result<(), LabError> {
        for (handle, flag) in self.handles.iter() {
            if *flag == CloneFlags::CLONE_NEWNET {
                setns(handle.as_fd(), *flag).map_err(LabError::io("enter a network namespace"))?;
            }
        }
        Ok(())
    }
}

/// Turns an output into its stdout, or into an error with its stderr.
///
/// # Errors
/// If the exit status is not 0.
pub fn checked(command: &str, output: Output) -> Result<String, LabError> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(LabError::Command {
        command: command.to_owned(),
        status: output.status.to_string(),
        stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

/// Runs in the forked holder.
fn isolate(host: &str) -> nix::Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    nix::unistd::setpgid(nix::unistd::Pid::from_raw(0), nix::unistd::Pid::from_raw(0))?;
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS)?;
    nix::unistd::sethostname(host)?;
    let nothing = None::<&str>;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(nothing, "/", nothing, private, nothing)?;
    mount(
        Some("tmpfs"),
        "/run",
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=755"),
    )?;
    mount(
        Some("sysfs"),
        "/sys",
        Some("sysfs"),
        MsFlags::MS_RDONLY,
        nothing,
    )
}
