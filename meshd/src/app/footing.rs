//! Footing: what of the host's network connections to the outside stand on. Containers come and go on a
//! busy node every few seconds; that is no reason to open every connection anew.

use ipnet::IpNet;
use meshd_core::links::LinkSnapshot;

/// Default routes, and the addresses that reach beyond a link.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Footing {
    defaults: [Option<u32>; 2],
    addresses: Vec<(u32, IpNet)>,
}

impl Footing {
    pub(super) fn of(links: &LinkSnapshot) -> Self {
        let up = links.links.iter().filter(|link| link.up);
        let addresses = up.flat_map(|link| {
            let usable = link
                .addresses
                .iter()
                .filter(|own| own.global && !own.unusable);
            usable.map(|own| (link.index, own.address))
        });
        Self {
            defaults: [links.default_v4, links.default_v6],
            addresses: addresses.collect(),
        }
    }

    /// True if it is another one now.
    pub(super) fn changed(&mut self, links: &LinkSnapshot) -> bool {
        let now = Self::of(links);
        let changed = *self != now;
        *self = now;
        changed
    }
}

#[cfg(test)]
mod tests {
    use meshd_core::links::{Link, LinkAddress};

    use super::*;

    fn link(index: u32, address: &str, global: bool) -> Link {
        Link {
            index,
            name: format!("link{index}"),
            kind: None,
            up: true,
            mtu: 1500,
            addresses: vec![LinkAddress {
                address: address.parse().unwrap(),
                global,
                temporary: false,
                unusable: false,
            }],
        }
    }

    #[test]
    fn containers_are_no_news_and_addresses_are() {
        let mut links = LinkSnapshot {
            links: vec![link(2, "192.0.2.1/24", true)],
            default_v4: Some(2),
            ..LinkSnapshot::default()
        };
        let mut footing = Footing::of(&links);
        links.links.push(link(7, "fe80::1/64", false));
        links.on_link.push("10.244.1.7/32".parse().unwrap());
        links.links[0].mtu = 1400;
        assert!(!footing.changed(&links));
        links.links[0] = link(2, "192.0.2.2/24", true);
        assert!(footing.changed(&links));
        assert!(!footing.changed(&links));
        links.links[0].up = false;
        assert!(footing.changed(&links));
        links.default_v4 = None;
        assert!(footing.changed(&links));
    }
}
