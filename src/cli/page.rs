//! `report`: its words and flags, and what is printed beside the page. Gathering belongs to `ops::overview`; how the page
//! reads, to the files below, which write through `markup` alone.

mod certificates;
mod debts;
mod markup;
mod matrix;
mod sheet;
mod timeline;
mod trust;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::global::Output;
use super::{Answer, Global, Report};
use crate::model::{Remedy, displayed};
use crate::ops::beside;
use crate::ops::overview::{self, Overview};
use crate::ops::{Failure, Session};

/// Write one page about everything: who can read what, what changed, what ends, who signed, what is owed
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES
  kluis report --html report.html
  kluis report --html report.html --since 4
  kluis report --html - -c prod > prod.html
  kluis report -o json

The page is one file: it loads nothing, runs no script but its own search, and reads on paper, on a phone, and in light and
dark. Names and reasons from files are inert in it. -o json has the same data. What can be read is taken from the log;
`kluis exposure PERSON` searches git's history too.

Needs no key. Exit codes are those of `kluis verify`; the page is written whatever is wrong, and says so at its top. An
existing file is replaced, but none that kluis or git keep.")]
pub struct Args {
    /// Write the page to this file (- for stdout)
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Mark what changed since this epoch was drafted; the one before the latest if left out
    #[arg(long, value_name = "EPOCH")]
    since: Option<u32>,
}

/// The command's name in reports.
pub fn name(_args: &Args) -> String {
    "report".to_owned()
}

/// Runs the command.
pub fn run(args: &Args, global: &Global, session: &mut Session) -> Result<Answer, Failure> {
    let target = args.html.as_deref();
    if target.is_none() && global.output() == Output::Human {
        let help = Remedy::Kluis("report --html report.html".to_owned());
        return Err(Failure::usage("say where to: --html FILE, or -o json for the data alone").help(help));
    }
    let gathered = overview::overview(session, global.named_clusters(), args.since)?;
    let exit = crate::trust::exit_code(&gathered.findings);
    let page = target.map(|_| sheet::page(&gathered.overview, &gathered.findings, exit));
    if let (Some(path), Some(page)) = (target, &page) {
        if path == Path::new("-") {
            return Ok(Answer::judged(Stream(page.clone()), gathered.findings));
        }
        if !session.settings.dry_run {
            beside::write(&gathered.root, path, page.as_bytes(), "report --html report.html")?;
        }
    }
    let file = target.map(|path| path.display().to_string());
    let written = Written { file, dry_run: session.settings.dry_run, overview: gathered.overview };
    Ok(Answer::judged(written, gathered.findings))
}

/// The page as the answer.
struct Stream(String);

impl Report for Stream {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(self.0.as_bytes())
    }

    fn data(&self) -> Value {
        Value::Null
    }

    fn is_raw(&self) -> bool {
        true
    }
}

/// The page in a file, or the data alone.
struct Written {
    file: Option<String>,
    dry_run: bool,
    overview: Overview,
}

impl Report for Written {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let verb = if self.dry_run { "would write" } else { "wrote" };
        writeln!(out, "{verb} {}", displayed(file))
    }

    fn data(&self) -> Value {
        let mut data = json!(self.overview);
        data["file"] = json!(self.file);
        data
    }
}
