//! What can go wrong with a repository, each with its path and what mends it.

use std::path::{Path, PathBuf};

use crate::disk::DiskError;
use crate::model::{Remedy, displayed};

fn shown(path: &Path) -> String {
    displayed(&path.to_string_lossy())
}

/// Why the repository can't be used, or a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum RepoError {
    /// No git repository here or above.
    #[error("{} is in no git repository", shown(path))]
    NoRepository {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// No revision of that name.
    #[error("{} knows no revision {}", shown(path), displayed(name))]
    NoRevision {
        /// The repository.
        path: PathBuf,
        /// As it was asked for.
        name: String,
    },
    /// A repository without a work tree.
    #[error("{} is a bare git repository, without files to work on", shown(path))]
    Bare {
        /// The repository.
        path: PathBuf,
    },
    /// A repository format that libgit2 can't read: SHA-256 objects, reftable, a split or sparse index.
    #[error("{} is a git repository of a kind that kluis can't write: {}", shown(path), displayed(why))]
    Unsupported {
        /// The repository.
        path: PathBuf,
        /// What libgit2 says.
        why: String,
    },
    /// It belongs to somebody else, whose configuration would be obeyed.
    #[error("{} belongs to another user", shown(path))]
    ForeignOwner {
        /// The repository.
        path: PathBuf,
    },
    /// A merge, rebase or the like is not finished.
    #[error("{} is in the middle of {what}", shown(path))]
    InProgress {
        /// The work tree.
        path: PathBuf,
        /// What, in words: "a merge".
        what: &'static str,
    },
    /// No branch is checked out, so a commit would belong to none.
    #[error("{} has no branch checked out (detached HEAD)", shown(path))]
    Detached {
        /// The work tree.
        path: PathBuf,
    },
    /// Git does not know who commits.
    #[error("git knows no user.name and user.email for {}", shown(path))]
    NoIdentity {
        /// The work tree.
        path: PathBuf,
    },
    /// A managed path differs from the last commit.
    #[error("{} differs from the last commit", displayed(path))]
    Dirty {
        /// Relative to the root.
        path: String,
        /// Whether the last commit has it.
        committed: bool,
    },
    /// A link or anything else where a file belongs, or on the way to it.
    #[error("{} is {what}", displayed(path))]
    NotRegular {
        /// Relative to the root.
        path: String,
        /// What lies there, in words.
        what: &'static str,
    },
    /// A change set names a path where nothing of kluis's lies.
    #[error("{path:?} is no path that kluis writes")]
    BadPath {
        /// The refused path.
        path: String,
    },
    /// The system forbids writing.
    #[error("{} can't be written", shown(path))]
    ReadOnly {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: DiskError,
    },
    /// Disk, quota or file size limit reached.
    #[error("no room left to write {}", shown(path))]
    DiskFull {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: DiskError,
    },
    /// Another command of kluis is writing here.
    #[error("another kluis is writing in {}", shown(path))]
    Busy {
        /// The work tree.
        path: PathBuf,
    },
    /// A git program is writing the index, or died while it did.
    #[error("{} exists: git is at work, or was killed at it and somebody has to remove it", shown(path))]
    GitBusy {
        /// The lock file of git.
        path: PathBuf,
    },
    /// Somebody committed or switched branches while the command ran.
    #[error("the branch of {} moved while the command ran", shown(path))]
    HeadMoved {
        /// The work tree.
        path: PathBuf,
    },
    /// A change set was cut short, and a file that it names was edited before it could be finished.
    #[error("{} was edited while an interrupted change was unfinished", displayed(path))]
    Interfered {
        /// Relative to the root.
        path: String,
        /// Whether the last commit has it.
        committed: bool,
    },
    /// A change set was cut short, and nothing was done about it yet.
    #[error("{} has an interrupted change that is not finished", shown(path))]
    Unfinished {
        /// The work tree.
        path: PathBuf,
    },
    /// The note about an unfinished change set can't be read.
    #[error("{} can't be read: {}", shown(path), displayed(why))]
    Journal {
        /// The journal.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A change failed half-way and could not be rolled back at once; the next command does it.
    #[error("{} is half-written; the next command of kluis rolls it back", shown(path))]
    HalfDone {
        /// The work tree.
        path: PathBuf,
        /// Why it failed.
        source: Box<RepoError>,
    },
    /// Anything else that a disk says.
    #[error(transparent)]
    Disk(DiskError),
    /// Anything else that libgit2 says.
    #[error("git can't {doing} in {}", shown(path))]
    Git {
        /// What was tried.
        doing: &'static str,
        /// The repository.
        path: PathBuf,
        /// What libgit2 said.
        source: git2::Error,
    },
}

impl From<DiskError> for RepoError {
    fn from(source: DiskError) -> Self {
        let path = source.path();
        if source.is_full() {
            Self::DiskFull { path, source }
        } else if source.is_forbidden() {
            Self::ReadOnly { path, source }
        } else {
            Self::Disk(source)
        }
    }
}

impl RepoError {
    /// Sorts an error of libgit2: `doing` in words, `path` the repository.
    pub(super) fn git(doing: &'static str, path: &Path) -> impl Fn(git2::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.code() {
            git2::ErrorCode::Locked => Self::GitBusy { path: path.join("index.lock") },
            _ => Self::Git { doing, path: path.clone(), source },
        }
    }

    /// What mends it, where one command does.
    pub fn remedy(&self) -> Option<Remedy> {
        let quoted = |path: &Path| quoted(&path.to_string_lossy());
        Some(match self {
            Self::NoRepository { .. } => Remedy::GitInit,
            Self::NoRevision { .. } => Remedy::Run("git log --oneline -n 5 --all".to_owned()),
            Self::Bare { path } => Remedy::Run(format!("git clone {} DIR", quoted(path))),
            Self::Unsupported { .. } => Remedy::Run("git init --object-format=sha1 DIR".to_owned()),
            Self::ForeignOwner { path } => {
                Remedy::Run(format!("git config --global --add safe.directory {}", quoted(path)))
            }
            Self::Detached { .. } => Remedy::Run("git switch -c NAME".to_owned()),
            Self::NoIdentity { .. } => Remedy::GitIdentity,
            Self::Dirty { path, committed: true } | Self::Interfered { path, committed: true } => {
                Remedy::GitRestore(self::quoted(path))
            }
            Self::NotRegular { path, .. } => Remedy::Run(format!("ls -ld {}", self::quoted(path))),
            // How old it is says whether a program can still be at it.
            Self::GitBusy { path } => Remedy::Run(format!("ls -l {}", quoted(path))),
            Self::ReadOnly { path, .. } => Remedy::Run(format!("ls -ld {}", quoted(path))),
            Self::DiskFull { path, .. } => {
                Remedy::Run(format!("df -h {}", quoted(path.parent().unwrap_or(Path::new(".")))))
            }
            Self::HalfDone { .. } | Self::Unfinished { .. } => Remedy::Kluis("status".to_owned()),
            Self::InProgress { .. }
            | Self::Dirty { .. }
            | Self::Interfered { .. }
            | Self::HeadMoved { .. }
            | Self::Journal { .. } => Remedy::GitStatus,
            Self::Git { path, source, .. } => return of_git(path, source),
            Self::BadPath { .. } | Self::Busy { .. } | Self::Disk(_) => return None,
        })
    }
}

