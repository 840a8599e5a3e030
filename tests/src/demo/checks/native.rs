//! Inside a zone nothing changes: same route as before, traffic in clear on the LAN, no WireGuard between
//! neighbours.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use super::verdict::{all_answered, broken};
use crate::demo::stage::{MARKER, Stage, native_routes, pings};
use crate::demo::{CheckError, Outcome};
use crate::lab::capture::{Capture, Frame, Frames};
use crate::lab::classify::wireguard_type;
use crate::lab::network::router_name;
use crate::lab::packet::{IpPacket, Packet, Transport};
use crate::lab::plan::Zone;

pub(crate) fn run(stage: &Stage) -> Outcome {
    let routes = native_routes(&stage.lab)?;
    for (key, before) in &stage.native_routes {
        if routes.get(key) != Some(before) {
            let now = routes.get(key).map_or("none", String::as_str);
            return broken(format!(
                "route of {} to {} was {before}, is {now}",
                key.0, key.1
            ));
        }
    }
    let mut evidence = Vec::new();
    for zone in &stage.lab.plan.zones {
        evidence.push(check_zone(stage, zone)?);
    }
    Ok(format!(
        "{} routes unchanged; {}",
        routes.len(),
        evidence.join("; ")
    ))
}

fn check_zone(stage: &Stage, zone: &Zone) -> Outcome {
    let capture = Capture::start(stage.lab.machine(&router_name(&zone.name))?)?;
    let pairs = stage.lab.plan.zone_pairs();
    let pairs: Vec<_> = pairs
        .into_iter()
        .filter(|(from, _)| from.zone == zone.name)
        .collect();
    all_answered(&pings(&stage.lab, &pairs)?)?;
    let frames = capture.finish()?;
    let mut seen = 0;
    for (from, to) in &pairs {
        for source in [from.address, from.pod_address()] {
            for destination in [to.address, to.pod_address()] {
                seen += in_clear(&frames, source, destination)?;
            }
        }
    }
    let inside: BTreeSet<IpAddr> = zone
        .nodes
        .iter()
        .flat_map(|node| {
            node.extra_addresses
                .iter()
                .map(|net| net.addr())
                .chain([node.address])
        })
        .map(IpAddr::V4)
        .collect();
    let tunnelled = frames
        .frames
        .iter()
        .filter(|frame| is_wireguard_between(frame, &inside))
        .count();
    if tunnelled > 0 {
        return broken(format!(
            "zone {}: {tunnelled} WireGuard messages between its nodes",
            zone.name
        ));
    }
    Ok(format!(
        "zone {}: {seen} frames in clear, no WireGuard inside",
        zone.name
    ))
}

fn in_clear(frames: &Frames, source: Ipv4Addr, destination: Ipv4Addr) -> Result<usize, CheckError> {
    let between = |frame: &&Frame| {
        ip(frame).is_some_and(|packet| {
            packet.source == IpAddr::V4(source) && packet.destination == IpAddr::V4(destination)
        })
    };
    match frames.containing(&MARKER).filter(between).count() {
        0 => broken(format!(
            "nothing in clear from {source} to {destination} on the LAN"
        )),
        count => Ok(count),
    }
}

fn is_wireguard_between(frame: &Frame, inside: &BTreeSet<IpAddr>) -> bool {
    ip(frame).is_some_and(|packet| {
        let message = match packet.transport {
            Transport::Udp(segment) => wireguard_type(segment.payload),
            _ => None,
        };
        message.is_some() && inside.contains(&packet.source) && inside.contains(&packet.destination)
    })
}

fn ip(frame: &Frame) -> Option<IpPacket<'_>> {
    match Packet::parse(&frame.bytes) {
        Packet::Ip(packet) => Some(packet),
        _ => None,
    }
}
