//! `adopt`: vouches for records that no epoch allows any more. Owns the words and flags.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::{Answer, Global, Report};
use crate::model::displayed;
use crate::ops::adopt::{self, Adopted};
use crate::ops::{Failure, Session};

/// Vouch for records that no epoch allows any more
///
/// A void record makes the repository invalid. Adopt it if what it says is right; you must be allowed to do
/// everything that it does. `kluis verify` names the void records.
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES
  kluis adopt 5f2c9a0e71b3d846 --reason \"bob's pull request was open while he changed teams\"")]
pub struct Args {
    /// Hashes of records, or their beginnings
    #[arg(value_name = "RECORD", required = true)]
    records: Vec<String>,
    /// Why you vouch for them
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// The command's name in reports.
pub fn name(_args: &Args) -> String {
    "adopt".to_owned()
}

/// Adopts the records.
pub fn run(args: &Args, global: &Global, session: &mut Session) -> Result<Answer, Failure> {
    global.refuse_at()?;
    let adopted = adopt::adopt(session, &args.records, &args.reason)?;
    let owed = adopted.written.findings.clone();
    Ok(Answer::written(adopted, &owed))
}

impl Report for Adopted {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}:", if self.written.dry_run { "Would adopt" } else { "Adopted" })?;
        for voided in &self.adopted {
            writeln!(out, "  {}", voided.record)?;
            writeln!(out, "    {} ran {} at {}", voided.actor, displayed(&voided.command), voided.time)?;
            if !voided.reason.is_empty() {
                writeln!(out, "    because  {}", displayed(&voided.reason))?;
            }
            writeln!(out, "    void as  {}: {}", voided.code, displayed(&voided.why))?;
            for entry in &voided.entries {
                writeln!(out, "    {}", displayed(entry))?;
            }
            for path in &voided.paths {
                writeln!(out, "    vouches for {path}")?;
            }
        }
        writeln!(out, "next: kluis verify")
    }

    fn data(&self) -> Value {
        json!(self)
    }
}
