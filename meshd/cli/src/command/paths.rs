//! `meshctl paths NAME`: every candidate of one peer, and why it is or is not used.

use mesh_proto::control::Paths;

use super::Session;
use super::peers::optional;
use crate::client::segment;
use crate::failure::Failure;
use crate::table::Table;
use crate::units::{ago, rtt};

const COLUMNS: [&str; 9] = [
    "IN-USE", "ENDPOINT", "FROM", "KIND", "STATE", "RTT", "LOSS", "RECEIVED", "REASON",
];

pub(super) fn run(session: &Session, name: &str) -> Result<(), Failure> {
    let paths: Paths = session
        .client
        .get(&format!("/v1/paths/{}", segment(name)))?;
    session.print(&paths, |_| render(&paths, session.now))?;
    session.remark(&format!(
        "note: the tunnel to {} is {}",
        paths.name, paths.state
    ));
    Ok(())
}

/// Keeps the daemon's order: it is the order of preference.
fn render(paths: &Paths, now: i64) -> String {
    let mut table = Table::new(&COLUMNS);
    for path in &paths.paths {
        let in_use = if path.in_use { "yes" } else { "no" };
        table.row([
            in_use.to_owned(),
            path.endpoint.to_string(),
            optional(path.local),
            optional(path.kind),
            path.state.to_string(),
            rtt(path.rtt_ms),
            optional(path.loss_percent.map(|percent| format!("{percent}%"))),
            ago(path.last_receive.as_deref(), now),
            path.reason.clone(),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Format;
    use crate::sample;

    #[test]
    fn tables_and_documents() {
        let paths = sample::paths();
        insta::assert_snapshot!("paths", render(&paths, sample::NOW));
        let json = Format::Json.render(&paths, |_| String::new()).unwrap();
        insta::assert_snapshot!("paths_json", json);
    }
}
