//! Peer set: from tunnels and their claims to the peers of the engine. Only differences go out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use mesh_proto::control::PeerState;
use mesh_proto::record::BackendKind;
use mesh_proto::{Candidate, CandidateKind, MemberId, Record, WgPublicKey};

use super::Mesh;
use super::membership::Member;
use super::paths::Sources;
use super::peer::{Peer, PeerKind, Scene};
use super::routes::all_addresses;
use super::secrets::PairKeys;
use crate::Now;
use crate::candidates::{self, DialContext, RankedEndpoint};
use crate::data_plane::{EngineCommand, PeerSpec};
use crate::event::Level;
use crate::links::LinkSnapshot;
use crate::network::Family;
use crate::settings::ExternalPeer;
use crate::timing::KEEPALIVE;

/// New peers of one recomputation that are dialled in the same instant; each further one waits
/// [`DIAL_PACE`] longer, so that a restart in a large mesh does not stall on handshakes.
const DIAL_BURST: u32 = 64;
const DIAL_PACE: Duration = Duration::from_millis(5);

/// A peer as it shall be.
struct Wanted {
    kind: PeerKind,
    spec: PeerSpec,
    pair_keys: PairKeys,
    label: String,
    endpoints: Vec<RankedEndpoint>,
    /// Both records want the tunnel; otherwise it is only kept for now.
    agreed: bool,
}

impl Mesh {
    /// Brings the peers to what `tunnels` and the allowed IPs ask for.
    pub(super) fn update_peers(
        &mut self,
        links: &LinkSnapshot,
        own: &Record,
        tunnels: &BTreeMap<MemberId, bool>,
        now: Now,
    ) {
        let wanted = self.wanted_peers(links, tunnels);
        self.retire_peers(&wanted, now.instant);
        self.release_prefixes(&wanted);
        if self.host.links_known() {
            let advertised = &self.settings.networks.advertise;
            let sources = Sources::new(links, &self.own_addresses, advertised);
            if sources != self.sources {
                self.out.engine(EngineCommand::SetSources(sources.links()));
                self.sources = sources;
            }
        }
        let mut fresh = 0;
        for (key, wanted) in wanted {
            self.upsert_peer(key, wanted, own, &mut fresh, now);
        }
        let own = self.own_facts();
        for (key, peer) in &mut self.peers {
            let due = peer.next_due(&own);
            self.timers.set_peer(*key, &mut peer.armed, due);
        }
    }

    fn wanted_peers(
        &mut self,
        links: &LinkSnapshot,
        tunnels: &BTreeMap<MemberId, bool>,
    ) -> BTreeMap<WgPublicKey, Wanted> {
        let own_addresses = all_addresses(links);
        let context = DialContext {
            mesh_prefix: self.mesh_prefix,
            own_addresses: &own_addresses,
            via_tunnel: &links.via_tunnel,
            // Before the first reading nothing is ruled out: peers from the cache are dialled at once.
            has_v4: !self.host.links_known() || can_send(links, Family::V4),
            has_v6: !self.host.links_known() || can_send(links, Family::V6),
        };
        let mut wanted = BTreeMap::new();
        for external in &self.settings.external_peers {
            let allowed = self.resolution.external.get(&external.name);
            let peer = wanted_external(external, allowed.cloned().unwrap_or_default());
            wanted.insert(external.public_key, peer);
        }
        // Whoever has a WireGuard key keeps it if another member claims it too; else who was known first.
        let mut members: Vec<_> = tunnels
            .iter()
            .filter_map(|(id, agreed)| Some((self.membership.get(id)?, *id, *agreed)))
            .collect();
        members
            .sort_by_key(|(member, id, _)| (self.peer_of(id).is_none(), member.first_seen_ms, *id));
        self.key_clashes.clear();
        for (member, id, agreed) in members {
            let key = member.record.wireguard_key;
            if self.is_own_key(&key) || wanted.contains_key(&key) {
                self.key_clashes.insert(id);
                continue;
            }
            let endpoints = candidates::endpoints(
                &member.record.candidates,
                self.peer_filter.as_deref(),
                &context,
            );
            wanted.insert(key, self.wanted_member(id, member, endpoints, agreed));
        }
        wanted
    }

