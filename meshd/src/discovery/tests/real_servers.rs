//! The client against several real discovery servers over plain HTTP: one that lags, one that is empty, and
//! leases that end.

use std::net::SocketAddr;
use std::path::Path;

use discovery_server::server::Server as DiscoveryServer;
use discovery_server::settings::Settings;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::*;

const LEASE: Duration = Duration::from_secs(2);
const ANY: &str = "127.0.0.1:0";

pub(super) struct Running {
    pub(super) server: Arc<DiscoveryServer>,
    task: JoinHandle<()>,
}

impl Running {
    async fn start(data: &Path, listen: SocketAddr, lease: Duration) -> Self {
        let mut settings = Settings::new(data.to_owned());
        (settings.listen, settings.lease) = (listen, lease);
        // A port that was given up a moment ago may need another.
        let server = timeout(PATIENCE, async {
            loop {
                match DiscoveryServer::start(settings.clone()) {
                    Ok(server) => return Arc::new(server),
                    Err(error) => eprintln!("{error}"),
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        let server = server.await.unwrap();
        let running = server.clone();
        let task = tokio::spawn(async move { running.run().await });
        Self { server, task }
    }

    pub(super) async fn anywhere(data: &Path, lease: Duration) -> Self {
        Self::start(data, ANY.parse().unwrap(), lease).await
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    pub(super) async fn stop(self) {
        self.task.abort();
        let _ = self.task.await;
        let server = Arc::into_inner(self.server).expect("its task has ended");
        server.stop().await;
    }
}

/// What `server` says of a member next: sequence, and whether the lease is live.
async fn said(client: &mut Client, server: usize) -> (Sequence, bool) {
    client
        .next(|index, event| match event {
            DiscoveryEvent::Member {
                envelope, fresh, ..
            } if index == server => Some((envelope.sequence(), fresh)),
            DiscoveryEvent::Stale { sequence, .. } if index == server => Some((sequence, false)),
            _ => None,
        })
        .await
}

pub(super) async fn stored_at(client: &mut Client, server: usize, wanted: u64) {
    client
        .next(|index, event| match event {
            DiscoveryEvent::Published(sequence) => {
                (index == server && sequence == Sequence(wanted)).then_some(())
            }
            _ => None,
        })
        .await;
}

pub(super) const fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_lags_is_told_and_one_that_lost_everything_too() {
    let dirs = [(); 3].map(|()| TempDir::new().unwrap());
    let first = Running::anywhere(dirs[0].path(), minutes(5)).await;
    let second = Running::anywhere(dirs[1].path(), minutes(5)).await;
    let urls = [first.url(), second.url()];
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    let address = second.server.address();

    let mut node = Client::start(&urls);
    node.client.publish(record(2, 1));
    stored_at(&mut node, 1, 1).await;
    second.stop().await;
    node.client.publish(record(2, 5));
    stored_at(&mut node, 0, 5).await;
    node.client.shutdown().await;

    // The second one comes back with what it had: each says what it knows, the core takes the newer.
    let second = Running::start(dirs[1].path(), address, minutes(5)).await;
    let mut other = Client::start(&urls);
    assert_eq!(said(&mut other, 0).await, (Sequence(5), true));
    other.client.shutdown().await;
    let mut other = Client::start(&urls);
    assert_eq!(said(&mut other, 1).await, (Sequence(1), true));
    // Once its member lives again, it knows the newer one.
    let mut node = Client::start(&urls);
    node.client.publish(record(2, 5));
    assert_eq!(said(&mut other, 1).await, (Sequence(5), true));

    // An empty one in its place: nothing is told of members, and the record is stored there again.
    second.stop().await;
    let second = Running::start(dirs[2].path(), address, minutes(5)).await;
    other
        .next(|index, event| {
            assert!(
                !matches!(event, DiscoveryEvent::Stale { .. }),
                "{event:?} although nothing ended"
            );
            (index == 1 && matches!(event, DiscoveryEvent::Synced)).then_some(())
        })
        .await;
    stored_at(&mut node, 1, 5).await;
    for client in [&node, &other] {
        assert_eq!(client.client.bad_lines(), 0);
        client.client.shutdown().await;
    }
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_ends_with_its_node_and_a_restart_grants_a_term() {
    let dir = TempDir::new().unwrap();
    let running = Running::anywhere(dir.path(), LEASE).await;
    let (url, address) = (running.url(), running.server.address());
    let mut watching = Client::start(&[&url]);
    let node = Client::start(&[&url]);
    node.client.publish(record(2, 1));
    assert_eq!(said(&mut watching, 0).await, (Sequence(1), true));
    node.client.shutdown().await;
    assert_eq!(said(&mut watching, 0).await, (Sequence(1), false));

    running.stop().await;
    let running = Running::start(dir.path(), address, LEASE).await;
    assert_eq!(said(&mut watching, 0).await, (Sequence(1), true), "restart");
    assert_eq!(said(&mut watching, 0).await, (Sequence(1), false));
    let node = Client::start(&[&url]);
    node.client.publish(record(2, 1));
    assert_eq!(said(&mut watching, 0).await, (Sequence(1), true), "renewed");
    for client in [&node, &watching] {
        client.client.shutdown().await;
    }
    running.stop().await;
}
