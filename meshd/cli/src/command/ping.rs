//! `meshctl ping NODE`: one question a second through the tunnel, and which path answered.

use std::thread;
use std::time::Duration;

use mesh_proto::control::Pinged;

use super::Session;
use crate::client::segment;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::table::clean;
use crate::units::rtt;

const INTERVAL: Duration = Duration::from_secs(1);

pub(super) fn run(session: &Session, name: &str, count: u32) -> Result<(), Failure> {
    let target = format!("/v1/ping/{}", segment(name));
    let mut answers = 0;
    for number in 0..count {
        if number > 0 {
            thread::sleep(INTERVAL);
        }
        let pinged: Pinged = session.client.get(&target)?;
        answers += u32::from(pinged.rtt_ms.is_some());
        if !output::stream(&one(session.format, &pinged)?)? {
            return Ok(());
        }
    }
    session.remark(&format!("note: {answers} of {count} were answered"));
    if answers == 0 {
        return Err(Failure::Refused(format!("{name} does not answer")));
    }
    Ok(())
}

/// A line a ping, or a document each.
fn one(format: Format, pinged: &Pinged) -> Result<String, Failure> {
    match format {
        Format::Json => serde_json::to_string(pinged)
            .map(|text| text + "\n")
            .map_err(|error| Failure::Invalid(format!("cannot write JSON: {error}"))),
        Format::Yaml => Ok(format!(
            "---\n{}",
            format.render(pinged, |_| String::new())?
        )),
        Format::Table | Format::Wide => Ok(line(pinged)),
    }
}

fn line(pinged: &Pinged) -> String {
    let name = clean(&pinged.name);
    let Some(endpoint) = pinged.endpoint else {
        return format!(
            "{name}: no answer within a second; the tunnel is {}\n",
            pinged.state
        );
    };
    let kind = pinged.path_kind.map_or_else(
        || "learned from a packet".to_owned(),
        |kind| kind.to_string(),
    );
    let to = pinged
        .local
        .map(|local| format!(" to {local}"))
        .unwrap_or_default();
    format!(
        "{name}: answer from {endpoint} ({kind}){to} in {}\n",
        rtt(pinged.rtt_ms)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn lines_and_documents() {
        let mut text = String::new();
        for pinged in sample::pinged() {
            text += &one(Format::Table, &pinged).unwrap();
            text += &one(Format::Json, &pinged).unwrap();
        }
        insta::assert_snapshot!("ping", text);
    }
}
