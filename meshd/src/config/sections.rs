//! Reads every other section into a [`Config`]. Prefix lists are in `networks`.

use ipnet::IpNet;
use mesh_proto::ClusterId;
use mesh_proto::limits::{MAX_NAME_BYTES, MAX_NETWORKS, MAX_ZONE_BYTES};
use mesh_proto::record::TopologyMode;
use meshd_core::candidates::DEFAULT_IGNORE_INTERFACES;
use meshd_core::network::IpProtocol;
use meshd_core::settings::{Bypass, RoutingSettings, ZoneRule};
use reqwest::Url;

use super::reader::{Field, Section};
use super::tree::Value;
use super::{
    Backend, Cluster, Config, DEFAULT_CONTROL_SOCKET, DEFAULT_INTERFACE, DEFAULT_LISTEN_PORT,
    DEFAULT_LOG, DEFAULT_ROUTING, DEFAULT_STATE_DIR, Discovery, Node, Wireguard, Zone, fields,
    networks, remote,
};

/// Entries of `discovery.servers`: each one is a task and a connection.
const MAX_SERVERS: usize = 16;
/// Entries of `node.zoneRules`.
const MAX_ZONE_RULES: usize = 1024;
/// Entries of `node.ignoreInterfaces`.
const MAX_PATTERNS: usize = 256;
/// Entries of `extraAnnouncedEndpoints`: no more than a record can carry.
const MAX_ANNOUNCED: usize = mesh_proto::limits::MAX_CANDIDATES;
/// Entries of `routing.bypass`.
const MAX_BYPASSES: usize = 64;
/// `sun_path` of a Unix socket, closing zero left out.
const MAX_SOCKET_PATH: usize = 107;
/// Port of the probes inside the tunnel.
const PROBE_PORT: u16 = 51841;
/// Tables `default`, `main` and `local`.
const RESERVED_TABLES: std::ops::RangeInclusive<u32> = 253..=255;
/// The last rule of ours must come before `32766: from all lookup main`.
const MAX_RULE_PRIORITY: u32 = 32_766 - 4;

/// Reads the whole document. What it returns is of use only if no issue was noted.
pub(super) fn config(root: &mut Section<'_>, hostname: &str) -> Option<Config> {
    let cluster = cluster(root);
    let node = node(root, hostname);
    let discovery = discovery(root);
    let mut advertise_file = None;
    let config = Config {
        wireguard: wireguard(root),
        mode: mode(root),
        filters: networks::filters(root),
        networks: networks::networks(root, &mut advertise_file),
        advertise_file,
        extra_announced_endpoints: root
            .field("extraAnnouncedEndpoints", |field| {
                field.list(MAX_ANNOUNCED, |entry| entry.parsed(str::parse))
            })
            .unwrap_or_default(),
        allow_down_peer_bypass: root
            .field("allowDownPeerBypass", |field| field.boolean())
            .unwrap_or_default(),
        routing: routing(root),
        external_peers: networks::external_peers(root),
        state_dir: root
            .field("stateDir", |field| field.path())
            .unwrap_or_else(|| DEFAULT_STATE_DIR.into()),
        control_socket: root
            .field("controlSocket", socket_path)
            .unwrap_or_else(|| DEFAULT_CONTROL_SOCKET.into()),
        metrics_listen: {
            let mut section = root.section("metrics");
            let listen = section.field("listen", |field| field.socket_address());
            section.finish();
            listen
        },
        remote: remote::remote(root),
        log: root
            .field("log", log_filter)
            .unwrap_or_else(|| DEFAULT_LOG.into()),
        cluster: cluster?,
        node: node?,
        discovery: discovery?,
    };
    Some(config)
}

fn cluster(root: &mut Section<'_>) -> Option<Cluster> {
    let mut section = root.section("cluster");
    let secret_file = section.field("secretFile", |field| field.path());
    let id = section.field("id", |field| {
        field.parsed(|text| text.parse::<ClusterId>().map_err(|error| error.to_string()))
    });
    section.missing(
        "secretFile",
        "make one with `meshctl cluster init` and name it, like /etc/meshd/cluster.secret",
    );
    section.finish();
    Some(Cluster {
        secret_file: secret_file?,
        id,
    })
}

