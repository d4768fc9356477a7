//! A folder that was opened once, and what is done in it by name. Every name is one component and no link is
//! ever followed below the folder that the caller opened by path, so that a link planted between two steps
//! (T67, T80) leads nowhere.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{Action, DiskError};

/// What a directory entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// Anything else, in words: "a symbolic link".
    Other(&'static str),
}

impl Kind {
    fn of(kind: FileType) -> Self {
        match kind {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Folder,
            FileType::Symlink => Self::Other("a symbolic link"),
            FileType::Fifo => Self::Other("a named pipe"),
            FileType::Socket => Self::Other("a socket"),
            FileType::CharacterDevice | FileType::BlockDevice => Self::Other("a device"),
            _ => Self::Other("no regular file"),
        }
    }

    /// What it is, in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::File => "a file",
            Self::Folder => "a folder",
            Self::Other(what) => what,
        }
    }
}

/// What the system knows about a file, links not followed.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// What it is.
    pub kind: Kind,
    /// Bytes.
    pub size: u64,
    /// Whether its owner may execute it.
    pub executable: bool,
    /// Permission bits.
    pub mode: u32,
    /// Last change of the content: seconds and nanoseconds since 1970.
    pub modified: (i64, u32),
    /// Last change of the inode: seconds and nanoseconds since 1970.
    pub changed: (i64, u32),
    /// Device.
    pub device: u64,
    /// Inode.
    pub inode: u64,
    /// Owner.
    pub user: u32,
    /// Group.
    pub group: u32,
}

impl Facts {
    #[expect(clippy::unnecessary_cast, reason = "the widths of stat's fields differ between systems")]
    pub(super) fn of(stat: &rustix::fs::Stat) -> Self {
        Self {
            kind: Kind::of(FileType::from_raw_mode(stat.st_mode)),
            size: u64::try_from(stat.st_size).unwrap_or(0),
            executable: stat.st_mode & 0o100 != 0,
            mode: (stat.st_mode & 0o7777) as u32,
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as u32),
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as u32),
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            user: stat.st_uid,
            group: stat.st_gid,
        }
    }
}

/// What reading a file by name gave.
#[derive(Debug)]
pub enum Reading {
    /// All its bytes.
    File {
        /// The bytes.
        bytes: Vec<u8>,
        /// Whether its owner may execute it.
        executable: bool,
    },
    /// Larger than allowed; not read. The size in bytes.
    TooLarge(u64),
    /// No regular file, in words.
    NotRegular(&'static str),
}

/// An opened folder.
#[derive(Debug)]
pub struct Folder {
    fd: OwnedFd,
    path: PathBuf,
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Folder {
    /// Opens the folder at `path`, following links on the way: `path` is the caller's own word.
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        let fd = rustix::fs::open(path, FOLDER, Mode::empty()).map_err(DiskError::io(Action::Open, path))?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// Where it is, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of `name` in it, for messages.
    pub fn at(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.path.join(name.as_ref())
    }

    /// The same folder once more.
    pub fn again(&self) -> Result<Self, DiskError> {
        let fd = self.fd.try_clone().map_err(|source| DiskError::Io {
            action: Action::Open,
            path: self.path.clone(),
            source,
        })?;
        Ok(Self { fd, path: self.path.clone() })
    }

    /// Opens a folder in it; `NotRegular` if `name` is a link or anything else.
    pub fn sub(&self, name: impl AsRef<OsStr>) -> Result<Self, DiskError> {
        let name = name.as_ref();
        let opened = rustix::fs::openat(&self.fd, name, FOLDER | OFlags::NOFOLLOW, Mode::empty());
        match opened {
            Ok(fd) => Ok(Self { fd, path: self.at(name) }),
            // Systems differ in what O_DIRECTORY with O_NOFOLLOW says about a link, so the entry is asked.
            Err(errno @ (Errno::LOOP | Errno::NOTDIR | Errno::MLINK)) => {
                let what = self.facts(name)?.map_or("gone", |facts| facts.kind.words());
                match what {
                    "a folder" | "gone" => Err(DiskError::io(Action::Open, self.at(name))(errno)),
                    what => Err(DiskError::NotRegular { path: self.at(name), what }),
                }
            }
            Err(errno) => Err(DiskError::io(Action::Open, self.at(name))(errno)),
        }
    }

    /// Opens a folder in it, which is made with `mode` (less the umask) if there is none.
    pub fn make_sub(&self, name: impl AsRef<OsStr>, mode: u32) -> Result<Self, DiskError> {
        let name = name.as_ref();
        match rustix::fs::mkdirat(&self.fd, name, raw_mode(mode)) {
            Ok(()) | Err(Errno::EXIST) => self.sub(name),
            Err(errno) => Err(DiskError::io(Action::MakeFolder, self.at(name))(errno)),
        }
    }

    /// Makes a folder in it; an error if anything has that name.
    pub fn new_sub(&self, name: impl AsRef<OsStr>, mode: u32) -> Result<Self, DiskError> {
        let name = name.as_ref();
        rustix::fs::mkdirat(&self.fd, name, raw_mode(mode))
            .map_err(DiskError::io(Action::MakeFolder, self.at(name)))?;
        self.sub(name)
    }

    /// Everything in it with its kind, in byte order of the names.
    pub fn names(&self) -> Result<Vec<(OsString, Kind)>, DiskError> {
        let mut names = self.names_up_to(usize::MAX)?;
        names.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(names)
    }

    /// As `names`, unsorted, and stops after `most` entries.
    pub(crate) fn names_up_to(&self, most: usize) -> Result<Vec<(OsString, Kind)>, DiskError> {
        let failed = |errno| DiskError::io(Action::List, self.path.clone())(errno);
        let mut found = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let name = OsString::from_vec(name.to_vec());
            let kind = match entry.file_type() {
                FileType::Unknown => match self.facts(&name)? {
                    Some(facts) => facts.kind,
                    None => return Err(DiskError::Changed { path: self.at(&name) }),
                },
                kind => Kind::of(kind),
            };
            found.push((name, kind));
            if found.len() >= most {
                break;
            }
        }
        Ok(found)
    }

