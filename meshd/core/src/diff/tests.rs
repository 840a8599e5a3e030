//! Tests of the difference: it arrives, it is minimal, and nothing leaves in clear on the way.

use std::net::IpAddr;

use mesh_proto::control::ExplainVerdict;
use proptest::prelude::*;

use super::*;
use crate::explain::lookup;
use crate::network::{Family, IpProtocol, RuleSelector, TABLE_MAIN};

fn apply(state: &mut NetworkState, change: Change) {
    let done = match change {
        Change::AddAddress(address) => state.addresses.insert(address),
        Change::RemoveAddress(address) => state.addresses.remove(&address),
        Change::SetMtu(mtu) => std::mem::replace(&mut state.mtu, mtu) != mtu,
        Change::AddRoute(route) => {
            // As in the kernel: one route of a prefix and metric.
            let key = (route.prefix, route.metric);
            let mut routes = state.routes.iter();
            let free = routes.all(|other| (other.prefix, other.metric) != key);
            free && state.routes.insert(route)
        }
        Change::RemoveRoute(route) => state.routes.remove(&route),
        Change::AddRule(rule) => state.rules.insert(rule),
        Change::RemoveRule(rule) => state.rules.remove(&rule),
    };
    assert!(done, "{change} does nothing");
}

fn v4(low: u32) -> IpAddr {
    IpAddr::from((0x0a00_0000 + low).to_be_bytes())
}

fn net() -> impl Strategy<Value = IpNet> {
    (0u32..16, 28u8..=32).prop_map(|(low, length)| IpNet::new(v4(low), length).unwrap().trunc())
}

/// Routes as a plan makes them: throw, tunnel and unreachable, or unreachable alone.
fn routes() -> impl Strategy<Value = BTreeSet<Route>> {
    let source = prop_oneof![Just(None), (20u32..22).prop_map(|low| Some(v4(low)))];
    let kinds = prop::collection::btree_map(net(), (0u8..3, source), 0..8);
    kinds.prop_map(|kinds| {
        let mut routes = BTreeSet::new();
        for (prefix, (kind, source)) in kinds {
            let mut insert = |metric, kind| {
                routes.insert(Route {
                    prefix,
                    metric,
                    kind,
                });
            };
            match kind {
                0 => insert(5, RouteKind::Throw),
                1 => insert(20, RouteKind::Unreachable),
                _ => {
                    insert(10, RouteKind::Tunnel { source });
                    insert(20, RouteKind::Unreachable);
                }
            }
        }
        routes
    })
}

fn rule(priority: u32, selector: RuleSelector, table: u32) -> Rule {
    Rule {
        family: Family::V4,
        priority,
        selector,
        table,
    }
}

fn mark_rule() -> Rule {
    let selector = RuleSelector::NotMark {
        mark: 0x1000,
        mask: 0x1000,
    };
    rule(503, selector, 5184)
}

fn port_rule(port: u16) -> Rule {
    let protocol = IpProtocol::Udp;
    rule(502, RuleSelector::SourcePort { protocol, port }, TABLE_MAIN)
}

prop_compose! {
    fn state()(
        addresses in prop::collection::btree_set(net(), 0..3),
        mtu in 1280u32..1284,
        routes in routes(),
        ports in prop::collection::btree_set(1u16..5, 0..3),
        marked in any::<bool>(),
    ) -> NetworkState {
        let mut rules: BTreeSet<Rule> = ports.into_iter().map(port_rule).collect();
        rules.extend(marked.then(mark_rule));
        NetworkState { addresses, mtu, routes, rules }
    }
}

proptest! {
    #[test]
    fn arrives_with_the_fewest_changes(desired in state(), observed in state()) {
        let changes = diff(&desired, &observed);
        let fewest = desired.addresses.symmetric_difference(&observed.addresses).count()
            + desired.routes.symmetric_difference(&observed.routes).count()
            + desired.rules.symmetric_difference(&observed.rules).count()
            + usize::from(desired.mtu != observed.mtu);
        prop_assert_eq!(changes.len(), fewest);
        let mut state = observed;
        for change in changes {
            apply(&mut state, change);
        }
        prop_assert_eq!(&state, &desired);
        prop_assert!(diff(&desired, &state).is_empty());
    }

    #[test]
    fn what_is_closed_before_and_after_is_closed_in_between(
        mut desired in state(),
        mut observed in state(),
        low in 0u32..16,
    ) {
        for state in [&mut desired, &mut observed] {
            state.addresses.clear();
            state.rules.insert(mark_rule());
        }
        let clear = |state: &NetworkState| {
            lookup(state, v4(low)).verdict == ExplainVerdict::Native
        };
        let closed = !clear(&observed) && !clear(&desired);
        let mut state = observed.clone();
        for change in diff(&desired, &observed) {
            apply(&mut state, change);
            prop_assert!(!(closed && clear(&state)), "in clear after {}", change);
        }
    }
}

#[test]
fn exceptions_come_first_and_go_last() {
    let desired = NetworkState {
        rules: BTreeSet::from([mark_rule(), port_rule(7), port_rule(8)]),
        ..NetworkState::default()
    };
    let empty = NetworkState::default();
    let shown =
        |changes: Vec<Change>| -> Vec<String> { changes.iter().map(ToString::to_string).collect() };
    assert_eq!(
        shown(diff(&desired, &empty)),
        [
            "add rule 502: ipproto udp sport 7 lookup main",
            "add rule 502: ipproto udp sport 8 lookup main",
            "add rule 503: not fwmark 0x1000/0x1000 lookup 5184",
        ]
    );
    let removed = diff(&empty, &desired);
    assert_eq!(removed[0], Change::RemoveRule(mark_rule()));
    assert_eq!(removed.len(), 3);
}

#[test]
fn a_changed_source_replaces_the_route() {
    let prefix: IpNet = "10.2.0.0/16".parse().unwrap();
    let with_source = |low| {
        let source = Some(v4(low));
        let tunnel = Route {
            prefix,
            metric: 10,
            kind: RouteKind::Tunnel { source },
        };
        NetworkState {
            routes: BTreeSet::from([tunnel]),
            ..NetworkState::default()
        }
    };
    let changes = diff(&with_source(2), &with_source(1));
    assert!(matches!(
        changes[..],
        [Change::RemoveRoute(_), Change::AddRoute(_)]
    ));
}
