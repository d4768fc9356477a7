//! A change set as one unit: staged, flushed, journalled, renamed, indexed, committed; finished or undone after a kill.
//!
//! Up to the journal nothing but unreferenced objects and `.git/kluis` is touched: a kill or failure leaves all as before.
//! From the journal on, each step can be told from the bytes to be done or not, so that it can be repeated: a failure is
//! undone at once, a kill is finished by the next command. Somebody else's edit is never overwritten.

use std::collections::BTreeSet;

use git2::{ObjectType, Oid};

use super::journal::{Change, FORMAT, Id, JOURNAL, Journal, Old, STAGE, UNDO, sweep};
use super::objects::FEW;
use super::walk::is_managed;
use super::{Applied, ChangeSet, Commit, RepoError, WorkTree};
use crate::disk::folder::split;
use crate::disk::{DiskError, Facts, Folder, Kind, Reading};
use crate::model::{Time, displayed};

/// The largest file that a change set replaces or removes, in bytes.
const LARGEST: u64 = 64 << 20;

/// The points at which a test can cut a change set short; a kill between two of them is like one at the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Begun,
    Staged,
    Objects,
    Flushed,
    Journalled,
    Placed,
    AllPlaced,
    Indexed,
    Committed,
    Unplaced,
    Unindexed,
}

/// Why a change set stopped.
pub(super) enum Cut {
    Error(RepoError),
    /// The process died here: no cleaning up.
    #[cfg(test)]
    Killed,
}

impl<E: Into<RepoError>> From<E> for Cut {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

/// What is asked at each step; outside tests it always goes on.
pub(super) type Hook<'a> = dyn FnMut(Step) -> Result<(), Cut> + 'a;

impl WorkTree {
    /// Writes, stages and commits `changes` as one unit; `now` is the commit's time. Runs no hooks, signs nothing, and
    /// leaves what else the user staged staged and out of the commit.
    ///
    /// Refuses, and changes nothing: what `check_writable` refuses of the state of git; a HEAD that moved since the lock
    /// was taken; a path that is no place, or a link, or has one on its way; a managed path that differs from HEAD and
    /// was not allowed. Any failure is undone before it is returned, or with `HalfDone` by the next `recover`.
    pub fn apply(&self, changes: &ChangeSet, commit: &Commit, now: Time) -> Result<Applied, RepoError> {
        let _whole = crate::env::uninterrupted();
        match self.apply_until(changes, commit, now, &mut |_| Ok(())) {
            Ok(applied) => Ok(applied),
            Err(Cut::Error(error)) => Err(error),
            #[cfg(test)]
            Err(Cut::Killed) => panic!("only a hook of a test kills"),
        }
    }

    pub(super) fn apply_until(
        &self,
        changes: &ChangeSet,
        commit: &Commit,
        now: Time,
        hook: &mut Hook<'_>,
    ) -> Result<Applied, Cut> {
        changes.check()?;
        self.check_state()?;
        if matches!(commit, Commit::Message(_)) {
            self.identity()?;
        }
        self.hold()?;
        self.check_unlocked_index()?;
        self.check_head()?;
        if changes.is_empty() {
            return Ok(Applied::default());
        }
        if self.has_journal()? {
            return Err(RepoError::Unfinished { path: self.root().to_owned() }.into());
        }
        let root = Folder::open(self.root())?;
        let own = Folder::open(self.repo.path())?.make_sub("kluis", 0o700)?;
        sweep(&own)?;
        let prepared = self.prepare(changes, commit, now, &root, &own, hook);
        let journal = match prepared {
            Ok(journal) => journal,
            Err(Cut::Error(error)) => {
                // Nothing was done yet; what can't be swept now is swept by the next command.
                let _ = own.remove(JOURNAL).map_err(RepoError::from).and_then(|()| sweep(&own));
                return Err(Cut::Error(error));
            }
            #[cfg(test)]
            killed => return killed.map(|_| Applied::default()),
        };
        match self.perform(&journal, &root, &own, hook) {
            Ok(()) => {}
            // The branch moved and only a flush or the reflog failed after it: undoing the files now would leave them behind
            // HEAD. The change is made.
            Err(Cut::Error(_)) if journal.commit.is_some() && self.head_id()? == journal.commit.map(|id| id.0) => {}
            Err(Cut::Error(error)) => return Err(self.undo_failed(error, &journal, &root, &own, hook)),
            #[cfg(test)]
            Err(Cut::Killed) => return Err(Cut::Killed),
        }
        // The change is made. A journal that can't be removed is seen to be done by the next command.
        let _ = Journal::clear(&own);
        self.note_head()?;
        let paths = |written: bool| {
            let done = journal.changes.iter().filter(|change| change.new.is_some() == written);
            done.filter(|change| written || change.old.is_some()).map(|change| change.path.clone()).collect()
        };
        Ok(Applied { commit: journal.commit.map(|id| id.0.to_string()), written: paths(true), removed: paths(false) })
    }

