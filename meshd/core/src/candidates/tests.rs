//! Tests of candidates: what is gathered, what is dialled, in which order.

use std::net::{IpAddr, SocketAddr};

use ipnet::{IpNet, Ipv6Net};
use mesh_proto::candidate::{Candidate, CandidateKind};
use mesh_proto::limits::{MAX_CANDIDATES, MAX_NODE_ADDRESSES};

use super::*;
use crate::filter::FilterProgram;
use crate::links::{Link, LinkAddress};

fn parse<T: std::str::FromStr<Err: std::fmt::Debug>>(list: &[&str]) -> Vec<T> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

fn mesh() -> Ipv6Net {
    "fd12:3456:789a:bcde::/64".parse().unwrap()
}

fn link(index: u32, name: &str, addresses: &[&str]) -> Link {
    let address = |text: &&str| LinkAddress {
        address: text.parse().unwrap(),
        global: true,
        temporary: false,
        unusable: false,
    };
    Link {
        index,
        name: name.to_owned(),
        kind: None,
        up: true,
        mtu: 1500,
        addresses: addresses.iter().map(address).collect(),
    }
}

#[test]
fn node_addresses_are_lasting_and_sorted() {
    let mut links = LinkSnapshot::default();
    links.links.push(link(
        2,
        "eth0",
        &[
            "2001:db8::9/64",
            "192.0.2.10/24",
            "10.0.0.10/8",
            "169.254.1.1/16",
            "fe80::1/64",
            "fd12:3456:789a:bcde::1/128",
        ],
    ));
    links
        .links
        .push(link(3, "eth1", &["10.0.0.9/24", "192.0.2.10/32"]));
    links.links.push(link(4, "docker0", &["172.17.0.1/16"]));
    links.links.push(link(5, "eth2", &["10.0.0.8/24"]));
    links.links[3].up = false;
    for (field, text) in [
        (0, "2001:db8::a/64"),
        (1, "2001:db8::b/64"),
        (2, "2001:db8::c/64"),
    ] {
        let mut address = link(0, "", &[text]).addresses[0];
        match field {
            0 => address.temporary = true,
            1 => address.unusable = true,
            _ => address.global = false,
        }
        links.links[0].addresses.push(address);
    }
    let found = node_addresses(&links, &["docker*".to_owned()], mesh());
    let expected = ["10.0.0.9", "10.0.0.10", "192.0.2.10", "2001:db8::9"];
    assert_eq!(found, parse::<IpAddr>(&expected));
}

