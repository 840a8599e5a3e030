//! What the host's network looks like, as the shell read it. Data only.

use std::net::IpAddr;

use ipnet::IpNet;

/// One reading of the host's links, addresses and relevant routes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LinkSnapshot {
    /// Every link but loopback and our own tunnel interface, sorted by index.
    pub links: Vec<Link>,
    /// Directly connected prefixes of the main table (no gateway, scope link, not ours, no default
    /// route), sorted. Covers subnets of interface addresses and pod routes alike.
    pub on_link: Vec<IpNet>,
    /// Prefixes of the main table that leave by our own tunnel interface (somebody's static routes).
    pub via_tunnel: Vec<IpNet>,
    /// Index of the link the IPv4 default route leaves by.
    pub default_v4: Option<u32>,
    /// Index of the link the IPv6 default route leaves by.
    pub default_v6: Option<u32>,
    /// Unicast routes of the main table by the links they leave by, all default routes among them,
    /// sorted; the widest [`MAX_LINK_ROUTES`] if there are more.
    pub routes: Vec<LinkRoute>,
    /// Source prefixes for which policy rules name tables of their own, sorted; any rule but ours.
    pub ruled_sources: Vec<IpNet>,
}

/// Routes kept of one reading.
pub const MAX_LINK_ROUTES: usize = 1024;

/// A prefix that is reached over a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkRoute {
    /// Where to.
    pub prefix: IpNet,
    /// Interface index.
    pub link: u32,
}

/// One link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Interface index.
    pub index: u32,
    /// Interface name.
    pub name: String,
    /// `IFLA_INFO_KIND`: `bridge`, `veth`, `tun`, `wireguard`, …; none for physical devices.
    pub kind: Option<String>,
    /// Administratively up and with carrier.
    pub up: bool,
    /// MTU in bytes.
    pub mtu: u32,
    /// Its addresses.
    pub addresses: Vec<LinkAddress>,
}

/// One address of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkAddress {
    /// Address and prefix length; host bits kept.
    pub address: IpNet,
    /// Scope universe or site: not link, not host.
    pub global: bool,
    /// RFC 8981 temporary address.
    pub temporary: bool,
    /// Deprecated, tentative or failed duplicate address detection.
    pub unusable: bool,
}

/// Facts about the host that only matter as problems.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostFacts {
    /// Forwarding is off for IPv4.
    pub forwarding_v4_off: bool,
    /// Forwarding is off for IPv6.
    pub forwarding_v6_off: bool,
    /// Interfaces with strict reverse path filtering on which it hurts although our rules are in
    /// place (none in a normal set-up).
    pub rp_filter: Vec<String>,
    /// Somebody else's rule or route sits where ours should be, in words.
    pub routing_conflict: Option<String>,
    /// What of the last reconcile failed, in words.
    pub reconcile_error: Option<String>,
}

impl LinkSnapshot {
    /// True if a default route leaves by the link with this index: it is an uplink.
    #[must_use]
    pub fn is_default(&self, index: u32) -> bool {
        self.default_v4 == Some(index) || self.default_v6 == Some(index)
    }

    /// True if `address` is one of this host's own.
    #[must_use]
    pub fn is_own(&self, address: IpAddr) -> bool {
        self.links
            .iter()
            .flat_map(|link| &link.addresses)
            .any(|own| own.address.addr() == address)
    }
}
