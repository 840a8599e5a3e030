//! Allowed IPs: which prefix is routed to which peer, with conflicts resolved. Cryptokey routing and
//! the route table both follow it; endpoint filters have no say here.
//!
//! Only identical prefixes are contested: where one lies inside another, the longer one wins by itself.

mod check;
mod contest;
mod subtract;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};
use mesh_proto::MemberId;
use mesh_proto::control::RefusedPrefix;

use crate::filter::FilterProgram;
use crate::settings::ExternalPeer;
pub(crate) use check::is_wide;
use check::{external_refusal, refusal};
use contest::{Class, Contender, winner};
use subtract::subtract;

/// Prefixes one member may have after exclusions cut them up; what goes beyond is refused.
pub const MAX_PREFIXES_PER_MEMBER: usize = 1024;

/// What one member claims. Same-zone members claim too: their prefixes stay native.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// Who.
    pub member: MemberId,
    /// Its own addresses.
    pub node_addresses: &'a [IpAddr],
    /// Networks it advertises.
    pub networks: &'a [IpNet],
    /// Its `excludeAdvertisedNetworks`.
    pub exclude: &'a [IpNet],
    /// Its mesh address, computed, not claimed.
    pub mesh_address: Ipv6Addr,
    /// The data plane says it lives.
    pub alive: bool,
    /// Its lease is live at a server.
    pub fresh: bool,
    /// When this node first heard of it, milliseconds since 1970.
    pub first_seen_ms: u64,
    /// True for a peer, false for a same-zone member.
    pub tunnel: bool,
}

/// What this node says to claims.
#[derive(Debug, Clone, Copy)]
pub struct LocalView<'a> {
    /// Directly connected prefixes.
    pub on_link: &'a [IpNet],
    /// Addresses of this host, ignored interfaces included.
    pub own_addresses: &'a [IpAddr],
    /// `networks.advertise`.
    pub own_networks: &'a [IpNet],
    /// `networks.acceptWide`.
    pub accept_wide: &'a [IpNet],
    /// `filters.peerNetworks`; node addresses have to pass it too.
    pub peer_networks: Option<&'a FilterProgram>,
    /// `filters.excludeAdvertisedNetworks`.
    pub exclude: &'a [IpNet],
    /// The mesh's ULA.
    pub mesh_prefix: Ipv6Net,
    /// Stock WireGuard peers: their configured prefixes win over a member's identical ones.
    pub external: &'a [ExternalPeer],
}

/// The outcome.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resolution {
    /// Allowed IPs of each peer, sorted; no prefix stands in two lists. Every claim with `tunnel` has
    /// an entry, which holds at least its mesh address.
    pub allowed: BTreeMap<MemberId, Vec<IpNet>>,
    /// Claimed prefixes that are not routed to (or native for) the claimant, sorted, with the reason.
    pub refused: BTreeMap<MemberId, Vec<RefusedPrefix>>,
    /// Allowed IPs of external peers by name, sorted.
    pub external: BTreeMap<String, Vec<IpNet>>,
    /// Configured prefixes of external peers that are not routed to them, in the order written.
    pub external_refused: BTreeMap<String, Vec<RefusedPrefix>>,
    /// Owners of all advertised networks and of contested addresses: to be persisted and handed in
    /// again. A network that nobody contests has its owner too, so that a later claim by a member that
    /// was registered earlier does not take it away.
    pub owners: BTreeMap<IpNet, MemberId>,
    /// Prefixes that several members claim.
    pub contested: BTreeSet<IpNet>,
    /// Prefixes of same-zone members: the host's own routes decide.
    pub native: BTreeSet<IpNet>,
}

