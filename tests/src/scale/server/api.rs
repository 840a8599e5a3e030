//! The server as a node talks to it: signed requests, each PUT on a connection of its own as from a node
//! that renews now and then, and watch streams.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use mesh_proto::ClusterKeys;
use mesh_proto::discovery::{Info, Revision, WatchEvent, watch_path};
use mesh_proto::request_auth::SignedRequest;

use super::population::{Member, request_id};
use super::wire::{Chunks, Connection, Traffic};
use crate::lab::LabError;

/// A nonce lives two minutes.
const NONCE_REFRESH: Duration = Duration::from_secs(60);

/// What is sent of a member, taken out so that no lock is held meanwhile.
#[derive(Debug, Clone)]
pub struct Parcel {
    source: Ipv4Addr,
    path: String,
    envelope: Vec<u8>,
}

impl From<&Member> for Parcel {
    fn from(member: &Member) -> Self {
        Self {
            source: member.source,
            path: member.path.clone(),
            envelope: member.envelope.clone(),
        }
    }
}

/// One server.
#[derive(Debug)]
pub struct Api {
    address: SocketAddr,
    traffic: Arc<Traffic>,
    info: RwLock<Info>,
    requests: AtomicU64,
}

impl Api {
    /// Asks the server who it is.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn connect(address: SocketAddr) -> Result<Self, LabError> {
        let traffic = Arc::new(Traffic::default());
        let info = fetch_info(address, &traffic).await?;
        Ok(Self {
            address,
            traffic,
            info: RwLock::new(info),
            requests: AtomicU64::new(1),
        })
    }

    /// Bytes of all connections.
    #[must_use]
    pub fn traffic(&self) -> u64 {
        self.traffic.bytes()
    }

    /// Gets a new nonce now and then, until dropped.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn keep_nonce(&self) -> Result<(), LabError> {
        loop {
            tokio::time::sleep(NONCE_REFRESH).await;
            let info = fetch_info(self.address, &self.traffic).await?;
            *self.info.write().unwrap_or_else(PoisonError::into_inner) = info;
        }
    }

    /// Puts a record; status and how long that took.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn put(
        &self,
        keys: &ClusterKeys,
        parcel: &Parcel,
    ) -> Result<(u16, Duration), LabError> {
        let start = Instant::now();
        let put = async {
            let headers = self.sign(keys, "PUT", &parcel.path, &parcel.envelope);
            let mut connection = self.open(parcel.source).await?;
            connection
                .send("PUT", &parcel.path, &headers, &parcel.envelope)
                .await?;
            Ok(connection.answer().await?.0)
        };
        let status = put
            .await
            .map_err(LabError::io::<io::Error>("put a record"))?;
        Ok((status, start.elapsed()))
    }

    /// Opens a watch.
    ///
    /// # Errors
    /// If it is refused.
    pub async fn watch(
        &self,
        keys: &ClusterKeys,
        from: Option<Revision>,
        source: Ipv4Addr,
    ) -> Result<Connection, LabError> {
        let path = watch_path(&keys.cluster_id(), from);
        let watch = async {
            let headers = self.sign(keys, "GET", &path, b"");
            let mut connection = self.open(source).await?;
            connection.send("GET", &path, &headers, b"").await?;
            let status = connection.stream().await?;
            Ok((connection, status))
        };
        let (connection, status) = watch
            .await
            .map_err(LabError::io::<io::Error>("open a watch"))?;
        if status != 200 {
            return Err(LabError::Unusable(format!(
                "a watch was refused with {status}"
            )));
        }
        Ok(connection)
    }

    /// The revision a cluster has, from a whole snapshot; and how many members that held.
    ///
    /// # Errors
    /// If the stream breaks before it is complete.
    pub async fn head(
        &self,
        keys: &ClusterKeys,
        source: Ipv4Addr,
    ) -> Result<(Revision, usize), LabError> {
        let mut connection = self.watch(keys, None, source).await?;
        let (mut chunks, mut text, mut members) = (Chunks::default(), Vec::new(), 0);
        loop {
            let read = connection.next(|bytes| {
                chunks.decode(bytes, &mut text);
            });
            read.await.map_err(LabError::io("read a snapshot"))?;
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                match serde_json::from_slice(&text[..end]) {
                    Ok(WatchEvent::Synced { revision }) => return Ok((revision, members)),
                    Ok(WatchEvent::Member(_)) => members += 1,
                    _ => return Err(LabError::Unusable("an odd line in a snapshot".to_owned())),
                }
                text.drain(..=end);
            }
        }
    }

    async fn open(&self, source: Ipv4Addr) -> io::Result<Connection> {
        Connection::open(self.address, source, Arc::clone(&self.traffic)).await
    }

    fn sign(
        &self,
        keys: &ClusterKeys,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> [(&'static str, String); 4] {
        let info = self.info.read().unwrap_or_else(PoisonError::into_inner);
        let request = SignedRequest {
            method,
            path_and_query: path,
            body,
            server: info.server,
            nonce: &info.nonce,
            request_id: &request_id(self.requests.fetch_add(1, Ordering::Relaxed)),
        };
        request.sign(keys)
    }
}

async fn fetch_info(address: SocketAddr, traffic: &Arc<Traffic>) -> Result<Info, LabError> {
    let fetch = async {
        let traffic = Arc::clone(traffic);
        let mut connection = Connection::open(address, Ipv4Addr::LOCALHOST, traffic).await?;
        connection.send("GET", "/v1/info", &[], b"").await?;
        connection.answer().await
    };
    let (_, body) = fetch
        .await
        .map_err(LabError::io::<io::Error>("ask for /v1/info"))?;
    serde_json::from_slice(&body)
        .map_err(|error| LabError::Unusable(format!("/v1/info cannot be read: {error}")))
}
