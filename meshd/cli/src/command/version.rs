//! `meshctl version`: of meshctl, and of the daemon if it can be asked.

use mesh_proto::control::{CONTROL_VERSION, Status};
use serde::Serialize;

use super::Session;
use crate::failure::Failure;
use crate::table::clean;

/// The document of `meshctl version`.
#[derive(Debug, Serialize)]
struct Versions {
    version: u32,
    meshctl: &'static str,
    meshd: Option<String>,
}

pub(super) fn run(session: &Session) -> Result<(), Failure> {
    let status = session.client.get::<Status>("/v1/status");
    let versions = Versions {
        version: CONTROL_VERSION,
        meshctl: env!("CARGO_PKG_VERSION"),
        meshd: status
            .as_ref()
            .ok()
            .map(|status| status.daemon_version.clone()),
    };
    session.print(&versions, |_| render(&versions))?;
    if let Err(error) = status {
        session.remark(&format!("note: {error}"));
    }
    Ok(())
}

fn render(versions: &Versions) -> String {
    let meshd = versions.meshd.as_deref().unwrap_or("not reachable");
    format!("meshctl {}\nmeshd   {}\n", versions.meshctl, clean(meshd))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let mut versions = Versions {
            version: CONTROL_VERSION,
            meshctl: "0.1.0",
            meshd: None,
        };
        assert_eq!(render(&versions), "meshctl 0.1.0\nmeshd   not reachable\n");
        versions.meshd = Some("0.2.0".to_owned());
        assert_eq!(render(&versions), "meshctl 0.1.0\nmeshd   0.2.0\n");
    }
}
