//! Requests of the WireGuard cross-platform interface: lines up to an empty one. Only the first line
//! matters to a server that refuses changes.

/// What a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// `get=1`
    Get,
    /// `set=1`
    Set,
    /// Anything else.
    Unknown,
}

/// The request is longer than any real one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request is longer than {} bytes", RequestReader::MAX_BYTES)]
pub(super) struct RequestTooLong;

/// Reads a request in pieces and keeps next to nothing of it.
#[derive(Debug, Default)]
pub(super) struct RequestReader {
    first_line: Vec<u8>,
    first_line_done: bool,
    line_bytes: usize,
    total: usize,
}

impl RequestReader {
    /// A `set` of a mesh of thousands of peers fits.
    const MAX_BYTES: usize = 1 << 20;
    /// No operation is longer.
    const MAX_FIRST_LINE: usize = 16;

    /// Takes the next piece. The request, once the empty line came.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Option<Request>, RequestTooLong> {
        for byte in bytes {
            self.total += 1;
            if self.total > Self::MAX_BYTES {
                return Err(RequestTooLong);
            }
            if *byte == b'\n' {
                if self.line_bytes == 0 {
                    return Ok(Some(self.request()));
                }
                self.first_line_done = true;
                self.line_bytes = 0;
                continue;
            }
            self.line_bytes += 1;
            if !self.first_line_done && self.first_line.len() < Self::MAX_FIRST_LINE {
                self.first_line.push(*byte);
            }
        }
        Ok(None)
    }

    fn request(&self) -> Request {
        match self.first_line.as_slice() {
            b"get=1" => Request::Get,
            b"set=1" => Request::Set,
            _ => Request::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &[u8], piece: usize) -> Result<Option<Request>, RequestTooLong> {
        let mut reader = RequestReader::default();
        for piece in text.chunks(piece) {
            if let Some(request) = reader.push(piece)? {
                return Ok(Some(request));
            }
        }
        Ok(None)
    }

    #[test]
    fn requests() {
        for (text, expected) in [
            ("get=1\n\n", Some(Request::Get)),
            (
                "set=1\nprivate_key=00\nlisten_port=1\n\n",
                Some(Request::Set),
            ),
            ("set=1\nget=1\n\n", Some(Request::Set)),
            ("get=2\n\n", Some(Request::Unknown)),
            ("get=1 and a very long tail\n\n", Some(Request::Unknown)),
            ("\n", Some(Request::Unknown)),
            ("get=1\n", None),
            ("get=1", None),
            ("", None),
        ] {
            for piece in [1, 3, 100] {
                assert_eq!(read(text.as_bytes(), piece), Ok(expected), "{text:?}");
            }
        }
    }

    #[test]
    fn endless_requests_are_cut_off() {
        let line = vec![b'x'; RequestReader::MAX_BYTES + 1];
        assert_eq!(read(&line, 4096), Err(RequestTooLong));
        let lines = b"a=1\n".repeat(RequestReader::MAX_BYTES / 4 + 1);
        assert_eq!(read(&lines, 4096), Err(RequestTooLong));
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(bytes in proptest::collection::vec(
            prop_oneof![Just(b'\n'), Just(b'g'), any::<u8>()], 0..200), piece in 1_usize..50) {
            prop_assert_eq!(read(&bytes, piece), read(&bytes, 1));
        }
    }
}