fn node(root: &mut Section<'_>, hostname: &str) -> Option<Node> {
    let mut section = root.section("node");
    let name = if section.has("name") {
        section.field("name", |field| field.label(MAX_NAME_BYTES))
    } else {
        fields::label(hostname, MAX_NAME_BYTES)
            .map_err(|message| {
                section.wrong("name", format!("is not set, and the hostname {message}"));
            })
            .ok()
    };
    let zone = zone(&mut section);
    let ignore_interfaces = section
        .field("ignoreInterfaces", |field| {
            field.list(MAX_PATTERNS, |entry| entry.text().map(str::to_owned))
        })
        .unwrap_or_else(|| {
            DEFAULT_IGNORE_INTERFACES
                .iter()
                .map(|name| (*name).into())
                .collect()
        });
    let kubernetes = section
        .field("kubernetes", |field| field.boolean())
        .unwrap_or_default();
    section.finish();
    Some(Node {
        name: name?,
        zone: match zone? {
            Zone::Own if kubernetes => Zone::Kubernetes,
            zone => zone,
        },
        kubernetes,
        ignore_interfaces,
    })
}

fn zone(section: &mut Section<'_>) -> Option<Zone> {
    let label = section.field("zone", |field| field.label(MAX_ZONE_BYTES));
    let rules = section.field("zoneRules", |field| field.list(MAX_ZONE_RULES, zone_rule));
    let file = section.field("zoneFile", |field| field.path());
    let keys = ["zone", "zoneRules", "zoneFile"];
    let mut present = keys.into_iter().filter(|key| section.has(key));
    let first = present.next();
    if let (Some(first), Some(second)) = (first, present.next()) {
        section.wrong(
            second,
            format!("cannot stand beside node.{first}; keep one of them"),
        );
        return None;
    }
    match first {
        None => Some(Zone::Own),
        Some("zone") => label.map(Zone::Label),
        Some("zoneRules") => rules.map(Zone::Rules),
        Some(_) => file.map(Zone::File),
    }
}

fn zone_rule(field: Field<'_>) -> Option<ZoneRule> {
    let mut section = Section::of(field.node, field.path.to_owned(), field.issues);
    let zone = section.field("zone", |field| field.label(MAX_ZONE_BYTES));
    let cidrs: Option<Vec<IpNet>> = section.field("cidrs", |field| {
        field.list(MAX_NETWORKS, |entry| entry.net().map(|net| net.trunc()))
    });
    section.missing("zone", "write the label of the zone");
    section.missing("cidrs", "write the prefixes whose nodes are in the zone");
    section.finish();
    Some(ZoneRule {
        zone: zone?,
        cidrs: cidrs?,
    })
}

fn discovery(root: &mut Section<'_>) -> Option<Discovery> {
    let mut section = root.section("discovery");
    let servers = section.field("servers", |field| {
        let servers = field.list(MAX_SERVERS, |entry| {
            let url = entry.parsed(server_url)?;
            Some((entry.text()?.to_owned(), url))
        })?;
        if matches!(&field.node.value, Value::List(list) if list.is_empty()) {
            field.wrong("needs an entry, like https://discovery.example.net:7400");
        }
        for (index, (text, url)) in servers.iter().enumerate() {
            if servers[..index].iter().any(|(_, earlier)| earlier == url) {
                field.wrong(format!("has {text:?} twice"));
            }
        }
        Some(servers)
    });
    let ca_file = section.field("caFile", |field| field.path());
    section.missing(
        "servers",
        "name at least one server, like [\"https://discovery.example.net:7400\"]",
    );
    section.finish();
    let (servers, urls) = servers?.into_iter().unzip();
    Some(Discovery {
        servers,
        urls,
        ca_file,
    })
}

fn server_url(text: &str) -> Result<Url, String> {
    let expected = "write it like https://discovery.example.net:7400";
    let url = Url::parse(text).map_err(|error| format!("{text:?}: {error}; {expected}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(format!(
            "{text:?} is not an http or https address; {expected}"
        ));
    }
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if !bare || !url.username().is_empty() || url.password().is_some() {
        return Err(format!(
            "{text:?} must be scheme, host and port only; {expected}"
        ));
    }
    Ok(url)
}

fn wireguard(root: &mut Section<'_>) -> Wireguard {
    let mut section = root.section("wireguard");
    let wireguard = Wireguard {
        interface: section
            .field("interface", |field| field.parsed(interface_name))
            .unwrap_or_else(|| DEFAULT_INTERFACE.into()),
        listen_port: section
            .field("listenPort", |field| {
                let port = field.integer(1, u16::MAX)?;
                if port == PROBE_PORT {
                    field.wrong("51841 is the port of the probes inside the tunnel; take another");
                }
                Some(port)
            })
            .unwrap_or(DEFAULT_LISTEN_PORT),
        backend: section
            .field("backend", |field| field.parsed(backend))
            .unwrap_or(Backend::Auto),
        chosen: None,
        mtu: section.field("mtu", mtu).flatten(),
    };
    section.finish();
    wireguard
}

