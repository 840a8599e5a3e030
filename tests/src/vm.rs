//! A virtual machine with Debian's own kernel over the files of this machine: what the kernel here lacks
//! (WireGuard, netem) is there. Software emulation, ten to twenty times slower: judges behaviour, never
//! speed. Changes nothing here: what is written inside goes to memory and is gone with the machine.

mod initramfs;
mod own_tests;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::lab::error::LabError;
use initramfs::Modules;
pub use own_tests::run_ignored_tests;

/// What emulates the machine.
const EMULATOR: &str = "/usr/bin/qemu-system-x86_64";
/// Where the file system of the job appears inside; programs given to [`Vm::run`] may write there.
pub const JOB_DIR: &str = "/mnt";
/// Between looks at whether the machine has ended.
const LOOK: Duration = Duration::from_millis(100);

/// Runs inside, as process 1, once the files of this machine are in place.
const START: &str = "\
export MESH_LAB_SLOWNESS=5 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mkdir -p /dev/pts /dev/shm; mount -t devpts devpts /dev/pts; mount -t tmpfs tmpfs /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null
mkdir -p /var/lib/mesh-lab; mount -t tmpfs tmpfs /var/lib/mesh-lab
ip link set lo up
for m in tun veth bridge nf_tables wireguard sch_netem; do modprobe $m || echo \"no module $m\"; done
sh /mnt/command >/mnt/output 2>&1; echo $? >/mnt/status; sync
echo b >/proc/sysrq-trigger; sleep 60
";

/// A machine that can be started.
#[derive(Debug)]
pub struct Vm {
    release: String,
    memory_mb: u32,
}

/// What a command inside did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Its exit code.
    pub status: i32,
    /// What it wrote to stdout and stderr.
    pub output: String,
}

impl Vm {
    /// The machine this host can start.
    ///
    /// # Errors
    /// In words, what is missing and how to get it.
    pub fn find() -> Result<Self, LabError> {
        let missing = [EMULATOR, "/bin/busybox", "/usr/bin/cpio", "/usr/bin/xz"]
            .into_iter()
            .find(|program| !Path::new(program).exists());
        let advice = "apt-get install --no-install-recommends qemu-system-x86 busybox cpio \
                      xz-utils kmod linux-image-amd64";
        if let Some(program) = missing {
            return Err(LabError::Unusable(format!(
                "no virtual machine: {program} is missing: {advice}"
            )));
        }
        let release = kernels().into_iter().max_by_key(|release| rank(release));
        let release = release.ok_or_else(|| {
            LabError::Unusable(format!(
                "no virtual machine: no kernel with WireGuard in /boot: {advice}"
            ))
        })?;
        Ok(Self {
            release,
            memory_mb: 2048,
        })
    }

    /// Release of its kernel.
    #[must_use]
    pub fn kernel(&self) -> &str {
        &self.release
    }

    /// Boots, runs the shell script `command` as root, and ends. Takes about 20 s more than the command.
    ///
    /// # Errors
    /// If it cannot be started, or has not ended `within` that time; the console is in the message.
    pub fn run(&self, command: &str, within: Duration) -> Result<Outcome, LabError> {
        let dir = tempfile::tempdir().map_err(LabError::io("make a directory"))?;
        let job = dir.path().join("job");
        fs::create_dir(&job).map_err(LabError::file("make", &job))?;
        for (name, text) in [("start", START), ("command", command)] {
            let path = job.join(name);
            fs::write(&path, text).map_err(LabError::file("write", &path))?;
        }
        let initrd = dir.path().join("initrd");
        initramfs::write(&initrd, &Modules::of(&self.release)?)?;
        let console = dir.path().join("console");
        self.boot(&job, &initrd, &console, within)?;
        outcome(&job, &console)
    }

