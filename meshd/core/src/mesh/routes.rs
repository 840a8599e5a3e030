//! Routes: claims settled into allowed IPs, and the kernel state that follows from them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use ipnet::IpNet;
use mesh_proto::MemberId;
use mesh_proto::control::{PeerState, RefusedPrefix};

use super::Mesh;
use crate::Action;
use crate::allowed_ips::{self, Claim, LocalView};
use crate::event::Level;
use crate::links::LinkSnapshot;
use crate::mtu::tunnel_mtu;
use crate::routing::{self, RoutingInput, TunnelRoutes};

impl Mesh {
    /// Settles who is routed which prefix.
    pub(super) fn resolve_claims(
        &mut self,
        links: &LinkSnapshot,
        tunnels: &BTreeMap<MemberId, bool>,
        now: Instant,
    ) {
        let own_addresses = all_addresses(links);
        let claims: Vec<Claim<'_>> = self
            .membership
            .iter()
            .map(|(id, member)| {
                let tunnel = tunnels.contains_key(id);
                let fresh = member.leases.is_fresh();
                // A peer that is still being dialled is not dead: a restart moves no prefix.
                let not_down = self
                    .peer_of(id)
                    .is_none_or(|peer| peer.state != PeerState::Down);
                Claim {
                    member: *id,
                    node_addresses: &member.record.node_addresses,
                    networks: &member.record.networks,
                    exclude: &member.record.exclude_networks,
                    mesh_address: member.mesh_address,
                    // Nothing is probed inside a zone; the lease is the best there is.
                    alive: if tunnel {
                        not_down
                    } else {
                        fresh || member.leases.is_unknown()
                    },
                    fresh,
                    first_seen_ms: member.first_seen_ms,
                    tunnel,
                }
            })
            .collect();
        let view = LocalView {
            on_link: &links.on_link,
            own_addresses: &own_addresses,
            own_networks: &self.settings.networks.advertise,
            accept_wide: &self.settings.networks.accept_wide,
            peer_networks: self.settings.filters.peer_networks.as_ref(),
            exclude: &self.settings.filters.exclude_advertised_networks,
            mesh_prefix: self.mesh_prefix,
            external: &self.settings.external_peers,
        };
        let resolution = allowed_ips::resolve(&claims, &view, &self.owners);
        if resolution.owners != self.owners {
            self.owners.clone_from(&resolution.owners);
            self.persist_later(now);
        }
        self.tell_refused(&resolution.refused);
        self.resolution = resolution;
    }

    /// Prefixes refused from now on; what was refused before is no news.
    fn tell_refused(&mut self, refused: &BTreeMap<MemberId, Vec<RefusedPrefix>>) {
        for (id, prefixes) in refused {
            let before = self.resolution.refused.get(id);
            for prefix in prefixes {
                if before.is_some_and(|before| before.contains(prefix)) {
                    continue;
                }
                let message = format!("{} is not routed: {}", prefix.prefix, prefix.reason);
                let name = self.names.of(id);
                self.out
                    .peer_event("prefix_refused", Level::Warn, &name, message);
            }
        }
    }

    /// Plans routes and rules; sends them if they differ from the last ones.
    pub(super) fn plan_network(
        &mut self,
        links: &LinkSnapshot,
        tunnels: &BTreeMap<MemberId, bool>,
    ) {
        let own_exclude = &self.settings.filters.exclude_advertised_networks;
        let excludes: BTreeMap<MemberId, Vec<IpNet>> = tunnels
            .keys()
            .filter_map(|id| Some((*id, &self.membership.get(id)?.record.exclude_networks)))
            .map(|(id, theirs)| (id, theirs.iter().chain(own_exclude).copied().collect()))
            .collect();
        let of_members = self
            .resolution
            .allowed
            .iter()
            .map(|(id, prefixes)| TunnelRoutes {
                prefixes,
                exclude: excludes.get(id).map_or(own_exclude, |both| both),
                bypassed: self.peer_of(id).is_some_and(|peer| peer.bypass.is_active()),
            });
        let of_external = self.settings.external_peers.iter().filter_map(|external| {
            Some(TunnelRoutes {
                prefixes: self.resolution.external.get(&external.name)?,
                exclude: own_exclude,
                bypassed: self
                    .peers
                    .get(&external.public_key)
                    .is_some_and(|peer| peer.bypass.is_active()),
            })
        });
        let routes: Vec<TunnelRoutes<'_>> = of_members.chain(of_external).collect();
        let same_zone_mesh: Vec<_> = self
            .membership
            .iter()
            .filter(|(id, _)| !tunnels.contains_key(id))
            .map(|(_, member)| member.mesh_address)
            .collect();
        let plan = routing::plan(&RoutingInput {
            settings: &self.settings.routing,
            listen_port: self.settings.wireguard.listen_port,
            mtu: tunnel_mtu(links, self.settings.wireguard.mtu),
            own_node_addresses: &self.own_addresses,
            own_networks: &self.settings.networks.advertise,
            mesh_address: self.mesh_address,
            mesh_prefix: self.mesh_prefix,
            tunnels: &routes,
            native: &self.resolution.native,
            same_zone_mesh: &same_zone_mesh,
            protected: &self.settings.networks.protected,
            links,
            discovery: &self.host.discovery,
        });
        if self.network.as_ref() != Some(&plan) {
            self.network = Some(plan.clone());
            self.out.act(Action::ApplyNetwork(Box::new(plan)));
        }
    }

    /// The state that is wanted, once more: what the kernel has is not it.
    pub(super) fn resend_network(&mut self) {
        if let Some(network) = self.network.clone() {
            self.out.act(Action::ApplyNetwork(Box::new(network)));
        }
    }
}

/// Every address of this host, ignored interfaces included.
pub(super) fn all_addresses(links: &LinkSnapshot) -> Vec<IpAddr> {
    links
        .links
        .iter()
        .flat_map(|link| &link.addresses)
        .map(|own| own.address.addr())
        .collect()
}
