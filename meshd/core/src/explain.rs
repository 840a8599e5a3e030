//! Explain: what our rules and table do with a packet. Knows nothing of the host's other rules, nor of
//! its own addresses but those of the tunnel interface.

use std::cmp::Reverse;
use std::net::IpAddr;

use mesh_proto::control::ExplainVerdict;

use crate::network::{Family, NetworkState, Route, RouteKind, Rule, RuleSelector};

/// What becomes of an unmarked packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup<'a> {
    /// What happens. `Local` only for addresses of the tunnel interface.
    pub verdict: ExplainVerdict,
    /// The rule whose table has a route to the address, a throw route included; none if the host's own
    /// rules are the first to have one.
    pub rule: Option<&'a Rule>,
    /// That route: the longest prefix, then the lowest metric.
    pub route: Option<&'a Route>,
    /// Rules asked earlier that send certain packets to this address by the host's own routes.
    pub exceptions: Vec<&'a Rule>,
}

/// Looks up `address` as the kernel would for a packet without our mark.
#[must_use]
pub fn lookup(network: &NetworkState, address: IpAddr) -> Lookup<'_> {
    let address = address.to_canonical();
    let mut found = Lookup {
        verdict: ExplainVerdict::Native,
        rule: None,
        route: None,
        exceptions: Vec::new(),
    };
    if network.addresses.iter().any(|own| own.addr() == address) {
        found.verdict = ExplainVerdict::Local;
        return found;
    }
    let family = Family::of(address);
    for rule in network.rules.iter().filter(|rule| rule.family == family) {
        match rule.selector {
            RuleSelector::SourcePort { .. } => found.exceptions.push(rule),
            RuleSelector::Destination { address: to, .. } if to == address => {
                found.exceptions.push(rule);
            }
            RuleSelector::Destination { .. } => {}
            RuleSelector::NotMark { .. } => {
                found.route = route_to(network, address);
                found.rule = found.route.map(|_| rule);
                found.verdict = found.route.map_or(ExplainVerdict::Native, verdict);
                break;
            }
        }
    }
    found
}

fn route_to(network: &NetworkState, address: IpAddr) -> Option<&Route> {
    let matching = network
        .routes
        .iter()
        .filter(|route| route.prefix.contains(&address));
    matching.min_by_key(|route| (Reverse(route.prefix.prefix_len()), route.metric))
}

const fn verdict(route: &Route) -> ExplainVerdict {
    match route.kind {
        RouteKind::Tunnel { .. } => ExplainVerdict::Tunnel,
        RouteKind::Throw => ExplainVerdict::Native,
        RouteKind::Unreachable => ExplainVerdict::Unreachable,
    }
}
