//! Kernel state of ours: interface, routes, rules. Desired and observed have the same form, so that the
//! difference is a set operation. Data only.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

/// Address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// All that meshd owns in the kernel's network configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetworkState {
    /// Addresses of the tunnel interface (host prefixes).
    pub addresses: BTreeSet<IpNet>,
    /// MTU of the tunnel interface.
    pub mtu: u32,
    /// Routes in our table, with our protocol number.
    pub routes: BTreeSet<Route>,
    /// Rules with our protocol number and priorities.
    pub rules: BTreeSet<Rule>,
}

/// One route in our table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// Destination; host bits are zero.
    pub prefix: IpNet,
    /// Lower wins among routes of one prefix.
    pub metric: u32,
    /// What happens.
    pub kind: RouteKind,
}

/// What a route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteKind {
    /// Into the tunnel interface, with this preferred source.
    Tunnel {
        /// Preferred source of packets of this host.
        source: Option<IpAddr>,
    },
    /// Back to the next rule: the host's own routes decide.
    Throw,
    /// Refused with ICMP: fail closed.
    Unreachable,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            RouteKind::Tunnel { source } => {
                write!(f, "{} dev tunnel metric {}", self.prefix, self.metric)?;
                source.map_or(Ok(()), |source| write!(f, " src {source}"))
            }
            RouteKind::Throw => write!(f, "throw {} metric {}", self.prefix, self.metric),
            RouteKind::Unreachable => {
                write!(f, "unreachable {} metric {}", self.prefix, self.metric)
            }
        }
    }
}

/// One policy rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// Family.
    pub family: Family,
    /// Lower is asked first.
    pub priority: u32,
    /// Which packets.
    pub selector: RuleSelector,
    /// Table to look up.
    pub table: u32,
}

/// The main routing table.
pub const TABLE_MAIN: u32 = 254;

/// Transport protocols a rule can select.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum IpProtocol {
    /// TCP.
    Tcp = 6,
    /// UDP.
    Udp = 17,
}

impl fmt::Display for IpProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// Which packets a rule selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleSelector {
    /// `ipproto P sport N`: packets of a local service, replies and reverse path checks included.
    SourcePort {
        /// Protocol.
        protocol: IpProtocol,
        /// Source port.
        port: u16,
    },
    /// `to IP ipproto P dport N`: packets to a service elsewhere.
    Destination {
        /// Destination address.
        address: IpAddr,
        /// Protocol.
        protocol: IpProtocol,
        /// Destination port.
        port: u16,
    },
    /// `not fwmark M/K`: everything that is not marked as ours.
    NotMark {
        /// Mark.
        mark: u32,
        /// Mask.
        mask: u32,
    },
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.priority)?;
        match self.selector {
            RuleSelector::SourcePort { protocol, port } => {
                write!(f, "ipproto {protocol} sport {port}")?;
            }
            RuleSelector::Destination {
                address,
                protocol,
                port,
            } => {
                write!(f, "to {address} ipproto {protocol} dport {port}")?;
            }
            RuleSelector::NotMark { mark, mask } => write!(f, "not fwmark {mark:#x}/{mask:#x}")?,
        }
        match self.table {
            TABLE_MAIN => f.write_str(" lookup main"),
            table => write!(f, " lookup {table}"),
        }
    }
}
