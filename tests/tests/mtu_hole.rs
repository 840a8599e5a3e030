//! A router loses large packets without a word: the tunnel still carries a TCP transfer and tells senders.

#![cfg(test)]

use mesh_tests::lab::fixture::{Fixture, PATIENCE};
use mesh_tests::lab::network::router_name;
use mesh_tests::lab::{Plan, meshctl, packages, wait};

/// Outer packets with more than 1260 bytes of the tunnel vanish.
const HOLE: &str = "nft -f - <<'END'
table inet hole {
    chain forward {
        type filter hook forward priority 0;
        udp length > 1300 counter drop
    }
}
END
";

#[test]
fn transfer_goes_on() {
    let Some(fixture) = Fixture::build(Plan::new(2, 1).unwrap()) else {
        return;
    };
    packages::provide_for_throughput().unwrap();
    let lab = &fixture.lab;
    let router = router_name(&lab.plan.zones[0].name);
    lab.machine(&router).unwrap().script(HOLE).unwrap();
    for name in ["a1", "b1"] {
        // Otherwise many packets reach the router as a single large one.
        let machine = lab.machine(name).unwrap();
        machine
            .script("ethtool -K eth0 tx-udp-segmentation off")
            .unwrap();
    }
    lab.start_all().unwrap();
    fixture.wait_all().unwrap();

    let (from, to) = (lab.machine("a1").unwrap(), lab.machine("b1").unwrap());
    let address = lab.plan.node("b1").unwrap().address;
    let mut server = to.command("iperf3").args(["-s", "-1"]).spawn().unwrap();
    // At once: the connection begins before anybody knows of the hole.
    let transfer = wait::until("a TCP transfer", PATIENCE, || {
        let report = from
            .script(&format!("timeout 30 iperf3 -J -c {address} -n 8M -w 64K"))
            .map_err(|error| error.to_string())?;
        let report: serde_json::Value =
            serde_json::from_str(&report).map_err(|error| error.to_string())?;
        // What was written may still wait; only what arrived counts.
        let arrived = report["end"]["sum_received"]["bytes"].as_u64();
        match arrived {
            Some(bytes) if bytes > 7 << 20 => Ok(bytes),
            other => Err(format!("{other:?} bytes arrived")),
        }
    });
    let _ = server.kill();
    let _ = server.wait();
    transfer.unwrap();

    for name in ["a1", "b1"] {
        let machine = lab.machine(name).unwrap();
        wait::until("the problem", PATIENCE, || {
            let status = meshctl::status(machine).map_err(|error| error.to_string())?;
            let mut codes = status.problems.iter().map(|problem| problem.code.as_str());
            if codes.any(|code| code == "mtu_hole") {
                Ok(())
            } else {
                Err(format!("{name}: {:?}", status.problems))
            }
        })
        .unwrap();
    }
    // What is too large is refused with the size that passes.
    let told = from
        .script(&format!(
            "ping -c 3 -i 0.2 -W 1 -M do -s 1300 {address} 2>&1 || true"
        ))
        .unwrap();
    assert!(
        told.contains("mtu = 1200") || told.contains("mtu=1200"),
        "{told}"
    );
}
