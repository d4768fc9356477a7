//! STUB
use super::{Answer, Global, Report};
use crate::ops::{Failure, Session};
/// Stub
#[derive(Debug, clap::Args)]
pub struct Args {}
pub fn name(_args: &Args) -> String { "verify".to_owned() }
struct R;
impl Report for R {
    fn human(&self, _out: &mut dyn std::io::Write) -> std::io::Result<()> { Ok(()) }
    fn data(&self) -> serde_json::Value { serde_json::json!({}) }
}
pub fn run(_args: &Args, global: &Global, session: &mut Session) -> Result<Answer, Failure> {
    let tree = crate::repo::read_tree(global.dir())?;
    let anchor = session.settings.pin.as_ref().map(|p| p.anchor());
    let v = crate::trust::verify(tree, anchor.as_ref(), session.now, false);
    Ok(Answer::judged(R, v.findings))
}
