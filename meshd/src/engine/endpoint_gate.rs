//! Applies a peer's endpoint filter to remote addresses, fast enough for every packet.

use std::net::IpAddr;
use std::sync::Arc;

use meshd_core::filter::FilterProgram;

/// A filter with its latest verdicts.
#[derive(Debug, Default)]
pub(super) struct EndpointGate {
    filter: Option<Arc<FilterProgram>>,
    verdicts: Vec<(IpAddr, bool)>,
}

impl EndpointGate {
    /// Verdicts remembered; the oldest go first.
    const MAX_VERDICTS: usize = 8;

    /// A gate that lets through what `filter` allows; all if none.
    pub(super) const fn new(filter: Option<Arc<FilterProgram>>) -> Self {
        Self {
            filter,
            verdicts: Vec::new(),
        }
    }

    /// True if the peer may be reached at `address`.
    pub(super) fn allows(&mut self, address: IpAddr) -> bool {
        let Some(filter) = &self.filter else {
            return true;
        };
        if let Some((_, allowed)) = self.verdicts.iter().find(|(known, _)| *known == address) {
            return *allowed;
        }
        let allowed = filter.allows(address);
        self.verdicts.truncate(Self::MAX_VERDICTS - 1);
        self.verdicts.insert(0, (address, allowed));
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_those_of_the_filter() {
        let filter = FilterProgram::parse(&["10.0.0.0/8", "!10.1.0.0/16"]).unwrap();
        let mut gate = EndpointGate::new(Some(Arc::new(filter)));
        for _ in 0..2 {
            for (address, allowed) in [
                ([10, 0, 0, 1], true),
                ([10, 1, 0, 1], false),
                ([192, 0, 2, 1], false),
            ] {
                assert_eq!(gate.allows(address.into()), allowed, "{address:?}");
            }
        }
        for last in 0..100 {
            gate.allows([10, 0, 0, last].into());
        }
        assert_eq!(gate.verdicts.len(), EndpointGate::MAX_VERDICTS);
        assert!(EndpointGate::new(None).allows([192, 0, 2, 1].into()));
    }
}
