//! What can go wrong on a disk, with the path in every case.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::model::displayed;

/// What was being done when the system refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Opening a file or folder.
    Open,
    /// Listing a folder.
    List,
    /// Reading a file.
    Read,
    /// Creating or writing a file.
    Write,
    /// Making a folder.
    MakeFolder,
    /// Moving a file to its place.
    Rename,
    /// Removing a file or folder.
    Remove,
    /// Making sure that it outlives a power cut.
    Sync,
    /// Taking a lock.
    Lock,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::List => "list",
            Self::Read => "read",
            Self::Write => "write",
            Self::MakeFolder => "make the folder",
            Self::Rename => "move a file to",
            Self::Remove => "remove",
            Self::Sync => "flush",
            Self::Lock => "lock",
        })
    }
}

/// Why something on a disk was not done.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The system refused.
    #[error("cannot {action} {}", shown(path))]
    Io {
        /// What was tried.
        action: Action,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A link, folder, pipe or device where a regular file belongs, or anything else where a folder belongs.
    #[error("{} is {what}", shown(path))]
    NotRegular {
        /// Where.
        path: PathBuf,
        /// What lies there, in words.
        what: &'static str,
    },
    /// More bytes than may be read.
    #[error("{} has {size} bytes; at most {largest} are read", shown(path))]
    TooLarge {
        /// Where.
        path: PathBuf,
        /// Its size.
        size: u64,
        /// The largest that is read.
        largest: u64,
    },
    /// It grew, shrank or went away while it was read: what was read is nobody's version of it.
    #[error("{} changed while it was read", shown(path))]
    Changed {
        /// Where.
        path: PathBuf,
    },
    /// A path that leaves its folder, or names a file of git.
    #[error("{path:?} is no path for a file here")]
    BadPath {
        /// The refused path.
        path: String,
    },
    /// Plaintext would land in a git work tree or git folder.
    #[error("{} is inside the git repository {}", shown(path), shown(git))]
    InsideGit {
        /// Where it should have gone.
        path: PathBuf,
        /// The git work tree or git folder around it.
        git: PathBuf,
    },
    /// The folder of an export holds a file that no export of these files left there.
    #[error("{} is not a file of this export", shown(path))]
    ForeignFile {
        /// The file that is in the way.
        path: PathBuf,
    },
    /// The folder belongs to somebody else, who could read or replace what is put there.
    #[error("{} belongs to another user", shown(path))]
    ForeignOwner {
        /// Where.
        path: PathBuf,
    },
}

impl DiskError {
    pub(super) fn io(action: Action, path: impl Into<PathBuf>) -> impl FnOnce(rustix::io::Errno) -> Self {
        let path = path.into();
        move |errno| Self::Io { action, path, source: errno.into() }
    }

    /// The path that it is about.
    pub fn path(&self) -> PathBuf {
        match self {
            Self::Io { path, .. }
            | Self::NotRegular { path, .. }
            | Self::TooLarge { path, .. }
            | Self::Changed { path }
            | Self::InsideGit { path, .. }
            | Self::ForeignFile { path }
            | Self::ForeignOwner { path } => path.clone(),
            Self::BadPath { path } => path.into(),
        }
    }

    fn errno(&self) -> Option<rustix::io::Errno> {
        match self {
            Self::Io { source, .. } => rustix::io::Errno::from_io_error(source),
            _ => None,
        }
    }

    /// Whether nothing lies at the path.
    pub fn is_absent(&self) -> bool {
        self.errno() == Some(rustix::io::Errno::NOENT)
    }

    /// Whether the system refuses to open it to this user.
    pub fn is_denied(&self) -> bool {
        use rustix::io::Errno;
        matches!(self.errno(), Some(Errno::ACCESS | Errno::PERM))
    }

    /// Whether the disk, a quota or a limit on file sizes was full.
    pub fn is_full(&self) -> bool {
        use rustix::io::Errno;
        matches!(self.errno(), Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG))
    }

    /// Whether the system forbids writing there.
    pub fn is_forbidden(&self) -> bool {
        use rustix::io::Errno;
        matches!(self.errno(), Some(Errno::ROFS | Errno::ACCESS | Errno::PERM))
    }

    /// Whether the two places of a move are on two file systems.
    pub fn is_other_file_system(&self) -> bool {
        self.errno() == Some(rustix::io::Errno::XDEV)
    }
}

impl From<DiskError> for io::Error {
    fn from(error: DiskError) -> Self {
        let kind = match &error {
            DiskError::Io { source, .. } => source.kind(),
            _ => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}

/// A path for a message: whatever its bytes, nothing in it can steer a terminal.
fn shown(path: &Path) -> String {
    displayed(&path.to_string_lossy())
}
