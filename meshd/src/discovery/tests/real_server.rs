//! The client against the real discovery server over TLS: what both ends understand of the API.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use discovery_server::server::Server as DiscoveryServer;
use discovery_server::settings::Settings;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::*;

/// A server that can be stopped and started again with the same disk.
struct Running {
    server: Arc<DiscoveryServer>,
    task: JoinHandle<()>,
}

impl Running {
    async fn start(dir: &Path, listen: SocketAddr) -> Self {
        let mut settings = Settings::new(dir.join("data"));
        settings.listen = listen;
        settings.tls = Some((dir.join("tls.crt"), dir.join("tls.key")));
        // A port that was given up a moment ago may need another.
        let server = timeout(PATIENCE, async {
            loop {
                match DiscoveryServer::start(settings.clone()) {
                    Ok(server) => return Arc::new(server),
                    Err(error) => eprintln!("{error}"),
                }
                sleep(Duration::from_millis(50)).await;
            }
        })
        .await
        .unwrap();
        let running = server.clone();
        let task = tokio::spawn(async move { running.run().await });
        Self { server, task }
    }

    async fn stop(self) {
        self.task.abort();
        let _ = self.task.await;
        let server = Arc::into_inner(self.server).expect("its task has ended");
        server.stop().await;
    }
}

fn certificate(dir: &Path) -> Vec<u8> {
    // Fails if another test was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    fs::write(dir.join("tls.crt"), made.cert.pem()).unwrap();
    fs::write(dir.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
    made.cert.pem().into_bytes()
}

fn client(address: SocketAddr, ca: Option<Vec<u8>>) -> Client {
    let (sender, events) = mpsc::channel(16);
    let config = ClientConfig {
        servers: vec![
            format!("https://localhost:{}", address.port())
                .parse()
                .unwrap(),
        ],
        keys: Arc::new(vec![keys(1)]),
        ca,
        cache: Arc::new(AddressCache::in_memory()),
        first_answer: FIRST_ANSWER,
    };
    Client {
        client: spawn(config, sender),
        events,
    }
}

async fn sees(client: &mut Client, wanted: &VerifiedEnvelope) {
    while client.member().await != *wanted {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_meet_and_find_each_other_again_after_a_restart() {
    let dir = TempDir::new().unwrap();
    let ca = certificate(dir.path());
    let running = Running::start(dir.path(), "127.0.0.1:0".parse().unwrap()).await;
    let address = running.server.address();
    let (mut a, mut b) = (client(address, Some(ca.clone())), client(address, Some(ca)));
    a.client.publish(record(2, 1));
    b.client.publish(record(3, 1));
    sees(&mut a, &record(3, 1)).await;
    sees(&mut b, &record(2, 1)).await;

    let report = envelope(&keys(1), 2, EnvelopeKind::Report, 1);
    a.client.publish_report(report.clone());
    let fetched = timeout(PATIENCE, async {
        loop {
            let mut fetched = b.client.fetch_reports(vec![report.member()]).await;
            if let Some(fetched) = fetched.pop() {
                return fetched;
            }
            sleep(Duration::from_millis(20)).await;
        }
    });
    assert_eq!(fetched.await.unwrap().envelope, report);

    running.stop().await;
    a.disconnected().await;
    let running = Running::start(dir.path(), address).await;
    a.connected().await;
    a.client.publish(record(2, 2));
    sees(&mut b, &record(2, 2)).await;
    assert_eq!(a.client.bad_lines() + b.client.bad_lines(), 0);

    // What this node lost the memory of, the server still has.
    let mut reborn = client(address, Some(fs::read(dir.path().join("tls.crt")).unwrap()));
    reborn.client.publish(record(2, 1));
    let stored = reborn
        .next(|_, event| match event {
            DiscoveryEvent::Conflict { stored } => Some(stored),
            _ => None,
        })
        .await;
    assert_eq!(stored, record(2, 2));
    for client in [a, b, reborn] {
        client.client.shutdown().await;
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    let dir = TempDir::new().unwrap();
    certificate(dir.path());
    let running = Running::start(dir.path(), "127.0.0.1:0".parse().unwrap()).await;
    let other = TempDir::new().unwrap();
    let mut client = client(running.server.address(), Some(certificate(other.path())));
    let text = client.disconnected().await;
    assert!(text.contains("certificate"), "{text}");
    client.client.shutdown().await;
    running.stop().await;
}
