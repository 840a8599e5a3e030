//! Scale: how long a new node takes until it exchanges data with every member of a mesh of real daemons,
//! and what a daemon of such a mesh costs. [`server`] does the same for the discovery server alone, with
//! many more members, [`peers`] for one daemon with many peers.

pub mod answers;
pub mod mesh;
mod open_files;
pub mod peers;
pub mod report;
pub mod server;
pub mod star;
pub mod usage;

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::lab::LabError;
use answers::Echoes;
use mesh::RunningMesh;
use report::Run;
use usage::Usage;

/// Rest before anything is measured: start-up work is over, probes have found their pace.
const REST: Duration = Duration::from_secs(5);
/// How long idle daemons are watched.
const WATCH: Duration = Duration::from_secs(10);
/// A join that takes longer has failed.
const JOIN_LIMIT: Duration = Duration::from_secs(60);

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name of the lab.
    pub name: String,
    /// Nodes, the joining one included.
    pub nodes: usize,
    /// Times a new node joins.
    pub joins: usize,
}

/// Builds a mesh of all nodes but one, each a zone of its own; watches it idle; lets a new node join and
/// leave again.
///
/// # Errors
/// If the mesh cannot be built, does not form, or a join does not end; the logs are kept then.
pub fn mesh(options: &Options, bin_dir: &Path, note: &dyn Fn(&str)) -> Result<Run, LabError> {
    note(&format!("starting {} nodes", options.nodes - 1));
    let mut mesh = RunningMesh::build(&options.name, options.nodes, bin_dir)?;
    let result = measure(&mut mesh, options, note);
    if result.is_err() {
        mesh.keep_files();
        note(&format!(
            "logs, until the next run: {}",
            mesh.dir().display()
        ));
    }
    result
}

fn measure(
    mesh: &mut RunningMesh,
    options: &Options,
    note: &dyn Fn(&str),
) -> Result<Run, LabError> {
    let took = mesh.start_residents()?;
    note(&format!("all tunnels up after {:.1} s", took.as_secs_f64()));
    thread::sleep(REST);
    let before = Usage::of(&mesh.resident_pids())?;
    let start = Instant::now();
    thread::sleep(WATCH);
    let after = Usage::of(&mesh.resident_pids())?;
    let idle_cpu = after.share_since(&before, start.elapsed());
    let echoes = Echoes::start(mesh.star())?;
    let mut join_ms = Vec::new();
    for number in 1..=options.joins {
        let start = mesh.start_joiner()?;
        let arrivals = echoes.first_answers(start, JOIN_LIMIT)?;
        let ms = |arrival: Option<&Duration>| {
            arrival.map_or(0.0, |after| (after.as_secs_f64() * 10_000.0).round() / 10.0)
        };
        let (first, last) = (ms(arrivals.first()), ms(arrivals.last()));
        note(&format!(
            "join {number}/{}: first tunnel {first} ms, half {} ms, last {last} ms",
            options.joins,
            ms(arrivals.get(arrivals.len() / 2))
        ));
        join_ms.push(last);
        mesh.end_joiner()?;
        thread::sleep(REST);
    }
    Ok(Run {
        kind: "mesh",
        members: options.nodes,
        join_ms,
        rss_bytes_per_member: after.mean_rss(),
        idle_cpu,
        server: None,
    })
}
