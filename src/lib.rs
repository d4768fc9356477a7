//! kluis keeps the public key infrastructure of Kubernetes clusters in a git repository.
//!
//! This page is the table of contents; each layer may import only those below it in this list
//! (`tests/layers.rs` reads the `use` lines against it). `docs/ARCHITECTURE.md` tells the whole story.

pub mod repo;

pub mod trust;

pub mod pki;

pub mod openpgp;

pub mod model;

pub mod secret;

pub mod disk;

pub mod env;
