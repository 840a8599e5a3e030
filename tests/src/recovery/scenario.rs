//! Scenarios by name: what happens to a running pair of nodes. Data only.

use std::fmt;
use std::str::FromStr;

/// Prefix of a scenario's name that stops the discovery server first.
const DEAD: &str = "discovery-dead-";

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The way in use drops everything, both ways.
    BlackholeBoth,
    /// It drops what `a` sends.
    BlackholeOut,
    /// It drops what `b` sends.
    BlackholeIn,
    /// The NIC in use of `a` goes down.
    LinkDown,
    /// The address in use of `a` is replaced by another one.
    AddressReplaced,
    /// The address in use of `b` is replaced by another one.
    PeerAddressReplaced,
    /// `b` is killed and started again.
    PeerRestart,
    /// Both are killed and started again.
    BothRestart,
    /// The NAT before `a` forgets all connections.
    NatFlush,
    /// 1 % random loss on both ways.
    Loss1,
    /// 5 % random loss on both ways.
    Loss5,
    /// `b` is killed and started with its clock an hour back.
    ClockBehind,
    /// Bulk data fills the tunnel in both directions. Nothing is broken.
    Saturated,
}

/// A scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scenario {
    /// What happens.
    pub fault: Fault,
    /// True if the discovery server was stopped before.
    pub discovery_dead: bool,
}

impl Fault {
    /// Every fault, in the order of the report.
    pub const ALL: [Self; 13] = [
        Self::BlackholeBoth,
        Self::BlackholeOut,
        Self::BlackholeIn,
        Self::LinkDown,
        Self::AddressReplaced,
        Self::PeerAddressReplaced,
        Self::PeerRestart,
        Self::BothRestart,
        Self::NatFlush,
        Self::Loss1,
        Self::Loss5,
        Self::ClockBehind,
        Self::Saturated,
    ];

    /// Its name on the command line and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BlackholeBoth => "blackhole-both",
            Self::BlackholeOut => "blackhole-out",
            Self::BlackholeIn => "blackhole-in",
            Self::LinkDown => "link-down",
            Self::AddressReplaced => "address-replaced",
            Self::PeerAddressReplaced => "peer-address-replaced",
            Self::PeerRestart => "peer-restart",
            Self::BothRestart => "both-restart",
            Self::NatFlush => "nat-flush",
            Self::Loss1 => "loss-1",
            Self::Loss5 => "loss-5",
            Self::ClockBehind => "clock-behind",
            Self::Saturated => "saturated",
        }
    }

    /// Repetitions unless told otherwise. The numbers that are published come from the first six and
    /// the restarts.
    #[must_use]
    pub const fn repetitions(self) -> usize {
        match self {
            Self::Loss1 | Self::Loss5 | Self::Saturated => 1,
            Self::NatFlush | Self::ClockBehind => 20,
            _ => 100,
        }
    }

    /// Percent lost, for the scenarios that last.
    #[must_use]
    pub const fn loss(self) -> Option<u8> {
        match self {
            Self::Loss1 => Some(1),
            Self::Loss5 => Some(5),
            _ => None,
        }
    }
}

impl Scenario {
    /// Every scenario, in the order of the report.
    pub fn all() -> impl Iterator<Item = Self> {
        [false, true].into_iter().flat_map(|discovery_dead| {
            Fault::ALL.into_iter().map(move |fault| Self {
                fault,
                discovery_dead,
            })
        })
    }

    /// The scenarios a pattern names: one, or all that begin as it does up to a final `*`.
    ///
    /// # Errors
    /// In words, if it names none.
    pub fn matching(pattern: &str) -> Result<Vec<Self>, String> {
        let Some(beginning) = pattern.strip_suffix('*') else {
            return Ok(vec![pattern.parse()?]);
        };
        let found: Vec<_> = Self::all()
            .filter(|scenario| scenario.to_string().starts_with(beginning))
            .collect();
        if found.is_empty() {
            return Err(unknown(pattern));
        }
        Ok(found)
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.discovery_dead {
            f.write_str(DEAD)?;
        }
        f.write_str(self.fault.name())
    }
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::all()
            .find(|scenario| scenario.to_string() == text)
            .ok_or_else(|| unknown(text))
    }
}

fn unknown(text: &str) -> String {
    let names = Fault::ALL.map(Fault::name).join(", ");
    format!("no scenario {text}; there are {names}, and each with {DEAD} before it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for scenario in Scenario::all() {
            assert_eq!(scenario.to_string().parse(), Ok(scenario));
        }
        let dead = Scenario::matching("discovery-dead-*").unwrap();
        assert_eq!(dead.len(), Fault::ALL.len());
        assert!(dead.iter().all(|scenario| scenario.discovery_dead));
        assert_eq!(Scenario::matching("blackhole-*").unwrap().len(), 3);
        assert!(Scenario::matching("x*").is_err() && Scenario::matching("blackhole").is_err());
    }
}
