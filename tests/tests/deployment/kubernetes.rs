//! The manifests: structure by the rules of the API that a mistake would break, least privilege, and that
//! the chart with its defaults is the same as the kustomize base.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{documents, field, is_a_configuration, strings, text};

const BASE: [&str; 4] = ["rbac", "config", "meshd", "discovery"];

fn base() -> BTreeMap<String, Value> {
    by_name(
        BASE.iter()
            .flat_map(|name| documents(&text(&format!("kubernetes/base/{name}.yaml")))),
    )
}

/// Documents by kind and name.
fn by_name(documents: impl Iterator<Item = Value>) -> BTreeMap<String, Value> {
    documents
        .map(|document| {
            let kind = field(&document, "/kind").as_str().unwrap();
            let name = field(&document, "/metadata/name").as_str().unwrap();
            (format!("{kind}/{name}"), document)
        })
        .collect()
}

/// What the chart's templates use of Go's language, and no more: values, `indent`, one `if`.
fn render(template: &str, values: &Value) -> String {
    let mut out = String::new();
    for line in template.lines() {
        if line.starts_with("{{- if .Values.discovery.enabled }}") || line == "{{- end }}" {
            continue;
        }
        let mut rest = line;
        while let Some((before, after)) = rest.split_once("{{ ") {
            let (expression, after) = after.split_once(" }}").expect("closed braces");
            out.push_str(before);
            out.push_str(&evaluate(expression, values));
            rest = after;
        }
        assert!(
            !rest.contains("{{"),
            "what the renderer does not know: {line}"
        );
        out.push_str(rest);
        out.push('\n');
    }
    out
}

fn evaluate(expression: &str, values: &Value) -> String {
    let value = |path: &str| match path {
        ".Release.Namespace" => "mesh-system".to_owned(),
        ".Chart.AppVersion" => env!("CARGO_PKG_VERSION").to_owned(),
        _ => {
            let path = path.strip_prefix(".Values").expect("a value");
            let value = field(values, &path.replace('.', "/"));
            value.as_str().expect("a text").to_owned()
        }
    };
    match expression.split_once(" | indent ") {
        None => value(expression),
        Some((path, width)) => {
            let width = " ".repeat(width.parse().unwrap());
            let text = value(path);
            let lines = text.trim_end().lines().map(|line| format!("{width}{line}"));
            lines.collect::<Vec<_>>().join("\n")
        }
    }
}

#[test]
fn the_chart_with_its_defaults_is_the_base() {
    let values = documents(&text("kubernetes/helm/mesh/values.yaml")).remove(0);
    let rendered = by_name(BASE.iter().flat_map(|name| {
        let template = text(&format!("kubernetes/helm/mesh/templates/{name}.yaml"));
        documents(&render(&template, &values))
    }));
    for (name, document) in base() {
        assert_eq!(rendered.get(&name), Some(&document), "{name}");
    }
    assert_eq!(rendered.len(), base().len());
    let chart = documents(&text("kubernetes/helm/mesh/Chart.yaml")).remove(0);
    assert_eq!(chart["apiVersion"], "v2");
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
    // Every value is in the schema, and nothing else.
    let schema: Value =
        serde_json::from_str(&text("kubernetes/helm/mesh/values.schema.json")).unwrap();
    for key in values.as_object().unwrap().keys() {
        assert!(
            strings(&schema["required"]).contains(&key.as_str()),
            "{key}"
        );
        assert!(schema["properties"][key].is_object(), "{key}");
    }
}

