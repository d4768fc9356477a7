//! The work tree and git: reads the managed files strictly, writes change sets as one unit, keeps the pins.
//! The only module that names git2; runs no git program, no hook and no filter.
//!
//! Must not: look inside sealed files, judge trust, or write a file itself (`disk` does).

mod apply;
mod attributes;
mod changes;
mod dirty;
mod fault;
mod history;
mod journal;
mod locks;
mod messages;
mod objects;
mod pins;
mod remembered;
#[cfg(test)]
mod sandbox;
mod walk;
mod worktree;

pub use attributes::with_attributes;
pub use changes::{Applied, ChangeSet, Commit};
pub use fault::RepoError;
pub use history::{Blob, Changed, Changes, Edited, History, LARGEST_SEARCHED, Revision, Version};
pub use journal::is_half_written;
pub use messages::{Message, Searched};
pub use pins::{Pins, PinsError, RepoPin, Verified};
pub use remembered::Remembered;
pub use walk::{MANAGED, read_chosen, read_part, read_tree};
pub use worktree::WorkTree;
