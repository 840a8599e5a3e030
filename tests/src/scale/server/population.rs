//! Who takes part in a run: clusters, members and what they publish. Deterministic, so that a run can be
//! repeated; the secrets are worth nothing.

use std::net::Ipv4Addr;

use mesh_proto::candidate::{Candidate, CandidateKind};
use mesh_proto::discovery::member_path;
use mesh_proto::envelope::Contents;
use mesh_proto::ids::to_hex;
use mesh_proto::record::{BackendKind, Record, TopologyMode};
use mesh_proto::{
    ClusterKeys, Envelope, EnvelopeKind, IdentityKey, MemberId, Sequence, WgPublicKey,
};

use crate::lab::LabError;

/// Members that share a source address, as behind the NAT of one site.
const MEMBERS_PER_SITE: usize = 16;

/// One member of one cluster.
#[derive(Debug)]
pub struct Member {
    /// Who it is.
    pub id: MemberId,
    /// Number of its cluster.
    pub cluster: usize,
    /// Where its connections come from.
    pub source: Ipv4Addr,
    /// Its path at the server.
    pub path: String,
    /// Its present record, sealed.
    pub envelope: Vec<u8>,
    /// Sequence of that record.
    pub sequence: u64,
    number: usize,
    identity: IdentityKey,
}

impl Member {
    /// The member with this number, over all clusters, and its first record.
    ///
    /// # Errors
    /// If the record cannot be sealed.
    pub fn new(number: usize, cluster: usize, keys: &ClusterKeys) -> Result<Self, LabError> {
        let identity = IdentityKey::from_seed(&seed(2, number));
        let id = identity.public_key().member_id();
        let mut member = Self {
            id,
            cluster,
            source: site_address(number / MEMBERS_PER_SITE),
            path: member_path(&keys.cluster_id(), &id),
            envelope: Vec::new(),
            sequence: 0,
            number,
            identity,
        };
        member.change(keys)?;
        Ok(member)
    }

    /// Seals the next record, with another address in it.
    ///
    /// # Errors
    /// If it cannot be sealed.
    pub fn change(&mut self, keys: &ClusterKeys) -> Result<(), LabError> {
        self.sequence += 1;
        let sealed = |error: &dyn std::fmt::Display| {
            LabError::Unusable(format!("a record cannot be sealed: {error}"))
        };
        let record = self.record();
        let plaintext = record.encode().map_err(|error| sealed(&error))?;
        let contents = Contents {
            kind: EnvelopeKind::Record,
            sequence: Sequence(self.sequence),
            plaintext: &plaintext,
        };
        let mut nonce = [0; 24];
        nonce[..8].copy_from_slice(&self.sequence.to_be_bytes());
        let envelope = Envelope::seal(keys, &self.identity, contents, nonce);
        self.envelope = envelope.map_err(|error| sealed(&error))?.encode();
        Ok(())
    }

    /// What a node with four candidates and a pod network says of itself.
    fn record(&self) -> Record {
        let [.., a, b, c] = self.number.to_be_bytes();
        let local = Ipv4Addr::new(10, a, b, c);
        let port = 20_000 + (self.sequence % 40_000) as u16;
        let candidate = |address: Ipv4Addr, port, kind| Candidate {
            address: (address, port).into(),
            kind,
        };
        Record {
            name: format!("node-{:06}.example", self.number),
            zone: Some(format!("zone-{}", self.number % 40)),
            mode: TopologyMode::Cross,
            wireguard_key: WgPublicKey(seed(3, self.number)),
            backend: BackendKind::Userspace,
            candidates: vec![
                candidate(local, 51_840, CandidateKind::Local),
                candidate(Ipv4Addr::new(192, 168, b, c), 51_840, CandidateKind::Local),
                candidate(
                    Ipv4Addr::new(203, 0, 113, c),
                    port,
                    CandidateKind::Reflexive,
                ),
                candidate(
                    Ipv4Addr::new(203, 0, 113, c),
                    51_840,
                    CandidateKind::Observed,
                ),
            ],
            node_addresses: vec![local.into(), Ipv4Addr::new(192, 168, b, c).into()],
            networks: vec![ipnet::Ipv4Net::new_assert(Ipv4Addr::new(100, b, c, 0), 24).into()],
            exclude_networks: Vec::new(),
            secrets: Vec::new(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// The keys of the cluster with this number.
#[must_use]
pub fn cluster_keys(number: usize) -> ClusterKeys {
    ClusterKeys::derive(&seed(1, number))
}

/// A request id that was not used before.
#[must_use]
pub fn request_id(counter: u64) -> String {
    to_hex(&u128::from(counter).to_be_bytes())
}

/// A loopback address for the site with this number; all of 127/8 is ours in loopback.
fn site_address(number: usize) -> Ipv4Addr {
    let [.., a, b] = (number + 1).to_be_bytes();
    Ipv4Addr::new(127, 10, a, b)
}

fn seed(kind: u8, number: usize) -> [u8; 32] {
    let mut seed = [kind; 32];
    seed[..8].copy_from_slice(&(number as u64).to_be_bytes());
    seed
}
