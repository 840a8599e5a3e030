//! `meshctl debug bundle`: what a person who helps from afar has to see, in one tar archive without secrets.

mod redact;
mod tar;

use std::path::{Path, PathBuf};
use std::process::Command;

use mesh_proto::control::{Events, Members, PeerState, Peers, Status, Topology};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Session;
use crate::client::segment;
use crate::failure::Failure;
use crate::output;

/// Peers whose paths are in a bundle, those in trouble first.
const MAX_PATHS: usize = 50;
/// Bytes of one command's output, or of the configuration.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Commands that only look at the host; those that are missing are noted.
const COMMANDS: [&[&str]; 9] = [
    &["uname", "-a"],
    &["ip", "-d", "address", "show"],
    &["ip", "rule", "show"],
    &["ip", "-6", "rule", "show"],
    &["ip", "route", "show", "table", "all"],
    &["ip", "-6", "route", "show", "table", "all"],
    &["ss", "-uanp"],
    &["sysctl", "-a", "-r", "rp_filter|forwarding|src_valid_mark"],
    &["nft", "list", "ruleset"],
];

/// Makes the bundle; prints its name.
pub(super) fn bundle(session: &Session, to: Option<PathBuf>, config: &Path) -> Result<(), Failure> {
    let mut archive = tar::Archive::new(session.now);
    documents(session, &mut archive);
    match std::fs::read_to_string(config) {
        Ok(text) => archive.add("meshd.yaml", redact::text(&text).as_bytes()),
        Err(error) => archive.add("meshd.yaml.error", error.to_string().as_bytes()),
    }
    for command in COMMANDS {
        archive.add(
            &format!("host/{}.txt", command.join("-").replace(['|', '/'], "_")),
            &run(command),
        );
    }
    let to = to.unwrap_or_else(|| PathBuf::from(format!("mesh-bundle-{}.tar", session.now)));
    write_new(&to, &archive.finish())?;
    output::data(&format!("{}\n", to.display()))?;
    session.remark("note: keys and passwords are left out; addresses and names of nodes are in it");
    Ok(())
}

fn write_new(to: &Path, bytes: &[u8]) -> Result<(), Failure> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(Failure::file("write", to))
}

/// What meshd tells; what it does not is noted, for a bundle of a sick daemon matters most.
fn documents(session: &Session, archive: &mut tar::Archive) {
    archive.add(
        "version.txt",
        concat!("meshctl ", env!("CARGO_PKG_VERSION"), "\n").as_bytes(),
    );
    let _ = fetch::<Status>(session, archive, "status", "/v1/status");
    let _ = fetch::<Members>(session, archive, "members", "/v1/members");
    let _ = fetch::<Topology>(session, archive, "topology", "/v1/topology");
    let _ = fetch::<Events>(session, archive, "events", "/v1/events");
    let Some(mut peers) = fetch::<Peers>(session, archive, "peers", "/v1/peers") else {
        return;
    };
    peers.peers.sort_by_key(|peer| peer.state == PeerState::Up);
    for (index, peer) in peers.peers.iter().take(MAX_PATHS).enumerate() {
        let target = format!("/v1/paths/{}", segment(&peer.name));
        // Names may be long or odd; the document has it.
        let name = format!("paths/{index:02}");
        let _ = fetch::<mesh_proto::control::Paths>(session, archive, &name, &target);
    }
}

fn fetch<T: DeserializeOwned + Serialize>(
    session: &Session,
    archive: &mut tar::Archive,
    name: &str,
    target: &str,
) -> Option<T> {
    let answer = session.client.get::<T>(target).and_then(|document| {
        let text = output::json(&document)?;
        Ok((document, text))
    });
    match answer {
        Ok((document, text)) => {
            archive.add(&format!("{name}.json"), redact::text(&text).as_bytes());
            Some(document)
        }
        Err(failure) => {
            archive.add(&format!("{name}.error"), failure.to_string().as_bytes());
            None
        }
    }
}

fn run(command: &[&str]) -> Vec<u8> {
    match Command::new(command[0]).args(&command[1..]).output() {
        Ok(output) => {
            let mut text = output.stdout;
            text.extend_from_slice(&output.stderr);
            text.truncate(MAX_BYTES);
            redact::text(&String::from_utf8_lossy(&text)).into_bytes()
        }
        Err(error) => format!("{}: {error}\n", command[0]).into_bytes(),
    }
}
