//! The virtual network: hosts with interfaces in realms, NATs between realms and the internet, weather
//! on the links, and cuts. Says where a packet arrives and when; keeps no packets.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use super::NodeId;
use super::chance::{Chance, MILLION};
use super::nat::{Nat, NatKind};
use super::time::SimTime;

/// A network of its own: realm 0 is the internet, every other one is a site.
pub type RealmId = usize;

/// The internet.
pub const INTERNET: RealmId = 0;

/// The port every node listens on.
pub(super) const PORT: u16 = 51840;

/// What a link does to packets, in both directions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weather {
    /// Lost, of a million.
    pub loss_ppm: u32,
    /// Delivered twice, of a million.
    pub duplicate_ppm: u32,
    /// Delayed by another 5 to 25 ms, of a million: others overtake them.
    pub reorder_ppm: u32,
    /// Added to the delay, at random.
    pub jitter: Duration,
}

/// One interface of a host.
#[derive(Debug, Clone)]
pub(super) struct Interface {
    pub(super) realm: RealmId,
    pub(super) address: IpAddr,
    pub(super) prefix_len: u8,
    pub(super) up: bool,
    /// One way, from the host to the middle of its network.
    pub(super) latency: Duration,
    pub(super) weather: Weather,
    /// The largest packet it passes, with IP and UDP headers; none: any.
    pub(super) largest: Option<usize>,
    /// All that is reached over it, if the host has no default route.
    pub(super) leads: Option<IpNet>,
}

/// A part of the network that a cut is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    /// Everything.
    Anywhere,
    /// All interfaces of a node.
    Node(NodeId),
    /// One of them.
    Interface(NodeId, usize),
    /// Everything in a realm, seen from outside or inside.
    Realm(RealmId),
    /// A discovery server.
    Server(usize),
    /// Nodes whose bit is set.
    Group(u128),
}

/// One end of a packet's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Host(NodeId, usize),
    Server(usize),
}

/// A packet's way: where it arrives and whom it seems to come from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    pub(super) to: Place,
    pub(super) seen_from: SocketAddr,
    /// What the far end was called by the sender's packet when it arrives.
    pub(super) addressed: SocketAddr,
}

#[derive(Debug, Clone, Copy)]
struct Cut {
    from: Area,
    to: Area,
}

/// All of it.
#[derive(Debug)]
pub(super) struct Net {
    hosts: Vec<Vec<Interface>>,
    nats: BTreeMap<RealmId, Nat>,
    places: BTreeMap<(RealmId, IpAddr), Place>,
    /// Public addresses of NATs.
    doors: BTreeMap<IpAddr, RealmId>,
    server_latency: Duration,
    cuts: BTreeMap<u64, Cut>,
    next_cut: u64,
    pub(super) weather: Weather,
}

impl Net {
    pub(super) const fn new() -> Self {
        Self {
            hosts: Vec::new(),
            nats: BTreeMap::new(),
            places: BTreeMap::new(),
            doors: BTreeMap::new(),
            server_latency: Duration::from_millis(5),
            cuts: BTreeMap::new(),
            next_cut: 0,
            weather: Weather {
                loss_ppm: 0,
                duplicate_ppm: 0,
                reorder_ppm: 0,
                jitter: Duration::ZERO,
            },
        }
    }

    pub(super) fn add_nat(&mut self, realm: RealmId, public: IpAddr, kind: NatKind) {
        self.doors.insert(public, realm);
        self.nats.insert(realm, Nat::new(public, kind));
    }

    pub(super) fn add_server(&mut self, index: usize, address: IpAddr) {
        self.places
            .insert((INTERNET, address), Place::Server(index));
    }

    pub(super) fn add_host(&mut self, interfaces: Vec<Interface>) -> NodeId {
        let node = self.hosts.len();
        for (index, interface) in interfaces.iter().enumerate() {
            let key = (interface.realm, interface.address);
            self.places.insert(key, Place::Host(node, index));
        }
        self.hosts.push(interfaces);
        node
    }

