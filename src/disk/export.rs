//! Exports: plaintext files, private keys among them, into a folder that a person named.
//!
//! Owns where plaintext may go: never into a git repository, never among files of others, 0700 around it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{DiskError, Folder, Kind};
use crate::disk::folder::{name_text, split};
use crate::secret::Secret;

/// The git work tree or git folder that `path` is in, if any: the nearest ancestor (or `path` itself, links
/// resolved) that has a `.git`, or that looks like a bare repository.
///
/// A work tree that only `GIT_DIR` and `GIT_WORK_TREE` define can't be seen from the files, and is not.
pub fn surrounding_git(path: &Path) -> Result<Option<PathBuf>, DiskError> {
    let failed = |source| DiskError::Io { action: super::Action::Open, path: path.to_owned(), source };
    let mut existing = std::path::absolute(path).map_err(failed)?;
    while !existing.exists() {
        match existing.parent() {
            Some(parent) => existing = parent.to_owned(),
            None => return Ok(None),
        }
    }
    let real = existing.canonicalize().map_err(failed)?;
    let is_git = |folder: &&Path| {
        folder.join(".git").symlink_metadata().is_ok()
            || (folder.join("HEAD").is_file() && folder.join("objects").is_dir() && folder.join("refs").is_dir())
    };
    Ok(real.ancestors().find(is_git).map(Path::to_owned))
}

/// Writes `files` (path below `dir`, mode, content) as the whole content of `dir`.
///
/// Where `dir` is new or empty, all appear at once: they are written to a folder beside it, which is then
/// renamed. Where an earlier export of the same files is, each is replaced as one; all are written before the first is.
/// Folders are 0700. Fails, changing nothing, if `dir` is inside a git repository, belongs to another user,
/// has a file that is not one of `files`, or a path leaves `dir`.
pub fn export(dir: &Path, files: &[(String, u32, Secret)]) -> Result<(), DiskError> {
    // An exported key that is committed is a leaked key, and `git add .` is typed without thought: so no git
    // repository at all, not only the one at hand.
    if let Some(git) = surrounding_git(dir)? {
        return Err(DiskError::InsideGit { path: dir.to_owned(), git });
    }
    let mut paths = BTreeSet::new();
    for (path, ..) in files {
        split(path)?;
        if !paths.insert(path.as_str()) {
            return Err(DiskError::BadPath { path: path.clone() });
        }
    }
    let absolute = std::path::absolute(dir).map_err(|source| DiskError::Io {
        action: super::Action::Open,
        path: dir.to_owned(),
        source,
    })?;
    let bad = || DiskError::BadPath { path: dir.to_string_lossy().into_owned() };
    let (parent, name) = (absolute.parent().ok_or_else(bad)?, absolute.file_name().ok_or_else(bad)?);
    let parent = match Folder::open(parent) {
        Err(error) if error.is_absent() => super::private_folder(parent)?,
        opened => opened?,
    };
    let existing = match parent.facts(name)? {
        None => None,
        // The folder that the person named may be a link of their own; links below it are refused.
        Some(_) => Some(Folder::open(&absolute)?),
    };
    let _whole = crate::env::uninterrupted();
    match existing {
        None => fresh(&parent, name, files),
        Some(folder) => {
            check_owner(&folder)?;
            check_foreign(&folder, "", &paths)?;
            renew(&folder, files)
        }
    }
}

/// Whoever owns the folder can swap what is in it.
fn check_owner(folder: &Folder) -> Result<(), DiskError> {
    if folder.own_facts()?.user == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Err(DiskError::ForeignOwner { path: folder.path().to_owned() })
}

const STAGED: &str = ".kluis-staged.";

fn check_foreign(folder: &Folder, prefix: &str, ours: &BTreeSet<&str>) -> Result<(), DiskError> {
    for (name, kind) in folder.names()? {
        let text = name_text(&name);
        let path = format!("{prefix}{text}");
        match kind {
            Kind::Folder => check_foreign(&folder.sub(&name)?, &format!("{path}/"), ours)?,
            // Left by an export that was killed; swept below.
            Kind::File if text.starts_with(STAGED) || ours.contains(path.as_str()) => {}
            _ => return Err(DiskError::ForeignFile { path: folder.at(&name) }),
        }
    }
    Ok(())
}

fn fresh(parent: &Folder, name: &std::ffi::OsStr, files: &[(String, u32, Secret)]) -> Result<(), DiskError> {
    let mut staged = std::ffi::OsString::from(STAGED);
    staged.push(name);
    if let Some(facts) = parent.facts(&staged)? {
        // Left by an export that was killed, or planted in a shared folder to have keys written into it.
        if facts.kind != Kind::Folder || facts.user != rustix::process::geteuid().as_raw() {
            return Err(DiskError::ForeignOwner { path: parent.at(&staged) });
        }
        parent.remove_all(&staged)?;
    }
    let folder = parent.new_sub(&staged, 0o700)?;
    let written = (|| {
        for (path, mode, content) in files {
            let (below, last) = split(path)?;
            let target = descend(&folder, &below)?;
            target.create(last, content.expose(), 0o600)?;
            target.set_mode(last, *mode)?;
            target.sync_file(last)?;
            target.sync()?;
        }
        folder.sync()?;
        parent.rename(&staged, parent, name)
    })();
    if let Err(error) = written {
        let _ = parent.remove_all(&staged);
        return Err(error);
    }
    parent.sync()
}

