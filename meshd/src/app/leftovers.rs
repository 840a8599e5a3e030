//! Leftovers: the `unreachable` routes that a process before this one left behind. The disk cache may
//! not know all their prefixes (a crash just before a write, a damaged file), so they stay until a
//! discovery server has told who is in the mesh: a start must not open what was closed.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use meshd_core::network::{NetworkState, Route, RouteKind};

/// After a server has told everything: the mesh plans its routes within this time.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// Routes to keep, and until when.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    routes: BTreeSet<Route>,
    desired: Option<NetworkState>,
    synced: Option<Instant>,
}

impl Leftovers {
    /// What of the `observed` state keeps traffic from leaving in clear.
    pub(super) fn of(observed: NetworkState) -> Self {
        let mut routes = observed.routes;
        routes.retain(|route| route.kind == RouteKind::Unreachable);
        Self {
            routes,
            ..Self::default()
        }
    }

    /// The `desired` state with what has to be kept. What stays native now wins over a leftover.
    pub(super) fn join(&mut self, desired: NetworkState) -> NetworkState {
        if self.routes.is_empty() {
            return desired;
        }
        let mut joined = desired.clone();
        let kept = self.routes.iter().filter(|kept| {
            !desired.routes.iter().any(|route| {
                let same = (route.prefix, route.metric) == (kept.prefix, kept.metric);
                same || route.kind == RouteKind::Throw && route.prefix.contains(&kept.prefix)
            })
        });
        joined.routes.extend(kept);
        self.desired = Some(desired);
        joined
    }

    /// A server has told everything it knows.
    pub(super) fn synced(&mut self, now: Instant) {
        self.synced.get_or_insert(now);
    }

    /// The desired state without leftovers, once, when the time has come to let go of them.
    pub(super) fn release(&mut self, now: Instant) -> Option<NetworkState> {
        let settled = self.synced? + SETTLED_AFTER <= now;
        if !settled || self.routes.is_empty() {
            return None;
        }
        self.routes.clear();
        self.desired.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(routes: &[(&str, u32, RouteKind)]) -> NetworkState {
        let route = |&(prefix, metric, kind): &(&str, u32, RouteKind)| Route {
            prefix: prefix.parse().unwrap(),
            metric,
            kind,
        };
        NetworkState {
            routes: routes.iter().map(route).collect(),
            ..NetworkState::default()
        }
    }

    const CLOSED: RouteKind = RouteKind::Unreachable;
    const TUNNEL: RouteKind = RouteKind::Tunnel { source: None };

    #[test]
    fn what_was_closed_stays_closed_until_a_server_has_spoken() {
        let observed = state(&[
            ("10.9.1.0/24", 10, TUNNEL),
            ("10.9.1.0/24", 20, CLOSED),
            ("10.9.2.0/24", 20, CLOSED),
            ("10.9.3.7/32", 20, CLOSED),
            ("192.168.0.0/24", 5, RouteKind::Throw),
        ]);
        let desired = state(&[
            ("10.9.1.0/24", 10, TUNNEL),
            ("10.9.1.0/24", 20, CLOSED),
            // Native now: the zone was changed, or an address was added.
            ("10.9.3.0/24", 5, RouteKind::Throw),
        ]);
        let mut expected = desired.clone();
        expected
            .routes
            .extend(state(&[("10.9.2.0/24", 20, CLOSED)]).routes);
        let mut leftovers = Leftovers::of(observed);
        assert_eq!(leftovers.join(desired.clone()), expected);
        let start = Instant::now();
        assert_eq!(leftovers.release(start), None, "nobody has spoken");
        leftovers.synced(start);
        leftovers.synced(start + SETTLED_AFTER);
        assert_eq!(leftovers.release(start), None, "the mesh is thinking");
        let later = start + SETTLED_AFTER;
        assert_eq!(leftovers.release(later), Some(desired.clone()));
        assert_eq!(leftovers.release(later), None);
        assert_eq!(leftovers.join(desired.clone()), desired);
    }
}
