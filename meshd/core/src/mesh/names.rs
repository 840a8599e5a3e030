//! Names: display names made unique. Two members of one name are shown as `name~id6`.

use std::collections::BTreeMap;

use mesh_proto::MemberId;

/// Unique display names by member.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Names(BTreeMap<MemberId, String>);

impl Names {
    pub(super) fn new<'a>(members: impl Iterator<Item = (MemberId, &'a str)> + Clone) -> Self {
        let mut count: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, name) in members.clone() {
            *count.entry(name).or_default() += 1;
        }
        let unique = |(id, name): (MemberId, &str)| {
            let shown = if count.get(name).is_some_and(|count| *count > 1) {
                format!("{name}~{}", id.short())
            } else {
                name.to_owned()
            };
            (id, shown)
        };
        Self(members.map(unique).collect())
    }

    /// The display name; a short id for a stranger.
    pub(super) fn of(&self, id: &MemberId) -> String {
        self.0.get(id).cloned().unwrap_or_else(|| id.short())
    }

    /// Names that had to be made unique.
    pub(super) fn duplicates(&self) -> Vec<&str> {
        let mut out: Vec<&str> = self
            .0
            .values()
            .filter_map(|name| name.split_once('~'))
            .map(|(name, _)| name)
            .collect();
        out.sort_unstable();
        out.dedup();
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_get_their_id() {
        let (a, b, c) = (MemberId([1; 32]), MemberId([2; 32]), MemberId([3; 32]));
        let names = Names::new([(a, "node"), (b, "node"), (c, "other")].into_iter());
        assert_eq!(names.of(&a), "node~010101");
        assert_eq!(names.of(&c), "other");
        assert_eq!(names.duplicates(), ["node"]);
    }
}
