//! Which colour class a link, a node or a pair of zones has. Every shape carries the classes of all
//! colourings; the style sheet picks one, so that a page changes its colours without drawing anew.

use mesh_proto::control::{LinkState, NodeState};

/// Upper bounds of the classes `r0` to `r4`, milliseconds; slower is `r5`.
pub(super) const RTT_BOUNDS: [f64; 5] = [1.0, 5.0, 20.0, 60.0, 150.0];

/// Upper bounds of the classes `l0` to `l2`, per cent; more is `l3`.
pub(super) const LOSS_BOUNDS: [u32; 3] = [0, 3, 10];

/// Classes of a link or a pair of zones, separated by spaces.
pub(super) fn classes(
    state: Option<LinkState>,
    rtt_ms: Option<f64>,
    loss_percent: Option<u32>,
) -> String {
    let state = match state {
        None => "s-native",
        Some(LinkState::Up) => "s-up",
        Some(LinkState::Unknown) => "s-unknown",
        Some(LinkState::Suspect) => "s-suspect",
        Some(LinkState::Connecting) => "s-connecting",
        Some(LinkState::Down) => "s-down",
    };
    let rtt = rtt_ms.map_or_else(String::new, |rtt| {
        let class = RTT_BOUNDS.iter().filter(|bound| rtt > **bound).count();
        format!(" r{class}")
    });
    let loss = loss_percent.map_or_else(String::new, |loss| {
        let class = LOSS_BOUNDS.iter().filter(|bound| loss > **bound).count();
        format!(" l{class}")
    });
    format!("{state}{rtt}{loss}")
}

/// Class of a node.
pub(super) const fn node(state: NodeState) -> &'static str {
    match state {
        NodeState::Alive => "n-alive",
        NodeState::Fresh => "n-fresh",
        NodeState::Stale => "n-stale",
        // The removed are in no topology.
        NodeState::Unknown | NodeState::Removed => "n-unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_belong_to_the_lower_class() {
        assert_eq!(
            classes(Some(LinkState::Up), Some(1.0), Some(0)),
            "s-up r0 l0"
        );
        assert_eq!(
            classes(Some(LinkState::Down), Some(1.1), Some(1)),
            "s-down r1 l1"
        );
        assert_eq!(classes(None, Some(9_000.0), Some(100)), "s-native r5 l3");
        assert_eq!(classes(Some(LinkState::Unknown), None, None), "s-unknown");
    }
}
