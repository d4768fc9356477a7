//! Use cases: the only place that joins work tree, trust, sealing, X.509 and exports. One file a family of
//! commands. Returns values; never prints and never asks but through the session.

mod access;
pub mod adopt;
pub mod audit;
pub mod cert;
pub mod cluster;
pub mod confirm;
pub mod credential;
mod csr;
pub mod demo;
pub mod doctor;
mod draft;
pub mod equip;
pub mod export;
pub mod exposure;
mod failure;
mod given;
pub mod init;
mod issuing;
pub mod kubeconfig;
pub mod leaving;
pub mod lint;
pub mod man;
pub mod open;
pub mod own_keys;
pub mod people;
pub mod person;
mod pinning;
mod plan;
pub mod requests;
pub mod reseal;
pub mod review;
pub mod rotate;
mod secrets;
mod session;
pub mod status;
pub mod textconv;
pub mod trust;
pub mod verify;

pub use draft::Draft;
pub use failure::Failure;
pub use given::Given;
pub use pinning::{Pinning, names, pin_line};
pub use plan::{Plan, Written, missing_signatures, new_record, overlay};
pub use session::{Actor, Gate, Progress, Repository, Session, Settings};
