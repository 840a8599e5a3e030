//! Configurations: what is right, the exact text of everything that is refused, what only warns.

mod documents;
mod files;

use proptest::prelude::*;

use super::*;
use mesh_proto::record::BackendKind;

pub(super) const MINIMAL: &str = "cluster: {secretFile: /s}
discovery: {servers: [\"https://d.example:7400\"]}
";

fn read(text: &str) -> Loaded {
    parse(text, "host-1").unwrap_or_else(|issues| panic!("{text}\n{issues:?}"))
}

/// The issues of [`MINIMAL`] with more lines after it.
fn issues(more: &str) -> Vec<String> {
    let text = format!("{MINIMAL}{more}");
    match parse(&text, "host-1") {
        Ok(_) => panic!("accepted: {text}"),
        Err(issues) => issues.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn defaults() {
    let config = read(MINIMAL).config;
    let settings = config.to_settings();
    assert_eq!(settings.name, "host-1");
    assert_eq!(settings.wireguard.interface, "mesh0");
    assert_eq!(settings.wireguard.listen_port, 51840);
    assert_eq!(settings.wireguard.mtu, None);
    assert_eq!(settings.wireguard.backend, BackendKind::Userspace);
    assert!(settings.wireguard.backend_reason.starts_with("auto: "));
    assert_eq!(settings.routing, DEFAULT_ROUTING);
    assert_eq!(settings.filters, Filters::default());
    assert_eq!(settings.discovery_servers, ["https://d.example:7400"]);
    assert!(!settings.ignore_interfaces.is_empty());
    assert_eq!(config.control_socket, PathBuf::from(DEFAULT_CONTROL_SOCKET));
    assert_eq!(config.state_dir, PathBuf::from(DEFAULT_STATE_DIR));
    assert_eq!(config.metrics_listen, None);
}

#[test]
fn nothing_at_all_names_what_is_missing() {
    for text in ["", "# only a comment\n", "node:\n  name: a\n"] {
        let found: Vec<_> = parse(text, "host-1").unwrap_err();
        let shown: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "cluster.secretFile: is missing; make one with `meshctl cluster init` and name it, \
                 like /etc/meshd/cluster.secret",
                "discovery.servers: is missing; name at least one server, like \
                 [\"https://discovery.example.net:7400\"]",
            ],
            "{text:?}"
        );
    }
    assert!(parse("just text", "host-1").is_err());
    assert!(parse("[1, 2]", "host-1").is_err());
}

#[test]
fn every_error_is_found_at_once_in_the_order_of_the_file() {
    let text = "node: {zone: \"a b\", nmae: x}\nfilters:\n  endpoints: [\"0.0.0.0/0\", \"!/8\"]\n  peerEndpoint: []\nwireguard:\n  listenPort: 0\n";
    let shown: Vec<_> = parse(text, "host-1").unwrap_err();
    let shown: Vec<_> = shown.iter().map(|issue| issue.key.as_str()).collect();
    assert_eq!(
        shown,
        [
            "node.zone",
            "node.nmae",
            "filters.endpoints[1]",
            "filters.peerEndpoint",
            "wireguard.listenPort",
            "cluster.secretFile",
            "discovery.servers",
        ]
    );
}

#[test]
fn refusals() {
    for (more, expected) in REFUSALS {
        assert_eq!(issues(more), [*expected], "{more}");
    }
}

const REFUSALS: &[(&str, &str)] = &[
    (
        "nodes: {}",
        "line 3: nodes: unknown key; did you mean `node`?",
    ),
    (
        "node: {zonee: a}",
        "line 3: node.zonee: unknown key; did you mean `zone`?",
    ),
    (
        "metrics:\n  port: 1",
        "line 4: metrics.port: unknown key; the keys here are: listen",
    ),
    (
        "node: 5",
        "line 3: node: must be a map of keys, not a number",
    ),
    (
        "node:\n  zone: 5",
        "line 4: node.zone: must be text, and YAML reads this as a number: put it in quotes",
    ),
    (
        "node: {zone: }",
        "line 3: node.zone: has no value; give it one or remove the key",
    ),
    (
        "node: {zone: \"a b\"}",
        "line 3: node.zone: \"a b\" cannot be used: write 1 to 63 letters, digits and -_./",
    ),
    (
        "node: {name: \"a:b\"}",
        "line 3: node.name: \"a:b\" cannot be used: write 1 to 253 letters, digits and -_./",
    ),
    (
        "node: {zone: a, zoneFile: /z}",
        "line 3: node.zoneFile: cannot stand beside node.zone; keep one of them",
    ),
    (
        "node: {zoneRules: [{zone: a}]}",
        "line 3: node.zoneRules[0].cidrs: is missing; write the prefixes whose nodes are in the zone",
    ),
    (
        "filters:\n  endpoints: [\"0.0.0.0/0\", \"::/0\", \"!/8\"]",
        "line 4: filters.endpoints[2]: \"!/8\" is not a CIDR or an IP address",
    ),
    (
        "filters:\n  endpoints:\n    - 0.0.0.0/0\n    - !192.168.0.0/16\n",
        "line 6: filters.endpoints[1]: is empty; an entry that begins with ! must be in quotes, \
         like \"!192.168.0.0/16\"",
    ),
    (
        "filters: {endpoints: 10.0.0.0/8}",
        "line 3: filters.endpoints: must be a list, like [\"…\", \"…\"], not text",
    ),
    (
        "networks: {advertise: [10.0.0.0/33]}",
        "line 3: networks.advertise[0]: \"10.0.0.0/33\" is not a CIDR or an IP address",
    ),
    (
        "networks: {advertise: [127.0.0.0/8]}",
        "line 3: networks.advertise[0]: 127.0.0.0/8 is loopback, link-local or multicast and cannot \
         be routed between nodes",
    ),
    (
        "topology: {mode: gateway}",
        "line 3: topology.mode: gateway is not built yet: use cross or full",
    ),
    (
        "topology: {mode: star}",
        "line 3: topology.mode: \"star\" is not a mode: use cross or full",
    ),
    (
        "wireguard: {backend: kernal}",
        "line 3: wireguard.backend: \"kernal\" is not a backend: use auto, kernel or userspace",
    ),
    (
        "wireguard: {interface: interface-name-0}",
        "line 3: wireguard.interface: \"interface-name-0\" cannot be an interface name: write 1 to 15 \
         letters, digits and -_.",
    ),
    (
        "wireguard: {listenPort: 70000}",
        "line 3: wireguard.listenPort: must be a number from 1 to 65535, not 70000",
    ),
    (
        "wireguard: {listenPort: 51841}",
        "line 3: wireguard.listenPort: 51841 is the port of the probes inside the tunnel; take another",
    ),
    (
        "wireguard: {mtu: 576}",
        "line 3: wireguard.mtu: must be a number from 1280 to 65455, not 576",
    ),
    (
        "routing: {table: 254}",
        "line 3: routing.table: table 254 belongs to the system; take another",
    ),
    (
        "routing: {mark: \"0x2000/0x1000\"}",
        "line 3: routing.mark: \"0x2000/0x1000\" is not a mark: write VALUE/MASK with VALUE inside \
         MASK, like 0x1000/0x1000",
    ),
    (
        "routing: {protocol: 4}",
        "line 3: routing.protocol: must be a number from 5 to 255, not 4",
    ),
    (
        "routing: {bypass: [{proto: icmp, port: 1}]}",
        "line 3: routing.bypass[0].proto: \"icmp\" is not a protocol: use tcp or udp",
    ),
    (
        "allowDownPeerBypass: \"yes\"",
        "line 3: allowDownPeerBypass: must be true or false, not text",
    ),
    (
        "extraAnnouncedEndpoints: [\"203.0.113.7\"]",
        "line 3: extraAnnouncedEndpoints[0]: \"203.0.113.7\" has no port; write ADDRESS:PORT, \
         [IPV6]:PORT or NAME:PORT",
    ),
    (
        "externalPeers: [{name: a, publicKey: abc, allowedIPs: []}]",
        "line 3: externalPeers[0].publicKey: a key must be 32 bytes in base64 (44 characters)",
    ),
    (
        "metrics: {listen: 9740}",
        "line 3: metrics.listen: must be text, and YAML reads this as a number: put it in quotes",
    ),
    (
        "log: \"meshd=loud\"",
        "line 3: log: \"meshd=loud\" is not a log filter; write it like info or meshd=debug",
    ),
];

#[test]
fn servers_that_are_refused() {
    for (list, part) in [
        ("[]", "needs an entry"),
        ("[\"d.example\"]", "relative URL without a base"),
        ("[\"ftp://d.example\"]", "is not an http or https address"),
        (
            "[\"https://d.example/path\"]",
            "must be scheme, host and port only",
        ),
        (
            "[\"https://u:p@d.example\"]",
            "must be scheme, host and port only",
        ),
        (
            "[\"https://d.example\", \"https://d.example:443/\"]",
            "twice",
        ),
    ] {
        let text = format!("cluster: {{secretFile: /s}}\ndiscovery: {{servers: {list}}}\n");
        let issues = parse(&text, "host-1").unwrap_err();
        assert_eq!(issues.len(), 1, "{issues:?}");
        assert!(issues[0].to_string().contains(part), "{issues:?}");
    }
}

#[test]
fn a_hostname_that_cannot_be_a_name_is_named() {
    let issues = parse(MINIMAL, "my host").unwrap_err();
    assert_eq!(
        issues[0].to_string(),
        "node.name: is not set, and the hostname \"my host\" cannot be used: write 1 to 253 \
         letters, digits and -_./"
    );
}

#[test]
fn external_peers_must_differ() {
    let key = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
    let peer = format!("{{name: a, publicKey: \"{key}\", allowedIPs: [10.9.0.1]}}");
    let found = issues(&format!("externalPeers: [{peer}, {peer}]"));
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].contains("two peers are named \"a\""), "{found:?}");
}

