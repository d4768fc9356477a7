//! Git's objects as they are: trees of any revision, what differs between two, every blob of all history. Needs no
//! work tree, so a bare repository will do; writes nothing.
//!
//! Attack (T9, T63): replacement refs, grafts and git's environment variables show other objects than the ones that
//! are named. libgit2 knows neither replacements nor grafts, and is not asked to look at the environment. A shallow
//! clone is told apart from a whole one, so that nobody takes the part for the whole.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use git2::{ObjectType, Oid};

use super::RepoError;
use super::walk::{DEEPEST, LARGEST_ELSEWHERE, MANAGED, MOST_FILES};
use super::worktree;
use crate::model::Place;
use crate::trust::{Entry, Tree};

/// Outside the managed trees, and in history, nothing larger than this is looked at: a key in the clear is small.
pub const LARGEST_SEARCHED: u64 = 1 << 20;

/// The objects of a repository.
pub struct History {
    repo: git2::Repository,
    path: PathBuf,
}

/// A revision, found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// As it was asked for.
    pub name: String,
    tree: Oid,
    commit: Option<Oid>,
}

impl Revision {
    /// The same revision under another name.
    #[must_use]
    pub fn called(self, name: String) -> Self {
        Self { name, ..self }
    }

    /// The commit, or the tree where a tree was named: hex.
    pub fn id(&self) -> String {
        self.commit.unwrap_or(self.tree).to_string()
    }
}

/// One file, before or after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    id: Oid,
    mode: i32,
}

impl Version {
    /// Whether it may be executed.
    pub fn is_executable(&self) -> bool {
        self.mode == 0o100_755
    }

    /// Whether it is a symbolic link or another repository.
    pub fn is_link(&self) -> bool {
        matches!(self.mode, 0o120_000 | 0o160_000)
    }
}

/// One path of the work tree that differs from the last commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    /// The path.
    pub path: String,
    /// Whether it is gone.
    pub removed: bool,
    /// Whether it may be executed.
    pub executable: bool,
    /// Whether it is a link or another repository.
    pub is_link: bool,
}

/// One path that differs between two trees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The path; what is not UTF-8 in it is escaped.
    pub path: String,
    /// What was there.
    pub before: Option<Version>,
    /// What is there.
    pub after: Option<Version>,
}

/// What differs between two trees.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// The paths, in git's order.
    pub files: Vec<Changed>,
    /// Whether there were too many to look at all of them.
    pub overflow: bool,
}

/// A blob of history, at one place where it lay.
pub struct Blob<'a> {
    /// Its path there.
    pub path: &'a str,
    /// The commit where it was seen first, the newest of those that are walked; the object, where a tag names a tree or
    /// a blob itself.
    pub commit: &'a str,
    /// Its bytes.
    pub bytes: &'a [u8],
}

impl History {
    /// Opens the repository that `dir` is in; a bare one will do. Fails as `WorkTree::open` does.
    pub fn open(dir: &Path) -> Result<Self, RepoError> {
        let (repo, _) = worktree::open(dir)?;
        let path = repo.workdir().unwrap_or_else(|| repo.path()).components().collect();
        Ok(Self { repo, path })
    }

    /// The root of the work tree, or of the bare repository.
    pub fn root(&self) -> &Path {
        &self.path
    }

    pub(super) fn repo(&self) -> &git2::Repository {
        &self.repo
    }

    pub(super) fn git(&self, doing: &'static str) -> impl Fn(git2::Error) -> RepoError {
        RepoError::git(doing, self.repo.path())
    }

    /// Finds a revision by any name that git understands: a branch, a tag, a commit, `HEAD~2`, a tree.
    pub fn resolve(&self, name: &str) -> Result<Revision, RepoError> {
        let unknown = |_| RepoError::NoRevision { path: self.path.clone(), name: name.to_owned() };
        let object = self.repo.revparse_single(name).map_err(unknown)?;
        let tree = object.peel_to_tree().map_err(unknown)?.id();
        let commit = object.peel_to_commit().ok().map(|commit| commit.id());
        Ok(Revision { name: name.to_owned(), tree, commit })
    }

