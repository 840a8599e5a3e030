//! The registry against a model, under random submissions, failing stores, restarts and passing
//! time: the highest sequence wins, a leave is never undone by older news, nothing durable is lost,
//! and a watcher that reads whenever it likes and resumes anywhere ends up with what a snapshot has.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mesh_proto::discovery::WatchEvent;
use mesh_proto::{EnvelopeKind, Sequence};
use proptest::prelude::*;

use super::tests::{TERMS, at, submission};
use super::*;

const CLUSTER: ClusterId = ClusterId([1; 32]);

#[derive(Debug, Clone)]
enum Step {
    /// Several submissions in one batch; the store takes it or fails.
    Batch(Vec<(u8, bool, u64)>, bool),
    Wait(u64),
    Restart,
    Read,
}

fn step() -> impl Strategy<Value = Step> {
    let put = (0u8..3, prop::bool::weighted(0.2), 0u64..12);
    prop_oneof![
        5 => (prop::collection::vec(put, 1..4), prop::bool::weighted(0.8))
            .prop_map(|(puts, works)| Step::Batch(puts, works)),
        2 => (0u64..400_000).prop_map(Step::Wait),
        1 => Just(Step::Restart),
        2 => Just(Step::Read),
    ]
}

type Seen = BTreeMap<MemberId, (Vec<u8>, bool)>;

struct World {
    registry: Registry,
    disk: BTreeMap<Key, Stored>,
    model: BTreeMap<Key, (Sequence, Bytes)>,
    now_ms: u64,
    watcher: Watcher,
}

/// A client that merges what it reads.
#[derive(Default)]
struct Watcher {
    seen: Seen,
    base: u64,
    at: u64,
}

impl Watcher {
    fn read(&mut self, registry: &Registry, now: Now) {
        loop {
            let page = registry.page(CLUSTER, self.base, self.at, now);
            for line in &page.lines {
                match serde_json::from_slice(line).unwrap() {
                    WatchEvent::Member(line) => {
                        let bytes = STANDARD.decode(&line.envelope.0).unwrap();
                        let member = bytes[0] - b'0';
                        self.seen
                            .insert(MemberId([member; 32]), (bytes, line.fresh));
                    }
                    WatchEvent::Stale { member, .. } => {
                        self.seen.get_mut(&member).expect("a known member").1 = false;
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert!(page.upto >= self.at, "revisions go up");
            self.at = page.upto;
            if page.complete {
                self.base = self.at;
                return;
            }
        }
    }
}

impl World {
    fn new() -> Self {
        Self {
            registry: Registry::new(TERMS, 1),
            disk: BTreeMap::new(),
            model: BTreeMap::new(),
            now_ms: 0,
            watcher: Watcher::default(),
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Batch(puts, works) => self.batch(&puts, works),
            Step::Wait(ms) => {
                self.now_ms += ms;
                let mut batch = Batch::default();
                self.registry.expire(&mut batch, at(self.now_ms), 100);
                self.store_and_apply(batch);
            }
            Step::Restart => {
                let now = at(self.now_ms);
                let stored = self
                    .disk
                    .iter()
                    .map(|(key, stored)| Write::Member(*key, stored.clone()));
                let stored = stored.collect();
                self.registry = Registry::new(TERMS, 1);
                let batch = self.registry.restore(stored, now);
                self.store_and_apply(batch);
            }
            Step::Read => self.watcher.read(&self.registry, at(self.now_ms)),
        }
        self.check();
    }

    fn batch(&mut self, puts: &[(u8, bool, u64)], works: bool) {
        let (now, mut batch) = (at(self.now_ms), Batch::default());
        let mut accepted = Vec::new();
        for (member, leave, sequence) in puts {
            let kind = if *leave {
                EnvelopeKind::Left
            } else {
                EnvelopeKind::Record
            };
            let put = submission(*member, kind, *sequence);
            let known = self.model.get(&put.key);
            let newer = known.is_none_or(|(sequence, _)| put.sequence > *sequence);
            match self.registry.judge(&mut batch, put.clone(), now) {
                Verdict::Accepted | Verdict::Renewed => {
                    let same = known.is_some_and(|(_, bytes)| *bytes == put.bytes);
                    assert!(newer || same, "only the highest sequence is taken");
                    accepted.push(put);
                }
                Verdict::Refused(Refusal::Conflict(stored)) => {
                    assert!(!newer);
                    assert_eq!(Some(&stored), known.map(|(_, bytes)| bytes));
                }
                Verdict::Later => {}
                Verdict::Refused(refusal) => panic!("{refusal:?}"),
            }
        }
        if works {
            for put in accepted {
                self.model.insert(put.key, (put.sequence, put.bytes));
            }
            self.store_and_apply(batch);
        } else {
            batch.abandon_writes();
            self.registry.apply(batch, now);
        }
    }

    fn store_and_apply(&mut self, batch: Batch) {
        for write in batch.writes() {
            match write {
                Write::Member(key, stored) => drop(self.disk.insert(*key, stored.clone())),
                Write::Forget(key) => drop(self.disk.remove(key)),
                Write::Report(..) => {}
            }
        }
        self.registry.apply(batch, at(self.now_ms));
    }

    fn check(&self) {
        for (key, (_, bytes)) in &self.model {
            assert_eq!(&self.registry.member(*key).expect("not lost").bytes, bytes);
            assert_eq!(&self.disk[key].bytes, bytes, "visible means durable");
        }
        let mut resumed = Watcher {
            seen: self.watcher.seen.clone(),
            ..self.watcher
        };
        let mut snapshot = Watcher::default();
        for watcher in [&mut resumed, &mut snapshot] {
            watcher.read(&self.registry, at(self.now_ms));
        }
        assert_eq!(resumed.seen, snapshot.seen);
        assert_eq!(snapshot.seen.len(), self.model.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_model(steps in prop::collection::vec(step(), 1..40)) {
        let mut world = World::new();
        for step in steps {
            world.run(step);
        }
    }
}
