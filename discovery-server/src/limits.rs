//! Every bound of the server in one place, each with its reason. Sizes of the protocol itself are in
//! `mesh_proto::limits`.

use std::time::Duration;

use serde::Deserialize;

/// Envelopes decided and written in one transaction. Larger batches only add latency: the cost of a
/// transaction is its two syncs, and those are already shared by this many.
pub const MAX_BATCH: usize = 512;
/// Writes waiting for the store; beyond it a PUT waits at most [`QUEUE_WAIT`], then gets 503.
pub const MAX_QUEUED_WRITES: usize = 8192;
/// How long a PUT waits for room in the queue.
pub const QUEUE_WAIT: Duration = Duration::from_secs(5);
/// Lines of a watch sent as one chunk: bounds the time the registry is locked.
pub const MAX_PAGE: usize = 128;
/// Bytes of lines sent as one chunk, unless a single line is longer: bounds the memory of a watcher that
/// reads slowly, whatever the members of its cluster publish.
pub const MAX_PAGE_BYTES: usize = 64 * 1024;
/// Leases that end in one pass. The next pass, half a second later, takes the rest.
pub const MAX_EXPIRIES: usize = 2000;
/// Life of a nonce (DESIGN section 4).
pub const NONCE_LIFE: Duration = Duration::from_secs(120);
/// Requests remembered against replay in each two-minute generation: 32 bytes each, so at most some
/// tens of MiB. Only holders of a cluster secret get an entry.
pub const MAX_REMEMBERED_REQUESTS: usize = 500_000;
/// Sources (addresses, clusters) a rate limiter tells apart; the rest share one bucket.
pub const MAX_RATE_SOURCES: usize = 100_000;
/// Watch heartbeat, well below the idle timeouts of NATs and proxies. Each stream has its own moment in
/// this interval, whenever its last line was: after a change that went to all, ten thousand streams must
/// not all be due at once, and again and again.
pub const HEARTBEAT: Duration = Duration::from_secs(20);
/// How far the clocks of replicas may be apart: a nonce of one is good at the others.
pub const REPLICA_CLOCKS: Duration = Duration::from_secs(30);
/// Calls to etcd at one time.
pub const MAX_ETCD_CALLS: usize = 64;
/// Reports of one member (DESIGN: at most one a minute).
pub const REPORT_INTERVAL: Duration = Duration::from_secs(60);
/// How long a leave, or a record whose lease is over, is kept (DESIGN section 4).
pub const RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);
/// Shortest time a restored or stale entry is kept, whatever a clock that jumped says.
pub const MIN_RETENTION: Duration = Duration::from_secs(3600);
/// How stale the durable "last seen" of a member may be; renewals inside it cost no disk write.
pub const SEEN_GRANULARITY: Duration = Duration::from_secs(3600);
/// Time to send the header of a request, and the longest a connection idles between two.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// Time to send the body of a request.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for a TLS handshake.
pub const TLS_TIMEOUT: Duration = Duration::from_secs(10);
/// A peer that takes no data for this long is cut, so that a dead watcher does not stay.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a request's header.
pub const MAX_HEADER_BYTES: usize = 16 * 1024;
/// Header fields of a request.
pub const MAX_HEADER_FIELDS: usize = 64;
/// Streams on one HTTP/2 connection: a client needs a watch and a few requests.
pub const MAX_STREAMS: u32 = 64;
/// How long a stop waits for answers under way.
pub const DRAIN: Duration = Duration::from_secs(5);

/// A token bucket's size: `rate` a second, up to `burst` at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Tokens a second.
    pub rate: u32,
    /// Tokens at most.
    pub burst: u32,
}

/// The bounds an operator may change (`limits` in the config file).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// Members of one cluster, leaves included.
    pub members_per_cluster: usize,
    /// Clusters. A cluster costs an attacker nothing where `--allow-cluster` is not used.
    pub clusters: usize,
    /// Bytes of all envelopes and reports together, in memory and on disk.
    pub stored_bytes: usize,
    /// Watchers of one cluster: every member, and as many again while they reconnect.
    pub watchers_per_cluster: usize,
    /// TCP connections in all. Also the bound of all watchers: each needs a connection of its own,
    /// or shares one over HTTP/2.
    pub connections: usize,
    /// TCP connections of one source address (one /64 for IPv6): a large site behind one NAT.
    pub connections_per_source: usize,
    /// Requests of one source address: a hundred nodes behind one NAT that all restart at once.
    pub requests_per_source: Rate,
    /// Requests of one cluster: 10,000 members renew at 100 and report at 170 a second.
    pub requests_per_cluster: Rate,
    /// PUTs of one member: a node renews every 100 s, and changes its record a few times at once at most.
    pub writes_per_member: Rate,
    /// STUN requests of one source address. Spoofed requests make the server send twice the bytes to
    /// a victim, so this bounds what one victim gets.
    pub stun_per_source: Rate,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            members_per_cluster: 20_000,
            clusters: 1024,
            stored_bytes: 1 << 30,
            watchers_per_cluster: 40_000,
            connections: 50_000,
            connections_per_source: 4096,
            requests_per_source: Rate {
                rate: 200,
                burst: 1000,
            },
            requests_per_cluster: Rate {
                rate: 2000,
                burst: 25_000,
            },
            writes_per_member: Rate {
                rate: 10,
                burst: 100,
            },
            stun_per_source: Rate {
                rate: 100,
                burst: 500,
            },
        }
    }
}
