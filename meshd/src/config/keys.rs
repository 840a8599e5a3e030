//! Every key of the configuration file with its type, default and meaning: what `docs/configuration.md` is
//! made of and `meshd --keys` prints. The entries are in `keys/entries`. What is refused is decided where a key is read (`sections`,
//! `networks`, `remote`); tests hold both against each other.

mod entries;

use std::fmt::{self, Write as _};

use KeyDefault::{Required, Words};
use KeyType::{Boolean, Filter, Maps, Number, NumberOrAuto, Path, Prefixes, Text, Texts};

/// One key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its path from the top, `[]` after a list.
    pub path: &'static str,
    /// What its value is.
    pub kind: KeyType,
    /// What holds without it.
    pub default: KeyDefault,
    /// What it does; Markdown.
    pub meaning: &'static str,
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    /// A string.
    Text,
    /// A list of strings.
    Texts,
    /// Path of a file or directory.
    Path,
    /// A whole number.
    Number,
    /// A whole number, or the word `auto`.
    NumberOrAuto,
    /// `true` or `false`.
    Boolean,
    /// A list of prefixes.
    Prefixes,
    /// A list of prefixes, `!` before those taken out.
    Filter,
    /// A list of maps, whose keys follow.
    Maps,
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Text => "text",
            Texts => "list of texts",
            Path => "path",
            Number => "number",
            NumberOrAuto => "number or `auto`",
            Boolean => "boolean",
            Prefixes => "list of prefixes",
            Filter => "filter program",
            Maps => "list of maps",
        })
    }
}

/// What holds without a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyDefault {
    /// It has to be there.
    Required,
    /// Said in words; Markdown.
    Words(&'static str),
    /// This value, as YAML.
    Value(String),
}

impl fmt::Display for KeyDefault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Required => f.write_str("required"),
            Words(words) => f.write_str(words),
            Self::Value(value) => write!(f, "`{value}`"),
        }
    }
}

/// Every key, in the order of the documents.
#[must_use]
pub fn keys() -> Vec<Key> {
    entries::all()
}

/// The table of `docs/configuration.md`, a line a key, header included.
#[must_use]
pub fn keys_as_markdown() -> String {
    let mut table = "| key | type | default | meaning |\n|---|---|---|---|\n".to_owned();
    for Key {
        path,
        kind,
        default,
        meaning,
    } in keys()
    {
        // Writing to a String cannot fail.
        let _ = writeln!(table, "| `{path}` | {kind} | {default} | {meaning} |");
    }
    table
}

/// What `meshd --keys` prints: for reading on a machine without the documents.
#[must_use]
pub fn keys_as_text() -> String {
    let mut text = String::new();
    for Key {
        path,
        kind,
        default,
        meaning,
    } in keys()
    {
        let _ = writeln!(text, "{path}  ({kind}; default: {default})\n    {meaning}");
    }
    text.replace("default: required", "required")
        .replace('`', "")
}
