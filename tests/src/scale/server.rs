//! Scale of the discovery server: a real one with thousands of real connections. How long a change takes
//! to the last watcher, and what a member costs.

pub mod api;
pub mod arrivals;
pub mod crowd;
pub mod figures;
pub mod population;
pub mod subject;
pub mod wire;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::open_files;
use crate::lab::LabError;
use crate::scale::report::Run;
use crate::scale::usage::Usage;
use crowd::Crowd;
use figures::{Figures, Spread, ms};

/// Rest before anything is measured: connecting is over.
const REST: Duration = Duration::from_secs(3);
/// Between two joins, at random moments of heartbeats and renewals.
const BETWEEN_JOINS: Duration = Duration::from_millis(130);
/// How long members change their records, for figures.
pub const CHURN: Duration = Duration::from_secs(8);
/// A member changes its address once an hour; but at least two changes a second are measured.
const CHANGE_EVERY: Duration = Duration::from_secs(3600);
const SLOWEST_CHURN: Duration = Duration::from_millis(500);
/// How long an idle server is watched, for figures: more than one heartbeat of everybody.
pub const IDLE: Duration = Duration::from_secs(25);
/// Descriptors for everything but watchers.
const SPARE_FILES: u64 = 600;

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Members of each cluster, the joining one included.
    pub members: usize,
    /// Clusters.
    pub clusters: usize,
    /// Times a new member joins.
    pub joins: usize,
    /// Members that join at once.
    pub storm: usize,
    /// How long members change their records.
    pub churn: Duration,
    /// How long the idle server is watched.
    pub idle: Duration,
}

/// Starts a server, lets all members but one register and watch, and measures: joins, a storm of them,
/// changes, and rest.
///
/// # Errors
/// If the server does not start, refuses something, or loses a change; its log is in the message.
pub fn run(options: &Options, bin_dir: &Path, note: &dyn Fn(&str)) -> Result<Run, LabError> {
    allow_files(options)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(LabError::io("start a runtime"))?;
    runtime.block_on(async {
        let crowd = Arc::new(Crowd::gather(options, bin_dir).await?);
        let run = measure(&crowd, options, note).await;
        run.map_err(|error| {
            let log = crowd.subject().log();
            LabError::Unusable(format!("{error}; the server said:\n{log}"))
        })
    })
}

async fn measure(
    crowd: &Arc<Crowd>,
    options: &Options,
    note: &dyn Fn(&str),
) -> Result<Run, LabError> {
    let pid = [crowd.subject().pid()];
    let empty = Usage::of(&pid)?;
    let start = Instant::now();
    let register = crowd.register().await?;
    let register_s = start.elapsed().as_secs_f64();
    note(&format!("{} registered in {register_s:.1} s", crowd.size()));
    let start = Instant::now();
    let _streams = crowd.watch().await?;
    let watch_s = start.elapsed().as_secs_f64();
    note(&format!("all watch after {watch_s:.1} s"));
    let _background = background(crowd);
    tokio::time::sleep(REST).await;
    let watchers = crowd.size();

    let before = Usage::of(&pid)?;
    let joins = join(crowd, options).await?;
    let join_cpu = Usage::of(&pid)?.cpu_since(&before) / joins.len().max(1) as f64;
    note(&format!("joins: {}", Spread::of(&joins)));
    let storm = crowd.storm(options.storm).await?;
    note(&format!("{} at once: {}", storm.len(), Spread::of(&storm)));
    let pace = (CHANGE_EVERY / u32::try_from(watchers).unwrap_or(u32::MAX)).min(SLOWEST_CHURN);
    let churn = crowd.churn(options.churn, pace).await?;
    note(&format!("changes: {}", Spread::of(&churn)));

    let idle = rest(crowd, options.idle).await?;
    let rss = idle.usage.mean_rss().saturating_sub(empty.mean_rss());
    Ok(Run {
        kind: "server",
        members: options.members,
        join_ms: joins.iter().map(ms).collect(),
        rss_bytes_per_member: rss / watchers as u64,
        idle_cpu: idle.cpu,
        server: Some(Figures {
            clusters: options.clusters,
            watchers,
            registrations_per_second: (register.len() as f64 / register_s).round(),
            register_ms: Spread::of(&register),
            storm_members: storm.len(),
            storm_ms: Spread::of(&storm),
            change_ms: Spread::of(&churn),
            cpu_s_per_join: (join_cpu * 1e4).round() / 1e4,
            idle_renewals_per_second: idle.renewals_per_second.round(),
            bytes_per_member_and_hour: (idle.bytes_per_hour / watchers as f64) as u64,
        }),
    })
}

/// What members do all the time; ends when dropped.
fn background(crowd: &Arc<Crowd>) -> JoinSet<()> {
    let mut background = JoinSet::new();
    background.spawn(Arc::clone(crowd).renew());
    let keeper = Arc::clone(crowd);
    background.spawn(async move {
        if let Err(error) = keeper.api().keep_nonce().await {
            keeper.arrivals().fault(&error.to_string());
        }
    });
    background
}

async fn join(crowd: &Arc<Crowd>, options: &Options) -> Result<Vec<Duration>, LabError> {
    let mut joins = Vec::new();
    for number in 0..options.joins {
        joins.push(crowd.join(number % options.clusters).await?);
        tokio::time::sleep(BETWEEN_JOINS).await;
        crowd.arrivals().forget_all();
    }
    Ok(joins)
}

/// What an idle server used.
struct Idle {
    usage: Usage,
    cpu: f64,
    renewals_per_second: f64,
    bytes_per_hour: f64,
}

async fn rest(crowd: &Arc<Crowd>, time: Duration) -> Result<Idle, LabError> {
    tokio::time::sleep(REST).await;
    crowd.arrivals().forget_all();
    let pid = [crowd.subject().pid()];
    let (before, bytes, renewals) = (Usage::of(&pid)?, crowd.api().traffic(), crowd.renewals());
    let start = Instant::now();
    tokio::time::sleep(time).await;
    let (usage, elapsed) = (Usage::of(&pid)?, start.elapsed());
    if let (count @ 1.., first) = crowd.arrivals().faults() {
        return Err(LabError::Unusable(format!(
            "{count} faults, the first: {}",
            first.unwrap_or_default()
        )));
    }
    let seconds = elapsed.as_secs_f64();
    Ok(Idle {
        usage,
        cpu: usage.share_since(&before, elapsed),
        renewals_per_second: (crowd.renewals() - renewals) as f64 / seconds,
        bytes_per_hour: (crowd.api().traffic() - bytes) as f64 * 3600.0 / seconds,
    })
}

/// Server and generator each need a descriptor for a watcher.
fn allow_files(options: &Options) -> Result<(), LabError> {
    let needed = (options.members * options.clusters) as u64 + SPARE_FILES;
    let needed = needed.saturating_sub(options.clusters as u64);
    open_files::allow(needed)
}
