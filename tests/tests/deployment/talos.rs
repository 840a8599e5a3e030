//! The extension, by the rules of Talos: `pkg/machinery/extensions` (manifest, allowed paths, modes) and
//! `extensions/services` (service specification), and those of ExtensionServiceConfig documents.

use serde_json::Value;

use super::{documents, field, is_a_configuration, strings, text};

fn one(name: &str) -> Value {
    documents(&text(name)).remove(0)
}

/// Talos decodes strictly: a key it does not know is an error.
fn only(value: &Value, known: &[&str]) {
    for key in value.as_object().unwrap().keys() {
        assert!(known.contains(&key.as_str()), "unknown key {key}");
    }
}

#[test]
fn the_manifest() {
    let manifest = one("talos/manifest.yaml");
    only(&manifest, &["version", "metadata"]);
    assert_eq!(manifest["version"], "v1alpha1");
    let metadata = field(&manifest, "/metadata");
    only(
        metadata,
        &[
            "name",
            "version",
            "author",
            "description",
            "compatibility",
            "extraInfo",
        ],
    );
    for key in ["name", "version", "author", "description"] {
        assert!(
            metadata[key].as_str().is_some_and(|text| !text.is_empty()),
            "{key}"
        );
    }
    let range = field(metadata, "/compatibility/talos/version")
        .as_str()
        .unwrap();
    let version = range.strip_prefix(">= v").expect("a range of versions");
    assert_eq!(
        version
            .split('.')
            .filter(|part| part.parse::<u32>().is_ok())
            .count(),
        3
    );
}

#[test]
fn the_service() {
    let spec = one("talos/meshd.yaml");
    only(
        &spec,
        &["name", "container", "depends", "restart", "logToConsole"],
    );
    let name = spec["name"].as_str().unwrap();
    assert!(
        name.bytes()
            .all(|byte| matches!(byte, b'-' | b'_' | b'a'..=b'z' | b'0'..=b'9'))
    );
    assert!(["always", "never", "untilSuccess"].contains(&spec["restart"].as_str().unwrap()));
    let container = field(&spec, "/container");
    only(
        container,
        &[
            "entrypoint",
            "args",
            "environment",
            "environmentFile",
            "security",
            "mounts",
        ],
    );
    assert_eq!(container["entrypoint"], "/usr/local/bin/meshd");
    only(
        field(container, "/security"),
        &[
            "writeableRootfs",
            "writeableSysfs",
            "maskedPaths",
            "readonlyPaths",
            "rootfsPropagation",
        ],
    );
    for entry in strings(field(container, "/environment")) {
        assert!(entry.contains('='), "{entry}");
    }
    for mount in field(container, "/mounts").as_array().unwrap() {
        only(
            mount,
            &[
                "source",
                "destination",
                "type",
                "options",
                "uidMappings",
                "gidMappings",
            ],
        );
        assert!(mount["destination"].as_str().unwrap().starts_with('/'));
        // A source that is missing is made as a directory: no file of ours can be one.
        let source = mount["source"].as_str().unwrap();
        assert!(!source.ends_with(".sock"), "{source}");
    }
}

#[test]
fn what_the_service_waits_for() {
    let spec = one("talos/meshd.yaml");
    for dependency in field(&spec, "/depends").as_array().unwrap() {
        let keys: Vec<_> = dependency.as_object().unwrap().keys().collect();
        assert_eq!(keys.len(), 1, "exactly one of the kinds in {dependency}");
        match keys[0].as_str() {
            "network" => {
                let known = ["addresses", "connectivity", "hostname", "etcfiles"];
                let asked = strings(&dependency["network"]);
                assert!(asked.iter().all(|state| known.contains(state)), "{asked:?}");
            }
            "service" | "path" => assert!(dependency[keys[0]].is_string()),
            "time" | "configuration" => assert_eq!(dependency[keys[0]], true),
            other => panic!("no such dependency: {other}"),
        }
    }
}

/// Files of a configuration document by mount path.
fn files(document: &Value) -> Vec<(&str, &str)> {
    only(
        document,
        &["apiVersion", "kind", "name", "configFiles", "environment"],
    );
    assert_eq!(document["apiVersion"], "v1alpha1");
    assert_eq!(document["kind"], "ExtensionServiceConfig");
    assert_eq!(document["name"], one("talos/meshd.yaml")["name"]);
    let files = document["configFiles"].as_array().unwrap();
    assert!(!files.is_empty());
    files
        .iter()
        .map(|file| {
            only(file, &["content", "mountPath"]);
            let (path, content) = (file["mountPath"].as_str(), file["content"].as_str());
            (
                path.unwrap(),
                content.filter(|text| !text.is_empty()).unwrap(),
            )
        })
        .collect()
}

#[test]
fn the_configuration_documents() {
    let (cluster, zone) = (one("talos/cluster.yaml"), one("talos/zone.yaml"));
    let mut mounted = files(&cluster);
    mounted.extend(files(&zone));
    let (path, config) = mounted[0];
    is_a_configuration(config);
    let spec = one("talos/meshd.yaml");
    let arguments = strings(field(&spec, "/container/args"));
    assert_eq!(arguments, ["--config", path]);
    // What the configuration names is mounted by one of the documents, or by the service.
    for word in config
        .split_whitespace()
        .filter(|word| word.starts_with("/usr/"))
    {
        assert!(
            mounted.iter().any(|(path, _)| *path == word),
            "{word} is not mounted"
        );
    }
    assert!(config.contains("/run/flannel/subnet.env"));
    let sources: Vec<_> = field(&spec, "/container/mounts")
        .as_array()
        .unwrap()
        .iter()
        .map(|mount| mount["source"].as_str().unwrap())
        .collect();
    assert!(sources.contains(&"/run") && sources.contains(&"/dev/net/tun"));
    // Talos writes these files with mode 0644.
    let environment = strings(field(&spec, "/container/environment"));
    assert!(environment.contains(&"MESHD_SECRETS_ANY_MODE=1"));
}

/// Where an extension may put files, of those that matter here, and that the release does.
#[test]
fn the_image_keeps_to_allowed_paths() {
    let release = text("release");
    let talos = release.split("prefix=$root/rootfs").nth(1).unwrap();
    let talos = talos.split("talos_trees+=").next().unwrap();
    assert!(talos.starts_with("/usr/local\n"));
    for path in [
        "$prefix/etc/containers/meshd.yaml",
        "$prefix/lib/containers/meshd/usr/local/bin",
    ] {
        assert!(talos.contains(path), "{path}");
    }
    assert!(
        !talos.contains("\"$root/"),
        "everything is below /usr/local"
    );
}
