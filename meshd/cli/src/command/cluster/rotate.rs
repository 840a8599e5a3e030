//! `meshctl cluster rotate`: puts a new secret before the old ones, or drops the old ones. It changes the
//! file only; nodes take it over when they get it and are told to read it.

use std::path::Path;

use mesh_proto::{ClusterKeys, ClusterSecret};

use super::{Session, print, random, read, write};
use crate::failure::Failure;

pub(crate) fn rotate(session: &Session, file: &Path, finish: bool) -> Result<(), Failure> {
    let keys = change(file, finish)?.keys();
    let [first, older @ ..] = &*keys else {
        return Err(Failure::Invalid(format!(
            "{} holds no secret",
            file.display()
        )));
    };
    print(session, first.cluster_id())?;
    session.remark(&next_steps(file, first, older));
    Ok(())
}

/// Replaces the file by its next state; what counts is what stands on the disk.
fn change(file: &Path, finish: bool) -> Result<ClusterSecret, Failure> {
    let secret = read(file)?;
    let next = if finish {
        if secret.keys().len() == 1 {
            return Err(Failure::Invalid(format!(
                "{} holds one secret only: there is no rotation to finish",
                file.display()
            )));
        }
        secret.finished()
    } else {
        secret.rotated(*random::<32>()?).ok_or_else(|| {
            Failure::Invalid(format!(
                "{} holds as many secrets as it can: finish the rotation first (--finish)",
                file.display()
            ))
        })?
    };
    write::replace_private(file, next.expose_text().as_bytes())?;
    read(file)
}

fn next_steps(file: &Path, first: &ClusterKeys, older: &[ClusterKeys]) -> String {
    let (file, id) = (file.display(), first.cluster_id());
    if older.is_empty() {
        return format!(
            "the old secrets are dropped from {file}\nnext:\n\
             1. copy {file} to every node (mode 0600) and reload meshd there (systemctl reload meshd)\n\
             2. take the old cluster ids out of --allow-cluster of the discovery servers, and out of cluster.id \
                where a meshd.yaml has one"
        );
    }
    format!(
        "{file} has a new secret, and {} older to read with\nnext:\n\
         1. let the discovery servers admit the new cluster as well: --allow-cluster {id}\n\
         2. copy {file} to every node (mode 0600) and reload meshd there (systemctl reload meshd); nodes that \
            do not have it yet go on with the old one\n\
         3. when `meshctl status` says secret_rotation: every known member has it, finish:\n   \
            meshctl cluster rotate --secret {file} --finish",
        older.len()
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::{SECRET_NAME, create};
    use super::*;

    #[test]
    fn a_new_secret_comes_first_and_the_old_one_goes_last() {
        let dir = tempfile::tempdir().unwrap();
        let old = create(dir.path()).unwrap();
        let file = dir.path().join(SECRET_NAME);
        let before = read(&file).unwrap();
        let refusal = change(&file, true).unwrap_err().to_string();
        assert!(refusal.contains("no rotation to finish"), "{refusal}");
        let both = change(&file, false).unwrap();
        let ids: Vec<_> = both.keys().iter().map(ClusterKeys::cluster_id).collect();
        assert_eq!(ids.len(), 2);
        assert_eq!(ids[1], old);
        assert_ne!(ids[0], old);
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let done = change(&file, true).unwrap();
        assert_eq!(done.keys().len(), 1);
        assert_eq!(done.keys()[0].cluster_id(), ids[0]);
        assert_eq!(done.mesh_id(), before.mesh_id(), "addresses stay");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing else");
    }

    #[test]
    fn what_is_full_or_no_secret_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        create(dir.path()).unwrap();
        let file = dir.path().join(SECRET_NAME);
        while change(&file, false).is_ok() {}
        assert_eq!(read(&file).unwrap().keys().len(), 4);
        fs::write(&file, "other").unwrap();
        assert!(change(&file, false).is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "other");
    }
}
