//! A tar archive (POSIX ustar) of small files, in memory.

const BLOCK: usize = 512;
/// Field of a name in a header.
const MAX_NAME: usize = 100;

/// An archive under construction.
#[derive(Debug)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    /// Time of all files, seconds since 1970.
    time: i64,
}

impl Archive {
    pub(super) const fn new(time: i64) -> Self {
        Self {
            bytes: Vec::new(),
            time,
        }
    }

    /// Adds a file that its owner may read. A name is cut after 100 bytes.
    pub(super) fn add(&mut self, name: &str, content: &[u8]) {
        let mut header = [0; BLOCK];
        let name = format!("mesh-bundle/{name}");
        let length = name.len().min(MAX_NAME);
        header[..length].copy_from_slice(&name.as_bytes()[..length]);
        let mut field = |at: usize, text: &str| {
            header[at..at + text.len()].copy_from_slice(text.as_bytes());
        };
        field(100, "0000600\0");
        field(108, "0000000\0");
        field(116, "0000000\0");
        field(124, &format!("{:011o}\0", content.len()));
        field(136, &format!("{:011o}\0", self.time.max(0)));
        // The checksum counts itself as spaces.
        field(148, "        ");
        field(156, "0");
        field(257, "ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.bytes.extend_from_slice(&header);
        self.bytes.extend_from_slice(content);
        let padded = self.bytes.len().next_multiple_of(BLOCK);
        self.bytes.resize(padded, 0);
    }

    /// The archive with its end.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 2 * BLOCK, 0);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn tar_reads_it() {
        let mut archive = Archive::new(1_795_227_000);
        archive.add("one.txt", b"hello");
        archive.add("dir/two.txt", &[b'x'; 1000]);
        archive.add("empty", b"");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.tar");
        std::fs::write(&file, archive.finish()).unwrap();
        let status = Command::new("tar")
            .arg("-xf")
            .arg(&file)
            .current_dir(&dir)
            .status()
            .unwrap();
        assert!(status.success());
        let read = |name: &str| std::fs::read(dir.path().join("mesh-bundle").join(name)).unwrap();
        assert_eq!(read("one.txt"), b"hello");
        assert_eq!(read("dir/two.txt"), [b'x'; 1000]);
        assert!(read("empty").is_empty());
    }
}
