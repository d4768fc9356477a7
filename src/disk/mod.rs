//! The one place that writes files, and the one way to read them without following links.
//!
//! Owns: opened folders and what is done in them (`Folder`), files replaced as one (`write_atomic`,
//! `write_private`), files of the person's that others write too (`OwnFile`), locks, exports of plaintext (`export`), and
//! what is read in pieces (`stream`). Nothing else in the program may create, rename or remove a file; git's own objects
//! and index are libgit2's, called by `repo` alone.
//!
//! Must not: know what a file means. Paths, sizes and modes come from the caller.

mod export;
mod fault;
pub(crate) mod folder;
mod own;
mod stream;
mod write;

pub use export::{export, surrounding_git};
pub use fault::{Action, DiskError};
pub use folder::{Facts, Folder, Kind, Reading};
pub use own::OwnFile;
pub use stream::{Stream, stream};
pub(crate) use write::replace;
pub use write::{Lock, Wait, lock, private_folder, read_capped, write_atomic, write_private};
