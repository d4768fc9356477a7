//! Use cases: the only place that joins work tree, trust, sealing, X.509 and exports. One file a family of
//! commands. Returns values; never prints and never asks but through the session.

pub mod adopt;
pub mod demo;
mod draft;
mod failure;
mod given;
pub mod init;
pub mod person;
pub mod people;
mod pinning;
mod plan;
mod secrets;
mod session;
pub mod trust;

pub use draft::Draft;
pub use failure::Failure;
pub use given::Given;
pub use pinning::{Pinning, pin_line};
pub use plan::{Plan, Written, missing_signatures, new_record, overlay};
pub use session::{Actor, Gate, Repository, Session, Settings};
