//! The members of all clusters at work: they register, watch, renew, change and are joined by others.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mesh_proto::ClusterKeys;
use mesh_proto::discovery::Revision;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::Options;
use super::api::{Api, Parcel};
use super::arrivals::{Arrivals, Change};
use super::population::{Member, cluster_keys};
use super::subject::Subject;
use super::wire::Chunks;
use crate::lab::LabError;

/// Connections that are being made at one time.
const CONCURRENCY: usize = 128;
/// A daemon renews after a third of its lease.
const RENEWAL: Duration = Duration::from_secs(100);
/// A change that has not reached all by then is lost.
const CHANGE_LIMIT: Duration = Duration::from_secs(30);

/// Server, clusters and members of one run.
#[derive(Debug)]
pub struct Crowd {
    subject: Subject,
    api: Api,
    keys: Vec<ClusterKeys>,
    members: Mutex<Vec<Arc<Mutex<Member>>>>,
    arrivals: Arrivals,
    watchers_each: usize,
    renewals: AtomicUsize,
}

impl Crowd {
    /// Starts a server and makes the members of all clusters but the one that joins.
    ///
    /// # Errors
    /// If the server does not start.
    pub async fn gather(options: &Options, bin_dir: &Path) -> Result<Self, LabError> {
        let subject = Subject::start(bin_dir)?;
        let api = Api::connect(subject.address()).await?;
        let keys: Vec<_> = (0..options.clusters).map(cluster_keys).collect();
        let residents = options.members - 1;
        let mut members = Vec::new();
        for number in 0..residents * options.clusters {
            let cluster = number / residents;
            let member = Member::new(number, cluster, &keys[cluster])?;
            members.push(Arc::new(Mutex::new(member)));
        }
        Ok(Self {
            subject,
            api,
            keys,
            members: Mutex::new(members),
            arrivals: Arrivals::default(),
            watchers_each: residents,
            renewals: AtomicUsize::new(0),
        })
    }

    /// The server.
    #[must_use]
    pub const fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The server as nodes talk to it.
    #[must_use]
    pub const fn api(&self) -> &Api {
        &self.api
    }