    /// All that can be done without touching the work tree, up to the journal in its place.
    fn prepare(
        &self,
        changes: &ChangeSet,
        commit: &Commit,
        now: Time,
        root: &Folder,
        own: &Folder,
        hook: &mut Hook<'_>,
    ) -> Result<Journal, Cut> {
        let planned = self.plan(changes, root)?;
        hook(Step::Begun)?;
        let stage = own.new_sub(STAGE, 0o700)?;
        for (number, change) in planned.iter().enumerate() {
            if let Some(bytes) = changes.writes.get(&change.path) {
                stage.create(new_name(number), bytes, 0o666)?;
            }
            if let Some(old) = change.old {
                let bytes = match read(root, &change.path)? {
                    Some((bytes, _)) if id_of(&bytes) == Some(old.id.0) => bytes,
                    _ => return Err(DiskError::Changed { path: root.at(&change.path) }.into()),
                };
                stage.create(old_name(number), &bytes, if old.executable { 0o777 } else { 0o666 })?;
            }
            hook(Step::Staged)?;
        }
        let mut made = self.write_blobs(changes.writes.values().map(Vec::as_slice))?;
        let (title, id) = match commit {
            Commit::Message(message) => {
                let message = format!("{}\n", message.trim_end());
                let id = self.write_commit(&planned, &message, now, &mut made)?;
                (message.lines().next().unwrap_or_default().to_owned(), id)
            }
            Commit::IndexOnly => ("without a commit".to_owned(), None),
        };
        hook(Step::Objects)?;
        flush(&stage)?;
        self.flush_objects(&made)?;
        own.sync()?;
        hook(Step::Flushed)?;
        let journal = Journal {
            format: FORMAT.to_owned(),
            title,
            branch: self.branch()?,
            before: self.head_id()?.map(Id),
            commit: id.map(Id),
            changes: planned,
        };
        journal.save(own)?;
        Ok(journal)
    }

    /// What each path is, was and becomes.
    fn plan(&self, changes: &ChangeSet, root: &Folder) -> Result<Vec<Change>, RepoError> {
        let paths = changes.paths();
        let index = self.in_index(&paths.keys().copied().collect::<Vec<_>>())?;
        // Git reads a folder anew for each path that is looked up in it: many paths are looked up in one go.
        let files = if paths.len() > FEW { Some(self.head_files()?) } else { None };
        let mut planned = Vec::with_capacity(paths.len());
        for (path, bytes) in paths {
            let new = bytes.and_then(id_of);
            let old =
                read(root, path)?.and_then(|(bytes, executable)| Some(Old { id: Id(id_of(&bytes)?), executable }));
            let head = match &files {
                Some(files) if is_managed(path) => files.get(path).map(|(id, _)| *id),
                _ => self.in_head(path)?,
            };
            let now = old.map(|old| old.id.0);
            // Between the look of `check_writable` and now somebody may have edited it.
            if is_managed(path) && now != head && now != new && !self.is_allowed(path) {
                return Err(RepoError::Dirty { path: path.to_owned(), committed: head.is_some() });
            }
            planned.push(Change {
                path: path.to_owned(),
                new: new.map(Id),
                old,
                index: index.get(path).map(|(id, mode)| (Id(*id), *mode)),
                committed: head.is_some(),
            });
        }
        Ok(planned)
    }

