//! Every encrypted message that any commit of this clone ever had, at each path where it lay, and the commit that it came
//! with. What a message says about its readers is asked of the caller: files are opaque here.
//!
//! Attack (T9): what distorts history is meant to make a file disappear from it. libgit2 knows no replacement refs, but it
//! does follow `.git/info/grafts` and `.git/shallow` when it is asked for a commit's parents. So parents are read from the
//! commit's own bytes, and an object that is not there is counted, never passed over.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;

use git2::{ErrorCode, ObjectType, Oid};

use super::RepoError;
use super::history::{History, LARGEST_SEARCHED, name_of};
use super::remembered::{Came, Known, Remembered};
use super::walk::DEEPEST;
use crate::model::{Digest, KeyId};

/// Entries of trees that one commit may differ in before the rest of it is given up and counted as not seen: folders that
/// contain one another make billions of paths out of a few objects.
const MOST_ENTRIES: usize = 4_000_000;

/// Trees that are kept at hand: a commit's are those of its parents, whose turn comes next, and a folder of ten thousand
/// records takes milliseconds to read.
const TREES: usize = 48;

/// A message at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The path; what is not UTF-8 in it is escaped.
    pub path: String,
    /// The hash of its bytes.
    pub sha256: Digest,
    /// Whose keys open it, as it says itself; 0 for a reader that hides.
    pub readers: Vec<KeyId>,
    /// The commit that it came with, the newest of several; the object, where a ref names a tree or a blob itself.
    pub commit: String,
}

/// What a search of history found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Searched {
    /// The messages, by path, time and hash.
    pub messages: Vec<Message>,
    /// How many commits there are.
    pub commits: usize,
    /// How many objects should be there and are not, or are too deep or too many to be looked at. Where it is not 0,
    /// nobody can say that there is no more.
    pub unseen: usize,
}

/// Says whose keys open the message that some bytes are; `None` if they are none.
pub type Readers<'a> = &'a dyn Fn(&[u8]) -> Option<Vec<KeyId>>;

/// What one search carries along.
struct Search<'a> {
    repo: &'a git2::Repository,
    readers: Readers<'a>,
    /// What was read of each blob: its hash and readers, if it is a message.
    blobs: HashMap<Oid, Option<(Digest, Vec<KeyId>)>>,
    /// The trees that were read last, the newest at the end.
    trees: VecDeque<Rc<git2::Tree<'a>>>,
    /// Objects of the commit at hand that could not be looked at.
    unseen: usize,
    /// Entries that the commit at hand may still have.
    left: usize,
}

/// Messages by path and hash, with the newest time and commit.
type Found = BTreeMap<(String, Digest), (i64, String, Vec<KeyId>)>;

impl History {
    /// Finds every message that any branch, tag or other ref of this clone, or HEAD, reaches. What `remembered` knows of a
    /// commit that is there is not computed again; afterwards it knows all that was seen whole.
    pub fn messages(
        &self,
        remembered: &mut Remembered,
        readers: Readers<'_>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Searched, RepoError> {
        let failed = || self.git("walk history");
        let repo = self.repo();
        let odb = repo.odb().map_err(failed())?;
        let mut search = Search { repo, readers, blobs: HashMap::new(), trees: VecDeque::new(), unseen: 0, left: 0 };
        let (mut searched, mut found) = (Searched::default(), Found::new());
        let mut waiting = self.tips(&mut search, &mut found)?;
        searched.unseen += search.unseen;
        let mut kept: HashMap<Oid, Known> = HashMap::new();
        while let Some(id) = waiting.pop() {
            if kept.contains_key(&id) {
                continue;
            }
            progress(kept.len(), kept.len() + waiting.len() + 1);
            let known = match remembered.take(&id).filter(|_| odb.exists(id)) {
                Some(known) => known,
                None => {
                    (search.unseen, search.left) = (0, MOST_ENTRIES);
                    let known = search.commit(id).map_err(failed())?;
                    searched.unseen += search.unseen;
                    known
                }
            };
            for Came { path, sha256, readers } in &known.came {
                let newest = found.entry((path.clone(), *sha256));
                let newest = newest.or_insert_with(|| (i64::MIN, String::new(), readers.clone()));
                if newest.0 <= known.time {
                    let commit = id.to_string();
                    if newest.0 < known.time || newest.1 < commit {
                        (newest.0, newest.1) = (known.time, commit);
                    }
                }
            }
            waiting.extend(known.parents.iter().filter(|parent| !kept.contains_key(parent)));
            kept.insert(id, known);
        }
        progress(1, 1);
        searched.commits = kept.values().filter(|known| known.is_there).count();
        remembered.replace(kept);
        let mut messages: Vec<_> = found.into_iter().collect();
        messages.sort_by(|((a, ha), (at, ..)), ((b, hb), (bt, ..))| (a, at, ha).cmp(&(b, bt, hb)));
        let message = |((path, sha256), (_, commit, readers))| Message { path, sha256, readers, commit };
        searched.messages = messages.into_iter().map(message).collect();
        Ok(searched)
    }

