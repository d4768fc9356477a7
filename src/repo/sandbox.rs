//! A scratch repository for the tests of this module, made with the git program and no configuration of the machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Applied, ChangeSet, Commit, RepoError, WorkTree};
use crate::model::Time;

pub(super) struct Sandbox {
    pub(super) scratch: tempfile::TempDir,
    pub(super) root: PathBuf,
}

pub(super) const CONFIG: &str = "clusters/prod/cluster.toml";
pub(super) const CA: &str = "clusters/prod/ca/kubernetes.g1.crt";
pub(super) const SEALED: &str = "clusters/prod/sealed/ca.kubernetes.g1.asc";
pub(super) const EPOCH: &str = "trust/epoch/0001.toml";

pub(super) fn now() -> Time {
    Time::parse("2026-11-20T18:00:00Z").unwrap()
}

impl Sandbox {
    /// An empty repository with an identity and no commit.
    pub(super) fn unborn() -> Self {
        Self::unborn_in(tempfile::tempdir().unwrap())
    }

    pub(super) fn unborn_in(scratch: tempfile::TempDir) -> Self {
        let root = scratch.path().canonicalize().unwrap().join("repo");
        let sandbox = Self { scratch, root };
        std::fs::create_dir(&sandbox.root).unwrap();
        sandbox.git(&["init", "-q", "-b", "main"]);
        sandbox.git(&["config", "user.name", "Alice"]);
        sandbox.git(&["config", "user.email", "alice@example.org"]);
        sandbox
    }

    /// One commit with a README, an epoch and a cluster.toml.
    pub(super) fn new() -> Self {
        let sandbox = Self::unborn();
        sandbox.put("README.md", b"read me\n");
        sandbox.put(EPOCH, b"epoch one\n");
        sandbox.put(CONFIG, b"config one\n");
        sandbox.git(&["add", "-A"]);
        sandbox.git(&["commit", "-q", "-m", "begin"]);
        sandbox
    }

    pub(super) fn git_at(dir: &Path, args: &[&str]) -> (bool, String) {
        let output = Command::new("git")
            .args(args)
            .current_dir(dir)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", "/nonexistent")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    pub(super) fn git(&self, args: &[&str]) -> String {
        let (good, text) = Self::git_at(&self.root, args);
        assert!(good, "git {args:?}: {text}");
        text
    }

    pub(super) fn put(&self, path: &str, bytes: &[u8]) {
        let path = self.root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub(super) fn read(&self, path: &str) -> Option<Vec<u8>> {
        std::fs::read(self.root.join(path)).ok()
    }

    pub(super) fn open(&self) -> WorkTree {
        WorkTree::open(&self.root).unwrap()
    }

    pub(super) fn apply(&self, changes: &ChangeSet) -> Result<Applied, RepoError> {
        let tree = self.open();
        tree.check_writable(&[].into())?;
        tree.apply(changes, &message(), now())
    }

    /// Every file of the work tree (git's own left out), every folder, and what git says of HEAD, index and status.
    pub(super) fn picture(&self) -> BTreeMap<String, Vec<u8>> {
        let mut picture = BTreeMap::new();
        pictured(&self.root, "", &mut picture);
        for args in [
            &["rev-parse", "--verify", "-q", "HEAD"][..],
            &["ls-files", "--stage"],
            &["status", "--porcelain=v2", "-uall", "--branch"],
        ] {
            picture.insert(format!("git {args:?}"), Self::git_at(&self.root, args).1.into_bytes());
        }
        picture
    }

    /// No leftovers in `.git/kluis`, and nothing wrong with git's own files.
    pub(super) fn assert_sound(&self) {
        let names: Vec<String> = std::fs::read_dir(self.root.join(".git/kluis"))
            .map(|entries| entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect())
            .unwrap_or_default();
        assert!(names.iter().all(|name| name == "lock"), "{names:?}");
        let (good, text) = Self::git_at(&self.root, &["fsck", "--strict", "--no-dangling"]);
        assert!(good, "{text}");
    }
}

fn pictured(folder: &Path, prefix: &str, picture: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if path == ".git" {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            picture.insert(format!("{path}/"), Vec::new());
            pictured(&entry.path(), &format!("{path}/"), picture);
        } else {
            picture.insert(path, std::fs::read(entry.path()).unwrap_or_default());
        }
    }
}

pub(super) fn message() -> Commit {
    Commit::Message("cluster new prod".to_owned())
}

pub(super) fn changes(writes: &[(&str, &[u8])], removes: &[&str]) -> ChangeSet {
    ChangeSet {
        writes: writes.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec())).collect(),
        removes: removes.iter().map(|path| (*path).to_owned()).collect(),
    }
}

/// One of each kind: a new file in new folders, a replaced one, a removed one whose folders go too, one outside the
/// managed trees.
pub(super) fn one_of_each() -> ChangeSet {
    let attributes = super::with_attributes(b"* text ident\n").unwrap();
    changes(
        &[(CA, b"ca\n"), (SEALED, b"sealed\r\n$Id$\n"), (CONFIG, b"config two\n"), (".gitattributes", &attributes)],
        &[EPOCH],
    )
}
