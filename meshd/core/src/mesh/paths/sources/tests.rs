//! Tests of sources.

use mesh_proto::{Candidate, CandidateKind};

use super::*;
use crate::links::{Link, LinkAddress, LinkRoute};

fn links(addresses: &[(u32, &str)]) -> LinkSnapshot {
    let link = |(index, address): &(u32, &str)| Link {
        index: *index,
        name: format!("eth{index}"),
        kind: None,
        up: true,
        mtu: 1500,
        addresses: vec![LinkAddress {
            address: address.parse().unwrap(),
            global: true,
            temporary: false,
            unusable: false,
        }],
    };
    LinkSnapshot {
        links: addresses.iter().map(link).collect(),
        default_v4: Some(2),
        ..LinkSnapshot::default()
    }
}

fn sources(addresses: &[(u32, &str)]) -> Sources {
    routed(addresses, &[], &[])
}

fn routed(addresses: &[(u32, &str)], routes: &[(u32, &str)], ruled: &[&str]) -> Sources {
    let mut links = links(addresses);
    let route = |(link, prefix): &(u32, &str)| LinkRoute {
        prefix: prefix.parse().unwrap(),
        link: *link,
    };
    links.routes = routes.iter().map(route).collect();
    links.ruled_sources = ruled.iter().map(|net| net.parse().unwrap()).collect();
    let own: Vec<IpAddr> = addresses
        .iter()
        .map(|(_, address)| address.parse::<IpNet>().unwrap().addr())
        .collect();
    Sources::new(&links, &own, &["10.244.0.0/16".parse().unwrap()])
}

fn endpoint(address: &str) -> RankedEndpoint {
    RankedEndpoint {
        candidate: Candidate {
            address: address.parse().unwrap(),
            kind: CandidateKind::Local,
        },
        usable: true,
        class: 0,
        reason: String::new(),
    }
}

fn shown(sources: &Sources, endpoints: &[&str]) -> Vec<String> {
    let endpoints: Vec<_> = endpoints.iter().map(|one| endpoint(one)).collect();
    let paths = sources.paths(&endpoints);
    paths.iter().map(|path| path.id.to_string()).collect()
}

#[test]
fn two_cards_make_two_paths_to_each_endpoint() {
    let both = sources(&[(1, "10.0.1.5/24"), (2, "10.0.2.5/24")]);
    assert_eq!(
        shown(&both, &["192.0.2.1:1", "192.0.2.2:1"]),
        [
            "10.0.2.5 -> 192.0.2.1:1",
            "10.0.1.5 -> 192.0.2.1:1",
            "10.0.2.5 -> 192.0.2.2:1",
            "10.0.1.5 -> 192.0.2.2:1",
        ],
        "the default route's first"
    );
    assert_eq!(shown(&both, &["10.0.1.9:1"]), ["10.0.1.5 -> 10.0.1.9:1"]);
    assert_eq!(shown(&both, &["[2001:db8::1]:1"]), ["[2001:db8::1]:1"]);
}

#[test]
fn routes_choose_where_there_is_no_choice_or_more_than_we_see() {
    let one = sources(&[(2, "10.0.2.5/24"), (3, "10.244.3.1/24")]);
    assert_eq!(shown(&one, &["192.0.2.1:1"]), ["192.0.2.1:1"]);
    let hidden = sources(&[(3, "10.0.3.5/24"), (4, "10.0.4.5/24")]);
    assert_eq!(shown(&hidden, &["192.0.2.1:1"])[0], "192.0.2.1:1");
    let arrival = PathId {
        local: Some([10, 0, 2, 5].into()),
        remote: "192.0.2.1:1".parse().unwrap(),
    };
    assert_eq!(one.learned(arrival).local, None);
    assert_eq!(hidden.learned(arrival), arrival);
}

