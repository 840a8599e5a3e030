//! The record of the kernel device: which state id its sessions have, and how to know it again. Whether the
//! device is still there is the engine's business.

use std::fs;

use mesh_proto::StateId;
use serde::{Deserialize, Serialize};

use super::{StateDir, StateError, replace};

const DEVICE_FILE: &str = "device.json";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What identifies a device: one of the same name may be another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRecord {
    state_id: [u8; 16],
    boot_id: String,
    interface_index: u32,
    listen_port: u16,
}

impl DeviceRecord {
    /// The record of a device of this boot: its interface index and UDP port.
    #[must_use]
    pub fn new(state_id: StateId, interface_index: u32, listen_port: u16) -> Self {
        Self {
            state_id: state_id.0,
            boot_id: boot_id(),
            interface_index,
            listen_port,
        }
    }

    /// The state id of the sessions, if the device with that index and port is the recorded one.
    #[must_use]
    pub fn sessions_of(&self, interface_index: u32, listen_port: u16) -> Option<StateId> {
        let here = Self {
            state_id: self.state_id,
            boot_id: boot_id(),
            interface_index,
            listen_port,
        };
        (*self == here && !self.boot_id.is_empty()).then_some(StateId(self.state_id))
    }
}

impl StateDir {
    /// The device that the last process had; none if there was none or the file cannot be used: then the
    /// device is made anew, which costs a handshake.
    #[must_use]
    pub fn device(&self) -> Option<DeviceRecord> {
        let bytes = fs::read(self.path.join(DEVICE_FILE)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Remembers the device. Durable when it returns.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn save_device(&self, record: &DeviceRecord) -> Result<(), StateError> {
        let path = self.path.join(DEVICE_FILE);
        let bytes = serde_json::to_vec(record).map_err(|error| StateError::Io {
            path: path.clone(),
            what: "written",
            source: error.into(),
        })?;
        replace(&path, &bytes)
    }
}

/// Differs after every boot; empty if the kernel does not say.
fn boot_id() -> String {
    fs::read_to_string(BOOT_ID)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_device_or_boot_has_other_sessions() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(directory.path()).unwrap();
        assert_eq!(state.device(), None);
        let id = StateId([7; 16]);
        state.save_device(&DeviceRecord::new(id, 5, 51840)).unwrap();
        let record = state.device().unwrap();
        assert_eq!(record.sessions_of(5, 51840), Some(id));
        assert_eq!(record.sessions_of(6, 51840), None, "made again");
        assert_eq!(record.sessions_of(5, 51841), None, "another port");
        let earlier = DeviceRecord {
            boot_id: "an earlier boot".to_owned(),
            ..record
        };
        assert_eq!(earlier.sessions_of(5, 51840), None);
    }
}
