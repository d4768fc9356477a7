//! `cert`: certificates, issued, listed and shown. Owns the words and flags; the rest is `ops::cert`'s.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::{Answer, Global, Report};
use crate::model::{NodeName, Profile, Remedy, Span, displayed};
use crate::ops::cert::view::{self, CertList, CertPage};
use crate::ops::cert::{self, IssueReport};
use crate::ops::{Failure, Gate, Session};

/// Issue, list and show certificates
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES\n  kluis cert list -c prod\n  kluis cert show cp-1/apiserver -c prod\n  kluis cert issue apiserver -c prod --node cp-1")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Issue a node's certificates anew with new keys, or your own break-glass certificate
    #[command(after_help = "EXAMPLES
  kluis cert issue -c prod --node cp-1
  kluis cert issue apiserver -c prod --node cp-1
  kluis cert issue break-glass -c prod --reason \"etcd is down, ticket 4711\" --lifetime 1h

Opens each CA key that it needs once. One profile alone opens the node's bundle too, to seal it again.")]
    Issue {
        /// One profile of the node, or break-glass; all of the node's if left out
        #[arg(value_name = "PROFILE")]
        profile: Option<Profile>,
        /// The node
        #[arg(long, value_name = "NAME")]
        node: Option<NodeName>,
        /// Why, for break-glass
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// How long break-glass lives; as cluster.toml says if left out
        #[arg(long, value_name = "DURATION")]
        lifetime: Option<Span>,
    },
    /// List certificates, of all clusters unless -c names one
    #[command(after_help = "EXAMPLES\n  kluis cert list\n  kluis cert list -c prod --all -o json")]
    List {
        /// Replaced, removed and expired ones too
        #[arg(long)]
        all: bool,
    },
    /// Show everything about one certificate
    #[command(after_help = "EXAMPLES
  kluis cert show cp-1/apiserver -c prod
  kluis cert show alice/break-glass
  kluis cert show clusters/prod/certs/node/cp-1/apiserver.crt")]
    Show {
        /// A path, NODE/PROFILE or PERSON/PROFILE
        #[arg(value_name = "CERTIFICATE")]
        certificate: String,
    },
}

/// The command's name in reports.
pub fn name(args: &Args) -> String {
    let action = match args.action {
        Action::Issue { .. } => "issue",
        Action::List { .. } => "list",
        Action::Show { .. } => "show",
    };
    format!("cert {action}")
}

/// Runs the command.
pub fn run(args: &Args, global: &Global, session: &mut Session) -> Result<Answer, Failure> {
    match &args.action {
        Action::Issue { profile, node, reason, lifetime } => {
            global.refuse_at()?;
            check_words(*profile, node.as_ref(), reason.as_deref(), *lifetime)?;
            let mut repository = session.open(&Gate::Valid)?;
            let cluster = global.one_cluster(&repository)?;
            let issued = match node {
                Some(node) => cert::issue_node(session, &mut repository, &cluster, (node, *profile))?,
                None => {
                    let words = (reason.as_deref().unwrap_or_default(), *lifetime);
                    cert::issue_break_glass(session, &mut repository, &cluster, words)?
                }
            };
            let owed = issued.written.findings.clone();
            Ok(Answer::written(issued, &owed))
        }
        Action::List { all } => {
            let repository = session.open_reading(&Gate::Valid)?;
            let clusters = clusters(global, &repository)?;
            Ok(Answer::fine(view::list(&repository, &clusters, *all, session.now)))
        }
        Action::Show { certificate } => {
            let repository = session.open_reading(&Gate::Valid)?;
            let clusters = clusters(global, &repository)?;
            Ok(Answer::fine(view::show(&repository, &clusters, certificate, session.now)?))
        }
    }
}

/// Those of -c, else all: looking at certificates needs no one cluster.
fn clusters(global: &Global, repository: &crate::ops::Repository) -> Result<Vec<crate::model::ClusterName>, Failure> {
    if global.named_clusters().is_empty() {
        return Ok(repository.epoch()?.clusters.keys().cloned().collect());
    }
    global.clusters(repository)
}