    /// What the system knows about `name`; `None` if nothing has that name.
    pub fn facts(&self, name: impl AsRef<OsStr>) -> Result<Option<Facts>, DiskError> {
        let name = name.as_ref();
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Facts::of(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(DiskError::io(Action::Open, self.at(name))(errno)),
        }
    }

    /// What the system knows about the folder itself.
    pub fn own_facts(&self) -> Result<Facts, DiskError> {
        let stat = rustix::fs::fstat(&self.fd).map_err(DiskError::io(Action::Open, self.path.clone()))?;
        Ok(Facts::of(&stat))
    }

    /// Reads a file of at most `largest` bytes. The size is asked of the opened file and exactly that much is
    /// read, so that nobody can make it grow under the reader (T71, T80): then it is `Changed`.
    pub fn read(&self, name: impl AsRef<OsStr>, largest: u64) -> Result<Reading, DiskError> {
        let name = name.as_ref();
        // NONBLOCK: a named pipe would wait for a writer for ever.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::LOOP | Errno::MLINK) => return Ok(Reading::NotRegular("a symbolic link")),
            Err(Errno::NXIO) => return Ok(Reading::NotRegular("a socket")),
            Err(errno) => return Err(DiskError::io(Action::Open, self.at(name))(errno)),
        };
        let failed = |errno| DiskError::io(Action::Read, self.at(name))(errno);
        let facts = Facts::of(&rustix::fs::fstat(&fd).map_err(failed)?);
        if facts.kind != Kind::File {
            return Ok(Reading::NotRegular(facts.kind.words()));
        }
        let Some(size) = usize::try_from(facts.size).ok().filter(|_| facts.size <= largest) else {
            return Ok(Reading::TooLarge(facts.size));
        };
        // One octet of room more than the file has: a read that fills it all proves that the file grew, and
        // one that does not has met its end.
        let mut bytes = Vec::with_capacity(size + 1);
        while bytes.len() <= size {
            let room = size + 1 - bytes.len();
            let read = rustix::io::retry_on_intr(|| rustix::io::read(&fd, rustix::buffer::spare_capacity(&mut bytes)))
                .map_err(failed)?;
            if read == 0 || (read < room && bytes.len() == size) {
                break;
            }
        }
        if bytes.len() != size {
            return Err(DiskError::Changed { path: self.at(name) });
        }
        Ok(Reading::File { bytes, executable: facts.executable })
    }

