//! `completions`: shell completions from the same grammar that parses.

use std::io::{self, Write};

use clap_complete::Shell;
use serde_json::Value;

use super::{Answer, Global, Report};
use crate::ops::{Failure, Session};

/// Print shell completions
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES\n  kluis completions bash > ~/.local/share/bash-completion/completions/kluis\n  \
    kluis completions zsh > ~/.zfunc/_kluis\n  kluis completions fish > ~/.config/fish/completions/kluis.fish")]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// The command's name in reports.
pub fn name(_args: &Args) -> String {
    "completions".to_owned()
}

/// Runs the command.
pub fn run(args: &Args, _global: &Global, _session: &mut Session) -> Result<Answer, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::grammar(), "kluis", &mut script);
    Ok(Answer::fine(Script(script)))
}

struct Script(Vec<u8>);

impl Report for Script {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(&self.0)
    }

    fn data(&self) -> Value {
        Value::Null
    }

    fn is_raw(&self) -> bool {
        true
    }
}