#[test]
fn paths_are_bounded_and_every_endpoint_has_one() {
    let many: Vec<(u32, String)> = (0..9).map(|n| (n, format!("10.0.{n}.5/24"))).collect();
    let many: Vec<(u32, &str)> = many.iter().map(|(n, a)| (*n, a.as_str())).collect();
    let sources = sources(&many);
    let endpoints: Vec<_> = (1..=16)
        .map(|n| endpoint(&format!("192.0.2.{n}:1")))
        .collect();
    let paths = sources.paths(&endpoints);
    assert_eq!(paths.len(), MAX_PATHS);
    let mut remotes: Vec<_> = paths.iter().map(|path| path.id.remote).collect();
    remotes.dedup();
    assert_eq!(remotes.len(), 16);
}

#[test]
fn addresses_whose_link_leads_elsewhere_make_no_paths() {
    let cards = [(1, "10.0.1.5/24"), (2, "10.0.2.5/24")];
    let apart = [
        (1, "198.51.100.0/24"),
        (2, "192.0.2.0/25"),
        (2, "192.0.2.128/25"),
    ];
    let endpoints = ["192.0.2.1:1", "198.51.100.1:1", "203.0.113.1:1"];
    assert_eq!(
        shown(&routed(&cards, &apart, &[]), &endpoints),
        [
            "10.0.2.5 -> 192.0.2.1:1",
            "10.0.1.5 -> 198.51.100.1:1",
            "203.0.113.1:1",
        ],
        "without any route the host has the last word"
    );
    let both = [(1, "0.0.0.0/0"), (2, "0.0.0.0/0")];
    assert_eq!(
        shown(&routed(&cards, &both, &[]), &["192.0.2.1:1"]).len(),
        2
    );
    let one = [(2, "0.0.0.0/0")];
    assert_eq!(
        shown(&routed(&cards, &one, &[]), &["192.0.2.1:1"]),
        ["10.0.2.5 -> 192.0.2.1:1"]
    );
    assert_eq!(
        shown(&routed(&cards, &one, &["10.0.1.0/24"]), &["192.0.2.1:1"]).len(),
        2,
        "rules of the host may lead it out"
    );
}

#[test]
fn the_engine_hears_where_links_lead_in_few_prefixes() {
    let cards = [(1, "10.0.1.5/24"), (2, "10.0.2.5/24")];
    let routes = [
        (1, "0.0.0.0/0"),
        (1, "198.51.100.0/24"),
        (1, "::/0"),
        (2, "192.0.2.0/25"),
        (2, "192.0.2.128/25"),
    ];
    let links = routed(&cards, &routes, &["10.0.1.5/32"]).links();
    let shown: Vec<_> = links
        .iter()
        .map(|source| (source.address.to_string(), source.link, &source.leads[..]))
        .collect();
    let joined = ["192.0.2.0/24".parse().unwrap()];
    assert_eq!(shown, [("10.0.2.5".to_owned(), 2, &joined[..])]);
    let free = routed(&cards, &routes, &[]).links();
    assert_eq!(free[1].leads[..], ["0.0.0.0/0".parse().unwrap()]);
    let many: Vec<(u32, String)> = (0..200).map(|n| (2, format!("100.{n}.0.0/24"))).collect();
    let many: Vec<(u32, &str)> = many
        .iter()
        .map(|(link, net)| (*link, net.as_str()))
        .collect();
    assert_eq!(routed(&cards, &many, &[]).links()[0].leads.len(), MAX_LEADS);
}

#[test]
fn new_routes_are_no_new_addresses() {
    let cards = [(1, "10.0.1.5/24"), (2, "10.0.2.5/24")];
    let before = routed(&cards, &[(1, "0.0.0.0/0")], &[]);
    let after = routed(&cards, &[(1, "0.0.0.0/0"), (2, "0.0.0.0/0")], &[]);
    assert!(before != after && before.same_addresses(&after));
    let moved = routed(&[(1, "10.0.1.6/24"), cards[1]], &[(1, "0.0.0.0/0")], &[]);
    assert!(!before.same_addresses(&moved));
}
