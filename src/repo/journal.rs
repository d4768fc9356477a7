//! The journal of a change set: what it takes to finish or undo it after a kill. Lies in `.git/kluis/journal`, beside the
//! folder `stage` with the new and the old bytes. There is one exactly while a change set is under way.

use std::path::Path;

use git2::Oid;
use serde::{Deserialize, Serialize};

use super::{RepoError, WorkTree};
use crate::disk::{self, Folder};

pub(super) const JOURNAL: &str = "journal";
pub(super) const STAGE: &str = "stage";
/// In the stage: the change set is to be undone, not finished.
pub(super) const UNDO: &str = "undo";

const LARGEST: u64 = 256 << 20;

/// An object's name as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Id(pub(super) Oid);

impl Serialize for Id {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Oid::from_str(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// A file as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Old {
    pub(super) id: Id,
    pub(super) executable: bool,
}

/// One path of a change set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    pub(super) path: String,
    /// What the file becomes; absent: it goes.
    pub(super) new: Option<Id>,
    /// What it was; absent: nothing.
    pub(super) old: Option<Old>,
    /// What the index had.
    pub(super) index: Option<(Id, u32)>,
    /// Whether HEAD has the path.
    pub(super) committed: bool,
}

/// A change set under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Journal {
    pub(super) format: String,
    /// The first line of the message, for people.
    pub(super) title: String,
    /// The branch that was checked out, and its commit.
    pub(super) branch: String,
    pub(super) before: Option<Id>,
    /// The commit, made already, that the branch moves to.
    pub(super) commit: Option<Id>,
    pub(super) changes: Vec<Change>,
}

pub(super) const FORMAT: &str = "kluis/journal/1";

/// Whether a change set is under way in the work tree at `root`, or was cut short there. Asked of files alone: git is not
/// opened, since its configuration may be a stranger's.
pub fn is_half_written(root: &Path) -> bool {
    let git = root.join(".git");
    // In a linked work tree it is a file that names the folder.
    let named = disk::read_capped(&git, 1 << 12).ok().flatten().and_then(|bytes| String::from_utf8(bytes).ok());
    let folder = match named.as_deref().and_then(|text| text.strip_prefix("gitdir: ")) {
        Some(folder) => root.join(folder.trim_end()),
        None => git,
    };
    folder.join("kluis").join(JOURNAL).symlink_metadata().is_ok()
}

impl WorkTree {
    pub(super) fn has_journal(&self) -> Result<bool, RepoError> {
        match self.own_folder()? {
            Some(folder) => Ok(folder.facts(JOURNAL)?.is_some()),
            None => Ok(false),
        }
    }
}

impl Journal {
    pub(super) fn load(folder: &Folder) -> Result<Option<Self>, RepoError> {
        let Some(bytes) = folder.read_file(JOURNAL, LARGEST)? else { return Ok(None) };
        let fault = |why: String| RepoError::Journal { path: folder.at(JOURNAL), why };
        let journal: Self = serde_json::from_slice(&bytes).map_err(|error| fault(error.to_string()))?;
        if journal.format != FORMAT {
            return Err(fault(format!("the format is {:?}, not {FORMAT:?}", journal.format)));
        }
        for change in &journal.changes {
            disk::folder::split(&change.path)?;
        }
        Ok(Some(journal))
    }

    /// Puts the journal in its place, as one step: from here on the change set is finished or undone.
    pub(super) fn save(&self, folder: &Folder) -> Result<(), RepoError> {
        let bytes = serde_json::to_vec(self).expect("strings, numbers and lists of them are JSON");
        Ok(disk::replace(folder, JOURNAL.as_ref(), &bytes, 0o600)?)
    }

    /// Ends the change set: the journal first, then what only it needs.
    pub(super) fn clear(folder: &Folder) -> Result<(), RepoError> {
        folder.remove(JOURNAL)?;
        folder.sync()?;
        sweep(folder)
    }
}

/// Removes all that a dead command left in `.git/kluis`. Only without a journal.
pub(super) fn sweep(folder: &Folder) -> Result<(), RepoError> {
    for (name, _) in folder.names()? {
        if name != "lock" && name != JOURNAL {
            folder.remove_all(&name)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::sandbox::Sandbox;

    #[test]
    fn a_change_under_way_is_seen_in_a_linked_work_tree_too() {
        let sandbox = Sandbox::new();
        let linked = sandbox.scratch.path().join("linked");
        sandbox.git(&["worktree", "add", "-q", "../linked", "-b", "other"]);
        for (root, git) in [(&sandbox.root, ".git"), (&linked, ".git/worktrees/linked")] {
            assert!(!is_half_written(root));
            sandbox.put(&format!("{git}/kluis/journal"), b"{}");
            assert!(is_half_written(root));
            std::fs::remove_file(sandbox.root.join(git).join("kluis/journal")).unwrap();
        }
        assert!(!is_half_written(sandbox.scratch.path()));
    }
}