    /// Files, index, branch: each step that is done already is left alone, so that it can be repeated.
    fn perform(&self, journal: &Journal, root: &Folder, own: &Folder, hook: &mut Hook<'_>) -> Result<(), Cut> {
        hook(Step::Journalled)?;
        let stage = own.sub(STAGE)?;
        for (number, change) in journal.changes.iter().enumerate() {
            let (now, new) = (state(root, &change.path)?, change.new.map(|id| id.0));
            if now != new {
                if now != change.old.map(|old| old.id.0) {
                    return Err(interfered(change).into());
                }
                put(&stage, &new_name(number), new, root, &change.path, 0o666)?;
            }
            hook(Step::Placed)?;
        }
        flush_folders(root, &journal.changes)?;
        hook(Step::AllPlaced)?;
        self.write_index(root, &journal.changes.iter().collect::<Vec<_>>(), false)?;
        hook(Step::Indexed)?;
        self.move_branch(journal)?;
        hook(Step::Committed)
    }

    /// Undoes what failed half-way, and says how it went.
    fn undo_failed(
        &self,
        error: RepoError,
        journal: &Journal,
        root: &Folder,
        own: &Folder,
        hook: &mut Hook<'_>,
    ) -> Cut {
        // The mark makes the next command go on undoing if this is cut short. Without room for it, the next command
        // finishes the change instead: whole, too.
        let _ = own.sub(STAGE).and_then(|stage| stage.create(UNDO, b"", 0o600));
        match self.undo(journal, false, root, own, hook) {
            Ok(()) if Journal::clear(own).is_ok() => Cut::Error(error),
            #[cfg(test)]
            Err(Cut::Killed) => Cut::Killed,
            _ => Cut::Error(RepoError::HalfDone { path: self.root().to_owned(), source: Box::new(error) }),
        }
    }

    /// Puts back what the change set has done. With `moved`, somebody committed or switched branches since: what HEAD
    /// has as the change set wrote it stays.
    fn undo(
        &self,
        journal: &Journal,
        moved: bool,
        root: &Folder,
        own: &Folder,
        hook: &mut Hook<'_>,
    ) -> Result<(), Cut> {
        let stage = own.sub(STAGE)?;
        let mut back: Vec<&Change> = Vec::new();
        for (number, change) in journal.changes.iter().enumerate() {
            let (new, old) = (change.new.map(|id| id.0), change.old.map(|old| old.id.0));
            if moved && self.in_head(&change.path)? == new {
                continue;
            }
            let now = state(root, &change.path)?;
            if now != old {
                if now != new {
                    // With HEAD moved, what lies there is somebody's own doing, and theirs to keep.
                    if moved {
                        continue;
                    }
                    return Err(interfered(change).into());
                }
                let mode = if change.old.is_some_and(|old| old.executable) { 0o777 } else { 0o666 };
                put(&stage, &old_name(number), old, root, &change.path, mode)?;
            }
            if let Some((folder, _)) = folder_of(root, &change.path, false)? {
                // Left where a copy was cut short (`put`).
                folder.remove(format!(".kluis-{}", new_name(number)))?;
                folder.remove(format!(".kluis-{}", old_name(number)))?;
            }
            if old.is_none() {
                prune(root, &change.path)?;
            }
            back.push(change);
            hook(Step::Unplaced)?;
        }
        let index = self.in_index(&back.iter().map(|change| change.path.as_str()).collect::<Vec<_>>())?;
        let staged = |change: &&Change| index.get(&change.path).map(|(id, _)| *id);
        back.retain(|change| {
            staged(change) == change.new.map(|id| id.0) && staged(change) != change.index.map(|i| i.0.0)
        });
        if !back.is_empty() {
            self.write_index(root, &back, true)?;
        }
        hook(Step::Unindexed)
    }

