//! Order and bounds of writing, with a disk that is slow or refuses.

use std::io;
use std::sync::mpsc as blocking;

use mesh_proto::envelope::Contents;
use mesh_proto::{ClusterKeys, Envelope, EnvelopeKind, IdentityKey, Sequence};

use super::*;

const SOON: Duration = Duration::from_millis(10);

fn envelope(sequence: u64) -> VerifiedEnvelope {
    let contents = Contents {
        kind: EnvelopeKind::Record,
        sequence: Sequence(sequence),
        plaintext: b"{}",
    };
    let keys = ClusterKeys::derive(&[1; 32]);
    Envelope::seal(&keys, &IdentityKey::from_seed(&[2; 32]), contents, [3; 24]).unwrap()
}

fn state(sequence: u64) -> Box<PersistentState> {
    Box::new(PersistentState {
        record_sequence: Some(Sequence(sequence)),
        ..PersistentState::default()
    })
}

fn sequence(state: &PersistentState) -> u64 {
    state.record_sequence.unwrap().0
}

fn refused() -> StateError {
    StateError::Io {
        path: "/state.json".into(),
        what: "written",
        source: io::ErrorKind::StorageFull.into(),
    }
}

/// A disk that takes each write when told to, and what it wrote and published, in order.
struct Slow {
    disk: Disk,
    allow: blocking::Sender<bool>,
    log: mpsc::UnboundedReceiver<String>,
    told: mpsc::Receiver<Input>,
}

fn slow() -> Slow {
    let (allow, allowed) = blocking::channel();
    let allowed = Mutex::new(allowed);
    let (log, lines) = mpsc::unbounded_channel();
    let published = log.clone();
    let (inputs, told) = mpsc::channel(8);
    let disk = Disk::over(
        move |state| {
            let begun = format!("write {}", sequence(state));
            log.send(begun).unwrap();
            let done = allowed.lock().unwrap().recv().unwrap();
            log.send(if done { "written" } else { "refused" }.to_owned())
                .unwrap();
            if done { Ok(()) } else { Err(refused()) }
        },
        move |publication| {
            let line = match publication {
                Publication::Record(envelope) => format!("publish {}", envelope.sequence()),
                Publication::Report(envelope) => format!("report {}", envelope.sequence()),
                Publication::Removals(list) => format!("removals {}", list.sequence()),
            };
            published.send(line).unwrap();
        },
        inputs,
        SOON,
    );
    Slow {
        disk,
        allow,
        log: lines,
        told,
    }
}

impl Slow {
    async fn expect(&mut self, lines: &[&str]) {
        for line in lines {
            assert_eq!(self.log.recv().await.as_deref(), Some(*line));
        }
    }
}

#[tokio::test]
async fn nothing_is_published_before_its_sequence_is_on_disk() {
    let mut slow = slow();
    slow.disk.persist(state(1));
    slow.disk.publish(envelope(1));
    slow.expect(&["write 1"]).await;
    // The disk is busy; nobody waits for it, and only the newest state is of interest.
    for number in 2..100 {
        slow.disk.persist(state(number));
        slow.disk.publish(envelope(number));
        slow.disk.publish_report(envelope(number));
    }
    assert!(slow.log.try_recv().is_err());
    slow.allow.send(true).unwrap();
    slow.allow.send(true).unwrap();
    slow.expect(&["written", "publish 1", "write 99", "written"])
        .await;
    slow.expect(&["publish 99", "report 99"]).await;
    slow.disk.persist(state(100));
    slow.allow.send(true).unwrap();
    let Slow { disk, mut log, .. } = slow;
    disk.finish().await;
    assert_eq!(log.recv().await.as_deref(), Some("write 100"));
    assert_eq!(log.recv().await.as_deref(), Some("written"));
}

#[tokio::test]
async fn a_write_that_failed_is_tried_again() {
    let mut slow = slow();
    slow.disk.persist(state(1));
    slow.disk.publish(envelope(1));
    slow.allow.send(false).unwrap();
    // A node whose disk is full still belongs to the mesh.
    slow.expect(&["write 1", "refused", "publish 1"]).await;
    slow.allow.send(false).unwrap();
    slow.expect(&["write 1", "refused"]).await;
    slow.disk.persist(state(2));
    slow.allow.send(true).unwrap();
    slow.expect(&["write 2", "written"]).await;
    tokio::time::sleep(SOON * 10).await;
    assert!(slow.log.try_recv().is_err());
    let told = [slow.told.recv().await, slow.told.recv().await];
    assert!(
        matches!(&told, [Some(Input::Persisted(Err(why))), Some(Input::Persisted(Ok(())))] if why.contains("/state.json")),
        "{told:?}"
    );
    assert!(slow.told.try_recv().is_err(), "only news is told");
}
