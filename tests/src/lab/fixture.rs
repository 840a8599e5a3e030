//! Labs for tests: one at a time in a process, or several that mostly wait, each with a name of its own;
//! skipped visibly where they cannot run.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use super::error::LabError;
use super::plan::Plan;
use super::running::Lab;
use super::{binaries, requirements};

/// Time a test gives the mesh to do what usually takes a second or two: a busy machine is no failure.
pub const PATIENCE: Duration = Duration::from_secs(45);

/// A lab, and its turn.
#[derive(Debug)]
pub struct Fixture {
    /// The lab.
    pub lab: Lab,
    _turn: Turn,
}

static LABS: RwLock<()> = RwLock::new(());

/// The right to have a lab in this process. A failed test says nothing about the next one.
#[derive(Debug)]
enum Turn {
    Alone {
        _guard: RwLockWriteGuard<'static, ()>,
    },
    Shared {
        _guard: RwLockReadGuard<'static, ()>,
    },
}

impl Turn {
    fn alone() -> Self {
        let guard = LABS.write().unwrap_or_else(PoisonError::into_inner);
        Self::Alone { _guard: guard }
    }

    fn shared() -> Self {
        let guard = LABS.read().unwrap_or_else(PoisonError::into_inner);
        Self::Shared { _guard: guard }
    }
}

impl Fixture {
    /// Builds `plan` with no daemon started; `None` if labs cannot run here, which has been said.
    ///
    /// # Panics
    /// If the programs or the lab cannot be built: nothing can be tested then.
    #[must_use]
    pub fn build(plan: Plan) -> Option<Self> {
        Self::build_in(Turn::alone, plan)
    }

    /// The same beside other labs of its kind: for tests that hardly use the processor.
    ///
    /// # Panics
    /// As [`Self::build`].
    #[must_use]
    pub fn build_shared(plan: Plan) -> Option<Self> {
        Self::build_in(Turn::shared, plan)
    }

    fn build_in(turn: impl FnOnce() -> Turn, plan: Plan) -> Option<Self> {
        static BIN_DIR: OnceLock<PathBuf> = OnceLock::new();
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if !requirements::met() {
            return None;
        }
        let turn = turn();
        let bin_dir = BIN_DIR.get_or_init(|| binaries::provide().expect("the programs build"));
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("test-{}-{number}", std::process::id());
        let lab = Lab::build(&name, plan, bin_dir).expect("the lab builds");
        Some(Self { lab, _turn: turn })
    }

    /// The same as [`Self::build`], with every daemon started and all tunnels up.
    ///
    /// # Panics
    /// If the mesh does not form.
    #[must_use]
    pub fn running(plan: Plan) -> Option<Self> {
        Self::build(plan).map(Self::started)
    }

    /// The same as [`Self::build_shared`], with every daemon started and all tunnels up.
    ///
    /// # Panics
    /// If the mesh does not form.
    #[must_use]
    pub fn running_shared(plan: Plan) -> Option<Self> {
        Self::build_shared(plan).map(Self::started)
    }

    fn started(self) -> Self {
        self.lab.start_all().expect("the daemons start");
        self.wait_all().expect("the mesh forms");
        self
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
