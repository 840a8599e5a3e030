//! `meshctl member remove|restore`: changes the list of removed members, signs it with the admin key and
//! hands it to the local meshd, which passes it on. The key is read here and goes nowhere.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use mesh_proto::control::{
    CONTROL_VERSION, Members, NodeState, Remove, RemovedMember, RemovedMembers,
};
use mesh_proto::discovery::EncodedEnvelope;
use mesh_proto::limits::MAX_REMOVALS;
use mesh_proto::{AdminKey, ClusterId, ClusterSecret, MemberId, Removal, Removals, Sequence};
use zeroize::Zeroizing;

use super::{Session, cluster};
use crate::cli::MemberChange;
use crate::failure::Failure;
use crate::table::Table;

/// What the list is signed and sealed with.
struct Keys {
    admin: AdminKey,
    secret: ClusterSecret,
    file: PathBuf,
}

pub(super) fn remove(session: &Session, change: &MemberChange) -> Result<(), Failure> {
    let keys = Keys::read(change)?;
    let members: Members = session.client.get("/v1/members")?;
    let before: RemovedMembers = session.client.get("/v1/removals")?;
    let (id, name) = member_called(&change.member, &members, &before)?;
    room(&before, &keys.secret)?;
    let now = now_ms();
    let mut removed = kept(&before);
    removed.push(Removal {
        id,
        name: name.clone(),
        at_ms: now,
        secret: keys.oldest()?,
    });
    let after = hand_in(session, &keys, removed, next(&before, now))?;
    session.print(&after, |_| render(&after))?;
    session.remark(&format!(
        "{name} is removed: every node drops it as soon as it hears of it, and refuses what it publishes\n\
         next, as whoever has its disk still has the cluster secret:\n\
         1. meshctl cluster rotate --secret {file}\n\
         2. copy {file} to every other node, reload meshd there, then finish the rotation the same way (--finish)",
        file = keys.file.display()
    ));
    Ok(())
}

pub(super) fn restore(session: &Session, change: &MemberChange) -> Result<(), Failure> {
    let keys = Keys::read(change)?;
    let before: RemovedMembers = session.client.get("/v1/removals")?;
    let wanted = |removal: &Removal| {
        removal.name == change.member
            || (removal.id.to_string()).eq_ignore_ascii_case(&change.member)
    };
    let mut left = kept(&before);
    let found: Vec<Removal> = left.extract_if(.., |removal| wanted(removal)).collect();
    let [found] = &*found else {
        return Err(Failure::Invalid(match found.len() {
            0 => format!("no removed member is called {:?}", change.member),
            _ => format!("several are called {:?}: name one by its id", change.member),
        }));
    };
    let after = hand_in(session, &keys, left, next(&before, now_ms()))?;
    session.print(&after, |_| render(&after))?;
    session.remark(&format!(
        "{} may come back: give it the cluster.secret in force and restart meshd there",
        found.name
    ));
    Ok(())
}

impl Keys {
    fn read(change: &MemberChange) -> Result<Self, Failure> {
        let secret = cluster::read(&change.secret)?;
        let admin = read_admin(&change.admin_key)?;
        if admin.0.public_key() != secret.admin_key() {
            return Err(Failure::Invalid(format!(
                "{} is the admin key of another cluster than {}",
                change.admin_key.display(),
                change.secret.display()
            )));
        }
        Ok(Self {
            admin,
            secret,
            file: change.secret.clone(),
        })
    }

    /// Cluster id of the oldest secret in force.
    fn oldest(&self) -> Result<ClusterId, Failure> {
        let keys = self.secret.keys();
        let oldest = keys.last().map(mesh_proto::ClusterKeys::cluster_id);
        oldest.ok_or_else(|| Failure::Invalid("the secret file holds no secret".to_owned()))
    }
}

fn read_admin(file: &Path) -> Result<AdminKey, Failure> {
    let text = std::fs::read_to_string(file)
        .map(Zeroizing::new)
        .map_err(Failure::file("read", file))?;
    AdminKey::parse(&text).map_err(|source| Failure::Secret {
        path: file.to_owned(),
        source,
    })
}

/// The member of this name or id, and the name it calls itself. An id may be one that nobody knows. A name may
/// be that of a removed member too: whoever took its place is meant then.
fn member_called(
    wanted: &str,
    members: &Members,
    before: &RemovedMembers,
) -> Result<(MemberId, String), Failure> {
    let id: Option<MemberId> = wanted.parse().ok();
    let found = members.members.iter().find(|member| {
        member.state != NodeState::Removed && (member.name == wanted || Some(member.id) == id)
    });
    if found.is_none()
        && let Some(removed) = before
            .removed
            .iter()
            .find(|removed: &&RemovedMember| removed.name == wanted || Some(removed.id) == id)
    {
        return Err(Failure::Invalid(format!(
            "{} was removed already, at {}; `meshctl member restore` lifts that",
            removed.name, removed.removed_at
        )));
    }
    match (found, id) {
        (Some(member), _) => {
            let own = member.name.split('~').next().unwrap_or_default();
            Ok((member.id, own.to_owned()))
        }
        (None, Some(id)) => Ok((id, id.short())),
        (None, None) => Err(Failure::Invalid(format!(
            "no member is called {wanted:?}; `meshctl members -o wide` lists names and ids"
        ))),
    }
}