fn descend(folder: &Folder, below: &[&str]) -> Result<Folder, DiskError> {
    below.iter().try_fold(folder.again()?, |folder, name| folder.make_sub(name, 0o700))
}

fn renew(folder: &Folder, files: &[(String, u32, Secret)]) -> Result<(), DiskError> {
    sweep(folder)?;
    let mut folders: BTreeMap<Vec<&str>, Folder> = BTreeMap::new();
    let staged = |index: usize| format!("{STAGED}{index}");
    let prepared = (|| {
        for (index, (path, mode, content)) in files.iter().enumerate() {
            let (below, last) = split(path)?;
            let target = descend(folder, &below)?;
            if target.facts(last)?.is_some_and(|facts| facts.kind == Kind::Folder) {
                return Err(DiskError::ForeignFile { path: target.at(last) });
            }
            target.set_own_mode(0o700)?;
            target.create(staged(index), content.expose(), 0o600)?;
            target.set_mode(staged(index), *mode)?;
            target.sync_file(staged(index))?;
            folders.insert(below, target);
        }
        folder.set_own_mode(0o700)
    })();
    if let Err(error) = prepared {
        let _ = sweep(folder);
        return Err(error);
    }
    for (index, (path, ..)) in files.iter().enumerate() {
        let (below, last) = split(path)?;
        if let Some(target) = folders.get(&below) {
            target.rename(staged(index), target, last)?;
        }
    }
    folders.values().try_for_each(Folder::sync)
}

/// Removes what a killed export staged.
fn sweep(folder: &Folder) -> Result<(), DiskError> {
    for (name, kind) in folder.names()? {
        match kind {
            Kind::Folder => sweep(&folder.sub(&name)?)?,
            Kind::File if name_text(&name).starts_with(STAGED) => folder.remove(&name)?,
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn files(content: &[u8]) -> Vec<(String, u32, Secret)> {
        [("admin.conf", 0o600), ("pki/ca.crt", 0o644), ("pki/etcd/server.key", 0o600)]
            .map(|(path, mode)| (path.to_owned(), mode, Secret::new(content.to_vec())))
            .into()
    }

    fn mode(path: &Path) -> u32 {
        std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_new_folder_appears_whole_and_private() {
        let scratch = tempfile::tempdir().unwrap();
        let out = scratch.path().join("deep/out");
        export(&out, &files(b"one")).unwrap();
        assert_eq!(std::fs::read(out.join("pki/etcd/server.key")).unwrap(), b"one");
        for folder in ["", "pki", "pki/etcd"] {
            assert_eq!(mode(&out.join(folder)), 0o700);
        }
        assert_eq!(mode(&out.join("pki/ca.crt")), 0o644);
        assert_eq!(mode(&out.join("admin.conf")), 0o600);
        assert_eq!(std::fs::read_dir(scratch.path().join("deep")).unwrap().count(), 1);
    }

    #[test]
    fn an_earlier_export_is_replaced_and_an_empty_folder_filled() {
        let scratch = tempfile::tempdir().unwrap();
        let out = scratch.path().join("out");
        std::fs::create_dir(&out).unwrap();
        export(&out, &files(b"one")).unwrap();
        std::fs::write(out.join(".kluis-staged.7"), b"left by a killed export").unwrap();
        export(&out, &files(b"two")).unwrap();
        assert_eq!(std::fs::read(out.join("admin.conf")).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(&out).unwrap().count(), 2);
        assert_eq!(mode(&out), 0o700);
    }

    #[test]
    fn a_folder_with_files_of_others_is_refused_untouched() {
        let scratch = tempfile::tempdir().unwrap();
        let out = scratch.path().join("out");
        export(&out, &files(b"one")).unwrap();
        std::fs::write(out.join("pki/mine"), b"mine").unwrap();
        assert!(matches!(export(&out, &files(b"two")), Err(DiskError::ForeignFile { .. })));
        assert_eq!(std::fs::read(out.join("admin.conf")).unwrap(), b"one");
    }

    #[test]
    fn a_link_in_the_folder_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let (out, elsewhere) = (scratch.path().join("out"), scratch.path().join("elsewhere"));
        std::fs::create_dir(&out).unwrap();
        std::fs::create_dir(&elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, out.join("pki")).unwrap();
        assert!(matches!(export(&out, &files(b"x")), Err(DiskError::ForeignFile { .. })));
        assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0);
    }

    #[test]
    fn nothing_is_exported_into_a_git_repository() {
        let scratch = tempfile::tempdir().unwrap();
        let (work, bare) = (scratch.path().join("work"), scratch.path().join("bare"));
        git2::Repository::init(&work).unwrap();
        git2::Repository::init_bare(&bare).unwrap();
        let link = scratch.path().join("link");
        std::os::unix::fs::symlink(&work, &link).unwrap();
        for out in [work.join("out"), work.join("a/b"), work.join(".git/out"), bare.join("out"), link.join("out")] {
            assert!(matches!(export(&out, &files(b"x")), Err(DiskError::InsideGit { .. })), "{out:?}");
            assert!(!out.exists());
        }
    }

    #[test]
    fn paths_that_leave_the_folder_are_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let out = scratch.path().join("out");
        let escape = vec![("../escape".to_owned(), 0o600, Secret::new(b"x".to_vec()))];
        assert!(matches!(export(&out, &escape), Err(DiskError::BadPath { .. })));
        assert!(!out.exists());
    }
}
