//! `meshctl cluster init|rotate|id`: makes the keys of a cluster, replaces its secret, names it. Needs no daemon.

mod rotate;
mod write;

use std::fs;
use std::path::Path;

use mesh_proto::control::CONTROL_VERSION;
use mesh_proto::{AdminKey, ClusterId, ClusterSecret, IdentityKey, MeshId};
use serde::Serialize;
use zeroize::Zeroizing;

pub(super) use self::rotate::rotate;
use super::Session;
use crate::failure::Failure;

const SECRET_NAME: &str = "cluster.secret";
const ADMIN_NAME: &str = "cluster.admin";

/// A secret file is a few hundred bytes; anything larger is another file.
const MAX_SECRET_FILE_BYTES: u64 = 64 * 1024;

/// The document of all commands.
#[derive(Debug, Serialize)]
struct Cluster {
    version: u32,
    cluster: ClusterId,
}

pub(super) fn init(session: &Session, dir: &Path) -> Result<(), Failure> {
    let id = create(dir)?;
    print(session, id)?;
    session.remark(&next_steps(dir, id));
    Ok(())
}

pub(super) fn id(session: &Session, file: &Path) -> Result<(), Failure> {
    let keys = read(file)?.keys();
    let id = keys
        .first()
        .map(mesh_proto::ClusterKeys::cluster_id)
        .ok_or_else(|| Failure::Invalid(format!("{} holds no secret", file.display())))?;
    print(session, id)?;
    for older in &keys[1..] {
        session.remark(&format!(
            "note: a rotation is under way; {} is read as well",
            older.cluster_id()
        ));
    }
    Ok(())
}

fn print(session: &Session, cluster: ClusterId) -> Result<(), Failure> {
    let document = Cluster {
        version: CONTROL_VERSION,
        cluster,
    };
    session.print(&document, |_| format!("{cluster}\n"))
}

/// Makes both files; neither stays if one cannot be written.
fn create(dir: &Path) -> Result<ClusterId, Failure> {
    let admin = AdminKey(IdentityKey::from_seed(&*random::<32>()?));
    let secret = ClusterSecret::new(
        MeshId(*random::<16>()?),
        *random::<32>()?,
        admin.0.public_key(),
    );
    let (secret_path, admin_path) = (dir.join(SECRET_NAME), dir.join(ADMIN_NAME));
    for path in [&secret_path, &admin_path] {
        if path.symlink_metadata().is_ok() {
            return Err(Failure::Exists(path.clone()));
        }
    }
    write::make_directory(dir)?;
    // The admin key first: no secret is ever in use whose admin key was lost on the way.
    write::create_private(&admin_path, admin.expose_text().as_bytes())?;
    if let Err(failure) = write::create_private(&secret_path, secret.expose_text().as_bytes()) {
        let _ = fs::remove_file(&admin_path);
        return Err(failure);
    }
    // What counts is what stands on the disk.
    let written = read(&secret_path)?.keys();
    written
        .first()
        .map(mesh_proto::ClusterKeys::cluster_id)
        .ok_or_else(|| Failure::Invalid(format!("{} holds no secret", secret_path.display())))
}

pub(super) fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, Failure> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(&mut *bytes)
        .map_err(|error| Failure::Invalid(format!("the kernel gives no random bytes: {error}")))?;
    Ok(bytes)
}

pub(super) fn read(file: &Path) -> Result<ClusterSecret, Failure> {
    let length = fs::metadata(file)
        .map_err(Failure::file("read", file))?
        .len();
    if length > MAX_SECRET_FILE_BYTES {
        return Err(Failure::Invalid(format!(
            "{} is too large for a cluster secret: is it another file?",
            file.display()
        )));
    }
    let text = fs::read_to_string(file)
        .map(Zeroizing::new)
        .map_err(Failure::file("read", file))?;
    ClusterSecret::parse(&text).map_err(|source| Failure::Secret {
        path: file.to_owned(),
        source,
    })
}

fn next_steps(dir: &Path, id: ClusterId) -> String {
    let secret = dir.join(SECRET_NAME);
    let admin = dir.join(ADMIN_NAME);
    format!(
        "wrote {secret} and {admin}\nnext:\n\
         1. start a discovery server that admits this cluster only:\n   \
            discovery-server --listen 0.0.0.0:7400 --data-dir /var/lib/discovery-server --allow-cluster {id}\n\
         2. copy {secret} to /etc/meshd/cluster.secret (mode 0600) on every node, over a safe channel\n\
         3. keep {admin} off the nodes, in a safe place: it signs removals and secret rotations\n\
         4. write /etc/meshd/meshd.yaml on every node, check it with \
            `meshd --check --config /etc/meshd/meshd.yaml`, start meshd",
        secret = secret.display(),
        admin = admin.display(),
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn init_writes_private_files_that_fit_together() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("new/keys");
        let id = create(&dir).unwrap();
        let secret = read(&dir.join(SECRET_NAME)).unwrap();
        assert_eq!(secret.keys()[0].cluster_id(), id);
        let admin = AdminKey::parse(&fs::read_to_string(dir.join(ADMIN_NAME)).unwrap()).unwrap();
        assert_eq!(secret.admin_key(), admin.0.public_key());
        let mut names = Vec::new();
        for entry in fs::read_dir(&dir).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(
                entry.metadata().unwrap().permissions().mode() & 0o777,
                0o600
            );
            names.push(entry.file_name().into_string().unwrap());
        }
        names.sort();
        assert_eq!(names, [ADMIN_NAME, SECRET_NAME], "no temporary file stays");
    }

    #[test]
    fn init_never_overwrites() {
        let dir = tempfile::tempdir().unwrap();
        for existing in [SECRET_NAME, ADMIN_NAME] {
            let path = dir.path().join(existing);
            fs::write(&path, "precious").unwrap();
            let failure = create(dir.path()).unwrap_err();
            assert!(matches!(failure, Failure::Exists(_)), "{failure}");
            assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
            fs::remove_file(&path).unwrap();
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn two_clusters_differ() {
        let dir = tempfile::tempdir().unwrap();
        let one = create(&dir.path().join("one")).unwrap();
        let two = create(&dir.path().join("two")).unwrap();
        assert_ne!(one, two);
    }

    #[test]
    fn wrong_files_are_named_without_their_contents() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        fs::write(&path, "hunter2").unwrap();
        let text = read(&path).unwrap_err().to_string();
        assert!(text.contains("/x: the first line must be"), "{text}");
        assert!(!text.contains("hunter2"));
        let text = read(&dir.path().join("none")).unwrap_err().to_string();
        assert!(text.contains("cannot read"), "{text}");
    }
}
