//! STUB to be replaced on merge.
mod attributes;
mod fault;
mod pins;
mod walk;
pub use attributes::with_attributes;
pub use fault::RepoError;
pub use pins::{Pins, PinsError, RepoPin, Verified};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
pub use walk::{MANAGED, read_tree};
#[derive(Debug, Default, Clone)]
pub struct ChangeSet {
    pub writes: BTreeMap<String, Vec<u8>>,
    pub removes: BTreeSet<String>,
}
pub enum Commit {
    Message(String),
    IndexOnly,
}
pub struct Applied {
    pub commit: Option<String>,
}
pub struct WorkTree(());
impl WorkTree {
    pub fn open(_dir: &Path) -> Result<WorkTree, RepoError> {
        todo!()
    }
    pub fn create(_dir: &Path, _name: &str, _email: &str) -> Result<WorkTree, RepoError> {
        todo!()
    }
    pub fn root(&self) -> &Path {
        todo!()
    }
    pub fn check_writable(&self, _allowed: &[String]) -> Result<(), RepoError> {
        todo!()
    }
    pub fn dirty(&self) -> Result<Vec<String>, RepoError> {
        todo!()
    }
    pub fn remotes(&self) -> Vec<String> {
        todo!()
    }
    pub fn head(&self) -> Option<String> {
        todo!()
    }
    pub fn wants_signed_commits(&self) -> bool {
        todo!()
    }
    pub fn recover(&self) -> Result<Option<String>, RepoError> {
        todo!()
    }
    pub fn apply(&self, _changes: &ChangeSet, _commit: Commit) -> Result<Applied, RepoError> {
        todo!()
    }
}
