//! `meshctl routes`: what is routed where, and why. One address is `explain`'s.

use mesh_proto::control::{RouteStatus, Routes};

use super::Session;
use super::peers::optional;
use crate::failure::Failure;
use crate::table::Table;

const COLUMNS: [&str; 5] = ["PREFIX", "GOES", "PEER", "STATE", "WHY"];
const WIDE_COLUMNS: [&str; 2] = ["SOURCE", "FAIL-CLOSED"];

pub(super) fn run(session: &Session) -> Result<(), Failure> {
    let routes: Routes = session.client.get("/v1/routes")?;
    session.print(&routes, |wide| render(&routes, wide))?;
    for refused in &routes.refused {
        session.remark(&format!(
            "{} of {} is not routed: {}",
            refused.prefix, refused.peer, refused.reason
        ));
    }
    Ok(())
}

fn render(routes: &Routes, wide: bool) -> String {
    let mut header = COLUMNS.to_vec();
    if wide {
        header.extend(WIDE_COLUMNS);
    }
    let mut table = Table::new(&header);
    for route in &routes.routes {
        table.row(row(route, wide));
    }
    let mut text = table.render();
    if wide {
        let mut rules = Table::new(&["RULE"]);
        for rule in &routes.rules {
            rules.row([rule.clone()]);
        }
        text.push('\n');
        text.push_str(&rules.render());
    }
    text
}

fn row(route: &RouteStatus, wide: bool) -> Vec<String> {
    let mut row = vec![
        route.prefix.to_string(),
        route.verdict.to_string(),
        optional(route.peer.as_ref()),
        optional(route.peer_state),
        route.reason.clone(),
    ];
    if wide {
        row.push(optional(route.source));
        row.push(if route.fail_closed { "yes" } else { "no" }.to_owned());
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Format;
    use crate::sample;

    #[test]
    fn tables_and_documents() {
        let routes = sample::routes();
        insta::assert_snapshot!("routes", render(&routes, false));
        insta::assert_snapshot!("routes_wide", render(&routes, true));
        let json = Format::Json.render(&routes, |_| String::new()).unwrap();
        insta::assert_snapshot!("routes_json", json);
    }
}
