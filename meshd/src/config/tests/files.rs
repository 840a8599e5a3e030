//! Files a configuration names: what makes them unusable, and what is said then.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use mesh_proto::{ClusterSecret, IdentityKey, MeshId};
use tempfile::TempDir;

use super::super::*;

fn write(dir: &TempDir, name: &str, text: &str, mode: u32) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn secret() -> ClusterSecret {
    let admin = IdentityKey::from_seed(&[3; 32]).public_key();
    ClusterSecret::new(MeshId([1; 16]), [2; 32], admin)
}

fn config_text(secret: &Path, more: &str) -> String {
    format!(
        "cluster:\n  secretFile: {}\n{more}\nnode: {{zone: a}}\ndiscovery: {{servers: [\"https://d.example\"]}}\n",
        secret.display()
    )
}

#[test]
fn a_good_set_of_files_checks() {
    let dir = TempDir::new().unwrap();
    let file = write(&dir, "cluster.secret", &secret().expose_text(), 0o600);
    let id = secret().keys()[0].cluster_id();
    let path = write(
        &dir,
        "meshd.yaml",
        &config_text(&file, &format!("  id: {id}")),
        0o644,
    );
    let report = check(&path);
    assert_eq!(report.errors, [""; 0]);
    assert_eq!(report.exit_code(), 0);
    assert_eq!(report.to_string(), format!("{} is right", path.display()));
}

#[test]
fn secrets_that_cannot_be_used() {
    let dir = TempDir::new().unwrap();
    let good = secret().expose_text();
    let open = write(&dir, "open", &good, 0o644);
    let cut = write(&dir, "cut", &good[..good.len() - 9], 0o600);
    let other = write(&dir, "other", &good, 0o600);
    for (path, part) in [
        (
            dir.path().join("gone"),
            "make one with `meshctl cluster init`",
        ),
        (open, "has mode 0644 and others can read it: run `chmod 600"),
        (cut, "the checksum does not fit"),
        (other, "but cluster.id says 0909"),
    ] {
        let error = load_secret(&path, Some(ClusterId([9; 32])))
            .unwrap_err()
            .to_string();
        assert!(error.contains(part), "{error}");
        assert!(error.contains(&*path.to_string_lossy()), "{error}");
        let config = write(
            &dir,
            "meshd.yaml",
            &config_text(
                &path,
                "  id: \"0909090909090909090909090909090909090909090909090909090909090909\"",
            ),
            0o644,
        );
        let report = check(&config);
        assert_eq!(report.exit_code(), 2, "{report}");
        assert!(
            report.errors[0].starts_with("cluster.secretFile: "),
            "{report}"
        );
    }
}

#[test]
fn a_missing_or_wrong_file_names_itself() {
    let dir = TempDir::new().unwrap();
    let gone = dir.path().join("meshd.yaml");
    let error = load(&gone).unwrap_err().to_string();
    assert!(error.starts_with(&*gone.to_string_lossy()), "{error}");
    assert!(error.contains("--config"), "{error}");

    let wrong = write(&dir, "wrong.yaml", "node: {zonee: a}\n", 0o644);
    let error = load(&wrong).unwrap_err().to_string();
    assert!(
        error.contains("wrong.yaml: line 1: node.zonee: unknown key"),
        "{error}"
    );
    assert_eq!(error.lines().count(), 3, "{error}");

    let huge = write(&dir, "huge.yaml", &"#".repeat(2 * 1024 * 1024), 0o644);
    assert!(load(&huge).unwrap_err().to_string().contains("larger than"));
}

#[test]
fn preshared_keys_are_read_and_refused_by_name() {
    let dir = TempDir::new().unwrap();
    let key = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";
    let file = write(&dir, "psk", &format!("{key}\n"), 0o600);
    let peer = format!(
        "externalPeers: [{{name: a, publicKey: \"{key}\", allowedIPs: [10.9.0.1], presharedKeyFile: {}}}]\n",
        file.display()
    );
    let text = config_text(Path::new("/s"), "") + &peer;
    let path = write(&dir, "meshd.yaml", &text, 0o644);
    let loaded = load(&path).unwrap();
    let settings = loaded.config.to_settings();
    assert_eq!(
        settings.external_peers[0].preshared_key,
        Some(key.parse().unwrap())
    );
    write(&dir, "psk", "abc", 0o600);
    let error = load(&path).unwrap_err().to_string();
    assert!(
        error.contains("externalPeers[0].presharedKeyFile: "),
        "{error}"
    );
}

#[test]
fn zone_files() {
    let dir = TempDir::new().unwrap();
    for (text, expected) in [
        ("fra\n", Ok(Some("fra".to_owned()))),
        (" \n", Ok(None)),
        ("a b", Err("cannot be a zone")),
    ] {
        let path = write(&dir, "zone", text, 0o644);
        match (read_zone_file(&path), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(message), Err(part)) => assert!(message.contains(part), "{message}"),
            (found, _) => panic!("{text:?}: {found:?}"),
        }
    }
    assert_eq!(read_zone_file(&dir.path().join("gone")), Ok(None));
}

#[test]
fn ca_files() {
    let dir = TempDir::new().unwrap();
    let path = write(&dir, "ca.pem", "no certificate", 0o644);
    assert!(
        read_ca(&path)
            .unwrap_err()
            .to_string()
            .contains("PEM certificate")
    );
}

#[test]
fn tokens_are_one_long_word_for_the_owner_only() {
    let dir = TempDir::new().unwrap();
    let good = write(&dir, "good", "0123456789abcdef\n", 0o600);
    assert_eq!(*load_token(&good).unwrap(), "0123456789abcdef");
    for (name, text, mode, part) in [
        ("open", "0123456789abcdef", 0o644, "others can read it"),
        ("short", "0123456789", 0o600, "one word of 16 to 1024"),
        (
            "words",
            "01234567 89abcdef",
            0o600,
            "one word of 16 to 1024",
        ),
    ] {
        let path = write(&dir, name, text, mode);
        let error = load_token(&path).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn the_credential_stands_for_the_units_file_only() {
    use super::super::file::secret_file;
    let dir = TempDir::new().unwrap();
    let named = Path::new("/etc/meshd/cluster.secret");
    // Not there, as in another unit: the file itself.
    assert_eq!(secret_file(named, Some(dir.path())), named);
    let copy = write(&dir, "cluster.secret", "", 0o400);
    assert_eq!(secret_file(named, Some(dir.path())), copy);
    assert_eq!(secret_file(named, None), named);
    let other = Path::new("/srv/cluster.secret");
    assert_eq!(secret_file(other, Some(dir.path())), other);
}
