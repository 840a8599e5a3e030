//! Tests of filter programs: KubeSpan's own cases, the cases that follow from its code, and a naive
//! model.

use std::net::IpAddr;

use ipnet::IpNet;
use proptest::prelude::*;

use super::*;

fn program(entries: &[&str]) -> FilterProgram {
    FilterProgram::parse(entries).unwrap()
}

fn ips(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|ip| ip.parse().unwrap()).collect()
}

fn run(entries: &[&str], input: &[&str]) -> Vec<IpAddr> {
    program(entries).run(&ips(input), |ip| *ip)
}

type List = &'static [&'static str];

const GENERATION: List = &[
    "172.20.0.2",
    "10.5.0.1",
    "192.168.192.168",
    "2001:123:4567::1",
    "1.1.1.1",
];
const ABC: List = &["10.0.0.1", "192.168.1.5", "2001:db8::1"];

/// Addresses, program, result.
const CASES: &[(List, List, List)] = &[
    (
        &["10.3.4.6", "2001:db8::1"],
        &["0.0.0.0/0", "::/0"],
        &["10.3.4.6", "2001:db8::1"],
    ),
    (
        &["10.3.4.6", "10.3.4.1", "172.20.0.1"],
        &["10.0.0.0/8", "!10.3.4.1/32"],
        &["10.3.4.6"],
    ),
    (
        &["10.3.4.6", "10.3.4.1", "172.20.0.1"],
        &["10.0.0.0/8", "!10.3.4.1"],
        &["10.3.4.6"],
    ),
    (
        &["10.3.4.6", "172.20.0.1"],
        &["10.0.0.0/8", "0.0.0.0/0"],
        &["10.3.4.6", "172.20.0.1"],
    ),
    (
        GENERATION,
        &["0.0.0.0/0", "!192.168.0.0/16", "2001::/16"],
        &["172.20.0.2", "10.5.0.1", "1.1.1.1", "2001:123:4567::1"],
    ),
    (ABC, &["!192.168.0.0/16"], &[]),
    (
        ABC,
        &["!192.168.0.0/16", "0.0.0.0/0"],
        &["10.0.0.1", "192.168.1.5"],
    ),
    (ABC, &["0.0.0.0/0", "!192.168.0.0/16"], &["10.0.0.1"]),
    (
        ABC,
        &["0.0.0.0/0", "!192.168.0.0/16", "192.168.1.5"],
        &["10.0.0.1", "192.168.1.5"],
    ),
    (
        ABC,
        &["::/0", "0.0.0.0/0"],
        &["2001:db8::1", "10.0.0.1", "192.168.1.5"],
    ),
    // Removed and added again: moves to the end.
    (
        &["192.168.1.5", "10.0.0.1"],
        &["0.0.0.0/0", "!192.168.0.0/16", "192.168.0.0/16"],
        &["10.0.0.1", "192.168.1.5"],
    ),
    // Host bits are masked.
    (ABC, &["192.168.77.1/16"], &["192.168.1.5"]),
    // IPv4 in IPv6 clothes is IPv4, on either side.
    (&["::ffff:10.0.0.1"], &["::/0"], &[]),
    (&["::ffff:10.0.0.1"], &["10.0.0.0/8"], &["::ffff:10.0.0.1"]),
    (ABC, &["::ffff:10.0.0.0/104"], &["10.0.0.1"]),
];

#[test]
fn kubespan_cases() {
    for (input, entries, expected) in CASES {
        assert_eq!(run(entries, input), ips(expected), "{entries:?}");
    }
}

#[test]
fn bad_entries_are_named() {
    for bad in [
        "!/8",
        "!!10.0.0.0/8",
        "! 10.0.0.0/8",
        "",
        "!",
        " 10.0.0.0/8",
        "10.0.0.0/33",
        "::/129",
        "10.0.0",
        "fe80::1%eth0",
        "host",
        "10.0.0.0/-1",
        "10.0.0.0/",
    ] {
        let error = FilterProgram::parse(&["0.0.0.0/0", "::/0", bad]).unwrap_err();
        assert_eq!(error.index, 2, "{bad}");
        assert_eq!(
            error.to_string(),
            format!("[2]: {bad:?} is not a CIDR or an IP address")
        );
    }
}

