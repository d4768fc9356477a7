//! kluis keeps the public key infrastructure of Kubernetes clusters in a git repository.
//!
//! This page is the table of contents; each layer may import only those below it in this list
//! (`tests/layers.rs` reads the `use` lines against it). `docs/ARCHITECTURE.md` tells the whole story.

#![cfg_attr(not(test), warn(clippy::disallowed_methods, clippy::disallowed_macros, clippy::disallowed_types))]

pub mod cli;

pub mod ops;

pub mod export;
pub mod import;
pub mod lint;
pub mod repo;
pub mod seal;

pub mod trust;

pub mod pki;

pub mod openpgp;

pub mod model;

pub mod secret;

pub mod disk;
pub mod env;
