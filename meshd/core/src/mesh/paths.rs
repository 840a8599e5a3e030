//! Paths: all ways to one peer, which of them is in use, and the numbers of the pings on them.

mod choosing;
mod estimate;
mod path;
mod penalty;
mod sources;
pub(super) mod words;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub(super) use self::choosing::Gain;
pub(super) use self::path::Path;
use self::path::{Facts, Place};
pub(super) use self::sources::Sources;
use crate::candidates::RankedEndpoint;
use crate::data_plane::PathId;
use crate::timing::LEARNED_LIFETIME;

/// Paths of one peer that candidates make.
const MAX_PATHS: usize = 32;
/// Own addresses of one family that paths leave from.
const MAX_SOURCES: usize = 4;
/// Paths of one peer that only packets told of.
const MAX_LEARNED: usize = 4;

/// What new endpoints or sources do to the path in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Update {
    /// Nothing.
    Kept,
    /// It goes on, but the host's own addresses are others.
    Moved,
    /// It goes on under this name.
    Renamed(PathId),
    /// It cannot be used any more.
    Gone,
}

#[derive(Debug, Default)]
pub(super) struct Paths {
    /// In order of preference, learned ones last.
    known: Vec<Path>,
    in_use: Option<PathId>,
    /// Where the path in use most likely stands in the list.
    place_in_use: usize,
    /// Some path has a local address.
    is_any_named: bool,
    sources: Sources,
    next_ping: u64,
}

