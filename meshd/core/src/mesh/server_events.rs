//! Server events: what discovery servers say, taken into members, leases and the own standing. Nothing
//! a server leaves out means anything.

use std::time::{Duration, Instant};

use mesh_proto::{MemberId, VerifiedEnvelope};

use super::Mesh;
use super::membership::{Admitted, LeaseNews, Refusal};
use crate::event::Level;
use crate::input::DiscoveryEvent;
use crate::zone::zone_label;
use crate::{Action, Now};

impl Mesh {
    pub(super) fn server_event(&mut self, index: usize, event: DiscoveryEvent, now: Now) {
        let Some(server) = self.servers.get_mut(index) else {
            return;
        };
        server.last_contact = match event {
            DiscoveryEvent::Disconnected(_) => server.last_contact,
            _ => Some(now.instant),
        };
        match event {
            DiscoveryEvent::Contact => {}
            DiscoveryEvent::Connected { info, stun } => {
                // A stream opened anew, as after a change of the host's network, is no news.
                let level = if server.connected {
                    Level::Debug
                } else {
                    Level::Info
                };
                server.connected(&info, stun, now);
                self.removals.server_connected(index);
                let message = format!("connected to {}", server.url);
                self.reflexive.set_target(index, stun, now.instant);
                self.arm_stun();
                self.mark_dirty(now.instant);
                self.report_changed(now.instant);
                self.out.event("discovery_connected", level, message);
            }
            DiscoveryEvent::Disconnected(error) => self.server_lost(index, error),
            DiscoveryEvent::Synced => server.synced = true,
            DiscoveryEvent::Member {
                envelope,
                fresh,
                stale_s,
            } => {
                let lease = LeaseNews {
                    server: index,
                    fresh,
                    stale: Duration::from_secs(stale_s),
                    at: now.instant,
                };
                self.member_heard(&envelope, Some(lease), now);
            }
            DiscoveryEvent::Stale { member, sequence } => {
                let lease = LeaseNews {
                    server: index,
                    fresh: false,
                    stale: Duration::ZERO,
                    at: now.instant,
                };
                if self.membership.lease_ended(&member, sequence, lease) {
                    self.lease_changed(now.instant);
                }
            }
            DiscoveryEvent::Published(sequence) => {
                if self.publisher.leave_stored(sequence) {
                    self.timers.set(super::Timer::Leave, None);
                    self.out.act(Action::Stop);
                }
            }
            DiscoveryEvent::Conflict { stored } => self.conflict(&stored, now),
        }
    }

    /// Removes members that nobody vouches for any more.
    pub(super) fn forget_dead(&mut self, now: Now) {
        let alive: std::collections::BTreeSet<MemberId> = self
            .peers
            .values()
            .filter(|peer| peer.is_alive())
            .filter_map(|peer| peer.member())
            .collect();
        let dead = self
            .membership
            .forget_dead(now.instant, |id| alive.contains(id));
        for (_, name) in &dead {
            let why = "its lease has been over for an hour and it does not answer";
            self.out
                .peer_event("member_removed", Level::Info, name, why);
        }
        if !dead.is_empty() {
            self.mark_dirty(now.instant);
            self.persist_later(now.instant);
        }
    }

    fn server_lost(&mut self, index: usize, error: String) {
        let server = &mut self.servers[index];
        // The first failure and the loss of a live stream are news; further attempts are not.
        let level = if server.connected || server.error.is_none() {
            Level::Warn
        } else {
            Level::Debug
        };
        let message = format!("{}: {error}", server.url);
        server.disconnected(error);
        self.out.event("discovery_disconnected", level, message);
    }

    /// A member's envelope came: from a server, which knows of its lease, or from the member itself.
    pub(super) fn member_heard(
        &mut self,
        envelope: &VerifiedEnvelope,
        lease: Option<LeaseNews>,
        now: Now,
    ) {
        if self.is_removals(envelope) {
            return self.removals_heard(envelope, lease.map(|lease| lease.server), now);
        }
        let id = envelope.member();
        if id == self.id {
            self.publisher.heard_own(envelope.sequence(), now.instant);
            if Some(envelope.sequence()) > self.publisher.last() {
                self.conflict(envelope, now);
            }
            return;
        }
        // A secret was dropped while this was on its way.
        if self.former.contains(&envelope.cluster()) {
            return;
        }
        let zone_before = self
            .membership
            .get(&id)
            .map(|member| (member.record.zone.clone(), member.leases.is_fresh()));
        let outcome = self
            .membership
            .hear(envelope, &self.cluster, lease, now.unix_ms);
        match outcome {
            Ok(Admitted::Refreshed) => {
                let known = zone_before.map(|(_, fresh)| fresh);
                if lease.is_some_and(|lease| known.is_some_and(|fresh| fresh != lease.fresh)) {
                    self.lease_changed(now.instant);
                }
                return;
            }
            Ok(Admitted::Joined) => self.tell_of(&id, "member_joined", "joined the cluster"),
            Ok(Admitted::Changed) => {
                let zone_now = self.membership.get(&id).map(|m| m.record.zone.clone());
                if zone_before.map(|(zone, _)| zone) != zone_now {
                    let zone = zone_label(zone_now.flatten().as_deref(), &id);
                    self.tell_of(&id, "zone_changed", &format!("is in zone {zone} now"));
                }
            }
            Ok(Admitted::Left(name)) => {
                let name = name.unwrap_or_else(|| id.short());
                self.out
                    .peer_event("member_left", Level::Info, &name, "left the cluster");
            }
            Err(refusal) => {
                self.refused(&id, &refusal);
                return;
            }
        }
        self.mark_dirty(now.instant);
        self.persist_soon(now.instant);
    }

    /// Leases decide about contested prefixes only.
    fn lease_changed(&mut self, now: Instant) {
        if !self.owners.is_empty() {
            self.mark_dirty(now);
        }
    }

    fn tell_of(&mut self, id: &MemberId, kind: &'static str, message: &str) {
        if let Some(member) = self.membership.get(id) {
            self.out
                .peer_event(kind, Level::Info, &member.record.name, message);
        }
    }

    fn refused(&mut self, id: &MemberId, refusal: &Refusal) {
        let refused = self.membership.refused();
        let count = refused.sealed + refused.malformed + refused.full;
        let level = match refusal {
            // Lagging servers repeat old records and leaves all the time.
            Refusal::Rollback { .. } | Refusal::LongOver | Refusal::Barred => Level::Debug,
            // One member or server that sends such records all day must not fill the log.
            _ if !count.is_power_of_two() => Level::Debug,
            _ => Level::Warn,
        };
        self.out.peer_event(
            "record_refused",
            level,
            &id.short(),
            format!("record refused: {refusal}"),
        );
    }
}
