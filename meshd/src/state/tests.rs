//! What crashes, damage and a second process do to a state directory.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use mesh_proto::discovery::EncodedEnvelope;
use mesh_proto::{MemberId, Sequence};
use meshd_core::persistent::PersistentMember;
use tempfile::TempDir;

use super::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn sample() -> PersistentState {
    PersistentState {
        record_sequence: Some(Sequence(7)),
        members: vec![PersistentMember {
            envelope: EncodedEnvelope("AAAA".into()),
            first_seen_ms: 5,
        }],
        removed: [(MemberId([1; 32]), Sequence(3))].into(),
        prefix_owners: [("10.0.0.0/8".parse().unwrap(), MemberId([2; 32]))].into(),
        ..PersistentState::default()
    }
}

#[test]
fn keys_are_made_once_and_private() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("deep/state");
    let (identity, wireguard) = {
        let state = StateDir::open(&path).unwrap();
        (state.identity().unwrap(), state.wireguard_key().unwrap())
    };
    let state = StateDir::open(&path).unwrap();
    assert_eq!(
        state.identity().unwrap().public_key(),
        identity.public_key()
    );
    assert_eq!(state.wireguard_key().unwrap(), wireguard);
    assert_ne!(*identity.expose_seed(), *wireguard.expose());
    assert_eq!(mode(&path), 0o700);
    for file in [IDENTITY_FILE, "wireguard.key"] {
        assert_eq!(mode(&path.join(file)), 0o600, "{file}");
    }
}

#[test]
fn a_damaged_key_is_refused_and_left_alone() {
    let dir = TempDir::new().unwrap();
    let state = StateDir::open(dir.path()).unwrap();
    state.identity().unwrap();
    let path = dir.path().join(IDENTITY_FILE);
    let good = fs::read_to_string(&path).unwrap();
    let flipped = {
        let at = good.find("private-key: ").unwrap() + 20;
        let other = if &good[at..=at] == "A" { "B" } else { "A" };
        format!("{}{other}{}", &good[..at], &good[at + 1..])
    };
    let mut cases: Vec<Vec<u8>> = (0..good.len() - 2).map(|end| good[..end].into()).collect();
    cases.push(flipped.into_bytes());
    cases.push(vec![0xff; 100]);
    for bytes in cases {
        fs::write(&path, &bytes).unwrap();
        let error = state.identity().unwrap_err();
        assert!(matches!(error, StateError::Damaged { .. }), "{error}");
        assert!(
            error.to_string().contains("identity.key is damaged: "),
            "{error}"
        );
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
    fs::write(&path, &good).unwrap();
    assert!(state.identity().is_ok());
}

#[test]
fn a_crash_before_the_rename_leaves_the_old_file() {
    let dir = TempDir::new().unwrap();
    let state = StateDir::open(dir.path()).unwrap();
    state.save(&sample()).unwrap();
    let key = state.identity().unwrap().public_key();
    for file in [STATE_FILE, IDENTITY_FILE] {
        fs::write(dir.path().join(file).with_added_extension("tmp"), "{\"rec").unwrap();
    }
    assert_eq!(state.load().unwrap().state, sample());
    assert_eq!(state.identity().unwrap().public_key(), key);
    // And the left-over is in nobody's way.
    state.save(&PersistentState::default()).unwrap();
    assert_eq!(state.load().unwrap().state, PersistentState::default());
    fs::remove_file(dir.path().join(IDENTITY_FILE)).unwrap();
    assert_ne!(state.identity().unwrap().public_key(), key);
}

#[test]
fn a_damaged_cache_is_put_aside() {
    let dir = TempDir::new().unwrap();
    let state = StateDir::open(dir.path()).unwrap();
    assert!(
        state.load().unwrap().warning.is_none(),
        "a first start is no damage"
    );
    state.save(&sample()).unwrap();
    let path = dir.path().join(STATE_FILE);
    let good = fs::read(&path).unwrap();
    for bytes in [&b""[..], &good[..good.len() / 2], b"null", b"\0\0\0\0"] {
        fs::write(&path, bytes).unwrap();
        let loaded = state.load().unwrap();
        assert_eq!(loaded.state, PersistentState::default());
        let warning = loaded.warning.unwrap();
        assert!(warning.contains("state.json is damaged"), "{warning}");
        assert_eq!(
            fs::read(dir.path().join(DAMAGED_STATE_FILE)).unwrap(),
            bytes
        );
        assert!(!path.exists());
    }
    fs::write(&path, br#"{"recordSequence":9,"fromALaterVersion":[1]}"#).unwrap();
    let loaded = state.load().unwrap();
    assert_eq!(loaded.state.record_sequence, Some(Sequence(9)));
    assert!(loaded.warning.is_none());
}

#[test]
fn a_second_meshd_is_refused() {
    let dir = TempDir::new().unwrap();
    let first = StateDir::open(dir.path()).unwrap();
    let error = StateDir::open(dir.path()).unwrap_err().to_string();
    let expected = format!(
        "is in use by another meshd (process {})",
        std::process::id()
    );
    assert!(error.contains(&expected), "{error}");
    drop(first);
    StateDir::open(dir.path()).unwrap();
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "").unwrap();
    let error = StateDir::open(&path.join("state")).unwrap_err().to_string();
    assert!(error.contains("file/state cannot be made"), "{error}");
}

#[test]
fn addresses_outlive_the_process_and_are_bounded() {
    let dir = TempDir::new().unwrap();
    let state = StateDir::open(dir.path()).unwrap();
    let address = "203.0.113.7:51840".parse().unwrap();
    let cache = state.address_cache();
    for index in 0..300 {
        cache
            .put(&format!("n{index:03}:1"), &[address; 30])
            .unwrap();
    }
    cache.put("n299:1", &[]).unwrap();
    let cache = state.address_cache();
    assert_eq!(
        cache.get("n299:1"),
        [address; 16],
        "an empty answer forgets nothing"
    );
    assert_eq!(cache.get("n000:1"), [address; 0]);
    fs::write(dir.path().join(ADDRESS_FILE), "{").unwrap();
    assert_eq!(state.address_cache().get("n299:1"), [address; 0]);
}

#[test]
fn state_ids_differ() {
    assert_ne!(fresh_state_id().unwrap(), fresh_state_id().unwrap());
}

#[test]
fn only_a_directory_of_its_own_is_restricted() {
    let dir = TempDir::new().unwrap();
    let set = |mode| fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
    set(0o755);
    drop(StateDir::open(dir.path()).unwrap());
    assert_eq!(mode(dir.path()), 0o700, "it was empty");
    set(0o777);
    drop(StateDir::open(dir.path()).unwrap());
    assert_eq!(mode(dir.path()), 0o700, "it is ours");
    fs::remove_file(dir.path().join(LOCK_FILE)).unwrap();
    fs::write(dir.path().join("something"), "").unwrap();
    set(0o777);
    let error = StateDir::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("is writable by others"), "{error}");
    assert_eq!(mode(dir.path()), 0o777, "it is somebody's");
    set(0o755);
    StateDir::open(dir.path()).unwrap();
    assert_eq!(mode(dir.path()), 0o755);
}