impl Paths {
    pub(super) const fn in_use(&self) -> Option<PathId> {
        self.in_use
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Path> {
        self.known.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Path> {
        self.known.iter_mut()
    }

    pub(super) fn get(&self, id: &PathId) -> Option<&Path> {
        Some(&self.known[self.index(id)?])
    }

    pub(super) fn facts_mut(&mut self, id: &PathId) -> Option<&mut Facts> {
        let index = self.index(id)?;
        Some(&mut self.known[index].facts)
    }

    /// The path in use with its facts.
    pub(super) fn current(&self) -> Option<&Path> {
        self.get(&self.in_use?)
    }

    pub(super) fn current_facts(&mut self) -> Option<&mut Facts> {
        self.facts_mut(&self.in_use?)
    }

    /// Nearly always the path in use is meant: the others are not looked at then.
    fn index(&self, id: &PathId) -> Option<usize> {
        let is_it = |path: &Path| path.id == *id;
        if self.known.get(self.place_in_use).is_some_and(is_it) {
            return Some(self.place_in_use);
        }
        self.known.iter().position(is_it)
    }

    /// Packets go there from now on.
    pub(super) fn set_in_use(&mut self, id: Option<PathId>) {
        if let Some(id) = id {
            self.remember(id);
        }
        self.in_use = id;
        self.look_through();
    }

    /// The list or the path in use is another one: notes what need not be looked for in it.
    fn look_through(&mut self) {
        let place = self.in_use.and_then(|id| self.index(&id));
        self.place_in_use = place.unwrap_or_default();
        self.is_any_named = self.known.iter().any(|path| path.id.local.is_some());
    }

    /// The path a packet came by, learned if it is new.
    pub(super) fn arrived(&mut self, arrival: PathId, now: Instant) -> PathId {
        let id = self.name_of(arrival);
        self.remember(id);
        if let Some(facts) = self.facts_mut(&id) {
            facts.last_receive = Some(now);
        }
        id
    }

    /// The same without learning: where the engine means `path`.
    pub(super) fn find(&self, path: PathId) -> Option<PathId> {
        let exact = || self.get(&path);
        let known = self.is_any_named.then(exact).flatten();
        let known = known.or_else(|| self.get(&PathId::to(path.remote)));
        known.map(|known| known.id)
    }

    /// What the path of an arrival is called, known or not.
    pub(super) fn name_of(&self, arrival: PathId) -> PathId {
        (self.find(arrival)).unwrap_or_else(|| self.sources.learned(arrival))
    }

    /// A number that no ping has had.
    pub(super) const fn number(&mut self) -> u64 {
        self.next_ping += 1;
        self.next_ping
    }

    /// The number of a ping that leaves by `path` now.
    pub(super) fn ping(&mut self, path: &PathId, now: Instant) -> u64 {
        let id = self.number();
        if let Some(facts) = self.facts_mut(path) {
            facts.pinged(id, now);
        }
        id
    }

    /// Answers to what was asked so far are not waited for any more, and not missed.
    pub(super) fn forget_pings(&mut self) {
        for path in &mut self.known {
            path.facts.forget_pings();
        }
    }

    /// Takes an answer; the path that was asked.
    pub(super) fn pong(&mut self, id: u64, now: Instant) -> Option<PathId> {
        self.known
            .iter_mut()
            .find_map(|path| path.facts.answered(id, now).then_some(path.id))
    }

    /// Takes over new endpoints and sources, and says what that does to the path in use.
    pub(super) fn update(
        &mut self,
        endpoints: &[RankedEndpoint],
        sources: &Sources,
        now: Instant,
    ) -> Update {
        let mut next = sources.paths(endpoints);
        for path in &mut next {
            let old = self
                .known
                .iter()
                .find(|old| self.same(sources, &old.id, &path.id));
            match old {
                Some(old) => path.facts = old.facts.clone(),
                None => path.facts.restart_probes(now),
            }
        }
        let stays = |old: &Path| {
            let known = next
                .iter()
                .any(|path| path.id == old.id || self.same(sources, &old.id, &path.id));
            let wanted = old.kind.is_none() || self.in_use == Some(old.id);
            wanted && !known && sources.has(old.id.local)
        };
        let mut learned: Vec<Path> = self
            .known
            .iter()
            .filter(|old| stays(old))
            .cloned()
            .collect();
        for path in &mut learned {
            (path.place, path.kind) = (Place::LEARNED, None);
        }
        next.append(&mut learned);
        let heir = self.in_use.and_then(|old| {
            let heir = |path: &&Path| self.same(sources, &old, &path.id);
            next.iter().find(heir).map(|path| path.id)
        });
        let moved = self.sources.is_known() && !self.sources.same_addresses(sources);
        self.known = next;
        self.sources = sources.clone();
        self.look_through();
        match (self.in_use, heir) {
            (None, _) => Update::Kept,
            (Some(old), Some(heir)) if old != heir => Update::Renamed(heir),
            (Some(old), _) if self.get(&old).is_none() => Update::Gone,
            _ if moved => Update::Moved,
            _ => Update::Kept,
        }
    }

    /// True if `new` under the new sources is the way that `old` was, named or not.
    fn same(&self, sources: &Sources, old: &PathId, new: &PathId) -> bool {
        let (before, after) = (self.sources.named(old), sources.named(new));
        old.remote == new.remote
            && (before == after || (before.is_none() && !self.sources.is_known()))
    }

    /// Forgets paths to addresses that may not be sent to any more.
    pub(super) fn forbid(&mut self, allowed: impl Fn(SocketAddr) -> bool) {
        let in_use = self.in_use;
        self.known
            .retain(|path| in_use == Some(path.id) || allowed(path.id.remote));
        self.look_through();
    }

    /// Forgets paths that no candidate names and nothing came by lately.
    pub(super) fn forget_stale(&mut self, now: Instant) {
        let in_use = self.in_use;
        self.known.retain(|path| {
            let recent = path
                .facts
                .last_receive
                .is_some_and(|at| now.saturating_duration_since(at) < LEARNED_LIFETIME);
            path.kind.is_some() || in_use == Some(path.id) || recent
        });
        self.look_through();
    }

    /// When the oldest ping of the path in use left that has no answer.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        self.current()?.facts.oldest_waiting()
    }

    /// Smoothed round trip time of the path in use.
    pub(super) fn rtt(&self) -> Option<Duration> {
        self.current()?.facts.rtt.smoothed()
    }

    /// Lost probes of the last 32 on the path in use, per cent.
    pub(super) fn loss(&self) -> Option<u32> {
        self.current()?.facts.loss.percent()
    }

    fn remember(&mut self, id: PathId) {
        if self.get(&id).is_some() {
            return;
        }
        let learned = |path: &&Path| path.kind.is_none();
        if self.known.iter().filter(learned).count() >= MAX_LEARNED {
            let in_use = self.in_use;
            let oldest = self
                .known
                .iter()
                .filter(learned)
                .filter(|path| in_use != Some(path.id))
                .min_by_key(|path| path.facts.last_receive)
                .map(|path| path.id);
            self.known.retain(|path| Some(path.id) != oldest);
        }
        self.known.push(Path {
            id,
            place: Place::LEARNED,
            kind: None,
            facts: Facts::default(),
        });
        self.look_through();
    }
}
