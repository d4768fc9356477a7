//! What differs from the last commit in the managed trees: byte for byte, without git's filters, and whatever flags
//! the index has. A shortcut trusts the index's stat data as git does; it decides comfort, not trust, which
//! `verify` decides on the bytes alone.

use std::collections::{BTreeMap, BTreeSet};

use git2::{IndexEntry, ObjectType, Oid};

use super::walk::{MOST_FILES, is_managed, walk};
use super::{RepoError, WorkTree};
use crate::disk::folder::name_text;
use crate::disk::{DiskError, Facts, Folder, Kind, Reading};

/// The largest file that is hashed; a larger one in a managed tree differs from anything that belongs there.
const LARGEST: u64 = 64 << 20;

const EXECUTABLE: u32 = 0o100_755;

impl WorkTree {
    /// The managed paths that differ from HEAD in the work tree or the index, in byte order.
    pub fn dirty(&self) -> Result<Vec<String>, RepoError> {
        Ok(self.differences()?.into_keys().collect())
    }

    /// As `dirty`, and whether HEAD has the path.
    pub(super) fn differences(&self) -> Result<BTreeMap<String, bool>, RepoError> {
        let head = self.head_files()?;
        let (index, mut dirty) = self.index_differences(&head)?;
        let modified = Folder::open(self.repo.path())?.facts("index")?.map(|facts| facts.modified);
        let fresh = |entry: &IndexEntry| modified.is_some_and(|modified| time_of(entry) < modified);
        let modes = self.repo.config().and_then(|config| config.get_bool("core.filemode")).unwrap_or(true);
        let mut left: BTreeSet<&String> = head.keys().collect();
        let root = Folder::open(self.root())?;
        walk(&root, MOST_FILES, &mut |path, folder, name, kind| {
            left.remove(&path.to_owned());
            let same = match (head.get(path), kind) {
                (Some((id, mode)), Kind::File) => {
                    let facts = folder.facts(name)?.ok_or_else(|| DiskError::Changed { path: folder.at(name) })?;
                    let cached = index.get(path).filter(|entry| entry.id == *id && fresh(entry));
                    (!modes || facts.executable == (*mode == EXECUTABLE))
                        && (cached.is_some_and(|entry| unchanged(entry, &facts)) || blob_id(folder, name)? == Some(*id))
                }
                _ => false,
            };
            if !same {
                dirty.insert(path.to_owned());
            }
            Ok(())
        })?;
        dirty.extend(left.into_iter().cloned());
        Ok(dirty.into_iter().map(|path| (path.clone(), head.contains_key(&path))).collect())
    }

    /// The index's entries in the managed trees, and where they differ from HEAD.
    fn index_differences(
        &self,
        head: &BTreeMap<String, (Oid, u32)>,
    ) -> Result<(BTreeMap<String, IndexEntry>, BTreeSet<String>), RepoError> {
        let mut index = self.repo.index().map_err(self.git("read the index"))?;
        index.read(true).map_err(self.git("read the index"))?;
        let (mut entries, mut dirty) = (BTreeMap::new(), BTreeSet::new());
        for entry in index.iter() {
            let path = text(&entry.path);
            if !is_managed(&path) {
                continue;
            }
            // Bits 12 and 13 of the flags: the stage of a conflict.
            let conflict = entry.flags & 0x3000 != 0;
            if conflict || head.get(&path) != Some(&(entry.id, entry.mode)) {
                dirty.insert(path.clone());
            }
            entries.insert(path, entry);
        }
        dirty.extend(head.keys().filter(|path| !entries.contains_key(*path)).cloned());
        Ok((entries, dirty))
    }

    /// The managed files of HEAD: object and mode.
    pub(super) fn head_files(&self) -> Result<BTreeMap<String, (Oid, u32)>, RepoError> {
        let mut files = BTreeMap::new();
        if let Some(head) = self.head_id()? {
            let mut read = || -> Result<(), git2::Error> {
                let tree = self.repo.find_commit(head)?.tree()?;
                collect(&self.repo, &tree, "", &mut files)
            };
            read().map_err(self.git("read HEAD"))?;
        }
        Ok(files)
    }
}

fn collect(
    repo: &git2::Repository,
    tree: &git2::Tree<'_>,
    prefix: &str,
    files: &mut BTreeMap<String, (Oid, u32)>,
) -> Result<(), git2::Error> {
    for entry in tree {
        let path = format!("{prefix}{}", text(entry.name_bytes()));
        if prefix.is_empty() && !is_managed(&path) {
            continue;
        }
        if entry.kind() == Some(ObjectType::Tree) {
            collect(repo, &repo.find_tree(entry.id())?, &format!("{path}/"), files)?;
        } else {
            files.insert(path, (entry.id(), entry.filemode().unsigned_abs()));
        }
    }
    Ok(())
}

fn text(bytes: &[u8]) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    name_text(std::ffi::OsStr::from_bytes(bytes))
}

fn time_of(entry: &IndexEntry) -> (i64, u32) {
    (i64::from(entry.mtime.seconds()), entry.mtime.nanoseconds())
}

/// Whether the file is, by all that git keeps about it, the one that the index entry was made from.
#[expect(clippy::cast_possible_truncation, reason = "the index keeps the low 32 bits of these")]
fn unchanged(entry: &IndexEntry, facts: &Facts) -> bool {
    time_of(entry) == (i64::from(facts.modified.0 as i32), facts.modified.1)
        && (entry.ctime.seconds(), entry.ctime.nanoseconds()) == (facts.changed.0 as i32, facts.changed.1)
        && entry.ino == facts.inode as u32
        && entry.file_size == facts.size as u32
}

/// The name that git would give the file's bytes as they are; `None` for what is no file of a sane size.
fn blob_id(folder: &Folder, name: &std::ffi::OsStr) -> Result<Option<Oid>, DiskError> {
    Ok(match folder.read(name, LARGEST)? {
        Reading::File { bytes, .. } => Oid::hash_object(ObjectType::Blob, &bytes).ok(),
        _ => None,
    })
}
