//! Change sets: everything that one command writes, as data.

use std::collections::{BTreeMap, BTreeSet};

use super::RepoError;
use super::walk::is_managed;
use crate::disk::folder::split;
use crate::model::Place;

/// What a command writes and removes, relative to the root of the work tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangeSet {
    /// New or replaced files, with all their bytes.
    pub writes: BTreeMap<String, Vec<u8>>,
    /// Files that go. One that is not there is no error.
    pub removes: BTreeSet<String>,
}

/// What becomes of a change set in git.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Commit {
    /// One commit with this message.
    Message(String),
    /// Written and staged only (`--no-commit`).
    IndexOnly,
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// The commit in hex; `None` with `IndexOnly`, and where HEAD already was as wanted.
    pub commit: Option<String>,
    /// Files written, in byte order.
    pub written: Vec<String>,
    /// Files removed, in byte order.
    pub removed: Vec<String>,
}

impl ChangeSet {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.removes.is_empty()
    }

    /// The paths with their new bytes, `None` for those that go.
    pub(super) fn paths(&self) -> BTreeMap<&str, Option<&[u8]>> {
        let writes = self.writes.iter().map(|(path, bytes)| (path.as_str(), Some(bytes.as_slice())));
        writes.chain(self.removes.iter().map(|path| (path.as_str(), None))).collect()
    }

    /// Refuses a path that leaves the work tree or names git's own files, one that is written and removed, one that
    /// is a folder of another, and in the managed trees a written one that is no place.
    pub(super) fn check(&self) -> Result<(), RepoError> {
        let bad = |path: &str| RepoError::BadPath { path: path.to_owned() };
        for path in self.writes.keys().chain(&self.removes) {
            split(path)?;
        }
        for path in self.writes.keys() {
            if self.removes.contains(path) || is_managed(path) && Place::parse(path).is_err() {
                return Err(bad(path));
            }
            let below = format!("{path}/");
            if self.writes.range(below.clone()..).next().is_some_and(|(next, _)| next.starts_with(&below)) {
                return Err(bad(path));
            }
        }
        Ok(())
    }
}
