//! Every interval and timeout of the core, each with its reason.

use std::time::Duration;

/// WireGuard persistent keepalive. UDP mappings of common NATs live 30 s and more; DESIGN asks for at
/// most 20 s (KubeSpan uses 25 s).
pub const KEEPALIVE: Duration = Duration::from_secs(20);

/// Between the copies of one initiation on consecutive paths. Most answers come within 100 ms, so the
/// preferred path usually wins, and a dead one costs little.
pub const HANDSHAKE_STAGGER: Duration = Duration::from_millis(100);
/// The last copy goes out this much after the first: every candidate is tried within one second.
pub const HANDSHAKE_SPREAD: Duration = Duration::from_millis(900);
/// Never more than one new initiation per peer in this time: initiations cost the far end an X25519
/// each, and a lost one is repeated by then.
pub const INITIATION_GAP: Duration = Duration::from_secs(1);
/// Wait after the first, second and every later initiation without an answer: quick while a peer is
/// just starting, then WireGuard's own 5 s (`Rekey-Timeout`).
pub const HANDSHAKE_ROUNDS: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
];
/// Added to the wait, at random: two ends do not stay in step (`REKEY_TIMEOUT_JITTER` of WireGuard).
pub const HANDSHAKE_JITTER: Duration = Duration::from_millis(333);
/// New initiations a second to all peers together, and at once: each costs the far end an X25519, and a network
/// that fails takes all peers along. Peers that are not up leave a quarter to those that are.
pub const INITIATION_RATE: u32 = 200;
/// See [`INITIATION_RATE`].
pub const INITIATION_BURST: u32 = 128;
/// Before an initiation is tried again for which there was no room, and half of it more at random; times one for
/// each [`PROBE_FULL_RATE_PEERS`] peers.
pub const INITIATION_PAUSE: Duration = Duration::from_millis(50);
/// A peer is dialled where an initiation came from that was refused for so long: it tries again every five seconds.
pub const REFUSED_FRESH: Duration = Duration::from_secs(10);
/// A peer that never answered is called down after this; it is dialled all the same.
pub const CONNECTING_LIMIT: Duration = Duration::from_secs(10);

/// Between two pings inside a tunnel.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// The same to a peer that no data was exchanged with for [`IDLE_AFTER`]: nobody waits for anything, and
/// data that is sent has the path checked at once.
pub const PROBE_INTERVAL_IDLE: Duration = Duration::from_secs(5);
/// See [`PROBE_INTERVAL_IDLE`].
pub const IDLE_AFTER: Duration = Duration::from_secs(10);
/// A peer is not called down before it was asked on all paths for so long.
pub const ASKED_BEFORE_DOWN: Duration = Duration::from_secs(4);
/// When the own envelope goes to a connected peer again that does not hold it yet, ten per cent more or
/// less; the last one repeats.
pub const TELL_AGAIN: [Duration; 7] = [
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(60),
];
/// Before the own envelope is offered to a peer again for which there was no room in [`TELL_RATE`].
pub const TELL_PAUSE: Duration = Duration::from_secs(1);
/// Bytes a second of the own envelope to all peers together: 1 Mbit/s, so that 1,000 peers hear of a change
/// of two kilobytes within 20 seconds. They are for the times without a server.
pub const TELL_RATE: u32 = 125_000;
/// Bytes at once; what is not urgent takes three quarters: 200 peers hear of a change at once.
pub const TELL_BURST: u32 = 600_000;
/// Up to this many peers every one is pinged each [`PROBE_INTERVAL`].
pub const PROBE_FULL_RATE_PEERS: usize = 200;
/// Above that, pings a second in total: 1,000 peers cost less than 1 Mbit/s.
pub const PROBES_PER_SECOND: usize = 100;
/// Answers to pings per peer and second: more is not a measurement but a flood.
pub const PONGS_PER_SECOND: u32 = 200;
/// The same to pings outside the tunnel, which are rare.
pub const CANDIDATE_ANSWERS_PER_SECOND: u32 = 50;
/// Silence after which a peer is down, at the full probe rate.
pub const DOWN_AFTER: Duration = Duration::from_secs(5);
/// A peer that is heard but does not answer pings: its path works in one direction only. Longer than
/// [`DOWN_AFTER`], since a full queue also loses answers.
pub const ONE_WAY_AFTER: Duration = Duration::from_secs(8);