    fn wanted_member(
        &self,
        id: MemberId,
        member: &Member,
        endpoints: Vec<RankedEndpoint>,
        agreed: bool,
    ) -> Wanted {
        let pair_keys = self.pair_keys(&id, member);
        Wanted {
            kind: PeerKind::Member {
                id,
                mesh_address: member.mesh_address,
                held: member.sequence,
                userspace: member.record.backend == BackendKind::Userspace,
            },
            spec: PeerSpec {
                public_key: member.record.wireguard_key,
                preshared_key: pair_keys.first().map(|(_, key)| key.clone()),
                allowed_ips: self
                    .resolution
                    .allowed
                    .get(&id)
                    .cloned()
                    .unwrap_or_default(),
                mesh_address: Some(member.mesh_address),
                keepalive: Some(KEEPALIVE),
                endpoint_filter: self.peer_filter.clone(),
            },
            label: self.names.of(&id),
            pair_keys,
            endpoints,
            agreed,
        }
    }

    /// Removes peers that are not wanted; one that only became native can still send for a while.
    fn retire_peers(&mut self, wanted: &BTreeMap<WgPublicKey, Wanted>, now: Instant) {
        let taken: BTreeSet<IpNet> = wanted
            .values()
            .flat_map(|wanted| wanted.spec.allowed_ips.iter().copied())
            .collect();
        let unwanted: Vec<WgPublicKey> = self
            .peers
            .keys()
            .filter(|key| !wanted.contains_key(key))
            .copied()
            .collect();
        for key in unwanted {
            let held = self.peers[&key].member().and_then(|id| {
                let member = self.membership.get(&id)?;
                (member.record.wireguard_key == key).then_some(member.sequence)
            });
            let Some(peer) = self.peers.get_mut(&key) else {
                continue;
            };
            let goes_on = peer.is_alive() || peer.boundary.is_closing();
            let (Some(sequence), true) = (held, goes_on) else {
                self.remove_peer(key);
                continue;
            };
            if !peer.boundary.is_closing() {
                peer.boundary.close(now);
                peer.ping_at(now);
                peer.dial.stop();
                let why = "both ends are in one zone: native from now on";
                self.out
                    .peer_event("tunnel_closed", Level::Info, &peer.label, why);
            }
            if let PeerKind::Member { held, .. } = &mut peer.kind {
                *held = sequence;
            }
            let before = peer.spec.allowed_ips.len();
            peer.spec
                .allowed_ips
                .retain(|prefix| !taken.contains(prefix));
            if peer.spec.allowed_ips.len() != before {
                let spec = Box::new(peer.spec.clone());
                self.out.engine(EngineCommand::SetPeer(spec));
            }
        }
    }

    /// Takes away what moves to another peer before that one gets it: no prefix stands in two.
    fn release_prefixes(&mut self, wanted: &BTreeMap<WgPublicKey, Wanted>) {
        for (key, wanted) in wanted {
            let Some(peer) = self.peers.get_mut(key) else {
                continue;
            };
            let before = peer.spec.allowed_ips.len();
            peer.spec
                .allowed_ips
                .retain(|prefix| wanted.spec.allowed_ips.contains(prefix));
            if peer.spec.allowed_ips.len() != before {
                let spec = Box::new(peer.spec.clone());
                self.out.engine(EngineCommand::SetPeer(spec));
            }
        }
    }

    fn upsert_peer(
        &mut self,
        key: WgPublicKey,
        wanted: Wanted,
        own: &Record,
        fresh: &mut u32,
        now: Now,
    ) {
        let mut start = now.instant;
        let is_new = self.peers.get(&key).is_none_or(|peer| {
            std::mem::discriminant(&peer.kind) != std::mem::discriminant(&wanted.kind)
        });
        if is_new {
            *fresh += 1;
            start += DIAL_PACE * fresh.saturating_sub(DIAL_BURST);
            let label = wanted.label.clone();
            let peer = Peer::new(wanted.kind, wanted.spec.clone(), label, now.instant);
            if let Some(mut old) = self.peers.insert(key, Box::new(peer)) {
                self.timers.set_peer(key, &mut old.armed, None);
            }
        }
        let Some((peer, mut scene)) = self.peer_scene(&key, now) else {
            return;
        };
        if is_new || peer.spec != wanted.spec {
            scene
                .out
                .engine(EngineCommand::SetPeer(Box::new(wanted.spec.clone())));
        }
        if peer.kind != wanted.kind {
            // The peer learns at once that its new record arrived.
            peer.ping_at(now.instant);
        }
        (peer.kind, peer.spec, peer.label) = (wanted.kind, wanted.spec, wanted.label);
        peer.pair_keys = wanted.pair_keys;
        if wanted.agreed {
            peer.boundary.wanted(own);
        }
        peer.set_endpoints(wanted.endpoints, start, &mut scene);
    }

