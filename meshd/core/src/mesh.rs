//! `Mesh`: joins the decisions. See the crate documentation for the loop around it. What belongs to one matter
//! (membership, publishing, peers, …) is in a file below; this one has the state, the inputs and the timers.

mod budget;
mod bypass;
mod candidate_probes;
mod connecting;
mod effort;
mod engine_events;
mod explaining;
mod host;
mod host_problems;
mod housekeeping;
mod identity_problems;
mod jitter;
mod key_change;
mod leases;
mod liveness;
mod membership;
mod names;
mod native_checks;
mod outbox;
mod path_size;
mod paths;
mod peer;
mod peer_paths;
mod peer_set;
mod peer_state;
mod peering;
mod pinging;
mod problems;
mod publish;
mod publishing;
mod recovery;
mod reflexive;
mod removals;
mod reports;
mod resume;
mod route_listing;
mod routes;
mod scene;
mod secrets;
mod server_events;
mod servers;
mod shared_fate;
mod showconf;
mod start;
mod status;
mod telling;
#[cfg(test)]
mod tests;
mod timers;
pub(crate) mod timestamp;
mod topology;
mod zone_change;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Instant;

use ipnet::{IpNet, Ipv6Net};
use mesh_proto::control::{Explain, Members, Paths, Peers, ShowConf, Status, Topology};
use mesh_proto::mesh_address::{mesh_address, mesh_prefix};
use mesh_proto::{ClusterId, ClusterKeys, MemberId, WgPublicKey};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use self::budget::Budgets;
use self::candidate_probes::CandidateProbes;
use self::host::Host;
use self::key_change::KeyChange;
use self::membership::Membership;
use self::names::Names;
use self::native_checks::NativeChecks;
use self::outbox::Outbox;
use self::paths::Sources;
use self::peer::Peer;
use self::pinging::Pings;
use self::publishing::Publisher;
use self::reflexive::Reflexive;
use self::removals::RemovalList;
use self::reports::Reporter;
use self::resume::Clocks;
use self::servers::Server;
use self::shared_fate::SharedFate;
use self::timers::{Timer, Timers};
use crate::allowed_ips::Resolution;
use crate::candidates::Gathered;
use crate::data_plane::EngineCommand;
use crate::filter::FilterProgram;
use crate::network::NetworkState;
use crate::timing::{HOUSEKEEPING, SESSIONS_INTERVAL};
use crate::{Action, Event, Input, Now, RecoveryCounters, Settings};

pub use self::key_change::KeyRefusal;
pub use self::membership::{MAX_MEMBERS, MAX_RECORD_BYTES};
pub use self::pinging::{PingRefusal, PingTicket};
pub use self::removals::RemovalRefusal;
pub use self::reports::FetchedReport;
pub use self::start::{NodeKeys, Start};

/// Passes over timers that are due in one call: a recomputation makes peers, which are dialled at once.
const PASSES: usize = 4;

/// The mesh as one node sees and runs it.
#[derive(Debug)]
pub struct Mesh {
    id: MemberId,
    public_key: WgPublicKey,
    mesh_address: Ipv6Addr,
    mesh_prefix: Ipv6Net,
    settings: Settings,
    peer_filter: Option<Arc<FilterProgram>>,
    keys: NodeKeys,
    /// The WireGuard key that is to come.
    key_change: Option<KeyChange>,
    cluster: Vec<ClusterKeys>,
    /// Ids of secrets that were in use and are not any more.
    former: BTreeSet<ClusterId>,
    rng: ChaCha20Rng,
    started: Instant,
    out: Outbox,
    timers: Timers,
    host: Host,
    servers: Vec<Server>,
    membership: Membership,
    removals: RemovalList,
    publisher: Publisher,
    reporter: Reporter,
    reflexive: Reflexive,
    pings: Pings,
    candidate_probes: CandidateProbes,
    native: NativeChecks,
    clocks: Clocks,
    /// Peers by WireGuard key: members across a boundary, members on their way out, external ones.
    /// Each on the heap, so that a search among many reads keys and little else.
    peers: BTreeMap<WgPublicKey, Box<Peer>>,
    /// Members that keep a tunnel although both records say native.
    kept: BTreeSet<MemberId>,
    /// Members whose WireGuard key another one, or this node, has.
    key_clashes: BTreeSet<MemberId>,
    names: Names,
    own_addresses: Vec<IpAddr>,
    gathered: Gathered,
    resolution: Resolution,
    owners: BTreeMap<IpNet, MemberId>,
    network: Option<NetworkState>,
    last_recompute: Option<Instant>,
    last_persist: Option<Instant>,
    record_error: Option<String>,
    sources: Sources,
    budgets: Budgets,
    shared_fate: SharedFate,
    counters: RecoveryCounters,
}