    pub(super) fn interfaces(&self, node: NodeId) -> &[Interface] {
        &self.hosts[node]
    }

    pub(super) fn interface_mut(&mut self, node: NodeId, index: usize) -> Option<&mut Interface> {
        self.hosts[node].get_mut(index)
    }

    pub(super) fn nat(&self, realm: RealmId) -> Option<&Nat> {
        self.nats.get(&realm)
    }

    /// Gives an interface another address.
    pub(super) fn readdress(&mut self, node: NodeId, index: usize, address: IpAddr) {
        let Some(interface) = self.hosts[node].get_mut(index) else {
            return;
        };
        self.places.remove(&(interface.realm, interface.address));
        interface.address = address;
        self.places
            .insert((interface.realm, address), Place::Host(node, index));
    }

    /// Forgets the mappings of a NAT; with another public address if one is given.
    pub(super) fn rebind(&mut self, realm: RealmId, public: Option<IpAddr>) {
        if let Some(nat) = self.nats.get_mut(&realm) {
            nat.rebind();
            if let Some(public) = public {
                self.doors.remove(&nat.public);
                nat.public = public;
                self.doors.insert(public, realm);
            }
        }
    }

    /// Nothing gets from `from` to `to` until the cut is mended.
    pub(super) fn cut(&mut self, from: Area, to: Area) -> u64 {
        self.next_cut += 1;
        self.cuts.insert(self.next_cut, Cut { from, to });
        self.next_cut
    }

    pub(super) fn mend(&mut self, cut: u64) {
        self.cuts.remove(&cut);
    }

    /// The interface the host's routes choose towards that address: the first one of its family that is up and
    /// leads there.
    pub(super) fn default_interface(&self, node: NodeId, towards: IpAddr) -> Option<usize> {
        let leads = |one: &Interface| one.leads.is_none_or(|prefix| prefix.contains(&towards));
        let usable =
            |one: &Interface| one.up && one.address.is_ipv4() == towards.is_ipv4() && leads(one);
        self.hosts[node].iter().position(usable)
    }

    /// The interface with that address, if it is up.
    pub(super) fn interface_of(&self, node: NodeId, address: IpAddr) -> Option<usize> {
        let found = |one: &Interface| one.up && one.address == address;
        self.hosts[node].iter().position(found)
    }

    /// Sends a packet through the NATs on its way. None if it gets nowhere.
    pub(super) fn route(
        &mut self,
        node: NodeId,
        index: usize,
        to: SocketAddr,
        now: SimTime,
    ) -> Option<Way> {
        let interface = self.hosts[node].get(index).filter(|one| one.up)?;
        let (realm, own) = (interface.realm, SocketAddr::new(interface.address, PORT));
        let way = self.find(realm, own, to, now)?;
        let open = !self.is_cut(Place::Host(node, index), way.to);
        let listens = matches!(way.to, Place::Server(_)) || way.addressed.port() == PORT;
        (open && listens && self.is_up(way.to)).then_some(way)
    }

    /// A server's datagram back to where it was asked from.
    pub(super) fn route_back(
        &self,
        server: usize,
        from: SocketAddr,
        to: SocketAddr,
        now: SimTime,
    ) -> Option<Way> {
        let way = self.enter(from, to, now)?;
        (!self.is_cut(Place::Server(server), way.to) && self.is_up(way.to)).then_some(way)
    }

    /// How long a packet takes between two places, and how many copies of it arrive: none if it is lost.
    pub(super) fn delay(&self, from: Place, to: Place, chance: &mut Chance) -> (Duration, usize) {
        let mut delay = self.latency(from, to);
        let mut copies = 1;
        for weather in [self.weather_at(from), self.weather_at(to), self.weather] {
            if weather == Weather::default() {
                continue;
            }
            if chance.happens(weather.loss_ppm) {
                return (delay, 0);
            }
            delay += chance.up_to(weather.jitter);
            if chance.happens(weather.reorder_ppm) {
                delay += Duration::from_millis(5) + chance.up_to(Duration::from_millis(20));
            }
            if chance.happens(weather.duplicate_ppm) {
                copies += 1;
            }
        }
        (delay, copies)
    }