    /// Finishes or undoes a change set that a kill or a power cut left half-done, and says in words what it did; `None` if there
    /// was none. To be called by every command before it reads the work tree.
    ///
    /// It is finished, unless it had failed or HEAD moved since. Fails with `Interfered` when a file was edited
    /// meanwhile, and then changes no other file either before that is mended.
    pub fn recover(&self) -> Result<Option<String>, RepoError> {
        match self.recover_until(&mut |_| Ok(())) {
            Ok(done) => Ok(done),
            Err(Cut::Error(error)) => Err(error),
            #[cfg(test)]
            Err(Cut::Killed) => panic!("only a hook of a test kills"),
        }
    }

    pub(super) fn recover_until(&self, hook: &mut Hook<'_>) -> Result<Option<String>, Cut> {
        let Some(own) = self.own_folder()? else { return Ok(None) };
        if own.facts(JOURNAL)?.is_none() && own.facts(STAGE)?.is_none() {
            return Ok(None);
        }
        self.hold()?;
        let Some(journal) = Journal::load(&own)? else {
            sweep(&own)?;
            return Ok(None);
        };
        self.drop_dead_locks(&own, &journal)?;
        let root = Folder::open(self.root())?;
        let title = displayed(&journal.title);
        let head = self.head_id()?;
        let branch = self.branch().ok();
        let is_done = |commit: Oid| {
            head.is_some_and(|head| head == commit || self.repo.graph_descendant_of(head, commit).unwrap_or(false))
        };
        if journal.commit.is_some_and(|commit| is_done(commit.0)) {
            Journal::clear(&own)?;
            return Ok(Some(format!("an interrupted command had finished: {title}")));
        }
        let moved = branch.as_deref() != Some(&journal.branch) || head != journal.before.map(|id| id.0);
        let failed = own.sub(STAGE)?.facts(UNDO)?.is_some();
        if moved || failed {
            self.undo(&journal, moved, &root, &own, hook)?;
            Journal::clear(&own)?;
            return Ok(Some(format!("rolled back an interrupted command: {title}")));
        }
        // All or nothing here too: first see that nobody's edit is in the way.
        for change in &journal.changes {
            let now = state(&root, &change.path)?;
            if now != change.new.map(|id| id.0) && now != change.old.map(|old| old.id.0) {
                return Err(interfered(change).into());
            }
        }
        self.check_unlocked_index()?;
        self.perform(&journal, &root, &own, hook)?;
        Journal::clear(&own)?;
        self.note_head()?;
        Ok(Some(format!("finished an interrupted command: {title}")))
    }
}

fn new_name(number: usize) -> String {
    format!("new.{number}")
}

fn old_name(number: usize) -> String {
    format!("old.{number}")
}

fn interfered(change: &Change) -> RepoError {
    RepoError::Interfered { path: change.path.clone(), committed: change.committed }
}

fn id_of(bytes: &[u8]) -> Option<Oid> {
    Oid::hash_object(ObjectType::Blob, bytes).ok()
}

/// Opens the folder of `path` without following any link; `None` if it is not there and `make` is not set.
fn folder_of<'p>(root: &Folder, path: &'p str, make: bool) -> Result<Option<(Folder, &'p str)>, RepoError> {
    let (parents, last) = split(path)?;
    let mut folder = root.again()?;
    for (depth, name) in parents.iter().enumerate() {
        let next = if make { folder.make_sub(name, 0o777) } else { folder.sub(name) };
        folder = match next {
            Ok(next) => next,
            Err(error) if error.is_absent() && !make => return Ok(None),
            Err(DiskError::NotRegular { what, .. }) => {
                return Err(RepoError::NotRegular { path: parents[..=depth].join("/"), what });
            }
            Err(error) => return Err(error.into()),
        };
    }
    Ok(Some((folder, last)))
}