/// Refuses a list that would be too long, and says who need not be on it: members that were removed before the
/// last finished rotation. Whether one of them was given the new secret is for the administrator to know.
fn room(before: &RemovedMembers, secret: &ClusterSecret) -> Result<(), Failure> {
    if before.removed.len() < MAX_REMOVALS {
        return Ok(());
    }
    let in_force = secret.keys();
    let in_force = |id: ClusterId| in_force.iter().any(|keys| keys.cluster_id() == id);
    let past = before.removed.iter().filter(|old| !in_force(old.secret));
    let oldest = past.min_by_key(|old| old.removed_ms);
    Err(Failure::Invalid(match oldest {
        Some(old) => format!(
            "{MAX_REMOVALS} members are removed, which is as many as a list holds; those that never had a secret \
             in force need not be on it, as {}, removed at {}: `meshctl member restore {}` takes it off",
            old.name, old.removed_at, old.id
        ),
        None => format!(
            "{MAX_REMOVALS} members are removed, which is as many as a list holds: replace the cluster secret \
             (`meshctl cluster rotate`, on every node that stays), then take them off (`meshctl member restore`)"
        ),
    }))
}

fn kept(before: &RemovedMembers) -> Vec<Removal> {
    let removal = |removed: &RemovedMember| Removal {
        id: removed.id,
        name: removed.name.clone(),
        at_ms: removed.removed_ms,
        secret: removed.secret,
    };
    before.removed.iter().map(removal).collect()
}

/// Above the list in force, and above one that the local meshd has not heard of yet.
fn next(before: &RemovedMembers, now: u64) -> Sequence {
    Sequence(before.sequence.saturating_add(1).max(now))
}

fn hand_in(
    session: &Session,
    keys: &Keys,
    removed: Vec<Removal>,
    sequence: Sequence,
) -> Result<RemovedMembers, Failure> {
    let list = Removals { removed };
    let mut envelopes = Vec::new();
    for cluster in keys.secret.keys() {
        let nonce = *cluster::random::<24>()?;
        let sealed = list.seal(&cluster, &keys.admin, sequence, nonce);
        let sealed = sealed.map_err(|error| Failure::Invalid(error.to_string()))?;
        envelopes.push(EncodedEnvelope::from_bytes(&sealed.encode()));
    }
    let version = CONTROL_VERSION;
    (session.client).post_document("/v1/remove", &Remove { version, envelopes })
}

fn render(removed: &RemovedMembers) -> String {
    let mut table = Table::new(&["REMOVED", "AT", "ID"]);
    for member in &removed.removed {
        table.row([
            member.name.clone(),
            member.removed_at.clone(),
            member.id.to_string(),
        ]);
    }
    table.render()
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let ms = since.unwrap_or_default().as_millis();
    u64::try_from(ms).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn members_are_found_by_name_and_by_id() {
        let mut members = sample::members();
        let first = members.members[0].clone();
        let mut before = RemovedMembers {
            version: CONTROL_VERSION,
            sequence: 1,
            removed: Vec::new(),
        };
        let by = |wanted: &str, members: &Members| member_called(wanted, members, &before).ok();
        assert_eq!(by(&first.name, &members).unwrap().0, first.id);
        assert_eq!(by(&first.id.to_string(), &members).unwrap().0, first.id);
        assert!(by("nobody", &members).is_none());
        let stranger = MemberId([0xab; 32]);
        let found = by(&stranger.to_string(), &members);
        assert_eq!(found, Some((stranger, stranger.short())));
        members.members[0].name = format!("twin~{}", first.id.short());
        let name = members.members[0].name.clone();
        assert_eq!(by(&name, &members), Some((first.id, "twin".to_owned())));
        before.removed.push(RemovedMember {
            id: stranger,
            name: "gone".to_owned(),
            removed_at: "2026-11-21T10:00:00Z".to_owned(),
            removed_ms: 0,
            secret: ClusterId([1; 32]),
        });
        for again in ["gone", &stranger.to_string()] {
            let refused = member_called(again, &members, &before).unwrap_err();
            assert!(refused.to_string().contains("removed already"), "{refused}");
        }
        // Another one has the name now.
        members.members[0].name = "gone".to_owned();
        let found = member_called("gone", &members, &before).unwrap();
        assert_eq!(found.0, first.id);
    }

    #[test]
    fn a_full_list_says_who_need_not_be_on_it() {
        let admin = AdminKey(mesh_proto::IdentityKey::from_seed(&[1; 32]));
        let secret = ClusterSecret::new(mesh_proto::MeshId([2; 16]), [3; 32], admin.0.public_key());
        let removal = |number: usize, secret| RemovedMember {
            id: MemberId([number as u8; 32]),
            name: format!("n{number}"),
            removed_at: String::new(),
            removed_ms: number as u64,
            secret,
        };
        let list = |count: usize, of: &dyn Fn(usize) -> ClusterId| RemovedMembers {
            version: CONTROL_VERSION,
            sequence: 1,
            removed: (0..count)
                .map(|number| removal(number, of(number)))
                .collect(),
        };
        let (now, past) = (secret.keys()[0].cluster_id(), ClusterId([7; 32]));
        assert!(room(&list(MAX_REMOVALS - 1, &|_| now), &secret).is_ok());
        let full = room(&list(MAX_REMOVALS, &|_| now), &secret).unwrap_err();
        assert!(full.to_string().contains("cluster rotate"), "{full}");
        let mixed = |number: usize| if number % 5 == 4 { past } else { now };
        let full = room(&list(MAX_REMOVALS, &mixed), &secret).unwrap_err();
        let id = MemberId([4; 32]);
        assert!(full.to_string().contains(&id.to_string()), "{full}");
    }

    #[test]
    fn a_list_is_above_the_last_one_whatever_the_clock_says() {
        let before = RemovedMembers {
            version: CONTROL_VERSION,
            sequence: 7,
            removed: Vec::new(),
        };
        assert_eq!(next(&before, 3), Sequence(8));
        assert_eq!(next(&before, 9), Sequence(9));
    }
}
