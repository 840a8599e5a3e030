//! Makes the kernel's state equal to the desired one by the smallest list of changes. Which changes,
//! and their order, is the core's business.

use std::io;

use meshd_core::diff::{Change, diff};
use meshd_core::network::{Family, NetworkState, Route, RouteKind};
use netlink_packet_route::RouteNetlinkMessage;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};

use super::interface::Interface;
use super::netlink::Netlink;
use super::observe::{Observed, RouteKey};
use super::{address, route, rule};

/// Errors that one report carries; one cause tends to make hundreds.
const MAX_ERRORS: usize = 8;

/// What a reconcile did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReconcileReport {
    /// Changes made. Zero if the state was as desired.
    pub applied: usize,
    /// What could not be done, in words, the first few.
    pub errors: Vec<String>,
    /// Something of others that is in our way, in words.
    pub conflict: Option<String>,
}

impl Netlink {
    /// Brings the kernel to the `desired` state. A change that fails does not stop the others, and
    /// nothing that is not ours is touched. While the interface does not exist, only what works
    /// without it is done: rules, and the routes that keep traffic from leaving in clear.
    pub async fn reconcile(&self, desired: &NetworkState) -> ReconcileReport {
        let _alone = self.changing.lock().await;
        let mut run = Run::new(self);
        match self.read_observed().await {
            Ok(observed) => run.apply(desired, observed).await,
            Err(error) => run.fail(error.to_string()),
        }
        let report = run.finish();
        self.reconciles.count(&report);
        report
    }
}

/// One reconcile.
struct Run<'a> {
    netlink: &'a Netlink,
    report: ReconcileReport,
    more_errors: usize,
    refused_v6: usize,
}

impl<'a> Run<'a> {
    fn new(netlink: &'a Netlink) -> Self {
        Self {
            netlink,
            report: ReconcileReport::default(),
            more_errors: 0,
            refused_v6: 0,
        }
    }

    async fn apply(&mut self, desired: &NetworkState, observed: Observed) {
        self.report.conflict.clone_from(&observed.conflict);
        let desired = self.attainable(desired, &observed);
        if let Some(interface) = &observed.interface {
            self.prepare(interface).await;
        }
        for change in diff(&desired, &observed.state) {
            self.change(change, &desired, &observed).await;
        }
        self.remove_strays(&desired, &observed).await;
    }

    /// Last, so that what a stray route refused is refused by ours before it goes. What stood in the
    /// place of one of ours is already replaced.
    async fn remove_strays(&mut self, desired: &NetworkState, observed: &Observed) {
        for stray in &observed.stray_rules {
            let removal = RouteNetlinkMessage::DelRule(rule::encode_removal(stray));
            self.make("remove a stray rule", Family::V4, removal, 0)
                .await;
        }
        for (at, stray) in &observed.stray_routes {
            if !has_key(desired, *at) {
                let removal = RouteNetlinkMessage::DelRoute(route::encode_removal(stray));
                self.make("remove a stray route", Family::V4, removal, 0)
                    .await;
            }
        }
    }

    /// The part of the desired state that the interface allows, as the kernel will show it.
    fn attainable(&mut self, desired: &NetworkState, observed: &Observed) -> NetworkState {
        let mut attainable = NetworkState {
            routes: desired
                .routes
                .iter()
                .copied()
                .map(route::as_shown)
                .collect(),
            ..desired.clone()
        };
        if observed.interface.is_some() {
            if desired.mtu == 0 {
                attainable.mtu = observed.state.mtu;
            }
            return attainable;
        }
        attainable.mtu = observed.state.mtu;
        attainable.addresses.clear();
        attainable
            .routes
            .retain(|route| !matches!(route.kind, RouteKind::Tunnel { .. }));
        let waiting = desired.routes.len() - attainable.routes.len() + desired.addresses.len();
        if waiting > 0 {
            self.fail(format!(
                "interface {} does not exist: {waiting} of its addresses and routes wait for it",
                self.netlink.ownership.interface
            ));
        }
        attainable
    }

    async fn prepare(&mut self, interface: &Interface) {
        for (step, message) in interface.preparation() {
            let what = format!("interface {}: {step}", self.netlink.ownership.interface);
            self.make(what, Family::V4, message, 0).await;
        }
    }

