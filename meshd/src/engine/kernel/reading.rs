//! What the kernel says of the device and its peers. Data only.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::SystemTime;

use defguard_wireguard_rs::host::Host;
use defguard_wireguard_rs::peer::Peer;
use ipnet::IpNet;
use mesh_proto::{WgPrivateKey, WgPublicKey};

/// The device at one moment.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// Its key, if it has one.
    private_key: Option<WgPrivateKey>,
    /// UDP port.
    pub(super) listen_port: u16,
    /// Mark of outer packets; 0 for none.
    pub(super) mark: u32,
    /// By key.
    pub(super) peers: BTreeMap<WgPublicKey, PeerReading>,
}

/// One peer at one moment.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct PeerReading {
    /// Where the kernel sends to.
    pub(super) endpoint: Option<SocketAddr>,
    /// By the wall clock; none if never.
    pub(super) handshake: Option<SystemTime>,
    /// Bytes received, WireGuard overhead counted.
    pub(super) rx_bytes: u64,
    /// Bytes sent, likewise.
    pub(super) tx_bytes: u64,
    /// Cryptokey routing.
    pub(super) allowed_ips: BTreeSet<IpNet>,
    /// Zeros if there is none.
    pub(super) preshared_key: [u8; 32],
}

impl std::fmt::Debug for PeerReading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerReading")
            .field("endpoint", &self.endpoint)
            .field("handshake", &self.handshake)
            .finish_non_exhaustive()
    }
}

impl Reading {
    /// What the library read.
    pub(super) fn of(host: &Host) -> Self {
        let key = host.private_key.as_ref();
        Self {
            private_key: key.map(|key| WgPrivateKey::from_bytes(key.as_array())),
            listen_port: host.listen_port,
            mark: host.fwmark.unwrap_or_default(),
            peers: host
                .peers
                .iter()
                .map(|(key, peer)| (WgPublicKey(key.as_array()), PeerReading::of(peer)))
                .collect(),
        }
    }

    /// True if the device has that key.
    pub(super) fn is_of(&self, key: &WgPrivateKey) -> bool {
        let own = self.private_key.as_ref();
        own.is_some_and(|own| clamped(own) == clamped(key))
    }
}

/// The key as the kernel keeps it (RFC 7748, 5). Given another one, even an equivalent one, it forgets all
/// sessions.
pub(super) fn clamped(key: &WgPrivateKey) -> [u8; 32] {
    let mut bytes = *key.expose();
    bytes[0] &= 0xf8;
    bytes[31] = bytes[31] & 0x7f | 0x40;
    bytes
}

impl PeerReading {
    fn of(peer: &Peer) -> Self {
        let allowed = peer.allowed_ips.iter();
        Self {
            endpoint: peer.endpoint,
            // The kernel says zero for never.
            handshake: peer
                .last_handshake
                .filter(|at| *at > SystemTime::UNIX_EPOCH),
            rx_bytes: peer.rx_bytes,
            tx_bytes: peer.tx_bytes,
            allowed_ips: allowed
                .filter_map(|prefix| IpNet::new(prefix.address, prefix.cidr).ok())
                .collect(),
            preshared_key: peer
                .preshared_key
                .as_ref()
                .map_or([0; 32], |key| key.as_array()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use defguard_wireguard_rs::key::Key;

    #[test]
    fn a_peer_without_a_handshake_never_had_one() {
        let mut host = Host::new(51840, Key::new([3; 32]));
        let mut peer = Peer::new(Key::new([7; 32]));
        peer.last_handshake = Some(SystemTime::UNIX_EPOCH);
        peer.allowed_ips = vec!["10.1.0.0/16".parse().unwrap(), "fd00::/64".parse().unwrap()];
        host.peers.insert(peer.public_key.clone(), peer);
        let reading = Reading::of(&host);
        let peer = &reading.peers[&WgPublicKey([7; 32])];
        assert_eq!((peer.handshake, peer.allowed_ips.len()), (None, 2));
        assert!(reading.is_of(&WgPrivateKey::from_bytes([3; 32])));
        let mut kept = Host::new(51840, Key::new(clamped(&WgPrivateKey::from_bytes([3; 32]))));
        kept.fwmark = Some(1);
        assert!(Reading::of(&kept).is_of(&WgPrivateKey::from_bytes([3; 32])));
        assert!(!reading.is_of(&WgPrivateKey::from_bytes([99; 32])));
        assert!(!Reading::default().is_of(&WgPrivateKey::from_bytes([0; 32])));
    }
}
