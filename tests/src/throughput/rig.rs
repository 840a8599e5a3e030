//! Two machines on one link, with inner addresses that every implementation carries between them.

use std::path::Path;
use std::process::Stdio;

use crate::lab::LabError;
use crate::lab::namespace::Namespace;
use crate::lab::process::Daemon;

/// Of each network namespace; a new one has the host's.
const CONGESTION: &str = "net.ipv4.tcp_congestion_control";

/// The rig. Everything in it ends when it is dropped.
#[derive(Debug)]
pub(super) struct Rig {
    /// Sends, by default.
    pub(super) left: Namespace,
    /// Receives.
    pub(super) right: Namespace,
    /// Keys and configurations.
    pub(super) dir: tempfile::TempDir,
    _servers: [Daemon; 2],
}

/// Address of an end on the link between both.
pub(super) fn outer(number: u8) -> String {
    format!("192.0.2.{number}")
}

/// Address of an end inside the tunnel.
pub(super) fn inner(number: u8) -> String {
    format!("10.9.{number}.1")
}

/// Network of an end inside the tunnel.
pub(super) fn network(number: u8) -> String {
    format!("10.9.{number}.0/24")
}

impl Rig {
    /// Builds it.
    ///
    /// # Errors
    /// If a namespace, link or server cannot be made.
    pub(super) fn build(bin_dir: &Path, plain_link: bool) -> Result<Self, LabError> {
        let left = Namespace::create("left", bin_dir)?;
        let right = Namespace::create("right", bin_dir)?;
        let peer = right.pid();
        left.script(&format!(
            "ip link add eth0 type veth peer name eth0 netns {peer}"
        ))?;
        for (number, end) in [(1, &left), (2, &right)] {
            let (outer, inner) = (outer(number), inner(number));
            end.script(&format!(
                "ip address add {outer}/24 dev eth0\n\
                 ip address add {inner}/32 dev lo\n\
                 ip link set eth0 up\n"
            ))?;
            if plain_link {
                end.script("ethtool -K eth0 tso off gso off gro off tx-udp-segmentation off >&2")?;
            }
        }
        // One for each address: from a socket without one, answers leave with whatever the routes prefer.
        let servers = [outer(2), inner(2)].map(|address| {
            let mut server = right.command("iperf3");
            server.args(["--server", "--bind", &address]);
            let (input, output) = (Stdio::null(), Stdio::null());
            server.stdin(input).stdout(output).stderr(Stdio::null());
            Daemon::spawn("iperf3", server)
        });
        let [outside, inside] = servers;
        Ok(Self {
            _servers: [outside?, inside?],
            left,
            right,
            dir: tempfile::tempdir().map_err(LabError::io("make a directory"))?,
        })
    }

    /// TCP's congestion control at both ends, unless a program asks for another.
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub(super) fn congestion(&self) -> Result<String, LabError> {
        let name = self.left.run("sysctl", &["-n", CONGESTION])?;
        Ok(name.trim().to_owned())
    }

    /// Both ends with their numbers.
    pub(super) fn ends(&self) -> [(u8, &Namespace); 2] {
        [(1, &self.left), (2, &self.right)]
    }
}