fn backend(text: &str) -> Result<Backend, String> {
    match text {
        "auto" => Ok(Backend::Auto),
        "userspace" => Ok(Backend::Userspace),
        "kernel" => Ok(Backend::Kernel),
        _ => Err(format!(
            "{text:?} is not a backend: use auto, kernel or userspace"
        )),
    }
}

/// The kernel's rules for interface names (`dev_valid_name`).
fn interface_name(text: &str) -> Result<String, String> {
    let forbidden = |byte: u8| byte == b'/' || byte == b':' || !byte.is_ascii_graphic();
    if text.len() > 15 || text.bytes().any(forbidden) || matches!(text, "." | ".." | "lo") {
        return Err(format!(
            "{text:?} cannot be an interface name: write 1 to 15 letters, digits and -_."
        ));
    }
    Ok(text.to_owned())
}

#[expect(clippy::option_option, reason = "none: wrong; some of none: auto")]
fn mtu(field: Field<'_>) -> Option<Option<u32>> {
    if field.node.value == Value::Text("auto".into()) {
        return Some(None);
    }
    // IPv6 needs 1280; 65535 minus the tunnel's 80 bytes is the most that fits.
    field.integer(1280, 65_455).map(Some)
}

fn mode(root: &mut Section<'_>) -> TopologyMode {
    let mut section = root.section("topology");
    let mode = section.field("mode", |field| {
        field.parsed(|text| match text {
            "cross" => Ok(TopologyMode::Cross),
            "full" => Ok(TopologyMode::Full),
            "gateway" => Err("gateway is not built yet: use cross or full".to_owned()),
            _ => Err(format!("{text:?} is not a mode: use cross or full")),
        })
    });
    section.finish();
    mode.unwrap_or_default()
}

fn routing(root: &mut Section<'_>) -> RoutingSettings {
    let mut section = root.section("routing");
    let table = section.field("table", |field| {
        let table = field.integer(1, u32::MAX)?;
        if RESERVED_TABLES.contains(&table) {
            field.wrong(format!("table {table} belongs to the system; take another"));
        }
        Some(table)
    });
    let rule_priority = section.field("rulePriority", |field| field.integer(1, MAX_RULE_PRIORITY));
    let mark = section.field("mark", |field| field.parsed(mark));
    // 0 to 4 are the kernel's own (`rtnetlink.h`).
    let protocol = section.field("protocol", |field| field.integer(5, u8::MAX));
    let bypass = section.field("bypass", |field| field.list(MAX_BYPASSES, bypass));
    section.finish();
    let (mark, mask) = mark.unwrap_or((DEFAULT_ROUTING.mark, DEFAULT_ROUTING.mask));
    RoutingSettings {
        table: table.unwrap_or(DEFAULT_ROUTING.table),
        rule_priority: rule_priority.unwrap_or(DEFAULT_ROUTING.rule_priority),
        mark,
        mask,
        protocol: protocol.unwrap_or(DEFAULT_ROUTING.protocol),
        bypass: bypass.unwrap_or_default(),
    }
}

/// `VALUE/MASK`, decimal or `0x…`.
fn mark(text: &str) -> Result<(u32, u32), String> {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    };
    text.split_once('/')
        .and_then(|(value, mask)| Some((number(value)?, number(mask)?)))
        .filter(|(value, mask)| *value != 0 && value & !mask == 0)
        .ok_or_else(|| {
            format!("{text:?} is not a mark: write VALUE/MASK with VALUE inside MASK, like 0x1000/0x1000")
        })
}

fn bypass(field: Field<'_>) -> Option<Bypass> {
    let mut section = Section::of(field.node, field.path.to_owned(), field.issues);
    let protocol = section.field("proto", |field| {
        field.parsed(|text| match text {
            "tcp" => Ok(IpProtocol::Tcp),
            "udp" => Ok(IpProtocol::Udp),
            _ => Err(format!("{text:?} is not a protocol: use tcp or udp")),
        })
    });
    let port = section.field("port", |field| field.integer(1, u16::MAX));
    section.missing("proto", "write tcp or udp");
    section.missing("port", "write the local port of the service");
    section.finish();
    Some(Bypass {
        protocol: protocol?,
        port: port?,
    })
}

fn socket_path(field: Field<'_>) -> Option<std::path::PathBuf> {
    let path = field.path()?;
    if path.as_os_str().len() > MAX_SOCKET_PATH {
        field.wrong(format!(
            "is longer than the {MAX_SOCKET_PATH} bytes a Unix socket may have"
        ));
        return None;
    }
    Some(path)
}

fn log_filter(field: Field<'_>) -> Option<String> {
    field.parsed(|text| {
        tracing_subscriber::EnvFilter::try_new(text)
            .map(|_| text.to_owned())
            .map_err(|_| format!("{text:?} is not a log filter; write it like info or meshd=debug"))
    })
}
