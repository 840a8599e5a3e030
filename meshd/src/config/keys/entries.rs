//! The entries of the list of keys: path, type, default, meaning, in the order of the documents.

use std::fmt;

use super::Key;
use super::KeyDefault::{self, Required, Words};
use super::KeyType::{
    self, Boolean, Filter, Maps, Number, NumberOrAuto, Path, Prefixes, Text, Texts,
};
use crate::config::{
    DEFAULT_CONTROL_SOCKET, DEFAULT_INTERFACE, DEFAULT_LISTEN_PORT, DEFAULT_LOG, DEFAULT_ROUTING,
    DEFAULT_STATE_DIR,
};

/// Every key.
pub(super) fn all() -> Vec<Key> {
    [
        cluster(),
        node(),
        wireguard(),
        filters(),
        networks(),
        routing(),
        external_peers(),
        surroundings(),
    ]
    .concat()
}

const fn key(path: &'static str, kind: KeyType, default: KeyDefault, meaning: &'static str) -> Key {
    Key {
        path,
        kind,
        default,
        meaning,
    }
}

fn value(default: impl fmt::Display) -> KeyDefault {
    KeyDefault::Value(default.to_string())
}

/// `cluster` and `discovery`.
fn cluster() -> Vec<Key> {
    vec![
        key(
            "cluster.secretFile",
            Path,
            Required,
            "What makes a machine a node of the cluster; `meshctl cluster init` makes it. Mode 0600, 0400, or \
             0640 with group root; anything wider is refused. As a systemd service meshd takes the credential \
             `cluster.secret` for `/etc/meshd/cluster.secret`. Read again at SIGHUP.",
        ),
        key(
            "cluster.id",
            Text,
            Words("none"),
            "Pin: the secret must be of this cluster (`meshctl cluster id`). Guards against the wrong file.",
        ),
        key(
            "discovery.servers",
            Texts,
            Required,
            "Addresses like `https://discovery.example.net:7400`: scheme, host, port. The node publishes to \
             all and merges what they say.",
        ),
        key(
            "discovery.caFile",
            Path,
            Words("the system's"),
            "PEM certificates to trust instead of the system's.",
        ),
    ]
}

/// `node`.
fn node() -> Vec<Key> {
    vec![
        key(
            "node.name",
            Text,
            Words("`$MESHD_NODE_NAME`, or the hostname"),
            "Display name. 1 to 253 letters, digits and `-_./`.",
        ),
        key(
            "node.zone",
            Text,
            Words("none"),
            "Zone label, 1 to 63 letters, digits and `-_./`. No tunnels inside a zone. Without any zone the \
             node is a zone of its own. Only one of `zone`, `zoneRules`, `zoneFile`.",
        ),
        key(
            "node.zoneRules",
            Maps,
            Words("none"),
            "List of `{zone, cidrs}`: the first entry with a prefix that contains one of the node's addresses \
             gives the zone.",
        ),
        key("node.zoneRules[].zone", Text, Required, "The label."),
        key(
            "node.zoneRules[].cidrs",
            Prefixes,
            Required,
            "The prefixes.",
        ),
        key(
            "node.zoneFile",
            Path,
            Words("none"),
            "A file that holds the label; watched. Empty or gone: a zone of its own.",
        ),
        key(
            "node.kubernetes",
            Boolean,
            value("false"),
            "`true`, in a pod of a DaemonSet: networks of the Node object (`podCIDRs`) are advertised beside \
             `networks.advertise`, and its label `topology.kubernetes.io/zone` is the zone unless another key \
             gives one. Needs the right to `get` its Node, and `MESHD_NODE_NAME` from `spec.nodeName`. What \
             was said last is kept for starts without API server.",
        ),
        key(
            "node.ignoreInterfaces",
            Texts,
            Words("container, bridge, CNI and tunnel interfaces"),
            "Interface names, `*` matches anything. Their addresses are neither node addresses nor \
             candidates. Replaces the default list.",
        ),
    ]
}

/// `wireguard` and `topology`.
fn wireguard() -> Vec<Key> {
    vec![
        key(
            "wireguard.interface",
            Text,
            value(DEFAULT_INTERFACE),
            "Name of the tunnel interface, at most 15 bytes.",
        ),
        key(
            "wireguard.listenPort",
            Number,
            value(DEFAULT_LISTEN_PORT),
            "UDP port of the tunnels, IPv4 and IPv6. Not 51841, the port of the probes inside. Two above it \
             (51842) nodes of one zone ask each other once a minute whether they are there without a tunnel.",
        ),
        key(
            "wireguard.backend",
            Text,
            value("auto"),
            "`auto`, `userspace` or `kernel`. `auto` takes the kernel's WireGuard where the host has it \
             with all that is needed beside it, and userspace elsewhere; `meshctl status` and the log \
             say what was chosen and why. See [the kernel backend](kernel-backend.md).",
        ),
        key(
            "wireguard.mtu",
            NumberOrAuto,
            value("auto"),
            "MTU of the tunnel interface, 1280 to 65455; `auto` is the underlay's minus 80.",
        ),
        key(
            "topology.mode",
            Text,
            value("cross"),
            "`cross`: tunnels between zones. `full`: every pair; inside a zone only if both ends say so. \
             `gateway` is not built yet.",
        ),
    ]
}

