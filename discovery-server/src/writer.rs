//! Writer: the one thread that changes the registry. It takes what is queued, decides it as a batch,
//! commits the batch, makes it visible, wakes the watchers and answers. Group commit keeps the cost
//! of syncing independent of the number of members.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use crate::limits::{MAX_BATCH, MAX_EXPIRIES};
use crate::registry::{Batch, Refusal, Submission, Verdict};
use crate::shared::Shared;
use crate::store::Store;

/// Answer to a queued submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Durable, and visible to readers.
    Done,
    /// Refused, with the reason.
    Refused(Refusal),
    /// The store cannot be written.
    Unavailable,
}

/// Work for the writer.
#[derive(Debug)]
pub enum Job {
    /// Decide and store an envelope.
    Put(Submission, oneshot::Sender<Answer>),
    /// Let leases end, and try the store if it failed. The answer shows that the writer is alive.
    Tick(oneshot::Sender<()>),
}

/// Runs until every sender of `jobs` is gone, then closes the store.
pub fn run(shared: &Arc<Shared>, mut store: Store, mut jobs: mpsc::Receiver<Job>) {
    let mut waiting = VecDeque::new();
    while let Some(job) = jobs.blocking_recv() {
        waiting.push_back(job);
        while waiting.len() < MAX_BATCH {
            let Ok(job) = jobs.try_recv() else { break };
            waiting.push_back(job);
        }
        while !waiting.is_empty() {
            one_batch(shared, &mut store, &mut waiting);
        }
    }
}

fn one_batch(shared: &Shared, store: &mut Store, waiting: &mut VecDeque<Job>) {
    let now = shared.clock.now();
    let mut batch = Batch::default();
    let (mut accepted, mut ticks, mut later) = (Vec::new(), Vec::new(), VecDeque::new());
    {
        let registry = shared.registry();
        for job in waiting.drain(..) {
            match job {
                Job::Tick(reply) => {
                    registry.expire(&mut batch, now, MAX_EXPIRIES);
                    ticks.push(reply);
                }
                Job::Put(submission, reply) => {
                    match registry.judge(&mut batch, submission.clone(), now) {
                        Verdict::Accepted => accepted.push(reply),
                        Verdict::Renewed => answer(reply, Answer::Done),
                        Verdict::Later => later.push_back(Job::Put(submission, reply)),
                        Verdict::Refused(refusal) => answer(reply, Answer::Refused(refusal)),
                    }
                }
            }
        }
    }
    *waiting = later;
    let stored = commit(shared, store, &batch, !ticks.is_empty());
    if !stored {
        batch.abandon_writes();
    }
    if !batch.is_empty() {
        let changed = shared.registry_mut().apply(batch, now);
        shared.watchers.wake(&changed);
    }
    let outcome = if stored {
        Answer::Done
    } else {
        Answer::Unavailable
    };
    for reply in accepted {
        answer(reply, outcome.clone());
    }
    for tick in ticks {
        // The ticker may be gone during a stop.
        let _ = tick.send(());
    }
}

/// True if everything in the batch is durable. A failed store is tried again at every tick.
fn commit(shared: &Shared, store: &mut Store, batch: &Batch, ticked: bool) -> bool {
    let ready = shared.ready.load(Ordering::Relaxed);
    let began = Instant::now();
    let result = if !batch.writes().is_empty() {
        store.commit(batch.writes())
    } else if ticked && !ready {
        store.probe(shared.clock.now().wall_ms)
    } else {
        return true;
    };
    let works = result.is_ok();
    match &result {
        Ok(()) if !ready => tracing::info!("the store can be written again"),
        Ok(()) => {}
        Err(error) if ready => {
            tracing::error!(%error, "writes are refused until the store works again; reads go on");
        }
        Err(error) => tracing::debug!(%error, "the store still fails"),
    }
    shared.ready.store(works, Ordering::Relaxed);
    shared
        .metrics
        .committed(works, batch.writes().len(), began.elapsed());
    works
}

fn answer(reply: oneshot::Sender<Answer>, answer: Answer) {
    // The client may have gone; what it asked for counts all the same.
    let _ = reply.send(answer);
}