    /// What arrived.
    #[must_use]
    pub const fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }

    /// Renewals done so far.
    #[must_use]
    pub fn renewals(&self) -> usize {
        self.renewals.load(Ordering::Relaxed)
    }

    /// Members there are.
    #[must_use]
    pub fn size(&self) -> usize {
        self.members().len()
    }

    /// Everybody registers, as fast as the server takes it: how long each PUT took.
    ///
    /// # Errors
    /// If one is refused.
    pub async fn register(self: &Arc<Self>) -> Result<Vec<Duration>, LabError> {
        let all = self.members().clone();
        let done = Arc::new(Mutex::new(Vec::new()));
        self.in_parallel(all.len(), |crowd, number| {
            let (member, done) = (Arc::clone(&all[number]), Arc::clone(&done));
            async move {
                let took = crowd.put(&member).await?;
                lock(&done).push(took);
                Ok(())
            }
        })
        .await?;
        Ok(std::mem::take(&mut *lock(&done)))
    }

    /// Everybody watches from the head of its cluster. The streams live as long as the result.
    ///
    /// # Errors
    /// If one is refused.
    pub async fn watch(self: &Arc<Self>) -> Result<JoinSet<()>, LabError> {
        let mut heads = Vec::new();
        let all = self.members().clone();
        for (number, keys) in self.keys.iter().enumerate() {
            let source = lock(&all[number * self.watchers_each]).source;
            let (head, members) = self.api.head(keys, source).await?;
            if members != self.watchers_each {
                return Err(LabError::Unusable(format!(
                    "a snapshot of {members} members instead of {}",
                    self.watchers_each
                )));
            }
            heads.push(head);
        }
        let streams = Arc::new(Mutex::new(JoinSet::new()));
        self.in_parallel(all.len(), |crowd, number| {
            let member = lock(&all[number]);
            let (cluster, source) = (member.cluster, member.source);
            let (head, streams) = (heads[cluster], Arc::clone(&streams));
            async move {
                let keys = &crowd.keys[cluster];
                let connection = crowd.api.watch(keys, Some(head), source).await?;
                lock(&streams).spawn(follow(Arc::clone(&crowd), connection, (cluster, head)));
                Ok(())
            }
        })
        .await?;
        Ok(std::mem::take(&mut *lock(&streams)))
    }

    /// Everybody renews at the pace of a daemon, evenly spread, until dropped. One late answer does not
    /// hold up the next.
    pub async fn renew(self: Arc<Self>) {
        let mut next = 0;
        let pace = RENEWAL / u32::try_from(self.size().max(1)).unwrap_or(u32::MAX);
        let mut ticks = interval(pace);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut running = JoinSet::new();
        loop {
            ticks.tick().await;
            while running.try_join_next().is_some() {}
            let member = {
                let members = self.members();
                next = (next + 1) % members.len();
                Arc::clone(&members[next])
            };
            let crowd = Arc::clone(&self);
            running.spawn(async move {
                match crowd.put(&member).await {
                    Ok(_) => {
                        crowd.renewals.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(error) => crowd.arrivals.fault(&error.to_string()),
                }
            });
        }
    }

    /// A new member of `cluster` registers: from before its connection to the last watcher.
    ///
    /// # Errors
    /// If it is refused or does not reach everybody.
    pub async fn join(&self, cluster: usize) -> Result<Duration, LabError> {
        let number = self.size();
        let member = Member::new(number, cluster, &self.keys[cluster])?;
        let change = self.expect(&member);
        let member = Arc::new(Mutex::new(member));
        change.begin();
        self.put(&member).await?;
        self.members().push(member);
        change.finished(CHANGE_LIMIT).await
    }

    /// `count` new members register at once, spread over the clusters: how long each took to the last
    /// watcher.
    ///
    /// # Errors
    /// As [`Self::join`].
    pub async fn storm(self: &Arc<Self>, count: usize) -> Result<Vec<Duration>, LabError> {
        let first = self.size();
        let mut newcomers = Vec::new();
        for number in first..first + count {
            let cluster = number % self.keys.len();
            let member = Member::new(number, cluster, &self.keys[cluster])?;
            let change = self.expect(&member);
            newcomers.push((Arc::new(Mutex::new(member)), change));
        }
        let mut joins = JoinSet::new();
        for (member, change) in newcomers {
            self.members().push(Arc::clone(&member));
            let crowd = Arc::clone(self);
            joins.spawn(async move {
                change.begin();
                crowd.put(&member).await?;
                change.finished(CHANGE_LIMIT).await
            });
        }
        collect(joins).await
    }

    /// For `time`, `pace` apart, one member after the other changes its record: how long each took to
    /// the last watcher.
    ///
    /// # Errors
    /// As [`Self::join`].
    pub async fn churn(
        self: &Arc<Self>,
        time: Duration,
        pace: Duration,
    ) -> Result<Vec<Duration>, LabError> {
        let mut ticks = interval(pace);
        let (start, mut changes) = (Instant::now(), JoinSet::new());
        // Not the neighbour of the one that renews now.
        let mut next = self.size() / 2;
        while start.elapsed() < time {
            ticks.tick().await;
            next = (next + 7) % self.size();
            let member = Arc::clone(&self.members()[next]);
            let change = {
                let mut member = lock(&member);
                let cluster = member.cluster;
                member.change(&self.keys[cluster])?;
                self.expect(&member)
            };
            let crowd = Arc::clone(self);
            changes.spawn(async move {
                change.begin();
                crowd.put(&member).await?;
                change.finished(CHANGE_LIMIT).await
            });
        }
        collect(changes).await
    }

    fn expect(&self, member: &Member) -> Arc<Change> {
        let cluster = self.keys[member.cluster].cluster_id();
        let name = (member.id, member.sequence);
        self.arrivals.expect(cluster, name, self.watchers_each)
    }

    async fn put(&self, member: &Mutex<Member>) -> Result<Duration, LabError> {
        let (cluster, parcel) = {
            let member = lock(member);
            (member.cluster, Parcel::from(&*member))
        };
        let (status, took) = self.api.put(&self.keys[cluster], &parcel).await?;
        if status != 204 {
            return Err(LabError::Unusable(format!(
                "a record was refused with {status}"
            )));
        }
        Ok(took)
    }

    fn members(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Mutex<Member>>>> {
        lock(&self.members)
    }

    /// Runs `work` for each number below `count`, some at a time.
    async fn in_parallel<F>(
        self: &Arc<Self>,
        count: usize,
        work: impl Fn(Arc<Self>, usize) -> F,
    ) -> Result<(), LabError>
    where
        F: Future<Output = Result<(), LabError>> + Send + 'static,
    {
        let mut running = JoinSet::new();
        for number in 0..count {
            while running.len() >= CONCURRENCY {
                finish(running.join_next().await)?;
            }
            running.spawn(work(Arc::clone(self), number));
        }
        while let Some(done) = running.join_next().await {
            finish(Some(done))?;
        }
        Ok(())
    }
}

/// Follows one stream until dropped.
async fn follow(
    crowd: Arc<Crowd>,
    mut connection: super::wire::Connection,
    (cluster, head): (usize, Revision),
) {
    let keys = &crowd.keys[cluster];
    let (mut chunks, mut text, mut at) = (Chunks::default(), Vec::new(), head.n);
    loop {
        let mut whole = true;
        let read = connection.next(|bytes| whole = chunks.decode(bytes, &mut text));
        if read.await.is_err() || !whole {
            crowd.arrivals.fault("a watch stream ended");
            return;
        }
        let mut start = 0;
        while let Some(length) = text[start..].iter().position(|byte| *byte == b'\n') {
            crowd
                .arrivals
                .line(keys, &text[start..start + length], &mut at);
            start += length + 1;
        }
        text.drain(..start);
        if text.is_empty() {
            text = Vec::new();
        }
    }
}

async fn collect<T: 'static>(mut tasks: JoinSet<Result<T, LabError>>) -> Result<Vec<T>, LabError> {
    let mut all = Vec::new();
    while let Some(done) = tasks.join_next().await {
        all.push(finish(Some(done))?);
    }
    Ok(all)
}

fn finish<T>(
    done: Option<Result<Result<T, LabError>, tokio::task::JoinError>>,
) -> Result<T, LabError> {
    match done {
        Some(Ok(done)) => done,
        Some(Err(error)) => Err(LabError::Unusable(format!("a task failed: {error}"))),
        None => Err(LabError::Unusable("a task is missing".to_owned())),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
