//! What of the kernel's configuration is ours, and what of others is in its way. Changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use ipnet::IpNet;
use meshd_core::network::{Family, NetworkState};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::route::{RouteAttribute, RouteFlags, RouteMessage};
use netlink_packet_route::rule::RuleMessage;

use super::connection::{Connection, NetlinkError};
use super::interface::Interface;
use super::netlink::Netlink;
use super::ownership::Owner;
use super::{address, route, rule};

/// Both families.
pub(super) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// What makes two routes of one table collide: prefix and metric.
pub(super) type RouteKey = (IpNet, u32);

/// One reading.
#[derive(Debug, Default)]
pub(super) struct Observed {
    /// None if there is no interface of that name, or it is not a tunnel.
    pub(super) interface: Option<Interface>,
    pub(super) state: NetworkState,
    /// Marked as ours, but of a form that we do not write today: left by another version or another
    /// interface name.
    pub(super) stray_routes: BTreeMap<RouteKey, RouteMessage>,
    /// The same for rules.
    pub(super) stray_rules: Vec<RuleMessage>,
    /// Routes of others in our table.
    pub(super) foreign_routes: BTreeSet<RouteKey>,
    /// The first thing of others that is in our way, in words.
    pub(super) conflict: Option<String>,
}

impl Netlink {
    /// Reads what is ours: addresses and MTU of our interface, routes in our table with our protocol
    /// number, rules with our protocol number at our priorities.
    ///
    /// # Errors
    ///
    /// If the kernel does not answer. A missing interface is not an error.
    pub async fn observe(&self) -> Result<NetworkState, NetlinkError> {
        Ok(self.read_observed().await?.state)
    }

    pub(super) async fn read_observed(&self) -> Result<Observed, NetlinkError> {
        let mut observed = Observed::default();
        self.read_interface(&mut observed)
            .await
            .map_err(NetlinkError::reading("tunnel interface"))?;
        for family in FAMILIES {
            let rules = list_rules(&self.connection, family)
                .await
                .map_err(NetlinkError::reading("rules"))?;
            rules
                .into_iter()
                .for_each(|message| self.sort_rule(message, &mut observed));
            let routes = list_routes(&self.connection, family, self.ownership.table)
                .await
                .map_err(NetlinkError::reading("routes"))?;
            routes
                .into_iter()
                .for_each(|message| self.sort_route(message, &mut observed));
        }
        Ok(observed)
    }

    async fn read_interface(&self, observed: &mut Observed) -> io::Result<()> {
        let name = &self.ownership.interface;
        let Some(interface) = Interface::find(&self.connection, name).await? else {
            return Ok(());
        };
        if !interface.is_tunnel() {
            observed.conflict = Some(format!(
                "interface {name} exists and is not a tunnel; set another wireguard.interface"
            ));
            return Ok(());
        }
        observed.state.mtu = interface.mtu;
        for family in FAMILIES {
            let addresses = list_addresses(&self.connection, family).await?;
            observed.state.addresses.extend(
                addresses
                    .iter()
                    .filter(|message| message.header.index == interface.index)
                    .filter_map(address::decode)
                    .map(|shown| shown.address)
                    .filter(|net| !is_link_local(*net)),
            );
        }
        observed.interface = Some(interface);
        Ok(())
    }

    fn sort_route(&self, message: RouteMessage, observed: &mut Observed) {
        let table = route::table(&message);
        let Some(prefix) = route::prefix(&message) else {
            return;
        };
        let key = (prefix, route::metric(&message));
        let index = observed.interface.as_ref().map(|interface| interface.index);
        match self
            .ownership
            .of_route(table, message.header.protocol.into())
        {
            Owner::Us => match route::decode(&message, index) {
                Some(ours) => {
                    observed.state.routes.insert(ours);
                }
                None => {
                    observed.stray_routes.insert(key, message);
                }
            },
            Owner::Intruder => {
                observed.foreign_routes.insert(key);
                observed.conflict.get_or_insert_with(|| {
                    format!(
                        "route {prefix} of protocol {} is in table {table}, which is ours; remove it \
                         or set another routing.table",
                        message.header.protocol
                    )
                });
            }
            Owner::Others => {}
        }
    }

