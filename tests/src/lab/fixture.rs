//! Labs for tests: one at a time in a process, with a name of their own, skipped visibly where they
//! cannot run.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::error::LabError;
use super::plan::Plan;
use super::running::Lab;
use super::{binaries, requirements};

/// Time a test gives the mesh to do what usually takes a second or two: a busy machine is no failure.
pub const PATIENCE: Duration = Duration::from_secs(45);

/// A lab, and the right to be the only one.
#[derive(Debug)]
pub struct Fixture {
    /// The lab.
    pub lab: Lab,
    _turn: MutexGuard<'static, ()>,
}

impl Fixture {
    /// Builds `plan` with no daemon started; `None` if labs cannot run here, which has been said.
    ///
    /// # Panics
    /// If the programs or the lab cannot be built: nothing can be tested then.
    #[must_use]
    pub fn build(plan: Plan) -> Option<Self> {
        static TURN: Mutex<()> = Mutex::new(());
        static BIN_DIR: OnceLock<PathBuf> = OnceLock::new();
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if !requirements::met() {
            return None;
        }
        // A failed test says nothing about the next one.
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let bin_dir = BIN_DIR.get_or_init(|| binaries::provide().expect("the programs build"));
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("test-{}-{number}", std::process::id());
        let lab = Lab::build(&name, plan, bin_dir).expect("the lab builds");
        Some(Self { lab, _turn: turn })
    }

    /// The same, with every daemon started and all tunnels up.
    ///
    /// # Panics
    /// If the mesh does not form.
    #[must_use]
    pub fn running(plan: Plan) -> Option<Self> {
        let fixture = Self::build(plan)?;
        fixture.lab.start_all().expect("the daemons start");
        fixture.wait_all().expect("the mesh forms");
        Some(fixture)
    }

    /// Waits until all tunnels are up.
    ///
    /// # Errors
    /// If they are not within [`PATIENCE`].
    pub fn wait_all(&self) -> Result<Duration, LabError> {
        let names: Vec<_> = self
            .lab
            .plan
            .nodes()
            .map(|node| node.name.as_str())
            .collect();
        self.lab.wait_tunnels(&names, PATIENCE)
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.lab.keep_files();
        }
    }
}
