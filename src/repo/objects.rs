//! Git's objects, index and branch, written through libgit2: raw bytes, no filters, no hooks, no signatures.

use std::collections::{BTreeMap, BTreeSet};

use git2::{IndexEntry, IndexTime, Oid};

use super::journal::{Change, Journal};
use super::locks::Locked;
use super::{RepoError, WorkTree};
use crate::disk::{Facts, Folder, Kind};
use crate::model::Time;

const PLAIN: u32 = 0o100_644;

/// Up to this many files are flushed one by one; more make the flush of the whole file system cheaper.
pub(super) const FEW: usize = 32;

impl WorkTree {
    /// What HEAD has at `path`.
    pub(super) fn in_head(&self, path: &str) -> Result<Option<Oid>, RepoError> {
        let Some(head) = self.head_id()? else { return Ok(None) };
        let found = self.repo.find_commit(head).and_then(|commit| commit.tree()?.get_path(path.as_ref()));
        match found {
            Ok(entry) => Ok(Some(entry.id())),
            Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(None),
            Err(error) => Err(self.git("read HEAD")(error)),
        }
    }

    /// Makes the blob of each new file as it is. `blob` takes the bytes raw; its siblings that take a path would run
    /// the filters that `.gitattributes` names (T70).
    pub(super) fn write_blobs<'a>(&self, files: impl Iterator<Item = &'a [u8]>) -> Result<BTreeSet<Oid>, RepoError> {
        files.map(|bytes| self.repo.blob(bytes)).collect::<Result<_, _>>().map_err(self.git("write an object"))
    }

    /// Makes the commit with HEAD's tree and `changes`, on top of HEAD; `None` if the tree is HEAD's. Nothing refers to it
    /// yet. What else the user staged stays out of it. Adds the objects made to `made`.
    pub(super) fn write_commit(
        &self,
        changes: &[Change],
        message: &str,
        now: Time,
        made: &mut BTreeSet<Oid>,
    ) -> Result<Option<Oid>, RepoError> {
        let (name, email) = self.identity()?;
        let head = self.head_id()?;
        let write = |made: &mut BTreeSet<Oid>| -> Result<Option<Oid>, git2::Error> {
            let parent = head.map(|head| self.repo.find_commit(head)).transpose()?;
            let base = parent.as_ref().map(git2::Commit::tree).transpose()?;
            let changes = changes.iter().map(|change| (change.path.as_str(), change.new.map(|id| id.0))).collect();
            let tree = match tree_with(&self.repo, base.as_ref(), &changes, made)? {
                Some(tree) => tree,
                None => self.repo.treebuilder(None)?.write()?,
            };
            if base.is_some_and(|base| base.id() == tree) {
                return Ok(None);
            }
            let who = git2::Signature::new(&name, &email, &git2::Time::new(now.unix(), 0))?;
            let parents: Vec<&git2::Commit<'_>> = parent.iter().collect();
            let tree = self.repo.find_tree(tree)?;
            let id = self.repo.commit(None, &who, &who, message, &tree, &parents)?;
            made.extend([id, tree.id()]);
            Ok(Some(id))
        };
        write(made).map_err(self.git("write a commit"))
    }

    /// Makes sure that the objects outlive a power cut; libgit2 does not unless asked by configuration.
    pub(super) fn flush_objects(&self, made: &BTreeSet<Oid>) -> Result<(), RepoError> {
        let objects = Folder::open(&self.repo.commondir().join("objects"))?;
        if made.len() > FEW && objects.sync_file_system()? {
            return Ok(());
        }
        for id in made {
            let name = id.to_string();
            let (folder, file) = name.split_at(2);
            // One that was there before may be in a pack, flushed by whoever packed it.
            let loose = match objects.sub(folder) {
                Ok(loose) => loose,
                Err(error) if error.is_absent() => continue,
                Err(error) => return Err(error.into()),
            };
            if loose.facts(file)?.is_some() {
                loose.sync_file(file)?;
                loose.sync()?;
            }
        }
        Ok(objects.sync()?)
    }

    /// What the index has at `path`.
    pub(super) fn in_index(&self, paths: &[&str]) -> Result<BTreeMap<String, (Oid, u32)>, RepoError> {
        let mut index = self.repo.index().map_err(self.git("read the index"))?;
        index.read(true).map_err(self.git("read the index"))?;
        let entry = |path: &&str| {
            let entry = index.get_path(path.as_ref(), 0)?;
            Some(((*path).to_owned(), (entry.id, entry.mode)))
        };
        Ok(paths.iter().filter_map(entry).collect())
    }

    /// Sets the index to the new state of `changes`, with stat data that lets `git status` see at a glance that nothing
    /// differs. With `back`, to the state before.
    pub(super) fn write_index(&self, root: &Folder, changes: &[&Change], back: bool) -> Result<(), RepoError> {
        let failed = || self.git("write the index");
        let mut index = self.repo.index().map_err(failed())?;
        index.read(true).map_err(failed())?;
        for change in changes {
            let wanted = if back { change.index } else { change.new.map(|id| (id, PLAIN)) };
            match wanted {
                Some((id, mode)) => {
                    // Stat data of a file that is not this blob would hide the difference.
                    let file = if back { change.old.map(|old| old.id) } else { change.new };
                    let facts = if file == Some(id) { super::apply::facts(root, &change.path)? } else { None };
                    index.add(&index_entry(&change.path, id.0, mode, facts.as_ref())).map_err(failed())?;
                }
                None if index.get_path(change.path.as_ref(), 0).is_some() => {
                    index.remove_path(change.path.as_ref()).map_err(failed())?;
                }
                None => {}
            }
        }
        self.marked(Locked::Index, || index.write().map_err(failed()))?;
        match Folder::open(self.repo.path())?.sync_file("index") {
            Err(error) if error.is_absent() => Ok(()),
            done => Ok(done?),
        }
    }

    /// Moves the branch to the journal's commit if it still is where it was: compare and swap, so that a commit that
    /// somebody else made meanwhile is never lost.
    pub(super) fn move_branch(&self, journal: &Journal) -> Result<(), RepoError> {
        let Some(commit) = journal.commit else { return Ok(()) };
        let words = format!("commit: {}", journal.title);
        self.marked(Locked::Branch, || {
            let moved = match journal.before {
                Some(before) => self.repo.reference_matching(&journal.branch, commit.0, true, before.0, &words),
                None => self.repo.reference(&journal.branch, commit.0, false, &words),
            };
            moved.map_err(|error| match error.code() {
                git2::ErrorCode::Modified | git2::ErrorCode::Exists => {
                    RepoError::HeadMoved { path: self.root().to_owned() }
                }
                git2::ErrorCode::Locked => RepoError::GitBusy { path: self.branch_lock(&journal.branch) },
                _ => self.git("move the branch")(error),
            })
        })?;
        // The journal goes next: after a power cut the branch must not be older than its absence.
        let path = self.repo.commondir().join(&journal.branch);
        if let (Some(parent), Some(name)) = (path.parent(), path.file_name())
            && let Ok(folder) = Folder::open(parent)
            && folder.facts(name)?.is_some()
        {
            folder.sync_file(name)?;
            folder.sync()?;
        }
        Ok(())
    }
}