impl Mesh {
    /// A mesh that knows its cache and nothing else. Yields actions at once; the first of them is the
    /// network state that fails closed. A shell that hands in [`Input::Links`] before it carries them
    /// out spares the host a moment in which its own on-link prefixes may be closed too.
    #[must_use]
    pub fn new(start: Start, now: Now) -> Self {
        let id = start.keys.identity.public_key().member_id();
        let mesh_id = start.secret.mesh_id();
        let cluster = start.secret.keys();
        let removals = RemovalList::load(&start.secret, &start.cache.removals);
        let mut membership = Membership::new(mesh_id, removals.ids());
        let own_record = membership.load(&start.cache, &cluster, id);
        let mut mesh = Self {
            id,
            public_key: start.keys.wireguard.public_key(),
            mesh_address: mesh_address(&mesh_id, &id),
            mesh_prefix: mesh_prefix(&mesh_id),
            peer_filter: None,
            keys: start.keys,
            key_change: None,
            cluster,
            former: BTreeSet::new(),
            rng: ChaCha20Rng::from_seed(start.seed),
            started: now.instant,
            out: Outbox::default(),
            timers: Timers::default(),
            host: Host::default(),
            servers: Vec::new(),
            membership,
            removals,
            publisher: Publisher::new(start.cache.record_sequence, own_record),
            reporter: Reporter::new(start.cache.report_sequence),
            reflexive: Reflexive::default(),
            pings: Pings::default(),
            candidate_probes: CandidateProbes::new(start.seed),
            native: NativeChecks::default(),
            clocks: Clocks::default(),
            peers: BTreeMap::new(),
            kept: BTreeSet::new(),
            key_clashes: BTreeSet::new(),
            names: Names::default(),
            own_addresses: Vec::new(),
            gathered: Gathered::default(),
            resolution: Resolution::default(),
            owners: start.cache.prefix_owners,
            network: None,
            last_recompute: None,
            last_persist: None,
            record_error: None,
            sources: Sources::default(),
            budgets: Budgets::default(),
            shared_fate: SharedFate::default(),
            counters: RecoveryCounters::default(),
            settings: start.settings,
        };
        mesh.settings_changed();
        mesh.recompute(now);
        for (timer, after) in [
            (Timer::Housekeeping, HOUSEKEEPING),
            (Timer::Sessions, SESSIONS_INTERVAL),
        ] {
            mesh.timers.set(timer, Some(now.instant + after));
        }
        mesh.handle_timeout(now);
        mesh
    }

    /// Takes in something that happened.
    pub fn handle_input(&mut self, input: Input, now: Now) {
        self.notice_sleep(now);
        match input {
            Input::Engine(event) => self.engine_event(event, now),
            Input::Discovery { server, event } => self.server_event(server, event, now),
            Input::Leave => self.leave(now),
            Input::Reload(settings) => {
                self.settings = *settings;
                self.host.settings_loaded(&self.settings.zone);
                self.settings_changed();
                self.recompute(now);
            }
            Input::Secret(secret) => self.set_secret(&secret, now),
            Input::HostFacts(facts) => {
                if self.host.set_facts(facts, now.instant) {
                    self.resend_network();
                }
            }
            Input::Links(links) => {
                if self.host.set_links(links) {
                    self.reflexive.ask_again(now.instant);
                    self.arm_stun();
                    self.recompute(now);
                }
            }
            Input::NativeChecks => self.start_native_checks(now),
            Input::NativeCheck { from, bytes } => self.native_check_received(from, &bytes, now),
            Input::Persisted(result) => self.host.persist_error = result.err(),
            Input::ZoneFile(zone) => {
                self.host.zone_file = Some(zone);
                self.host.zone_file_refused = None;
                self.recompute(now);
            }
            Input::ZoneFileRefused(why) => self.host.zone_file_refused = Some(why),
            Input::ReloadRefused(why) => self.host.reload_refused = Some(why),
            Input::StaticEndpoints { addresses, failed } => {
                self.host.static_addresses = addresses;
                self.host.static_failed = failed;
                self.mark_dirty(now.instant);
            }
            Input::DiscoveryAddresses(addresses) => {
                self.host.discovery = addresses;
                self.recompute(now);
            }
        }
        self.handle_timeout(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        self.notice_sleep(now);
        for _ in 0..PASSES {
            // Mostly there is one, or none.
            let Some(first) = self.timers.pop_due(now.instant) else {
                return;
            };
            let mut others = Vec::new();
            while let Some(timer) = self.timers.pop_due(now.instant) {
                others.push(timer);
            }
            self.fire(first, now);
            for timer in others {
                self.fire(timer, now);
            }
        }
    }

    /// When [`Self::handle_timeout`] wants to be called, and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.timers.next()
    }

