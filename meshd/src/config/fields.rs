//! What single values may be: text, numbers, lists, addresses. Each refusal says what to write.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use mesh_proto::record::is_label;

use super::reader::Field;
use super::tree::Value;

impl<'a> Field<'a> {
    /// Text. A bare number is refused: YAML has already dropped its leading zeros.
    pub(crate) fn text(self) -> Option<&'a str> {
        match &self.node.value {
            Value::Text(text) if text.is_empty() => {
                self.wrong("is empty; give it a value or remove the key");
                None
            }
            Value::Text(text) => Some(text),
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => {
                self.wrong(format!(
                    "must be text, and YAML reads this as {}: put it in quotes",
                    self.node.value.kind()
                ));
                None
            }
            other => {
                self.wrong(format!("must be text, not {}", other.kind()));
                None
            }
        }
    }

    /// Text that `parse` takes; its error completes the message.
    pub(crate) fn parsed<T>(self, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text()?;
        parse(text).map_err(|message| self.wrong(message)).ok()
    }

    /// `true` or `false`.
    pub(crate) fn boolean(self) -> Option<bool> {
        if let Value::Boolean(value) = self.node.value {
            return Some(value);
        }
        self.wrong(format!(
            "must be true or false, not {}",
            self.node.value.kind()
        ));
        None
    }

    /// A whole number from `low` to `high`.
    pub(crate) fn integer<T>(self, low: T, high: T) -> Option<T>
    where
        T: TryFrom<i128> + Into<i128> + Copy,
    {
        let (from, to) = (low.into(), high.into());
        if let Value::Integer(value) = self.node.value {
            if (from..=to).contains(&value) {
                return T::try_from(value).ok();
            }
            self.wrong(format!("must be a number from {from} to {to}, not {value}"));
        } else {
            let kind = self.node.value.kind();
            self.wrong(format!("must be a number from {from} to {to}, not {kind}"));
        }
        None
    }

    /// Every entry of a list of at most `max`, read with `read`; entries that are wrong are left out.
    pub(crate) fn list<T>(
        self,
        max: usize,
        mut read: impl FnMut(Field<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Value::List(list) = &self.node.value else {
            self.wrong(format!(
                "must be a list, like [\"…\", \"…\"], not {}",
                self.node.value.kind()
            ));
            return None;
        };
        if list.len() > max {
            self.wrong(format!(
                "has {} entries, at most {max} are allowed",
                list.len()
            ));
            return None;
        }
        let read_one = |(index, node)| {
            read(Field {
                node,
                path: &format!("{}[{index}]", self.path),
                issues: self.issues,
            })
        };
        Some(list.iter().enumerate().filter_map(read_one).collect())
    }

    /// A path of a file or directory.
    pub(crate) fn path(self) -> Option<PathBuf> {
        self.text().map(PathBuf::from)
    }

    /// A name or zone label of at most `max` bytes.
    pub(crate) fn label(self, max: usize) -> Option<String> {
        self.parsed(|text| label(text, max))
    }

    /// An address and port.
    pub(crate) fn socket_address(self) -> Option<SocketAddr> {
        self.parsed(|text| {
            text.parse().map_err(|_| {
                format!("{text:?} is not an address with a port, like 127.0.0.1:9740 or [::1]:9740")
            })
        })
    }

    /// A prefix or a bare address.
    pub(crate) fn net(self) -> Option<IpNet> {
        self.parsed(net)
    }
}

/// Checks a name or zone label.
pub(crate) fn label(text: &str, max: usize) -> Result<String, String> {
    if is_label(text, max) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "{text:?} cannot be used: write 1 to {max} letters, digits and -_./"
    ))
}

/// Parses a prefix or a bare address; host bits are kept.
pub(crate) fn net(text: &str) -> Result<IpNet, String> {
    text.parse()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| format!("{text:?} is not a CIDR or an IP address"))
}
