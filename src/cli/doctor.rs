//! `doctor`: how the checks of this machine read. Making them belongs to `ops::doctor`.

use std::io::{self, Write};

use serde_json::Value;

use super::{Answer, Global, Report};
use crate::model::{Level, displayed};
use crate::ops::doctor::{Diagnosis, Outcome, doctor};
use crate::ops::{Failure, Session};

/// Check this machine: repository, pin, agent, keys, clock, and what kluis could not forbid itself
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES\n  kluis doctor\n  kluis doctor --identity alice.key\n\n\
    Opens no secret and asks for no passphrase. Exit codes: 0 all is well, 1 something will not work, 3 and 4 the\n\
    repository is no good, 5 something is owed, 6 no usable OpenPGP key.")]
pub struct Args {}

/// The command's name in reports.
pub fn name(_args: &Args) -> String {
    "doctor".to_owned()
}

/// Runs the command.
pub fn run(_args: &Args, global: &Global, session: &mut Session) -> Result<Answer, Failure> {
    let (diagnosis, mut findings) = doctor(session);
    let exit = diagnosis.exit(&findings);
    // Programs get all of them; a person is told once that something is wrong, and where it is listed.
    if global.output() == super::Output::Human {
        findings.retain(|finding| finding.level == Level::Error && !finding.code.is_anchor());
        findings.truncate(3);
    }
    Ok(Answer { report: Box::new(diagnosis), findings, exit })
}

impl Report for Diagnosis {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        for check in &self.checks {
            let word = match check.outcome {
                Outcome::Ok => "ok",
                Outcome::Warn => "warn",
                Outcome::Fail => "FAIL",
            };
            writeln!(out, "{word:<4}  {:<10}  {}", check.name, displayed(&check.what))?;
            if let Some(help) = &check.help {
                writeln!(out, "                  help: {}", displayed(&help.to_string()))?;
            }
        }
        Ok(())
    }

    fn data(&self) -> Value {
        serde_json::json!(self)
    }
}
