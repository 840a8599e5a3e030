//! Sources: which own addresses a path can leave from, and all paths to a list of endpoints.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;

use super::path::{Facts, Path, Place};
use super::{MAX_PATHS, MAX_SOURCES};
use crate::candidates::RankedEndpoint;
use crate::data_plane::{PathId, SourceLink};
use crate::links::LinkSnapshot;
use crate::network::Family;

/// Prefixes that one link leads to; more do not help to choose.
const MAX_LEADS: usize = 32;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Source {
    address: IpAddr,
    subnet: IpNet,
    link: u32,
    /// What routes of its link lead to. None if that is not known, or if rules of the host decide.
    leads: Option<Arc<[IpNet]>>,
}

impl Source {
    /// True if packets from here to `remote` leave by the link of the address, for all that is known.
    /// Others would look forged to the routers there.
    fn leads_to(&self, remote: IpAddr) -> bool {
        let contains = |prefix: &IpNet| prefix.contains(&remote);
        self.leads
            .as_ref()
            .is_none_or(|leads| leads.iter().any(contains))
    }
}

/// One address per link and family, those of default routes first.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(in crate::mesh) struct Sources {
    found: Vec<Source>,
    /// All addresses of links that are up; none before the first reading.
    host: Option<Vec<IpAddr>>,
    /// Default routes leave by links that have no address here.
    elsewhere_v4: bool,
    elsewhere_v6: bool,
}

impl Sources {
    /// Sources among `own`, the addresses this node is known by, less those in networks that it
    /// advertises: they face its own LAN.
    pub(in crate::mesh) fn new(links: &LinkSnapshot, own: &[IpAddr], advertised: &[IpNet]) -> Self {
        let mut sources = Self {
            host: Some(usable_addresses(links)),
            ..Self::default()
        };
        for family in [Family::V4, Family::V6] {
            let default = match family {
                Family::V4 => links.default_v4,
                Family::V6 => links.default_v6,
            };
            let usable = |address: IpAddr| {
                Family::of(address) == family
                    && own.contains(&address)
                    && !advertised.iter().any(|network| network.contains(&address))
            };
            let mut found: Vec<(bool, Source)> = Vec::new();
            for link in links.links.iter().filter(|link| link.up) {
                let address = link
                    .addresses
                    .iter()
                    .find(|one| one.global && !one.unusable && usable(one.address.addr()));
                if let Some(one) = address {
                    let source = Source {
                        address: one.address.addr(),
                        subnet: one.address.trunc(),
                        link: link.index,
                        leads: leads(links, link.index, one.address.addr()),
                    };
                    found.push((default != Some(link.index), source));
                }
            }
            found.sort_by_key(|(other, _)| *other);
            let elsewhere = default.is_some() && found.first().is_none_or(|(other, _)| *other);
            match family {
                Family::V4 => sources.elsewhere_v4 = elsewhere,
                Family::V6 => sources.elsewhere_v6 = elsewhere,
            }
            let found = found.into_iter().map(|(_, source)| source);
            sources.found.extend(found.take(MAX_SOURCES));
        }
        sources
    }

    /// Local addresses for paths to `remote`. None lets the host's routes choose: they know best where
    /// there is nothing to choose from.
    fn of(&self, remote: SocketAddr) -> Vec<Option<IpAddr>> {
        let family = Family::of(remote.ip());
        let same: Vec<&Source> = self
            .found
            .iter()
            .filter(|source| Family::of(source.address) == family)
            .collect();
        if same.len() <= 1 {
            return vec![None];
        }
        let on_link: Vec<_> = same
            .iter()
            .filter(|source| source.subnet.contains(&remote.ip()))
            .map(|source| Some(source.address))
            .collect();
        if !on_link.is_empty() {
            return on_link;
        }
        let elsewhere = match family {
            Family::V4 => self.elsewhere_v4,
            Family::V6 => self.elsewhere_v6,
        };
        let open = elsewhere.then_some(None);
        let leading = same
            .into_iter()
            .filter(|source| source.leads_to(remote.ip()))
            .map(|source| Some(source.address));
        let all: Vec<_> = open.into_iter().chain(leading).collect();
        if all.is_empty() { vec![None] } else { all }
    }

