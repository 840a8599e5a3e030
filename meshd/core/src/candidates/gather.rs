//! Candidates of this node: everything it knows of how it can be reached, less what would harm.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::{IpNet, Ipv6Net};
use mesh_proto::candidate::{Candidate, CandidateKind, is_private, is_usable_endpoint};
use mesh_proto::limits::MAX_CANDIDATES;

use super::{in_any, in_mesh};
use crate::filter::FilterProgram;

/// Everything candidates of this node come from.
#[derive(Debug, Clone, Copy)]
pub struct CandidateSources<'a> {
    /// From [`super::node_addresses`].
    pub node_addresses: &'a [IpAddr],
    /// The WireGuard port.
    pub listen_port: u16,
    /// What STUN servers saw on the WireGuard port.
    pub reflexive: &'a [SocketAddr],
    /// Source addresses that discovery servers saw; the WireGuard port is put to them.
    pub observed: &'a [IpAddr],
    /// `extraAnnouncedEndpoints`, resolved.
    pub static_endpoints: &'a [SocketAddr],
    /// The mesh's ULA.
    pub mesh_prefix: Ipv6Net,
    /// What this node advertises: its local addresses there are no candidates.
    pub own_networks: &'a [IpNet],
    /// Prefixes that routes of somebody else send into our tunnel interface.
    pub via_tunnel: &'a [IpNet],
}

/// Candidates of this node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gathered {
    /// What is published, in order of preference.
    pub advertised: Vec<Candidate>,
    /// What is not, and why.
    pub dropped: Vec<(Candidate, DropReason)>,
}

/// Why a candidate is not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DropReason {
    /// Loopback, link-local, multicast, unspecified, or port 0.
    Unusable,
    /// In the mesh's own ULA: it would be reached through the tunnel.
    MeshAddress,
    /// A local address in a network this node advertises: it is reached through the tunnel.
    OwnNetwork,
    /// Its route leaves by the tunnel interface.
    ViaTunnel,
    /// `filters.endpoints` does not keep it.
    Filtered,
    /// Over the bound of [`MAX_CANDIDATES`].
    TooMany,
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unusable => f.write_str("not an address others can send to"),
            Self::MeshAddress => f.write_str("inside the mesh's own address range"),
            Self::OwnNetwork => f.write_str("inside a network this node advertises"),
            Self::ViaTunnel => f.write_str("its route leaves by the tunnel interface"),
            Self::Filtered => f.write_str("removed by filters.endpoints"),
            Self::TooMany => write!(f, "over the bound of {MAX_CANDIDATES} candidates"),
        }
    }
}

/// The candidates to publish: local (in the order given, but private before public), reflexive,
/// observed, run through the filter, then static ones unfiltered. Of duplicates the first stays.
#[must_use]
pub fn gather(sources: &CandidateSources<'_>, filter: Option<&FilterProgram>) -> Gathered {
    let mut gathered = Gathered::default();
    let learned = gathered.admit(sources, learned(sources));
    let mut kept = match filter {
        None => learned,
        Some(filter) => {
            let kept = filter.run(&learned, |candidate| candidate.address.ip());
            gathered.drop_all(
                learned.into_iter().filter(|one| !kept.contains(one)),
                DropReason::Filtered,
            );
            kept
        }
    };
    let fixed: Vec<Candidate> = gathered
        .admit(
            sources,
            of_kind(CandidateKind::Static, sources.static_endpoints),
        )
        .into_iter()
        .filter(|one| kept.iter().all(|other| other.address != one.address))
        .collect();
    gathered.shorten(&mut kept, MAX_CANDIDATES.saturating_sub(fixed.len()));
    kept.extend(fixed);
    gathered.shorten(&mut kept, MAX_CANDIDATES);
    gathered.advertised = kept;
    gathered
}

fn learned(sources: &CandidateSources<'_>) -> Vec<Candidate> {
    let with_port = |address: &IpAddr| SocketAddr::new(*address, sources.listen_port);
    let mut local: Vec<SocketAddr> = sources.node_addresses.iter().map(with_port).collect();
    local.sort_by_key(|address| !is_private(address.ip()));
    let observed: Vec<SocketAddr> = sources.observed.iter().map(with_port).collect();
    let mut learned = of_kind(CandidateKind::Local, &local);
    learned.extend(of_kind(CandidateKind::Reflexive, sources.reflexive));
    learned.extend(of_kind(CandidateKind::Observed, &observed));
    learned
}

fn of_kind(kind: CandidateKind, addresses: &[SocketAddr]) -> Vec<Candidate> {
    let candidate = |address: &SocketAddr| Candidate {
        address: SocketAddr::new(address.ip().to_canonical(), address.port()),
        kind,
    };
    addresses.iter().map(candidate).collect()
}

impl Gathered {
    /// What may be published at all, without duplicates.
    fn admit(
        &mut self,
        sources: &CandidateSources<'_>,
        candidates: Vec<Candidate>,
    ) -> Vec<Candidate> {
        let mut admitted: Vec<Candidate> = Vec::with_capacity(candidates.len());
        for candidate in candidates {
            match unfit(sources, &candidate) {
                Some(reason) => self.dropped.push((candidate, reason)),
                None if admitted.iter().any(|one| one.address == candidate.address) => {}
                None => admitted.push(candidate),
            }
        }
        admitted
    }

    fn drop_all(&mut self, candidates: impl Iterator<Item = Candidate>, reason: DropReason) {
        self.dropped
            .extend(candidates.map(|candidate| (candidate, reason)));
    }

    /// Cuts to `room`. Local ones go first, from the end: a node with that many addresses needs those
    /// that others see more.
    fn shorten(&mut self, candidates: &mut Vec<Candidate>, room: usize) {
        while candidates.len() > room {
            let local = candidates
                .iter()
                .rposition(|one| one.kind == CandidateKind::Local);
            let candidate = candidates.remove(local.unwrap_or(candidates.len() - 1));
            self.dropped.push((candidate, DropReason::TooMany));
        }
    }
}

fn unfit(sources: &CandidateSources<'_>, candidate: &Candidate) -> Option<DropReason> {
    let ip = candidate.address.ip();
    if candidate.address.port() == 0 || !is_usable_endpoint(ip) {
        Some(DropReason::Unusable)
    } else if in_mesh(sources.mesh_prefix, ip) {
        Some(DropReason::MeshAddress)
    } else if candidate.kind == CandidateKind::Local && in_any(sources.own_networks, ip) {
        Some(DropReason::OwnNetwork)
    } else if in_any(sources.via_tunnel, ip) {
        Some(DropReason::ViaTunnel)
    } else {
        None
    }
}