    /// True if packets of that size, with IP and UDP headers, get through.
    pub(super) fn passes(&self, from: Place, to: Place, bytes: usize) -> bool {
        let mut ends = [from, to].into_iter().filter_map(|place| self.at(place));
        ends.all(|one| one.largest.is_none_or(|most| bytes <= most))
    }

    /// Time from one place to the other in fair weather.
    pub(super) fn latency(&self, from: Place, to: Place) -> Duration {
        let (a, b) = (self.realm_at(from), self.realm_at(to));
        if a == b && a != INTERNET {
            return Duration::from_micros(200);
        }
        self.access(from) + self.access(to)
    }

    /// True if a cut lies between the two, in that direction.
    pub(super) fn is_cut(&self, from: Place, to: Place) -> bool {
        let inside = |area: Area, place: Place| match (area, place) {
            (Area::Anywhere, _) => true,
            (Area::Node(node), Place::Host(at, _)) => node == at,
            (Area::Interface(node, index), Place::Host(at, nic)) => (node, index) == (at, nic),
            (Area::Realm(realm), place) => self.realm_at(place) == realm,
            (Area::Server(server), Place::Server(at)) => server == at,
            (Area::Group(bits), Place::Host(at, _)) => at < 128 && bits >> at & 1 == 1,
            _ => false,
        };
        let mut cuts = self.cuts.values();
        cuts.any(|cut| inside(cut.from, from) && inside(cut.to, to))
    }

    /// Some of a million that one direction between two places loses.
    pub(super) fn loss_ppm(&self, from: Place, to: Place) -> u32 {
        let all = [self.weather_at(from), self.weather_at(to), self.weather];
        let sum: u32 = all.iter().map(|weather| weather.loss_ppm).sum();
        sum.min(MILLION)
    }

    fn find(
        &mut self,
        realm: RealmId,
        own: SocketAddr,
        to: SocketAddr,
        now: SimTime,
    ) -> Option<Way> {
        if let Some(place) = self.places.get(&(realm, to.ip())) {
            return Some(Way {
                to: *place,
                seen_from: own,
                addressed: to,
            });
        }
        if realm == INTERNET {
            return self.enter(own, to, now);
        }
        let nat = self.nats.get_mut(&realm)?;
        if nat.public.is_ipv4() != to.is_ipv4() {
            return None;
        }
        if nat.public == to.ip() && !nat.kind.hairpin {
            return None;
        }
        let outer = nat.outbound(own, to, now);
        self.enter(outer, to, now)
    }

    /// From the internet to `to`, through the NAT it belongs to if it does.
    fn enter(&self, from: SocketAddr, to: SocketAddr, now: SimTime) -> Option<Way> {
        let (realm, addressed) = match self.doors.get(&to.ip()) {
            Some(realm) => {
                let inner = self.nats.get(realm)?.inbound(to.port(), from, now)?;
                (*realm, inner)
            }
            None => (INTERNET, to),
        };
        let place = self.places.get(&(realm, addressed.ip()))?;
        Some(Way {
            to: *place,
            seen_from: from,
            addressed,
        })
    }

    fn is_up(&self, place: Place) -> bool {
        match place {
            Place::Host(node, index) => self.hosts[node].get(index).is_some_and(|one| one.up),
            Place::Server(_) => true,
        }
    }

    fn at(&self, place: Place) -> Option<&Interface> {
        match place {
            Place::Host(node, index) => self.hosts[node].get(index),
            Place::Server(_) => None,
        }
    }

    fn realm_at(&self, place: Place) -> RealmId {
        self.at(place).map_or(INTERNET, |one| one.realm)
    }

    fn access(&self, place: Place) -> Duration {
        self.at(place)
            .map_or(self.server_latency, |one| one.latency)
    }

    fn weather_at(&self, place: Place) -> Weather {
        self.at(place)
            .map_or_else(Weather::default, |one| one.weather)
    }
}