#[test]
fn empty_and_endless_lists_are_errors() {
    let error = FilterProgram::parse::<&str>(&[]).unwrap_err();
    assert_eq!(error.index, 0);
    assert!(error.message.contains("0.0.0.0/0"), "{error}");
    assert!(FilterProgram::parse(&vec!["::/0"; MAX_FILTER_ENTRIES]).is_ok());
    assert!(FilterProgram::parse(&vec!["::/0"; MAX_FILTER_ENTRIES + 1]).is_err());
}

#[test]
fn entries_are_shown_as_written() {
    let written = ["0.0.0.0/0", "!192.168.1.5/16", "10.0.0.1", "2001:DB8::/32"];
    let shown: Vec<String> = program(&written)
        .entries()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(shown, written);
}

#[test]
fn trace_tells_what_each_entry_does() {
    let items = ips(&["10.0.0.1", "192.168.1.5", "2001:db8::1"]);
    let trace = program(&["0.0.0.0/0", "!192.168.0.0/16", "192.168.1.5", "10.0.0.0/8"])
        .trace(&items, |ip| *ip);
    let lists: Vec<_> = trace
        .entries
        .iter()
        .map(|step| (step.added.len(), step.removed.len(), step.unchanged.len()))
        .collect();
    assert_eq!(lists, [(2, 0, 0), (0, 1, 0), (1, 0, 0), (0, 0, 1)]);
    let verdicts: Vec<_> = trace
        .items
        .iter()
        .map(|item| (item.kept, item.decided_by))
        .collect();
    assert_eq!(verdicts, [(true, Some(0)), (true, Some(2)), (false, None)]);
    assert_eq!(trace.result, ips(&["10.0.0.1", "192.168.1.5"]));
}

type Warned = (Option<usize>, WarningKind);

#[test]
fn warnings_are_exact() {
    use WarningKind::{ExcludesAll, LosesFamily, NoEffect};
    let table: &[(List, &[Warned])] = &[
        (&["0.0.0.0/0", "::/0"], &[]),
        (&["0.0.0.0/0", "::/0", "!123.0.0.0/24"], &[]),
        (&["0.0.0.0/0", "::/0", "!10.0.0.0/8", "10.1.2.3"], &[]),
        (&["10.0.0.0/8", "0.0.0.0/0", "::/0"], &[]),
        (&["!192.168.0.0/16"], &[(None, ExcludesAll)]),
        (&["10.0.0.0/8", "!0.0.0.0/0"], &[(None, ExcludesAll)]),
        (&["10.0.0.0/9", "!10.0.0.0/8"], &[(None, ExcludesAll)]),
        (&["0.0.0.0/0", "!10.0.0.0/8"], &[(None, LosesFamily)]),
        (&["::/0"], &[(None, LosesFamily)]),
        (
            &["!192.168.0.0/16", "0.0.0.0/0", "::/0"],
            &[(Some(0), NoEffect)],
        ),
        (&["0.0.0.0/0", "::/0", "0.0.0.0/0"], &[(Some(2), NoEffect)]),
        (&["0.0.0.0/0", "::/0", "10.0.0.0/8"], &[(Some(2), NoEffect)]),
        (
            &["0.0.0.0/0", "::/0", "!10.0.0.0/8", "!10.1.0.0/16"],
            &[(Some(3), NoEffect)],
        ),
        (
            &["10.0.0.0/8", "0.0.0.0/0", "::/0", "!10.0.0.0/8"],
            &[(Some(0), NoEffect)],
        ),
        (
            &["0.0.0.0/1", "128.0.0.0/1", "::/0", "192.168.0.0/16"],
            &[(Some(3), NoEffect)],
        ),
    ];
    for (entries, expected) in table {
        let found: Vec<_> = program(entries)
            .warnings()
            .into_iter()
            .map(|warning| (warning.index, warning.kind))
            .collect();
        assert_eq!(&found, expected, "{entries:?}");
    }
    let warning = &program(&["!10.0.0.0/8", "0.0.0.0/0", "::/0"]).warnings()[0];
    assert_eq!(
        warning.to_string(),
        "[0]: \"!10.0.0.0/8\" changes nothing: no entry before it includes these addresses; put it \
         after the one that does"
    );
}

