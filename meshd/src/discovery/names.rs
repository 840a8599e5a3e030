//! Addresses of the servers: resolved before each connection, the last good ones kept on disk. What is
//! told to the core is exactly what connections use, so that rules and connections agree.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Url;
use tokio::sync::watch;

use super::error::RequestError;
use crate::state::AddressCache;

/// A resolver that takes longer counts as dead.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// The same if there are addresses from last time.
const LOOKUP_TIMEOUT_WITH_CACHE: Duration = Duration::from_secs(1);
/// Addresses used of one name.
const MAX_ADDRESSES: usize = 16;

/// The addresses of all servers.
#[derive(Debug, Clone)]
pub(super) struct Addresses {
    by_server: Arc<Mutex<Vec<Vec<SocketAddr>>>>,
    all: watch::Sender<Vec<SocketAddr>>,
}

impl Addresses {
    pub(super) fn new(servers: usize) -> Self {
        Self {
            by_server: Arc::new(Mutex::new(vec![Vec::new(); servers])),
            all: watch::Sender::new(Vec::new()),
        }
    }

    /// The resolver of one server. What is known without asking anybody is told at once.
    pub(super) fn server(&self, index: usize, url: Url, cache: Arc<AddressCache>) -> ServerName {
        let name = ServerName {
            addresses: self.clone(),
            index,
            host: url
                .host_str()
                .unwrap_or_default()
                .trim_matches(['[', ']'])
                .to_owned(),
            port: url.port_or_known_default().unwrap_or_default(),
            cache,
        };
        let known = match name.host.parse::<IpAddr>() {
            Ok(ip) => vec![SocketAddr::new(ip, name.port)],
            Err(_) => name.cache.get(&name.key()),
        };
        self.set(index, known);
        name
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Vec<SocketAddr>> {
        self.all.subscribe()
    }

    fn set(&self, index: usize, addresses: Vec<SocketAddr>) {
        let mut by_server = self
            .by_server
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        by_server[index] = addresses;
        let mut all = by_server.concat();
        all.sort();
        all.dedup();
        self.all.send_if_modified(|told| {
            let news = *told != all;
            *told = all;
            news
        });
    }
}

/// Resolves the name of one server.
#[derive(Debug)]
pub(super) struct ServerName {
    addresses: Addresses,
    index: usize,
    host: String,
    port: u16,
    cache: Arc<AddressCache>,
}

impl ServerName {
    /// The host to connect to, without brackets.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Current addresses; the last good ones if the name does not resolve now.
    pub(super) async fn resolve(&self) -> Result<Vec<SocketAddr>, RequestError> {
        if let Ok(ip) = self.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, self.port)]);
        }
        let known = self.cache.get(&self.key());
        let limit = if known.is_empty() {
            LOOKUP_TIMEOUT
        } else {
            LOOKUP_TIMEOUT_WITH_CACHE
        };
        let lookup = tokio::net::lookup_host((self.host.as_str(), self.port));
        let reason = match tokio::time::timeout(limit, lookup).await {
            Ok(Ok(found)) => {
                let mut found: Vec<_> = found.take(MAX_ADDRESSES).collect();
                found.sort();
                found.dedup();
                if !found.is_empty() {
                    self.addresses.set(self.index, found.clone());
                    self.remember(found.clone()).await;
                    return Ok(found);
                }
                "no address".to_owned()
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        if known.is_empty() {
            return Err(RequestError::Name {
                host: self.host.clone(),
                reason,
            });
        }
        tracing::debug!(host = self.host, reason, "using the last good addresses");
        self.addresses.set(self.index, known.clone());
        Ok(known)
    }

    fn key(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    async fn remember(&self, found: Vec<SocketAddr>) {
        let (cache, key) = (self.cache.clone(), self.key());
        let written = tokio::task::spawn_blocking(move || cache.put(&key, &found)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!("addresses of {} are not kept: {error}", self.host);
        }
    }
}
