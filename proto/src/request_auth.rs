//! Signatures of discovery requests: proof that the caller holds the cluster secret.
//!
//! Signed text, by the cluster authentication key:
//!
//! ```text
//! mesh-request-v1 LF METHOD LF path?query LF hex(SHA-256(body)) LF server id LF nonce LF request id
//! ```
//!
//! The nonce is the server's (no clock of the caller's is needed), the server id keeps a request
//! from being replayed at another server, the random request id lets a server refuse the second copy
//! of one request inside the nonce's two minutes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::derive::{ClusterKeys, cluster_id_of};
use crate::ids::{ClusterId, ServerId, to_hex};
use crate::key::IdentityPublicKey;

/// Header: base64 of the cluster authentication public key.
pub const HEADER_KEY: &str = "mesh-cluster-key";
/// Header: the server's nonce.
pub const HEADER_NONCE: &str = "mesh-nonce";
/// Header: 16 random bytes in hex, new for each request.
pub const HEADER_REQUEST_ID: &str = "mesh-request-id";
/// Header: base64 of the signature.
pub const HEADER_SIGNATURE: &str = "mesh-signature";

/// What is signed of a request.
#[derive(Debug, Clone, Copy)]
pub struct SignedRequest<'a> {
    /// `GET`, `PUT`.
    pub method: &'a str,
    /// Path and query as sent.
    pub path_and_query: &'a str,
    /// Body; empty for GET.
    pub body: &'a [u8],
    /// The server it is for.
    pub server: ServerId,
    /// The nonce that server gave.
    pub nonce: &'a str,
    /// New for each request.
    pub request_id: &'a str,
}

/// Why a signed request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestAuthError {
    /// A header is not base64 or has the wrong length.
    #[error("the request's key or signature header is malformed")]
    Malformed,
    /// The key is not the one the cluster id is the hash of.
    #[error("the request's key does not belong to the cluster")]
    Cluster,
    /// The signature does not fit.
    #[error("the request's signature is wrong")]
    Signature,
}

impl SignedRequest<'_> {
    fn text(&self) -> String {
        let body = to_hex(&Sha256::digest(self.body));
        format!(
            "mesh-request-v1\n{}\n{}\n{body}\n{}\n{}\n{}",
            self.method, self.path_and_query, self.server, self.nonce, self.request_id
        )
    }

    /// Headers to send: name and value.
    #[must_use]
    pub fn sign(&self, keys: &ClusterKeys) -> [(&'static str, String); 4] {
        let key = keys.auth_key();
        [
            (HEADER_KEY, key.public_key().to_string()),
            (HEADER_NONCE, self.nonce.to_owned()),
            (HEADER_REQUEST_ID, self.request_id.to_owned()),
            (
                HEADER_SIGNATURE,
                STANDARD.encode(key.sign(self.text().as_bytes())),
            ),
        ]
    }

    /// Checks the key and signature headers against the cluster the path names. The caller checks
    /// nonce and request id.
    ///
    /// # Errors
    /// [`RequestAuthError`]
    pub fn verify(
        &self,
        cluster: ClusterId,
        key_header: &str,
        signature_header: &str,
    ) -> Result<(), RequestAuthError> {
        let key: IdentityPublicKey = key_header
            .parse()
            .map_err(|_| RequestAuthError::Malformed)?;
        let signature = STANDARD.decode(signature_header).ok();
        let signature: [u8; 64] = signature
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(RequestAuthError::Malformed)?;
        if cluster_id_of(&key) != cluster {
            return Err(RequestAuthError::Cluster);
        }
        if !key.verify(self.text().as_bytes(), &signature) {
            return Err(RequestAuthError::Signature);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(server: u8) -> SignedRequest<'static> {
        SignedRequest {
            method: "PUT",
            path_and_query: "/v1/x?y=1",
            body: b"body",
            server: ServerId([server; 16]),
            nonce: "nonce",
            request_id: "00",
        }
    }

    #[test]
    fn signed_requests_verify_and_bind_every_part() {
        let keys = ClusterKeys::derive(&[1; 32]);
        let [(_, key), _, _, (_, signature)] = request(1).sign(&keys);
        let check =
            |request: SignedRequest<'_>| request.verify(keys.cluster_id(), &key, &signature);
        assert_eq!(check(request(1)), Ok(()));
        for changed in [
            request(2),
            SignedRequest {
                method: "GET",
                ..request(1)
            },
            SignedRequest {
                path_and_query: "/v1/x?y=2",
                ..request(1)
            },
            SignedRequest {
                body: b"bodY",
                ..request(1)
            },
            SignedRequest {
                nonce: "other",
                ..request(1)
            },
            SignedRequest {
                request_id: "01",
                ..request(1)
            },
        ] {
            assert_eq!(
                check(changed),
                Err(RequestAuthError::Signature),
                "{changed:?}"
            );
        }
        let other = ClusterKeys::derive(&[2; 32]).cluster_id();
        assert_eq!(
            request(1).verify(other, &key, &signature),
            Err(RequestAuthError::Cluster)
        );
        assert_eq!(
            request(1).verify(other, "x", &signature),
            Err(RequestAuthError::Malformed)
        );
    }
}
