//! Reads `networks.advertiseFile`: prefixes that something else on the host writes down, like flannel's
//! `/run/flannel/subnet.env`.

use std::io;
use std::path::Path;

use ipnet::IpNet;
use mesh_proto::limits::MAX_NETWORKS;

use super::{fields, file, networks};

/// What of flannel's file are this node's own pods; its other prefixes are the whole cluster's.
const FLANNEL_KEYS: [&str; 2] = ["FLANNEL_SUBNET", "FLANNEL_IPV6_SUBNET"];

/// Reads the prefixes in the file, sorted, without host bits; none if it is empty or gone.
///
/// # Errors
/// What is wrong, in words; the prefixes then stay what they were.
pub fn read_advertise_file(path: &Path) -> Result<Vec<IpNet>, String> {
    match file::read_bounded(path, file::MAX_SMALL_FILE_BYTES) {
        Ok(text) => parse(&text).map_err(|message| format!("{}: {message}", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
    }
}

/// Prefixes by white space or commas, `#` begins a remark, of `KEY=VALUE` only flannel's keys count.
fn parse(text: &str) -> Result<Vec<IpNet>, String> {
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let words = match line.split_once('=') {
            Some((key, value)) if FLANNEL_KEYS.contains(&key.trim()) => value,
            Some(_) => continue,
            None => line,
        };
        let words = words.split(|c: char| c == ',' || c.is_whitespace());
        for word in words.filter(|word| !word.is_empty()) {
            let shown: String = word.chars().take(80).collect();
            found.push(networks::routable(fields::net(&shown)?)?);
        }
    }
    found.sort();
    found.dedup();
    if found.len() > MAX_NETWORKS {
        return Err(format!(
            "has {} prefixes, at most {MAX_NETWORKS} are allowed",
            found.len()
        ));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn lists_and_flannels_file() {
        assert_eq!(parse("").unwrap(), []);
        assert_eq!(
            parse("# pods\n10.244.3.0/24, fd00:3::/64\n10.244.3.9/24\n").unwrap(),
            nets(&["10.244.3.0/24", "fd00:3::/64"])
        );
        let flannel = "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.3.1/24\n\
                       FLANNEL_IPV6_SUBNET=fd00:3::1/64\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";
        assert_eq!(
            parse(flannel).unwrap(),
            nets(&["10.244.3.0/24", "fd00:3::/64"])
        );
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (text, part) in [
            ("10.244.3.0/33", "\"10.244.3.0/33\" is not a CIDR"),
            ("pods", "\"pods\" is not a CIDR"),
            ("127.0.0.0/8", "cannot be routed"),
        ] {
            assert!(parse(text).unwrap_err().contains(part), "{text}");
        }
        let many: Vec<_> = (0..=MAX_NETWORKS)
            .map(|n| format!("10.1.{n}.0/24"))
            .collect();
        assert!(parse(&many.join("\n")).unwrap_err().contains("at most"));
    }

    #[test]
    fn a_file_that_is_gone_is_empty() {
        assert_eq!(
            read_advertise_file(Path::new("/nonexistent/pods")),
            Ok(Vec::new())
        );
        assert!(read_advertise_file(Path::new("/proc")).is_err());
    }
}