#[test]
fn meshd_may_read_nodes_and_nothing_else() {
    let base = base();
    let role = &base["ClusterRole/mesh-system-meshd"];
    let rule = serde_json::json!([{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}]);
    assert_eq!(role["rules"], rule);
    let binding = &base["ClusterRoleBinding/mesh-system-meshd"];
    assert_eq!(binding["roleRef"]["name"], role["metadata"]["name"]);
    let pod = field(&base["DaemonSet/meshd"], "/spec/template/spec");
    let account = &base["ServiceAccount/meshd"];
    assert_eq!(pod["serviceAccountName"], account["metadata"]["name"]);
    assert_eq!(binding["subjects"][0]["name"], account["metadata"]["name"]);
    let security = field(pod, "/containers/0/securityContext");
    assert_eq!(
        security["capabilities"],
        serde_json::json!({"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]})
    );
    for (key, wanted) in [
        ("allowPrivilegeEscalation", false),
        ("readOnlyRootFilesystem", true),
    ] {
        assert_eq!(security[key], wanted, "{key}");
    }
    assert!(security.get("privileged").is_none());
    let discovery = field(&base["Deployment/discovery-server"], "/spec/template/spec");
    assert_eq!(discovery["automountServiceAccountToken"], false);
    assert_eq!(discovery["securityContext"]["runAsNonRoot"], true);
}

#[test]
fn workloads_are_consistent() {
    let base = base();
    for name in ["DaemonSet/meshd", "Deployment/discovery-server"] {
        let workload = &base[name];
        assert_eq!(workload["apiVersion"], "apps/v1");
        let labels = field(workload, "/spec/template/metadata/labels");
        assert_eq!(
            field(workload, "/spec/selector/matchLabels"),
            labels,
            "{name}"
        );
        let pod = field(workload, "/spec/template/spec");
        let container = field(pod, "/containers/0");
        let volumes: Vec<_> = list(&pod["volumes"], "name");
        let mounts = list(&container["volumeMounts"], "name");
        assert_eq!(
            mounts, volumes,
            "{name}: each volume is mounted, in the same order"
        );
        for probe in ["startupProbe", "livenessProbe"] {
            let probe = &container[probe];
            let ways = ["exec", "httpGet"]
                .iter()
                .filter(|way| probe.get(*way).is_some());
            assert_eq!(ways.count(), 1, "{name}: {probe}");
            if let Some(port) = probe.pointer("/httpGet/port") {
                assert!(list(&container["ports"], "name").contains(&port.as_str().unwrap()));
            }
        }
        assert!(
            container.pointer("/resources/limits/memory").is_some(),
            "{name}"
        );
    }
    let service = &base["Service/discovery-server"];
    let deployment = &base["Deployment/discovery-server"];
    let labels = field(deployment, "/spec/template/metadata/labels");
    assert_eq!(field(service, "/spec/selector"), labels);
    let ports = list(
        field(deployment, "/spec/template/spec/containers/0/ports"),
        "name",
    );
    assert_eq!(list(field(service, "/spec/ports"), "targetPort"), ports);
}

fn list<'a>(value: &'a Value, key: &str) -> Vec<&'a str> {
    let entries = value
        .as_array()
        .unwrap_or_else(|| panic!("{value} is no list"));
    entries
        .iter()
        .map(|entry| entry[key].as_str().unwrap())
        .collect()
}

#[test]
fn the_configuration_fits_the_pod() {
    let base = base();
    let config = field(&base["ConfigMap/meshd"], "/data/meshd.yaml")
        .as_str()
        .unwrap();
    is_a_configuration(config);
    let pod = field(&base["DaemonSet/meshd"], "/spec/template/spec");
    let container = field(pod, "/containers/0");
    let secret = config
        .lines()
        .find_map(|line| line.trim().strip_prefix("secretFile: "))
        .unwrap();
    let directory = secret.strip_suffix("/cluster.secret").unwrap();
    assert!(list(&container["volumeMounts"], "mountPath").contains(&directory));
    // 0400: meshd refuses what others can read.
    let volumes = pod["volumes"].as_array().unwrap();
    let volume = volumes
        .iter()
        .find(|volume| volume["name"] == "secret")
        .unwrap();
    assert_eq!(volume["secret"]["defaultMode"], 0o400);
    let name = field(container, "/env/0");
    assert_eq!(name["name"], "MESHD_NODE_NAME");
    assert_eq!(
        field(name, "/valueFrom/fieldRef/fieldPath"),
        "spec.nodeName"
    );
}

#[test]
fn kustomize_names_every_file() {
    let kustomization = documents(&text("kubernetes/base/kustomization.yaml")).remove(0);
    let mut named = strings(&kustomization["resources"]);
    named.retain(|file| *file != "namespace.yaml");
    let files: Vec<_> = BASE.iter().map(|name| format!("{name}.yaml")).collect();
    assert_eq!(named, files);
}
