//! A node whose way to its server was cut asks once when it is open again: one request for what it missed,
//! beside one for what it has to tell. `mesh-tests` has the hour and the core.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::real_servers::{Running, minutes, stored_at};
use super::*;

/// Others that are there before the cut, members 10 and up.
const OTHERS: u8 = 12;

type Requests = Arc<Mutex<Vec<String>>>;

/// A way to a server that can be cut, and that notes what is asked over it.
struct Way {
    url: String,
    open: watch::Sender<bool>,
    requests: Requests,
}

impl Way {
    async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (open, mut state) = watch::channel(true);
        let requests = Requests::default();
        let noted = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((node, _)) = listener.accept().await {
                if !*state.borrow_and_update() {
                    continue;
                }
                let (from_node, to_node) = node.into_split();
                let onward = TcpStream::connect(server).await.unwrap();
                let (from_server, to_server) = onward.into_split();
                let (mut state, noted) = (state.clone(), Arc::clone(&noted));
                tokio::spawn(async move {
                    tokio::select! {
                        () = carry(from_node, to_server, Some(noted)) => {}
                        () = carry(from_server, to_node, None) => {}
                        _ = state.changed() => {}
                    }
                });
            }
        });
        Self {
            url,
            open,
            requests,
        }
    }

    fn cut(&self) {
        self.open.send_replace(false);
    }

    fn mend(&self) {
        self.requests().clear();
        self.open.send_replace(true);
    }

    fn requests(&self) -> MutexGuard<'_, Vec<String>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, noted: Option<Requests>) {
    let mut buffer = vec![0; 65_536];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if let Some(noted) = &noted {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let lines = text.lines().filter_map(|line| {
                let request = line.strip_suffix(" HTTP/1.1")?;
                let start = request.rfind("GET /").or_else(|| request.rfind("PUT /"))?;
                Some(request[start..].to_owned())
            });
            noted.lock().unwrap().extend(lines);
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

/// What a client is told up to and with `synced`: kind and sequence of each member.
async fn told(client: &mut Client) -> BTreeMap<String, (EnvelopeKind, Sequence)> {
    let mut members = BTreeMap::new();
    client
        .next(|_, event| match event {
            DiscoveryEvent::Member { envelope, .. } => {
                let what = (envelope.kind(), envelope.sequence());
                members.insert(envelope.member().to_string(), what);
                None
            }
            DiscoveryEvent::Synced => Some(()),
            _ => None,
        })
        .await;
    members
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_round_trip_makes_up_for_everything() {
    let dir = TempDir::new().unwrap();
    let running = Running::anywhere(dir.path(), minutes(5)).await;
    let direct = running.url();
    let mut others: Vec<_> = (0..OTHERS).map(|_| Client::start(&[&direct])).collect();
    for (number, other) in (10..).zip(&mut others) {
        other.client.publish(record(number, 1));
        stored_at(other, 0, 1).await;
    }
    let way = Way::to(running.server.address()).await;
    let mut node = Client::start(&[&way.url]);
    assert_eq!(told(&mut node).await.len(), usize::from(OTHERS));
    node.client.publish(record(2, 1));
    stored_at(&mut node, 0, 1).await;

    way.cut();
    node.disconnected().await;
    let left = envelope(&keys(1), 11, EnvelopeKind::Left, 2);
    for (other, news) in others.iter_mut().zip([record(10, 2), left.clone()]) {
        other.client.publish(news);
        stored_at(other, 0, 2).await;
    }
    let mut newcomer = Client::start(&[&direct]);
    newcomer.client.publish(record(60, 1));
    stored_at(&mut newcomer, 0, 1).await;
    node.client.publish(record(2, 2));

    way.mend();
    let mut missed = told(&mut node).await;
    // Its own, if the PUT was the faster of the two.
    missed.remove(&record(2, 1).member().to_string());
    let expected = [record(10, 2), left, record(60, 1)].map(|envelope| {
        let what = (envelope.kind(), envelope.sequence());
        (envelope.member().to_string(), what)
    });
    assert_eq!(missed, BTreeMap::from(expected), "what changed, no more");
    let member = record(2, 2).member();
    newcomer
        .next(|_, event| match event {
            DiscoveryEvent::Member { envelope, .. } => {
                (envelope.member() == member && envelope.sequence() == Sequence(2)).then_some(())
            }
            _ => None,
        })
        .await;

    let mut requests = way.requests().clone();
    assert_eq!(requests.remove(0), "GET /v1/info", "for a nonce");
    requests.sort();
    let [watch, put] = &requests[..] else {
        panic!("more than one round trip: {requests:?}");
    };
    assert!(watch.contains("/watch?epoch="), "{watch}");
    assert!(put.starts_with("PUT /v1/clusters/"), "{put}");
    for client in others.iter().chain([&node, &newcomer]) {
        client.client.shutdown().await;
    }
    running.stop().await;
}
