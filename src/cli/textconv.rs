//! `textconv`: git's diff driver for sealed files and certificates. Describing belongs to `ops::textconv`.

use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Answer, Global, Report};
use crate::ops::textconv::{Described, textconv};
use crate::ops::{Failure, Session};

/// Show recipients and facts of one file instead of its bytes, without decrypting (git's diff driver)
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES\n  git config diff.kluis.textconv \"kluis textconv\"\n  \
    kluis textconv clusters/prod/sealed/ca.kubernetes.g1.asc\n  kluis textconv pubkeys/alice.asc\n\n\
    `kluis init` writes the attributes that make git use it; the first line above, once a machine, switches it on.\n\
    Then git diff, git log -p and git show never show ciphertext, and never ask for a passphrase. Names are those\n\
    of the epochs in the work tree, and nothing here is verified: `kluis review` and `kluis verify` do that.")]
pub struct Args {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// The command's name in reports.
pub fn name(_args: &Args) -> String {
    "textconv".to_owned()
}

/// Runs the command.
pub fn run(args: &Args, _global: &Global, session: &mut Session) -> Result<Answer, Failure> {
    Ok(Answer::fine(textconv(session, &args.file)?))
}

impl Report for Described {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.kind == "text" {
            return self.text.iter().try_for_each(|line| writeln!(out, "{line}"));
        }
        writeln!(out, "{}", self.kind)?;
        self.facts.iter().try_for_each(|(name, value)| writeln!(out, "  {name:10}  {value}"))
    }

    fn data(&self) -> Value {
        let facts: Vec<Value> = self.facts.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
        json!({ "kind": self.kind, "facts": facts, "text": self.text })
    }
}
