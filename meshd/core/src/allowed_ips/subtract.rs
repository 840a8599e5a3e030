//! Exact subtraction of prefixes.

use ipnet::IpNet;

/// `pieces` without `excluded`: the fewest prefixes that cover exactly the rest. Host bits are zero.
pub(super) fn subtract(pieces: &[IpNet], excluded: IpNet) -> Vec<IpNet> {
    let mut rest = Vec::with_capacity(pieces.len());
    for piece in pieces {
        if excluded.contains(piece) {
            continue;
        }
        if piece.contains(&excluded) {
            split_around(*piece, excluded, &mut rest);
        } else {
            rest.push(*piece);
        }
    }
    rest
}

/// Halves `piece` until `excluded` stands alone; `excluded` lies strictly inside.
fn split_around(mut piece: IpNet, excluded: IpNet, rest: &mut Vec<IpNet>) {
    while piece != excluded {
        let Ok(halves) = piece.subnets(piece.prefix_len() + 1) else {
            return;
        };
        for half in halves {
            if half.contains(&excluded) {
                piece = half;
            } else {
                rest.push(half);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(list: &[&str]) -> Vec<IpNet> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn exact() {
        for (from, excluded, rest) in [
            ("10.244.3.0/24", "10.244.3.128/25", &["10.244.3.0/25"][..]),
            ("10.244.3.0/24", "10.244.3.0/24", &[]),
            ("10.244.3.0/24", "10.0.0.0/8", &[]),
            ("10.244.3.0/24", "10.244.4.0/24", &["10.244.3.0/24"]),
            ("10.244.3.0/24", "fd00::/8", &["10.244.3.0/24"]),
            (
                "10.0.0.0/30",
                "10.0.0.1/32",
                &["10.0.0.0/32", "10.0.0.2/31"],
            ),
            ("fd00::/126", "fd00::2/127", &["fd00::/127"]),
        ] {
            let mut found = subtract(&nets(&[from]), excluded.parse().unwrap());
            found.sort_unstable();
            assert_eq!(found, nets(rest), "{from} - {excluded}");
        }
        let all = subtract(&nets(&["::/0"]), "::1/128".parse().unwrap());
        assert_eq!(all.len(), 128);
        assert_eq!(
            subtract(&nets(&["0.0.0.0/0"]), nets(&["255.255.255.255/32"])[0]).len(),
            32
        );
    }
}