    /// The first parent of a commit; nothing at all before the first commit, and for a tree.
    pub fn parent(&self, revision: &Revision) -> Result<Option<Revision>, RepoError> {
        let Some(commit) = revision.commit else { return Ok(None) };
        let parents =
            self.repo.find_commit(commit).map(|commit| commit.parent(0).ok()).map_err(self.git("read a commit"))?;
        let parent = |commit: git2::Commit<'_>| Revision {
            name: format!("{}^", revision.name),
            tree: commit.tree_id(),
            commit: Some(commit.id()),
        };
        Ok(parents.map(parent))
    }

    /// Where the two parted; `None` if that can't be told: trees, unrelated histories, a shallow clone.
    pub fn merge_base(&self, one: &Revision, other: &Revision) -> Result<Option<Revision>, RepoError> {
        let (Some(a), Some(b)) = (one.commit, other.commit) else { return Ok(None) };
        let Ok(base) = self.repo.merge_base(a, b) else { return Ok(None) };
        let commit = self.repo.find_commit(base).map_err(self.git("read a commit"))?;
        Ok(Some(Revision { name: base.to_string(), tree: commit.tree_id(), commit: Some(base) }))
    }

    /// Whether history ends somewhere because the clone is shallow.
    pub fn is_shallow(&self) -> bool {
        self.repo.is_shallow()
    }

    /// Reads the managed trees of a revision, like `read_tree` those of a folder, as far as `wanted` says yes to each
    /// folder and file on the way, by its path.
    pub fn read(&self, revision: &Revision, wanted: &dyn Fn(&str) -> bool) -> Result<Tree, RepoError> {
        let root = self.repo.find_tree(revision.tree).map_err(self.git("read a tree"))?;
        let mut tree = Tree::default();
        let mut left = MOST_FILES;
        for entry in &root {
            let name = name_of(&entry);
            if MANAGED.contains(&name.as_str()) && wanted(&name) {
                self.step(&entry, &name, 0, wanted, &mut tree, &mut left)?;
            }
        }
        Ok(tree)
    }

    fn step(
        &self,
        entry: &git2::TreeEntry<'_>,
        path: &str,
        depth: usize,
        wanted: &dyn Fn(&str) -> bool,
        tree: &mut Tree,
        left: &mut usize,
    ) -> Result<(), RepoError> {
        if *left == 0 {
            tree.overflow = true;
            return Ok(());
        }
        *left -= 1;
        if entry.kind() != Some(ObjectType::Tree) {
            let version = Version { id: entry.id(), mode: entry.filemode() };
            tree.entries.insert(path.to_owned(), self.entry(path, version)?);
            return Ok(());
        }
        if depth == DEEPEST {
            let what = "a folder deeper than any file may lie".to_owned();
            tree.entries.insert(path.to_owned(), Entry::NotRegular(what));
            return Ok(());
        }
        let folder = self.repo.find_tree(entry.id()).map_err(self.git("read a tree"))?;
        for inner in &folder {
            let path = format!("{path}/{}", name_of(&inner));
            if wanted(&path) {
                self.step(&inner, &path, depth + 1, wanted, tree, left)?;
            }
        }
        Ok(())
    }

    /// What lies at a managed path, within the size that its place allows.
    pub fn entry(&self, path: &str, version: Version) -> Result<Entry, RepoError> {
        let largest = Place::parse(path).map_or(LARGEST_ELSEWHERE, |place| place.largest());
        let executable = version.is_executable();
        match version.mode {
            0o120_000 => return Ok(Entry::NotRegular("a symbolic link".to_owned())),
            0o160_000 => return Ok(Entry::NotRegular("another repository (a submodule)".to_owned())),
            _ => {}
        }
        Ok(match self.blob(version.id, largest)? {
            Ok(bytes) => Entry::File { bytes, executable },
            Err(size) => Entry::TooLarge(size),
        })
    }

    /// The bytes of a version that is a file of at most `largest` bytes; `None` for anything else.
    pub fn bytes(&self, version: Version, largest: u64) -> Result<Option<Vec<u8>>, RepoError> {
        if !matches!(version.mode, 0o100_644 | 0o100_755 | 0o100_664) {
            return Ok(None);
        }
        Ok(self.blob(version.id, largest)?.ok())
    }

    /// A blob, or its size where it is larger than `largest`. The size is asked first: a header is cheap (T71).
    fn blob(&self, id: Oid, largest: u64) -> Result<Result<Vec<u8>, u64>, RepoError> {
        let odb = self.repo.odb().map_err(self.git("read an object"))?;
        let (size, _) = odb.read_header(id).map_err(self.git("read an object"))?;
        let size = size as u64;
        if size > largest {
            return Ok(Err(size));
        }
        let object = odb.read(id).map_err(self.git("read an object"))?;
        Ok(Ok(object.data().to_vec()))
    }

    /// How many entries a folder of a revision has; 0 if it is none.
    pub fn count(&self, revision: &Revision, folder: &str) -> usize {
        let tree = self.repo.find_tree(revision.tree);
        let found = tree.and_then(|tree| tree.get_path(folder.as_ref())?.to_object(&self.repo)?.peel_to_tree());
        found.map_or(0, |tree| tree.len())
    }

    /// The names in a folder of a revision.
    pub fn names(&self, revision: &Revision, folder: &str) -> Vec<String> {
        let tree = self.repo.find_tree(revision.tree);
        let found = tree.and_then(|tree| tree.get_path(folder.as_ref())?.to_object(&self.repo)?.peel_to_tree());
        found.map(|tree| tree.iter().map(|entry| name_of(&entry)).collect()).unwrap_or_default()
    }

    /// Everything that differs from `before` (nothing, where there is none) to `after`, in the whole repository. Folders
    /// with the same id are not looked into, so the cost is that of the change.
    pub fn changes(&self, before: Option<&Revision>, after: &Revision) -> Result<Changes, RepoError> {
        let mut changes = Changes::default();
        let before = before.map(|revision| revision.tree);
        self.compare("", before, Some(after.tree), 0, &mut changes)?;
        Ok(changes)
    }

    fn compare(
        &self,
        prefix: &str,
        before: Option<Oid>,
        after: Option<Oid>,
        depth: usize,
        changes: &mut Changes,
    ) -> Result<(), RepoError> {
        if before == after || changes.overflow {
            return Ok(());
        }
        let list = |tree: Option<Oid>| -> Result<Vec<(String, Oid, i32, bool)>, RepoError> {
            let Some(tree) = tree else { return Ok(Vec::new()) };
            let tree = self.repo.find_tree(tree).map_err(self.git("read a tree"))?;
            let is_tree = |entry: &git2::TreeEntry<'_>| entry.kind() == Some(ObjectType::Tree);
            let mut list: Vec<_> = tree.iter().map(|e| (name_of(&e), e.id(), e.filemode(), is_tree(&e))).collect();
            list.sort();
            Ok(list)
        };
        let (old, new) = (list(before)?, list(after)?);
        let mut names: Vec<&String> = old.iter().chain(&new).map(|(name, ..)| name).collect();
        names.sort();
        names.dedup();
        let find = |list: &[(String, Oid, i32, bool)], name: &String| {
            let at = list.binary_search_by(|(other, ..)| other.cmp(name)).ok()?;
            Some((list[at].1, list[at].2, list[at].3))
        };
        for name in names {
            let (a, b) = (find(&old, name), find(&new, name));
            if a == b {
                continue;
            }
            if changes.files.len() >= MOST_FILES {
                changes.overflow = true;
                return Ok(());
            }
            let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
            let (a_tree, b_tree) = (a.filter(|a| a.2), b.filter(|b| b.2));
            if a_tree.is_some() || b_tree.is_some() {
                if depth > DEEPEST * 4 {
                    changes.overflow = true;
                    return Ok(());
                }
                self.compare(&path, a_tree.map(|a| a.0), b_tree.map(|b| b.0), depth + 1, changes)?;
            }
            let file =
                |side: Option<(Oid, i32, bool)>| side.filter(|side| !side.2).map(|(id, mode, _)| Version { id, mode });
            let (before, after) = (file(a), file(b));
            if before.is_some() || after.is_some() {
                changes.files.push(Changed { path, before, after });
            }
        }
        Ok(())
    }

    /// Looks at every blob that any branch, tag or other ref of this clone reaches, once at each path, below folders that
    /// `wanted` says yes to. Blobs larger than a key could be are left out. Returns how many commits were walked.
    pub fn each_blob(
        &self,
        wanted: &dyn Fn(&str) -> bool,
        look: &mut dyn FnMut(&Blob<'_>),
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<usize, RepoError> {
        let failed = || self.git("walk history");
        let mut tips = Vec::new();
        let mut seen = HashSet::new();
        for reference in self.repo.references().map_err(failed())?.flatten() {
            if let Ok(commit) = reference.peel_to_commit() {
                tips.push(commit.id());
            } else if let Ok(tree) = reference.peel_to_tree() {
                self.search(tree.id(), "", &tree.id().to_string(), wanted, &mut seen, look)?;
            } else if let Ok(blob) = reference.peel_to_blob() {
                // It has no path; the name that leads to it will do.
                let path = String::from_utf8_lossy(reference.name_bytes()).into_owned();
                if let (true, Ok(bytes)) = (wanted(&path), self.blob(blob.id(), LARGEST_SEARCHED)?) {
                    look(&Blob { path: &path, commit: &blob.id().to_string(), bytes: &bytes });
                }
            }
        }
        if let Ok(head) = self.repo.head().and_then(|head| head.peel_to_commit()) {
            tips.push(head.id());
        }
        let commits = self.commits(tips).map_err(failed())?;
        for (at, id) in commits.iter().enumerate() {
            progress(at, commits.len());
            let tree = self.repo.find_commit(*id).map_err(failed())?.tree_id();
            self.search(tree, "", &id.to_string(), wanted, &mut seen, look)?;
        }
        progress(commits.len(), commits.len());
        Ok(commits.len())
    }

    /// The commits that these reach, the newest first, as far as they are there. Their parents are those that they name
    /// themselves, whatever grafts say.
    fn commits(&self, mut waiting: Vec<Oid>) -> Result<Vec<Oid>, git2::Error> {
        let (mut seen, mut commits) = (HashSet::new(), Vec::new());
        while let Some(id) = waiting.pop() {
            if !seen.insert(id) {
                continue;
            }
            match self.repo.find_commit(id) {
                Ok(commit) => {
                    waiting.extend(super::messages::parents(commit.raw_header_bytes()));
                    commits.push((std::cmp::Reverse(commit.time().seconds()), id));
                }
                Err(error) if error.code() == git2::ErrorCode::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        commits.sort();
        Ok(commits.into_iter().map(|(_, id)| id).collect())
    }

    fn search(
        &self,
        tree: Oid,
        prefix: &str,
        commit: &str,
        wanted: &dyn Fn(&str) -> bool,
        // By path too: the same file at another place is another finding, and may be of another kind there.
        seen: &mut HashSet<(Oid, String)>,
        look: &mut dyn FnMut(&Blob<'_>),
    ) -> Result<(), RepoError> {
        if !seen.insert((tree, prefix.to_owned())) {
            return Ok(());
        }
        let tree = self.repo.find_tree(tree).map_err(self.git("read a tree"))?;
        for entry in &tree {
            let name = name_of(&entry);
            let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
            if !wanted(&path) {
                continue;
            }
            match entry.kind() {
                Some(ObjectType::Tree) if path.matches('/').count() <= DEEPEST * 4 => {
                    self.search(entry.id(), &path, commit, wanted, seen, look)?;
                }
                Some(ObjectType::Blob) if seen.insert((entry.id(), path.clone())) => {
                    if let Ok(bytes) = self.blob(entry.id(), LARGEST_SEARCHED)? {
                        look(&Blob { path: &path, commit, bytes: &bytes });
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What differs from the last commit in the work tree or the index, files that git does not know included.
    pub fn edited(&self) -> Result<Vec<Edited>, RepoError> {
        let mut options = git2::StatusOptions::new();
        options.include_untracked(true).recurse_untracked_dirs(true).include_ignored(false).exclude_submodules(true);
        let statuses = self.repo.statuses(Some(&mut options)).map_err(self.git("look at the work tree"))?;
        let mut edited = Vec::new();
        for status in statuses.iter() {
            let path = String::from_utf8_lossy(status.path_bytes()).into_owned();
            let facts = self.path.join(&path).symlink_metadata().ok();
            use std::os::unix::fs::PermissionsExt as _;
            edited.push(Edited {
                removed: facts.is_none(),
                executable: facts.as_ref().is_some_and(|f| f.is_file() && f.permissions().mode() & 0o111 != 0),
                is_link: facts.as_ref().is_some_and(|f| f.is_symlink() || f.is_dir()),
                path,
            });
        }
        Ok(edited)
    }

    /// What is staged and is not in the last commit: paths and bytes, files larger than a key could be left out.
    /// `index` is another index than the repository's: git makes one for a commit of some paths alone.
    pub fn staged(&self, index: Option<&Path>) -> Result<Vec<(String, Vec<u8>)>, RepoError> {
        let failed = || self.git("read the index");
        let mut index = match index {
            Some(path) => git2::Index::open(path).map_err(failed())?,
            None => self.repo.index().map_err(failed())?,
        };
        index.read(true).map_err(failed())?;
        let head = self.repo.head().and_then(|head| head.peel_to_tree()).ok();
        let mut staged = Vec::new();
        for entry in index.iter() {
            let path = String::from_utf8_lossy(&entry.path).into_owned();
            let before = head.as_ref().and_then(|head| head.get_path(path.as_ref()).ok()).map(|entry| entry.id());
            if before != Some(entry.id)
                && let Some(bytes) = self.bytes(Version { id: entry.id, mode: entry.mode as i32 }, LARGEST_SEARCHED)?
            {
                staged.push((path, bytes));
            }
        }
        Ok(staged)
    }
}

pub(super) fn name_of(entry: &git2::TreeEntry<'_>) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    crate::disk::folder::name_text(std::ffi::OsStr::from_bytes(entry.name_bytes()))
}
