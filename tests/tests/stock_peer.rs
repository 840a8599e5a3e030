//! A stock WireGuard peer, set up with `wg` alone from what `meshctl showconf --as-peer` prints,
//! exchanges traffic with the mesh.

#![cfg(test)]

use std::os::unix::fs::PermissionsExt;

use mesh_proto::control::PeerState;
use mesh_tests::lab::capture::Capture;
use mesh_tests::lab::fixture::{Fixture, PATIENCE};
use mesh_tests::lab::namespace::Namespace;
use mesh_tests::lab::network::BACKBONE;
use mesh_tests::lab::ping::Ping;
use mesh_tests::lab::process::Daemon;
use mesh_tests::lab::{Lab, Plan, meshctl, wait};
use serde_json::json;

const MARKER: [u8; 16] = *b"stock-peer-bytes";

/// Keys of the stock peer, as `wg` prints them.
struct Keys {
    private: String,
    public: String,
    preshared: String,
}

impl Keys {
    fn make(machine: &Namespace) -> Self {
        let private = machine.run("wg", &["genkey"]).unwrap();
        let public = machine
            .script(&format!("echo '{}' | wg pubkey", private.trim()))
            .unwrap();
        let preshared = machine.run("wg", &["genpsk"]).unwrap();
        let trim = |text: String| text.trim().to_owned();
        Self {
            private: trim(private),
            public: trim(public),
            preshared: trim(preshared),
        }
    }
}

/// Lists the stock peer on a1, starts a1, and returns what it says the stock peer has to configure.
fn announce(lab: &Lab, keys: &Keys) -> String {
    let preshared = lab.machine_dir("a1").join("stock.psk");
    std::fs::write(&preshared, &keys.preshared).unwrap();
    std::fs::set_permissions(&preshared, PermissionsExt::from_mode(0o600)).unwrap();
    let external = json!({ "externalPeers": [{
        "name": "stock", "publicKey": keys.public, "presharedKeyFile": preshared,
        "allowedIPs": ["10.99.0.2/32"],
    }] });
    lab.configure("a1", &external).unwrap();
    lab.start_discovery().unwrap();
    lab.start("a1").unwrap();
    let showconf = || {
        let conf = lab
            .machine("a1")
            .unwrap()
            .run("meshctl", &["showconf", "--as-peer", "stock"]);
        let conf = conf.map_err(|error| error.to_string())?;
        let ready = conf.lines().any(|line| line.starts_with("Endpoint"));
        if ready { Ok(conf) } else { Err(conf) }
    };
    wait::until("showconf", PATIENCE, showconf).unwrap().0
}

/// Sets the stock peer up with `wg` alone.
fn join(machine: &Namespace, conf: &str, keys: &Keys) -> Daemon {
    let mut command = machine.command("wireguard-go");
    command.args(["-f", "wg0"]).env("LOG_LEVEL", "error");
    let daemon = Daemon::spawn("wireguard-go", command).unwrap();
    let mesh = conf
        .lines()
        .find_map(|line| line.strip_prefix("PublicKey = "))
        .unwrap();
    machine
        .script(&format!(
            "for i in $(seq 50); do [ -S /run/wireguard/wg0.sock ] && break; sleep 0.1; done
             cat > /run/stock.conf <<END\n{conf}\nEND
             echo '{}' > /run/private
             echo '{}' > /run/psk
             wg addconf wg0 /run/stock.conf
             wg set wg0 private-key /run/private peer '{mesh}' preshared-key /run/psk
             ip address add 10.99.0.2/32 dev wg0
             ip link set wg0 up
             ip route add 10.244.11.0/24 dev wg0 src 10.99.0.2",
            keys.private, keys.preshared
        ))
        .unwrap();
    daemon
}

#[test]
fn wireguard_go_joins_as_an_external_peer() {
    let Some(fixture) = Fixture::build(Plan::new(2, 1).unwrap()) else {
        return;
    };
    let lab = &fixture.lab;
    let (a1, stock) = (lab.machine("a1").unwrap(), lab.machine("b1").unwrap());
    let keys = Keys::make(stock);
    let conf = announce(lab, &keys);
    assert!(
        !conf.contains(&keys.preshared),
        "a preshared key is printed: {conf}"
    );
    let _daemon = join(stock, &conf, &keys);

    let capture = Capture::start(lab.machine(BACKBONE).unwrap()).unwrap();
    let pod = lab.plan.node("a1").unwrap().pod_address();
    for (from, to) in [
        (stock, pod),
        (lab.machine("a1-pod").unwrap(), [10, 99, 0, 2].into()),
    ] {
        let ping = Ping {
            marker: Some(MARKER),
            ..Ping::quick(from, to.into())
        };
        wait::until("answers", PATIENCE, || match ping.run() {
            Ok(score) if score.perfect() => Ok(()),
            other => Err(format!("{} -> {to}: {other:?}", from.name())),
        })
        .unwrap();
    }
    let frames = capture.finish().unwrap();
    assert_eq!(frames.containing(&MARKER).count(), 0);
    let (peer, _) = wait::until("the peer in meshctl", PATIENCE, || {
        let peers = meshctl::peers(a1).map_err(|error| error.to_string())?.peers;
        let peer = peers
            .into_iter()
            .find(|peer| peer.name == "stock")
            .ok_or("no stock")?;
        if peer.state == PeerState::Up && peer.rx_bytes > 0 && peer.tx_bytes > 0 {
            Ok(peer)
        } else {
            Err(format!("{peer:?}"))
        }
    })
    .unwrap();
    assert_eq!(peer.zone, "external");
}