/// Probe timeout before the first sample: longer than most round trips on Earth.
pub const PTO_UNKNOWN: Duration = Duration::from_millis(250);
/// Least part of a probe timeout above the smoothed round trip: what scheduling on a busy host takes.
pub const PTO_VARIANCE_FLOOR: Duration = Duration::from_millis(20);
/// Most of it: suspicion is cheap, and a host with hiccups must not become blind to a dead path.
pub const PTO_VARIANCE_CEILING: Duration = Duration::from_millis(100);
/// Least probe timeout while nobody waits for data: no hurry, and fewer doubts on a busy host.
pub const PTO_CALM: Duration = Duration::from_millis(100);
/// Between pings on the path in use while data waits for an answer: several fit into
/// [`SUSPECT_AFTER`], so that random loss rarely takes them all.
pub const PING_QUICK: Duration = Duration::from_millis(25);
/// Between pings on the path in use after one was missed, without data that waits.
pub const PING_SLOW: Duration = Duration::from_millis(100);
/// Silence after data was sent before the path in use is suspect: longer than common pauses.
pub const SUSPECT_AFTER: Duration = Duration::from_millis(150);
/// Doubt without an answer becomes suspicion after this, whatever is counted as missed.
pub const DOUBT_LIMIT: Duration = Duration::from_secs(1);
/// Missed pings for that. With 5 % loss each way one in a thousand such windows meets it, and then the
/// race clears it.
pub const SUSPECT_MISSES_QUICK: usize = 3;
/// Missed pings without data that waits, or while other packets still come in.
pub const SUSPECT_MISSES_SLOW: usize = 4;
/// Missed pings after which data goes out twice. A copy too many costs nothing but bytes.
pub const DUPLICATE_MISSES: usize = 2;
/// How long data goes out twice, renewed while there is reason to.
pub const DUPLICATE_FOR: Duration = Duration::from_millis(500);
/// When the other paths are probed after suspicion; then at [`HUNT`].
pub const RACE: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
];
/// So long into the race a node whose engine goes where packets come from asks other paths outside the tunnel only.
/// Then the far end may be one that does not answer there, and packets are sent after the questions.
pub const RACE_BLIND: Duration = Duration::from_millis(500);
/// Between pings on the path in use during the race: it keeps the traffic if one is answered.
pub const RACE_IN_USE: Duration = Duration::from_millis(20);
/// Least time the path in use has to answer after another one did. Data goes out twice meanwhile.
pub const RACE_GRACE: Duration = Duration::from_millis(60);
/// The same for an engine that goes where packets come from, which tells of silence later.
pub const RACE_GRACE_ROAMING: Duration = Duration::from_millis(30);
/// Between two sessions to one peer that are given up because only probes outside the tunnel are answered.
pub const GIVE_UP_GAP: Duration = Duration::from_secs(60);
/// Least time between two times that an engine which goes where packets come from is left there; doubled each time,
/// so often at most.
pub const FOLLOW_GAP: Duration = Duration::from_secs(1);
/// See [`FOLLOW_GAP`].
pub const FOLLOW_DOUBLINGS: u32 = 4;
/// Without any for this long, the next one is the first again.
pub const FOLLOW_FORGET: Duration = Duration::from_secs(60);
/// Bounds of the time without any answer, two probe timeouts, after which the session itself is
/// suspected to be lost.
pub const LOST_AFTER: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_millis(500));
/// Of two ends that both suspect the session, the one with the higher key waits this long.
pub const HIGHER_KEY_WAITS: Duration = Duration::from_millis(250);
/// Between probes of all paths while none answers.
pub const HUNT: Duration = Duration::from_secs(1);
/// The same for a peer that is down: it is dialled as well.
pub const HUNT_DOWN: Duration = Duration::from_secs(5);
/// When the same initiation goes out again on the best paths (with the answer kept by the far end).
pub const HANDSHAKE_REPEATS: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
];
/// Between copies of an initiation to a peer that takes equal bytes twice: only to keep the order.
pub const HANDSHAKE_STAGGER_QUICK: Duration = Duration::from_millis(5);

