//! Configuration files of the nodes.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::error::LabError;
use super::plan::{Node, Placement, Plan};

/// The configuration of a node, its own settings merged in.
#[must_use]
pub fn node_config(plan: &Plan, node: &Node, secret: &Path, state: &Path) -> Value {
    let mut config = json!({
        "cluster": { "secretFile": secret },
        "node": { "name": node.name, "zone": node.zone },
        "discovery": { "servers": [format!("http://{}", plan.discovery_address())] },
        "networks": { "advertise": [node.pods] },
        "stateDir": state,
    });
    if plan.discovery == Placement::Node(node.name.clone()) {
        let port = plan.discovery_address().port();
        let bypass = ["tcp", "udp"].map(|proto| json!({ "proto": proto, "port": port }));
        merge(&mut config, &json!({ "routing": { "bypass": bypass } }));
    }
    let asked = std::env::var("MESH_LAB_BACKEND").unwrap_or_default();
    let backend = backend(plan, node, &asked);
    merge(&mut config, &json!({ "wireguard": { "backend": backend } }));
    merge(&mut config, &node.settings);
    config
}

/// The backend that `MESH_LAB_BACKEND` asks for: `mixed` alternates, so that every kind of pair occurs;
/// `auto` leaves the choice to meshd. Without it userspace: what a test finds must not depend on the kernel it
/// happens to run on.
fn backend<'a>(plan: &Plan, node: &Node, asked: &'a str) -> &'a str {
    let number = plan.nodes().position(|other| other.name == node.name);
    match asked {
        "" => "userspace",
        "mixed" if number.is_some_and(|number| number % 2 == 0) => "kernel",
        "mixed" => "userspace",
        other => other,
    }
}

/// Merges `over` into `base`: maps key by key, null removes a key, anything else replaces.
pub fn merge(base: &mut Value, over: &Value) {
    let Value::Object(over) = over else {
        *base = over.clone();
        return;
    };
    if !base.is_object() {
        *base = Value::Object(Map::new());
    }
    let Value::Object(base) = base else { return };
    for (key, value) in over {
        if value.is_null() {
            base.remove(key);
        } else {
            merge(base.entry(key).or_insert(Value::Null), value);
        }
    }
}

/// Writes a configuration as YAML.
///
/// # Errors
/// If it cannot be written.
pub fn write(path: &Path, config: &Value) -> Result<(), LabError> {
    let text = serde_saphyr::to_string(config)
        .map_err(|error| LabError::Unusable(format!("cannot write YAML: {error}")))?;
    std::fs::write(path, text).map_err(LabError::file("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges() {
        let mut base = json!({ "a": { "b": 1, "c": 2 }, "d": [1] });
        merge(
            &mut base,
            &json!({ "a": { "b": null, "e": { "f": 3 } }, "d": [2] }),
        );
        assert_eq!(base, json!({ "a": { "c": 2, "e": { "f": 3 } }, "d": [2] }));
    }

    #[test]
    fn a_mixed_lab_has_every_kind_of_pair() {
        let plan = Plan::new(2, 2).unwrap();
        let of = |name, asked| backend(&plan, plan.node(name).unwrap(), asked);
        let mixed = ["a1", "a2", "b1", "b2"].map(|name| of(name, "mixed"));
        assert_eq!(mixed, ["kernel", "userspace", "kernel", "userspace"]);
        assert_eq!(of("a1", ""), "userspace");
        assert_eq!(of("a2", "kernel"), "kernel");
    }

    #[test]
    fn the_server_on_a_node_is_bypassed_there_only() {
        let mut plan = Plan::new(3, 2).unwrap();
        plan.discovery = Placement::Node("b1".to_owned());
        let config = |name| {
            node_config(
                &plan,
                plan.node(name).unwrap(),
                Path::new("s"),
                Path::new("d"),
            )
        };
        assert_eq!(
            config("b1")["routing"]["bypass"][1],
            json!({ "proto": "udp", "port": 7400 })
        );
        assert_eq!(config("b2")["routing"], Value::Null);
        assert_eq!(
            config("a1")["discovery"]["servers"][0],
            "http://10.2.0.11:7400"
        );
    }
}
