//! Files replaced as one, files read whole, and locks between processes.

use std::fs::{File, TryLockError};
use std::path::Path;

use super::{Action, DiskError, Folder, Kind, Reading};

/// Opens the folder at `path`, made with all its parents and mode 0700 where there is none.
///
/// An existing one must belong to this user, who else could be shown or made to use somebody else's state.
pub fn private_folder(path: &Path) -> Result<Folder, DiskError> {
    let folder = match Folder::open(path) {
        Ok(folder) => folder,
        Err(error) if error.is_absent() => {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(error) };
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            private_folder_above(parent)?.make_sub(name, 0o700)?
        }
        Err(error) => return Err(error),
    };
    if folder.own_facts()?.user != rustix::process::geteuid().as_raw() {
        return Err(DiskError::ForeignOwner { path: path.to_owned() });
    }
    Ok(folder)
}

/// A parent of a private folder: made 0700 too, but may be anybody's (`/home`) if it is there.
fn private_folder_above(path: &Path) -> Result<Folder, DiskError> {
    match Folder::open(path) {
        Err(error) if error.is_absent() => {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(error) };
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            private_folder_above(parent)?.make_sub(name, 0o700)
        }
        opened => opened,
    }
}

fn split(path: &Path) -> Result<(&Path, &std::ffi::OsStr), DiskError> {
    let name = path.file_name().ok_or_else(|| DiskError::BadPath { path: path.to_string_lossy().into_owned() })?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((parent, name))
}

/// Replaces the file at `path` by `bytes` with exactly `mode`, as one step: a reader sees the old or the new
/// file, also after a power cut. The folder must exist. A link at `path` is replaced, not followed.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<(), DiskError> {
    let (parent, name) = split(path)?;
    replace(&Folder::open(parent)?, name, bytes, mode)
}

/// As `write_atomic` with mode 0600; the folder is made with 0700 where there is none.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let (parent, name) = split(path)?;
    replace(&private_folder(parent)?, name, bytes, 0o600)
}

pub(crate) fn replace(folder: &Folder, name: &std::ffi::OsStr, bytes: &[u8], mode: u32) -> Result<(), DiskError> {
    if let Some(facts) = folder.facts(name)?
        && facts.kind == Kind::Folder
    {
        return Err(DiskError::NotRegular { path: folder.at(name), what: facts.kind.words() });
    }
    // One name per process: two of them at once never share a temporary file.
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}.tmp", std::process::id()));
    folder.remove(&temporary)?;
    folder.create(&temporary, bytes, 0o600)?;
    let written = (|| {
        if mode != 0o600 {
            folder.set_mode(&temporary, mode)?;
        }
        folder.sync_file(&temporary)?;
        folder.rename(&temporary, folder, name)
    })();
    if let Err(error) = written {
        // The first error is the one to tell; the temporary file holds nothing that the caller did not give.
        let _ = folder.remove(&temporary);
        return Err(error);
    }
    folder.sync()
}

/// Reads the file at `path`, at most `largest` bytes; `None` if there is none. A link as the last component is
/// refused.
pub fn read_capped(path: &Path, largest: u64) -> Result<Option<Vec<u8>>, DiskError> {
    let (parent, name) = split(path)?;
    let folder = match Folder::open(parent) {
        Err(error) if error.is_absent() => return Ok(None),
        opened => opened?,
    };
    match folder.read(name, largest) {
        Ok(Reading::File { bytes, .. }) => Ok(Some(bytes)),
        Ok(Reading::TooLarge(size)) => Err(DiskError::TooLarge { path: path.to_owned(), size, largest }),
        Ok(Reading::NotRegular(what)) => Err(DiskError::NotRegular { path: path.to_owned(), what }),
        Err(error) if error.is_absent() => Ok(None),
        Err(error) => Err(error),
    }
}

/// A lock between processes; given back when dropped, or when the process dies.
#[derive(Debug)]
pub struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing would do, were it not for a child that is between fork and exec and still shares the file.
        let _ = self.0.unlock();
    }
}

/// What to do when somebody else has the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Wait for them.
    Yes,
    /// Give up: `Ok(None)`.
    No,
}

/// Takes the lock named `name` in `folder`. The file stays behind; what counts is the lock on it.
pub fn lock(folder: &Folder, name: &str, wait: Wait) -> Result<Option<Lock>, DiskError> {
    let file = folder.open_lock(name.as_ref())?;
    let failed = |source| DiskError::Io { action: Action::Lock, path: folder.at(name), source };
    match wait {
        Wait::Yes => file.lock().map_err(failed)?,
        Wait::No => match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        },
    }
    Ok(Some(Lock(file)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn private_files_are_0600_in_0700() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("state/kluis/pins.toml");
        write_private(&path, b"one").unwrap();
        write_private(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_is_replaced_and_not_written_through() {
        let scratch = tempfile::tempdir().unwrap();
        let (target, link) = (scratch.path().join("target"), scratch.path().join("link"));
        std::fs::write(&target, b"kept").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        write_atomic(&link, b"new", 0o644).unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"kept");
        assert!(std::fs::symlink_metadata(&link).unwrap().is_file());
        assert_eq!(mode(&link), 0o644);
    }

    #[test]
    fn a_folder_in_the_way_is_refused_and_stays() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("x");
        std::fs::create_dir(&path).unwrap();
        assert!(matches!(write_atomic(&path, b"y", 0o600), Err(DiskError::NotRegular { .. })));
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 1);
    }

    #[test]
    fn reading_refuses_links_and_large_files() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("f");
        std::fs::write(&path, b"12345").unwrap();
        assert_eq!(read_capped(&path, 5).unwrap().unwrap(), b"12345");
        assert!(matches!(read_capped(&path, 4), Err(DiskError::TooLarge { size: 5, largest: 4, .. })));
        let link = scratch.path().join("l");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(read_capped(&link, 5), Err(DiskError::NotRegular { .. })));
        assert!(read_capped(&scratch.path().join("no/where"), 5).unwrap().is_none());
    }

    #[test]
    fn a_lock_is_held_by_one() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = Folder::open(scratch.path()).unwrap();
        let first = lock(&folder, "lock", Wait::No).unwrap();
        assert!(first.is_some());
        assert!(lock(&folder, "lock", Wait::No).unwrap().is_none());
        drop(first);
        assert!(lock(&folder, "lock", Wait::No).unwrap().is_some());
    }
}
