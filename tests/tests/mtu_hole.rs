//! A router loses large packets without a word: the tunnel still carries a TCP transfer and tells senders.

#![cfg(test)]

use std::time::Duration;

use mesh_tests::lab::fixture::{Fixture, PATIENCE};
use mesh_tests::lab::network::router_name;
use mesh_tests::lab::{Lab, Plan, meshctl, packages, wait};

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

/// Two zones with a node each, nothing started.
fn build() -> Option<Fixture> {
    let fixture = Fixture::build(Plan::new(2, 1).unwrap())?;
    packages::provide_for_throughput().unwrap();
    for name in ["a1", "b1"] {
        // Otherwise many packets reach the router as a single large one.
        let machine = fixture.lab.machine(name).unwrap();
        machine
            .script("ethtool -K eth0 tx-udp-segmentation off")
            .unwrap();
    }
    Some(fixture)
}

fn dig_hole(lab: &Lab) {
    let router = router_name(&lab.plan.zones[0].name);
    lab.machine(&router).unwrap().script(HOLE).unwrap();
}

/// The hole appears in the middle of a transfer, on the path it uses: nothing switches, nothing restarts.
#[test]
fn transfer_under_way_goes_on() {
    let Some(fixture) = build() else { return };
    let lab = &fixture.lab;
    lab.start_all().unwrap();
    fixture.wait_all().unwrap();
    let (from, to) = (lab.machine("a1").unwrap(), lab.machine("b1").unwrap());
    let address = lab.plan.node("b1").unwrap().address;
    // The sizes of the fresh paths are found first.
    std::thread::sleep(Duration::from_secs(3));
    let mut server = to.command("iperf3").args(["-s", "-1"]).spawn().unwrap();
    let report = std::thread::scope(|scope| {
        let listens = wait::until("the iperf3 server", PATIENCE, || {
            to.script("ss -Hltn sport = 5201 | grep -q 5201")
                .map_err(|error| error.to_string())
        });
        listens.unwrap();
        let transfer = scope.spawn(|| {
            from.script(&format!(
                "timeout 60 iperf3 -J -i 1 -t 20 -w 64K -c {address}"
            ))
        });
        std::thread::sleep(Duration::from_secs(5));
        dig_hole(lab);
        transfer.join().unwrap()
    });
    let _ = server.kill();
    let _ = server.wait();
    let report: serde_json::Value = serde_json::from_str(&report.unwrap()).unwrap();
    let seconds: Vec<u64> = report["intervals"]
        .as_array()
        .unwrap()
        .iter()
        .map(|interval| interval["sum"]["bytes"].as_u64().unwrap())
        .collect();
    let empty = seconds.iter().filter(|bytes| **bytes == 0).count();
    println!("bytes of each second: {seconds:?}");
    assert!(empty <= 10, "stalled for {empty} s: {seconds:?}");
    assert!(seconds[seconds.len() - 1] > 1 << 20, "{seconds:?}");
    let status = meshctl::status(from).unwrap();
    assert!(
        status
            .problems
            .iter()
            .any(|problem| problem.code == "mtu_hole"),
        "{:?}",
        status.problems
    );
}

#[test]
fn transfer_goes_on() {
    let Some(fixture) = build() else { return };
    let lab = &fixture.lab;
    dig_hole(lab);
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
