//! The client against a small server of the real API over loopback TCP, with faults on demand.

mod cut_off;
mod fake_server;
mod faults;
mod moves;
mod real_server;
mod real_servers;

use std::time::Duration;

use mesh_proto::discovery::{EncodedEnvelope, MemberLine, Revision, WatchEvent};
use mesh_proto::envelope::Contents;
use mesh_proto::{Envelope, EnvelopeKind, IdentityKey, Sequence};
use tokio::time::timeout;

use self::fake_server::FakeServer;
use super::*;

/// Far beyond anything a test waits for; only a test that fails waits so long.
const PATIENCE: Duration = Duration::from_secs(30);

fn keys(seed: u8) -> ClusterKeys {
    ClusterKeys::derive(&[seed; 32])
}

fn envelope(keys: &ClusterKeys, member: u8, kind: EnvelopeKind, sequence: u64) -> VerifiedEnvelope {
    let contents = Contents {
        kind,
        sequence: Sequence(sequence),
        plaintext: b"{}",
    };
    let identity = IdentityKey::from_seed(&[member; 32]);
    Envelope::seal(keys, &identity, contents, [sequence as u8; 24]).unwrap()
}

fn record(member: u8, sequence: u64) -> VerifiedEnvelope {
    envelope(&keys(1), member, EnvelopeKind::Record, sequence)
}

fn member_line(envelope: &VerifiedEnvelope, n: u64) -> WatchEvent {
    WatchEvent::Member(MemberLine {
        revision: Revision { epoch: 1, n },
        envelope: EncodedEnvelope::from_bytes(&envelope.encode()),
        fresh: true,
        stale_s: 0,
    })
}

const fn synced(n: u64) -> WatchEvent {
    WatchEvent::Synced {
        revision: Revision { epoch: 1, n },
    }
}

/// A client and what it says.
struct Client {
    client: DiscoveryClient,
    events: mpsc::Receiver<(usize, DiscoveryEvent)>,
}

impl Client {
    fn start(urls: &[&str]) -> Self {
        Self::start_with(urls, vec![keys(1)])
    }

    fn start_with(urls: &[&str], keys: Vec<ClusterKeys>) -> Self {
        Self::start_patient(urls, keys, FIRST_ANSWER)
    }

    fn start_patient(urls: &[&str], keys: Vec<ClusterKeys>, first_answer: Duration) -> Self {
        let (sender, events) = mpsc::channel(4);
        let config = ClientConfig {
            servers: urls.iter().map(|url| url.parse().unwrap()).collect(),
            keys: Arc::new(keys),
            ca: None,
            cache: Arc::new(AddressCache::in_memory()),
            first_answer,
        };
        Self {
            client: spawn(config, sender),
            events,
        }
    }

    /// The next event that `pick` takes; others are skipped.
    async fn next<T>(&mut self, mut pick: impl FnMut(usize, DiscoveryEvent) -> Option<T>) -> T {
        timeout(PATIENCE, async {
            loop {
                let (server, event) = self.events.recv().await.expect("the client lives");
                if let Some(picked) = pick(server, event) {
                    return picked;
                }
            }
        })
        .await
        .expect("the event comes")
    }

    async fn connected(&mut self) {
        self.next(|_, event| matches!(event, DiscoveryEvent::Connected { .. }).then_some(()))
            .await;
    }

    async fn disconnected(&mut self) -> String {
        self.next(|_, event| match event {
            DiscoveryEvent::Disconnected(text) => Some(text),
            _ => None,
        })
        .await
    }

    async fn member(&mut self) -> VerifiedEnvelope {
        self.next(|_, event| match event {
            DiscoveryEvent::Member { envelope, .. } => Some(envelope),
            _ => None,
        })
        .await
    }

    async fn published(&mut self) -> Sequence {
        self.next(|_, event| match event {
            DiscoveryEvent::Published(sequence) => Some(sequence),
            _ => None,
        })
        .await
    }
}

#[tokio::test]
async fn tells_where_stun_is_then_members_then_synced() {
    let server = FakeServer::start().await;
    let mut client = Client::start(&[&server.url()]);
    let stun = client
        .next(|_, event| match event {
            DiscoveryEvent::Connected { stun, .. } => Some(stun),
            _ => None,
        })
        .await;
    assert_eq!(stun, Some("127.0.0.1:3478".parse().unwrap()));
    server.push(&member_line(&record(2, 5), 1)).await;
    server.push(&synced(1)).await;
    assert_eq!(client.member().await, record(2, 5));
    client
        .next(|_, event| matches!(event, DiscoveryEvent::Synced).then_some(()))
        .await;
    let (_, path) = server.watch().await;
    assert!(
        !path.contains('?'),
        "a first watch resumes from nothing: {path}"
    );
    assert_eq!(*client.client.addresses().borrow(), [server.address()]);
    let Client { client, mut events } = client;
    client.shutdown().await;
    drop(client);
    assert!(events.recv().await.is_none(), "every task has ended");
}

