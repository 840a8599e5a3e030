//! What a Kubernetes cluster says of the node this daemon runs on: its zone label and its pod networks.
//!
//! One `GET` of one Node object with the pod's service account, which needs no right but that. No watch:
//! both change about never. What was said last is kept on disk, so that a node starts in its zone while
//! the API server cannot be reached.

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use mesh_proto::limits::{MAX_NETWORKS, MAX_ZONE_BYTES};
use mesh_proto::record::is_label;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Url};
use serde::{Deserialize, Serialize};

use crate::config::routable;

/// The label of `kubernetes.io/docs/reference/labels-annotations-taints`.
pub const ZONE_LABEL: &str = "topology.kubernetes.io/zone";
/// Where a pod finds its service account.
const ACCOUNT_DIRECTORY: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Bytes of a Node object: those with many images are some 50 KiB.
const MAX_NODE_BYTES: usize = 4 * 1024 * 1024;
const TIMEOUT: Duration = Duration::from_secs(5);

/// What is known of the node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// The zone label, if it has one.
    pub zone: Option<String>,
    /// The networks of its pods.
    pub networks: Vec<IpNet>,
}

/// Why nothing could be learned. What was known before stays true.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KubernetesError {
    /// Not in a pod, or one without service account.
    #[error("{0}; is `automountServiceAccountToken` on?")]
    Account(String),
    /// The API server cannot be reached or answers nonsense.
    #[error("{0}")]
    Api(String),
    /// The API server refuses.
    #[error("the API server answers {status} for node {node}: {hint}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The node asked for.
        node: String,
        /// What to do.
        hint: &'static str,
    },
    /// The Node object is not as it should be.
    #[error("node {node}: {message}")]
    Node {
        /// The node asked for.
        node: String,
        /// What is wrong.
        message: String,
    },
}

/// Where the API server is and who asks.
#[derive(Debug, Clone)]
pub struct ApiServer {
    url: Url,
    account: PathBuf,
}

impl ApiServer {
    /// As a pod is told by its environment.
    ///
    /// # Errors
    /// [`KubernetesError::Account`] outside a pod.
    pub fn of_pod() -> Result<Self, KubernetesError> {
        let variable = |name: &str| {
            std::env::var(name)
                .map_err(|_| KubernetesError::Account(format!("{name} is not set: not in a pod")))
        };
        let host = variable("KUBERNETES_SERVICE_HOST")?;
        let port = variable("KUBERNETES_SERVICE_PORT")?;
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host
        };
        Self::at(&format!("https://{host}:{port}"), ACCOUNT_DIRECTORY.into())
    }

    /// At `url`, with `token` and `ca.crt` in the directory `account`.
    ///
    /// # Errors
    /// [`KubernetesError::Account`] if `url` is none.
    pub fn at(url: &str, account: PathBuf) -> Result<Self, KubernetesError> {
        let url = Url::parse(url)
            .map_err(|error| KubernetesError::Account(format!("API server {url:?}: {error}")))?;
        Ok(Self { url, account })
    }

    /// Asks for the node `name`.
    ///
    /// # Errors
    /// [`KubernetesError`], after at most five seconds.
    pub async fn node(&self, name: &str) -> Result<NodeFacts, KubernetesError> {
        // Both are read each time: the kubelet replaces them.
        let token = self.read("token")?;
        let ca = self.read("ca.crt")?;
        let client = client(&ca).map_err(|error| api(&error))?;
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.clear().extend(["api", "v1", "nodes", name]);
        }
        let request = client.get(url).bearer_auth(token.trim());
        let mut response = request.send().await.map_err(|error| api(&error))?;
        let status = response.status().as_u16();
        if status != 200 {
            return Err(KubernetesError::Refused {
                status,
                node: name.to_owned(),
                hint: match status {
                    401 => "the service account's token is not accepted",
                    403 => "the service account needs the right to `get` `nodes`",
                    404 => "set MESHD_NODE_NAME from `spec.nodeName`",
                    _ => "see the API server's log",
                },
            });
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| api(&error))? {
            if body.len() + chunk.len() > MAX_NODE_BYTES {
                return Err(KubernetesError::Api("the answer is too long".to_owned()));
            }
            body.extend_from_slice(&chunk);
        }
        parse(&body).map_err(|message| KubernetesError::Node {
            node: name.to_owned(),
            message,
        })
    }

    fn read(&self, name: &str) -> Result<String, KubernetesError> {
        let path = self.account.join(name);
        std::fs::read_to_string(&path)
            .map_err(|error| KubernetesError::Account(format!("{}: {error}", path.display())))
    }
}

/// Reads what was kept; nothing where that cannot be used.
#[must_use]
pub fn read_kept(path: &Path) -> Option<NodeFacts> {
    let text = std::fs::read(path).ok()?;
    serde_json::from_slice(&text).ok()
}

fn client(ca: &str) -> Result<Client, reqwest::Error> {
    Client::builder()
        .user_agent(concat!("meshd/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .redirect(Policy::none())
        .http1_only()
        .timeout(TIMEOUT)
        .tls_certs_only(Certificate::from_pem_bundle(ca.as_bytes())?)
        .build()
}

fn api(error: &reqwest::Error) -> KubernetesError {
    // The cause says more than reqwest's own words.
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = cause.to_string();
        source = cause.source();
    }
    KubernetesError::Api(format!("the API server cannot be asked: {text}"))
}

/// The two fields of a Node object that matter.
fn parse(body: &[u8]) -> Result<NodeFacts, String> {
    let object: serde_json::Value =
        serde_json::from_slice(body).map_err(|error| error.to_string())?;
    if object["kind"] != "Node" {
        return Err("the answer is no Node object".to_owned());
    }
    let zone = match object["metadata"]["labels"][ZONE_LABEL].as_str() {
        None | Some("") => None,
        Some(label) if is_label(label, MAX_ZONE_BYTES) => Some(label.to_owned()),
        Some(_) => return Err(format!("the label {ZONE_LABEL} cannot be a zone")),
    };
    let spec = &object["spec"];
    let several = spec["podCIDRs"].as_array().map(Vec::as_slice);
    let one = std::slice::from_ref(&spec["podCIDR"]);
    let mut networks = Vec::new();
    for text in several
        .unwrap_or(one)
        .iter()
        .filter_map(serde_json::Value::as_str)
        .take(MAX_NETWORKS)
    {
        let net: IpNet = text.parse().map_err(|_| "a pod CIDR is none".to_owned())?;
        networks.push(routable(net)?);
    }
    Ok(NodeFacts { zone, networks })
}
