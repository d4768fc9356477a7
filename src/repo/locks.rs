//! Git's lock files, which libgit2 makes for the moment in which it writes the index or moves the branch. A kill in that moment
//! leaves one behind, and everybody who writes, kluis first, would be told for ever that git is at work.
//!
//! Whose a lock is can't be read from it. So a mark lies in the stage for as long as libgit2 may hold one: a lock that was
//! made right after a mark, which is there though its process is dead, is taken for that process's. Every other lock is a git
//! program's, and is never touched. One mistake is left: a kill after the mark and before the lock, and a git program that
//! takes the lock within `SOON` and still holds it when kluis comes again.

use super::RepoError;
use super::WorkTree;
use super::journal::{Journal, STAGE};
use crate::disk::{Folder, Kind};

/// How long after its mark a lock can have been made or written, in seconds: far more than libgit2 takes.
const SOON: i64 = 10;

/// What libgit2 locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Locked {
    Index,
    Branch,
}

impl Locked {
    pub(super) fn mark(self) -> &'static str {
        match self {
            Self::Index => "locks.index",
            Self::Branch => "locks.branch",
        }
    }
}

impl WorkTree {
    /// Runs `write`, in which libgit2 takes a lock, beside its mark.
    pub(super) fn marked<T>(
        &self,
        locked: Locked,
        write: impl FnOnce() -> Result<T, RepoError>,
    ) -> Result<T, RepoError> {
        let stage = self.own_folder()?.map(|own| own.sub(STAGE)).transpose()?;
        // Without room for a mark the write goes on: all that is lost is what a kill would need.
        let _ = stage.as_ref().map(|stage| stage.create(locked.mark(), b"", 0o600));
        let done = write();
        let _ = stage.as_ref().map(|stage| stage.remove(locked.mark()));
        done
    }

    /// Removes the locks that the dead process of `journal` left. Only while this process holds the lock of kluis, so that
    /// the other is dead.
    pub(super) fn drop_dead_locks(&self, own: &Folder, journal: &Journal) -> Result<(), RepoError> {
        let stage = own.sub(STAGE)?;
        let branch = self.branch_lock(&journal.branch);
        for (locked, path) in [(Locked::Index, self.index_lock()), (Locked::Branch, branch)] {
            let Some(mark) = stage.facts(locked.mark())? else { continue };
            if let (Some(parent), Some(name)) = (path.parent(), path.file_name())
                && let Ok(folder) = Folder::open(parent)
                && let Some(lock) = folder.facts(name)?
                && lock.kind == Kind::File
                && lock.modified >= mark.modified
                && lock.modified.0 <= mark.modified.0 + SOON
            {
                folder.remove(name)?;
            }
            stage.remove(locked.mark())?;
        }
        Ok(())
    }

    /// Where git locks the index.
    pub(super) fn index_lock(&self) -> std::path::PathBuf {
        self.repo.path().join("index.lock")
    }

    /// Where git locks a branch.
    pub(super) fn branch_lock(&self, branch: &str) -> std::path::PathBuf {
        self.repo.commondir().join(format!("{branch}.lock"))
    }
}
