//! Trust: epochs, records, requests, the signature rule, and what follows from them (FORMAT 1 to 11). Pure:
//! sees bytes, a pin and a time; never a disk, a clock, git or a private key.

mod allowed;
pub mod anchor;
mod canonical;
pub mod chain;
pub mod current;
mod dag;
pub mod difference;
mod epoch;
pub mod exposure;
mod files;
pub mod latest;
pub mod log;
pub mod owed;
pub(crate) mod parallel;
pub mod phases;
pub mod range;
pub mod record;
mod request;
pub mod requests;
mod tree;
mod uses;
mod verify;

use std::collections::BTreeMap;

pub use allowed::{GRACE, approvers, keyset_of};
pub use canonical::StatementFault;
pub use epoch::{Closes, Cluster, Epoch, Former, FormerReason, Person, Policy, Thresholds, TrustRole, Waived};
pub use files::{check as check_files, holds_secret, holds_whole_secret};
pub use record::Record;
pub use request::Request;
pub use tree::{Entry, Tree};
pub use uses::Uses;
pub use verify::{Verified, exit_code, verify, verify_as_if_signed, verify_change, without_draft};

/// The CA certificates of a tree, by the hash of their DER.
pub type Authorities = BTreeMap<crate::model::Digest, crate::pki::Facts>;
