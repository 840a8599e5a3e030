//! Servers: what is known of each configured discovery server.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use mesh_proto::discovery::Info;

use crate::Now;

/// One discovery server.
#[derive(Debug, Default)]
pub(super) struct Server {
    /// As configured.
    pub(super) url: String,
    pub(super) connected: bool,
    pub(super) synced: bool,
    pub(super) error: Option<String>,
    pub(super) last_contact: Option<Instant>,
    /// Where its STUN listens.
    pub(super) stun: Option<SocketAddr>,
    /// The address it saw us at.
    pub(super) observed: Option<IpAddr>,
    /// Its clock minus ours when it was last connected, milliseconds.
    pub(super) clock_offset_ms: Option<i64>,
}

impl Server {
    pub(super) fn new(url: String) -> Self {
        Self {
            url,
            ..Self::default()
        }
    }

    pub(super) fn connected(&mut self, info: &Info, stun: Option<SocketAddr>, now: Now) {
        self.connected = true;
        self.error = None;
        self.stun = stun;
        self.observed = Some(info.your_address);
        let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        self.clock_offset_ms = Some(signed(info.time_ms).saturating_sub(signed(now.unix_ms)));
        self.last_contact = Some(now.instant);
    }

    /// What was learned from it stays: an unreachable server changes nothing.
    pub(super) fn disconnected(&mut self, error: String) {
        self.connected = false;
        self.synced = false;
        self.error = Some(error);
    }
}
