//! `meshctl events [-f]`: what happened, oldest first, and with `-f` what happens from now on.

use mesh_proto::control::{EventRecord, Events};

use super::Session;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::table::{Table, clean};
use crate::units::UNKNOWN;

const COLUMNS: [&str; 5] = ["TIME", "LEVEL", "KIND", "PEER", "MESSAGE"];

pub(super) fn run(session: &Session, follow: bool) -> Result<(), Failure> {
    if follow {
        return session.client.follow("/v1/events?follow", |line| {
            let record =
                serde_json::from_str(line).map_err(|error| Failure::Protocol(error.to_string()))?;
            output::stream(&one(session.format, &record, line)?)
        });
    }
    let events: Events = session.client.get("/v1/events")?;
    session.print(&events, |_| render(&events))?;
    if events.missed > 0 {
        session.remark(&format!(
            "note: {} earlier events are no longer kept",
            events.missed
        ));
    }
    Ok(())
}

fn render(events: &Events) -> String {
    let mut table = Table::new(&COLUMNS);
    for event in &events.events {
        table.row([
            event.time.clone(),
            event.level.to_string(),
            event.kind.clone(),
            event.peer.clone().unwrap_or_default(),
            message(event),
        ]);
    }
    table.render()
}

/// The message, and what it took.
fn message(event: &EventRecord) -> String {
    match event.cost {
        Some(cost) => format!("{} ({cost})", event.message),
        None => event.message.clone(),
    }
}

/// One event as it comes: columns cannot be fitted to what is not known yet.
fn one(format: Format, event: &EventRecord, line: &str) -> Result<String, Failure> {
    match format {
        Format::Json => Ok(format!("{line}\n")),
        Format::Yaml => Ok(format!("---\n{}", format.render(event, |_| String::new())?)),
        Format::Table | Format::Wide => {
            let time = if event.time.is_empty() {
                UNKNOWN
            } else {
                &event.time
            };
            Ok(format!(
                "{time:<24}  {:<5}  {:<20}  {:<16}  {}\n",
                event.level,
                clean(&event.kind),
                clean(event.peer.as_deref().unwrap_or(UNKNOWN)),
                clean(&message(event))
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn tables_and_documents() {
        let events = sample::events();
        insta::assert_snapshot!("events", render(&events));
        let json = Format::Json.render(&events, |_| String::new()).unwrap();
        insta::assert_snapshot!("events_json", json);
        let line = one(Format::Table, &events.events[1], "").unwrap();
        insta::assert_snapshot!("events_follow", line);
    }
}
