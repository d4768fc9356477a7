//! The managed files as plain values: what `repo` reads and trust judges. Nothing here touches a disk.

use std::collections::BTreeMap;

/// What lies at one path of the managed trees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A regular file.
    File {
        /// All its bytes.
        bytes: Vec<u8>,
        /// Whether its owner may execute it.
        executable: bool,
    },
    /// A file larger than its place allows, not read; its size in bytes (`limit`).
    TooLarge(u64),
    /// A link, pipe, socket or device, in words (`not-regular`).
    NotRegular(String),
}

impl Entry {
    /// A plain file with these bytes.
    pub fn file(bytes: impl Into<Vec<u8>>) -> Self {
        Self::File { bytes: bytes.into(), executable: false }
    }
}

/// Everything in `trust/`, `pubkeys/` and `clusters/`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    /// By path relative to the root, with `/` between its parts. Bytes that are not UTF-8 stand as `\xNN`, and
    /// such a path is no place.
    pub entries: BTreeMap<String, Entry>,
    /// More files than FORMAT 1 allows were there; the rest was not read (`limit`).
    pub overflow: bool,
}

impl Tree {
    /// The bytes of the file at `path`, if a file of an allowed size is there.
    pub fn bytes(&self, path: &str) -> Option<&[u8]> {
        match self.entries.get(path) {
            Some(Entry::File { bytes, .. }) => Some(bytes),
            _ => None,
        }
    }
}
