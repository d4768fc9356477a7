//! What a review looks at, read from git: epochs and OpenPGP certificates of both sides, the files that differ, and
//! whole trees only where there are few files or trust itself changes. No checkout, no hook, no filter.

use std::collections::BTreeSet;

use super::Asked;
use crate::model::{Digest, Place};
use crate::ops::failure::Failure;
use crate::ops::session::Session;
use crate::repo::{Changed, History, LARGEST_SEARCHED, Revision};
use crate::trust::Tree;

/// Up to this many clusters, and records, the whole head is judged; `--full` judges more.
const FEW_CLUSTERS: usize = 200;
const FEW_RECORDS: usize = 2_000;

/// One side, by name.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Side {
    /// As it was asked for, or `work tree`.
    pub name: String,
    /// The commit or tree; none for the work tree, and before the first commit.
    pub id: Option<String>,
}

impl Side {
    /// How git is asked for it: for remedies.
    pub fn revision(&self) -> &str {
        self.id.as_deref().unwrap_or(&self.name)
    }
}

/// A file outside the managed trees that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    /// Its path, as git has it.
    pub path: String,
    /// Whether it is gone.
    pub removed: bool,
    /// Whether it may be executed.
    pub executable: bool,
    /// Whether it is a link or a submodule.
    pub is_link: bool,
    /// Whether it has a private key in the clear.
    pub secret: bool,
}

/// Both sides, as far as they are needed.
pub struct Material {
    /// What it is compared with.
    pub base: Side,
    /// What is reviewed.
    pub head: Side,
    /// Epochs, OpenPGP certificates and changed files before.
    pub before: Tree,
    /// The same afterwards.
    pub after: Tree,
    /// Managed paths that differ.
    pub changed: Vec<String>,
    /// Paths of records that are there afterwards, for parents that are not read.
    pub records: BTreeSet<String>,
    /// Other paths that differ.
    pub elsewhere: Vec<Elsewhere>,
    /// The whole managed trees, before and after, where they are judged.
    pub whole: Option<(Tree, Tree)>,
    /// Whether something was too much to be looked at.
    pub overflow: bool,
    /// How the base was found, where that needs a word.
    pub note: Option<String>,
    /// The root of the work tree or the bare repository.
    pub root: std::path::PathBuf,
}

fn is_managed(path: &str) -> bool {
    crate::repo::MANAGED.iter().any(|root| path == *root || path.strip_prefix(root).is_some_and(|r| r.starts_with('/')))
}

/// What is read of both sides in any case.
fn is_context(path: &str) -> bool {
    path == "trust" || path == "trust/epoch" || path.starts_with("trust/epoch/") || path.starts_with("pubkeys")
}

impl Material {
    /// Reads what `asked` names.
    pub fn read(session: &Session, asked: &Asked, full: bool) -> Result<Self, Failure> {
        let history = History::open(&session.settings.dir)?;
        match &asked.head {
            Some(head) => Self::between(&history, asked.base.as_deref(), head, full),
            None => Self::of_work_tree(&history),
        }
    }

    fn between(history: &History, base: Option<&str>, head: &str, full: bool) -> Result<Self, Failure> {
        let after = history.resolve(head)?;
        let (before, note) = match base {
            Some(base) => {
                let named = history.resolve(base)?;
                match history.merge_base(&named, &after)? {
                    Some(parted) if parted.id() != named.id() => {
                        let short = &parted.id()[..12];
                        let note = format!("{base} went on since they parted; compared with {short}, where they did");
                        (Some(parted.called(named.name)), Some(note))
                    }
                    _ => (Some(named), None),
                }
            }
            None => (history.parent(&after)?, None),
        };
        let changes = history.changes(before.as_ref(), &after)?;
        let mut material = Self {
            base: before.as_ref().map_or(Side { name: "nothing".to_owned(), id: None }, |before| Side {
                name: before.name.clone(),
                id: Some(before.id()),
            }),
            head: Side { name: after.name.clone(), id: Some(after.id()) },
            before: match &before {
                Some(before) => history.read(before, &is_context)?,
                None => Tree::default(),
            },
            after: history.read(&after, &is_context)?,
            changed: Vec::new(),
            records: BTreeSet::new(),
            elsewhere: Vec::new(),
            whole: None,
            overflow: changes.overflow,
            note,
            root: history.root().to_owned(),
        };
        let epochs = material.epochs_differ();
        for changed in changes.files {
            material.add(history, changed)?;
        }
        let months = history.names(&after, "trust/log");
        let records: usize = months.iter().map(|month| history.count(&after, &format!("trust/log/{month}"))).sum();
        // Trust that changes is judged against everything that there is, however much that is: it is rare.
        if full || epochs || history.count(&after, "clusters") <= FEW_CLUSTERS && records <= 2 * FEW_RECORDS {
            let old = match &before {
                Some(before) => history.read(before, &|_| true)?,
                None => Tree::default(),
            };
            material.whole = Some((old, history.read(&after, &|_| true)?));
        } else {
            for month in months {
                let names = history.names(&after, &format!("trust/log/{month}"));
                material.records.extend(names.iter().map(|name| format!("trust/log/{month}/{name}")));
            }
        }
        Ok(material)
    }

