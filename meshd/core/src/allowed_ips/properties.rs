//! Properties that hold for any claims.

use proptest::prelude::*;

use super::tests::{Member, id, view};
use super::*;

/// Ranges close together, so that they meet.
fn net() -> impl Strategy<Value = IpNet> {
    (0u32..64, 26u8..=32).prop_map(|(low, length)| {
        let address = IpAddr::from((0x0a00_0000 + low).to_be_bytes());
        IpNet::new(address, length).unwrap().trunc()
    })
}

prop_compose! {
    fn member()(
        nodes in prop::collection::vec(net(), 0..3),
        networks in prop::collection::vec(net(), 0..4),
        exclude in prop::collection::vec(net(), 0..2),
        (alive, fresh, tunnel) in any::<(bool, bool, bool)>(),
        first_seen_ms in 0u64..4,
    ) -> Member {
        Member {
            number: 0,
            node_addresses: nodes.into_iter().map(|net| net.addr()).collect(),
            networks,
            exclude,
            alive,
            fresh,
            first_seen_ms,
            tunnel,
        }
    }
}

fn members() -> impl Strategy<Value = Vec<Member>> {
    prop::collection::vec(member(), 0..6).prop_map(|mut members| {
        for (number, member) in (1..).zip(&mut members) {
            member.number = number;
        }
        members
    })
}

proptest! {
    #[test]
    fn invariants(
        members in members(),
        exclude in prop::collection::vec(net(), 0..2),
        own_networks in prop::collection::vec(net(), 0..2),
        rotate in 0usize..6,
        probe in 0u32..64,
    ) {
        let view = LocalView { exclude: &exclude, own_networks: &own_networks, ..view() };
        let mut claims: Vec<Claim<'_>> = members.iter().map(Member::claim).collect();
        let resolution = resolve(&claims, &view, &BTreeMap::new());

        // No prefix stands in two places.
        let native = resolution.native.iter();
        let all: Vec<&IpNet> = resolution.allowed.values().flatten().chain(native).collect();
        let distinct: BTreeSet<&IpNet> = all.iter().copied().collect();
        prop_assert_eq!(all.len(), distinct.len());

        // The order of claims does not matter.
        claims.rotate_left(rotate.min(members.len()));
        prop_assert_eq!(&resolve(&claims, &view, &BTreeMap::new()), &resolution);

        // Settled is settled: handing the owners in again changes nothing.
        prop_assert_eq!(&resolve(&claims, &view, &resolution.owners), &resolution);

        let probe = IpAddr::from((0x0a00_0000 + probe).to_be_bytes());
        for member in &members {
            let routed = resolution.allowed.get(&id(member.number));
            let routed = routed.is_some_and(|nets| nets.iter().any(|net| net.contains(&probe)));
            let excluded = exclude.iter().chain(&member.exclude).any(|net| net.contains(&probe));
            prop_assert!(!(routed && excluded), "{} is excluded", probe);
            // What is claimed is routed, native, excluded, or refused with a reason.
            let claimed = member.networks.iter().any(|net| net.contains(&probe))
                || member.node_addresses.contains(&probe);
            let refused = resolution.refused.get(&id(member.number));
            let refused = refused.is_some_and(|list| {
                list.iter().any(|one| one.prefix.contains(&probe) && !one.reason.is_empty())
            });
            let native = resolution.native.iter().any(|net| net.contains(&probe));
            prop_assert!(!claimed || routed || native || excluded || refused);
        }
    }

    #[test]
    fn an_owner_that_lives_keeps_its_networks(before in members(), changes in members()) {
        let claims: Vec<Claim<'_>> = before.iter().map(Member::claim).collect();
        let first = resolve(&claims, &view(), &BTreeMap::new());
        // Everybody's life changes, and newcomers come.
        let mut after = before.clone();
        for (member, change) in after.iter_mut().zip(&changes) {
            (member.alive, member.fresh) = (change.alive, change.fresh);
        }
        after.extend(changes.into_iter().map(|mut newcomer| {
            newcomer.number += 100;
            newcomer.node_addresses.clear();
            newcomer
        }));
        let claims: Vec<Claim<'_>> = after.iter().map(Member::claim).collect();
        let second = resolve(&claims, &view(), &first.owners);
        for (net, owner) in &first.owners {
            let owner = after.iter().find(|member| id(member.number) == *owner).unwrap();
            if owner.alive {
                prop_assert_eq!(second.owners[net], id(owner.number), "{}", net);
            }
        }
    }
}
