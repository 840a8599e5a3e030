//! One entry of a filter program: an address range, included or excluded.

use std::fmt;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// One entry. Shown as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterEntry {
    /// True for an exclusion.
    pub negated: bool,
    /// The range as written: host bits may be set.
    pub net: IpNet,
    range: IpNet,
    text: String,
}

impl FilterEntry {
    /// Parses one entry; the error is a message.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix('!');
        let net = parse_net(rest.unwrap_or(text))
            .ok_or_else(|| format!("{text:?} is not a CIDR or an IP address"))?;
        Ok(Self {
            negated: rest.is_some(),
            net,
            range: canonical(net),
            text: text.to_owned(),
        })
    }

    /// The range that counts: host bits are zero, IPv4-mapped ranges are IPv4.
    #[must_use]
    pub const fn range(&self) -> IpNet {
        self.range
    }

    /// True if the range contains the address; an IPv4-mapped address counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.range.contains(&address.to_canonical())
    }
}

impl fmt::Display for FilterEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The range with host bits masked and IPv4-mapped ranges turned into IPv4.
pub(super) fn canonical(net: IpNet) -> IpNet {
    if let IpNet::V6(v6) = net
        && let Some(v4) = v6.addr().to_ipv4_mapped()
        && let Some(length) = v6.prefix_len().checked_sub(96)
        && let Ok(v4) = Ipv4Net::new(v4, length)
    {
        return IpNet::V4(v4).trunc();
    }
    net.trunc()
}

fn parse_net(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}