/// Settles all claims. The order of `claims` does not matter.
///
/// An identical prefix goes to an external peer, else to the member whose own address it is, else to one
/// that is alive, else fresh. Among equals the previous owner keeps it; without one the first
/// registered gets it.
#[must_use]
pub fn resolve(
    claims: &[Claim<'_>],
    view: &LocalView<'_>,
    previous_owners: &BTreeMap<IpNet, MemberId>,
) -> Resolution {
    let mut resolution = Resolution::default();
    let external = settle_external(view, &mut resolution);
    let mut contenders: Vec<Contender> = Vec::new();
    for claim in claims {
        let admitted = resolution.admit(claim, view);
        let contender = |(prefix, class)| Contender::new(claim, prefix, class);
        contenders.extend(admitted.into_iter().map(contender));
    }
    contenders.sort_unstable_by_key(|one| (one.prefix, one.member, one.class));
    contenders.dedup_by_key(|one| (one.prefix, one.member));
    for contenders in contenders.chunk_by(|one, other| one.prefix == other.prefix) {
        let prefix = contenders[0].prefix;
        match external.get(&prefix) {
            Some(name) => {
                for one in contenders {
                    let reason = format!("configured for the external peer {name}");
                    resolution.refuse(one.member, prefix, reason);
                }
            }
            None => resolution.award(prefix, contenders, previous_owners.get(&prefix)),
        }
    }
    resolution.sort();
    resolution
}

/// External peers' prefixes come from this node's own configuration and stand before any claim.
fn settle_external<'a>(
    view: &LocalView<'a>,
    resolution: &mut Resolution,
) -> BTreeMap<IpNet, &'a str> {
    let mut owners: BTreeMap<IpNet, &str> = BTreeMap::new();
    for peer in view.external {
        let allowed = resolution.external.entry(peer.name.clone()).or_default();
        for prefix in peer.allowed_ips.iter().map(IpNet::trunc) {
            let reason = external_refusal(prefix, view).or_else(|| {
                let other = owners.get(&prefix)?;
                Some(format!("already configured for the external peer {other}"))
            });
            if let Some(reason) = reason {
                let refused = &mut resolution.external_refused;
                let refused = refused.entry(peer.name.clone()).or_default();
                refused.push(RefusedPrefix { prefix, reason });
            } else {
                owners.insert(prefix, &peer.name);
                allowed.push(prefix);
            }
        }
    }
    owners
}

impl Resolution {
    /// What of a claim takes part in the contest: checked, exclusions taken out.
    fn admit(&mut self, claim: &Claim<'_>, view: &LocalView<'_>) -> Vec<(IpNet, Class)> {
        let mesh = IpNet::from(IpAddr::V6(claim.mesh_address));
        let mut admitted = Vec::new();
        if claim.tunnel {
            self.allowed.entry(claim.member).or_default();
            admitted.push((mesh, Class::Mesh));
        }
        let nodes = claim.node_addresses.iter();
        let nodes = nodes.map(|address| (IpNet::from(*address), Class::Node));
        let networks = claim.networks.iter();
        let networks = networks.map(|network| (network.trunc(), Class::Network));
        for (prefix, class) in nodes.chain(networks).filter(|(prefix, _)| *prefix != mesh) {
            let room = MAX_PREFIXES_PER_MEMBER.saturating_sub(admitted.len());
            let pieces = match refusal(prefix, claim, view) {
                Some(reason) => Err(reason),
                None => remaining(prefix, claim, view, room),
            };
            match pieces {
                Ok(pieces) => admitted.extend(pieces.into_iter().map(|piece| (piece, class))),
                Err(reason) => self.refuse(claim.member, prefix, reason),
            }
        }
        admitted
    }

    fn award(&mut self, prefix: IpNet, contenders: &[Contender], previous: Option<&MemberId>) {
        let Some(winner) = winner(contenders, previous) else {
            return;
        };
        if winner.tunnel {
            self.allowed.entry(winner.member).or_default().push(prefix);
        } else {
            self.native.insert(prefix);
        }
        let contested = contenders.len() > 1;
        if contested {
            self.contested.insert(prefix);
            for loser in contenders.iter().filter(|one| one.member != winner.member) {
                self.refuse(loser.member, prefix, winner.reason(loser));
            }
        }
        if contested || winner.class == Class::Network || previous == Some(&winner.member) {
            self.owners.insert(prefix, winner.member);
        }
    }

    fn refuse(&mut self, member: MemberId, prefix: IpNet, reason: String) {
        let refused = self.refused.entry(member).or_default();
        if refused.iter().all(|known| known.prefix != prefix) {
            refused.push(RefusedPrefix { prefix, reason });
        }
    }

    fn sort(&mut self) {
        for prefixes in self.allowed.values_mut().chain(self.external.values_mut()) {
            prefixes.sort_unstable();
        }
        for refused in self.refused.values_mut() {
            refused.sort_by_key(|one| one.prefix);
        }
    }
}

/// What exclusions leave of a prefix. Same-zone members' prefixes are native anyway and stay whole.
fn remaining(
    prefix: IpNet,
    claim: &Claim<'_>,
    view: &LocalView<'_>,
    room: usize,
) -> Result<Vec<IpNet>, String> {
    let mut pieces = vec![prefix];
    if claim.tunnel {
        for (whose, exclude) in [("this node's", view.exclude), ("its own", claim.exclude)] {
            for excluded in exclude {
                pieces = subtract(&pieces, excluded.trunc());
                if pieces.is_empty() {
                    return Err(format!(
                        "taken out by {whose} filters.excludeAdvertisedNetworks"
                    ));
                }
                if pieces.len() > MAX_PREFIXES_PER_MEMBER {
                    break;
                }
            }
        }
    }
    if pieces.len() > room {
        return Err(format!(
            "over the bound of {MAX_PREFIXES_PER_MEMBER} prefixes for one member; exclude fewer \
             parts or advertise less"
        ));
    }
    Ok(pieces)
}