/// What the system knows about the file at `path`.
pub(super) fn facts(root: &Folder, path: &str) -> Result<Option<Facts>, RepoError> {
    match folder_of(root, path, false)? {
        Some((folder, last)) => Ok(folder.facts(last)?),
        None => Ok(None),
    }
}

fn read(root: &Folder, path: &str) -> Result<Option<(Vec<u8>, bool)>, RepoError> {
    let Some((folder, last)) = folder_of(root, path, false)? else { return Ok(None) };
    let Some(facts) = folder.facts(last)? else { return Ok(None) };
    let not_regular = |what| RepoError::NotRegular { path: path.to_owned(), what };
    if facts.kind != Kind::File {
        return Err(not_regular(facts.kind.words()));
    }
    match folder.read(last, LARGEST)? {
        Reading::File { bytes, executable } => Ok(Some((bytes, executable))),
        Reading::NotRegular(what) => Err(not_regular(what)),
        Reading::TooLarge(size) => Err(DiskError::TooLarge { path: folder.at(last), size, largest: LARGEST }.into()),
    }
}

/// The bytes at `path` as git would name them.
fn state(root: &Folder, path: &str) -> Result<Option<Oid>, RepoError> {
    Ok(read(root, path)?.and_then(|(bytes, _)| id_of(&bytes)))
}

/// Puts the staged file in its place, or removes what is there if `wanted` is nothing.
fn put(
    stage: &Folder,
    staged: &str,
    wanted: Option<Oid>,
    root: &Folder,
    path: &str,
    mode: u32,
) -> Result<(), RepoError> {
    if wanted.is_none() {
        if let Some((folder, last)) = folder_of(root, path, false)? {
            folder.remove(last)?;
        }
        return prune(root, path);
    }
    let Some((folder, last)) = folder_of(root, path, true)? else { return Ok(()) };
    match stage.rename(staged, &folder, last) {
        Ok(()) => Ok(()),
        Err(error) if error.is_other_file_system() => {
            // A linked work tree, or a mount in it: copied beside its place first, under a name that a repeated
            // attempt finds again. The staged file stays for that attempt.
            let Some(bytes) = stage.read_file(staged, u64::MAX)? else { return Err(error.into()) };
            let temporary = format!(".kluis-{staged}");
            folder.remove(&temporary)?;
            let placed = (|| {
                folder.create(&temporary, &bytes, mode)?;
                folder.sync_file(&temporary)?;
                folder.rename(&temporary, &folder, last)
            })();
            if placed.is_err() {
                let _ = folder.remove(&temporary);
            }
            Ok(placed?)
        }
        Err(error) => Err(error.into()),
    }
}

/// Removes the folders that `path` leaves empty, since git keeps none.
fn prune(root: &Folder, path: &str) -> Result<(), RepoError> {
    let mut rest = path;
    while let Some((folder, _)) = rest.rsplit_once('/') {
        match folder_of(root, folder, false)? {
            Some((parent, last)) if !parent.remove_empty(last)? => return Ok(()),
            _ => {}
        }
        rest = folder;
    }
    Ok(())
}

/// Flushes all files in `stage`, and their names.
fn flush(stage: &Folder) -> Result<(), RepoError> {
    let names = stage.names()?;
    if names.len() > FEW && stage.sync_file_system()? {
        return Ok(());
    }
    for (name, _) in names {
        stage.sync_file(&name)?;
    }
    Ok(stage.sync()?)
}

/// Flushes the names in every folder that a change touched.
fn flush_folders(root: &Folder, changes: &[Change]) -> Result<(), RepoError> {
    let mut folders: BTreeSet<&str> = BTreeSet::from([""]);
    for change in changes {
        let mut rest = change.path.as_str();
        while let Some((folder, _)) = rest.rsplit_once('/') {
            folders.insert(folder);
            rest = folder;
        }
    }
    if folders.len() > FEW && root.sync_file_system()? {
        return Ok(());
    }
    for folder in folders {
        let path = format!("{folder}/x");
        if let Some((folder, _)) = folder_of(root, path.trim_start_matches('/'), false)? {
            folder.sync()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
