//! Host: what the shell said of the machine: links, facts, files and names it resolved.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::links::{HostFacts, LinkSnapshot};
use crate::settings::ZoneSource;

/// Between two attempts to bring the kernel to a state it refused: whatever is in the way rarely goes
/// away sooner, and each attempt answers with facts again.
const RESEND_GAP: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct Host {
    links: Option<LinkSnapshot>,
    pub(super) facts: HostFacts,
    /// Why the disk cache is not on disk.
    pub(super) persist_error: Option<String>,
    /// Outer none: nobody read the file yet.
    pub(super) zone_file: Option<Option<String>>,
    /// Why the zone file's last content is not used.
    pub(super) zone_file_refused: Option<String>,
    /// Why the configuration file's last content is not used.
    pub(super) reload_refused: Option<String>,
    pub(super) static_addresses: Vec<SocketAddr>,
    pub(super) static_failed: Vec<String>,
    pub(super) discovery: Vec<SocketAddr>,
    pub(super) recreated: Option<Instant>,
    /// When somebody changed the interface last, and what was done about it.
    pub(super) healed: Option<(Instant, String)>,
    resent: Option<Instant>,
}

impl Host {
    /// True if the reading differs from the last one.
    pub(super) fn set_links(&mut self, links: LinkSnapshot) -> bool {
        let changed = self.links.as_ref() != Some(&links);
        self.links = Some(links);
        changed
    }

    /// The configuration was read again and is in use.
    pub(super) fn settings_loaded(&mut self, zone: &ZoneSource) {
        self.reload_refused = None;
        if *zone != ZoneSource::File {
            self.zone_file_refused = None;
        }
    }

    pub(super) const fn links_known(&self) -> bool {
        self.links.is_some()
    }

    pub(super) fn links(&self) -> LinkSnapshot {
        self.links.clone().unwrap_or_default()
    }

    /// True if the network state has to be sent once more.
    pub(super) fn set_facts(&mut self, facts: HostFacts, now: Instant) -> bool {
        self.facts = facts;
        self.wants_resend(now)
    }

    /// True if the last reconcile failed and another attempt is due.
    pub(super) fn wants_resend(&mut self, now: Instant) -> bool {
        let due = self.facts.reconcile_error.is_some()
            && self
                .resent
                .is_none_or(|at| now.saturating_duration_since(at) >= RESEND_GAP);
        if due {
            self.resent = Some(now);
        }
        due
    }
}
