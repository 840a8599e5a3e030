//! What the kernel says of the device and its peers, decoded. Data only.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use mesh_proto::WgPublicKey;
use netlink_packet_wireguard::{
    WireguardAllowedIp, WireguardAllowedIpAttr, WireguardAttribute, WireguardMessage,
    WireguardPeer, WireguardPeerAttribute,
};

/// The device at one moment.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// Its public key, if it has a private one.
    pub(super) public_key: Option<[u8; 32]>,
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
    /// Seconds and nanoseconds since the Unix epoch; zeros if never.
    pub(super) handshake: (i64, i64),
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
    /// Puts the messages of one listing together; a peer with many prefixes comes in several.
    pub(super) fn of(messages: impl Iterator<Item = WireguardMessage>) -> Self {
        let mut reading = Self::default();
        for attribute in messages.flat_map(|message| message.attributes) {
            match attribute {
                WireguardAttribute::PublicKey(key) => reading.public_key = Some(key),
                WireguardAttribute::ListenPort(port) => reading.listen_port = port,
                WireguardAttribute::Fwmark(mark) => reading.mark = mark,
                WireguardAttribute::Peers(peers) => {
                    peers.into_iter().for_each(|peer| reading.add(peer));
                }
                _ => {}
            }
        }
        reading
    }

    fn add(&mut self, peer: WireguardPeer) {
        let key = peer.0.iter().find_map(|attribute| match attribute {
            WireguardPeerAttribute::PublicKey(key) => Some(WgPublicKey(*key)),
            _ => None,
        });
        let Some(key) = key else { return };
        let known = self.peers.entry(key).or_default();
        for attribute in peer.0 {
            match attribute {
                WireguardPeerAttribute::Endpoint(endpoint) => known.endpoint = Some(endpoint),
                WireguardPeerAttribute::LastHandshake(at) => {
                    known.handshake = (at.seconds, at.nano_seconds);
                }
                WireguardPeerAttribute::RxBytes(bytes) => known.rx_bytes = bytes,
                WireguardPeerAttribute::TxBytes(bytes) => known.tx_bytes = bytes,
                WireguardPeerAttribute::PresharedKey(key) => known.preshared_key = key,
                WireguardPeerAttribute::AllowedIps(list) => {
                    known.allowed_ips.extend(list.iter().filter_map(prefix));
                }
                _ => {}
            }
        }
    }
}

fn prefix(allowed: &WireguardAllowedIp) -> Option<IpNet> {
    let (mut address, mut length): (Option<IpAddr>, _) = (None, None);
    for attribute in &allowed.0 {
        match attribute {
            WireguardAllowedIpAttr::IpAddr(ip) => address = Some(*ip),
            WireguardAllowedIpAttr::Cidr(bits) => length = Some(*bits),
            _ => {}
        }
    }
    IpNet::new(address?, length?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_in_two_pieces_is_one() {
        let piece = |prefix: &str| WireguardMessage {
            cmd: netlink_packet_wireguard::WireguardCmd::SetDevice,
            attributes: vec![WireguardAttribute::Peers(vec![WireguardPeer(vec![
                WireguardPeerAttribute::PublicKey([7; 32]),
                super::super::message::prefixes([prefix.parse().unwrap()].iter()),
            ])])],
        };
        let reading = Reading::of([piece("10.1.0.0/16"), piece("fd00::/64")].into_iter());
        let peer = &reading.peers[&WgPublicKey([7; 32])];
        assert_eq!(peer.allowed_ips.len(), 2);
        assert_eq!(reading.peers.len(), 1);
    }
}
