//! A file of the person's own that other programs write too, and that holds other secrets: a kubeconfig. Read, changed
//! and replaced as one, without ever being readable for anybody else, and without a copy of it anywhere.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::{Action, DiskError, Folder, Kind, Reading};
use crate::secret::Secret;

/// Where such a file is, found once.
pub struct OwnFile {
    path: PathBuf,
}

/// The lock of kubectl (client-go, `tools/clientcmd`): a file beside it that one program makes and takes away.
struct Lock<'a> {
    folder: &'a Folder,
    name: OsString,
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        // A leftover stops others with a message that names it; nothing better can be done here.
        let _ = self.folder.remove(&self.name);
    }
}

impl OwnFile {
    /// Finds the file at `path`, which may not exist yet.
    ///
    /// A link is followed, as kubectl does: people keep `~/.kube/config` among their dotfiles, and replacing the link
    /// would part the two. Attack: somebody else plants a link, so that keys are written where they can read them, or
    /// over a file that is not a kubeconfig. So the link and what it leads to must belong to this user, be a regular
    /// file, and be there; what is read and written then is the file behind it, with no further link followed.
    pub fn find(path: &Path) -> Result<Self, DiskError> {
        let failed = |source| DiskError::Io { action: Action::Open, path: path.to_owned(), source };
        let absolute = std::path::absolute(path).map_err(failed)?;
        let (parent, name) = parts(&absolute)?;
        let folder = match Folder::open(parent) {
            Err(error) if error.is_absent() => return Ok(Self { path: absolute }),
            opened => opened?,
        };
        let Some(facts) = folder.facts(name)? else { return Ok(Self { path: absolute }) };
        check_owner(&absolute, facts.user)?;
        match facts.kind {
            Kind::File => Ok(Self { path: absolute }),
            Kind::Other("a symbolic link") => {
                let target = absolute.canonicalize().map_err(failed)?;
                let (parent, name) = parts(&target)?;
                let facts = Folder::open(parent)?.facts(name)?;
                let facts = facts.ok_or_else(|| DiskError::Changed { path: target.clone() })?;
                check_owner(&target, facts.user)?;
                match facts.kind {
                    Kind::File => Ok(Self { path: target }),
                    other => Err(DiskError::NotRegular { path: target, what: other.words() }),
                }
            }
            other => Err(DiskError::NotRegular { path: absolute, what: other.words() }),
        }
    }

    /// Where it is, links followed.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is in it; `None` where there is none. Fails beyond `largest` bytes.
    pub fn read(&self, largest: u64) -> Result<Option<Secret>, DiskError> {
        let (parent, name) = parts(&self.path)?;
        match Folder::open(parent) {
            Err(error) if error.is_absent() => Ok(None),
            folder => read(&folder?, name, largest),
        }
    }

    /// Replaces it by what `change` makes of it, as one step and with mode 0600, or a stricter one that it has. Folders
    /// that lack are made with 0700. Nobody who takes kubectl's lock changes it in between. What fails changes nothing.
    pub fn change<T, E: From<DiskError>>(
        &self,
        largest: u64,
        change: impl FnOnce(Option<Secret>) -> Result<(Secret, T), E>,
    ) -> Result<T, E> {
        let (parent, name) = parts(&self.path)?;
        let folder = match Folder::open(parent) {
            Err(error) if error.is_absent() => super::private_folder(parent)?,
            opened => opened.map_err(E::from)?,
        };
        let _whole = crate::env::uninterrupted();
        let mut locked = name.to_owned();
        locked.push(".lock");
        folder.create(&locked, b"", 0o600).map_err(|error| match error {
            DiskError::Io { path, source, .. } => DiskError::Io { action: Action::Lock, path, source },
            other => other,
        })?;
        let _lock = Lock { folder: &folder, name: locked };
        let existing = read(&folder, name, largest)?;
        let mode = folder.facts(name)?.map_or(0o600, |facts| facts.mode & 0o600);
        let (bytes, answer) = change(existing)?;
        super::replace(&folder, name, bytes.expose(), mode)?;
        Ok(answer)
    }
}

fn read(folder: &Folder, name: &std::ffi::OsStr, largest: u64) -> Result<Option<Secret>, DiskError> {
    match folder.read(name, largest) {
        Ok(Reading::File { bytes, .. }) => Ok(Some(Secret::new(bytes))),
        Ok(Reading::TooLarge(size)) => Err(DiskError::TooLarge { path: folder.at(name), size, largest }),
        Ok(Reading::NotRegular(what)) => Err(DiskError::NotRegular { path: folder.at(name), what }),
        Err(error) if error.is_absent() => Ok(None),
        Err(error) => Err(error),
    }
}

fn parts(path: &Path) -> Result<(&Path, &std::ffi::OsStr), DiskError> {
    let bad = || DiskError::BadPath { path: path.to_string_lossy().into_owned() };
    Ok((path.parent().ok_or_else(bad)?, path.file_name().ok_or_else(bad)?))
}

fn check_owner(path: &Path, user: u32) -> Result<(), DiskError> {
    if user == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Err(DiskError::ForeignOwner { path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn write(path: &Path, text: &str) -> Result<(), DiskError> {
        OwnFile::find(path)?.change(1000, |_| Ok((Secret::new(text.as_bytes().to_vec()), ())))
    }

    #[test]
    fn it_is_private_and_stays_stricter() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("home/.kube/config");
        write(&path, "one").unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        for (before, after) in [(0o644, 0o600), (0o400, 0o400)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(before)).unwrap();
            write(&path, "two").unwrap();
            assert_eq!(mode(&path), after);
        }
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn an_own_link_is_followed_and_stays_a_link() {
        let scratch = tempfile::tempdir().unwrap();
        let (dotfile, link) = (scratch.path().join("dotfile"), scratch.path().join("config"));
        std::fs::write(&dotfile, "old").unwrap();
        symlink(&dotfile, &link).unwrap();
        write(&link, "new").unwrap();
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::read(&dotfile).unwrap(), b"new");
    }

    #[test]
    fn links_that_lead_nowhere_or_to_no_file_and_folders_are_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name);
        symlink(path("nothing"), path("dangling")).unwrap();
        symlink(path("loop"), path("loop")).unwrap();
        symlink("/dev/null", path("device")).unwrap();
        symlink(scratch.path(), path("folder")).unwrap();
        for name in ["dangling", "loop", "device", "folder", ""] {
            assert!(OwnFile::find(&path(name)).is_err(), "{name}");
        }
        assert!(!path("nothing").exists());
    }

    #[test]
    fn who_has_kubectls_lock_is_waited_for_by_nobody_and_nothing_is_left_behind() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("config");
        std::fs::write(scratch.path().join("config.lock"), "").unwrap();
        assert!(write(&path, "x").unwrap_err().to_string().contains("lock"));
        assert!(!path.exists() && scratch.path().join("config.lock").exists());
        std::fs::remove_file(scratch.path().join("config.lock")).unwrap();
        let failed = OwnFile::find(&path)
            .unwrap()
            .change(10, |_| Err::<(Secret, ()), _>(DiskError::BadPath { path: String::new() }));
        assert!(failed.is_err());
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
    }
}
