//! When a change has reached every watcher. A line is decoded and verified once; every other watcher's
//! line has to be the same bytes, which proves as much and leaves the processor to the server.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use mesh_proto::discovery::WatchEvent;
use mesh_proto::{ClusterId, ClusterKeys, MemberId, Record};
use tokio::sync::Notify;

use crate::lab::LabError;

/// A change that every watcher of its cluster has to get.
#[derive(Debug)]
pub struct Change {
    watchers: usize,
    begun: OnceLock<Instant>,
    seen: AtomicUsize,
    took_us: AtomicU64,
    done: Notify,
}

impl Change {
    /// The request that makes it is about to be sent.
    pub fn begin(&self) {
        // Of two calls the first counts.
        let _ = self.begun.set(Instant::now());
    }

    /// How long it took to the last watcher.
    ///
    /// # Errors
    /// If some have not got it after `limit`.
    pub async fn finished(&self, limit: Duration) -> Result<Duration, LabError> {
        let all = async {
            loop {
                let done = self.done.notified();
                if self.seen.load(Ordering::Acquire) >= self.watchers {
                    return;
                }
                done.await;
            }
        };
        match tokio::time::timeout(limit, all).await {
            Ok(()) => Ok(Duration::from_micros(self.took_us.load(Ordering::Acquire))),
            Err(_) => Err(LabError::Timeout {
                what: "a change to reach every watcher".to_owned(),
                seconds: limit.as_secs(),
                last: format!(
                    "{} of {} have it",
                    self.seen.load(Ordering::Acquire),
                    self.watchers
                ),
            }),
        }
    }

    fn arrived(&self) {
        let elapsed = self.begun.get().map_or(Duration::ZERO, Instant::elapsed);
        let elapsed = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        self.took_us.fetch_max(elapsed, Ordering::AcqRel);
        if self.seen.fetch_add(1, Ordering::AcqRel) + 1 == self.watchers {
            self.done.notify_waiters();
        }
    }
}

type Name = (ClusterId, MemberId, u64);
/// A line that was verified: its revision, and the change it tells of.
type Verified = (u64, Arc<Change>);

/// All that is awaited, and what has been verified.
#[derive(Debug, Default)]
pub struct Arrivals {
    awaited: Mutex<HashMap<Name, Arc<Change>>>,
    verified: RwLock<HashMap<Box<[u8]>, Verified>>,
    faults: AtomicUsize,
    first_fault: OnceLock<String>,
}

impl Arrivals {
    /// Awaits this sequence of this member at so many watchers.
    pub fn expect(
        &self,
        cluster: ClusterId,
        (member, sequence): (MemberId, u64),
        watchers: usize,
    ) -> Arc<Change> {
        let change = Arc::new(Change {
            watchers,
            begun: OnceLock::new(),
            seen: AtomicUsize::new(0),
            took_us: AtomicU64::new(0),
            done: Notify::new(),
        });
        let mut awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        awaited.insert((cluster, member, sequence), Arc::clone(&change));
        change
    }

    /// Forgets what is finished: nothing of it may come again.
    pub fn forget_all(&self) {
        let mut awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        awaited.clear();
        let mut verified = self
            .verified
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        verified.clear();
    }

    /// One line of one watcher, which has everything up to the revision `at`.
    pub fn line(&self, keys: &ClusterKeys, line: &[u8], at: &mut u64) {
        let known = {
            let verified = self.verified.read().unwrap_or_else(PoisonError::into_inner);
            verified.get(line).cloned()
        };
        let known = match known {
            Some(known) => Ok(Some(known)),
            None => self.verify(keys, line),
        };
        match known {
            Ok(Some((revision, change))) if revision > *at => {
                *at = revision;
                change.arrived();
            }
            Ok(Some(_)) => self.fault("a line came twice or out of order"),
            Ok(None) => {}
            Err(reason) => self.fault(&reason),
        }
    }

    /// Counts what should not have happened.
    pub fn fault(&self, what: &str) {
        self.faults.fetch_add(1, Ordering::Relaxed);
        // Of several the first explains the others.
        let _ = self.first_fault.set(what.to_owned());
    }

    /// What should not have happened: how often, and the first.
    #[must_use]
    pub fn faults(&self) -> (usize, Option<&str>) {
        let first = self.first_fault.get().map(String::as_str);
        (self.faults.load(Ordering::Relaxed), first)
    }

    /// Reads a line as a node would: parse, verify, decrypt, parse the record.
    fn verify(&self, keys: &ClusterKeys, line: &[u8]) -> Result<Option<Verified>, String> {
        let event = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        let member = match event {
            WatchEvent::Member(member) => member,
            WatchEvent::Heartbeat { .. } | WatchEvent::Synced { .. } => return Ok(None),
            other => return Err(format!("an unexpected line: {other:?}")),
        };
        let envelope = member.envelope.decode().and_then(|found| found.verify());
        let envelope = envelope.map_err(|error| error.to_string())?;
        let plaintext = envelope.open(std::slice::from_ref(keys));
        let plaintext = plaintext.map_err(|error| error.to_string())?;
        Record::decode(&plaintext).map_err(|error| error.to_string())?;
        let name = (envelope.cluster(), envelope.member(), envelope.sequence().0);
        let change = {
            let awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
            awaited.get(&name).cloned()
        };
        let change = change.ok_or("a change that nobody made")?;
        let found = (member.revision.n, change);
        let mut verified = self
            .verified
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        verified.insert(line.into(), found.clone());
        Ok(Some(found))
    }
}

#[cfg(test)]
mod tests {
    use super::super::population::{Member, cluster_keys};
    use super::*;
    use mesh_proto::discovery::{EncodedEnvelope, MemberLine, Revision};

    fn line(member: &Member, n: u64) -> Vec<u8> {
        let event = WatchEvent::Member(MemberLine {
            revision: Revision { epoch: 1, n },
            envelope: EncodedEnvelope::from_bytes(&member.envelope),
            fresh: true,
            stale_s: 0,
        });
        serde_json::to_vec(&event).unwrap()
    }

    #[tokio::test]
    async fn a_change_is_finished_when_the_last_watcher_has_it() {
        let (keys, arrivals) = (cluster_keys(0), Arrivals::default());
        let member = Member::new(1, 0, &keys).unwrap();
        let change = arrivals.expect(keys.cluster_id(), (member.id, 1), 2);
        change.begin();
        let line = line(&member, 7);
        arrivals.line(&keys, &line, &mut 6);
        let early = change.finished(Duration::from_millis(1)).await;
        assert!(early.unwrap_err().to_string().contains("1 of 2"));
        arrivals.line(&keys, &line, &mut 0);
        assert!(change.finished(Duration::from_secs(9)).await.is_ok());
        assert_eq!(arrivals.faults().0, 0);
    }

    #[test]
    fn forgeries_repetitions_and_strangers_are_faults() {
        let (keys, arrivals) = (cluster_keys(0), Arrivals::default());
        let member = Member::new(1, 0, &keys).unwrap();
        arrivals.expect(keys.cluster_id(), (member.id, 1), 9);
        let good = line(&member, 7);
        let mut forged = good.clone();
        let middle = forged.len() / 2;
        forged[middle] = if forged[middle] == b'A' { b'B' } else { b'A' };
        arrivals.line(&keys, &forged, &mut 0);
        arrivals.line(&keys, &good, &mut 7);
        arrivals.line(&keys, &line(&Member::new(2, 0, &keys).unwrap(), 8), &mut 0);
        arrivals.line(&cluster_keys(1), &line(&member, 9), &mut 0);
        assert_eq!(arrivals.faults().0, 4);
    }
}
