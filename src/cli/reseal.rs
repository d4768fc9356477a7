//! `reseal`: seals again what is not sealed to the right people. Owns the words; the rest is `ops::reseal`'s.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::{Answer, Global, Report};
use crate::model::{Place, Profile};
use crate::ops::reseal::{self, ResealReport};
use crate::ops::{Failure, Gate, Session};
use crate::trust::record::Recipient;

/// Re-encrypt what is not sealed to exactly the right people
///
/// Works on all clusters unless -c names some. All or nothing: one record and one signature, and one opening a
/// file. Who could open a file once may have kept what was in it: taking that back takes new keys.
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES
  kluis reseal --dry-run
  kluis reseal
  kluis reseal -c prod
  kluis reseal --choose -c prod

Where two branches changed the same file apart, git asks which one to keep; then --choose says so on record. It
keeps what lies in the work tree: sealed files are opened and sealed again, certificates are vouched for as they are,
and a certificate of a request that was granted twice is taken away.")]
pub struct Args {
    /// Also keep, of versions that were made apart, the one that lies in the work tree
    #[arg(long)]
    choose: bool,
}

/// The command's name in reports.
pub fn name(_args: &Args) -> String {
    "reseal".to_owned()
}

/// Seals again.
pub fn run(args: &Args, global: &Global, session: &mut Session) -> Result<Answer, Failure> {
    global.refuse_at()?;
    let mut repository = session.open(if args.choose { &Gate::Conflicts } else { &Gate::Valid })?;
    let named = !global.named_clusters().is_empty();
    let clusters = match named {
        true => global.clusters(&repository)?,
        false => repository.epoch()?.clusters.keys().cloned().collect(),
    };
    let report = reseal::reseal(session, &mut repository, &clusters, named)?;
    let owed = report.written.findings.clone();
    Ok(Answer::written(report, &owed))
}

fn people(recipients: &[Recipient]) -> String {
    recipients.iter().map(|one| format!("{} ({})", one.person, one.key)).collect::<Vec<_>>().join(", ")
}

impl Report for ResealReport {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.resealed.is_empty() && !self.left.is_empty() {
            return writeln!(out, "nothing to do that is yours: something is owed where you are no issuer");
        }
        if self.resealed.is_empty() && self.chosen.is_empty() && self.dropped.is_empty() {
            return writeln!(out, "nothing to do: everything is sealed to exactly the right people");
        }
        for (what, paths) in [("Kept, of two:", &self.chosen), ("Taken away, granted twice:", &self.dropped)] {
            if !paths.is_empty() {
                writeln!(out, "{what}")?;
                paths.iter().try_for_each(|path| writeln!(out, "  {path}"))?;
            }
        }
        for path in &self.dropped {
            if let Ok(Place::PersonCert(cluster, person, profile)) = Place::parse(path) {
                let flags = if profile == Profile::BreakGlass { " --break-glass --reason TEXT" } else { "" };
                writeln!(out, "both live until they end; {person} asks again: kluis request new -c {cluster}{flags}")?;
            }
        }
        if !self.resealed.is_empty() {
            let verb = if self.written.dry_run { "Would seal" } else { "Sealed" };
            let what = if self.resealed.len() == 1 { "file" } else { "files" };
            writeln!(out, "{verb} {} {what} again", self.resealed.len())?;
        }
        let mut shown = None;
        for file in &self.resealed {
            // A newcomer gets many files at once: their keys are named once, not a thousand times.
            let difference = (&file.added, &file.removed);
            if shown != Some(difference) {
                if !file.added.is_empty() {
                    writeln!(out, "now also to {}", people(&file.added))?;
                }
                if !file.removed.is_empty() {
                    writeln!(out, "no longer to {}", people(&file.removed))?;
                }
                shown = Some(difference);
            }
            writeln!(out, "  {}", file.path)?;
        }
        match &self.written.record {
            Some(record) => writeln!(out, "record {}", record.h16()),
            None => Ok(()),
        }
    }

    fn data(&self) -> Value {
        json!(self)
    }
}