    /// Where to begin: every ref, and HEAD. Trees and blobs that a ref names itself are searched at once.
    fn tips(&self, search: &mut Search<'_>, found: &mut Found) -> Result<Vec<Oid>, RepoError> {
        let failed = || self.git("walk history");
        let mut tips = Vec::new();
        for reference in self.repo().references().map_err(failed())?.flatten() {
            search.left = MOST_ENTRIES;
            if let Ok(commit) = reference.peel(ObjectType::Commit) {
                tips.push(commit.id());
                continue;
            }
            let mut came = Vec::new();
            let object = if let Ok(tree) = reference.peel(ObjectType::Tree) {
                search.tree(Some(tree.id()), &[], "", 0, &mut came).map_err(failed())?;
                tree.id()
            } else if let Ok(blob) = reference.peel(ObjectType::Blob) {
                // It has no path; the name that leads to it will do.
                let path = String::from_utf8_lossy(reference.name_bytes()).into_owned();
                search.blob(blob.id(), &path, &mut came).map_err(failed())?;
                blob.id()
            } else {
                continue;
            };
            for Came { path, sha256, readers } in came {
                found.entry((path, sha256)).or_insert((i64::MIN, object.to_string(), readers));
            }
        }
        tips.extend(self.repo().head().and_then(|head| head.peel(ObjectType::Commit)).map(|commit| commit.id()));
        Ok(tips)
    }
}

/// A tree that is looked up in its own order, so that comparing two of them takes time in their length.
struct Cursor<'a> {
    tree: Rc<git2::Tree<'a>>,
    at: usize,
}

impl Cursor<'_> {
    /// The entry of this name. Names come in the order of trees, or it takes longer.
    fn find(&mut self, name: &[u8]) -> Option<(Oid, Option<ObjectType>)> {
        let is_here = |tree: &git2::Tree<'_>, at| tree.get(at).is_some_and(|entry| entry.name_bytes() == name);
        if !is_here(&self.tree, self.at) {
            self.tree.get_name_bytes(name)?;
            let rest = self.at..self.tree.len();
            self.at = rest.into_iter().find(|at| is_here(&self.tree, *at)).unwrap_or(self.at);
        }
        let entry = self.tree.get(self.at).filter(|entry| entry.name_bytes() == name);
        let entry = entry.or_else(|| self.tree.get_name_bytes(name))?;
        self.at += 1;
        Some((entry.id(), entry.kind()))
    }
}

