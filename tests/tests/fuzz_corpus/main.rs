//! Replays the corpus of every fuzz target, and many mutations of it, on a stable compiler. It finds what
//! a format change broke and what fuzzing found before; finding new inputs is libFuzzer's part.

#![cfg(test)]

mod seeds;
mod server_seeds;
#[path = "../../fuzz/src/lib.rs"]
#[expect(
    unreachable_pub,
    reason = "the library of the fuzz targets has them public"
)]
mod targets;

use std::fs;
use std::path::{Path, PathBuf};

use targets::{TARGETS, Target};

/// Mutations of each corpus file.
const MUTATIONS: u32 = 300;
/// Corpus files stay small enough to read a diff of.
const MAX_SEED_BYTES: u64 = 8 * 1024;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

/// Name and content of each file of a target.
fn files(target: &str) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(corpus().join(target))
        .unwrap_or_else(|error| panic!("{target} has no corpus: {error}"))
        .map(|entry| {
            let entry = entry.unwrap();
            assert!(entry.metadata().unwrap().len() <= MAX_SEED_BYTES);
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

fn target(name: &str) -> Target {
    let found = TARGETS.iter().find(|(target, _)| *target == name);
    found.unwrap_or_else(|| panic!("no target {name}")).1
}

#[test]
fn seeds_are_those_of_today() {
    let write = std::env::var_os("UPDATE_CORPUS").is_some();
    for (target, name, bytes) in seeds::seeds().into_iter().chain(server_seeds::seeds()) {
        let path = corpus().join(target).join(name);
        if write {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &bytes).unwrap();
        }
        let stored = fs::read(&path).unwrap_or_default();
        assert!(
            stored == bytes,
            "{} is not what the code makes today; if that is meant: UPDATE_CORPUS=1",
            path.display()
        );
    }
}

#[test]
fn every_target_accepts_and_refuses_as_its_files_are_called() {
    for (name, target) in TARGETS {
        let files = files(name);
        for kind in ["ok-", "bad-"] {
            assert!(
                files.iter().any(|(file, _)| file.starts_with(kind)),
                "{name} {kind}"
            );
        }
        for (file, bytes) in files {
            let accepted = target(&bytes);
            match file.split('-').next() {
                Some("ok") => assert!(accepted, "{name}/{file} is refused"),
                Some("bad") => assert!(!accepted, "{name}/{file} is accepted"),
                _ => {}
            }
        }
    }
}

#[test]
fn every_target_has_a_binary_and_every_folder_a_target() {
    let folders = fs::read_dir(corpus()).unwrap();
    for folder in folders {
        target(folder.unwrap().file_name().to_str().unwrap());
    }
    let fuzz = corpus().with_file_name("fuzz_targets");
    let manifest = fs::read_to_string(corpus().with_file_name("Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        assert!(fuzz.join(format!("{name}.rs")).exists(), "{name}");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
    }
}

#[test]
fn mutations_break_no_target() {
    for (name, target) in TARGETS {
        let files = files(name);
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        for (_, bytes) in &files {
            for _ in 0..MUTATIONS {
                let other = &files[random.below(files.len())].1;
                target(&mutated(bytes.clone(), other, &mut random));
            }
        }
    }
}

/// xorshift64: the same mutations in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }
}

/// One to four changes: a byte, a bit, a cut, a repetition, a splice with another file.
fn mutated(mut bytes: Vec<u8>, other: &[u8], random: &mut Random) -> Vec<u8> {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(6) {
            0 if !bytes.is_empty() => bytes[at] = random.below(256) as u8,
            1 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            2 => bytes.truncate(at),
            3 => bytes.insert(at, b"\0\xff\n:9-"[random.below(6)]),
            4 => bytes.extend_from_within(at..),
            _ => {
                bytes.truncate(at);
                bytes.extend_from_slice(&other[random.below(other.len()).min(other.len())..]);
            }
        }
        bytes.truncate(64 * 1024);
    }
    bytes
}
