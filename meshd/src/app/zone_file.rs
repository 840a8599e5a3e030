//! Watches `node.zoneFile`: reads it each second and tells when its zone changed. Polling works on
//! every file system, bind mounts and configuration maps included.

use std::path::PathBuf;
use std::time::Duration;

use meshd_core::Input;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::config::read_zone_file;

const PERIOD: Duration = Duration::from_secs(1);

/// Watches `path` until aborted. The first reading is sent at once; a file that cannot be used keeps the
/// zone before it.
pub(super) fn watch(path: PathBuf, inputs: mpsc::Sender<Input>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut last = None;
        loop {
            let reading = read_zone_file(&path);
            if last.as_ref() != Some(&reading) {
                let input = match &reading {
                    Ok(zone) => Input::ZoneFile(zone.clone()),
                    Err(error) => {
                        tracing::warn!("zone kept as it was: {error}");
                        Input::ZoneFileRefused(error.clone())
                    }
                };
                if inputs.send(input).await.is_err() {
                    return;
                }
                last = Some(reading);
            }
            tokio::time::sleep(PERIOD).await;
        }
    })
}
