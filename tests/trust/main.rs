//! What `verify` accepts and refuses, on whole repositories in memory.

#[path = "../repository/mod.rs"]
mod repository;

mod attacks;
mod canonical;
mod closing;
mod owed;
mod phases;
mod removal;
mod requests;
