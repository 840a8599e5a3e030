//! From a configuration to the core's settings.

use mesh_proto::record::BackendKind;
use meshd_core::Settings;
use meshd_core::settings::{WireguardSettings, ZoneSource};

use super::{Backend, ChosenBackend, Config, Wireguard, Zone};

impl Config {
    /// The settings of the core.
    #[must_use]
    pub fn to_settings(&self) -> Settings {
        let backend = self.wireguard.backend_in_use();
        Settings {
            name: self.node.name.clone(),
            zone: match &self.node.zone {
                Zone::Own => ZoneSource::Own,
                Zone::Label(label) => ZoneSource::Label(label.clone()),
                Zone::Rules(rules) => ZoneSource::Rules(rules.clone()),
                Zone::File(_) | Zone::Kubernetes => ZoneSource::File,
            },
            mode: self.mode,
            wireguard: WireguardSettings {
                interface: self.wireguard.interface.clone(),
                listen_port: self.wireguard.listen_port,
                mtu: self.wireguard.mtu,
                backend: backend.kind,
                backend_reason: backend.reason,
            },
            filters: self.filters.clone(),
            networks: self.networks.clone(),
            ignore_interfaces: self.node.ignore_interfaces.clone(),
            static_endpoints: self
                .extra_announced_endpoints
                .iter()
                .map(ToString::to_string)
                .collect(),
            discovery_servers: self.discovery.servers.clone(),
            allow_down_peer_bypass: self.allow_down_peer_bypass,
            routing: self.routing.clone(),
            external_peers: self
                .external_peers
                .iter()
                .map(|configured| configured.peer.clone())
                .collect(),
        }
    }
}

impl Wireguard {
    /// What was chosen; before that what needs nothing of the host.
    fn backend_in_use(&self) -> ChosenBackend {
        self.chosen.clone().unwrap_or_else(|| ChosenBackend {
            kind: match self.backend {
                Backend::Auto | Backend::Userspace => BackendKind::Userspace,
                Backend::Kernel => BackendKind::Kernel,
            },
            reason: match self.backend {
                Backend::Auto => "auto: the host was not looked at yet",
                Backend::Userspace | Backend::Kernel => "set by wireguard.backend",
            }
            .to_owned(),
        })
    }
}