    fn sort_rule(&self, message: RuleMessage, observed: &mut Observed) {
        let priority = rule::priority(&message);
        let table = rule::table(&message);
        match self
            .ownership
            .of_rule(priority, table, rule::protocol(&message))
        {
            Owner::Us => match rule::decode(&message) {
                Some(ours) => {
                    observed.state.rules.insert(ours);
                }
                None => observed.stray_rules.push(message),
            },
            Owner::Intruder => {
                let range = self.ownership.priorities();
                observed.conflict.get_or_insert_with(|| {
                    format!(
                        "a rule of another program with priority {priority} looks up table {table}; \
                         priorities {} to {} and table {} are ours: set another routing.rulePriority \
                         or routing.table",
                        range.start(),
                        range.end(),
                        self.ownership.table
                    )
                });
            }
            Owner::Others => {}
        }
    }
}

/// The addresses of all interfaces.
pub(super) async fn list_addresses(
    connection: &Connection,
    family: Family,
) -> io::Result<Vec<AddressMessage>> {
    let mut query = AddressMessage::default();
    query.header.family = route::address_family(family);
    let listed = connection
        .list(RouteNetlinkMessage::GetAddress(query))
        .await;
    let wanted = route::address_family(family);
    Ok(unless_missing(listed)?
        .into_iter()
        .filter_map(|message| match message {
            RouteNetlinkMessage::NewAddress(message) => Some(message),
            _ => None,
        })
        .filter(|message| message.header.family == wanted)
        .collect())
}

/// The routes of one table.
pub(super) async fn list_routes(
    connection: &Connection,
    family: Family,
    table: u32,
) -> io::Result<Vec<RouteMessage>> {
    let mut query = RouteMessage::default();
    query.header.address_family = route::address_family(family);
    query.attributes = vec![RouteAttribute::Table(table)];
    let listed = connection.list(RouteNetlinkMessage::GetRoute(query)).await;
    let wanted = route::address_family(family);
    Ok(unless_missing(listed)?
        .into_iter()
        .filter_map(|message| match message {
            RouteNetlinkMessage::NewRoute(message) => Some(message),
            _ => None,
        })
        .filter(|message| {
            message.header.address_family == wanted
                && route::table(message) == table
                && !message.header.flags.contains(RouteFlags::Cloned)
        })
        .collect())
}

/// All rules.
pub(super) async fn list_rules(
    connection: &Connection,
    family: Family,
) -> io::Result<Vec<RuleMessage>> {
    let mut query = RuleMessage::default();
    query.header.family = route::address_family(family);
    let listed = connection.list(RouteNetlinkMessage::GetRule(query)).await;
    let wanted = route::address_family(family);
    Ok(unless_missing(listed)?
        .into_iter()
        .filter_map(|message| match message {
            RouteNetlinkMessage::NewRule(message) => Some(message),
            _ => None,
        })
        .filter(|message| message.header.family == wanted)
        .collect())
}

/// A table that nobody made yet, or a family that the kernel does not have, is empty.
fn unless_missing(
    listed: io::Result<Vec<RouteNetlinkMessage>>,
) -> io::Result<Vec<RouteNetlinkMessage>> {
    match listed {
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::ENOENT | libc::EAFNOSUPPORT | libc::EOPNOTSUPP)
            ) =>
        {
            Ok(Vec::new())
        }
        listed => listed,
    }
}

/// The kernel makes such addresses by itself.
fn is_link_local(net: IpNet) -> bool {
    match net {
        IpNet::V4(_) => false,
        IpNet::V6(net) => net.addr().is_unicast_link_local(),
    }
}
