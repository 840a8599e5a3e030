//! What leaves the process: documents on stdout, notes on stderr, and the formats to choose from.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ValueEnum;
use serde::Serialize;

use crate::failure::Failure;

/// True once nobody reads stdout any more.
static CLOSED: AtomicBool = AtomicBool::new(false);

/// How documents are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    #[default]
    Table,
    /// A table with more columns
    Wide,
    Json,
    Yaml,
}

impl Format {
    /// The text of `document`; `table` draws it for people and is told whether to be wide.
    pub(crate) fn render<T: Serialize>(
        self,
        document: &T,
        table: impl FnOnce(bool) -> String,
    ) -> Result<String, Failure> {
        match self {
            Self::Table => Ok(table(false)),
            Self::Wide => Ok(table(true)),
            Self::Json => json(document),
            Self::Yaml => serde_saphyr::to_string(document)
                .map_err(|error| Failure::Invalid(format!("cannot write YAML: {error}"))),
        }
    }

    /// True for the formats people read, where notes help.
    pub(crate) const fn is_table(self) -> bool {
        matches!(self, Self::Table | Self::Wide)
    }
}

/// Indented JSON with a newline at the end.
pub(crate) fn json<T: Serialize>(document: &T) -> Result<String, Failure> {
    serde_json::to_string_pretty(document)
        .map(|text| text + "\n")
        .map_err(|error| Failure::Invalid(format!("cannot write JSON: {error}")))
}

/// Writes data to stdout.
pub(crate) fn data(text: &str) -> Result<(), Failure> {
    // The reader may have seen enough, as in `meshctl peers | head -1`.
    stream(text).map(|_| ())
}

/// Writes a piece of data that goes on to stdout; false if nobody reads any more.
pub(crate) fn stream(text: &str) -> Result<bool, Failure> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            CLOSED.store(true, Ordering::Relaxed);
            Ok(false)
        }
        Err(error) => Err(Failure::file("write to", "stdout".as_ref())(error)),
    }
}

/// True once nobody reads stdout any more: no reason to go on.
pub(crate) fn is_closed() -> bool {
    CLOSED.load(Ordering::Relaxed)
}

/// Makes room for the next picture of something watched; files and pipes get all of them in a row.
pub(crate) fn clear() {
    if io::stdout().is_terminal() {
        // Home, and erase below: no flicker of a cleared screen.
        let _ = stream("\x1b[H\x1b[J");
    }
}

/// Writes a note to stderr. A note that cannot be written is no reason to fail.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
