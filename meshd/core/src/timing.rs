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
/// A peer that never answered is called down after this; it is dialled all the same.
pub const CONNECTING_LIMIT: Duration = Duration::from_secs(10);

/// Between two pings inside a tunnel.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// Up to this many peers every one is pinged each [`PROBE_INTERVAL`].
pub const PROBE_FULL_RATE_PEERS: usize = 200;
/// Above that, pings a second in total: 1,000 peers cost less than 1 Mbit/s.
pub const PROBES_PER_SECOND: usize = 100;
/// Answers to pings per peer and second: more is not a measurement but a flood.
pub const PONGS_PER_SECOND: u32 = 50;
/// Pings without an answer, and nothing else received, that make a peer suspect. One alone is common
/// under random loss.
pub const SUSPECT_PINGS: usize = 2;
/// Silence after which a peer is down, at the full probe rate.
pub const DOWN_AFTER: Duration = Duration::from_secs(5);
/// A peer that is heard but does not answer pings: its path works in one direction only. Longer than
/// [`DOWN_AFTER`], since a full queue also loses answers.
pub const ONE_WAY_AFTER: Duration = Duration::from_secs(8);
/// Without a packet for this long on the path in use, a packet on another path moves the peer there
/// (roaming, NAT rebinding).
pub const PATH_SILENT: Duration = Duration::from_secs(1);
/// A path that failed is not preferred over the one that replaced it for this long.
pub const PATH_PENALTY: Duration = Duration::from_secs(30);

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

/// Changes of the own record within this time travel together.
pub const PUBLISH_COALESCE: Duration = Duration::from_millis(50);
/// How long the first record waits for a zone file that nobody reads.
pub const ZONE_FILE_WAIT: Duration = Duration::from_secs(2);
/// Between two adoptions of a conflicting sequence; a second node with the same identity would
/// otherwise start a race.
pub const CONFLICT_GAP: Duration = Duration::from_secs(1);
/// Conflicts within this time are counted as one quarrel.
pub const CONFLICT_WINDOW: Duration = Duration::from_secs(60);
/// How long a leave waits for a server.
pub const LEAVE_WAIT: Duration = Duration::from_secs(3);
/// Between two writes of the disk cache, sequences excepted.
pub const PERSIST_GAP: Duration = Duration::from_secs(1);
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

/// A lease over for this long, with a dead data plane, removes a member.
pub const FORGET_AFTER: Duration = Duration::from_secs(3600);
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