#[test]
fn node_addresses_are_bounded_and_keep_those_of_the_uplink() {
    let many: Vec<String> = (0..100).map(|low| format!("10.0.0.{low}/24")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let links = LinkSnapshot {
        links: vec![link(1, "eth0", &many), link(2, "eth1", &["192.0.2.1/24"])],
        default_v4: Some(2),
        ..LinkSnapshot::default()
    };
    let found = node_addresses(&links, &[], mesh());
    assert_eq!(found.len(), MAX_NODE_ADDRESSES);
    assert!(found.contains(&"192.0.2.1".parse().unwrap()));
}

struct Known {
    local: Vec<IpAddr>,
    reflexive: Vec<SocketAddr>,
    observed: Vec<IpAddr>,
    fixed: Vec<SocketAddr>,
    networks: Vec<IpNet>,
    via_tunnel: Vec<IpNet>,
}

impl Known {
    fn new(local: &[&str], reflexive: &[&str], observed: &[&str], fixed: &[&str]) -> Self {
        Self {
            local: parse(local),
            reflexive: parse(reflexive),
            observed: parse(observed),
            fixed: parse(fixed),
            networks: Vec::new(),
            via_tunnel: Vec::new(),
        }
    }

    fn gather(&self, filter: Option<&[&str]>) -> Gathered {
        let filter = filter.map(|entries| FilterProgram::parse(entries).unwrap());
        let sources = CandidateSources {
            node_addresses: &self.local,
            listen_port: 51840,
            reflexive: &self.reflexive,
            observed: &self.observed,
            static_endpoints: &self.fixed,
            mesh_prefix: mesh(),
            own_networks: &self.networks,
            via_tunnel: &self.via_tunnel,
        };
        gather(&sources, filter.as_ref())
    }
}

fn shown(candidates: &[Candidate]) -> Vec<String> {
    candidates
        .iter()
        .map(|one| format!("{} {}", one.kind, one.address))
        .collect()
}

#[test]
fn kubespan_generation_case() {
    let known = Known::new(
        &[
            "172.20.0.2",
            "10.5.0.1",
            "192.168.192.168",
            "2001:123:4567::1",
        ],
        &[],
        &["1.1.1.1", "2001:123:4567::1"],
        &["10.5.0.1:51840", "1.2.3.4:5678"],
    );
    let gathered = known.gather(Some(&["0.0.0.0/0", "!192.168.0.0/16", "2001::/16"]));
    assert_eq!(
        shown(&gathered.advertised),
        [
            "local 172.20.0.2:51840",
            "local 10.5.0.1:51840",
            "observed 1.1.1.1:51840",
            "local [2001:123:4567::1]:51840",
            "static 1.2.3.4:5678",
        ]
    );
    assert_eq!(gathered.dropped.len(), 1);
    assert_eq!(gathered.dropped[0].1, DropReason::Filtered);
}

#[test]
fn order_without_a_filter_and_static_ones_unfiltered() {
    let known = Known::new(
        &["5.5.5.5", "10.0.0.1", "2001:db8::1"],
        &["203.0.113.7:4444", "10.0.0.1:51840"],
        &["203.0.113.7"],
        &["198.51.100.1:1"],
    );
    assert_eq!(
        shown(&known.gather(None).advertised),
        [
            "local 10.0.0.1:51840",
            "local 5.5.5.5:51840",
            "local [2001:db8::1]:51840",
            "reflexive 203.0.113.7:4444",
            "observed 203.0.113.7:51840",
            "static 198.51.100.1:1",
        ]
    );
    // The filter sees every kind but static ones; an address it removed can still be announced.
    let known = Known::new(
        &["10.0.0.1"],
        &["203.0.113.7:4444"],
        &["203.0.113.8"],
        &["10.0.0.1:51840"],
    );
    let gathered = known.gather(Some(&["203.0.113.8"]));
    assert_eq!(
        shown(&gathered.advertised),
        ["observed 203.0.113.8:51840", "static 10.0.0.1:51840"]
    );
    assert!(known.gather(Some(&["!0.0.0.0/0"])).advertised.len() == 1);
}

#[test]
fn harmful_candidates_are_dropped_with_a_reason() {
    let mut known = Known::new(
        &["10.0.0.1", "10.244.3.1", "10.9.0.1"],
        &["203.0.113.7:0", "[fd12:3456:789a:bcde::7]:51840"],
        &["127.0.0.1", "10.244.3.9"],
        &["0.0.0.0:51840", "10.244.3.1:51840"],
    );
    known.networks = parse(&["10.244.3.0/24"]);
    known.via_tunnel = parse(&["10.9.0.0/16"]);
    let gathered = known.gather(None);
    assert_eq!(
        shown(&gathered.advertised),
        [
            "local 10.0.0.1:51840",
            "observed 10.244.3.9:51840",
            "static 10.244.3.1:51840",
        ]
    );
    let mut reasons: Vec<DropReason> = gathered.dropped.iter().map(|(_, why)| *why).collect();
    reasons.sort_unstable();
    use DropReason::{MeshAddress, OwnNetwork, Unusable, ViaTunnel};
    assert_eq!(
        reasons,
        [
            Unusable,
            Unusable,
            Unusable,
            MeshAddress,
            OwnNetwork,
            ViaTunnel
        ]
    );
}

#[test]
fn the_bound_takes_local_ones_first() {
    let local: Vec<String> = (1..=40).map(|low| format!("10.0.0.{low}")).collect();
    let local: Vec<&str> = local.iter().map(String::as_str).collect();
    let known = Known::new(&local, &["203.0.113.7:4444"], &[], &["198.51.100.1:1"]);
    let gathered = known.gather(None);
    assert_eq!(gathered.advertised.len(), MAX_CANDIDATES);
    assert_eq!(
        shown(&gathered.advertised[13..]),
        [
            "local 10.0.0.14:51840",
            "reflexive 203.0.113.7:4444",
            "static 198.51.100.1:1"
        ]
    );
    assert_eq!(gathered.dropped.len(), 26);
}

fn context(own: &[IpAddr]) -> DialContext<'_> {
    DialContext {
        mesh_prefix: mesh(),
        own_addresses: own,
        via_tunnel: &[],
        has_v4: true,
        has_v6: true,
    }
}

