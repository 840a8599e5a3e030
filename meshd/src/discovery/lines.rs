//! Cuts a byte stream into lines of bounded length. A line that is too long is dropped, not fatal.

/// Bytes of one line: an envelope of the largest size in base64 with what stands around it.
pub(super) const MAX_LINE_BYTES: usize = 64 * 1024;

/// The whole lines of a watch stream in `bytes`. For fuzzing.
#[doc(hidden)]
#[must_use]
pub fn watch_lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    let whole = |line| match line {
        Line::Whole(line) => Some(line),
        Line::TooLong => None,
    };
    let lines = LineSplitter::default().push(bytes);
    lines.into_iter().filter_map(whole).collect()
}

/// Holds the beginning of a line until its end arrives.
#[derive(Debug, Default)]
pub(super) struct LineSplitter {
    partial: Vec<u8>,
    too_long: bool,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// Without its line feed; never empty.
    Whole(Vec<u8>),
    /// Longer than [`MAX_LINE_BYTES`]; its bytes are gone.
    TooLong,
}

impl LineSplitter {
    /// Takes the next bytes; gives the lines that end in them.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.append(&bytes[..end]);
            bytes = &bytes[end + 1..];
            let line = std::mem::take(&mut self.partial);
            if std::mem::take(&mut self.too_long) {
                lines.push(Line::TooLong);
            } else if !line.trim_ascii().is_empty() {
                lines.push(Line::Whole(line));
            }
        }
        self.append(bytes);
        lines
    }

    fn append(&mut self, bytes: &[u8]) {
        if self.too_long || self.partial.len() + bytes.len() > MAX_LINE_BYTES {
            self.too_long = true;
            self.partial = Vec::new();
        } else {
            self.partial.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_long_line_is_dropped_and_the_next_one_read() {
        let mut lines = LineSplitter::default();
        for _ in 0..100 {
            assert_eq!(lines.push(&[b'x'; 1000]), []);
            assert!(lines.partial.len() <= MAX_LINE_BYTES);
        }
        assert_eq!(
            lines.push(b"x\n\r\nnext\nhalf"),
            [Line::TooLong, Line::Whole(b"next".to_vec())]
        );
        assert_eq!(lines.push(b"\n"), [Line::Whole(b"half".to_vec())]);
    }

    #[test]
    fn the_largest_envelope_fits() {
        assert!(mesh_proto::limits::MAX_ENVELOPE_BYTES.div_ceil(3) * 4 + 1024 < MAX_LINE_BYTES);
    }

    proptest! {
        #[test]
        fn chunks_do_not_matter(text in "[a-c\n]{0,60}", cut in 0usize..60) {
            let bytes = text.as_bytes();
            let cut = cut.min(bytes.len());
            let whole = LineSplitter::default().push(bytes);
            let mut splitter = LineSplitter::default();
            let mut parts = splitter.push(&bytes[..cut]);
            parts.extend(splitter.push(&bytes[cut..]));
            prop_assert_eq!(whole, parts);
        }
    }
}
