//! Shared fate: several peers that become suspect at once through one local address. The address is to
//! blame then, and the others that use it need not wait to find out.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Instant;

use mesh_proto::WgPublicKey;
use mesh_proto::control::PeerState;

use super::Mesh;
use crate::Now;
use crate::event::Level;
use crate::timing::{SHARED_FATE_PEERS, SHARED_FATE_SHARE, SHARED_WINDOW};

/// Suspicions remembered of one address.
const MAX_SUSPICIONS: usize = 64;

/// When which local address lost a peer lately.
#[derive(Debug, Default)]
pub(super) struct SharedFate {
    suspicions: BTreeMap<IpAddr, VecDeque<Instant>>,
    /// Others are being checked; what that finds is no news.
    is_spreading: bool,
}

impl SharedFate {
    /// Notes one more; how many there are within the window.
    fn note(&mut self, local: IpAddr, now: Instant) -> usize {
        let recent = |at: &Instant| now.saturating_duration_since(*at) <= SHARED_WINDOW;
        self.suspicions.retain(|_, times| {
            times.retain(recent);
            !times.is_empty()
        });
        let times = self.suspicions.entry(local).or_default();
        if times.len() >= MAX_SUSPICIONS {
            times.pop_front();
        }
        times.push_back(now);
        times.len()
    }
}

impl Mesh {
    /// A peer became suspect that packets leave to from `local`.
    pub(super) fn shared_fate(&mut self, local: IpAddr, now: Now) {
        if self.shared_fate.is_spreading {
            return;
        }
        let count = self.shared_fate.note(local, now.instant);
        let through = |state: PeerState| state != PeerState::Down;
        let all: Vec<WgPublicKey> = self
            .peers
            .iter()
            .filter(|(_, peer)| through(peer.state))
            .filter(|(_, peer)| peer.path().is_some_and(|path| path.local == Some(local)))
            .map(|(key, _)| *key)
            .collect();
        let enough =
            count >= SHARED_FATE_PEERS || (count >= 2 && count * SHARED_FATE_SHARE >= all.len());
        let calm: Vec<WgPublicKey> = all
            .into_iter()
            .filter(|key| !self.peers[key].is_racing())
            .collect();
        if !enough || calm.is_empty() {
            return;
        }
        let message = format!(
            "{count} peers became suspect at once through {local}: {} others are checked too",
            calm.len()
        );
        self.out.event("shared_fate", Level::Info, message);
        self.shared_fate.is_spreading = true;
        for key in calm {
            self.with_peer(key, now, |peer, scene| {
                peer.start_race(scene.now.instant, scene);
                peer.recover(scene);
            });
        }
        self.shared_fate.is_spreading = false;
    }
}