/// A path that failed in use is not preferred for this long, doubled with each failure.
pub const HOLD_DOWN: Duration = Duration::from_secs(2);
/// Bound of the doubling.
pub const HOLD_DOWN_MAX: Duration = Duration::from_secs(300);
/// Without a failure for this long, the next one is the first again.
pub const HOLD_DOWN_FORGET: Duration = Duration::from_secs(600);
/// A round trip must be shorter by this, and by a fifth, to be worth a switch inside one class.
pub const UPGRADE_RTT: Duration = Duration::from_millis(10);
/// Least time after a switch before shorter round trips cause another one.
pub const FASTER_GAP: Duration = Duration::from_secs(30);
/// Least time after a switch before an end without a preference follows the other one to its path; twice that for
/// the end with the higher key, so that two such ends do not change places.
pub const AGREE_GAP: Duration = Duration::from_secs(1);
/// Answers in a row before a better path is taken.
pub const UPGRADE_STREAK: u32 = 3;
/// Between the probes that make up that row.
pub const CONFIRM_PROBE: Duration = Duration::from_millis(200);
/// Between probes of a path that is not in use: at first, and at most (times one for each
/// [`PROBE_FULL_RATE_PEERS`] peers). Doubles while nothing changes, as in RFC 6206.
pub const CANDIDATE_PROBE_MIN: Duration = Duration::from_secs(5);
/// The same at first for a path that does not answer: a link that just came up gets its routes later.
pub const CANDIDATE_RETRY: Duration = Duration::from_secs(1);
/// See [`CANDIDATE_PROBE_MIN`].
pub const CANDIDATE_PROBE_MAX: Duration = Duration::from_secs(30);
/// A path no candidate names is forgotten without a packet for this long.
pub const LEARNED_LIFETIME: Duration = Duration::from_secs(60);
/// When a peer is told of a new path; stops at the first answer.
pub const ANNOUNCE: [Duration; 4] = RACE;
/// An answer this young speaks for the path in use when the far end asks to leave it.
pub const ANSWER_FRESH: Duration = Duration::from_millis(100);
/// Between questions to one peer on paths it is said to use: it may name as many as it likes.
pub const CHALLENGE_GAP: Duration = Duration::from_millis(20);
/// At most one check in this time because the far end sends elsewhere.
pub const VERIFY_GAP: Duration = Duration::from_secs(1);
/// Pings a second to all peers together, and how many may come in one burst: a failure that all peers
/// share must not wait.
pub const PING_RATE: u32 = 1000;
/// See [`PING_RATE`].
pub const PING_BURST: u32 = 4000;
/// So many suspect peers on one local address within [`SHARED_WINDOW`] mean that it is to blame.
pub const SHARED_FATE_PEERS: usize = 3;
/// One in so many of the peers on that address, at least two, means the same.
pub const SHARED_FATE_SHARE: usize = 5;
/// See [`SHARED_FATE_PEERS`].
pub const SHARED_WINDOW: Duration = Duration::from_millis(200);

/// Between the rounds of a search for the largest packet a path carries; longer where answers take longer.
pub const SIZE_PACE: Duration = Duration::from_millis(250);
/// Before such a search starts again on a path that does not answer at all.
pub const SIZE_PAUSE: Duration = Duration::from_secs(3);
/// Between two searches: routes change without a word.
pub const SIZE_AGAIN: Duration = Duration::from_secs(600);
/// The same while a path loses large packets: it may have healed.
pub const SIZE_AGAIN_LOWERED: Duration = Duration::from_secs(180);
/// Between two checks that the largest packet still arrives at a busy peer, times one for each
/// [`PROBE_FULL_RATE_PEERS`]: a hole that appears is found within seconds, and however many peers are
/// busy, 20 checks a second are a quarter of 1 Mbit/s.
pub const SIZE_CHECK: Duration = Duration::from_secs(10);
/// The same while data is sent that nothing comes back for: it may be what gets lost.
pub const SIZE_CHECK_STALLED: Duration = Duration::from_secs(2);
/// Large pings in a row that are lost while small ones are answered, before a search starts.
pub const SIZE_CHECK_LOST: u8 = 3;
/// First searches of many peers are spread over this, times one for each [`PROBE_FULL_RATE_PEERS`] but
/// the first.
pub const SIZE_SPREAD: Duration = Duration::from_secs(1);

/// An external peer is up while its last handshake is this young (`REJECT_AFTER_TIME` of WireGuard).
pub const EXTERNAL_UP: Duration = Duration::from_secs(180);
/// How often byte counters and handshake times are read.
pub const SESSIONS_INTERVAL: Duration = Duration::from_secs(2);

/// `allowDownPeerBypass`: down for this long before prefixes fall back to native routes.
pub const BYPASS_AFTER: Duration = Duration::from_secs(10);
/// `allowDownPeerBypass`: up for this long before prefixes return to the tunnel.
pub const BYPASS_BACK: Duration = Duration::from_secs(5);
/// How long a peer that became a same-zone member can still send through the tunnel.
pub const RECEIVE_TAIL: Duration = Duration::from_secs(10);

