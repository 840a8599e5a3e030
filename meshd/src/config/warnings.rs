//! What is right but will surprise. Nothing here stops a start.

use std::net::IpAddr;

use ipnet::IpNet;
use mesh_proto::candidate::is_private;
use meshd_core::filter::FilterProgram;
use reqwest::Url;

use super::issue::Issue;
use super::{Config, Zone};

/// Prefixes that other software uses on most hosts, and whose it is.
const COMMON_PREFIXES: [(&str, &str); 3] = [
    ("172.17.0.0/16", "Docker's default bridge"),
    ("10.88.0.0/16", "Podman's default bridge"),
    ("192.168.122.0/24", "libvirt's default network"),
];

/// Everything surprising in `config`.
pub(super) fn warnings(config: &Config) -> Vec<Issue> {
    let mut out = Vec::new();
    let mut warn = |key: String, message: String| {
        out.push(Issue {
            line: None,
            key,
            message,
        });
    };
    if config.node.zone == Zone::Own {
        warn(
            "node.zone".into(),
            "is not set: this node is a zone of its own and tunnels to every other node".into(),
        );
    }
    for (index, url) in config.discovery.urls.iter().enumerate() {
        if is_open_http(url) {
            warn(
                format!("discovery.servers[{index}]"),
                format!(
                    "{url} is not encrypted: records stay sealed, but who talks and when can be \
                     seen, and answers can be held back; use https"
                ),
            );
        }
    }
    if config.allow_down_peer_bypass {
        warn(
            "allowDownPeerBypass".into(),
            "is true: traffic to a peer that is down for 10 s leaves in clear by the host's own \
             routes"
                .into(),
        );
    }
    if let Some(listen) = config
        .metrics_listen
        .filter(|listen| !listen.ip().is_loopback())
    {
        warn(
            "metrics.listen".into(),
            format!("{listen} serves metrics without a password to everyone who can reach it"),
        );
    }
    filter_warnings(config, &mut warn);
    network_warnings(config, &mut warn);
    out
}

/// Plain HTTP to something that is not known to be near.
fn is_open_http(url: &Url) -> bool {
    let near = |ip: IpAddr| ip.is_loopback() || is_private(ip);
    url.scheme() == "http"
        && match url.host_str() {
            Some("localhost") | None => false,
            Some(host) => host
                .trim_matches(['[', ']'])
                .parse()
                .map_or(true, |ip| !near(ip)),
        }
}

fn filter_warnings(config: &Config, warn: &mut impl FnMut(String, String)) {
    let filters = &config.filters;
    let programs: [(&str, &Option<FilterProgram>); 3] = [
        ("filters.endpoints", &filters.endpoints),
        ("filters.peerEndpoints", &filters.peer_endpoints),
        ("filters.peerNetworks", &filters.peer_networks),
    ];
    for (key, program) in programs {
        for warning in program.iter().flat_map(FilterProgram::warnings) {
            let key = match warning.index {
                Some(index) => format!("{key}[{index}]"),
                None => key.to_owned(),
            };
            warn(key, warning.message);
        }
    }
}

fn network_warnings(config: &Config, warn: &mut impl FnMut(String, String)) {
    let networks = &config.networks;
    for (index, net) in networks.advertise.iter().enumerate() {
        let key = format!("networks.advertise[{index}]");
        if is_wide(net) {
            warn(
                key.clone(),
                format!("peers refuse {net} unless their networks.acceptWide has it"),
            );
        }
        for (common, whose) in COMMON_PREFIXES {
            if common
                .parse()
                .is_ok_and(|common: IpNet| common.contains(net))
            {
                warn(
                    key.clone(),
                    format!("{net} lies in {common}, {whose}: hosts that run it keep their own"),
                );
            }
        }
        if filters_exclude(config, net) {
            warn(
                key,
                format!("{net} is removed again by filters.excludeAdvertisedNetworks"),
            );
        }
    }
    for (index, net) in networks.protected.iter().enumerate() {
        let key = format!("networks.protected[{index}]");
        if let Some(own) = networks.advertise.iter().find(|own| own.contains(net)) {
            warn(
                key,
                format!("{net} lies in {own}, which this node advertises, so it is local here"),
            );
        } else if net.prefix_len() == 0 {
            warn(
                key,
                format!("{net} holds back everything that no peer and no on-link route serves"),
            );
        }
    }
}

/// Wider than peers accept without being told to.
fn is_wide(net: &IpNet) -> bool {
    net.prefix_len() < if net.addr().is_ipv4() { 8 } else { 16 }
}

fn filters_exclude(config: &Config, net: &IpNet) -> bool {
    let excluded = &config.filters.exclude_advertised_networks;
    excluded.iter().any(|excluded| excluded.contains(net))
}
