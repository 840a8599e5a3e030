//! Tests of envelopes: what is sealed opens, and whatever is changed is refused.

use super::*;
use proptest::prelude::*;

fn keys() -> ClusterKeys {
    ClusterKeys::derive(&[1; 32])
}

fn sealed(sequence: u64, plaintext: &[u8]) -> VerifiedEnvelope {
    let contents = Contents {
        kind: EnvelopeKind::Record,
        sequence: Sequence(sequence),
        plaintext,
    };
    Envelope::seal(
        &keys(),
        &IdentityKey::from_seed(&[2; 32]),
        contents,
        [3; 24],
    )
    .unwrap()
}

fn accept(bytes: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
    Envelope::decode(bytes)?.verify()?.open(&[keys()])
}

proptest! {
    #[test]
    fn round_trip(plaintext in proptest::collection::vec(b'a'..=b'z', 0..2000), sequence: u64) {
        let opened = accept(&sealed(sequence, &plaintext).encode()).unwrap();
        prop_assert_eq!(opened.trim_ascii_end(), &plaintext[..]);
        prop_assert_eq!(opened.len() % PADDING_BYTES, 0);
    }

    #[test]
    fn any_flipped_bit_is_refused(bit in 0usize..8 * 500) {
        let mut bytes = sealed(7, b"{}").encode();
        let bit = bit % (bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(accept(&bytes).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(accept(&bytes).is_err());
    }

    #[test]
    fn any_truncation_or_extension_is_refused(cut in 1usize..400) {
        let mut bytes = sealed(7, b"{}").encode();
        let keep = bytes.len().saturating_sub(cut);
        prop_assert!(accept(&bytes[..keep]).is_err());
        bytes.push(0);
        prop_assert!(accept(&bytes).is_err());
    }
}

#[test]
fn a_swapped_member_id_is_refused() {
    let mut envelope = Arc::unwrap_or_clone(sealed(7, b"{}").0);
    envelope.member = MemberId([9; 32]);
    assert_eq!(envelope.verify(), Err(EnvelopeError::MemberId));
}

#[test]
fn another_member_cannot_sign_for_a_node() {
    let mut envelope = Arc::unwrap_or_clone(sealed(7, b"{}").0);
    envelope.signature = IdentityKey::from_seed(&[8; 32]).sign(&envelope.signed_bytes());
    assert_eq!(envelope.verify(), Err(EnvelopeError::Signature));
}

#[test]
fn another_clusters_key_is_refused() {
    let envelope = sealed(7, b"{}");
    let other = ClusterKeys::derive(&[9; 32]);
    assert_eq!(
        envelope.open(std::slice::from_ref(&other)),
        Err(EnvelopeError::Cluster)
    );
    // Even a member that relabels the envelope for its own cluster cannot open it.
    let identity = IdentityKey::from_seed(&[2; 32]);
    let mut relabelled = Arc::unwrap_or_clone(envelope.0);
    relabelled.cluster = other.cluster_id();
    relabelled.signature = identity.sign(&relabelled.signed_bytes());
    assert_eq!(
        relabelled.verify().unwrap().open(&[other]),
        Err(EnvelopeError::Sealed)
    );
}

#[test]
fn the_same_record_as_a_report_is_refused() {
    let identity = IdentityKey::from_seed(&[2; 32]);
    let mut envelope = Arc::unwrap_or_clone(sealed(7, b"{}").0);
    envelope.kind = EnvelopeKind::Report;
    envelope.signature = identity.sign(&envelope.signed_bytes());
    assert_eq!(
        envelope.verify().unwrap().open(&[keys()]),
        Err(EnvelopeError::Sealed)
    );
}
