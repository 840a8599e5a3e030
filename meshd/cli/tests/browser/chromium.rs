//! Debian's chromium without a window: the document after its scripts ran, and screenshots.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Size of the window: what an operator sees without scrolling.
pub(crate) const WINDOW: &str = "1440,900";

/// A browser with a profile of its own.
#[derive(Debug)]
pub(crate) struct Chromium {
    profile: tempfile::TempDir,
}

impl Chromium {
    /// None, with the reason on stderr, where there is no chromium; an error where
    /// `MESH_REQUIRE_BROWSER` is set.
    pub(crate) fn find() -> Option<Self> {
        let found = Command::new("chromium")
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if found {
            return Some(Self {
                profile: tempfile::tempdir().unwrap(),
            });
        }
        assert!(
            std::env::var_os("MESH_REQUIRE_BROWSER").is_none(),
            "chromium does not start"
        );
        // Straight to the terminal: the test harness hides the output of tests that pass.
        let _ = std::io::Write::write_all(
            &mut std::io::stderr(),
            b"SKIPPED: no chromium here (apt-get install chromium)\n",
        );
        None
    }

    fn run(&self, arguments: &[&str], url: &str) -> Vec<u8> {
        let profile = format!("--user-data-dir={}", self.profile.path().display());
        let output = Command::new("chromium")
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
            ])
            .args([
                "--no-first-run",
                "--disable-extensions",
                "--disable-background-networking",
            ])
            .args(["--hide-scrollbars", "--allow-file-access-from-files"])
            .arg(format!("--window-size={WINDOW}"))
            .args([&profile, "--virtual-time-budget=4000"])
            .args(arguments)
            .arg(url)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }

    /// The document once its scripts have run.
    pub(crate) fn document(&self, url: &str) -> String {
        String::from_utf8(self.run(&["--dump-dom"], url)).unwrap()
    }

    /// Writes a picture of the window.
    pub(crate) fn screenshot(&self, url: &str, dark: bool, to: &Path) {
        let target = format!("--screenshot={}", to.display());
        let mut arguments = vec![target.as_str()];
        if dark {
            arguments.push("--blink-settings=preferredColorScheme=0");
        } else {
            arguments.push("--blink-settings=preferredColorScheme=1");
        }
        self.run(&arguments, url);
        assert!(to.metadata().unwrap().len() > 10_000, "an empty picture");
    }
}

/// Address of a file.
pub(crate) fn url(file: &Path) -> String {
    format!("file://{}", file.canonicalize().unwrap().display())
}

/// Where pictures go: `docs/images` if `MESH_WRITE_IMAGES` is set, else a directory that is removed.
pub(crate) fn pictures(scratch: &Path) -> PathBuf {
    match std::env::var_os("MESH_WRITE_IMAGES") {
        Some(_) => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/images"),
        None => scratch.to_owned(),
    }
}
