//! `init`: starts a repository. Owns the words and flags; founding belongs to `ops::init`.

use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Answer, Global, Report};
use crate::model::Remedy;
use crate::ops::init::{self, Founded};
use crate::ops::{Failure, Given, Session};

/// Start a repository with you as its first root
///
/// Writes the first epoch, signed with your key, and pins it on this machine. The folder must be in a git work
/// tree that has no trust/ yet; a branch without a commit will do.
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES
  gpg --export alice | kluis init --as alice --pgp -
  kluis init --as alice --pgp alice.asc
  kluis init --as alice --pgp alice.asc --identity alice.key")]
pub struct Args {
    /// Your OpenPGP certificate: a file with exactly one, or - for standard input
    #[arg(long, value_name = "FILE")]
    pgp: PathBuf,
}

/// The command's name in reports.
pub fn name(_args: &Args) -> String {
    "init".to_owned()
}

/// Starts the repository.
pub fn run(args: &Args, global: &Global, session: &mut Session) -> Result<Answer, Failure> {
    global.refuse_at()?;
    let name = global.actor().ok_or_else(|| {
        Failure::usage("say by which name the epochs shall know you: --as NAME").help(Remedy::Init)
    })?;
    let given = Given::read(&args.pgp, session.now)?;
    Ok(Answer::fine(init::init(session, name, &given)?))
}

impl Report for Founded {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.written.dry_run {
            writeln!(out, "A repository would be started with {} ({}) as its root:", self.person, self.cert)?;
            return self.written.paths.iter().try_for_each(|path| writeln!(out, "  {path}"));
        }
        if let Some(repo) = &self.repo {
            writeln!(out, "Started repository {repo}")?;
        }
        writeln!(out, "  root     {} ({})", self.person, self.cert)?;
        if let Some(genesis) = &self.genesis {
            writeln!(out, "  genesis  {genesis}")?;
        }
        let pinned = if self.pinned { "yes" } else { "no: --pin or KLUIS_PIN was given, or see the note" };
        writeln!(out, "  pinned   {pinned}")?;
        if let Some(pin) = &self.pin {
            writeln!(out, "\nColleagues pin it by this line. Hand it over on another channel than the repository:")?;
            writeln!(out, "  {pin}")?;
        }
        writeln!(out, "\nnext: kluis cluster new NAME --endpoint https://api.example.org:6443 --kubernetes 1.36")
    }

    fn data(&self) -> Value {
        json!(self)
    }
}
