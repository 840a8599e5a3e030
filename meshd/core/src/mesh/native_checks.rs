//! Native checks: whether the members of this node's zone are where the zone says: reached without a tunnel, at
//! their own addresses, with no address translation between. Two sites under one label would talk in clear,
//! or not at all. It only names what it finds; no route and no tunnel depends on it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Bound;
use std::time::{Duration, Instant};

use mesh_proto::native_check::{NativeCheck, NativeCheckKind, native_check_port};
use mesh_proto::{CandidateKind, MemberId, Record};
use rand_core::Rng as _;

use super::problems::{Found, some_of};
use super::routes::all_addresses;
use super::timers::Timer;
use super::{Mesh, jitter};
use crate::timing::{NATIVE_CHECK_EVERY, NATIVE_CHECK_RETRY, NATIVE_CHECK_TICK};
use crate::zone::{Side, same_zone, wants_tunnel};
use crate::{Action, Now};

/// Members asked in one tick; the others wait for a later one.
const MAX_ASKED: usize = 20;
/// Answers given in one tick: whoever records a question can send it again.
const MAX_ANSWERED: u32 = 50;
/// Addresses of a member that are asked; one answer is enough.
const MAX_ADDRESSES: usize = 4;
/// Questions without an answer before a member counts as silent.
const SILENT_AFTER: u8 = 3;

/// How it stands with one member of the zone.
#[derive(Debug)]
struct Check {
    next: Instant,
    /// The question that waits for an answer.
    asked: Option<u64>,
    unanswered: u8,
    /// An address that the member saw our question come from, and that is none of ours.
    translated: Option<IpAddr>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct NativeChecks {
    members: BTreeMap<MemberId, Check>,
    /// Who was asked last; the turn goes round.
    last: Option<MemberId>,
    questions: u64,
    answered: u32,
}

impl NativeChecks {
    /// Keeps to the members `there` are; new ones are asked at a random moment soon.
    fn set_members(
        &mut self,
        there: &BTreeMap<MemberId, Vec<SocketAddr>>,
        mut at: impl FnMut() -> Instant,
    ) {
        self.members.retain(|id, _| there.contains_key(id));
        for id in there.keys() {
            self.members.entry(*id).or_insert_with(|| Check {
                next: at(),
                asked: None,
                unanswered: 0,
                translated: None,
            });
        }
    }

    /// Members whose turn it is, at most [`MAX_ASKED`], beginning behind the last one.
    fn take_turn(&mut self, now: Instant) -> Vec<MemberId> {
        let due = |(id, check): (&MemberId, &Check)| (check.next <= now).then_some(*id);
        let after = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = self
            .members
            .range((after, Bound::Unbounded))
            .filter_map(due);
        let mut turn: Vec<MemberId> = behind.take(MAX_ASKED).collect();
        if let Some(last) = self.last {
            let before = self.members.range(..=last).filter_map(due);
            turn.extend(before.take(MAX_ASKED - turn.len()));
        }
        self.last = turn.last().copied().or(self.last);
        turn
    }

    /// Notes a question that goes out now; returns its number.
    fn ask(&mut self, id: &MemberId, now: Instant, every: Duration) -> u64 {
        self.questions += 1;
        let number = self.questions;
        if let Some(check) = self.members.get_mut(id) {
            if check.asked.is_some() {
                check.unanswered = check.unanswered.saturating_add(1);
            }
            check.asked = Some(number);
            let silent = check.unanswered >= SILENT_AFTER;
            check.next = now + if silent { every } else { NATIVE_CHECK_RETRY };
        }
        number
    }

    /// An answer came; `translated` is the address it names, if that is none of ours.
    fn heard(&mut self, id: &MemberId, number: u64, translated: Option<IpAddr>, next: Instant) {
        if let Some(check) = self.members.get_mut(id)
            && check.asked == Some(number)
        {
            *check = Check {
                next,
                asked: None,
                unanswered: 0,
                translated,
            };
        }
    }

    /// Members that do not answer.
    pub(super) fn silent(&self) -> impl Iterator<Item = &MemberId> {
        let silent = self.members.iter();
        silent.filter_map(|(id, check)| (check.unanswered >= SILENT_AFTER).then_some(id))
    }

    /// Members behind an address translation, with the address they see of this node.
    pub(super) fn translated(&self) -> impl Iterator<Item = (&MemberId, IpAddr)> {
        let answering = self.members.iter();
        answering.filter_map(|(id, check)| Some((id, check.translated?)))
    }
}

impl Mesh {
    /// The shell can send and receive checks.
    pub(super) fn start_native_checks(&mut self, now: Now) {
        self.timers
            .set_earlier(Timer::NativeChecks, now.instant + NATIVE_CHECK_TICK);
    }

