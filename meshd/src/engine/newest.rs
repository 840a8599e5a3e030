//! Which packets of a peer are news of where it is. A copy that somebody held back and sends on from
//! another address is authentic too, and must not move the path: only the newest packet tells.

/// The newest packet of one peer: its session by receiver index, and its counter.
#[derive(Debug, Default)]
pub(super) struct Newest {
    current: Option<Progress>,
    /// Another session that packets come on.
    other: Option<Progress>,
}

/// How far a session has come.
#[derive(Debug, Clone, Copy)]
struct Progress {
    index: u32,
    /// The lowest counter that is news.
    next: u64,
    /// Packets that were news, in a row.
    run: u32,
}

impl Progress {
    const fn new(index: u32) -> Self {
        Self {
            index,
            next: 0,
            run: 0,
        }
    }

    const fn take(&mut self, counter: u64) -> bool {
        let is_news = counter >= self.next;
        if is_news {
            self.next = counter.saturating_add(1);
            self.run = self.run.saturating_add(1);
        }
        is_news
    }
}

impl Newest {
    /// If both ends start at once, the far end may stay on the session that is the older one here: after so
    /// many packets there, and none on the other, it is the one in use.
    const RETURN: u32 = 32;

    /// A handshake is complete: packets on `index` are the newest from now on.
    pub(super) fn established(&mut self, index: u32) {
        if self.current.is_none_or(|current| current.index != index) {
            self.other = self.current.replace(Progress::new(index));
        }
    }

    /// True if no newer packet has come than this one, which is authentic.
    pub(super) fn take(&mut self, index: u32, counter: u64) -> bool {
        let current = self.current.get_or_insert(Progress::new(index));
        if current.index == index {
            if let Some(other) = &mut self.other {
                other.run = 0;
            }
            return current.take(counter);
        }
        let other = self.other.get_or_insert(Progress::new(index));
        if other.index != index {
            *other = Progress::new(index);
        }
        if other.take(counter) && other.run > Self::RETURN {
            std::mem::swap(current, other);
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rising_counters_of_the_newest_session_are_news() {
        let mut newest = Newest::default();
        assert!(newest.take(1, 0) && newest.take(1, 5));
        assert!(!newest.take(1, 5) && !newest.take(1, 4) && newest.take(1, 6));
        newest.established(2);
        assert!(!newest.take(1, 7), "held back from the older session");
        assert!(newest.take(2, 0) && newest.take(2, 1));
        newest.established(2);
        assert!(!newest.take(2, 0), "told twice");
        assert!(newest.take(2, u64::MAX));
    }

    #[test]
    fn the_session_the_far_end_stays_on_is_the_newest() {
        let mut newest = Newest::default();
        newest.established(1);
        newest.established(2);
        let told = (0..100).position(|counter| newest.take(1, counter));
        assert_eq!(told, Some(Newest::RETURN as usize));
        assert!(newest.take(1, 1000));
        // A few that were held back come between packets of the session in use.
        for counter in 0..100 {
            assert!(!newest.take(2, counter));
            assert!(newest.take(1, 2000 + counter));
        }
    }
}
