//! `verify`: words and flags, and the verdict in one line. Judging belongs to `ops::verify` and `trust`.

use std::io::{self, Write};

use serde_json::Value;

use super::{Answer, Global, Report};
use crate::ops::verify::{Scope, Staged, Verification, staged, verify};
use crate::ops::{Failure, Session};

/// Check everything: epochs, records, signatures, certificates and sealed files; needs no key
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES\n  kluis verify\n  kluis verify --strict\n  kluis verify --base origin/main\n  \
    kluis -C repository.git verify --rev main --base main~1\n  kluis verify --history\n  \
    kluis -C unpacked-archive verify -o json\n\n\
    In CI, give what `kluis trust pin` prints as KLUIS_PIN or --pin; without a pin it ends 4.\n\
    Exit codes: 0 valid, 3 invalid, 4 not the repository that was pinned, 5 valid but something is owed.")]
pub struct Args {
    /// What is owed counts as an error (exit 3)
    #[arg(long)]
    strict: bool,
    /// Verify this revision from git's objects instead of the work tree; a bare repository will do
    #[arg(long, value_name = "REV")]
    rev: Option<String>,
    /// Also: everything that was signed at this revision is still there, unchanged
    #[arg(long, value_name = "REV")]
    base: Option<String>,
    /// Also: no commit of this clone has a private key in the clear, anywhere in the repository
    #[arg(long)]
    history: bool,
    /// Only look for private keys in what is staged for the next commit (for a pre-commit hook)
    #[arg(long, conflicts_with_all = ["strict", "rev", "base", "history"])]
    staged: bool,
}

/// The command's name in reports.
pub fn name(_args: &Args) -> String {
    "verify".to_owned()
}

/// Runs the command.
pub fn run(args: &Args, _global: &Global, session: &mut Session) -> Result<Answer, Failure> {
    if args.staged {
        let (staged, findings) = staged(session)?;
        return Ok(Answer::judged(staged, findings));
    }
    session.settings.strict = args.strict;
    let scope = Scope { rev: args.rev.clone(), base: args.base.clone(), history: args.history };
    let (verification, findings) = verify(session, &scope)?;
    let exit = crate::trust::exit_code(&findings);
    Ok(Answer { report: Box::new(Verdict { verification, exit }), findings, exit })
}

impl Report for Staged {
    fn human(&self, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    fn data(&self) -> Value {
        serde_json::json!(self)
    }
}

struct Verdict {
    verification: Verification,
    exit: u8,
}

impl Report for Verdict {
    fn human(&self, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    fn verdict(&self, out: &mut dyn Write) -> io::Result<()> {
        let Verification { epoch, draft, records, clusters, files, .. } = &self.verification;
        let word = match self.exit {
            0 => "valid",
            5 => "valid, and something is owed",
            4 => "not known to be the right repository",
            _ => "invalid",
        };
        let epoch = epoch.map_or_else(|| "no valid epoch".to_owned(), |number| format!("epoch {number}"));
        // Beside a draft, or where an epoch is at fault, the log is not judged, so its records are not counted.
        let judged = draft.is_none() && (*records > 0 || self.exit != 3);
        let records = judged.then(|| counted(*records, "record"));
        let counts = records.into_iter().chain([counted(*clusters, "cluster"), counted(*files, "file")]);
        writeln!(out, "{word}: {epoch}, {}", counts.collect::<Vec<_>>().join(", "))?;
        match draft {
            Some(draft) => writeln!(out, "epoch {} is a draft that lacks signatures", draft.number),
            None => Ok(()),
        }
    }

    fn data(&self) -> Value {
        serde_json::json!(self.verification)
    }
}

/// `1 record`, `2 records`.
fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}
