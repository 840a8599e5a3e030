//! Inputs: everything that can happen to a mesh. Data only.

use std::net::SocketAddr;

use mesh_proto::discovery::Info;
use mesh_proto::{ClusterSecret, MemberId, Sequence, VerifiedEnvelope};

use crate::data_plane::EngineEvent;
use crate::links::{HostFacts, LinkSnapshot};
use crate::settings::Settings;

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Input {
    /// The host's links, addresses or routes were read again.
    Links(LinkSnapshot),
    /// Facts about the host that only matter as problems.
    HostFacts(HostFacts),
    /// The disk cache was written, or could not be, in words. Sent when that changes.
    Persisted(Result<(), String>),
    /// The zone file was read: its zone, or none if it is empty or gone.
    ZoneFile(Option<String>),
    /// The zone file cannot be used; in words. The zone stays what it was.
    ZoneFileRefused(String),
    /// `extraAnnouncedEndpoints` after name resolution, in order of the config; with the names that do
    /// not resolve.
    StaticEndpoints {
        /// What did resolve, now or last time.
        addresses: Vec<SocketAddr>,
        /// Names that never resolved.
        failed: Vec<String>,
    },
    /// Addresses of the discovery servers after name resolution.
    DiscoveryAddresses(Vec<SocketAddr>),
    /// A discovery server said something.
    Discovery {
        /// Index in [`Settings::discovery_servers`].
        server: usize,
        /// What.
        event: DiscoveryEvent,
    },
    /// From now on, checks of the own zone can be sent and received.
    NativeChecks,
    /// A datagram came to the port of checks of the own zone.
    NativeCheck {
        /// Where from.
        from: SocketAddr,
        /// What; nothing is verified.
        bytes: Vec<u8>,
    },
    /// The data plane said something.
    Engine(EngineEvent),
    /// The configuration was read again.
    Reload(Box<Settings>),
    /// The configuration was read again and cannot be used; in words. Everything stays as it was.
    ReloadRefused(String),
    /// The cluster secret file was read again. It is of the same mesh and admin key.
    Secret(Box<ClusterSecret>),
    /// Publish a signed leave, then stop.
    Leave,
}

/// What a discovery client tells the core about its server.
#[derive(Debug, Clone)]
pub enum DiscoveryEvent {
    /// The watch stream is live.
    Connected {
        /// What the server said of itself and of us.
        info: Info,
        /// Where its STUN listens, as seen from here.
        stun: Option<SocketAddr>,
    },
    /// The server cannot be reached; in words.
    Disconnected(String),
    /// Any message came.
    Contact,
    /// A member's record or leave.
    Member {
        /// Signature and hash are checked; not yet opened.
        envelope: VerifiedEnvelope,
        /// True while its lease is live by the server's clock.
        fresh: bool,
        /// Seconds since the lease ended.
        stale_s: u64,
    },
    /// A member's lease ended just now.
    Stale {
        /// Whose.
        member: MemberId,
        /// The record it was for.
        sequence: Sequence,
    },
    /// The server has sent everything it knows.
    Synced,
    /// Our envelope is stored.
    Published(Sequence),
    /// The server holds another envelope of ours with this or a higher sequence.
    Conflict {
        /// What it holds.
        stored: VerifiedEnvelope,
    },
}