    /// Asks whoever is due.
    pub(super) fn check_zone(&mut self, now: Now) {
        self.native.answered = 0;
        let there = self.native_members();
        let rng = &mut self.rng;
        self.native.set_members(&there, || {
            now.instant + jitter::up_to(rng, NATIVE_CHECK_RETRY)
        });
        for id in self.native.take_turn(now.instant) {
            let every = jitter::about(&mut self.rng, NATIVE_CHECK_EVERY);
            let number = self.native.ask(&id, now.instant, every);
            for to in there.get(&id).into_iter().flatten() {
                self.send_check(NativeCheckKind::Ask, id, number, *to);
            }
        }
        self.timers
            .set(Timer::NativeChecks, Some(now.instant + NATIVE_CHECK_TICK));
    }

    /// Takes a datagram that came to the port of checks.
    pub(super) fn native_check_received(&mut self, from: SocketAddr, datagram: &[u8], now: Now) {
        let Some(check) = NativeCheck::open(&self.cluster, datagram) else {
            return;
        };
        if check.to != self.id || check.from == self.id {
            return;
        }
        match check.kind {
            NativeCheckKind::Ask => {
                let member = self.membership.get(&check.from);
                let native =
                    member.is_some_and(|member| self.is_native(&check.from, &member.record));
                if native && self.native.answered < MAX_ANSWERED {
                    self.native.answered += 1;
                    let answer = NativeCheckKind::Answer(from.ip().to_canonical());
                    self.send_check(answer, check.from, check.id, from);
                }
            }
            NativeCheckKind::Answer(seen) => {
                let translated = (!self.has_address(seen)).then_some(seen);
                let next = now.instant + jitter::about(&mut self.rng, NATIVE_CHECK_EVERY);
                self.native.heard(&check.from, check.id, translated, next);
            }
        }
    }

    /// Members of this zone without a tunnel whose lease is live, and where to ask them.
    fn native_members(&self) -> BTreeMap<MemberId, Vec<SocketAddr>> {
        let own_port = self.settings.wireguard.listen_port;
        self.membership
            .iter()
            .filter(|(id, member)| member.leases.is_fresh() && self.is_native(id, &member.record))
            .map(|(id, member)| (*id, check_addresses(&member.record, own_port)))
            .filter(|(_, addresses)| !addresses.is_empty())
            .collect()
    }

    /// True if no tunnel belongs between this node and that member, because they share a zone.
    fn is_native(&self, id: &MemberId, record: &Record) -> bool {
        let zone = self.own_zone();
        let own = Side {
            member: self.id,
            zone: zone.as_deref(),
            mode: self.settings.mode,
        };
        let other = Self::side_of(*id, record);
        same_zone(&own, &other) && !wants_tunnel(&own, &other) && !self.kept.contains(id)
    }

    /// True for any address of this host, temporary ones included.
    fn has_address(&self, address: IpAddr) -> bool {
        all_addresses(&self.host.links()).contains(&address)
    }

    fn send_check(&mut self, kind: NativeCheckKind, to: MemberId, id: u64, address: SocketAddr) {
        let mut nonce = [0; 24];
        self.rng.fill_bytes(&mut nonce);
        let Some(keys) = self.cluster.first() else {
            return;
        };
        let check = NativeCheck {
            kind,
            from: self.id,
            to,
            id,
        };
        let bytes = check.seal(keys, nonce);
        self.out.act(Action::SendNative { to: address, bytes });
    }
}

impl Mesh {
    pub(super) fn zone_problems(&self, found: &mut Found) {
        let silent: Vec<String> = self.native.silent().map(|id| self.names.of(id)).collect();
        let names: Vec<&str> = silent.iter().map(String::as_str).collect();
        let zone = self.own_zone().unwrap_or_default();
        if !names.is_empty() {
            found.warn(
                "zone_split",
                format!("in this node's zone {zone}, and not reached without a tunnel: {}", some_of(&names)),
                format!(
                    "if they are at another site, give them another node.zone: nodes of one zone talk in clear. If they are here, check the network between, and let UDP port {} in",
                    native_check_port(self.settings.wireguard.listen_port).unwrap_or_default()
                ),
            );
        }
        let translated: Vec<String> = self
            .native
            .translated()
            .map(|(id, seen)| format!("{} (sees {seen})", self.names.of(id)))
            .collect();
        let names: Vec<&str> = translated.iter().map(String::as_str).collect();
        if !names.is_empty() {
            found.warn(
                "zone_split",
                format!(
                    "in this node's zone {zone}, and behind an address translation: {}",
                    some_of(&names)
                ),
                "give nodes at different sites different zones: nodes of one zone talk in clear",
            );
        }
    }
}

/// Where a member takes checks: beside the WireGuard port of its links' endpoints, or beside ours if it
/// publishes none of them.
fn check_addresses(record: &Record, own_port: u16) -> Vec<SocketAddr> {
    let local = record
        .candidates
        .iter()
        .find(|candidate| candidate.kind == CandidateKind::Local);
    let wireguard = local.map_or(own_port, |candidate| candidate.address.port());
    let Some(port) = native_check_port(wireguard) else {
        return Vec::new();
    };
    let addresses = record.node_addresses.iter().take(MAX_ADDRESSES);
    addresses.map(|ip| SocketAddr::new(*ip, port)).collect()
}
