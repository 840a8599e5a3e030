//! `meshctl members`: everybody in the cluster, this node included.

use mesh_proto::control::Members;

use super::Session;
use super::peers::join;
use crate::failure::Failure;
use crate::table::Table;

const COLUMNS: [&str; 6] = ["NAME", "ZONE", "STATE", "TUNNEL", "ADDRESSES", "NETWORKS"];
const WIDE_COLUMNS: [&str; 3] = ["MESH-ADDRESS", "SEQUENCE", "ID"];

pub(super) fn run(session: &Session) -> Result<(), Failure> {
    let mut members: Members = session.client.get("/v1/members")?;
    members
        .members
        .sort_by(|a, b| (&a.zone, &a.name, a.id).cmp(&(&b.zone, &b.name, b.id)));
    session.print(&members, |wide| render(&members, wide))
}

fn render(members: &Members, wide: bool) -> String {
    let mut header = COLUMNS.to_vec();
    if wide {
        header.extend(WIDE_COLUMNS);
    }
    let mut table = Table::new(&header);
    for member in &members.members {
        let tunnel = if member.tunnel { "yes" } else { "no" };
        let mut row = vec![
            member.name.clone(),
            member.zone.clone(),
            member.state.to_string(),
            tunnel.to_owned(),
            join(&member.addresses),
            join(&member.networks),
        ];
        if wide {
            row.push(member.mesh_address.to_string());
            row.push(member.sequence.to_string());
            row.push(member.id.to_string());
        }
        table.row(row);
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
        let members = sample::members();
        insta::assert_snapshot!("members", render(&members, false));
        insta::assert_snapshot!("members_wide", render(&members, true));
        let json = Format::Json.render(&members, |_| String::new()).unwrap();
        insta::assert_snapshot!("members_json", json);
    }
}