    async fn change(&mut self, change: Change, desired: &NetworkState, observed: &Observed) {
        let ownership = &self.netlink.ownership;
        let interface = observed.interface.as_ref();
        let index = interface.map(|interface| interface.index);
        let add = NLM_F_CREATE | NLM_F_EXCL;
        let (family, message, flags) = match change {
            Change::AddAddress(net) | Change::RemoveAddress(net) => {
                let Some(index) = index else { return };
                let message = address::encode(net, index);
                let (message, flags) = match change {
                    Change::AddAddress(_) => (RouteNetlinkMessage::NewAddress(message), add),
                    _ => (RouteNetlinkMessage::DelAddress(message), 0),
                };
                (Family::of(net.addr()), message, flags)
            }
            Change::SetMtu(mtu) => {
                let Some(interface) = interface else { return };
                (Family::V4, interface.set_mtu(mtu), 0)
            }
            Change::AddRoute(wanted) => {
                if observed.foreign_routes.contains(&key(&wanted)) {
                    // Reported as the conflict.
                    return;
                }
                let taken = has_key(&observed.state, key(&wanted))
                    || observed.stray_routes.contains_key(&key(&wanted));
                let flags = if taken {
                    NLM_F_CREATE | NLM_F_REPLACE
                } else {
                    add
                };
                let message = route::encode(&wanted, ownership, index);
                (
                    family(&wanted),
                    RouteNetlinkMessage::NewRoute(message),
                    flags,
                )
            }
            Change::RemoveRoute(old) => {
                if has_key(desired, key(&old)) {
                    // Its successor replaces it without a gap; removing by key could hit that.
                    return;
                }
                let message = route::encode_removal(&route::encode(&old, ownership, index));
                (family(&old), RouteNetlinkMessage::DelRoute(message), 0)
            }
            Change::AddRule(wanted) => {
                let message = rule::encode(&wanted, ownership.protocol);
                (wanted.family, RouteNetlinkMessage::NewRule(message), add)
            }
            Change::RemoveRule(old) => {
                let message = rule::encode(&old, ownership.protocol);
                (old.family, RouteNetlinkMessage::DelRule(message), 0)
            }
        };
        self.make(change, family, message, flags).await;
    }

    async fn make(
        &mut self,
        what: impl std::fmt::Display,
        family: Family,
        message: RouteNetlinkMessage,
        flags: u16,
    ) {
        let adding = flags & NLM_F_CREATE != 0;
        match self.netlink.connection.change(message, flags).await {
            Ok(()) => self.report.applied += 1,
            Err(error) if is_already_so(&error, adding) => {}
            Err(error) if family == Family::V6 && is_v6_disabled(&error) => self.refused_v6 += 1,
            Err(error) => self.fail(format!("cannot {what}: {error}")),
        }
    }

    fn fail(&mut self, error: String) {
        if self.report.errors.len() < MAX_ERRORS {
            self.report.errors.push(error);
        } else {
            self.more_errors += 1;
        }
    }

    fn finish(mut self) -> ReconcileReport {
        if self.more_errors > 0 {
            let more = format!("and {} more", self.more_errors);
            self.report.errors.push(more);
        }
        if self.refused_v6 > 0 {
            self.report.errors.push(format!(
                "IPv6 is disabled on this host: {} IPv6 addresses, routes or rules were not made; set \
                 sysctl net.ipv6.conf.all.disable_ipv6=0 to use IPv6",
                self.refused_v6
            ));
        }
        self.report
    }
}

const fn key(route: &Route) -> RouteKey {
    (route.prefix, route.metric)
}

fn has_key(state: &NetworkState, (prefix, metric): RouteKey) -> bool {
    let least = Route {
        prefix,
        metric,
        kind: RouteKind::Tunnel { source: None },
    };
    let next = state.routes.range(least..).next();
    next.is_some_and(|other| key(other) == (prefix, metric))
}

const fn family(route: &Route) -> Family {
    match route.prefix {
        ipnet::IpNet::V4(_) => Family::V4,
        ipnet::IpNet::V6(_) => Family::V6,
    }
}

/// Somebody was faster, to the same end.
fn is_already_so(error: &io::Error, adding: bool) -> bool {
    match error.raw_os_error() {
        Some(libc::EEXIST) => adding,
        Some(libc::ENOENT | libc::ESRCH | libc::EADDRNOTAVAIL) => !adding,
        _ => false,
    }
}

fn is_v6_disabled(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EACCES | libc::EAFNOSUPPORT | libc::EOPNOTSUPP)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_collide_by_prefix_and_metric() {
        let route = |prefix: &str, metric, kind| Route {
            prefix: prefix.parse().unwrap(),
            metric,
            kind,
        };
        let source = Some("10.9.9.9".parse().unwrap());
        let state = NetworkState {
            routes: [
                route("10.0.0.0/24", 10, RouteKind::Unreachable),
                route("10.0.1.0/24", 10, RouteKind::Throw),
                route("10.0.2.0/24", 10, RouteKind::Tunnel { source }),
            ]
            .into(),
            ..NetworkState::default()
        };
        let has = |prefix: &str, metric| has_key(&state, (prefix.parse().unwrap(), metric));
        assert!(has("10.0.0.0/24", 10) && has("10.0.1.0/24", 10) && has("10.0.2.0/24", 10));
        assert!(!has("10.0.0.0/24", 20) && !has("10.0.0.0/25", 10) && !has("10.0.3.0/24", 10));
        assert!(!has_key(
            &NetworkState::default(),
            ("10.0.0.0/24".parse().unwrap(), 10)
        ));
    }
}
