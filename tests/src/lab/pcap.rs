//! Writes captures as files that tcpdump and Wireshark read (classic pcap, microseconds, Ethernet).

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::time::UNIX_EPOCH;

use super::capture::Frames;
use super::error::LabError;

const MAGIC: u32 = 0xa1b2_c3d4;
const SNAP_BYTES: u32 = 262_144;
const ETHERNET: u32 = 1;

/// Writes `frames` to `path`.
///
/// # Errors
/// If the file cannot be written.
pub fn write(path: &Path, frames: &Frames) -> Result<(), LabError> {
    write_to(path, frames).map_err(LabError::file("write", path))
}

fn write_to(path: &Path, frames: &Frames) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(&MAGIC.to_le_bytes())?;
    file.write_all(&[2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0])?;
    file.write_all(&SNAP_BYTES.to_le_bytes())?;
    file.write_all(&ETHERNET.to_le_bytes())?;
    for frame in &frames.frames {
        let since = frame.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let length = (frame.bytes.len() as u32).to_le_bytes();
        file.write_all(&(since.as_secs() as u32).to_le_bytes())?;
        file.write_all(&since.subsec_micros().to_le_bytes())?;
        file.write_all(&length)?;
        file.write_all(&length)?;
        file.write_all(&frame.bytes)?;
    }
    file.flush()
}

#[cfg(test)]
mod tests {
    use super::super::capture::Frame;
    use super::*;

    #[test]
    fn one_frame() {
        let frames = Frames {
            frames: vec![Frame {
                at: UNIX_EPOCH + std::time::Duration::from_micros(2_000_003),
                interface: "eth0".into(),
                bytes: vec![7; 5],
            }],
            lost: 0,
        };
        let file = tempfile::NamedTempFile::new().unwrap();
        write(file.path(), &frames).unwrap();
        let bytes = std::fs::read(file.path()).unwrap();
        assert_eq!(bytes[..8], [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0]);
        assert_eq!(
            bytes[24..40],
            [2, 0, 0, 0, 3, 0, 0, 0, 5, 0, 0, 0, 5, 0, 0, 0]
        );
        assert_eq!(bytes[40..], [7; 5]);
    }
}
