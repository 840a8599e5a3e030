//! Peering: recomputes what follows from members, settings and links. The own record is made here, and
//! it is settled who gets a tunnel; routes and engine peers are in `routes` and `peer_set`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use mesh_proto::record::BackendKind;
use mesh_proto::{MemberId, Record};

use super::Mesh;
use super::liveness::{ping_interval, rarity};
use super::names::Names;
use super::peer::{OwnFacts, Peer};
use super::reflexive::Reflexive;
use super::servers::Server;
use super::timers::Timer;
use crate::Now;
use crate::candidates::{self, CandidateSources};
use crate::links::LinkSnapshot;
use crate::settings::ZoneSource;
use crate::timing::{PROBE_INTERVAL_IDLE, RECOMPUTE_GAP, RECOMPUTE_GAP_PER_MEMBER};
use crate::zone::{Side, resolve_zone, wants_tunnel};

impl Mesh {
    /// Settings are new: everything derived from them only.
    pub(super) fn settings_changed(&mut self) {
        self.peer_filter = self.settings.filters.peer_endpoints.clone().map(Arc::new);
        let urls = &self.settings.discovery_servers;
        if !self.servers.iter().map(|server| &server.url).eq(urls) {
            self.servers = urls.iter().map(|url| Server::new(url.clone())).collect();
            // Indexes mean other servers now.
            self.membership.forget_leases();
            self.reflexive = Reflexive::default();
        }
    }

    /// Something changed; a recomputation follows soon.
    pub(super) fn mark_dirty(&mut self, now: Instant) {
        let members = u32::try_from(self.membership.len()).unwrap_or(u32::MAX);
        let gap = RECOMPUTE_GAP + RECOMPUTE_GAP_PER_MEMBER * members;
        let at = self.last_recompute.map_or(now, |last| now.max(last + gap));
        self.timers.set_earlier(Timer::Recompute, at);
    }

    /// Computes names, candidates, allowed IPs, routes and peers.
    pub(super) fn recompute(&mut self, now: Now) {
        self.last_recompute = Some(now.instant);
        self.timers.set(Timer::Recompute, None);
        let links = self.host.links();
        self.own_addresses =
            candidates::node_addresses(&links, &self.settings.ignore_interfaces, self.mesh_prefix);
        self.gather(&links);
        self.name_members();
        self.follow_keys(now);
        let own = self.own_record();
        let tunnels = self.decide_tunnels(&own);
        self.resolve_claims(&links, &tunnels, now.instant);
        self.plan_network(&links, &tunnels);
        self.update_peers(&links, &own, &tunnels, now);
        self.consider_publishing(&own, now.instant);
    }

    /// What this node would say of itself now.
    pub(super) fn own_record(&self) -> Record {
        let settings = &self.settings;
        Record {
            name: settings.name.clone(),
            zone: self.own_zone(),
            mode: settings.mode,
            wireguard_key: self.announced_key(),
            backend: settings.wireguard.backend,
            candidates: self.gathered.advertised.clone(),
            node_addresses: self.own_addresses.clone(),
            networks: settings.networks.advertise.clone(),
            exclude_networks: settings.filters.exclude_advertised_networks.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            secrets: self.own_secrets(),
        }
    }

    /// True once the sources of the zone label have been read.
    pub(super) const fn zone_known(&self) -> bool {
        match self.settings.zone {
            ZoneSource::Own | ZoneSource::Label(_) => true,
            ZoneSource::Rules(_) => self.host.links_known(),
            ZoneSource::File => self.host.zone_file.is_some(),
        }
    }

