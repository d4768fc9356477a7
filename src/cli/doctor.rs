//! `doctor`: how the checks of this machine read. Making them belongs to `ops::doctor`.

use std::io::{self, Write};

use serde_json::Value;

use super::{Answer, Global, Report};
use crate::model::{Level, displayed};
use crate::ops::confirm::{Confirmation, confirm};
use crate::ops::doctor::{Diagnosis, Outcome, doctor};
use crate::ops::{Failure, Gate, Session};

/// Check this machine: repository, pin, agent, keys, clock, and what kluis could not forbid itself
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES\n  kluis doctor\n  kluis doctor --identity alice.key\n  kluis doctor --confirm\n  \
    kluis doctor --confirm -c prod\n\n\
    Without --confirm it opens no secret and asks for no passphrase. Exit codes: 0 all is well, 1 something will not work, 3 and 4 the\n\
    repository is no good, 5 something is owed, 6 no usable OpenPGP key.")]
pub struct Args {
    /// Open everything that is sealed to you, and record that you could
    #[arg(long)]
    confirm: bool,
}

/// The command's name in reports.
pub fn name(_args: &Args) -> String {
    "doctor".to_owned()
}

/// Runs the command.
pub fn run(args: &Args, global: &Global, session: &mut Session) -> Result<Answer, Failure> {
    if args.confirm {
        global.refuse_at()?;
        let mut repository = session.open(&Gate::Valid)?;
        let clusters = if global.names_clusters() { global.clusters(&repository)? } else { Vec::new() };
        let (confirmation, findings) = confirm(session, &mut repository, &clusters)?;
        return Ok(Answer::judged(confirmation, findings));
    }
    let (diagnosis, mut findings) = doctor(session);
    let exit = diagnosis.exit(&findings);
    // Programs get all of them; a person is told once that something is wrong, and where it is listed.
    if global.output() == super::Output::Human {
        findings.retain(|finding| finding.level == Level::Error && !finding.code.is_anchor());
        findings.truncate(3);
    }
    Ok(Answer { report: Box::new(diagnosis), findings, exit })
}

impl Report for Confirmation {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let (would, person) = (if self.written.dry_run { "would open" } else { "opened" }, &self.person);
        for (cluster, count) in &self.confirmed {
            writeln!(out, "{person} {would} {count} sealed files of cluster {cluster}")?;
        }
        if self.confirmed.is_empty() {
            writeln!(out, "nothing is sealed to {person}: a heartbeat without entries")?;
        }
        match &self.written.record {
            Some(record) => writeln!(out, "record {}\nnext: push it, so that others see it", record.h16()),
            None => Ok(()),
        }
    }

    fn data(&self) -> Value {
        serde_json::json!(self)
    }
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
