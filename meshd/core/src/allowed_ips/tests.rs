//! Tables of claims: what is routed where, what is refused, who wins.

use super::*;
use mesh_proto::WgPublicKey;

pub(super) fn nets(list: &[&str]) -> Vec<IpNet> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

fn ips(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

pub(super) fn id(number: u8) -> MemberId {
    MemberId([number; 32])
}

pub(super) fn mesh_address(number: u8) -> Ipv6Addr {
    format!("fd12:3456:789a:bcde::{number:x}").parse().unwrap()
}

/// A member, owned; fields are changed where a test needs it.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) number: u8,
    pub(super) node_addresses: Vec<IpAddr>,
    pub(super) networks: Vec<IpNet>,
    pub(super) exclude: Vec<IpNet>,
    pub(super) alive: bool,
    pub(super) fresh: bool,
    pub(super) first_seen_ms: u64,
    pub(super) tunnel: bool,
}

impl Member {
    fn new(number: u8, node_addresses: &[&str], networks: &[&str]) -> Self {
        Self {
            number,
            node_addresses: ips(node_addresses),
            networks: nets(networks),
            exclude: Vec::new(),
            alive: true,
            fresh: true,
            first_seen_ms: u64::from(number),
            tunnel: true,
        }
    }

    pub(super) fn claim(&self) -> Claim<'_> {
        Claim {
            member: id(self.number),
            node_addresses: &self.node_addresses,
            networks: &self.networks,
            exclude: &self.exclude,
            mesh_address: mesh_address(self.number),
            alive: self.alive,
            fresh: self.fresh,
            first_seen_ms: self.first_seen_ms,
            tunnel: self.tunnel,
        }
    }
}

pub(super) fn view<'a>() -> LocalView<'a> {
    LocalView {
        on_link: &[],
        own_addresses: &[],
        own_networks: &[],
        accept_wide: &[],
        peer_networks: None,
        exclude: &[],
        mesh_prefix: "fd12:3456:789a:bcde::/64".parse().unwrap(),
        external: &[],
    }
}

fn settle(members: &[Member], view: &LocalView<'_>) -> Resolution {
    let claims: Vec<Claim<'_>> = members.iter().map(Member::claim).collect();
    resolve(&claims, view, &BTreeMap::new())
}

/// Allowed IPs without the mesh address.
fn allowed(resolution: &Resolution, number: u8) -> Vec<IpNet> {
    let mesh = IpNet::from(IpAddr::V6(mesh_address(number)));
    let all = &resolution.allowed[&id(number)];
    assert!(all.contains(&mesh), "the mesh address is always there");
    all.iter().copied().filter(|net| *net != mesh).collect()
}

fn refused(resolution: &Resolution, number: u8) -> Vec<String> {
    let list = resolution.refused.get(&id(number));
    list.into_iter()
        .flatten()
        .map(|one| format!("{}: {}", one.prefix, one.reason))
        .collect()
}

#[test]
fn kubespan_exclusion_case() {
    let member = Member::new(1, &["192.168.3.4"], &["10.244.3.1/24", "10.244.3.0/32"]);
    let exclude = nets(&["10.244.3.128/25"]);
    let expected = nets(&["10.244.3.0/25", "10.244.3.0/32", "192.168.3.4/32"]);
    let mine = LocalView {
        exclude: &exclude,
        ..view()
    };
    assert_eq!(
        allowed(&settle(std::slice::from_ref(&member), &mine), 1),
        expected
    );
    // The same when the peer excludes.
    let theirs = Member {
        exclude: exclude.clone(),
        ..member
    };
    assert_eq!(allowed(&settle(&[theirs], &view()), 1), expected);
}

#[test]
fn excluded_prefixes_are_reported_and_mesh_addresses_stay() {
    let member = Member::new(1, &["10.0.0.1"], &["10.244.3.0/24"]);
    let exclude = nets(&["0.0.0.0/0", "::/0"]);
    let mine = LocalView {
        exclude: &exclude,
        ..view()
    };
    let resolution = settle(&[member], &mine);
    assert_eq!(allowed(&resolution, 1), []);
    assert_eq!(refused(&resolution, 1).len(), 2);
    assert!(refused(&resolution, 1)[0].contains("this node's filters.excludeAdvertisedNetworks"));
}

