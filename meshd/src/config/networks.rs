//! Reads what speaks of prefixes: `filters`, `networks`, `externalPeers`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ipnet::IpNet;
use mesh_proto::WgPublicKey;
use mesh_proto::limits::{MAX_NAME_BYTES, MAX_NETWORKS};
use meshd_core::filter::FilterProgram;
use meshd_core::settings::{ExternalPeer, Filters, Networks};

use super::ConfiguredPeer;
use super::reader::{Field, Section};
use super::tree::Value;

/// Entries of one filter program.
const MAX_FILTER_ENTRIES: usize = 1024;
/// Entries of `externalPeers`.
const MAX_EXTERNAL_PEERS: usize = 1024;

/// `filters`
pub(super) fn filters(root: &mut Section<'_>) -> Filters {
    let mut section = root.section("filters");
    let filters = Filters {
        endpoints: section.field("endpoints", program),
        peer_endpoints: section.field("peerEndpoints", program),
        peer_networks: section.field("peerNetworks", program),
        exclude_advertised_networks: section
            .field("excludeAdvertisedNetworks", nets)
            .unwrap_or_default(),
    };
    section.finish();
    filters
}

/// `networks`
pub(super) fn networks(root: &mut Section<'_>, advertise_file: &mut Option<PathBuf>) -> Networks {
    let mut section = root.section("networks");
    *advertise_file = section.field("advertiseFile", |field| field.path());
    let networks = Networks {
        advertise: section
            .field("advertise", routable_nets)
            .unwrap_or_default(),
        protected: section
            .field("protected", routable_nets)
            .unwrap_or_default(),
        accept_wide: section.field("acceptWide", nets).unwrap_or_default(),
    };
    section.finish();
    networks
}

/// `externalPeers`
pub(super) fn external_peers(root: &mut Section<'_>) -> Vec<ConfiguredPeer> {
    let peers = root
        .field("externalPeers", |field| {
            field.list(MAX_EXTERNAL_PEERS, external_peer)
        })
        .unwrap_or_default();
    let (mut names, mut keys, mut owners) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for ConfiguredPeer { peer, .. } in &peers {
        if names.insert(&peer.name, ()).is_some() {
            root.wrong(
                "externalPeers",
                format!("two peers are named {:?}", peer.name),
            );
        }
        if let Some(other) = keys.insert(peer.public_key, &peer.name) {
            let message = format!("{other:?} and {:?} have the same publicKey", peer.name);
            root.wrong("externalPeers", message);
        }
        for prefix in &peer.allowed_ips {
            if let Some(other) = owners.insert(*prefix, &peer.name) {
                let message = format!("{other:?} and {:?} both have {prefix}", peer.name);
                root.wrong("externalPeers", message);
            }
        }
    }
    peers
}

fn external_peer(field: Field<'_>) -> Option<ConfiguredPeer> {
    let mut section = Section::of(field.node, field.path.to_owned(), field.issues);
    let name = section.field("name", |field| field.label(MAX_NAME_BYTES));
    let public_key = section.field("publicKey", |field| {
        field.parsed(|text| {
            text.parse::<WgPublicKey>()
                .map_err(|error| error.to_string())
        })
    });
    let preshared_key_file = section.field("presharedKeyFile", |field| field.path());
    let allowed_ips = section.field("allowedIPs", nets);
    let endpoint = section.field("endpoint", |field| field.socket_address());
    section.missing("name", "give the peer a name");
    section.missing("publicKey", "write the peer's WireGuard public key");
    section.missing(
        "allowedIPs",
        "write the prefixes that are routed to the peer",
    );
    section.finish();
    Some(ConfiguredPeer {
        peer: ExternalPeer {
            name: name?,
            public_key: public_key?,
            preshared_key: None,
            allowed_ips: allowed_ips?,
            endpoint,
        },
        preshared_key_file,
    })
}

/// A filter program; every entry that is wrong gets a message of its own.
fn program(field: Field<'_>) -> Option<FilterProgram> {
    let entries = field.list(MAX_FILTER_ENTRIES, filter_entry)?;
    let Value::List(list) = &field.node.value else {
        return None;
    };
    if entries.len() < list.len() {
        return None;
    }
    FilterProgram::parse(&entries)
        .map_err(|error| {
            // Entries were found right one by one, so what is left is about the list.
            field.wrong(error.message);
        })
        .ok()
}

fn filter_entry(field: Field<'_>) -> Option<String> {
    // `- !10.0.0.0/8` without quotes is a YAML tag on nothing.
    if field.node.value == Value::Null {
        field.wrong(
            "is empty; an entry that begins with ! must be in quotes, like \"!192.168.0.0/16\"",
        );
        return None;
    }
    let entry = field.text()?.to_owned();
    match FilterProgram::parse(std::slice::from_ref(&entry)) {
        Ok(_) => Some(entry),
        Err(error) => {
            field.wrong(error.message);
            None
        }
    }
}

/// A list of prefixes, host bits dropped.
pub(super) fn nets(field: Field<'_>) -> Option<Vec<IpNet>> {
    field.list(MAX_NETWORKS, |entry| entry.net().map(|net| net.trunc()))
}

/// A list of prefixes that can be routed between nodes at all.
fn routable_nets(field: Field<'_>) -> Option<Vec<IpNet>> {
    field.list(MAX_NETWORKS, |entry| {
        let net = entry.net()?;
        routable(net).map_err(|message| entry.wrong(message)).ok()
    })
}

/// `net` without host bits, if it can be routed between nodes at all.
pub(crate) fn routable(net: IpNet) -> Result<IpNet, String> {
    let address = net.network();
    let scoped = match address {
        std::net::IpAddr::V4(v4) => v4.is_link_local(),
        std::net::IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    if scoped || address.is_loopback() || address.is_multicast() {
        return Err(format!(
            "{net} is loopback, link-local or multicast and cannot be routed between nodes"
        ));
    }
    Ok(net.trunc())
}
