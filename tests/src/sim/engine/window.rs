//! Replay window of a session (RFC 6479): which counters were seen.

/// Counters remembered, as in boringtun.
const WORDS: usize = 16;
const BITS: u64 = 64;

#[derive(Debug, Default)]
pub(super) struct Window {
    /// One above the highest counter seen.
    next: u64,
    seen: [u64; WORDS],
}

impl Window {
    /// True if `counter` is new; it counts as seen from now on.
    pub(super) fn accept(&mut self, counter: u64) -> bool {
        let span = BITS * (WORDS as u64 - 1);
        if counter + span < self.next {
            return false;
        }
        if counter >= self.next {
            // The word of the next counter is stale if that counter is the first of it.
            let (old, new) = (self.next.div_ceil(BITS), counter / BITS);
            for word in old..=new.min(old + WORDS as u64) {
                self.seen[word as usize % WORDS] = 0;
            }
            self.next = counter + 1;
        }
        let word = &mut self.seen[(counter / BITS) as usize % WORDS];
        let bit = 1 << (counter % BITS);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_once_in_any_order() {
        let mut window = Window::default();
        for counter in [0, 5, 3, 1000, 999, 200_000] {
            assert!(window.accept(counter), "{counter}");
            assert!(!window.accept(counter), "{counter}");
        }
        assert!(!window.accept(1000), "too old");
        let mut window = Window::default();
        assert!((0..5000).all(|counter| window.accept(counter)), "in order");
        let mut seen = std::collections::BTreeSet::new();
        let mut window = Window::default();
        for step in 0..5000_u64 {
            let counter = step * 7 % 4999;
            if window.accept(counter) {
                assert!(seen.insert(counter), "{counter}");
            }
        }
    }
}
