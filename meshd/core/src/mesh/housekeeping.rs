//! Housekeeping: slow matters that are looked at now and then. What each of them means is decided elsewhere.

use super::Mesh;
use super::timers::Timer;
use crate::Now;
use crate::timing::HOUSEKEEPING;

impl Mesh {
    pub(super) fn keep_house(&mut self, now: Now) {
        if self.reflexive.expire(now.instant) {
            self.mark_dirty(now.instant);
        }
        self.forget_dead(now);
        self.offer_removals(now.instant);
        if self.host.wants_resend(now.instant) {
            self.resend_network();
        }
        self.timers
            .set(Timer::Housekeeping, Some(now.instant + HOUSEKEEPING));
    }
}
