//! Trust.

mod tree;

pub use tree::{Entry, Tree};
