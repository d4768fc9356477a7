//! `man`: man pages, one a command, from the same grammar that parses.

use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Answer, Global, Report};
use crate::model::displayed;
use crate::ops::{Failure, Session};

/// Print a man page, or write them all to a folder
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES\n  kluis man | man -l -\n  kluis man verify | man -l -\n  \
    kluis man --out ~/.local/share/man/man1")]
pub struct Args {
    /// The command; kluis itself if left out
    #[arg(value_name = "COMMAND", conflicts_with = "out")]
    command: Vec<String>,
    /// Write the pages of all commands here
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// The command's name in reports.
pub fn name(_args: &Args) -> String {
    "man".to_owned()
}

/// Runs the command.
pub fn run(args: &Args, _global: &Global, _session: &mut Session) -> Result<Answer, Failure> {
    let pages = pages().map_err(|error| Failure::failed(format!("a man page can't be made: {error}")))?;
    if let Some(dir) = &args.out {
        crate::ops::man::write(dir, &pages)?;
        let names = pages.into_iter().map(|(name, _)| name).collect();
        return Ok(Answer::fine(Pages { dir: dir.clone(), names }));
    }
    let wanted = std::iter::once("kluis").chain(args.command.iter().map(String::as_str)).collect::<Vec<_>>().join("-");
    let page = pages.into_iter().find(|(name, _)| *name == format!("{wanted}.1"));
    let unknown = || Failure::usage(format!("there is no command {:?}", args.command.join(" ")));
    page.map(|(_, page)| Answer::fine(Page(page))).ok_or_else(unknown)
}

/// Every page: file name and content, by name.
fn pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut pages = Vec::new();
    let mut grammar = super::grammar();
    grammar.build();
    add(&grammar, "kluis", &mut pages)?;
    pages.sort();
    Ok(pages)
}

fn add(command: &clap::Command, name: &str, pages: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
    let mut page = Vec::new();
    let titled = command.clone().display_name(name.to_owned());
    clap_mangen::Man::new(titled).render(&mut page)?;
    pages.push((format!("{name}.1"), page));
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        add(sub, &format!("{name}-{}", sub.get_name()), pages)?;
    }
    Ok(())
}

struct Page(Vec<u8>);

impl Report for Page {
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

struct Pages {
    dir: PathBuf,
    names: Vec<String>,
}

impl Report for Pages {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{} pages in {}", self.names.len(), displayed(&self.dir.display().to_string()))
    }

    fn data(&self) -> Value {
        json!({ "dir": self.dir, "pages": self.names })
    }
}
