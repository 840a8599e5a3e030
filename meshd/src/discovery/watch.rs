//! The watch loop of one server: resolve, connect, follow the streams, come back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use mesh_proto::discovery::{ErrorCode, Info, Revision, watch_path};
use meshd_core::input::DiscoveryEvent;
use reqwest::Response;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::Server;
use super::backoff::{Backoff, jittered};
use super::connect::connect;
use super::error::RequestError;
use super::names::ServerName;
use super::reopening::Reopenings;
use super::session::{ANSWER_TIMEOUT, Session};
use super::stream::{End, Stream};

const FIRST_WAIT: Duration = Duration::from_millis(200);
const LAST_WAIT: Duration = Duration::from_secs(10);
/// A stream that lived this long was a good one: the next wait is short again.
const GOOD_STREAM: Duration = Duration::from_secs(5);
/// After a server said goodbye, every node of it comes back within this time.
const GOODBYE_SPREAD: Duration = Duration::from_secs(1);

/// Watches one server.
#[derive(Debug)]
pub(super) struct Watcher {
    server: Server,
    name: ServerName,
    session: watch::Sender<Option<Arc<Session>>>,
    /// For each cluster key, where its stream can resume.
    resume: Vec<Option<Revision>>,
    /// Since when the stream is live.
    connected: Option<Instant>,
    reopenings: Reopenings,
}

impl Watcher {
    pub(super) fn new(
        server: Server,
        name: ServerName,
        session: watch::Sender<Option<Arc<Session>>>,
    ) -> Self {
        let resume = vec![None; server.keys.len()];
        Self {
            server,
            name,
            session,
            resume,
            connected: None,
            reopenings: Reopenings::default(),
        }
    }

    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new(FIRST_WAIT, LAST_WAIT);
        loop {
            self.connected = None;
            self.server.retry.mark_unchanged();
            let end = self.follow_once().await;
            self.session.send_replace(None);
            if self
                .connected
                .is_some_and(|since| since.elapsed() >= GOOD_STREAM)
            {
                backoff.reset();
            }
            let wait = match end {
                End::Reopen => {
                    self.reopenings.note(Instant::now());
                    backoff.reset();
                    continue;
                }
                End::Goodbye => {
                    let text = format!("{} is going away", self.server.url);
                    self.server.tell(DiscoveryEvent::Disconnected(text)).await;
                    jittered(GOODBYE_SPREAD)
                }
                End::Broken(text) => {
                    self.server.tell(DiscoveryEvent::Disconnected(text)).await;
                    backoff.wait()
                }
            };
            tokio::select! {
                () = sleep(wait) => {}
                Ok(()) = self.server.retry.changed() => backoff.reset(),
            }
        }
    }

    /// One session, from name to broken stream. A change of the host's network ends it at any point: an
    /// attempt from an address that is gone would wait for its time-out.
    async fn follow_once(&mut self) -> End {
        let mut retry = self.server.retry.clone();
        let earliest = self.reopenings.earliest(Instant::now());
        tokio::select! {
            end = self.open_and_follow() => match end {
                Ok(()) => End::Goodbye,
                Err(end) => end,
            },
            () = network_change(&mut retry, earliest) => End::Reopen,
        }
    }

    async fn open_and_follow(&mut self) -> Result<(), End> {
        let addresses = self.name.resolve().await?;
        let (url, ca) = (&self.server.url, self.server.ca.clone());
        let (session, response) = connect(url, self.name.host(), addresses, ca).await?;
        let session = Arc::new(session);
        let stun = stun_address(&session.info, response.remote_addr());
        drop(response);
        // Publishing need not wait for the stream.
        self.session.send_replace(Some(session.clone()));
        let streams = self.open_streams(&session).await?;
        let connected = DiscoveryEvent::Connected {
            info: session.info.clone(),
            stun,
        };
        self.server.tell(connected).await;
        self.connected = Some(Instant::now());
        let server = &self.server;
        let follow = self.resume.iter_mut().zip(streams).enumerate().filter_map(
            |(index, (resume, response))| {
                let stream = Stream {
                    server,
                    session: &session,
                    cluster: server.keys[index].cluster_id(),
                    resume,
                    caught_up: false,
                };
                Some(stream.follow(response?))
            },
        );
        try_join_all(follow).await?;
        Ok(())
    }

    /// A stream for each cluster key. A server that serves one of the clusters may refuse the others: a
    /// rotation must not cut this node off from where it was before.
    async fn open_streams(
        &mut self,
        session: &Arc<Session>,
    ) -> Result<Vec<Option<Response>>, RequestError> {
        let mut streams = Vec::new();
        let mut refused = None;
        for (index, keys) in self.server.keys.iter().enumerate() {
            let path = watch_path(&keys.cluster_id(), self.resume[index]);
            match session.send(keys, &path, None, ANSWER_TIMEOUT).await {
                Ok(response) => streams.push(Some(response)),
                Err(error) if error.code() == Some(ErrorCode::ClusterNotAllowed) => {
                    tracing::warn!("one of the secrets is not watched: {error}");
                    streams.push(None);
                    refused.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        match refused {
            Some(error) if streams.iter().all(Option::is_none) => Err(error),
            _ => Ok(streams),
        }
    }
}

/// Returns once the host's network changed, and not before `earliest`.
async fn network_change(retry: &mut watch::Receiver<u64>, earliest: Instant) {
    if retry.changed().await.is_err() {
        // The client is being dropped; its tasks are cancelled.
        std::future::pending::<()>().await;
    }
    tokio::time::sleep_until(earliest).await;
}

/// Where the server's STUN is, as seen from here.
fn stun_address(info: &Info, remote: Option<SocketAddr>) -> Option<SocketAddr> {
    let ip = info
        .stun_address
        .or_else(|| remote.map(|remote| remote.ip()))?;
    Some(SocketAddr::new(ip, info.stun_port?))
}