/// `filters`.
fn filters() -> Vec<Key> {
    vec![
        key(
            "filters.endpoints",
            Filter,
            Words("no filter"),
            "Which of its candidates this node advertises. Ordered program, see below.",
        ),
        key(
            "filters.peerEndpoints",
            Filter,
            Words("no filter"),
            "Which candidates of peers this node dials.",
        ),
        key(
            "filters.peerNetworks",
            Filter,
            Words("no filter"),
            "Which prefixes peers may claim.",
        ),
        key(
            "filters.excludeAdvertisedNetworks",
            Prefixes,
            Words("none"),
            "Prefixes never routed between this node and any peer; published, so that both ends agree. Name \
             the addresses of both sides: with only one of them out of the tunnel, answers take another way \
             than questions and are dropped. Sites that use the same private LAN take it out here; their \
             advertised networks and mesh addresses still work.",
        ),
    ]
}

/// `networks` and what is next to it.
fn networks() -> Vec<Key> {
    vec![
        key(
            "networks.advertise",
            Prefixes,
            Words("none"),
            "Networks behind this node: pod CIDR, LAN. Host bits are dropped.",
        ),
        key(
            "networks.advertiseFile",
            Path,
            Words("none"),
            "A file with more such networks, by white space or commas; watched. Of `KEY=VALUE` lines only \
             flannel's `FLANNEL_SUBNET` and `FLANNEL_IPV6_SUBNET` count, so `/run/flannel/subnet.env` can be \
             named. Empty or gone: none.",
        ),
        key(
            "networks.protected",
            Prefixes,
            Words("none"),
            "Unreachable unless a peer or a directly connected network serves it, from the first moment of \
             start-up.",
        ),
        key(
            "networks.acceptWide",
            Prefixes,
            Words("none"),
            "Prefixes shorter than /8 (IPv6: /16), default routes among them, that peers may claim.",
        ),
        key(
            "extraAnnouncedEndpoints",
            Texts,
            Words("none"),
            "More endpoints to advertise, after all others and past `filters.endpoints`: `203.0.113.7:51840`, \
             `[2001:db8::7]:51840`, `home.example.org:51840`. Names are resolved again every minute and keep \
             their last good addresses; a bad one harms nothing else. At most 16.",
        ),
        key(
            "allowDownPeerBypass",
            Boolean,
            value("false"),
            "`true`: a peer's prefixes fall back to the host's own routes, **in clear**, after it was down \
             for 10 s.",
        ),
    ]
}

/// `routing`.
fn routing() -> Vec<Key> {
    vec![
        key(
            "routing.table",
            Number,
            value(DEFAULT_ROUTING.table),
            "Routing table of the mesh.",
        ),
        key(
            "routing.rulePriority",
            Number,
            value(DEFAULT_ROUTING.rule_priority),
            "First rule priority; a few from here on are used.",
        ),
        key(
            "routing.mark",
            Text,
            value(format_args!(
                "\"{:#x}/{:#x}\"",
                DEFAULT_ROUTING.mark, DEFAULT_ROUTING.mask
            )),
            "`VALUE/MASK` on the tunnels' outer packets.",
        ),
        key(
            "routing.protocol",
            Number,
            value(DEFAULT_ROUTING.protocol),
            "Route protocol number, 5 to 255: tells which routes and rules are meshd's.",
        ),
        key(
            "routing.bypass",
            Maps,
            Words("none"),
            "List of `{proto, port}`: services on this node whose replies stay native, like ssh or a \
             discovery server.",
        ),
        key("routing.bypass[].proto", Text, Required, "`tcp` or `udp`."),
        key("routing.bypass[].port", Number, Required, "The local port."),
    ]
}

/// `externalPeers`.
fn external_peers() -> Vec<Key> {
    vec![
        key(
            "externalPeers",
            Maps,
            Words("none"),
            "Stock WireGuard peers. `meshctl showconf --as-peer NAME` prints their side.",
        ),
        key(
            "externalPeers[].name",
            Text,
            Required,
            "Display name, as `node.name`.",
        ),
        key(
            "externalPeers[].publicKey",
            Text,
            Required,
            "WireGuard public key.",
        ),
        key(
            "externalPeers[].presharedKeyFile",
            Path,
            Words("none"),
            "File with a preshared key (`wg genpsk`), mode as `cluster.secretFile`.",
        ),
        key(
            "externalPeers[].allowedIPs",
            Prefixes,
            Required,
            "What is routed to it. Two peers cannot have the same prefix.",
        ),
        key(
            "externalPeers[].endpoint",
            Text,
            Words("none"),
            "`address:port`; none if the peer dials this node.",
        ),
    ]
}

/// Files and listeners.
fn surroundings() -> Vec<Key> {
    vec![
        key(
            "stateDir",
            Path,
            value(DEFAULT_STATE_DIR),
            "Keys, the cache of members and addresses; 0700. One meshd a directory.",
        ),
        key(
            "controlSocket",
            Path,
            value(DEFAULT_CONTROL_SOCKET),
            "Unix socket for `meshctl`.",
        ),
        key(
            "metrics.listen",
            Text,
            Words("no metrics"),
            "Address and port of Prometheus metrics, like `127.0.0.1:9740`; [what each means](metrics.md).",
        ),
        key(
            "remote.listen",
            Text,
            Words("no remote control"),
            "The control API over TCP, for reading only: `mesh:PORT` is the node's mesh address \
             (`mesh:9741`), or a loopback address. Nothing else: it is plain HTTP. For nodes without a shell; \
             `meshctl --remote`.",
        ),
        key(
            "remote.tokenFile",
            Path,
            Words("required with `remote`"),
            "File with the word that readers must know: 16 to 1024 letters and digits, mode as \
             `cluster.secretFile`.",
        ),
        key(
            "log",
            Text,
            value(DEFAULT_LOG),
            "Log filter, like `debug` or `info,meshd::discovery=debug`.",
        ),
    ]
}