/// How long a new WireGuard key waits for connected peers that do not say that they hold the record that names it.
/// Those that do have it within a round trip.
pub const KEY_CHANGE_LIMIT: Duration = Duration::from_secs(2);

/// Changes of the own record within this time travel together.
pub const PUBLISH_COALESCE: Duration = Duration::from_millis(50);
/// How long the first record waits for a zone file that nobody reads.
pub const ZONE_FILE_WAIT: Duration = Duration::from_secs(2);
/// Between two adoptions of a conflicting sequence; a second node with the same identity would
/// otherwise start a race.
pub const CONFLICT_GAP: Duration = Duration::from_secs(1);
/// Conflicts within this time are counted as one quarrel.
pub const CONFLICT_WINDOW: Duration = Duration::from_secs(60);
/// How long it is said that the state directory was older than what servers knew.
pub const BEHIND_SHOWN: Duration = Duration::from_secs(600);
/// How long a leave waits for a server.
pub const LEAVE_WAIT: Duration = Duration::from_secs(3);
/// Between two writes of the disk cache, sequences and news of members excepted.
pub const PERSIST_GAP: Duration = Duration::from_secs(1);
/// Between two writes of the disk cache when a member is new or changed: a node that is killed a moment
/// after it learned of a member must come back with it, discovery or not.
pub const PERSIST_NEWS_GAP: Duration = Duration::from_millis(50);
/// Added to both for each member: a large cache takes longer to write.
pub const PERSIST_GAP_PER_MEMBER: Duration = Duration::from_millis(1);
/// After a change, before a report is sent: a restart causes many changes.
pub const REPORT_DELAY: Duration = Duration::from_secs(3);
/// Between two reports (DESIGN: at most one a minute).
pub const REPORT_GAP: Duration = Duration::from_secs(60);

/// Between two STUN requests to a server: keeps the NAT mapping of the WireGuard port (30 s and more)
/// and notices a changed one.
pub const STUN_INTERVAL: Duration = Duration::from_secs(25);
/// Wait for a STUN answer before the request is repeated (RFC 8489 section 6.2.1), doubled each time.
pub const STUN_RETRY: Duration = Duration::from_millis(500);
/// A reflexive address that no server confirmed for this long is not advertised any more.
pub const REFLEXIVE_LIFETIME: Duration = Duration::from_secs(120);

/// Between two questions to a member of the own zone that answers, whether it does without a tunnel. A zone of
/// 1,000 costs 17 questions of 150 bytes a second.
pub const NATIVE_CHECK_EVERY: Duration = Duration::from_secs(60);
/// The same while one is not answered, until it counts as silent.
pub const NATIVE_CHECK_RETRY: Duration = Duration::from_secs(4);
/// How often it is looked who is due.
pub const NATIVE_CHECK_TICK: Duration = Duration::from_secs(1);

/// How long a server is believed to hold the list of removals it held or was given: servers forget leaves after
/// 7 days, and a connection may last longer. 10,000 members ask one every two seconds then.
pub const REMOVALS_OFFERED_AGAIN: Duration = Duration::from_secs(6 * 3600);

/// A lease over for this long, with a dead data plane, removes a member.
pub const FORGET_AFTER: Duration = Duration::from_secs(3600);
/// A node that was not awake for so long takes what it knew of paths for old. Less is a busy host.
pub const SLEPT: Duration = Duration::from_secs(5);
/// How often slow matters are looked at: leases, reflexive addresses.
pub const HOUSEKEEPING: Duration = Duration::from_secs(10);
/// Least time between two recomputations of peers and routes.
pub const RECOMPUTE_GAP: Duration = Duration::from_millis(10);
/// Added to [`RECOMPUTE_GAP`] per member: a snapshot of thousands is worked through in steps.
pub const RECOMPUTE_GAP_PER_MEMBER: Duration = Duration::from_micros(50);

/// Without any other member for this long, the node calls itself alone.
pub const ALONE_AFTER: Duration = Duration::from_secs(30);
/// Without a connection this long after start, a discovery server is called unreachable.
pub const UNREACHABLE_AFTER: Duration = Duration::from_secs(5);
/// A clock that differs this much from a server's is a problem worth naming, milliseconds.
pub const CLOCK_TOLERANCE_MS: u64 = 30_000;
