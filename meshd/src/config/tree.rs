//! YAML as a tree that remembers lines. It knows nothing of what the keys mean.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::issue::Issue;

/// A value and the line it starts on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) line: u64,
    pub(crate) value: Value,
}

/// What YAML can say.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Boolean(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    /// In the order of the file.
    Map(Vec<Entry>),
}

/// One key of a map with its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) line: u64,
    pub(crate) node: Node,
}

impl Value {
    /// What it is, for messages.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Boolean(_) => "true or false",
            Self::Integer(_) | Self::Float(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map of keys",
        }
    }
}

/// Parses one YAML document.
pub(crate) fn parse(text: &str) -> Result<Node, Issue> {
    serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().map(|location| location.line());
        let full = error.without_snippet().to_string();
        let reason = full.lines().next().unwrap_or_default();
        // The rest of that message is for programmers.
        let reason = reason.split(", set DuplicateKeyPolicy").next();
        Issue {
            line: line.filter(|line| *line > 0),
            key: String::new(),
            message: format!("is not YAML: {}", reason.unwrap_or_default()),
        }
    })
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self {
            line: spanned.referenced.line(),
            value: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Boolean(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = sequence.next_element()? {
            list.push(node);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, node)) = map.next_entry::<Spanned<Value>, Node>()? {
            entries.push(Entry {
                key: key_text(&key.value),
                line: key.referenced.line(),
                node,
            });
        }
        Ok(Value::Map(entries))
    }
}

/// Keys of ours are all text; others only have to be shown.
fn key_text(key: &Value) -> String {
    match key {
        Value::Text(text) => text.clone(),
        Value::Boolean(value) => value.to_string(),
        Value::Integer(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        other => other.kind().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_of_keys_and_values() {
        let node = parse("# c\na:\n  b: 1\n  list:\n    - x\n    - \"y\"\n").unwrap();
        let Value::Map(root) = node.value else {
            panic!("not a map")
        };
        assert_eq!((root[0].key.as_str(), root[0].line), ("a", 2));
        let Value::Map(inner) = &root[0].node.value else {
            panic!("not a map")
        };
        assert_eq!((inner[0].line, inner[0].node.line), (3, 3));
        assert_eq!(inner[0].node.value, Value::Integer(1));
        let Value::List(list) = &inner[1].node.value else {
            panic!("not a list")
        };
        assert_eq!((list[0].line, list[1].line), (5, 6));
    }

    #[test]
    fn scalars() {
        for (text, value) in [
            ("a: ~", Value::Null),
            ("a:", Value::Null),
            ("a: ''", Value::Text(String::new())),
            ("a: true", Value::Boolean(true)),
            ("a: 5", Value::Integer(5)),
            ("a: \"5\"", Value::Text("5".into())),
            ("a: 1.5", Value::Float(1.5)),
            ("a: 0.0.0.0/0", Value::Text("0.0.0.0/0".into())),
            ("a: mesh0", Value::Text("mesh0".into())),
        ] {
            let Value::Map(root) = parse(text).unwrap().value else {
                panic!("not a map")
            };
            assert_eq!(root[0].node.value, value, "{text}");
        }
    }

    #[test]
    fn what_is_not_yaml_names_the_line() {
        let issue = parse("a: 1\nb: [1, 2\nc: 3\n").unwrap_err();
        assert!(issue.line.is_some_and(|line| line >= 2), "{issue:?}");
        assert!(issue.message.starts_with("is not YAML: "), "{issue:?}");
        let twice = parse("a: 1\na: 2\n").unwrap_err();
        assert_eq!(twice.message, "is not YAML: duplicate mapping key: a");
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "[a-z:\\- \\[\\]{}#&*!|>'\"\n0-9.~]{0,200}") {
            let _ = parse(&text);
        }
    }
}