#[test]
fn claims_that_are_always_refused() {
    let on_link = nets(&["192.168.1.0/24"]);
    let own_addresses = ips(&["192.168.1.10", "203.0.113.9"]);
    let own_networks = nets(&["10.244.9.0/24"]);
    let accept_wide = nets(&["16.0.0.0/4"]);
    let filter = FilterProgram::parse(&["0.0.0.0/0", "::/0", "!10.66.0.0/16"]).unwrap();
    let view = LocalView {
        on_link: &on_link,
        own_addresses: &own_addresses,
        own_networks: &own_networks,
        accept_wide: &accept_wide,
        peer_networks: Some(&filter),
        ..view()
    };
    for (network, reason) in [
        ("0.0.0.0/0", Some("acceptWide")),
        ("::/0", Some("acceptWide")),
        ("10.0.0.0/7", Some("acceptWide")),
        ("10.0.0.0/8", Some("filters.peerNetworks")),
        ("11.0.0.0/8", None),
        ("16.0.0.0/4", None),
        ("2000::/15", Some("acceptWide")),
        ("2001::/16", None),
        ("192.168.1.0/24", Some("directly connected")),
        ("192.168.1.128/25", Some("directly connected")),
        ("192.168.0.0/16", None),
        ("192.168.1.10/32", Some("address of this node")),
        ("203.0.113.9/32", Some("address of this node")),
        ("203.0.113.0/24", None),
        ("10.244.9.0/24", Some("advertises itself")),
        ("10.244.9.7/32", Some("advertises itself")),
        ("127.0.0.0/8", Some("no single host")),
        ("169.254.169.254/32", Some("no single host")),
        ("224.0.0.0/8", Some("no single host")),
        ("255.255.255.255/32", Some("no single host")),
        ("::1/128", Some("no single host")),
        ("fe80::/64", Some("no single host")),
        ("ff02::/16", Some("no single host")),
        ("::ffff:10.0.0.0/104", Some("no single host")),
        ("fd12:3456:789a:bcde::7/128", Some("mesh address")),
        ("fd12:3456:789a:bcde::/64", Some("mesh address")),
        ("fd12:3456:789a:bcde::1/128", None),
        ("10.66.3.0/24", Some("filters.peerNetworks")),
    ] {
        let resolution = settle(&[Member::new(1, &[], &[network])], &view);
        match reason {
            None => assert_eq!(refused(&resolution, 1), [""; 0], "{network}"),
            Some(reason) => {
                assert_eq!(allowed(&resolution, 1), [], "{network}");
                let refused = refused(&resolution, 1);
                assert!(refused[0].contains(reason), "{network}: {refused:?}");
            }
        }
    }
}

#[test]
fn node_addresses_are_checked_like_networks() {
    let on_link = nets(&["192.168.1.0/24"]);
    let view = LocalView {
        on_link: &on_link,
        ..view()
    };
    let resolution = settle(
        &[Member::new(1, &["192.168.1.7", "198.51.100.7"], &[])],
        &view,
    );
    assert_eq!(allowed(&resolution, 1), nets(&["198.51.100.7/32"]));
    assert_eq!(refused(&resolution, 1).len(), 1);
}

#[test]
fn partial_overlap_is_no_contest() {
    let a = Member::new(1, &[], &["10.244.3.0/24"]);
    let b = Member::new(2, &["10.244.3.7"], &["10.244.2.0/23"]);
    let resolution = settle(&[a, b], &view());
    assert_eq!(allowed(&resolution, 1), nets(&["10.244.3.0/24"]));
    assert_eq!(
        allowed(&resolution, 2),
        nets(&["10.244.2.0/23", "10.244.3.7/32"])
    );
    assert!(resolution.refused.is_empty() && resolution.contested.is_empty());
}

#[test]
fn an_own_address_beats_an_advertised_one() {
    let a = Member::new(1, &[], &["10.0.0.5/32"]);
    let b = Member {
        alive: false,
        ..Member::new(2, &["10.0.0.5"], &[])
    };
    let resolution = settle(&[a, b], &view());
    assert_eq!(allowed(&resolution, 2), nets(&["10.0.0.5/32"]));
    assert!(refused(&resolution, 1)[0].contains("020202, whose own address it is"));
}

