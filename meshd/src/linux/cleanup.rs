//! Removes everything that meshd made, also what an earlier process left behind.

use std::io;

use meshd_core::network::Family;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::rule::RuleMessage;

use super::interface::Interface;
use super::netlink::Netlink;
use super::observe::{FAMILIES, list_routes, list_rules};
use super::ownership::Owner;
use super::{route, rule};

/// What a clean-up removed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CleanupReport {
    /// What was removed, one thing each, in words. Empty if there was nothing.
    pub removed: Vec<String>,
    /// What could not be removed or read, in words.
    pub errors: Vec<String>,
}

impl Netlink {
    /// Removes all rules, routes and the interface of ours. Rules go first, so that traffic takes the
    /// native routes at once rather than being refused in between.
    pub async fn cleanup(&self) -> CleanupReport {
        let _alone = self.changing.lock().await;
        let mut report = CleanupReport::default();
        self.remove_rules(&mut report).await;
        self.remove_routes(&mut report).await;
        self.remove_interface(&mut report).await;
        report
    }

    /// Removes all rules and routes of ours; the interface stays.
    pub async fn remove_rules_and_routes(&self) -> CleanupReport {
        let _alone = self.changing.lock().await;
        let mut report = CleanupReport::default();
        self.remove_rules(&mut report).await;
        self.remove_routes(&mut report).await;
        report
    }

    async fn remove_rules(&self, report: &mut CleanupReport) {
        for family in FAMILIES {
            let rules = match list_rules(&self.connection, family).await {
                Ok(rules) => rules,
                Err(error) => {
                    report.errors.push(format!("cannot list rules: {error}"));
                    continue;
                }
            };
            for shown in rules.iter().filter(|shown| self.is_our_rule(shown)) {
                let removal = RouteNetlinkMessage::DelRule(rule::encode_removal(shown));
                self.remove(describe_rule(shown, family), removal, report)
                    .await;
            }
        }
    }

    async fn remove_routes(&self, report: &mut CleanupReport) {
        let index = Interface::find(&self.connection, &self.ownership.interface)
            .await
            .ok()
            .flatten()
            .map(|interface| interface.index);
        for family in FAMILIES {
            let routes = match list_routes(&self.connection, family, self.ownership.table).await {
                Ok(routes) => routes,
                Err(error) => {
                    report.errors.push(format!("cannot list routes: {error}"));
                    continue;
                }
            };
            for shown in routes.iter().filter(|shown| self.is_our_route(shown)) {
                let removal = RouteNetlinkMessage::DelRoute(route::encode_removal(shown));
                self.remove(describe_route(shown, index), removal, report)
                    .await;
            }
        }
    }

    async fn remove_interface(&self, report: &mut CleanupReport) {
        let name = &self.ownership.interface;
        match Interface::find(&self.connection, name).await {
            Ok(Some(interface)) if interface.is_tunnel() => {
                let what = format!("interface {name}");
                self.remove(what, interface.removal(), report).await;
            }
            Ok(Some(_)) => report.errors.push(format!(
                "interface {name} stays: it is not a tunnel, so meshd did not make it"
            )),
            Ok(None) => {}
            Err(error) => report
                .errors
                .push(format!("cannot look for interface {name}: {error}")),
        }
    }

    async fn remove(&self, what: String, message: RouteNetlinkMessage, report: &mut CleanupReport) {
        match self.connection.change(message, 0).await {
            Ok(()) => report.removed.push(what),
            Err(error) if is_gone(&error) => {}
            Err(error) => report.errors.push(format!("cannot remove {what}: {error}")),
        }
    }

    fn is_our_rule(&self, shown: &RuleMessage) -> bool {
        let owner = self.ownership.of_rule(
            rule::priority(shown),
            rule::table(shown),
            rule::protocol(shown),
        );
        owner == Owner::Us
    }

    fn is_our_route(&self, shown: &RouteMessage) -> bool {
        let owner = self
            .ownership
            .of_route(route::table(shown), shown.header.protocol.into());
        owner == Owner::Us
    }
}

fn describe_rule(shown: &RuleMessage, family: Family) -> String {
    let family = match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    };
    rule::decode(shown).map_or_else(
        || format!("{family} rule {}", rule::priority(shown)),
        |rule| format!("{family} rule {rule}"),
    )
}

fn describe_route(shown: &RouteMessage, interface: Option<u32>) -> String {
    match (route::decode(shown, interface), route::prefix(shown)) {
        (Some(route), _) => format!("route {route}"),
        (None, Some(prefix)) => format!("route {prefix} metric {}", route::metric(shown)),
        (None, None) => "route".to_owned(),
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOENT | libc::ESRCH | libc::ENODEV)
    )
}