    pub(super) fn own_facts(&self) -> OwnFacts {
        let interval = ping_interval(self.peers.len());
        OwnFacts {
            key: self.public_key,
            state: self.keys.state_id,
            mesh_address: self.mesh_address,
            sequence: self.publisher.sequence(),
            interval,
            idle_interval: match self.settings.wireguard.backend {
                BackendKind::Userspace => interval.max(PROBE_INTERVAL_IDLE),
                // The kernel does not say when data waits for an answer.
                BackendKind::Kernel => interval,
            },
            scale: rarity(self.peers.len()),
            allow_bypass: self.settings.allow_down_peer_bypass,
            roams: self.settings.wireguard.backend == BackendKind::Kernel,
            tunnel_mtu: self
                .network
                .as_ref()
                .and_then(|network| u16::try_from(network.mtu).ok())
                .unwrap_or(u16::MAX),
        }
    }

    /// The living peer of a member, one on its way out included.
    pub(super) fn peer_of(&self, id: &MemberId) -> Option<&Peer> {
        let key = self.membership.get(id)?.record.wireguard_key;
        let peer: &Peer = self.peers.get(&key)?;
        (peer.member() == Some(*id)).then_some(peer)
    }

    /// True if the pair has a tunnel in this node's routes.
    pub(super) fn tunnels_to(&self, id: &MemberId) -> bool {
        self.peer_of(id)
            .is_some_and(|peer| !peer.boundary.is_closing())
    }

    pub(super) fn side_of<'a>(id: MemberId, record: &'a Record) -> Side<'a> {
        Side {
            member: id,
            zone: record.zone.as_deref(),
            mode: record.mode,
        }
    }

    /// The own zone; until its source is read, the one of the record before the restart. Rules do not
    /// move a node that has lost all its addresses for a moment.
    pub(super) fn own_zone(&self) -> Option<String> {
        let homeless =
            matches!(self.settings.zone, ZoneSource::Rules(_)) && self.own_addresses.is_empty();
        if (homeless || !self.zone_known())
            && let Some(record) = self.publisher.record()
        {
            return record.zone.clone();
        }
        let file = self
            .host
            .zone_file
            .as_ref()
            .and_then(|zone| zone.as_deref());
        resolve_zone(&self.settings.zone, file, &self.own_addresses)
    }

    fn gather(&mut self, links: &LinkSnapshot) {
        let mut observed: Vec<IpAddr> = Vec::new();
        for address in self.servers.iter().filter_map(|server| server.observed) {
            if !links.is_own(address) && !observed.contains(&address) {
                observed.push(address);
            }
        }
        let reflexive: Vec<_> = self
            .reflexive
            .addresses()
            .into_iter()
            .filter(|address| !links.is_own(address.ip()))
            .collect();
        let sources = CandidateSources {
            node_addresses: &self.own_addresses,
            listen_port: self.settings.wireguard.listen_port,
            reflexive: &reflexive,
            observed: &observed,
            static_endpoints: &self.host.static_addresses,
            mesh_prefix: self.mesh_prefix,
            own_networks: &self.settings.networks.advertise,
            via_tunnel: &links.via_tunnel,
        };
        self.gathered = candidates::gather(&sources, self.settings.filters.endpoints.as_ref());
    }

    fn name_members(&mut self) {
        let others = self
            .membership
            .iter()
            .map(|(id, member)| (*id, member.record.name.as_str()));
        let own = (self.id, self.settings.name.as_str());
        self.names = Names::new(others.chain(std::iter::once(own)));
    }

    /// Members this node tunnels to; true if both records want it, false if it is kept for now.
    fn decide_tunnels(&mut self, own: &Record) -> BTreeMap<MemberId, bool> {
        let own_side = Self::side_of(self.id, own);
        let published = self.publisher.boundary(own);
        let mut tunnels = BTreeMap::new();
        for (id, member) in self.membership.iter() {
            let agreed = wants_tunnel(&own_side, &Self::side_of(*id, &member.record));
            let kept = || {
                self.peer_of(id)
                    .is_some_and(|peer| peer.boundary.must_stay(own, published, peer.is_alive()))
            };
            if agreed || kept() {
                tunnels.insert(*id, agreed);
            }
        }
        self.kept = tunnels
            .iter()
            .filter(|(_, agreed)| !**agreed)
            .map(|(id, _)| *id)
            .collect();
        tunnels
    }
}
