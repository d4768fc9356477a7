//! `init`: starts a repository. Owns the words and flags; founding belongs to `ops::init`.

use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Answer, Global, Report};
use crate::model::Remedy;
use crate::ops::equip::{self, Equipped, Wanted};
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
  kluis init --as alice --pgp alice.asc --identity alice.key
  kluis init --as alice --pgp alice.asc --ci github --owners @example/platform
  kluis init --ci gitlab
  kluis init --hook

--ci and --hook alone work in a repository that is there already. Once a machine, switch git's diffs on:
  git config --global diff.kluis.textconv \"kluis textconv\"")]
pub struct Args {
    /// Your OpenPGP certificate: a file with exactly one, or - for standard input
    #[arg(long, value_name = "FILE", required_unless_present_any = ["ci", "hook"])]
    pgp: Option<PathBuf>,
    /// Also write a workflow that verifies and reviews every change, and a fragment of code owners
    #[arg(long, value_name = "HOST", value_enum)]
    ci: Option<Host>,
    /// Who reviews changes of trust, for the fragment of code owners: @org/team, @person (repeatable)
    #[arg(long, value_name = "OWNER", requires = "ci", value_parser = owner)]
    owners: Vec<String>,
    /// Also write a pre-commit hook in this clone that refuses private keys in the clear
    #[arg(long)]
    hook: bool,
}

/// Where pull requests are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Host {
    /// GitHub: .github/workflows/kluis.yml
    Github,
    /// GitLab: .gitlab/ci/kluis.yml
    Gitlab,
    /// Forgejo or Gitea: .forgejo/workflows/kluis.yml
    Forgejo,
}

fn owner(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@/._-+".contains(c);
    if text.contains('@') && text.len() <= 100 && text.chars().all(plain) {
        return Ok(text.to_owned());
    }
    Err("it looks like @org/team, @person or an e-mail address".to_owned())
}

/// The command's name in reports.
pub fn name(_args: &Args) -> String {
    "init".to_owned()
}

/// Starts the repository.
pub fn run(args: &Args, global: &Global, session: &mut Session) -> Result<Answer, Failure> {
    global.refuse_at()?;
    let ci = args.ci.map(|host| match host {
        Host::Github => equip::Host::Github,
        Host::Gitlab => equip::Host::Gitlab,
        Host::Forgejo => equip::Host::Forgejo,
    });
    let wanted = Wanted { ci, owners: args.owners.clone(), hook: args.hook };
    let Some(pgp) = &args.pgp else { return Ok(Answer::fine(equip::equip(session, &wanted)?)) };
    let name = global.actor().ok_or_else(|| {
        Failure::usage("say by which name the epochs shall know you: --as NAME").help(Remedy::Init)
    })?;
    let given = Given::read(pgp, session.now)?;
    Ok(Answer::fine(init::init(session, name, &given, &wanted)?))
}

impl Report for Equipped {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let verb = if self.written.dry_run { "Would write" } else { "Wrote" };
        if self.written.paths.is_empty() && self.hook.is_none() {
            return writeln!(out, "Everything is there already.");
        }
        for path in self.written.paths.iter().chain(&self.hook) {
            writeln!(out, "{verb} {path}")?;
        }
        if self.ci.is_some() {
            writeln!(out, "next: read the first lines of the workflow, and set KLUIS_PIN to what this prints:")?;
            writeln!(out, "  kluis trust pin")?;
        }
        Ok(())
    }

    fn data(&self) -> Value {
        json!(self)
    }
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
        if let Some(hook) = &self.hook {
            writeln!(out, "\nThe hook {hook} refuses private keys in the clear.")?;
        }
        writeln!(out, "\nLet git show recipients instead of ciphertext, once a machine:")?;
        writeln!(out, "  git config --global diff.kluis.textconv \"kluis textconv\"")?;
        writeln!(out, "\nnext: kluis cluster new NAME --endpoint https://api.example.org:6443 --kubernetes 1.36")
    }

    fn data(&self) -> Value {
        json!(self)
    }
}
