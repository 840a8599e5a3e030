//! `meshctl showconf`: WireGuard configuration as text, private keys left out.

use mesh_proto::control::ShowConf;

use super::Session;
use crate::client::segment;
use crate::failure::Failure;

pub(super) fn run(session: &Session, as_peer: Option<&str>) -> Result<(), Failure> {
    let query = as_peer.map(|name| format!("?as_peer={}", segment(name)));
    let target = format!("/v1/showconf{}", query.unwrap_or_default());
    let conf: ShowConf = session.client.get(&target)?;
    session.print(&conf, |_| lines(&conf.text))
}

/// The text as it is, ending in one newline: it goes into a file for `wg` or `wg-quick`.
fn lines(text: &str) -> String {
    format!("{}\n", text.trim_end_matches('\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_in_one_newline() {
        assert_eq!(lines("[Interface]\n\n"), "[Interface]\n");
        assert_eq!(lines("[Interface]"), "[Interface]\n");
    }
}
