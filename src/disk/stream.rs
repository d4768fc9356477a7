//! Reading what is too large to be held: a file, or a pipe, in pieces.

use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};

use super::fault::{Action, DiskError};
use super::folder::{Facts, Kind};

/// Something that is read from its beginning to its end.
pub struct Stream {
    fd: rustix::fd::OwnedFd,
    path: PathBuf,
    size: Option<u64>,
    mode: u32,
}

/// Opens what a person named on the command line, outside the repository. Unlike everything else here it follows links and
/// takes pipes: logs are rotated behind links, and shells pass `<(zcat …)` as one.
pub fn stream(path: &Path) -> Result<Stream, DiskError> {
    let open = || rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty());
    let fd = rustix::io::retry_on_intr(open).map_err(DiskError::io(Action::Open, path))?;
    let facts = Facts::of(&rustix::fs::fstat(&fd).map_err(DiskError::io(Action::Read, path))?);
    if facts.kind == Kind::Folder {
        return Err(DiskError::NotRegular { path: path.to_owned(), what: facts.kind.words() });
    }
    Ok(Stream { fd, path: path.to_owned(), size: (facts.kind == Kind::File).then_some(facts.size), mode: facts.mode })
}

impl Stream {
    /// How many bytes the file has; none where it is a pipe.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// The permission bits of the file; none where it is a pipe.
    pub fn mode(&self) -> Option<u32> {
        self.size.map(|_| self.mode)
    }

    /// Fills the beginning of `buffer` with what comes next; 0 at the end.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, DiskError> {
        let read = rustix::io::retry_on_intr(|| rustix::io::read(&self.fd, &mut *buffer));
        read.map_err(DiskError::io(Action::Read, self.path.clone()))
    }
}