/// The tree `base` with `changes`; `None` if nothing is left in it, since git keeps no empty folders.
fn tree_with(
    repo: &git2::Repository,
    base: Option<&git2::Tree<'_>>,
    changes: &BTreeMap<&str, Option<Oid>>,
    made: &mut BTreeSet<Oid>,
) -> Result<Option<Oid>, git2::Error> {
    let mut builder = repo.treebuilder(base)?;
    let mut below: BTreeMap<&str, BTreeMap<&str, Option<Oid>>> = BTreeMap::new();
    for (path, id) in changes {
        match (path.split_once('/'), id) {
            (Some((folder, rest)), id) => {
                below.entry(folder).or_default().insert(rest, *id);
            }
            (None, Some(id)) => {
                builder.insert(path, *id, 0o100_644)?;
            }
            (None, None) if builder.get(path)?.is_some() => builder.remove(path)?,
            (None, None) => {}
        }
    }
    for (folder, inner) in below {
        let base = match builder.get(folder)? {
            Some(entry) if entry.kind() == Some(git2::ObjectType::Tree) => Some(repo.find_tree(entry.id())?),
            _ => None,
        };
        match tree_with(repo, base.as_ref(), &inner, made)? {
            Some(id) => {
                builder.insert(folder, id, 0o040_000)?;
            }
            None if base.is_some() => builder.remove(folder)?,
            None => {}
        }
    }
    if builder.is_empty() {
        return Ok(None);
    }
    let id = builder.write()?;
    made.insert(id);
    Ok(Some(id))
}

#[expect(clippy::cast_possible_truncation, reason = "the index keeps the low 32 bits of these")]
fn index_entry(path: &str, id: Oid, mode: u32, facts: Option<&Facts>) -> IndexEntry {
    let facts = facts.filter(|facts| facts.kind == Kind::File);
    let time = |(seconds, nanoseconds): (i64, u32)| IndexTime::new(seconds as i32, nanoseconds);
    IndexEntry {
        ctime: facts.map_or(IndexTime::new(0, 0), |facts| time(facts.changed)),
        mtime: facts.map_or(IndexTime::new(0, 0), |facts| time(facts.modified)),
        dev: facts.map_or(0, |facts| facts.device as u32),
        ino: facts.map_or(0, |facts| facts.inode as u32),
        mode,
        uid: facts.map_or(0, |facts| facts.user),
        gid: facts.map_or(0, |facts| facts.group),
        file_size: facts.map_or(0, |facts| facts.size as u32),
        id,
        flags: 0,
        flags_extended: 0,
        path: path.as_bytes().to_vec(),
    }
}