    /// Takes in one path that differs.
    fn add(&mut self, history: &History, changed: Changed) -> Result<(), Failure> {
        let Changed { path, before, after } = changed;
        if is_managed(&path) {
            if let Some(version) = before {
                self.before.entries.insert(path.clone(), history.entry(&path, version)?);
            }
            if let Some(version) = after {
                self.after.entries.insert(path.clone(), history.entry(&path, version)?);
            }
            self.changed.push(path);
            return Ok(());
        }
        let bytes = match after {
            Some(version) => history.bytes(version, LARGEST_SEARCHED)?,
            None => None,
        };
        self.elsewhere.push(Elsewhere {
            removed: after.is_none(),
            executable: after.is_some_and(|version| version.is_executable()),
            is_link: after.is_some_and(|version| version.is_link()),
            secret: bytes.is_some_and(|bytes| crate::trust::holds_whole_secret(&bytes)),
            path,
        });
        Ok(())
    }

    /// The work tree against the last commit.
    fn of_work_tree(history: &History) -> Result<Self, Failure> {
        let head = history.resolve("HEAD").ok();
        let old = match &head {
            Some(head) => history.read(head, &|_| true)?,
            None => Tree::default(),
        };
        let new = crate::repo::read_tree(history.root())?;
        let paths: BTreeSet<&String> = old.entries.keys().chain(new.entries.keys()).collect();
        let differs = |path: &&&String| match (old.entries.get(**path), new.entries.get(**path)) {
            (Some(a), Some(b)) => !a.is_same(b),
            (a, b) => a.is_some() != b.is_some(),
        };
        let changed: Vec<String> = paths.iter().filter(differs).map(|path| (*path).clone()).collect();
        let part = |tree: &Tree| Tree {
            entries: tree
                .entries
                .iter()
                .filter(|(path, _)| is_context(path) || changed.binary_search(path).is_ok())
                .map(|(path, entry)| (path.clone(), entry.clone()))
                .collect(),
            overflow: tree.overflow,
        };
        let mut elsewhere = Vec::new();
        for edited in history.edited()?.into_iter().filter(|edited| !is_managed(&edited.path)) {
            let path = history.root().join(&edited.path);
            // What can't be read as a plain file of this size is no key that could be found.
            let bytes = crate::disk::read_capped(&path, LARGEST_SEARCHED).ok().flatten();
            elsewhere.push(Elsewhere {
                path: edited.path,
                removed: edited.removed,
                executable: edited.executable,
                is_link: edited.is_link,
                secret: bytes.is_some_and(|bytes| crate::trust::holds_whole_secret(&bytes)),
            });
        }
        Ok(Self {
            base: Side { name: "HEAD".to_owned(), id: head.as_ref().map(Revision::id) },
            head: Side { name: "work tree".to_owned(), id: None },
            before: part(&old),
            after: part(&new),
            overflow: old.overflow || new.overflow,
            changed,
            records: BTreeSet::new(),
            elsewhere,
            whole: Some((old, new)),
            note: None,
            root: history.root().to_owned(),
        })
    }

    /// Whether an epoch is another, or an epoch's signature.
    pub fn epochs_differ(&self) -> bool {
        let epochs = |tree: &Tree| -> Vec<(String, Option<Digest>)> {
            let of = tree
                .entries
                .iter()
                .filter(|(path, _)| matches!(Place::parse(path), Ok(Place::Epoch(_) | Place::EpochSignature { .. })));
            of.map(|(path, _)| (path.clone(), tree.bytes(path).map(Digest::of))).collect()
        };
        epochs(&self.before) != epochs(&self.after)
    }
}
