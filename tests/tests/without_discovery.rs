//! Every discovery server is down: a node that moves to another zone and one that leaves for good tell all
//! connected peers themselves.

#![cfg(test)]

use std::time::Duration;

use mesh_proto::control::Members;
use mesh_tests::lab::fixture::{Fixture, PATIENCE};
use mesh_tests::lab::network::DISCOVERY;
use mesh_tests::lab::{Lab, Plan, meshctl, wait};
use serde_json::json;

/// The zones that `on` knows its peers to be in, by name; a node without a tunnel is not among them.
fn zones(lab: &Lab, on: &str) -> Result<Vec<(String, String)>, String> {
    let peers = meshctl::peers(lab.machine(on).unwrap()).map_err(|error| error.to_string())?;
    let mut zones: Vec<_> = peers
        .peers
        .into_iter()
        .map(|peer| (peer.name, peer.zone))
        .collect();
    zones.sort();
    Ok(zones)
}

fn wait_zones(lab: &Lab, on: &str, wanted: &[(&str, &str)]) {
    let wanted: Vec<_> = wanted
        .iter()
        .map(|(name, zone)| ((*name).to_owned(), (*zone).to_owned()))
        .collect();
    wait::until("the change without a server", PATIENCE, || {
        let have = zones(lab, on)?;
        if have == wanted {
            Ok(())
        } else {
            Err(format!("{on}: {have:?}"))
        }
    })
    .unwrap();
}

#[test]
fn a_zone_change_and_a_leave_reach_connected_peers() {
    let Some(fixture) = Fixture::build(Plan::new(3, 1).unwrap()) else {
        return;
    };
    let lab = &fixture.lab;
    let zone_file = lab.machine_dir("b1").join("zone");
    std::fs::write(&zone_file, "b\n").unwrap();
    let settings = json!({ "node": { "zone": null, "zoneFile": zone_file } });
    lab.configure("b1", &settings).unwrap();
    lab.start_all().unwrap();
    fixture.wait_all().unwrap();
    lab.kill(DISCOVERY).unwrap();

    // To a zone of its own: both others see it there, and the tunnels stay.
    std::fs::write(&zone_file, "d\n").unwrap();
    wait_zones(lab, "a1", &[("b1", "d"), ("c1", "c")]);
    wait_zones(lab, "c1", &[("a1", "a"), ("b1", "d")]);
    // To the zone of another: native there, a tunnel to the third.
    std::fs::write(&zone_file, "a\n").unwrap();
    wait_zones(lab, "a1", &[("c1", "c")]);
    wait_zones(lab, "b1", &[("c1", "c")]);
    wait_zones(lab, "c1", &[("a1", "a"), ("b1", "a")]);
    std::fs::write(&zone_file, "b\n").unwrap();
    wait_zones(lab, "c1", &[("a1", "a"), ("b1", "b")]);

    let leaving = lab.machine("c1").unwrap();
    leaving.run("meshctl", &["leave", "--yes"]).unwrap();
    lab.wait_end("c1", Duration::from_secs(20)).unwrap();
    for (name, other) in [("a1", "b1"), ("b1", "a1")] {
        let machine = lab.machine(name).unwrap();
        wait::until("the leave without a server", PATIENCE, || {
            let members: Members =
                meshctl::query(machine, &["members"]).map_err(|error| error.to_string())?;
            let mut names: Vec<_> = members.members.iter().map(|m| m.name.as_str()).collect();
            names.sort_by_key(|known| *known != name);
            if names == [name, other] {
                Ok(())
            } else {
                Err(format!("{name}: {names:?}"))
            }
        })
        .unwrap();
    }
}