    /// The next thing to be done.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.out.next_action()
    }

    /// The next thing to be logged.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.out.next_event()
    }

    /// This node's member id.
    #[must_use]
    pub const fn id(&self) -> MemberId {
        self.id
    }

    /// What recovery has done since the start.
    #[must_use]
    pub const fn recovery_counters(&self) -> RecoveryCounters {
        self.counters
    }

    /// Members whose reports a topology wants.
    #[must_use]
    pub fn report_sources(&self) -> Vec<MemberId> {
        self.membership.iter().map(|(id, _)| *id).collect()
    }

    /// `meshctl status`.
    #[must_use]
    pub fn status(&self, now: Now) -> Status {
        self.build_status(now)
    }

    /// `meshctl peers`.
    #[must_use]
    pub fn peers(&self, now: Now) -> Peers {
        self.build_peers(now)
    }

    /// `meshctl members`.
    #[must_use]
    pub fn members(&self, _: Now) -> Members {
        self.build_members()
    }

    /// `meshctl paths NAME`; none if no peer has that name, unique name or id.
    #[must_use]
    pub fn paths(&self, name: &str, now: Now) -> Option<Paths> {
        self.build_paths(name, now)
    }

    /// `meshctl topology`, from the records, this node's view and the reports of others.
    #[must_use]
    pub fn topology(&self, reports: &[FetchedReport], _: Now) -> Topology {
        self.build_topology(reports)
    }

    /// `meshctl explain IP`.
    #[must_use]
    pub fn explain(&self, address: IpAddr, _: Now) -> Explain {
        self.build_explain(address)
    }

    /// `meshctl showconf`, or with a name `showconf --as-peer NAME`: what that external peer has to
    /// configure. None if there is no such peer.
    #[must_use]
    pub fn showconf(&self, as_peer: Option<&str>, _: Now) -> Option<ShowConf> {
        self.build_showconf(as_peer)
    }

    fn fire(&mut self, timer: Timer, now: Now) {
        match timer {
            Timer::Recompute => self.recompute(now),
            Timer::Publish => self.publish(now),
            Timer::Leave => self.out.act(Action::Stop),
            Timer::Persist => self.persist(now.instant),
            Timer::Report => self.send_report(now),
            Timer::Peer(key) => self.service_peer(key, now),
            Timer::Stun => {
                for (path, bytes) in self.reflexive.take_due(now.instant, &mut self.rng) {
                    self.out.engine(EngineCommand::SendDatagram { path, bytes });
                }
                self.arm_stun();
            }
            Timer::Sessions => {
                if !self.peers.is_empty() {
                    self.out.engine(EngineCommand::ReadSessions);
                }
                self.timers
                    .set(Timer::Sessions, Some(now.instant + SESSIONS_INTERVAL));
            }
            Timer::NativeChecks => self.check_zone(now),
            Timer::Housekeeping => self.keep_house(now),
            Timer::KeyChange => self.advance_key_change(now),
        }
    }

    fn arm_stun(&mut self) {
        self.timers.set(Timer::Stun, self.reflexive.next_due());
    }
}