#[test]
fn contests_go_to_the_living_then_the_fresh_then_the_first() {
    let net = nets(&["10.244.1.0/24"])[0];
    let at = |number, alive, fresh| Member {
        alive,
        fresh,
        ..Member::new(number, &[], &["10.244.1.0/24"])
    };
    // (owner before, [alive, fresh] of members 1 and 2, owner after)
    let table = [
        (None, [(true, true), (true, true)], 1),
        (None, [(false, true), (true, true)], 2),
        (None, [(false, false), (false, true)], 2),
        (None, [(false, false), (false, false)], 1),
        (Some(2), [(true, true), (true, true)], 2),
        (Some(2), [(true, true), (true, false)], 2),
        (Some(2), [(true, true), (false, true)], 1),
        (Some(2), [(false, true), (false, true)], 2),
        (Some(2), [(false, true), (false, false)], 1),
        (Some(2), [(false, false), (false, false)], 2),
        (Some(9), [(true, true), (true, true)], 1),
    ];
    for (before, [a, b], after) in table {
        let members = [at(1, a.0, a.1), at(2, b.0, b.1)];
        let claims: Vec<Claim<'_>> = members.iter().map(Member::claim).collect();
        let previous = before.map(|number| (net, id(number))).into_iter().collect();
        let resolution = resolve(&claims, &view(), &previous);
        assert_eq!(resolution.owners[&net], id(after), "{before:?} {a:?} {b:?}");
        assert_eq!(allowed(&resolution, after), [net]);
        assert_eq!(allowed(&resolution, 3 - after), []);
        assert!(refused(&resolution, 3 - after)[0].contains("contested"));
        assert!(resolution.contested.contains(&net));
    }
}

#[test]
fn a_later_claim_takes_nothing_from_the_sole_owner() {
    let net = nets(&["10.244.1.0/24"])[0];
    let owner = Member::new(2, &[], &["10.244.1.0/24"]);
    let before = settle(std::slice::from_ref(&owner), &view());
    assert!(before.contested.is_empty());
    let earlier = Member::new(1, &[], &["10.244.1.0/24"]);
    let after = resolve(&[earlier.claim(), owner.claim()], &view(), &before.owners);
    assert_eq!(after.owners[&net], id(2));
}

#[test]
fn same_zone_members_claim_too_and_stay_native() {
    let on_link = nets(&["10.1.0.0/16"]);
    let view = LocalView {
        on_link: &on_link,
        ..view()
    };
    let neighbour = Member {
        tunnel: false,
        ..Member::new(1, &["10.1.0.5"], &["10.244.1.0/24"])
    };
    let peer = Member::new(2, &["10.2.0.5"], &["10.244.1.0/24", "10.244.2.0/24"]);
    let resolution = settle(&[neighbour, peer], &view);
    assert_eq!(
        resolution.native.iter().copied().collect::<Vec<_>>(),
        nets(&["10.1.0.5/32", "10.244.1.0/24"])
    );
    assert!(!resolution.allowed.contains_key(&id(1)));
    assert_eq!(
        allowed(&resolution, 2),
        nets(&["10.2.0.5/32", "10.244.2.0/24"])
    );
    assert!(refused(&resolution, 2)[0].contains("in this zone"));
}

#[test]
fn external_peers_stand_before_members() {
    let external = |name: &str, allowed_ips: &[&str]| ExternalPeer {
        name: name.to_owned(),
        public_key: WgPublicKey([9; 32]),
        preshared_key: None,
        allowed_ips: nets(allowed_ips),
        endpoint: None,
    };
    let peers = [
        external("phone", &["10.9.0.2/32", "fd12:3456:789a:bcde::9/128"]),
        external("laptop", &["10.9.0.2/32", "10.9.0.3/24"]),
    ];
    let view = LocalView {
        external: &peers,
        ..view()
    };
    let resolution = settle(&[Member::new(1, &["10.9.0.2"], &["10.9.0.0/24"])], &view);
    assert_eq!(resolution.external["phone"], nets(&["10.9.0.2/32"]));
    assert_eq!(resolution.external["laptop"], nets(&["10.9.0.0/24"]));
    assert_eq!(resolution.external_refused["phone"].len(), 1);
    assert_eq!(resolution.external_refused["laptop"].len(), 1);
    assert_eq!(allowed(&resolution, 1), []);
    assert!(refused(&resolution, 1)[0].contains("external peer laptop"));
    assert!(refused(&resolution, 1)[1].contains("external peer phone"));
}

#[test]
fn pieces_are_bounded() {
    let mut member = Member::new(1, &["10.0.0.1"], &["fd00::/16", "2001::/16"]);
    member.exclude = (0..128u128)
        .map(|step| {
            IpNet::from(IpAddr::from(
                ((0xfd00 << 112) + (step << 100)).to_be_bytes(),
            ))
        })
        .collect();
    let resolution = settle(&[member], &view());
    assert_eq!(allowed(&resolution, 1), nets(&["10.0.0.1/32", "2001::/16"]));
    assert!(refused(&resolution, 1)[0].contains("over the bound"));
}
