//! The first files of the virtual machine: busybox, the modules that reach this machine's files, and the
//! script that puts those in place. Nothing of what is tested.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::lab::error::LabError;

/// What the root file system needs, in order. Some kernels have part of it built in.
const NEEDED: [&str; 4] = ["virtio_pci", "9pnet_virtio", "9p", "overlay"];

/// The first program. Files of the host are read only; a layer in memory takes what is written. It becomes
/// the root for good: a mere chroot is left by whoever enters a mount namespace.
const INIT: &str = "\
#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc; $b mount -t sysfs sys /sys; $b mount -t devtmpfs dev /dev
for m in /modules/*; do $b insmod $m; done
$b mkdir -p /host /over /new
$b mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=262144,cache=loose host /host
$b mount -t tmpfs over /over; $b mkdir /over/upper /over/work
$b mount -t overlay -o lowerdir=/host,upperdir=/over/upper,workdir=/over/work over /new
for d in proc sys dev; do $b mount --move /$d /new/$d; done
$b mount -t tmpfs run /new/run
$b mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=none job /new/mnt
exec $b switch_root /new /bin/sh /mnt/start
";

/// Modules in the order in which they load.
#[derive(Debug)]
pub(super) struct Modules(Vec<PathBuf>);

impl Modules {
    /// Those a kernel of this release needs.
    pub(super) fn of(release: &str) -> Result<Self, LabError> {
        let mut paths: Vec<PathBuf> = Vec::new();
        for module in NEEDED {
            let listed = output(Command::new("/sbin/modprobe").args([
                "-S",
                release,
                "--show-depends",
                module,
            ]))?;
            for line in String::from_utf8_lossy(&listed).lines() {
                if let Some(path) = line.strip_prefix("insmod ") {
                    let path = PathBuf::from(path.trim());
                    if !paths.contains(&path) {
                        paths.push(path);
                    }
                }
            }
        }
        Ok(Self(paths))
    }
}

/// Writes the archive.
pub(super) fn write(target: &Path, modules: &Modules) -> Result<(), LabError> {
    let root = tempfile::tempdir().map_err(LabError::io("make a directory"))?;
    let root = root.path();
    for dir in ["bin", "proc", "sys", "dev", "modules"] {
        let path = root.join(dir);
        fs::create_dir(&path).map_err(LabError::file("make", &path))?;
    }
    copy(Path::new("/bin/busybox"), &root.join("bin/busybox"))?;
    for library in libraries("/bin/busybox")? {
        let inside = library.strip_prefix("/").unwrap_or(&library).to_owned();
        copy(&library, &root.join(inside))?;
    }
    for (number, module) in modules.0.iter().enumerate() {
        let bytes = if module.extension().is_some_and(|end| end == "xz") {
            output(Command::new("/usr/bin/xz").arg("-dc").arg(module))?
        } else {
            fs::read(module).map_err(LabError::file("read", module))?
        };
        let path = root.join(format!("modules/{number:02}.ko"));
        fs::write(&path, bytes).map_err(LabError::file("write", &path))?;
    }
    let init = root.join("init");
    fs::write(&init, INIT).map_err(LabError::file("write", &init))?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))
        .map_err(LabError::file("change", &init))?;
    let pack = "find . | cpio --quiet -o -H newc";
    let archive = output(Command::new("sh").args(["-c", pack]).current_dir(root))?;
    fs::write(target, archive).map_err(LabError::file("write", target))
}

fn libraries(program: &str) -> Result<Vec<PathBuf>, LabError> {
    // A static program has none, and ldd says so by failing.
    let listed = Command::new("ldd")
        .arg(program)
        .output()
        .map_err(LabError::io("run ldd"))?;
    let text = String::from_utf8_lossy(&listed.stdout);
    let words = text.split_whitespace().filter(|word| word.starts_with('/'));
    Ok(words.map(PathBuf::from).collect())
}

fn copy(from: &Path, to: &Path) -> Result<(), LabError> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).map_err(LabError::file("make", parent))?;
    }
    fs::copy(from, to).map_err(LabError::file("copy", from))?;
    Ok(())
}

fn output(command: &mut Command) -> Result<Vec<u8>, LabError> {
    let output = command.output().map_err(LabError::io("run a program"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(LabError::Unusable(format!(
        "{command:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    )))
}
