//! Contests: who gets a prefix that several members claim.

use ipnet::IpNet;
use mesh_proto::MemberId;

use super::Claim;

/// What a prefix is to its claimant; the lower one wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// Its mesh address.
    Mesh,
    /// One of its own addresses.
    Node,
    /// A network behind it.
    Network,
}

/// What is known of a claimant's life; the lower one wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Life {
    Alive,
    Fresh,
    Registered,
}

/// One claimant of one prefix.
#[derive(Debug, Clone, Copy)]
pub(super) struct Contender {
    pub(super) prefix: IpNet,
    pub(super) member: MemberId,
    pub(super) class: Class,
    pub(super) tunnel: bool,
    life: Life,
    first_seen_ms: u64,
}

impl Contender {
    pub(super) const fn new(claim: &Claim<'_>, prefix: IpNet, class: Class) -> Self {
        let life = match (claim.alive, claim.fresh) {
            (true, _) => Life::Alive,
            (false, true) => Life::Fresh,
            (false, false) => Life::Registered,
        };
        Self {
            prefix,
            member: claim.member,
            class,
            tunnel: claim.tunnel,
            life,
            first_seen_ms: claim.first_seen_ms,
        }
    }

    /// Why this one wins over `loser`. Does not depend on who had it before, so that the text stays.
    pub(super) fn reason(&self, loser: &Self) -> String {
        let why = match (self.class, self.life) {
            (Class::Mesh | Class::Node, _) => "whose own address it is",
            (Class::Network, Life::Alive) if loser.life > Life::Alive => "which is alive",
            (Class::Network, Life::Fresh) if loser.life > Life::Fresh => "whose lease is live",
            (Class::Network, _) => "which had it first",
        };
        let native = if self.tunnel { "" } else { " in this zone" };
        format!(
            "contested: belongs to member {}{native}, {why}",
            self.member.short()
        )
    }
}

/// The claimant that gets the prefix.
pub(super) fn winner<'a>(
    contenders: &'a [Contender],
    previous: Option<&MemberId>,
) -> Option<&'a Contender> {
    contenders.iter().min_by_key(|one| {
        let newcomer = previous != Some(&one.member);
        (one.class, one.life, newcomer, one.first_seen_ms, one.member)
    })
}
