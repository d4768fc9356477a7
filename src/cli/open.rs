//! `open`: asks, then writes one secret to stdout as PEM, and nothing else. Opening belongs to `ops::open`.

use std::io::{self, Write};

use serde_json::Value;

use super::{Answer, Global, Report};
use crate::ops::open::{find, open};
use crate::ops::{Failure, Gate, Session};
use crate::seal::SealedKey;

/// Decrypt one secret to stdout, after asking
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES\n  kluis open -c prod ca.kubernetes | openssl pkey -noout -text\n  \
    kluis open -c prod ca.kubernetes.g2 --yes\n  kluis open -c prod sa\n  kluis open -c prod encryption\n  \
    kluis open -c prod node.cp-1/apiserver\n  kluis open -c prod node.cp-1\n\n\
    A name without a generation is the one that issues. A node without a key is all its keys, each below a line\n\
    with its name. Without kluis: gpg -d clusters/prod/sealed/ca.kubernetes.g1.asc | openssl pkey")]
pub struct Args {
    /// ca.KEYSET, sa, encryption, tokens, with .gN for one generation; node.NAME or node.NAME/KEY
    secret: String,
}

/// The command's name in reports.
pub fn name(_args: &Args) -> String {
    "open".to_owned()
}

/// Runs the command.
pub fn run(args: &Args, global: &Global, session: &mut Session) -> Result<Answer, Failure> {
    // Said before a key is asked for: a secret never goes into a JSON object, where logs and tools would keep it.
    if global.output() == super::Output::Json {
        return Err(Failure::usage("a secret is written as PEM only; leave -o json out"));
    }
    if session.settings.dry_run {
        return Err(Failure::usage("open changes nothing; leave --dry-run out"));
    }
    let repository = session.open_reading(&Gate::Valid)?;
    let cluster = global.one_cluster(&repository)?;
    let found = find(&repository, &cluster, &args.secret)?;
    let screen = if session.terminal.shows_answer() {
        " It will be shown on this screen, and may stay in its scrollback."
    } else {
        ""
    };
    let what = match &found.key {
        Some(key) => format!("{}/{key}", found.name),
        None => found.name.to_string(),
    };
    session.confirm(&format!("Open {what} of cluster {cluster}? {}.{screen}", capital(found.power())))?;
    let mut actor = session.actor(&repository.verified)?;
    let keys = open(&repository, &mut actor, &found)?;
    // stdout is PEM alone; which block is which is said beside it.
    if keys.len() > 1 {
        let names = keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>().join(", ");
        session.notes.push(format!("the keys, in this order: {names}"));
    }
    Ok(Answer::fine(Opened { keys }))
}

fn capital(clause: &str) -> String {
    let mut letters = clause.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

struct Opened {
    keys: Vec<SealedKey>,
}

impl Report for Opened {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        for key in &self.keys {
            out.write_all(key.to_pem().expose())?;
        }
        Ok(())
    }

    fn data(&self) -> Value {
        Value::Null
    }

    fn is_raw(&self) -> bool {
        true
    }
}
