//! What in the kernel's configuration is ours, and what is not. Decides, changes nothing.

use std::ops::RangeInclusive;

use meshd_core::network::TABLE_MAIN;
use meshd_core::settings::Settings;

/// Rule priorities from [`Ownership::rule_priority`] on that are ours.
const RULE_PRIORITIES: u32 = 4;

/// The numbers by which meshd recognises its own interface, routes and rules, also those of a process
/// that died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ownership {
    /// Name of the tunnel interface.
    pub interface: String,
    /// Routing table.
    pub table: u32,
    /// First of four consecutive rule priorities.
    pub rule_priority: u32,
    /// Route protocol number, on routes and rules.
    pub protocol: u8,
    /// Mark of our own outer packets.
    pub mark: u32,
    /// Its mask.
    pub mask: u32,
}

impl Ownership {
    /// The numbers of a configuration.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        Self {
            interface: settings.wireguard.interface.clone(),
            table: settings.routing.table,
            rule_priority: settings.routing.rule_priority,
            protocol: settings.routing.protocol,
            mark: settings.routing.mark,
            mask: settings.routing.mask,
        }
    }

    /// The rule priorities that are ours.
    #[must_use]
    pub fn priorities(&self) -> RangeInclusive<u32> {
        self.rule_priority..=self.rule_priority.saturating_add(RULE_PRIORITIES - 1)
    }

    /// Whose a route is.
    pub(super) fn of_route(&self, table: u32, protocol: u8) -> Owner {
        match (table == self.table, protocol == self.protocol) {
            (true, true) => Owner::Us,
            (true, false) => Owner::Intruder,
            (false, _) => Owner::Others,
        }
    }

    /// Whose a rule is. Another cluster's daemon on this host has the same protocol number, but its
    /// own table.
    pub(super) fn of_rule(&self, priority: u32, table: u32, protocol: u8) -> Owner {
        let in_range = self.priorities().contains(&priority);
        let our_table = table == self.table;
        let bypass = in_range && table == TABLE_MAIN;
        if protocol == self.protocol && (our_table || bypass) {
            Owner::Us
        } else if in_range || our_table {
            Owner::Intruder
        } else {
            Owner::Others
        }
    }
}

/// Whose a route or rule is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// Made by meshd with this configuration.
    Us,
    /// Not ours, where ours should be: left alone, and reported.
    Intruder,
    /// None of our business.
    Others,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ownership() -> Ownership {
        Ownership {
            interface: "mesh0".to_owned(),
            table: 5184,
            rule_priority: 500,
            protocol: 84,
            mark: 0x1000,
            mask: 0x1000,
        }
    }

    #[test]
    fn routes_are_ours_by_table_and_protocol() {
        let cases = [
            (5184, 84, Owner::Us),
            (5184, 3, Owner::Intruder),
            (254, 84, Owner::Others),
            (254, 3, Owner::Others),
        ];
        for (table, protocol, expected) in cases {
            assert_eq!(
                ownership().of_route(table, protocol),
                expected,
                "{table} {protocol}"
            );
        }
    }

    #[test]
    fn rules_of_a_second_cluster_on_this_host_are_not_ours() {
        let cases = [
            (500, TABLE_MAIN, 84, Owner::Us),
            (503, 5184, 84, Owner::Us),
            // Left over from another rulePriority.
            (900, 5184, 84, Owner::Us),
            (503, 5185, 84, Owner::Intruder),
            (501, TABLE_MAIN, 3, Owner::Intruder),
            (900, 5184, 3, Owner::Intruder),
            (504, TABLE_MAIN, 84, Owner::Others),
            (604, 5185, 84, Owner::Others),
            (32766, TABLE_MAIN, 2, Owner::Others),
        ];
        for (priority, table, protocol, expected) in cases {
            assert_eq!(
                ownership().of_rule(priority, table, protocol),
                expected,
                "{priority} {table} {protocol}"
            );
        }
    }

    #[test]
    fn the_highest_priority_does_not_overflow() {
        let ownership = Ownership {
            rule_priority: u32::MAX,
            ..ownership()
        };
        assert_eq!(ownership.priorities(), u32::MAX..=u32::MAX);
    }
}
