//! `kubeconfig`: words and flags, and how the answer reads. Gathering and writing belong to `ops::kubeconfig`.

use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::{Value, json};

use super::request::Shown;
use super::{Answer, Global, Report};
use crate::model::{Span, displayed};
use crate::ops::kubeconfig::{KubeconfigReport, Target, Wanted, kubeconfig};
use crate::ops::requests::{Urgent, urgent};
use crate::ops::{Failure, Gate, Session};

/// Give kubectl a context for a cluster, whose key stays sealed
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES
  kluis kubeconfig -c prod
  kluis kubeconfig -c prod --break-glass --reason \"API down, INC-4711\"
  kluis kubeconfig -c prod --out prod.conf --no-switch
  kluis kubeconfig -c prod --inline --out /run/user/1000/prod.conf

Adds the context NAME@CLUSTER to the first file of $KUBECONFIG, else to ~/.kube/config, and leaves all else in it as it
is. kubectl then runs `kluis credential` at each call, which opens the key through gpg-agent and writes it nowhere.

With --break-glass and a reason, what is missing is asked for: run it again when the issuers have approved it. Where one
issuer is enough and you are one, it is issued at once.")]
pub struct Args {
    /// Another kubeconfig, which may exist; - for stdout
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write the certificate and its key into the file, in the clear
    #[arg(long, conflicts_with = "client_key")]
    inline: bool,
    /// The key of the certificate lies in this file
    #[arg(long, value_name = "FILE")]
    client_key: Option<PathBuf>,
    /// Another name for the context, and for its cluster and user
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Your certificate for system:masters, as NAME-break-glass@CLUSTER
    #[arg(long)]
    break_glass: bool,
    /// Why you need system:masters now; asks for it where you don't have it
    #[arg(long, value_name = "TEXT", requires = "break_glass")]
    reason: Option<String>,
    /// How long to ask for; as cluster.toml says if left out
    #[arg(long, value_name = "DURATION", requires = "reason")]
    lifetime: Option<Span>,
    /// Leave the current context as it is
    #[arg(long)]
    no_switch: bool,
}

/// The command's name in reports.
pub fn name(_args: &Args) -> String {
    "kubeconfig".to_owned()
}

/// Runs the command.
pub fn run(args: &Args, global: &Global, session: &mut Session) -> Result<Answer, Failure> {
    global.refuse_at()?;
    let target = match &args.out {
        None => Target::Default,
        Some(path) if path.as_os_str() == "-" => Target::Stdout,
        Some(path) => Target::File(path.clone()),
    };
    if target == Target::Stdout && global.output() == super::Output::Json {
        return Err(Failure::usage("--out - answers with a kubeconfig; leave -o json out"));
    }
    let wanted = Wanted {
        target,
        inline: args.inline,
        client_key: args.client_key.clone(),
        context: args.context.clone(),
        break_glass: args.break_glass,
        switch: !args.no_switch,
    };
    if let Some(reason) = &args.reason {
        let mut repository = session.open(&Gate::Valid)?;
        let cluster = global.one_cluster(&repository)?;
        match urgent(session, &mut repository, &cluster, (reason, args.lifetime, Span::days(1)))? {
            Urgent::Live => {}
            Urgent::Issued(issued) if session.settings.dry_run => return Ok(Answer::written(*issued, &[])),
            Urgent::Issued(_) => session.notes.push(format!(
                "BREAK-GLASS: this is system:masters, issued by you alone (threshold.break_glass is 1), because {reason}"
            )),
            Urgent::Asked(asked) => return Ok(Answer::written(*asked, &[])),
            Urgent::Waiting(page) => return Ok(Answer::fine(Shown(*page))),
        }
        return Ok(Answer::fine(kubeconfig(session, &repository, &cluster, &wanted)?));
    }
    let repository = session.open_reading(&Gate::Valid)?;
    let cluster = global.one_cluster(&repository)?;
    Ok(Answer::fine(kubeconfig(session, &repository, &cluster, &wanted)?))
}

impl Report for KubeconfigReport {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        if let Some(content) = &self.content {
            return out.write_all(content.expose());
        }
        let verb = if self.dry_run { "Would write" } else { "Wrote" };
        let file = self.file.as_deref().unwrap_or("stdout");
        writeln!(out, "{verb} context {} to {}", displayed(&self.context), displayed(file))?;
        let cas = if self.authorities == 1 { "CA certificate" } else { "CA certificates" };
        writeln!(out, "  server   {}, by {} {cas}", displayed(&self.server), self.authorities)?;
        writeln!(out, "  user     {}, {} certificate until {}", self.person, self.profile, self.not_after)?;
        match self.key {
            "inline" => writeln!(out, "  key      IN THIS FILE, IN THE CLEAR: whoever reads it is {}", self.person)?,
            "file" => writeln!(out, "  key      in the file that you named")?,
            _ => writeln!(out, "  key      sealed; `kluis credential` opens it at each call")?,
        }
        let shown = |name: &Option<String>| name.as_deref().map_or_else(|| "none".to_owned(), displayed);
        match (self.previous_context == self.current_context, &self.previous_context) {
            (true, _) => writeln!(out, "  current  {}, as before", shown(&self.current_context)),
            (false, None) => writeln!(out, "  current  {}", shown(&self.current_context)),
            (false, Some(_)) => {
                writeln!(out, "  current  {}, before: {}", shown(&self.current_context), shown(&self.previous_context))
            }
        }
    }

    fn data(&self) -> Value {
        json!(self)
    }

    fn is_raw(&self) -> bool {
        self.content.is_some()
    }
}
