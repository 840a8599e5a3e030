//! Reads `remote`: where the control API is offered beside the socket, for reading only. Only inside the
//! mesh or on this machine: elsewhere the token would travel in clear.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::reader::Section;

/// `remote`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// `remote.listen`
    pub listen: RemoteListen,
    /// `remote.tokenFile`: who knows the word in it may read.
    pub token_file: PathBuf,
}

/// `remote.listen`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteListen {
    /// `mesh:PORT`: this node's mesh address, whatever it is.
    Mesh(u16),
    /// A loopback address.
    Loopback(SocketAddr),
}

/// `remote`, if it is there.
pub(super) fn remote(root: &mut Section<'_>) -> Option<Remote> {
    if !root.has("remote") {
        return None;
    }
    let mut section = root.section("remote");
    let listen = section.field("listen", |field| field.parsed(listen));
    let token_file = section.field("tokenFile", |field| field.path());
    section.missing("listen", "write mesh:PORT, like mesh:9741");
    section.missing(
        "tokenFile",
        "name a file with a long random word that only its owner can read",
    );
    section.finish();
    Some(Remote {
        listen: listen?,
        token_file: token_file?,
    })
}

fn listen(text: &str) -> Result<RemoteListen, String> {
    let port = text.strip_prefix("mesh:").map(str::parse::<u16>);
    if let Some(Ok(port)) = port
        && port != 0
    {
        return Ok(RemoteListen::Mesh(port));
    }
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Ok(RemoteListen::Loopback(address)),
        Ok(_) => Err(format!(
            "{text:?} is outside the mesh, where the token would be read by others: write \
             mesh:PORT or a loopback address"
        )),
        Err(_) => Err(format!(
            "{text:?} is no place to listen: write mesh:PORT, like mesh:9741, or a loopback address \
             with a port"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_mesh_and_this_machine() {
        assert_eq!(listen("mesh:9741"), Ok(RemoteListen::Mesh(9741)));
        let loopback = "[::1]:9741".parse().unwrap();
        assert_eq!(listen("[::1]:9741"), Ok(RemoteListen::Loopback(loopback)));
        for (text, part) in [
            ("0.0.0.0:9741", "outside the mesh"),
            ("192.0.2.1:9741", "outside the mesh"),
            ("mesh:0", "no place to listen"),
            ("mesh", "no place to listen"),
            ("mesh:70000", "no place to listen"),
        ] {
            let message = listen(text).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
    }
}
