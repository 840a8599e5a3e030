//! What membership bounds.

use super::super::tests::base_instant;
use super::*;
use mesh_proto::envelope::Contents;
use mesh_proto::{Envelope, IdentityKey};

#[test]
fn records_are_bounded_in_bytes_but_members_may_always_shrink() {
    let keys = [ClusterKeys::derive(&[1; 32])];
    let mut membership = Membership::new(MeshId([1; 16]), BTreeSet::new());
    let mut hear = |member: u8, sequence, padding: usize, filled: bool| {
        let text = format!(
            r#"{{"name":"a","wireguardKey":"{}","backend":"kernel","x":"{}"}}"#,
            mesh_proto::WgPublicKey([member; 32]),
            "x".repeat(padding)
        );
        let contents = Contents {
            kind: EnvelopeKind::Record,
            sequence: Sequence(sequence),
            plaintext: text.as_bytes(),
        };
        let identity = IdentityKey::from_seed(&[member; 32]);
        let envelope = Envelope::seal(&keys[0], &identity, contents, [3; 24]).unwrap();
        let lease = LeaseNews {
            server: 0,
            fresh: true,
            stale: Duration::ZERO,
            at: base_instant(),
        };
        if filled {
            membership.bytes = MAX_RECORD_BYTES - 100;
        }
        membership.hear(&envelope, &keys, Some(lease), 1)
    };
    assert!(matches!(hear(1, 1, 2000, false), Ok(Admitted::Joined)));
    assert!(matches!(hear(2, 1, 10, true), Err(Refusal::Full)));
    assert!(matches!(hear(1, 2, 9000, false), Err(Refusal::Full)));
    assert!(matches!(hear(1, 3, 10, false), Ok(Admitted::Changed)));
    assert!(matches!(hear(2, 2, 10, false), Ok(Admitted::Joined)));
    assert_eq!(membership.refused().full, 2);
}