#[test]
fn prefixes_need_an_entry_that_contains_them() {
    let table: &[(&[&str], &str, bool)] = &[
        (&["10.0.0.0/8"], "10.244.0.0/16", true),
        (&["10.0.0.0/8"], "10.0.0.0/8", true),
        (&["10.0.0.0/8"], "10.0.0.0/7", false),
        (&["10.0.0.0/8"], "192.168.0.0/24", false),
        (&["10.0.0.0/8", "!10.244.0.0/16"], "10.244.3.0/24", false),
        (&["10.0.0.0/8", "!10.244.3.0/24"], "10.244.0.0/16", false),
        (&["!10.244.3.0/24", "10.0.0.0/8"], "10.244.0.0/16", true),
        (
            &["10.0.0.0/8", "!10.244.0.0/16", "10.244.3.0/24"],
            "10.244.3.0/25",
            true,
        ),
        (&["0.0.0.0/0"], "fd00::/64", false),
        (&["10.0.0.0/8"], "10.1.2.3/16", true),
    ];
    for (entries, prefix, expected) in table {
        let prefix: IpNet = prefix.parse().unwrap();
        assert_eq!(
            program(entries).allows_prefix(prefix),
            *expected,
            "{entries:?} {prefix}"
        );
    }
}

/// KubeSpan's algorithm, step by step.
fn model(entries: &[(bool, IpNet)], items: &[IpAddr]) -> Vec<IpAddr> {
    let mut result: Vec<IpAddr> = Vec::new();
    for (negated, net) in entries {
        if *negated {
            result.retain(|ip| !net.contains(ip));
        } else {
            for ip in items {
                if net.contains(ip) && !result.contains(ip) {
                    result.push(*ip);
                }
            }
        }
    }
    result
}

/// Addresses and ranges close together, so that they meet.
fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0u32..64).prop_map(|low| IpAddr::from((0x0a00_0000 + low).to_be_bytes())),
        (0u128..64).prop_map(|low| IpAddr::from(((0xfd00 << 112) + low).to_be_bytes())),
    ]
}

fn entry() -> impl Strategy<Value = (bool, IpNet)> {
    (any::<bool>(), address(), 0u8..=6).prop_map(|(negated, address, wide)| {
        let full = IpNet::from(address).max_prefix_len();
        (negated, IpNet::new(address, full - wide).unwrap())
    })
}

proptest! {
    #[test]
    fn same_as_the_model(
        entries in prop::collection::vec(entry(), 1..12),
        items in prop::collection::btree_set(address(), 0..24),
    ) {
        let items: Vec<IpAddr> = items.into_iter().rev().collect();
        let text: Vec<String> = entries
            .iter()
            .map(|(negated, net)| format!("{}{net}", if *negated { "!" } else { "" }))
            .collect();
        let program = FilterProgram::parse(&text).unwrap();
        let expected = model(&entries, &items);
        prop_assert_eq!(&program.run(&items, |ip| *ip), &expected);
        let trace = program.trace(&items, |ip| *ip);
        prop_assert_eq!(&trace.result, &expected);
        for item in &trace.items {
            prop_assert_eq!(item.kept, expected.contains(&item.item));
            let last = program.deciding_entry(item.item);
            prop_assert_eq!(item.kept, last.is_some_and(|(_, entry)| !entry.negated));
        }
        // Entries that "change nothing" can all be left out.
        let warnings = program.warnings();
        let useless: Vec<usize> = warnings.iter().filter_map(|warning| warning.index).collect();
        let rest: Vec<_> = entries
            .iter()
            .enumerate()
            .filter(|(index, _)| !useless.contains(index))
            .map(|(_, entry)| *entry)
            .collect();
        prop_assert_eq!(&model(&rest, &items), &expected);
        if warnings.iter().any(|warning| warning.kind == WarningKind::ExcludesAll) {
            prop_assert!(expected.is_empty());
        }
    }

    #[test]
    fn an_allowed_prefix_is_allowed_in_all_its_parts(
        entries in prop::collection::vec(entry(), 1..12),
        (_, claim) in entry(),
        inside in address(),
    ) {
        let text: Vec<String> = entries
            .iter()
            .map(|(negated, net)| format!("{}{net}", if *negated { "!" } else { "" }))
            .collect();
        let program = FilterProgram::parse(&text).unwrap();
        if claim.contains(&inside) && program.allows_prefix(claim) {
            prop_assert!(program.allows(inside));
        }
    }
}
