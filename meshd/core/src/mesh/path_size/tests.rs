//! Searches over paths that lose packets by size, by chance, or all of them.

use super::*;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};

const PACE: Duration = SIZE_PACE;

fn path(last: u8) -> PathId {
    PathId::to(([192, 0, 2, last], 51840).into())
}

/// Runs one search; how long it took, and the news.
fn search(
    size: &mut PathSize,
    start: Instant,
    mut arrives: impl FnMut(u16) -> bool,
) -> (Duration, Option<Option<u16>>) {
    size.restart(start);
    loop {
        let now = size.next().unwrap();
        let sizes = match size.step((path(1), 1420), now, PACE, |_| true) {
            Step::Wait(_) => unreachable!(),
            Step::Done => return (now - start, size.conclude(now, Duration::ZERO)),
            Step::Ask(sizes) => sizes,
        };
        for asked in sizes {
            if arrives(asked) && size.answered(ping_id(size.searches, asked)) {
                return (now - start, size.conclude(now, Duration::ZERO));
            }
        }
    }
}

#[test]
fn black_hole_is_found_within_two_seconds_and_heals() {
    let start = crate::mesh::tests::base_instant();
    for (passes, found) in [(1419, 1400), (1399, 1360), (1300, 1280), (1270, 1200)] {
        let mut size = PathSize::default();
        let (took, news) = search(&mut size, start, |asked| asked <= passes);
        assert_eq!(news, Some(Some(found)), "{passes}");
        assert!(took <= Duration::from_secs(2), "{took:?}");
        assert_eq!(size.next(), Some(start + took + SIZE_AGAIN_LOWERED));
        let (_, again) = search(&mut size, start, |asked| asked <= passes);
        assert_eq!(again, None, "the same is no news");
        let (took, healed) = search(&mut size, start, |_| true);
        assert_eq!((took, healed), (Duration::ZERO, Some(None)));
        assert_eq!(size.limit(), None);
    }
}

#[test]
fn silence_says_nothing() {
    let start = crate::mesh::tests::base_instant();
    let mut size = PathSize::default();
    assert_eq!(search(&mut size, start, |_| false).1, None);
    search(&mut size, start, |asked| asked <= 1300);
    assert_eq!(search(&mut size, start, |_| false).1, None);
    assert_eq!(size.limit(), Some(1280), "what was known stays");
}

#[test]
fn random_loss_lowers_nothing() {
    let start = crate::mesh::tests::base_instant();
    let mut rng = ChaCha20Rng::from_seed([3; 32]);
    let mut size = PathSize::default();
    for _ in 0..2000 {
        // Question or answer.
        search(&mut size, start, |_| rng.next_u64() % 1000 >= 98);
        assert_eq!(size.limit(), None);
    }
}

#[test]
fn answers_to_other_searches_do_not_count() {
    let start = crate::mesh::tests::base_instant();
    let mut size = PathSize::default();
    size.step((path(1), 1420), start, PACE, |_| true);
    let old = ping_id(size.searches, 1420);
    // Another path is another search.
    size.step((path(2), 1420), start, PACE, |_| true);
    assert!(!size.answered(old));
    assert!(!size.answered(ping_id(size.searches, 9000)));
    assert!(size.answered(ping_id(size.searches, 1420)));
    assert!(ping_id(u32::MAX, u16::MAX) < 1 << 63);
}

#[test]
fn a_round_without_room_is_no_round() {
    let start = crate::mesh::tests::base_instant();
    let mut size = PathSize::default();
    size.restart(start);
    let mut now = start;
    let mut asked = Vec::new();
    for turn in 0..100 {
        // Every second time there is no room.
        match size.step((path(1), 1420), now, PACE, |_| turn % 2 == 1) {
            Step::Wait(_) => assert_eq!(size.next(), Some(now + Budget::PAUSE)),
            Step::Ask(sizes) => asked.push(sizes.len()),
            Step::Done => break,
        }
        now = size.next().unwrap();
    }
    assert_eq!(asked, [1, 1, 1, 6, 6, 6], "all rounds all the same");
}
