//! What `verify` accepts and refuses, on whole repositories in memory.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "../repository/mod.rs"]
mod repository;

mod closing;
mod latest;
mod owed;
mod records;
mod requests;
mod ties;
