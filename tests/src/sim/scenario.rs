//! Scenarios: plans and disturbances drawn from a seed, run, and shrunk when they fail.

mod draw;

use std::fmt;
use std::time::Duration;

use super::checks::{Bounds, Violation};
use super::plan::Plan;
use super::world::{Fault, World};

/// A disturbance and how long after the one before it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Wait before it.
    pub after: Duration,
    /// What happens.
    pub fault: Fault,
    /// Then everything ends, the bound passes, and all that can talk must.
    pub settle: bool,
}

/// How large a drawn scenario is.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Nodes, from two to this.
    pub nodes: usize,
    /// Disturbances.
    pub steps: usize,
    /// One node in this many runs the kernel's WireGuard; 0: none.
    pub kernel_every: usize,
    /// Also what is rare: leaves and joins, restarts of all, MTU holes, outages while addresses change, IPv6,
    /// filters, a node that comes later.
    pub wide: bool,
}

impl Default for Size {
    fn default() -> Self {
        Self {
            nodes: 6,
            steps: 10,
            kernel_every: 0,
            wide: false,
        }
    }
}

/// A world and what happens to it.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The beginning.
    pub plan: Plan,
    /// What happens.
    pub steps: Vec<Step>,
    /// What must hold.
    pub bounds: Bounds,
}

/// How a scenario went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The run's hash.
    pub trace: u64,
    /// Virtual time.
    pub time: Duration,
    /// What must not have happened.
    pub violation: Option<Violation>,
    /// Pairs that were asked to talk, over all checks.
    pub checked: usize,
}

impl Scenario {
    /// Draws a scenario.
    #[must_use]
    pub fn draw(seed: u64, size: Size, bounds: Bounds) -> Self {
        let (plan, steps) = draw::draw(seed, size);
        Self {
            plan,
            steps,
            bounds,
        }
    }

    /// Many nodes in five zones and a site, with a disturbance every so often for so long, and four
    /// times to recover.
    #[must_use]
    pub fn churn(seed: u64, nodes: usize, steps: usize, every: Duration) -> Self {
        let (plan, steps) = draw::churn(seed, nodes, steps, every);
        Self {
            plan,
            steps,
            bounds: Bounds::default(),
        }
    }

    /// Runs it from the beginning.
    #[must_use]
    pub fn run(&self) -> Outcome {
        let mut world = World::new(&self.plan, self.bounds);
        let mut checked = 0;
        let result = self.play(&mut world, &mut checked);
        Outcome {
            trace: world.trace(),
            time: world.now(),
            violation: result.err(),
            checked,
        }
    }

    /// The smallest sub-scenario found that fails in the same way.
    #[must_use]
    pub fn shrink(&self) -> Self {
        let mut best = self.clone();
        let Some(kind) = best.run().violation.map(|violation| violation.kind) else {
            return best;
        };
        let fails = |steps: Vec<Step>| {
            let smaller = Self {
                steps,
                ..self.clone()
            };
            let same = smaller
                .run()
                .violation
                .is_some_and(|found| found.kind == kind);
            same.then_some(smaller)
        };
        let mut chunk = best.steps.len().div_ceil(2);
        while chunk > 0 {
            let mut at = 0;
            while at < best.steps.len() {
                let mut steps = best.steps.clone();
                steps.drain(at..(at + chunk).min(steps.len()));
                match fails(steps) {
                    Some(smaller) => best = smaller,
                    None => at += chunk,
                }
            }
            chunk /= 2;
        }
        best
    }

    fn play(&self, world: &mut World, checked: &mut usize) -> Result<(), Violation> {
        world.settle()?;
        *checked += world.able_pairs();
        let mut calm = world.now();
        for step in &self.steps {
            world.run(step.after)?;
            world.disturb(&step.fault);
            calm = calm.max(world.now() + step.fault.time());
            if step.settle {
                settle(world, calm)?;
                *checked += world.able_pairs();
            }
        }
        settle(world, calm)?;
        *checked += world.able_pairs();
        Ok(())
    }
}

fn settle(world: &mut World, calm: Duration) -> Result<(), Violation> {
    world.run(calm.saturating_sub(world.now()))?;
    world.settle()
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}, sites {:?}", self.plan.seed, self.plan.sites)?;
        for (index, node) in self.plan.nodes.iter().enumerate() {
            writeln!(
                f,
                "  n{index}: zone {:?} homes {:?} {:?} skew {} ms latency {:?}{}{} {:?}",
                node.zone,
                node.homes,
                node.mode,
                node.skew_ms,
                node.latency,
                if node.six { ", IPv6" } else { "" },
                if node.late { ", late" } else { "" },
                node.endpoints,
            )?;
        }
        for step in &self.steps {
            let settle = if step.settle { ", then settle" } else { "" };
            writeln!(f, "  after {:?}: {:?}{settle}", step.after, step.fault)?;
        }
        Ok(())
    }
}