    /// A peer and what it needs of the mesh around it.
    fn peer_scene(&mut self, key: &WgPublicKey, now: Now) -> Option<(&mut Peer, Scene<'_>)> {
        let own = self.own_facts();
        let scene = Scene {
            now,
            out: &mut self.out,
            rng: &mut self.rng,
            budget: &mut self.budgets.pings,
            initiations: &mut self.budgets.initiations,
            telling: &mut self.budgets.telling,
            counters: &mut self.counters,
            candidate_probes: &mut self.candidate_probes,
            private_key: &self.keys.wireguard,
            sources: &self.sources,
            envelopes: self.publisher.envelopes(),
            removals: &self.removals,
            timers: &mut self.timers,
            own,
        };
        Some((self.peers.get_mut(key)?, scene))
    }

    pub(super) fn remove_peer(&mut self, key: WgPublicKey) {
        if let Some(mut peer) = self.peers.remove(&key) {
            self.timers.set_peer(key, &mut peer.armed, None);
            self.out.engine(EngineCommand::RemovePeer(key));
            self.out
                .peer_event("peer_removed", Level::Info, &peer.label, "no longer a peer");
        }
    }

    /// Lets `act` work on a peer and arms its timer again.
    pub(super) fn with_peer<R>(
        &mut self,
        key: WgPublicKey,
        now: Now,
        act: impl FnOnce(&mut Peer, &mut Scene<'_>) -> R,
    ) -> Option<R> {
        let (peer, mut scene) = self.peer_scene(&key, now)?;
        let before = (peer.state, peer.path_kind());
        let calm = !peer.is_racing();
        let result = act(peer, &mut scene);
        let due = peer.next_due(&scene.own);
        scene.timers.set_peer(key, &mut peer.armed, due);
        // All that is needed of the peer below: it is looked up once, as this is done for every packet.
        let changed = before != (peer.state, peer.path_kind());
        let suspect = calm && peer.is_racing();
        let local = peer.path().and_then(|path| path.local);
        // Whether it is down decides about contested prefixes and kept tunnels.
        let flipped = (before.0 == PeerState::Down) != (peer.state == PeerState::Down);
        let member = peer.member().filter(|_| flipped);
        let kept = member.is_some_and(|id| self.kept.contains(&id));
        if flipped && (kept || !self.owners.is_empty()) {
            self.mark_dirty(now.instant);
        }
        if changed {
            self.report_changed(now.instant);
        }
        if suspect && let Some(local) = local {
            self.shared_fate(local, now);
        }
        Some(result)
    }

    pub(super) fn service_peer(&mut self, key: WgPublicKey, now: Now) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        self.timers.set_peer(key, &mut peer.armed, None);
        let closes = peer.boundary.closes_at();
        if closes.is_some_and(|at| at <= now.instant) {
            self.remove_peer(key);
            return;
        }
        let rerouted = self.with_peer(key, now, |peer, scene| peer.service(scene));
        if rerouted == Some(true) {
            self.recompute(now);
        }
    }
}

fn wanted_external(external: &ExternalPeer, allowed_ips: Vec<IpNet>) -> Wanted {
    let endpoints = external.endpoint.iter().map(|address| RankedEndpoint {
        candidate: Candidate {
            address: *address,
            kind: CandidateKind::Static,
        },
        usable: true,
        class: 0,
        reason: "configured in externalPeers".to_owned(),
    });
    Wanted {
        kind: PeerKind::External,
        spec: PeerSpec {
            public_key: external.public_key,
            preshared_key: external.preshared_key.clone(),
            allowed_ips,
            mesh_address: None,
            keepalive: external.endpoint.map(|_| KEEPALIVE),
            endpoint_filter: None,
        },
        pair_keys: PairKeys::new(),
        label: external.name.clone(),
        endpoints: endpoints.collect(),
        agreed: true,
    }
}

/// True if the host has a global address of that family to send from.
fn can_send(links: &LinkSnapshot, family: Family) -> bool {
    links
        .links
        .iter()
        .filter(|link| link.up)
        .flat_map(|link| &link.addresses)
        .any(|own| own.global && !own.unusable && Family::of(own.address.addr()) == family)
}
