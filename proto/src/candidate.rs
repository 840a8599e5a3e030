//! Candidate: an `ip:port` at which a node may be reachable, and where it was learned.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// Where a candidate comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CandidateKind {
    /// An address of the node's own interfaces.
    Local,
    /// From `extraAnnouncedEndpoints`.
    Static,
    /// Learned by STUN on the WireGuard port (RFC 8489).
    Reflexive,
    /// The source address a discovery server saw, with the WireGuard port.
    Observed,
    /// A port mapping the node asked its router for.
    Mapped,
    /// A relay.
    Relay,
}

impl fmt::Display for CandidateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Local => "local",
            Self::Static => "static",
            Self::Reflexive => "reflexive",
            Self::Observed => "observed",
            Self::Mapped => "mapped",
            Self::Relay => "relay",
        })
    }
}

/// One candidate of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Candidate {
    /// Address and UDP port.
    pub address: SocketAddr,
    /// Where it comes from.
    pub kind: CandidateKind,
}

/// True for addresses that only mean something inside one site: RFC 1918, RFC 6598 (CGNAT),
/// RFC 4193 (ULA). Used for preference only, never for permission.
#[must_use]
pub const fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_private() || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

/// True if a packet can be addressed to it at all: not unspecified, loopback, multicast, broadcast,
/// link-local, or an IPv4-mapped IPv6 address.
#[must_use]
pub const fn is_usable_endpoint(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            !(v4.is_unspecified()
                || v4.is_loopback()
                || v4.is_multicast()
                || v4.is_broadcast()
                || v4.is_link_local()
                || v4.octets()[0] == 0)
        }
        IpAddr::V6(v6) => !(is_scoped_v6(v6) || v6.to_ipv4_mapped().is_some()),
    }
}

const fn is_scoped_v6(v6: Ipv6Addr) -> bool {
    v6.is_unspecified() || v6.is_loopback() || v6.is_multicast() || v6.is_unicast_link_local()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_and_usable() {
        for (text, private, usable) in [
            ("10.1.2.3", true, true),
            ("100.64.0.1", true, true),
            ("100.128.0.1", false, true),
            ("203.0.113.7", false, true),
            ("fd00::1", true, true),
            ("2001:db8::1", false, true),
            ("127.0.0.1", false, false),
            ("169.254.1.1", false, false),
            ("0.1.2.3", false, false),
            ("224.0.0.1", false, false),
            ("fe80::1", false, false),
            ("::ffff:10.0.0.1", false, false),
        ] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(is_private(address), private, "{text}");
            assert_eq!(is_usable_endpoint(address), usable, "{text}");
        }
    }
}