    fn boot(
        &self,
        job: &Path,
        initrd: &Path,
        console: &Path,
        within: Duration,
    ) -> Result<(), LabError> {
        let output = File::create(console).map_err(LabError::file("make", console))?;
        let share = |tag: &str, path: &Path, more: &str| {
            [
                "-fsdev".to_owned(),
                format!(
                    "local,id={tag},path={},security_model=none{more}",
                    path.display()
                ),
                "-device".to_owned(),
                format!("virtio-9p-pci,fsdev={tag},mount_tag={tag}"),
            ]
        };
        let mut machine = Command::new(EMULATOR)
            .args([
                "-machine",
                "q35",
                "-accel",
                "tcg,thread=multi",
                "-cpu",
                "max",
            ])
            .args(["-smp", "2", "-m", &self.memory_mb.to_string()])
            .args(["-nographic", "-no-reboot", "-nic", "none"])
            .arg("-kernel")
            .arg(format!("/boot/vmlinuz-{}", self.release))
            .arg("-initrd")
            .arg(initrd)
            .args(["-append", "console=ttyS0 quiet panic=-1 mitigations=off"])
            .args(share(
                "host",
                Path::new("/"),
                ",readonly=on,multidevs=remap",
            ))
            .args(share("job", job, ""))
            .stdin(Stdio::null())
            .stderr(output.try_clone().map_err(LabError::io("share a file"))?)
            .stdout(output)
            .spawn()
            .map_err(LabError::io("start qemu"))?;
        let end = Instant::now() + within;
        while Instant::now() < end {
            match machine.try_wait() {
                Ok(None) => std::thread::sleep(LOOK),
                Ok(Some(_)) => return Ok(()),
                Err(error) => return Err(LabError::io("wait for qemu")(error)),
            }
        }
        // It has no state worth a clean end.
        let _ = machine.kill();
        let _ = machine.wait();
        let said = fs::read_to_string(job.join("output")).unwrap_or_default();
        Err(LabError::Unusable(format!(
            "the virtual machine was not done within {} s; so far: {said}\nconsole: {}",
            within.as_secs(),
            tail(console)
        )))
    }
}

fn outcome(job: &Path, console: &Path) -> Result<Outcome, LabError> {
    let read = |name: &str| fs::read(job.join(name)).unwrap_or_default();
    let status = String::from_utf8_lossy(&read("status")).trim().parse();
    let status = status.map_err(|_| {
        LabError::Unusable(format!(
            "the virtual machine ended before the command: {}",
            tail(console)
        ))
    })?;
    Ok(Outcome {
        status,
        output: String::from_utf8_lossy(&read("output")).into_owned(),
    })
}

/// The higher, the better: the newest, but a real-time kernel only where there is no other. Under emulation
/// its threads for interrupts take most of the time.
fn rank(release: &str) -> (bool, Vec<u32>) {
    let numbers = release.split(|letter: char| !letter.is_ascii_digit());
    let numbers = numbers.filter_map(|number| number.parse().ok());
    (!release.contains("-rt"), numbers.collect())
}

/// Releases in `/boot` that have WireGuard.
fn kernels() -> Vec<String> {
    fs::read_dir("/boot")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some(name.strip_prefix("vmlinuz-")?.to_owned())
        })
        .filter(|release| {
            let dir = PathBuf::from("/lib/modules").join(release);
            dir.join("kernel/drivers/net/wireguard").is_dir()
        })
        .collect()
}

/// The last lines of a console.
fn tail(path: &Path) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_that_is_not_a_real_time_one() {
        let best = |releases: &[&str]| {
            let best = releases.iter().max_by_key(|release| rank(release));
            best.map(|release| (*release).to_owned()).unwrap()
        };
        let rt = "6.12.117+deb12-rt-amd64";
        assert_eq!(best(&[rt, "6.1.0-56-amd64"]), "6.1.0-56-amd64");
        assert_eq!(best(&["6.1.0-9-amd64", "6.1.0-56-amd64"]), "6.1.0-56-amd64");
        assert_eq!(best(&["6.12.9-amd64", "6.1.0-56-amd64"]), "6.12.9-amd64");
        assert_eq!(best(&[rt]), rt);
    }
}
