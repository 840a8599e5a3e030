//! Reads what a Talos machine configuration says of KubeSpan: `machine.network.kubespan`, and the documents
//! `KubeSpanConfig` and `KubeSpanEndpointsConfig`. Pure. Keys and certificates of the file are not looked at.

use serde::Deserialize;
use serde_json::{Map, Value, json};

/// A meshd.yaml, and what a person has to know of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Imported {
    pub(super) yaml: String,
    pub(super) notes: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    kind: Option<String>,
    machine: Option<Machine>,
    cluster: Option<Cluster>,
    #[serde(flatten)]
    kube_span: KubeSpan,
    #[serde(default)]
    extra_announced_endpoints: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Machine {
    network: Option<Network>,
}

#[derive(Debug, Default, Deserialize)]
struct Network {
    hostname: Option<String>,
    kubespan: Option<KubeSpan>,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct KubeSpan {
    enabled: Option<bool>,
    advertise_kubernetes_networks: Option<bool>,
    allow_down_peer_bypass: Option<bool>,
    harvest_extra_endpoints: Option<bool>,
    mtu: Option<u32>,
    filters: Option<Filters>,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Filters {
    endpoints: Option<Vec<String>>,
    peer_endpoints: Option<Vec<String>>,
    exclude_advertised_networks: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
struct Cluster {
    network: Option<ClusterNetwork>,
    discovery: Option<Discovery>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ClusterNetwork {
    pod_subnets: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Discovery {
    registries: Option<Registries>,
}

#[derive(Debug, Default, Deserialize)]
struct Registries {
    service: Option<Service>,
}

#[derive(Debug, Default, Deserialize)]
struct Service {
    endpoint: Option<String>,
}

/// What all documents together say.
#[derive(Debug, Default)]
struct Found {
    kube_span: Option<KubeSpan>,
    endpoints: Vec<String>,
    hostname: Option<String>,
    pods: Vec<String>,
    service: Option<String>,
}

pub(super) fn import(text: &str) -> Result<Imported, String> {
    let mut found = Found::default();
    for part in documents(text) {
        let document: Document =
            serde_saphyr::from_str(&part).map_err(|error| error.to_string())?;
        found.add(document)?;
    }
    let Some(kube_span) = found.kube_span.take() else {
        return Err(
            "there is neither machine.network.kubespan nor a KubeSpanConfig document in it"
                .to_owned(),
        );
    };
    write(&found, &kube_span)
}

/// Documents of a stream that hold anything.
fn documents(text: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    for line in text.lines() {
        if line == "---" || line.starts_with("--- ") {
            all.push(String::new());
        } else if let Some(last) = all.last_mut() {
            last.push_str(line);
            last.push('\n');
        }
    }
    let says = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    all.retain(|part| part.lines().any(says));
    all
}

impl Found {
    fn add(&mut self, document: Document) -> Result<(), String> {
        match document.kind.as_deref() {
            Some("KubeSpanConfig") => return self.set(document.kube_span),
            // Documentation up to 1.14 spells it this way.
            Some("KubeSpanEndpointsConfig" | "KubespanEndpointsConfig") => {
                self.endpoints.extend(document.extra_announced_endpoints);
                return Ok(());
            }
            Some(_) => return Ok(()),
            None => {}
        }
        if let Some(network) = document.machine.and_then(|machine| machine.network) {
            self.hostname = network.hostname.or(self.hostname.take());
            if let Some(kube_span) = network.kubespan {
                self.set(kube_span)?;
            }
        }
        if let Some(cluster) = document.cluster {
            self.pods
                .extend(cluster.network.unwrap_or_default().pod_subnets);
            let registries = cluster.discovery.and_then(|discovery| discovery.registries);
            self.service = registries
                .and_then(|all| all.service?.endpoint)
                .or(self.service.take());
        }
        Ok(())
    }

    fn set(&mut self, kube_span: KubeSpan) -> Result<(), String> {
        // Talos refuses it too.
        if self.kube_span.replace(kube_span).is_some() {
            return Err("KubeSpan is configured twice: in machine.network.kubespan and by a KubeSpanConfig document".to_owned());
        }
        Ok(())
    }
}

fn write(found: &Found, kube_span: &KubeSpan) -> Result<Imported, String> {
    let mut root = Map::new();
    root.insert(
        "cluster".to_owned(),
        json!({ "secretFile": "/etc/meshd/cluster.secret" }),
    );
    if let Some(name) = &found.hostname {
        root.insert("node".to_owned(), json!({ "name": name }));
    }
    root.insert(
        "discovery".to_owned(),
        json!({ "servers": ["https://discovery.example.net:7400"] }),
    );
    // Without zones every node is one of its own, so that every pair has a tunnel, as with KubeSpan.
    if let Some(mtu) = kube_span.mtu.filter(|mtu| *mtu != 0) {
        root.insert("wireguard".to_owned(), json!({ "mtu": mtu }));
    }
    let filters = kube_span.filters.clone().unwrap_or_default();
    let mut section = Map::new();
    for (key, list) in [
        ("endpoints", filters.endpoints),
        ("peerEndpoints", filters.peer_endpoints),
        (
            "excludeAdvertisedNetworks",
            filters.exclude_advertised_networks,
        ),
    ] {
        if let Some(list) = list.filter(|list| !list.is_empty()) {
            section.insert(key.to_owned(), json!(list));
        }
    }
    if !section.is_empty() {
        root.insert("filters".to_owned(), Value::Object(section));
    }
    if !found.pods.is_empty() {
        root.insert("networks".to_owned(), json!({ "protected": found.pods }));
    }
    if !found.endpoints.is_empty() {
        root.insert("extraAnnouncedEndpoints".to_owned(), json!(found.endpoints));
    }
    if kube_span.allow_down_peer_bypass == Some(true) {
        root.insert("allowDownPeerBypass".to_owned(), json!(true));
    }
    let yaml = serde_saphyr::to_string(&root).map_err(|error| error.to_string())?;
    Ok(Imported {
        yaml: format!(
            "# Made from a Talos machine configuration by `meshctl config import --talos`.\n{yaml}"
        ),
        notes: notes(found, kube_span),
    })
}

/// What has no counterpart, or means something else here.
fn notes(found: &Found, kube_span: &KubeSpan) -> Vec<String> {
    let mut notes = vec![
        "cluster.secretFile: identities of Talos cannot be used; make a cluster with `meshctl cluster init` and copy cluster.secret to every node".to_owned(),
        format!(
            "discovery.servers: name your own discovery-server; {} speaks another protocol",
            found.service.as_deref().unwrap_or("the service of Talos (https://discovery.talos.dev/)")
        ),
        "node.zone: without one this node tunnels to every other, as KubeSpan does; nodes of one site with one zone talk natively".to_owned(),
        "wireguard.listenPort is 51840, KubeSpan's is 51820: open it in firewalls; both may run side by side while you migrate".to_owned(),
    ];
    if kube_span.enabled != Some(true) {
        notes.push("enabled: KubeSpan is not enabled in this file; meshd has no such key, do not start it instead".to_owned());
    }
    if kube_span.advertise_kubernetes_networks == Some(true) {
        notes.push("advertiseKubernetesNetworks: put this node's pod CIDR into networks.advertise (`kubectl get node NAME -o jsonpath='{.spec.podCIDRs}'`)".to_owned());
    }
    if kube_span.harvest_extra_endpoints == Some(true) {
        notes.push("harvestExtraEndpoints: no such key; nodes learn endpoints from packets and from STUN by themselves".to_owned());
    }
    if kube_span.allow_down_peer_bypass == Some(true) {
        notes.push("allowDownPeerBypass: here too, traffic to a peer that is down goes out in clear; leave it out to keep it closed".to_owned());
    }
    if found
        .endpoints
        .iter()
        .any(|endpoint| endpoint.ends_with(":51820"))
    {
        notes.push("extraAnnouncedEndpoints: they name KubeSpan's port 51820; forward another one to 51840 and name that".to_owned());
    }
    if !found.pods.is_empty() {
        notes.push("networks.protected: the cluster's pod subnets, so that pod traffic never leaves in clear; take it out if the CNI encrypts or routes pods by itself".to_owned());
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEGACY: &str = r#"version: v1alpha1
machine:
  type: worker
  token: secret-token
  network:
    hostname: worker-1
    kubespan:
      enabled: true
      advertiseKubernetesNetworks: true
      allowDownPeerBypass: true
      mtu: 1380
      filters:
        endpoints: ["0.0.0.0/0", "!192.168.0.0/16", "::/0"]
cluster:
  secret: b64secret
  network: { podSubnets: ["10.244.0.0/16"] }
  discovery: { enabled: true, registries: { service: { endpoint: "https://disco.example/" } } }
"#;

    const DOCUMENTS: &str = r#"# a comment
---
machine: { type: controlplane }
---
apiVersion: v1alpha1
kind: KubeSpanConfig
enabled: true
harvestExtraEndpoints: true
filters:
  peerEndpoints: ["!10.0.0.0/8", "0.0.0.0/0"]
  excludeAdvertisedNetworks: ["192.168.1.0/24"]
---
apiVersion: v1alpha1
kind: KubeSpanEndpointsConfig
extraAnnouncedEndpoints: ["203.0.113.7:51820"]
---
apiVersion: v1alpha1
kind: KubespanEndpointsConfig
extraAnnouncedEndpoints: ["[2001:db8::7]:51820"]
---
apiVersion: v1alpha1
kind: HostnameConfig
hostname: x
"#;

    #[test]
    fn both_forms_become_a_configuration() {
        for (name, text) in [("talos_legacy", LEGACY), ("talos_documents", DOCUMENTS)] {
            let imported = import(text).unwrap();
            let all = format!("{}\n{}\n", imported.yaml, imported.notes.join("\n"));
            assert!(!all.contains("secret-token") && !all.contains("b64secret"));
            insta::assert_snapshot!(name, all);
        }
    }

    #[test]
    fn files_without_or_with_two_kubespans_are_refused() {
        assert!(import("machine: {}\n").unwrap_err().contains("neither"));
        assert!(import("").unwrap_err().contains("neither"));
        let twice = format!("{LEGACY}---\nkind: KubeSpanConfig\nenabled: true\n");
        assert!(import(&twice).unwrap_err().contains("twice"));
        assert!(import("machine: [\n").is_err());
    }
}