fn candidates(list: &[&str]) -> Vec<Candidate> {
    let candidate = |address| Candidate {
        address,
        kind: CandidateKind::Local,
    };
    parse::<SocketAddr>(list)
        .into_iter()
        .map(candidate)
        .collect()
}

#[test]
fn own_filter_then_the_advertisers_order() {
    let peer = candidates(&[
        "203.0.113.1:1",
        "192.168.1.5:1",
        "10.0.0.1:1",
        "203.0.113.1:1",
        "[2001:db8::1]:1",
        "10.0.0.2:1",
    ]);
    let order = |filter: Option<&[&str]>| -> Vec<(String, bool, usize)> {
        let filter = filter.map(|entries| FilterProgram::parse(entries).unwrap());
        endpoints(&peer, filter.as_ref(), &context(&[]))
            .into_iter()
            .map(|one| {
                let class = if one.usable { one.class } else { 99 };
                (one.candidate.address.ip().to_string(), one.usable, class)
            })
            .collect()
    };
    let row = |ip: &str, usable, class| (ip.to_owned(), usable, class);
    assert_eq!(
        order(None),
        [
            row("203.0.113.1", true, 0),
            row("192.168.1.5", true, 0),
            row("10.0.0.1", true, 0),
            row("2001:db8::1", true, 0),
            row("10.0.0.2", true, 0),
        ]
    );
    assert_eq!(
        order(Some(&["10.0.0.0/8", "0.0.0.0/0", "!192.168.0.0/16"])),
        [
            row("10.0.0.1", true, 0),
            row("10.0.0.2", true, 0),
            row("203.0.113.1", true, 1),
            row("192.168.1.5", false, 99),
            row("2001:db8::1", false, 99),
        ]
    );
}

#[test]
fn every_refusal_has_its_reason() {
    let own = parse::<IpAddr>(&["10.0.0.9"]);
    let via = parse::<IpNet>(&["10.9.0.0/16"]);
    let context = DialContext {
        via_tunnel: &via,
        has_v6: false,
        ..context(&own)
    };
    let filter = FilterProgram::parse(&["0.0.0.0/0", "!192.0.2.0/24", "::/0"]).unwrap();
    for (address, usable, reason) in [
        (
            "10.0.0.1:1",
            true,
            "kept by filters.peerEndpoints[0]: 0.0.0.0/0",
        ),
        (
            "192.0.2.1:1",
            false,
            "refused by filters.peerEndpoints[1]: !192.0.2.0/24",
        ),
        ("10.0.0.9:1", false, "an address of this host"),
        ("10.9.1.1:1", false, "leaves by the tunnel"),
        ("127.0.0.1:1", false, "not an address"),
        ("10.0.0.1:0", false, "not an address"),
        ("[fd12:3456:789a:bcde::1]:1", false, "mesh's own"),
        ("[2001:db8::1]:1", false, "no IPv6"),
    ] {
        let ranked = endpoints(&candidates(&[address]), Some(&filter), &context);
        assert_eq!(ranked[0].usable, usable, "{address}");
        assert!(
            ranked[0].reason.contains(reason),
            "{address}: {}",
            ranked[0].reason
        );
    }
}
