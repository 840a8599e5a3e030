//! Changes of one peer as netlink messages, each the smallest that does it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use mesh_proto::WgPublicKey;
use meshd_core::data_plane::PeerSpec;
use netlink_packet_wireguard::{
    WireguardAddressFamily, WireguardAllowedIp, WireguardAllowedIpAttr, WireguardPeer,
    WireguardPeerAttribute, WireguardPeerFlags,
};

use super::reading::PeerReading;

/// Keepalive of peers that name none: setting it on a new peer is what makes the kernel send an
/// initiation at once.
const KEEPALIVE: Duration = Duration::from_secs(25);

/// A peer that is not there yet, whole.
pub(super) fn add(spec: &PeerSpec, endpoint: Option<SocketAddr>) -> WireguardPeer {
    let mut attributes = vec![
        WireguardPeerAttribute::PublicKey(spec.public_key.0),
        WireguardPeerAttribute::Flags(WireguardPeerFlags::ReplaceAllowedIps),
        WireguardPeerAttribute::PresharedKey(preshared_key(spec)),
    ];
    attributes.extend(endpoint.map(WireguardPeerAttribute::Endpoint));
    // Without an endpoint the kernel would note an initiation that went nowhere, and refuse the next one
    // for five seconds.
    if endpoint.is_some() || spec.mesh_address.is_none() {
        attributes.push(WireguardPeerAttribute::PersistentKeepalive(keepalive(spec)));
    }
    attributes.push(prefixes(spec.allowed_ips.iter()));
    WireguardPeer(attributes)
}

/// What makes a peer that is there as desired; none if it is. Prefixes are only added where that is
/// enough: replacing them would drop packets for a moment.
pub(super) fn update(spec: &PeerSpec, shown: &PeerReading) -> Option<WireguardPeer> {
    let desired: BTreeSet<IpNet> = spec.allowed_ips.iter().copied().collect();
    let mut flags = WireguardPeerFlags::UpdateOnly;
    let mut attributes = Vec::new();
    if shown.preshared_key != preshared_key(spec) {
        attributes.push(WireguardPeerAttribute::PresharedKey(preshared_key(spec)));
    }
    if !shown.allowed_ips.is_subset(&desired) {
        flags |= WireguardPeerFlags::ReplaceAllowedIps;
        attributes.push(prefixes(desired.iter()));
    } else if shown.allowed_ips != desired {
        attributes.push(prefixes(desired.difference(&shown.allowed_ips)));
    }
    if attributes.is_empty() {
        return None;
    }
    let mut all = vec![
        WireguardPeerAttribute::PublicKey(spec.public_key.0),
        WireguardPeerAttribute::Flags(flags),
    ];
    all.append(&mut attributes);
    Some(WireguardPeer(all))
}

/// Sends by another endpoint from now on; keys and sessions stay.
pub(super) fn set_endpoint(key: &WgPublicKey, endpoint: SocketAddr) -> WireguardPeer {
    WireguardPeer(vec![
        WireguardPeerAttribute::PublicKey(key.0),
        WireguardPeerAttribute::Flags(WireguardPeerFlags::UpdateOnly),
        WireguardPeerAttribute::Endpoint(endpoint),
    ])
}

/// How a peer is shown that is exactly as `spec` says.
pub(super) fn as_shown(spec: &PeerSpec) -> PeerReading {
    PeerReading {
        allowed_ips: spec.allowed_ips.iter().copied().collect(),
        preshared_key: preshared_key(spec),
        ..PeerReading::default()
    }
}

/// Forgets a peer and its sessions.
pub(super) fn remove(key: &WgPublicKey) -> WireguardPeer {
    WireguardPeer(vec![
        WireguardPeerAttribute::PublicKey(key.0),
        WireguardPeerAttribute::Flags(WireguardPeerFlags::RemoveMe),
    ])
}

pub(super) fn prefixes<'a>(prefixes: impl Iterator<Item = &'a IpNet>) -> WireguardPeerAttribute {
    let encoded = prefixes.map(|prefix| {
        let family = match prefix.addr() {
            IpAddr::V4(_) => WireguardAddressFamily::Ipv4,
            IpAddr::V6(_) => WireguardAddressFamily::Ipv6,
        };
        WireguardAllowedIp(vec![
            WireguardAllowedIpAttr::Family(family),
            WireguardAllowedIpAttr::IpAddr(prefix.addr()),
            WireguardAllowedIpAttr::Cidr(prefix.prefix_len()),
        ])
    });
    WireguardPeerAttribute::AllowedIps(encoded.collect())
}

fn preshared_key(spec: &PeerSpec) -> [u8; 32] {
    spec.preshared_key
        .as_ref()
        .map_or([0; 32], |key| *key.expose())
}

fn keepalive(spec: &PeerSpec) -> u16 {
    let interval = spec.keepalive.unwrap_or(KEEPALIVE);
    u16::try_from(interval.as_secs()).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(prefixes: &[&str]) -> PeerSpec {
        PeerSpec {
            public_key: WgPublicKey([1; 32]),
            preshared_key: None,
            allowed_ips: prefixes.iter().map(|text| text.parse().unwrap()).collect(),
            mesh_address: None,
            keepalive: None,
            endpoint_filter: None,
        }
    }

    fn replaces(peer: &WireguardPeer) -> bool {
        peer.0.iter().any(|attribute| {
            matches!(attribute, WireguardPeerAttribute::Flags(flags)
                if flags.contains(WireguardPeerFlags::ReplaceAllowedIps))
        })
    }

    #[test]
    fn nothing_to_change_is_no_message_and_growing_replaces_nothing() {
        let shown = PeerReading {
            allowed_ips: spec(&["10.1.0.0/16"]).allowed_ips.into_iter().collect(),
            ..PeerReading::default()
        };
        assert_eq!(update(&spec(&["10.1.0.0/16"]), &shown), None);
        let grown = update(&spec(&["10.1.0.0/16", "10.2.0.0/16"]), &shown).unwrap();
        assert!(!replaces(&grown));
        assert!(replaces(&update(&spec(&["10.2.0.0/16"]), &shown).unwrap()));
    }
}