impl<'a> Search<'a> {
    /// What came with a commit: what lies in its tree, and in no parent's at the same path.
    fn commit(&mut self, id: Oid) -> Result<Known, git2::Error> {
        let Some(commit) = self.there(self.repo.find_commit(id))? else {
            return Ok(Known::default());
        };
        let parents: Vec<Oid> = parents(commit.raw_header_bytes()).collect();
        let mut before = Vec::new();
        for parent in &parents {
            // A parent that is not there is counted when its own turn comes; this commit's part is then not final.
            match self.repo.find_commit(*parent) {
                Ok(parent) => before.push(parent.tree_id()),
                Err(error) if error.code() == ErrorCode::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let mut came = Vec::new();
        self.tree(Some(commit.tree_id()), &before, "", 0, &mut came)?;
        let whole = self.unseen == 0 && before.len() == parents.len();
        Ok(Known { time: commit.time().seconds(), parents, came, is_there: true, whole, is_old: false })
    }

    /// `None`, and one more that was not seen, for an object that is not there.
    fn there<T>(&mut self, object: Result<T, git2::Error>) -> Result<Option<T>, git2::Error> {
        match object {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.code() == ErrorCode::NotFound => {
                self.unseen += 1;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn tree(
        &mut self,
        tree: Option<Oid>,
        before: &[Oid],
        prefix: &str,
        depth: usize,
        came: &mut Vec<Came>,
    ) -> Result<(), git2::Error> {
        let Some(id) = tree.filter(|tree| !before.contains(tree)) else { return Ok(()) };
        let Some(tree) = self.find_tree(id)? else { return Ok(()) };
        let mut others = Vec::new();
        for before in before {
            others.extend(self.find_tree(*before)?.map(|tree| Cursor { tree, at: 0 }));
        }
        for entry in tree.iter() {
            if self.left == 0 || depth > DEEPEST * 4 {
                self.unseen += 1;
                return Ok(());
            }
            self.left -= 1;
            let was: Vec<_> = others.iter_mut().filter_map(|other| other.find(entry.name_bytes())).collect();
            if was.iter().any(|(was, _)| *was == entry.id()) {
                continue;
            }
            let name = name_of(&entry);
            let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
            match entry.kind() {
                Some(ObjectType::Tree) => {
                    let folders = was.iter().filter(|(_, kind)| *kind == Some(ObjectType::Tree));
                    let was: Vec<Oid> = folders.map(|(id, _)| *id).collect();
                    self.tree(Some(entry.id()), &was, &path, depth + 1, came)?;
                }
                Some(ObjectType::Blob) => self.blob(entry.id(), &path, came)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn find_tree(&mut self, id: Oid) -> Result<Option<Rc<git2::Tree<'a>>>, git2::Error> {
        if let Some(tree) = self.trees.iter().rev().find(|tree| tree.id() == id) {
            return Ok(Some(Rc::clone(tree)));
        }
        let Some(tree) = self.there(self.repo.find_tree(id))? else { return Ok(None) };
        if self.trees.len() == TREES {
            self.trees.pop_front();
        }
        let tree = Rc::new(tree);
        self.trees.push_back(Rc::clone(&tree));
        Ok(Some(tree))
    }

    fn blob(&mut self, id: Oid, path: &str, came: &mut Vec<Came>) -> Result<(), git2::Error> {
        if !self.blobs.contains_key(&id) {
            let read = self.read(id)?;
            self.blobs.insert(id, read);
        }
        if let Some(Some((sha256, readers))) = self.blobs.get(&id) {
            came.push(Came { path: path.to_owned(), sha256: *sha256, readers: readers.clone() });
        }
        Ok(())
    }

    /// The hash and the readers of a blob. The size is asked first: a header is cheap (T71).
    fn read(&mut self, id: Oid) -> Result<Option<(Digest, Vec<KeyId>)>, git2::Error> {
        let odb = self.repo.odb()?;
        let Some((size, _)) = self.there(odb.read_header(id))? else { return Ok(None) };
        if size as u64 > LARGEST_SEARCHED {
            return Ok(None);
        }
        let object = odb.read(id)?;
        Ok((self.readers)(object.data()).map(|readers| (Digest::of(object.data()), readers)))
    }
}

/// The parents that a commit's own header names.
pub(super) fn parents(header: &[u8]) -> impl Iterator<Item = Oid> {
    let lines = header.split(|&c| c == b'\n').skip(1);
    let parents = lines.map_while(|line| line.strip_prefix(b"parent "));
    parents.filter_map(|id| Oid::from_str(std::str::from_utf8(id).ok()?).ok())
}
