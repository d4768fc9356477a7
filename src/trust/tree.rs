//! The files of the managed trees as bytes, however they were read. Pure.

use std::collections::BTreeMap;

/// What lies at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A regular file within its size.
    File {
        /// Its bytes.
        bytes: Vec<u8>,
        /// Whether anybody may execute it; of no consequence.
        executable: bool,
    },
    /// A regular file beyond its size, in bytes; not read.
    TooLarge(u64),
    /// Something else: what, in words.
    NotRegular(String),
}

impl Entry {
    /// Whether the same lies there: the same bytes, or the same fault. Who may execute it is of no consequence.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File { bytes: a, .. }, Self::File { bytes: b, .. }) => a == b,
            (a, b) => a == b,
        }
    }
}

/// The managed trees: paths relative to the repository's root, `/` between their parts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    /// What lies where. Paths that are not UTF-8 are escaped, and so are no names.
    pub entries: BTreeMap<String, Entry>,
    /// Whether reading stopped at the largest number of files.
    pub overflow: bool,
}

impl Tree {
    /// The entries below a folder, which ends with `/`: a look at a few of many files costs no more than these.
    pub fn below<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = (&'a String, &'a Entry)> {
        let from = self.entries.range::<str, _>((std::ops::Bound::Included(folder), std::ops::Bound::Unbounded));
        from.take_while(move |(path, _)| path.starts_with(folder))
    }

    /// The entries of all clusters that lie in one of these folders: `ca`, `requests`.
    pub fn in_clusters<'a>(&'a self, folders: &'a [&'a str]) -> impl Iterator<Item = (&'a String, &'a Entry)> {
        self.below("clusters/")
            .filter(move |(path, _)| path.split('/').nth(2).is_some_and(|folder| folders.contains(&folder)))
    }

    /// The bytes of the file at `path`, if a regular file within its size lies there.
    pub fn bytes(&self, path: &str) -> Option<&[u8]> {
        match self.entries.get(path) {
            Some(Entry::File { bytes, .. }) => Some(bytes),
            _ => None,
        }
    }
}
