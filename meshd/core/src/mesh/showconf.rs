//! Showconf: the tunnel interface as wg-quick text, or what a stock peer has to configure. Never with a
//! private or preshared key.

use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;
use mesh_proto::control::{CONTROL_VERSION, ShowConf};

use super::Mesh;
use crate::settings::ExternalPeer;
use crate::timing::KEEPALIVE;

impl Mesh {
    pub(super) fn build_showconf(&self, as_peer: Option<&str>) -> Option<ShowConf> {
        let text = match as_peer {
            None => self.own_conf(),
            Some(name) => {
                let mut peers = self.settings.external_peers.iter();
                self.peer_conf(peers.find(|peer| peer.name == name)?)
            }
        };
        Some(ShowConf {
            version: CONTROL_VERSION,
            text,
        })
    }

    // Writing to a String cannot fail, so the results are not looked at.
    fn own_conf(&self) -> String {
        let wireguard = &self.settings.wireguard;
        let mut out = format!("# {} of node {}\n", wireguard.interface, self.settings.name);
        let _ = writeln!(out, "# public key {}", self.public_key);
        let _ = writeln!(out, "[Interface]\n# PrivateKey = (not shown)");
        let _ = writeln!(out, "Address = {}/128", self.mesh_address);
        let _ = writeln!(out, "ListenPort = {}", wireguard.listen_port);
        let _ = writeln!(out, "FwMark = {:#x}", self.settings.routing.mark);
        if let Some(network) = &self.network {
            let _ = writeln!(out, "MTU = {}", network.mtu);
        }
        let _ = writeln!(out, "Table = off");
        for peer in self.listed_peers() {
            let _ = writeln!(out, "\n# {} ({})", peer.label, self.peer_zone(peer));
            let _ = writeln!(out, "[Peer]\nPublicKey = {}", peer.key);
            if peer.spec.preshared_key.is_some() {
                let _ = writeln!(out, "# PresharedKey = (not shown)");
            }
            let _ = writeln!(out, "AllowedIPs = {}", list(&peer.spec.allowed_ips));
            if let Some(path) = peer.path() {
                let _ = writeln!(out, "Endpoint = {}", path.remote);
            }
            if let Some(keepalive) = peer.spec.keepalive {
                let _ = writeln!(out, "PersistentKeepalive = {}", keepalive.as_secs());
            }
        }
        out
    }

    /// What `external` configures to talk to this node. Lines that it has to fill in are comments, so
    /// that `wg setconf` takes the text as it is.
    fn peer_conf(&self, external: &ExternalPeer) -> String {
        let mut out = format!(
            "# WireGuard configuration for {}, a peer of node {}\n[Interface]\n",
            external.name, self.settings.name
        );
        let _ = writeln!(
            out,
            "# PrivateKey = (the private key of {})",
            external.public_key
        );
        let _ = writeln!(
            out,
            "# wg-quick only: Address = {}",
            list(&external.allowed_ips)
        );
        self.loop_free(&mut out);
        if let Some(endpoint) = external.endpoint {
            let _ = writeln!(out, "ListenPort = {}", endpoint.port());
        }
        let _ = writeln!(out, "\n# {}", self.settings.name);
        let _ = writeln!(out, "[Peer]\nPublicKey = {}", self.public_key);
        if external.preshared_key.is_some() {
            let _ = writeln!(out, "# PresharedKey = (the one of presharedKeyFile)");
        }
        // Networks of other nodes are out of scope: this node forwards for nobody by itself.
        let _ = writeln!(out, "AllowedIPs = {}", list(&self.own_prefixes()));
        let endpoints: Vec<String> = self
            .gathered
            .advertised
            .iter()
            .map(|candidate| candidate.address.to_string())
            .collect();
        match endpoints.split_first() {
            Some((best, others)) => {
                let _ = writeln!(out, "Endpoint = {best}");
                if !others.is_empty() {
                    let _ = writeln!(out, "# other addresses: {}", others.join(", "));
                }
            }
            None => {
                let _ = writeln!(out, "# Endpoint = (this node knows of none)");
            }
        }
        let _ = writeln!(out, "PersistentKeepalive = {}", KEEPALIVE.as_secs());
        out
    }

    /// The node's own address is allowed, because packets come from it, and is the endpoint too: routed
    /// into the tunnel, as wg-quick routes whatever is allowed, the outer packets would go round in it.
    fn loop_free(&self, out: &mut String) {
        let allowed = self.own_prefixes();
        let outer = |prefix: &IpNet| {
            let mut endpoints = self.gathered.advertised.iter();
            endpoints.any(|candidate| prefix.contains(&candidate.address.ip()))
        };
        if !allowed.iter().any(outer) {
            return;
        }
        let _ = writeln!(out, "# wg-quick only: Table = off");
        for prefix in allowed.iter().filter(|prefix| !outer(prefix)) {
            let _ = writeln!(
                out,
                "# wg-quick only: PostUp = ip route add {prefix} dev %i"
            );
        }
    }

    fn own_prefixes(&self) -> Vec<IpNet> {
        let addresses = self
            .own_addresses
            .iter()
            .map(|address| IpNet::from(*address));
        let mut prefixes: Vec<IpNet> = addresses
            .chain(self.settings.networks.advertise.iter().copied())
            .chain(std::iter::once(IpNet::from(IpAddr::V6(self.mesh_address))))
            .collect();
        prefixes.sort_unstable();
        prefixes.dedup();
        prefixes
    }
}

fn list(prefixes: &[IpNet]) -> String {
    let texts: Vec<String> = prefixes.iter().map(ToString::to_string).collect();
    texts.join(", ")
}