#[tokio::test]
async fn resumes_only_from_where_the_server_said_it_stands() {
    let server = FakeServer::start().await;
    let mut client = Client::start(&[&server.url()]);
    client.connected().await;
    server.watch().await;
    // Members before `synced` are no place to resume from.
    server.push(&member_line(&record(2, 5), 9)).await;
    client.member().await;
    server.cut_streams().await;
    let text = client.disconnected().await;
    assert!(text.contains("broke"), "{text}");
    let (_, path) = server.watch().await;
    assert!(!path.contains('?'), "{path}");
    client.connected().await;
    server.push(&synced(4)).await;
    server.push(&member_line(&record(3, 5), 5)).await;
    client.member().await;
    server.cut_streams().await;
    client.disconnected().await;
    let (_, path) = server.watch().await;
    assert!(path.ends_with("?epoch=1&n=5"), "{path}");
}

#[tokio::test]
async fn the_newest_record_is_stored_and_renewed() {
    let server = FakeServer::start().await;
    server.set(|state| state.lease_s = 1);
    let mut client = Client::start(&[&server.url()]);
    client.client.publish(record(9, 1));
    client.client.publish(record(9, 2));
    for _ in 0..3 {
        assert_eq!(client.published().await, Sequence(2));
    }
    client.client.publish(record(9, 3));
    while client.published().await != Sequence(3) {}
    let (_, path, stored) = server.put().await;
    assert!(path.ends_with(&record(9, 1).member().to_string()), "{path}");
    assert_eq!(stored, record(9, 2).encode());
}

#[tokio::test]
async fn a_server_that_lost_its_memory_gets_the_record_again() {
    let server = FakeServer::start().await;
    let mut client = Client::start(&[&server.url()]);
    client.client.publish(record(9, 1));
    client.published().await;
    server.set(|state| state.info_epoch = 2);
    server.cut_streams().await;
    assert_eq!(client.published().await, Sequence(1));
}

#[tokio::test]
async fn a_dead_server_delays_no_other() {
    let server = FakeServer::start().await;
    // A port that was free a moment ago and that nobody listens on.
    let dead = FakeServer::unused_url().await;
    let mut client = Client::start(&[&dead, &server.url()]);
    client.client.publish(record(9, 1));
    let (mut stored, mut text) = (false, None);
    while !stored || text.is_none() {
        client
            .next(|index, event| {
                match event {
                    DiscoveryEvent::Published(_) => stored = index == 1,
                    DiscoveryEvent::Disconnected(why) if index == 0 => text = Some(why),
                    _ => {}
                }
                Some(())
            })
            .await;
    }
    let text = text.unwrap();
    assert!(text.contains("cannot be reached"), "{text}");
    assert!(text.contains("check that the server runs"), "{text}");
}

#[tokio::test]
async fn reports_come_from_whoever_has_them() {
    let (empty, full) = (FakeServer::start().await, FakeServer::start().await);
    let reports: Vec<_> = (2..50)
        .map(|member| envelope(&keys(1), member, EnvelopeKind::Report, 1))
        .collect();
    full.set(|state| {
        for report in &reports {
            state.reports.insert(report.member(), report.encode());
        }
        // Not a report of the member it is stored for.
        let odd = record(60, 1).member();
        state.reports.insert(odd, reports[0].encode());
    });
    let mut client = Client::start(&[&empty.url(), &full.url()]);
    client.connected().await;
    client.connected().await;
    let mut members: Vec<_> = reports.iter().map(VerifiedEnvelope::member).collect();
    members.extend([record(60, 1).member(), record(61, 1).member()]);
    let mut fetched = client.client.fetch_reports(members).await;
    fetched.sort_by_key(|report| report.member);
    let mut expected: Vec<_> = reports.iter().map(VerifiedEnvelope::member).collect();
    expected.sort();
    let found: Vec<_> = fetched.iter().map(|report| report.member).collect();
    assert_eq!(found, expected);
    assert!(fetched.iter().all(|report| report.age_s == 7));
}

#[tokio::test]
async fn a_report_is_stored_once() {
    let server = FakeServer::start().await;
    server.set(|state| state.lease_s = 1);
    let mut client = Client::start(&[&server.url()]);
    let report = envelope(&keys(1), 9, EnvelopeKind::Report, 4);
    client.client.publish(record(9, 1));
    client.client.publish_report(report.clone());
    for _ in 0..4 {
        client.published().await;
    }
    let puts = server.state(|state| state.puts.clone());
    let reports: Vec<_> = puts
        .iter()
        .filter(|(_, path, _)| path.ends_with("/report"))
        .collect();
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].2, report.encode());
}

#[tokio::test]
async fn a_changed_network_opens_the_stream_anew() {
    let server = FakeServer::start().await;
    let mut client = Client::start(&[&server.url()]);
    client.connected().await;
    server.push(&synced(3)).await;
    client
        .next(|_, event| matches!(event, DiscoveryEvent::Synced).then_some(()))
        .await;
    server.watch().await;
    client.client.retry_now();
    let (_, path) = server.watch().await;
    assert!(path.ends_with("?epoch=1&n=3"), "{path}");
    client
        .next(|_, event| {
            assert!(
                !matches!(event, DiscoveryEvent::Disconnected(_)),
                "{event:?}"
            );
            matches!(event, DiscoveryEvent::Connected { .. }).then_some(())
        })
        .await;
}
