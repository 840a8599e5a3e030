//! Restarts: a process that lost its sessions.

use super::*;

#[test]
fn peer_restart() {
    let strike = |world: &mut World| {
        world.kill(0);
        world.run(Duration::from_millis(700));
        world.start_again(0);
        // From the start of the new process.
        let now = world.now.instant;
        for (from, to) in [(0, 1), (1, 0)] {
            world.streams.start(from, to, now);
        }
    };
    let samples = sample(strike, |_| {});
    assert_numbers("peer-restart", &samples, 100, 300);
}

#[test]
fn both_restart() {
    let strike = |world: &mut World| {
        for index in [0, 1] {
            world.kill(index);
        }
        world.run(Duration::from_millis(700));
        for index in [0, 1] {
            world.start_again(index);
        }
    };
    let mut world = dual_homed();
    strike(&mut world);
    blackouts(&mut world);
    world.run_s(1);
    for (from, to) in [(0, 1), (1, 0)] {
        assert_eq!(world.state(from, to), Some(PeerState::Up));
    }
}