#[test]
fn surprises() {
    for (more, part) in [
        ("", "node.zone: is not set"),
        ("allowDownPeerBypass: true", "allowDownPeerBypass: is true"),
        (
            "metrics: {listen: \"0.0.0.0:9740\"}",
            "metrics.listen: 0.0.0.0:9740 serves",
        ),
        (
            "networks: {advertise: [0.0.0.0/0]}",
            "networks.advertise[0]: peers refuse 0.0.0.0/0",
        ),
        (
            "networks: {advertise: [172.17.3.0/24]}",
            "Docker's default bridge",
        ),
        (
            "networks: {advertise: [10.1.0.0/16], protected: [10.1.2.0/24]}",
            "networks.protected[0]: 10.1.2.0/24 lies in 10.1.0.0/16",
        ),
        (
            "networks: {advertise: [10.1.2.0/24]}\nfilters: {excludeAdvertisedNetworks: [10.1.0.0/16]}",
            "removed again by filters.excludeAdvertisedNetworks",
        ),
    ] {
        let warnings = read(&format!("{MINIMAL}{more}")).warnings;
        assert!(
            warnings.iter().any(|text| text.contains(part)),
            "{more}: {warnings:?}"
        );
    }
    let quiet =
        "node: {zone: fra}\nnetworks: {advertise: [10.244.3.0/24], protected: [10.244.0.0/16]}";
    assert_eq!(read(&format!("{MINIMAL}{quiet}")).warnings, [""; 0]);
}

#[test]
fn plain_http_warns_only_when_it_leaves_the_site() {
    for (url, warned) in [
        ("http://d.example:7400", true),
        ("http://203.0.113.1:7400", true),
        ("http://10.0.0.1:7400", false),
        ("http://[fd00::1]:7400", false),
        ("http://127.0.0.1:7400", false),
        ("https://d.example", false),
    ] {
        let text = format!(
            "cluster: {{secretFile: /s}}\nnode: {{zone: a}}\ndiscovery: {{servers: [\"{url}\"]}}\n"
        );
        assert_eq!(!read(&text).warnings.is_empty(), warned, "{url}");
    }
}

proptest! {
    #[test]
    fn arbitrary_documents_never_panic(
        key in prop::sample::select(vec!["node", "filters", "networks", "routing", "externalPeers", "x"]),
        value in "[a-zA-Z0-9:\\- \\[\\]{},#&*!|>'\"/.~\n]{0,120}",
    ) {
        let _ = parse(&format!("{MINIMAL}{key}: {value}\n"), "host-1");
        let _ = parse(&format!("{MINIMAL}{key}:\n  - {value}\n  {value}"), &value);
    }
}
