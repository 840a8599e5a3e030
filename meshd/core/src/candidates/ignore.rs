//! Ignored interfaces: whose addresses are neither node addresses nor candidates.

use crate::links::{Link, LinkSnapshot};

/// Interfaces whose addresses are neither node addresses nor candidates, unless configured otherwise:
/// those of containers, container bridges, CNIs and tunnels. `*` stands for any text, `?` for one
/// character, `[0-9a-f]` for one of a set; `kind:KIND` matches the kind of link.
///
/// A link that a default route leaves by is an uplink, whatever these say. Bridges and veth pairs are
/// not matched by kind: a host's only uplink may be one. The veth names are those that container
/// runtimes make up.
pub const DEFAULT_IGNORE_INTERFACES: &[&str] = &[
    "antrea*",
    "azv*",
    "br-*",
    "cali*",
    "cbr*",
    "cilium*",
    "cni*",
    "docker*",
    "flannel*",
    "gke*",
    "kilo*",
    "kind:geneve",
    "kind:gre",
    "kind:gretap",
    "kind:ip6gre",
    "kind:ip6tnl",
    "kind:ipip",
    "kind:sit",
    "kind:tun",
    "kind:vti",
    "kind:vxlan",
    "kind:wireguard",
    "kind:xfrm",
    "kube*",
    "lxc*",
    "lxdbr*",
    "nerdctl*",
    "nodelocaldns*",
    "ovn*",
    "ovs*",
    "podman*",
    "siderolink*",
    "tailscale*",
    "tap*",
    "tun*",
    "veth[0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]*",
    "virbr*",
    "vxlan*",
    "weave*",
    "wg*",
    "zt*",
];

/// True if addresses of `link` do not count. A pattern of [`DEFAULT_IGNORE_INTERFACES`] yields to a
/// default route that leaves by the link; a pattern of the user's own does not.
#[must_use]
pub fn is_ignored(links: &LinkSnapshot, link: &Link, patterns: &[String]) -> bool {
    let uplink = links.is_default(link.index);
    patterns.iter().any(|pattern| {
        let matches = match pattern.strip_prefix("kind:") {
            Some(kind) => link.kind.as_deref().is_some_and(|own| glob(kind, own)),
            None => glob(pattern, &link.name),
        };
        matches && !(uplink && DEFAULT_IGNORE_INTERFACES.contains(&pattern.as_str()))
    })
}

/// Shell-style match of the whole name. Names are at most 15 bytes, so backtracking stays small.
fn glob(pattern: &str, name: &str) -> bool {
    let Some(first) = pattern.chars().next() else {
        return name.is_empty();
    };
    let rest = &pattern[first.len_utf8()..];
    if first == '*' {
        let mut starts = (0..=name.len()).filter(|at| name.is_char_boundary(*at));
        return starts.any(|at| glob(rest, &name[at..]));
    }
    let Some(character) = name.chars().next() else {
        return false;
    };
    let tail = &name[character.len_utf8()..];
    match first {
        '?' => glob(rest, tail),
        '[' => match rest.split_once(']') {
            Some((set, rest)) => in_set(set, character) && glob(rest, tail),
            None => character == '[' && glob(rest, tail),
        },
        literal => literal == character && glob(rest, tail),
    }
}

/// `abc`, `a-f`, and mixtures.
fn in_set(set: &str, character: char) -> bool {
    let set: Vec<char> = set.chars().collect();
    let mut at = 0;
    while let Some(&low) = set.get(at) {
        let (high, width) = match (set.get(at + 1), set.get(at + 2)) {
            (Some('-'), Some(&high)) => (high, 3),
            _ => (low, 1),
        };
        if (low..=high).contains(&character) {
            return true;
        }
        at += width;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignored(name: &str, kind: Option<&str>, uplink: bool, patterns: &[String]) -> bool {
        let link = Link {
            index: 3,
            name: name.to_owned(),
            kind: kind.map(str::to_owned),
            up: true,
            mtu: 1500,
            addresses: Vec::new(),
        };
        let links = LinkSnapshot {
            default_v6: uplink.then_some(3),
            ..LinkSnapshot::default()
        };
        is_ignored(&links, &link, patterns)
    }

    #[test]
    fn defaults_tell_uplinks_from_containers_and_tunnels() {
        let defaults: Vec<String> = DEFAULT_IGNORE_INTERFACES
            .iter()
            .map(|&pattern| pattern.to_owned())
            .collect();
        for (name, kind, uplink, expected) in [
            ("eth0", None, false, false),
            ("eth0", Some("veth"), false, false),
            ("lan0", Some("veth"), false, false),
            ("veth-a", Some("veth"), false, false),
            ("veth0", Some("veth"), false, false),
            ("veth1a2b3c4", Some("veth"), false, true),
            ("vethdeadbeef", Some("veth"), false, true),
            ("ens5", None, false, false),
            ("enp1s0.100", Some("vlan"), false, false),
            ("bond0", Some("bond"), false, false),
            ("br0", Some("bridge"), false, false),
            ("vmbr0", Some("bridge"), false, false),
            ("br-0a1b2c3d", Some("bridge"), false, true),
            ("docker0", Some("bridge"), false, true),
            ("cni0", Some("bridge"), false, true),
            ("flannel.1", Some("vxlan"), false, true),
            ("cilium_host", Some("veth"), false, true),
            ("cali12345678901", Some("veth"), false, true),
            ("wg0", Some("wireguard"), false, true),
            ("office", Some("wireguard"), false, true),
            ("mesh1", Some("tun"), false, true),
            ("tun0", Some("tun"), true, false),
            ("docker0", Some("bridge"), true, false),
        ] {
            assert_eq!(
                ignored(name, kind, uplink, &defaults),
                expected,
                "{name} {kind:?} {uplink}"
            );
        }
    }

    #[test]
    fn own_patterns_do_not_yield() {
        let own = ["eth1".to_owned(), "x*".to_owned()];
        assert!(ignored("eth1", None, true, &own) && !ignored("eth0", None, false, &own));
        assert!(!ignored("wg0", Some("wireguard"), false, &own));
    }

    #[test]
    fn globs() {
        for (pattern, name, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("**", "abc", true),
            ("a*", "a", true),
            ("a*c", "abc", true),
            ("a*c", "abd", false),
            ("*c*", "abcd", true),
            ("a?c", "abc", true),
            ("a?", "a", false),
            ("[a-c]1", "b1", true),
            ("[a-c]1", "d1", false),
            ("[xyz-]1", "-1", true),
            ("a[", "a[", true),
            ("docker", "docker0", false),
        ] {
            assert_eq!(glob(pattern, name), expected, "{pattern} {name}");
        }
    }
}