    /// As `read`, where only a file will do: `None` if nothing has that name, else an error.
    pub fn read_file(&self, name: impl AsRef<OsStr>, largest: u64) -> Result<Option<Vec<u8>>, DiskError> {
        let name = name.as_ref();
        match self.read(name, largest) {
            Ok(Reading::File { bytes, .. }) => Ok(Some(bytes)),
            Ok(Reading::TooLarge(size)) => Err(DiskError::TooLarge { path: self.at(name), size, largest }),
            Ok(Reading::NotRegular(what)) => Err(DiskError::NotRegular { path: self.at(name), what }),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates a file with `mode` (less the umask) and writes it; an error if anything has that name. What was
    /// begun is removed when writing fails. Not flushed: see `sync_file`.
    pub fn create(&self, name: impl AsRef<OsStr>, bytes: &[u8], mode: u32) -> Result<(), DiskError> {
        let name = name.as_ref();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, name, flags, raw_mode(mode))
            .map_err(DiskError::io(Action::Write, self.at(name)))?;
        File::from(fd).write_all(bytes).map_err(|source| {
            let _ = rustix::fs::unlinkat(&self.fd, name, AtFlags::empty());
            DiskError::Io { action: Action::Write, path: self.at(name), source }
        })
    }

    /// Sets the permission bits of a file in it to exactly `mode`. The file must be one that the caller made.
    pub fn set_mode(&self, name: impl AsRef<OsStr>, mode: u32) -> Result<(), DiskError> {
        let name = name.as_ref();
        let file = self.opened(name, Action::Write)?;
        rustix::fs::fchmod(&file, raw_mode(mode)).map_err(DiskError::io(Action::Write, self.at(name)))
    }

    /// Sets the permission bits of the folder itself.
    pub fn set_own_mode(&self, mode: u32) -> Result<(), DiskError> {
        rustix::fs::fchmod(&self.fd, raw_mode(mode)).map_err(DiskError::io(Action::Write, self.path.clone()))
    }

    fn opened(&self, name: &OsStr, action: Action) -> Result<File, DiskError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, name, flags, Mode::empty())
            .map(File::from)
            .map_err(DiskError::io(action, self.at(name)))
    }

    pub(super) fn open_lock(&self, name: &OsStr) -> Result<File, DiskError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, name, flags, raw_mode(0o600))
            .map(File::from)
            .map_err(DiskError::io(Action::Lock, self.at(name)))
    }

    /// Moves `name` to `to_name` in `to`, replacing a file there.
    pub fn rename(&self, name: impl AsRef<OsStr>, to: &Folder, to_name: impl AsRef<OsStr>) -> Result<(), DiskError> {
        rustix::fs::renameat(&self.fd, name.as_ref(), &to.fd, to_name.as_ref())
            .map_err(DiskError::io(Action::Rename, to.at(to_name)))
    }

    /// Removes a file or link; nothing happens if nothing has that name.
    pub fn remove(&self, name: impl AsRef<OsStr>) -> Result<(), DiskError> {
        let name = name.as_ref();
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            // Said before the name is looked for.
            Err(Errno::ROFS) if self.facts(name)?.is_none() => Ok(()),
            Err(errno) => Err(DiskError::io(Action::Remove, self.at(name))(errno)),
        }
    }

    /// Removes a folder if it is empty; says whether it is gone.
    pub fn remove_empty(&self, name: impl AsRef<OsStr>) -> Result<bool, DiskError> {
        let name = name.as_ref();
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(true),
            // Busy: something is mounted there.
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::BUSY) => Ok(false),
            // Said before the folder is looked into.
            Err(Errno::ROFS) if self.facts(name)?.is_none() => Ok(true),
            Err(Errno::ROFS) if !self.sub(name)?.names()?.is_empty() => Ok(false),
            Err(errno) => Err(DiskError::io(Action::Remove, self.at(name))(errno)),
        }
    }

    /// Removes a folder and all in it, never following a link; nothing happens if nothing has that name.
    pub fn remove_all(&self, name: impl AsRef<OsStr>) -> Result<(), DiskError> {
        let name = name.as_ref();
        match self.facts(name)? {
            None => return Ok(()),
            Some(facts) if facts.kind != Kind::Folder => return self.remove(name),
            Some(_) => {}
        }
        let folder = self.sub(name)?;
        for (inner, kind) in folder.names()? {
            match kind {
                Kind::Folder => folder.remove_all(&inner)?,
                _ => folder.remove(&inner)?,
            }
        }
        self.remove_empty(name).map(drop)
    }

    /// Makes sure that the content of a file outlives a power cut.
    pub fn sync_file(&self, name: impl AsRef<OsStr>) -> Result<(), DiskError> {
        let name = name.as_ref();
        let file = self.opened(name, Action::Sync)?;
        file.sync_all().map_err(|source| DiskError::Io { action: Action::Sync, path: self.at(name), source })
    }

    /// Makes sure that the names in the folder outlive a power cut.
    pub fn sync(&self) -> Result<(), DiskError> {
        match rustix::fs::fsync(&self.fd) {
            // Some network file systems can't flush a folder: no reason to refuse.
            Ok(()) | Err(Errno::INVAL | Errno::NOTSUP) => Ok(()),
            Err(errno) => Err(DiskError::io(Action::Sync, self.path.clone())(errno)),
        }
    }

    /// Flushes the whole file system that the folder is on, where the system has such a call; says whether.
    pub fn sync_file_system(&self) -> Result<bool, DiskError> {
        #[cfg(target_os = "linux")]
        return rustix::fs::syncfs(&self.fd).map(|()| true).map_err(DiskError::io(Action::Sync, self.path.clone()));
        #[cfg(not(target_os = "linux"))]
        Ok(false)
    }
}