fn check_words(
    profile: Option<Profile>,
    node: Option<&NodeName>,
    reason: Option<&str>,
    lifetime: Option<Span>,
) -> Result<(), Failure> {
    let is_break_glass = profile == Some(Profile::BreakGlass);
    match (profile, node) {
        (Some(Profile::Client), _) => {
            return Err(Failure::usage("a person's certificate takes that person's signed request, which this version can't grant"));
        }
        (Some(Profile::BreakGlass), Some(_)) => return Err(Failure::usage("break-glass is a person's, not a node's")),
        (Some(Profile::BreakGlass), None) if reason.is_none() => {
            return Err(Failure::usage("a break-glass certificate needs a reason: --reason TEXT"));
        }
        (profile, None) if !is_break_glass => {
            let help = match profile {
                Some(profile) => Remedy::Kluis(format!("cert issue {profile} --node NAME")),
                None => Remedy::Kluis("cert issue --node NAME".to_owned()),
            };
            return Err(Failure::usage("say which node with --node NAME").help(help));
        }
        _ => {}
    }
    if !is_break_glass && (reason.is_some() || lifetime.is_some()) {
        let what = "--reason and --lifetime are for break-glass; a node's lifetime is in cluster.toml";
        return Err(Failure::usage(what));
    }
    Ok(())
}

impl Report for IssueReport {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let verb = if self.written.dry_run { "Would issue" } else { "Issued" };
        let what = if self.certificates.len() == 1 { "certificate" } else { "certificates" };
        writeln!(out, "{verb} {} {what} in cluster {}", self.certificates.len(), self.cluster)?;
        let prefix = format!("clusters/{}/", self.cluster);
        for made in &self.certificates {
            let path = made.path.strip_prefix(&prefix).unwrap_or(&made.path);
            match made.not_after {
                Some(end) => writeln!(out, "  {path}  until {end}")?,
                None => writeln!(out, "  {path}")?,
            }
        }
        let verb = if self.written.dry_run { "would open" } else { "opened" };
        writeln!(out, "  {verb} {}", self.opened.join(", "))?;
        if !self.reason.is_empty() {
            writeln!(out, "\nBREAK-GLASS  this is system:masters, which no binding can take back")?;
            writeln!(out, "  because  {}", displayed(&self.reason))?;
        }
        if let Some(key) = &self.key {
            writeln!(out, "  its key, sealed to you and not in the repository:\n    {}", displayed(key))?;
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

impl Report for CertList {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.certificates.is_empty() {
            return writeln!(out, "no certificates");
        }
        let owner = |line: &view::CertLine| format!("{} {}/{}", line.cluster, line.owner, line.profile);
        let width = self.certificates.iter().map(|line| owner(line).len()).max().unwrap_or(0);
        for line in &self.certificates {
            let state = if line.state == "current" { "" } else { line.state };
            let text = format!("{:<width$}  until {}  {} {state}", owner(line), line.not_after, &line.sha256.h16());
            writeln!(out, "{}", text.trim_end())?;
        }
        Ok(())
    }

    fn data(&self) -> Value {
        json!(self)
    }
}

impl Report for CertPage {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let line = &self.line;
        writeln!(out, "{}  ({})", self.path, line.state)?;
        let mut row = |name: &str, value: &str| writeln!(out, "  {name:<12} {}", displayed(value));
        row("subject", &line.subject)?;
        row("issuer", &self.issuer)?;
        row("serial", &line.serial)?;
        row("not before", &line.not_before.to_string())?;
        row("not after", &line.not_after.to_string())?;
        for name in &self.sans {
            row("san", name)?;
        }
        let usages = self.extended_key_usages.iter().map(|oid| usage(oid)).collect::<Vec<_>>().join(", ");
        row("usages", &usages)?;
        row("sha256", &line.sha256.to_string())?;
        row("key", &self.spki.to_string())?;
        row("ca sha256", &self.issuer_sha256.to_string())?;
        row("key id", self.ski.as_deref().unwrap_or("none"))?;
        row("ca key id", self.aki.as_deref().unwrap_or("none"))?;
        row("record", &self.record.to_string())?;
        row("issued by", self.actor.as_str())?;
        if let Some(request) = &self.request {
            row("request", &request.to_string())?;
        }
        if !self.reason.is_empty() {
            row("because", &self.reason)?;
        }
        Ok(())
    }

    fn data(&self) -> Value {
        json!(self)
    }
}

/// An extended key usage by its name in RFC 5280, 4.2.1.12.
fn usage(oid: &str) -> &str {
    match oid {
        "1.3.6.1.5.5.7.3.1" => "serverAuth",
        "1.3.6.1.5.5.7.3.2" => "clientAuth",
        other => other,
    }
}
