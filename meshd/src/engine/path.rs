//! Local addresses of paths. What arrives is reported with the local address it came to. Where the core
//! names no local address, the engine sends from the one a peer's packets arrive at, so that NATs and
//! firewalls on the way recognise the answer. This is the one place that joins the two.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use meshd_core::data_plane::PathId;

/// A remote address and the local one that belongs to it; none lets the host's routes choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Route {
    /// Remote address and port.
    pub(super) remote: SocketAddr,
    /// Local address.
    pub(super) local: Option<IpAddr>,
}

impl Route {
    /// The path as the core knows it.
    pub(super) const fn path(self) -> PathId {
        PathId {
            local: self.local,
            remote: self.remote,
        }
    }

    /// True if a packet that came this way came by `path`, which may leave the local address open.
    pub(super) fn is_of(self, path: PathId) -> bool {
        let same_local = path.local.is_none() || self.local.is_none() || path.local == self.local;
        path.remote == self.remote && same_local
    }
}

/// Local addresses learned from what a peer sent.
#[derive(Debug, Default)]
pub(super) struct LocalAddresses {
    known: Vec<Known>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    remote: SocketAddr,
    local: IpAddr,
    /// The first packet sent since something arrived.
    unanswered: Option<Instant>,
}

impl LocalAddresses {
    /// Addresses remembered for one peer; the one unused for longest goes first.
    const MAX: usize = 8;
    /// After so long without an answer the host's routes choose again: the address may sit on a link
    /// that is down.
    const PATIENCE: Duration = Duration::from_secs(1);

    /// Notes where an authenticated packet arrived.
    pub(super) fn learn(&mut self, arrival: Route) {
        let Some(local) = arrival.local else {
            return;
        };
        let known = Known {
            remote: arrival.remote,
            local,
            unanswered: None,
        };
        match self.position(arrival.remote) {
            Some(at) => self.known[at] = known,
            None => {
                self.known.truncate(Self::MAX - 1);
                self.known.insert(0, known);
            }
        }
    }

    /// How to send on `path` now.
    pub(super) fn route(&mut self, now: Instant, path: PathId) -> Route {
        let mut route = Route {
            remote: path.remote,
            local: path.local,
        };
        if path.local.is_none()
            && let Some(at) = self.position(path.remote)
        {
            let known = &mut self.known[at];
            let since = *known.unanswered.get_or_insert(now);
            if now.saturating_duration_since(since) < Self::PATIENCE {
                route.local = Some(known.local);
            }
        }
        route
    }

    /// Forgets the local address of `remote`: the kernel says it is not ours any more.
    pub(super) fn forget(&mut self, remote: SocketAddr) {
        self.known.retain(|known| known.remote != remote);
    }

    fn position(&self, remote: SocketAddr) -> Option<usize> {
        self.known.iter().position(|known| known.remote == remote)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(port: u16, local: [u8; 4]) -> Route {
        Route {
            remote: ([192, 0, 2, 1], port).into(),
            local: Some(local.into()),
        }
    }

    #[test]
    fn answers_leave_from_where_questions_arrived() {
        let now = Instant::now();
        let mut addresses = LocalAddresses::default();
        let came = arrival(1, [10, 0, 0, 1]);
        let open = PathId::to(came.remote);
        assert_eq!(addresses.route(now, open).local, None);
        addresses.learn(came);
        assert_eq!(addresses.route(now, open), came);
        let other = PathId::to(arrival(2, [0; 4]).remote);
        assert_eq!(addresses.route(now, other).local, None);
        addresses.learn(arrival(1, [10, 0, 0, 2]));
        assert_eq!(addresses.route(now, open).local, Some([10, 0, 0, 2].into()));
        addresses.forget(came.remote);
        assert_eq!(addresses.route(now, open).local, None);
    }

    #[test]
    fn the_core_may_name_the_local_address() {
        let mut addresses = LocalAddresses::default();
        addresses.learn(arrival(1, [10, 0, 0, 1]));
        let named = PathId {
            local: Some([10, 9, 9, 9].into()),
            remote: arrival(1, [0; 4]).remote,
        };
        assert_eq!(addresses.route(Instant::now(), named).local, named.local);
    }

    #[test]
    fn an_address_without_answers_is_not_insisted_on() {
        let start = Instant::now();
        let came = arrival(1, [10, 0, 0, 1]);
        let mut addresses = LocalAddresses::default();
        addresses.learn(came);
        let open = PathId::to(came.remote);
        assert_eq!(addresses.route(start, open).local, came.local);
        let late = start + LocalAddresses::PATIENCE;
        assert_eq!(addresses.route(late, open).local, None);
        addresses.learn(came);
        assert_eq!(addresses.route(late, open).local, came.local);
    }

    #[test]
    fn arrivals_belong_to_paths() {
        let came = arrival(1, [10, 0, 0, 1]);
        assert!(came.is_of(came.path()) && came.is_of(PathId::to(came.remote)));
        assert!(!came.is_of(arrival(1, [10, 0, 0, 2]).path()));
        assert!(!came.is_of(PathId::to(arrival(2, [0; 4]).remote)));
    }

    #[test]
    fn is_bounded() {
        let mut addresses = LocalAddresses::default();
        for port in 0..100 {
            addresses.learn(arrival(port, [10, 0, 0, 1]));
        }
        assert_eq!(addresses.known.len(), LocalAddresses::MAX);
        assert!(addresses.position(arrival(99, [0; 4]).remote).is_some());
    }
}
