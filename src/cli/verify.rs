//! STUB
use super::{Answer, Global};
use crate::ops::{Failure, Session};
/// Stub
#[derive(Debug, clap::Args)]
pub struct Args {}
pub fn name(_args: &Args) -> String { "verify".to_owned() }
pub fn run(_args: &Args, _global: &Global, _session: &mut Session) -> Result<Answer, Failure> { todo!() }