#[expect(clippy::useless_conversion, reason = "the width of mode_t differs between systems")]
fn raw_mode(mode: u32) -> Mode {
    Mode::from_raw_mode((mode & 0o7777).try_into().unwrap_or(0o600))
}

/// The names on the way to `path`, and the last one; an error unless it is relative, of plain components, and
/// names nothing of git's (T68). `.git` is refused in every case and place, as git itself does, because the
/// file systems of others fold case.
pub(crate) fn split(path: &str) -> Result<(Vec<&str>, &str), DiskError> {
    let bad = || DiskError::BadPath { path: path.to_owned() };
    let mut parts: Vec<&str> = path.split('/').collect();
    let plain = |part: &&str| {
        !part.is_empty()
            && !matches!(*part, "." | "..")
            && !part.contains(['\\', '\0', ':'])
            && !part.trim_end_matches(['.', ' ']).eq_ignore_ascii_case(".git")
    };
    if !parts.iter().all(plain) {
        return Err(bad());
    }
    let last = parts.pop().ok_or_else(bad)?;
    Ok((parts, last))
}

/// Bytes of a name as text; what is not UTF-8 as `\xNN`, so that it can't be mistaken for a good name.
pub(crate) fn name_text(name: &OsStr) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.as_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_never_followed() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::write(scratch.path().join("real"), b"x").unwrap();
        std::fs::create_dir(scratch.path().join("sub")).unwrap();
        std::os::unix::fs::symlink("real", scratch.path().join("link")).unwrap();
        std::os::unix::fs::symlink("sub", scratch.path().join("sublink")).unwrap();
        let folder = Folder::open(scratch.path()).unwrap();
        assert!(matches!(folder.read("link", 9).unwrap(), Reading::NotRegular("a symbolic link")));
        assert!(matches!(folder.sub("sublink"), Err(DiskError::NotRegular { what: "a symbolic link", .. })));
        assert!(matches!(folder.sub("real"), Err(DiskError::NotRegular { what: "a file", .. })));
        assert!(folder.create("link", b"y", 0o600).is_err());
        assert_eq!(std::fs::read(scratch.path().join("real")).unwrap(), b"x");
    }

    #[test]
    fn a_file_is_read_to_its_size_and_no_further_than_allowed() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = Folder::open(scratch.path()).unwrap();
        for size in [0_usize, 1, 4095, 4096, 100_000] {
            folder.remove("f").unwrap();
            folder.create("f", &vec![7; size], 0o644).unwrap();
            assert_eq!(folder.read_file("f", 100_000).unwrap().unwrap().len(), size);
        }
        assert!(matches!(folder.read("f", 99_999).unwrap(), Reading::TooLarge(100_000)));
        assert!(folder.read_file("absent", 1).unwrap().is_none());
    }

    #[test]
    fn a_named_pipe_is_refused_without_waiting() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = Folder::open(scratch.path()).unwrap();
        rustix::fs::mknodat(&folder.fd, "pipe", FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        assert!(matches!(folder.read("pipe", 9).unwrap(), Reading::NotRegular("a named pipe")));
    }

    #[test]
    fn paths_that_leave_the_folder_or_touch_git_are_refused() {
        for path in
            ["", "/a", "a//b", "../a", "a/..", "./a", "a\\b", "a\0", ".git/config", "x/.GIT/y", ".git./x", "c:a"]
        {
            assert!(split(path).is_err(), "{path}");
        }
        assert_eq!(split("a/b/c").unwrap(), (vec!["a", "b"], "c"));
        assert!(split(".gitattributes").is_ok());
    }

    #[test]
    fn removing_a_folder_leaves_what_its_links_point_to() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(scratch.path().join("a/b")).unwrap();
        std::fs::create_dir(scratch.path().join("keep")).unwrap();
        std::fs::write(scratch.path().join("keep/x"), b"x").unwrap();
        std::os::unix::fs::symlink("../keep", scratch.path().join("a/link")).unwrap();
        Folder::open(scratch.path()).unwrap().remove_all("a").unwrap();
        assert!(!scratch.path().join("a").exists());
        assert!(scratch.path().join("keep/x").exists());
    }
}
