//! Fetches members' reports on demand, for the topology.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use mesh_proto::discovery::report_path;
use mesh_proto::limits::MAX_ENVELOPE_BYTES;
use mesh_proto::{ClusterKeys, Envelope, EnvelopeKind, MemberId, VerifiedEnvelope};
use tokio::time::{Instant, timeout_at};

use super::session::{Session, read_bounded};

/// For all reports together; what has not come by then is left out.
const FETCH_TIMEOUT: Duration = Duration::from_secs(2);
/// Requests at one time.
const CONCURRENCY: usize = 32;
/// Header of a report: its age by the server's clock, seconds.
const HEADER_AGE: &str = "mesh-age-s";

/// A member's last report, as a server keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedReport {
    /// Whose view it is.
    pub member: MemberId,
    /// Verified, not yet opened.
    pub envelope: VerifiedEnvelope,
    /// Seconds since the server got it.
    pub age_s: u64,
}

/// Asks for every report; of each the first good answer counts.
pub(super) async fn fetch(
    sessions: &[Arc<Session>],
    keys: &[ClusterKeys],
    members: Vec<MemberId>,
) -> Vec<FetchedReport> {
    let deadline = Instant::now() + FETCH_TIMEOUT;
    let mut answers = stream::iter(members)
        .map(|member| fetch_one(sessions, keys, member))
        .buffer_unordered(CONCURRENCY);
    let mut reports = Vec::new();
    while let Ok(Some(answer)) = timeout_at(deadline, answers.next()).await {
        reports.extend(answer);
    }
    reports.sort_by_key(|report: &FetchedReport| report.member);
    reports
}

/// Asks all servers at once.
async fn fetch_one(
    sessions: &[Arc<Session>],
    keys: &[ClusterKeys],
    member: MemberId,
) -> Option<FetchedReport> {
    let asks = stream::FuturesUnordered::new();
    for session in sessions {
        for keys in keys {
            asks.push(ask(session, keys, member));
        }
    }
    let mut answers = std::pin::pin!(asks.filter_map(std::future::ready));
    answers.next().await
}

async fn ask(session: &Session, keys: &ClusterKeys, member: MemberId) -> Option<FetchedReport> {
    let path = report_path(&keys.cluster_id(), &member);
    let response = session.send(keys, &path, None, FETCH_TIMEOUT).await.ok()?;
    let age = response.headers().get(HEADER_AGE)?.to_str().ok()?;
    let age_s = age.parse().ok()?;
    let bytes = read_bounded(session.url(), response, MAX_ENVELOPE_BYTES)
        .await
        .ok()?;
    let envelope = Envelope::decode(&bytes).ok()?.verify().ok()?;
    let fits = envelope.member() == member
        && envelope.cluster() == keys.cluster_id()
        && envelope.kind() == EnvelopeKind::Report;
    fits.then_some(FetchedReport {
        member,
        envelope,
        age_s,
    })
}
