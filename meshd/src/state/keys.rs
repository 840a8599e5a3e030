//! Key files: two lines, the private key and the public one. The second tells a damaged file from a
//! good one, and a person which key it is.

use std::fs;
use std::io;
use std::path::Path;

use mesh_proto::WgPrivateKey;
use zeroize::Zeroizing;

use super::{StateError, replace};

/// The 32 bytes of a key file; made and written if there is none. `public` gives the text of the
/// public half.
pub(super) fn read_or_make(
    path: &Path,
    kind: &str,
    public: impl Fn(&[u8; 32]) -> String,
) -> Result<Zeroizing<[u8; 32]>, StateError> {
    if let Some(bytes) = read(path, &public)? {
        return Ok(bytes);
    }
    let mut bytes = Zeroizing::new([0; 32]);
    random(&mut *bytes)?;
    write(path, kind, &bytes, public)?;
    Ok(bytes)
}

/// The 32 bytes of a key file; none if there is none.
pub(super) fn read(
    path: &Path,
    public: impl Fn(&[u8; 32]) -> String,
) -> Result<Option<Zeroizing<[u8; 32]>>, StateError> {
    match fs::read_to_string(path).map(Zeroizing::new) {
        Ok(text) => parse(&text, &public)
            .map(Some)
            .map_err(|message| StateError::Damaged {
                path: path.to_owned(),
                message,
            }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(StateError::Damaged {
            path: path.to_owned(),
            message: "it is not text",
        }),
        Err(source) => Err(StateError::Io {
            path: path.to_owned(),
            what: "read",
            source,
        }),
    }
}

/// Writes a key file, in place of any other.
pub(super) fn write(
    path: &Path,
    kind: &str,
    bytes: &[u8; 32],
    public: impl Fn(&[u8; 32]) -> String,
) -> Result<(), StateError> {
    // The base64 form is the same for every kind of key.
    let private = WgPrivateKey::from_bytes(*bytes).expose_base64();
    let text = Zeroizing::new(format!(
        "# {kind} key of this node; secret\nprivate-key: {}\npublic-key: {}\n",
        *private,
        public(bytes)
    ));
    replace(path, text.as_bytes())
}

fn parse(
    text: &str,
    public: impl Fn(&[u8; 32]) -> String,
) -> Result<Zeroizing<[u8; 32]>, &'static str> {
    let (mut key, mut written) = (None, None);
    for line in text.lines().map(str::trim) {
        match line.split_once(':') {
            _ if line.is_empty() || line.starts_with('#') => {}
            Some(("private-key", value)) => key = Some(value.trim()),
            Some(("public-key", value)) => written = Some(value.trim()),
            _ => return Err("a line is not understood"),
        }
    }
    let key: WgPrivateKey = key
        .ok_or("the private key is missing")?
        .parse()
        .map_err(|_| "the private key is not 32 bytes in base64")?;
    let written = written.ok_or("it was cut off before the public key")?;
    let bytes = Zeroizing::new(*key.expose());
    if public(&bytes) == written {
        Ok(bytes)
    } else {
        Err("the public key does not belong to the private key")
    }
}

/// Fills `bytes` from the kernel.
pub(super) fn random(bytes: &mut [u8]) -> Result<(), StateError> {
    getrandom::fill(bytes).map_err(|error| StateError::Io {
        path: "/dev/urandom".into(),
        what: "read",
        source: io::Error::other(error.to_string()),
    })
}