/// What mends an error of libgit2, which hands on what the system said as text alone.
fn of_git(path: &Path, error: &git2::Error) -> Option<Remedy> {
    let said = |text: &str| error.class() == git2::ErrorClass::Os && error.message().contains(text);
    let quoted = quoted(&shown(path));
    if said("No space left") || said("quota exceeded") {
        return Some(Remedy::Run(format!("df -h {quoted}")));
    }
    (said("Read-only file system") || said("Permission denied")).then(|| Remedy::Run(format!("ls -ld {quoted}")))
}

/// A path as a shell reads it back.
fn quoted(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%:,".contains(c);
    if !path.is_empty() && path.chars().all(plain) {
        return path.to_owned();
    }
    format!("'{}'", path.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedies_quote_what_a_shell_would_take_apart() {
        let dirty = |path: &str| RepoError::Dirty { path: path.to_owned(), committed: true };
        assert_eq!(dirty("clusters/x").remedy().unwrap().to_string(), "git restore -- clusters/x");
        assert_eq!(dirty("a b'; rm x").remedy().unwrap().to_string(), r"git restore -- 'a b'\''; rm x'");
        let new = RepoError::Dirty { path: "x".to_owned(), committed: false };
        assert_eq!(new.remedy(), Some(Remedy::GitStatus));
    }
}
