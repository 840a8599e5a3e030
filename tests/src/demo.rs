//! The demo: the project's main promises shown on one machine, each as a check with evidence.

mod checks;
mod report;
mod stage;

use std::path::Path;
use std::thread::ScopedJoinHandle;
use std::time::Instant;

pub use report::{Check, Report};

use crate::lab::LabError;
use crate::lab::wait::slowness;
use stage::Stage;

/// Why a check does not hold.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The lab could not even look.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// It looked, and the promise is broken.
    #[error("{0}")]
    Broken(String),
}

/// Evidence, or why not.
pub type Outcome = Result<String, CheckError>;

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name of the lab.
    pub name: String,
    /// Only the check of this name, and what it needs.
    pub only: Option<String>,
    /// Leave the lab running; the clean shutdown is not checked then.
    pub keep: bool,
}

/// Told what happens, from any thread.
pub type Progress<'a> = &'a (dyn Fn(&str) + Sync);

/// A check that works on the running lab.
struct Step {
    name: &'static str,
    run: fn(&Stage) -> Outcome,
}

/// In order; the first two lead from bare networks to a running mesh and always run.
const FIRST: [Step; 2] = [
    Step {
        name: "clear-without-mesh",
        run: checks::clear_control::run,
    },
    Step {
        name: "tunnels-up",
        run: checks::tunnels::run,
    },
];

const STEPS: [Step; 9] = [
    Step {
        name: "cross-zone-reach",
        run: checks::reach::run,
    },
    Step {
        name: "backbone-encrypted",
        run: checks::backbone::run,
    },
    Step {
        name: "zone-native",
        run: checks::native::run,
    },
    Step {
        name: "endpoint-filter",
        run: checks::filter::run,
    },
    Step {
        name: "topology",
        run: checks::topology::run,
    },
    Step {
        name: "rp-filter-strict",
        run: checks::rp_filter::run,
    },
    Step {
        name: "discovery-outage",
        run: checks::outage::run,
    },
    Step {
        name: "crash-fails-closed",
        run: checks::fail_closed::killed,
    },
    Step {
        name: "deleted-interface-fails-closed",
        run: checks::fail_closed::deleted,
    },
];

const ON_MEMBER: &str = "discovery-on-member";
const SHUTDOWN: &str = "clean-shutdown";

/// Names of all checks, in the order of the report.
#[must_use]
pub fn names() -> Vec<&'static str> {
    let steps = FIRST.iter().chain(&STEPS).map(|step| step.name);
    steps.chain([ON_MEMBER, SHUTDOWN]).collect()
}

/// Checks the name of a check.
///
/// # Errors
/// If no check has it.
pub fn check_name(name: &str) -> Result<(), LabError> {
    if names().contains(&name) {
        return Ok(());
    }
    Err(LabError::Unusable(format!(
        "no check is named {name}; there are {}",
        names().join(", ")
    )))
}

/// Runs the demo with the programs in `bin_dir`. The lab is returned if it is to be kept, or if
/// something failed and its files may tell why.
///
/// # Errors
/// If the lab cannot be built.
pub fn run(
    options: &Options,
    bin_dir: &Path,
    progress: Progress<'_>,
) -> Result<(Report, Option<Stage>), LabError> {
    let wanted = |name: &str| options.only.as_deref().is_none_or(|only| only == name);
    let mut runner = Runner {
        start: Instant::now(),
        progress,
    };
    let mut report = Report::default();
    // The second lab is independent of the first and most of its time is waiting; an emulated machine has
    // enough to do with one at a time.
    let stage = std::thread::scope(|scope| {
        let mut member = wanted(ON_MEMBER).then(|| {
            let name = format!("{}-member", options.name);
            let runner = runner.clone();
            scope.spawn(move || runner.check(ON_MEMBER, || checks::member::run(&name, bin_dir)))
        });
        let end = |member: ScopedJoinHandle<'_, Check>| member.join().expect("checks do not panic");
        let before = (slowness() > 1).then(|| member.take().map(end)).flatten();
        let stage = main_lab(options, bin_dir, &mut runner, &mut report, &wanted);
        report.checks.extend(before.or_else(|| member.map(end)));
        stage
    })?;
    let Some(mut stage) = stage else {
        return Ok((report, None));
    };
    if options.keep {
        return Ok((report, Some(stage)));
    }
    if !report.passed() {
        stage.lab.keep_files();
    }
    if wanted(SHUTDOWN) {
        report
            .checks
            .push(runner.check(SHUTDOWN, || checks::shutdown::run(stage)));
    }
    Ok((report, None))
}

fn main_lab(
    options: &Options,
    bin_dir: &Path,
    runner: &mut Runner<'_>,
    report: &mut Report,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<Option<Stage>, LabError> {
    if options.only.as_deref() == Some(ON_MEMBER) {
        return Ok(None);
    }
    (runner.progress)("building three zones of two nodes");
    let stage = Stage::build(&options.name, bin_dir)?;
    for step in FIRST {
        let check = runner.check(step.name, || (step.run)(&stage));
        report.checks.push(check);
    }
    let running = report.passed();
    for step in STEPS.iter().filter(|step| wanted(step.name)) {
        let check = if running {
            runner.check(step.name, || (step.run)(&stage))
        } else {
            Check::not_run(step.name)
        };
        report.checks.push(check);
    }
    Ok(Some(stage))
}

#[derive(Clone)]
struct Runner<'a> {
    start: Instant,
    progress: Progress<'a>,
}

impl Runner<'_> {
    fn check(&self, name: &str, run: impl FnOnce() -> Outcome) -> Check {
        self.say(&format!("{name} …"));
        let check = Check::of(name, run());
        let word = if check.ok { "ok" } else { "FAILED" };
        self.say(&format!("{name} {word}: {}", check.evidence));
        check
    }

    fn say(&self, text: &str) {
        (self.progress)(&format!("[{:>3} s] {text}", self.start.elapsed().as_secs()));
    }
}