    /// True if both have the same addresses on the same links.
    pub(in crate::mesh) fn same_addresses(&self, other: &Self) -> bool {
        let ends = |sources: &Self| -> Vec<(IpAddr, u32)> {
            let found = sources.found.iter();
            found.map(|source| (source.address, source.link)).collect()
        };
        self.host == other.host && ends(self) == ends(other)
    }

    /// What the engine has to know of them.
    pub(in crate::mesh) fn links(&self) -> Vec<SourceLink> {
        let known = |source: &Source| {
            Some(SourceLink {
                address: source.address,
                link: source.link,
                leads: source.leads.clone()?,
            })
        };
        self.found.iter().filter_map(known).collect()
    }

    /// The path of a packet that came by `arrival`, if none is known: without the local address where
    /// there is only one.
    pub(in crate::mesh) fn learned(&self, arrival: PathId) -> PathId {
        let plural = self.of_family(Family::of(arrival.remote.ip())) > 1;
        PathId {
            local: arrival.local.filter(|_| plural),
            remote: arrival.remote,
        }
    }

    /// True after the first reading of the host's links.
    pub(in crate::mesh) const fn is_known(&self) -> bool {
        self.host.is_some()
    }

    /// The local address of a path, also where it is left open because there is only one.
    pub(in crate::mesh) fn named(&self, path: &PathId) -> Option<IpAddr> {
        let family = Family::of(path.remote.ip());
        let mut same = self
            .found
            .iter()
            .filter(|source| Family::of(source.address) == family);
        let only = same.next().filter(|_| same.next().is_none());
        path.local.or_else(|| only.map(|source| source.address))
    }

    /// True if packets can leave from `local`.
    pub(in crate::mesh) fn has(&self, local: Option<IpAddr>) -> bool {
        let host = self.host.as_deref();
        local.is_none_or(|local| host.is_none_or(|host| host.contains(&local)))
    }

    fn of_family(&self, family: Family) -> usize {
        let same = |source: &&Source| Family::of(source.address) == family;
        self.found.iter().filter(same).count()
    }

    /// Every usable endpoint from every source, in order of preference.
    pub(in crate::mesh) fn paths(&self, endpoints: &[RankedEndpoint]) -> Vec<Path> {
        let mut paths: Vec<Path> = Vec::new();
        for (order, endpoint) in endpoints.iter().enumerate() {
            if !endpoint.usable {
                continue;
            }
            let remote = endpoint.candidate.address;
            for (source, local) in self.of(remote).into_iter().enumerate() {
                paths.push(Path {
                    id: PathId { local, remote },
                    place: Place {
                        class: endpoint.class,
                        order,
                        source,
                    },
                    kind: Some(endpoint.candidate.kind),
                    facts: Facts::default(),
                });
            }
        }
        if paths.len() > MAX_PATHS {
            // Every endpoint keeps its first source before any gets its second.
            paths.sort_by_key(|path| (path.place.source, path.place));
            paths.truncate(MAX_PATHS);
            paths.sort_by_key(|path| path.place);
        }
        paths
    }
}

/// What `link` leads to from `address`.
fn leads(links: &LinkSnapshot, link: u32, address: IpAddr) -> Option<Arc<[IpNet]>> {
    let ruled = links.ruled_sources.iter().any(|net| net.contains(&address));
    if links.routes.is_empty() || ruled {
        return None;
    }
    let family = Family::of(address);
    let prefixes: Vec<IpNet> = links
        .routes
        .iter()
        .filter(|route| route.link == link && Family::of(route.prefix.addr()) == family)
        .map(|route| route.prefix)
        .collect();
    let mut prefixes = IpNet::aggregate(&prefixes);
    prefixes.sort_by_key(|prefix| (prefix.prefix_len(), *prefix));
    prefixes.truncate(MAX_LEADS);
    Some(prefixes.into())
}

fn usable_addresses(links: &LinkSnapshot) -> Vec<IpAddr> {
    let up = links.links.iter().filter(|link| link.up);
    up.flat_map(|link| &link.addresses)
        .map(|own| own.address.addr())
        .collect()
}

#[cfg(test)]
mod tests;
