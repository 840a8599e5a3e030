//! Walks the tree key by key: notes which keys are known, collects everything that is wrong. What a
//! value may be is in `fields`.

use std::cell::RefCell;

use super::issue::{Issue, MAX_ISSUES};
use super::tree::{Entry, Node, Value};

/// Collects issues; bounded.
#[derive(Debug, Default)]
pub(crate) struct Issues(RefCell<Vec<Issue>>);

impl Issues {
    pub(crate) fn add(&self, line: Option<u64>, key: &str, message: impl Into<String>) {
        let mut list = self.0.borrow_mut();
        if list.len() < MAX_ISSUES {
            list.push(Issue {
                line,
                key: key.to_owned(),
                message: message.into(),
            });
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Everything found, in the order of the file; what has no line comes last.
    pub(crate) fn into_sorted(self) -> Vec<Issue> {
        let mut list = self.0.into_inner();
        list.sort_by_key(|issue| issue.line.unwrap_or(u64::MAX));
        list
    }
}

/// A value with its path, for messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field<'a> {
    pub(crate) node: &'a Node,
    pub(crate) path: &'a str,
    pub(crate) issues: &'a Issues,
}

impl Field<'_> {
    /// Notes that this value is wrong.
    pub(crate) fn wrong(&self, message: impl Into<String>) {
        self.issues.add(Some(self.node.line), self.path, message);
    }
}

/// A map of keys, being read. Call [`Section::finish`] when every known key has been asked for.
#[derive(Debug)]
pub(crate) struct Section<'a> {
    path: String,
    line: Option<u64>,
    entries: &'a [Entry],
    known: Vec<&'static str>,
    issues: &'a Issues,
}

impl<'a> Section<'a> {
    /// The whole document.
    pub(crate) fn root(node: &'a Node, issues: &'a Issues) -> Self {
        let mut root = Self::of(node, String::new(), issues);
        root.line = None;
        root
    }

    /// The map `node` at `path`; empty, with an issue, if it is no map.
    pub(crate) fn of(node: &'a Node, path: String, issues: &'a Issues) -> Self {
        let entries: &[Entry] = match &node.value {
            Value::Map(entries) => entries,
            Value::Null => &[],
            other => {
                let message = format!("must be a map of keys, not {}", other.kind());
                issues.add(Some(node.line), &path, message);
                &[]
            }
        };
        Self {
            path,
            line: Some(node.line),
            entries,
            known: Vec::new(),
            issues,
        }
    }

    /// The map under `key`; empty if the key is not there.
    pub(crate) fn section(&mut self, key: &'static str) -> Self {
        const NOTHING: &[Entry] = &[];
        match self.find(key) {
            Some(entry) => Self::of(&entry.node, self.path_of(key), self.issues),
            None => Section {
                path: self.path_of(key),
                line: self.line,
                entries: NOTHING,
                known: Vec::new(),
                issues: self.issues,
            },
        }
    }

    /// Reads the value of `key` with `read`, if the key is there. A key without a value is wrong: a
    /// list whose entries are all commented out must not pass for an absent one.
    pub(crate) fn field<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(Field<'_>) -> Option<T>,
    ) -> Option<T> {
        let entry = self.find(key)?;
        let path = self.path_of(key);
        let field = Field {
            node: &entry.node,
            path: &path,
            issues: self.issues,
        };
        if entry.node.value == Value::Null {
            field.issues.add(
                Some(entry.line),
                &path,
                "has no value; give it one or remove the key",
            );
            return None;
        }
        read(field)
    }

    /// Notes that `key` must be there.
    pub(crate) fn missing(&self, key: &str, what_to_do: &str) {
        let path = self.path_of(key);
        if !self.entries.iter().any(|entry| entry.key == key) {
            self.issues
                .add(self.line, &path, format!("is missing; {what_to_do}"));
        }
    }

    /// True if the file has `key` here.
    pub(crate) fn has(&mut self, key: &'static str) -> bool {
        self.known.push(key);
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// Notes that something about `key` is wrong that is not its value alone.
    pub(crate) fn wrong(&self, key: &str, message: impl Into<String>) {
        let line = self
            .entries
            .iter()
            .find(|entry| entry.key == key)
            .map_or(self.line, |entry| Some(entry.line));
        self.issues.add(line, &self.path_of(key), message);
    }

    /// Notes every key that nobody asked for.
    pub(crate) fn finish(mut self) {
        let mut seen = Vec::new();
        self.known.retain(|key| {
            let first = !seen.contains(key);
            seen.push(*key);
            first
        });
        for entry in self.entries {
            if self.known.contains(&entry.key.as_str()) {
                continue;
            }
            let shown: String = entry.key.chars().take(80).collect();
            let hint = nearest(&entry.key, &self.known).map_or_else(
                || format!("the keys here are: {}", self.known.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            let message = format!("unknown key; {hint}");
            self.issues
                .add(Some(entry.line), &self.path_of(&shown), message);
        }
    }

    fn find(&mut self, key: &'static str) -> Option<&'a Entry> {
        self.known.push(key);
        self.entries.iter().find(|entry| entry.key == key)
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }
}

/// The known key that `key` is most likely a slip of: at most a third of its letters differ.
fn nearest(key: &str, known: &[&'static str]) -> Option<&'static str> {
    let plain = |text: &str| text.replace(['_', '-'], "").to_ascii_lowercase();
    let wanted = plain(key);
    // Longer texts cannot be near any key of ours, and the distance is quadratic.
    if wanted.len() > 64 {
        return None;
    }
    known
        .iter()
        .map(|candidate| (distance(&wanted, &plain(candidate)), *candidate))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_key() {
        let known = ["zone", "zoneRules", "name", "listenPort"];
        for (key, near) in [
            ("zonee", Some("zone")),
            ("zone_rules", Some("zoneRules")),
            ("listen-port", Some("listenPort")),
            ("Name", Some("name")),
            ("interface", None),
            ("", None),
            (&"z".repeat(10_000), None),
        ] {
            assert_eq!(nearest(key, &known), near, "{key}");
        }
    }
}
