//! Every size bound of the protocol, in one place. Rates are the server's settings, not listed here.

/// Candidates one node may publish (DESIGN: at most 16).
pub const MAX_CANDIDATES: usize = 16;
/// Node addresses one record may carry.
pub const MAX_NODE_ADDRESSES: usize = 64;
/// Prefixes in each network list of a record.
pub const MAX_NETWORKS: usize = 128;
/// Bytes of a node name (a DNS name is at most 253).
pub const MAX_NAME_BYTES: usize = 253;
/// Bytes of a zone label.
pub const MAX_ZONE_BYTES: usize = 63;
/// Bytes of ciphertext in one envelope, nonce and tag included.
pub const MAX_CIPHERTEXT_BYTES: usize = 32 * 1024;
/// Bytes of one encoded envelope.
pub const MAX_ENVELOPE_BYTES: usize = MAX_CIPHERTEXT_BYTES + 256;
/// Members one report may speak of; the rest are left out, oldest news first.
pub const MAX_REPORT_PEERS: usize = 512;
/// Secrets one cluster secret file may hold (one writes, the others read during a rotation).
pub const MAX_SECRETS: usize = 4;
/// Members one list of removals may name; with names of the greatest length it still fits an envelope.
pub const MAX_REMOVALS: usize = 64;
