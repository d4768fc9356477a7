//! `cert`: certificates, issued, listed and shown. Owns the words and flags; the rest is `ops::cert`'s.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::report::Text;
use super::{Answer, Global, Report};
use crate::model::{NodeName, Profile, Remedy, Span, displayed};
use crate::ops::cert::expiry::{self, Expiry};
use crate::ops::beside;
use crate::ops::cert::metrics;
use crate::ops::cert::renew::{self, Renewed};
use crate::ops::verify::find_root;
use crate::ops::cert::view::{self, CertList, CertPage};
use crate::ops::cert::{IssueReport, node, own};
use crate::ops::{Failure, Gate, Session};

/// Issue, renew, list and show certificates, and see when they end
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES
  kluis cert list -c prod
  kluis cert show cp-1/apiserver -c prod
  kluis cert issue apiserver -c prod --node cp-1
  kluis cert renew -c prod --within 30d
  kluis cert expiry")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Issue a node's certificates anew, or your own certificate where you are an issuer
    #[command(after_help = "EXAMPLES
  kluis cert issue -c prod --node cp-1
  kluis cert issue apiserver -c prod --node cp-1
  kluis cert issue kubelet-client -c prod --node w-1 --csr w-1.csr
  kluis cert issue client -c prod --group kluis:admins --lifetime 8h
  kluis cert issue break-glass -c prod --reason \"etcd is down, ticket 4711\" --lifetime 1h

Opens each CA key that it needs once. One profile alone opens the node's bundle too, to seal it again. With --csr the
key stays on its node: names come from cluster.toml and usages from the profile, whatever the CSR asks for. Who is no
issuer asks with `kluis request new`.")]
    Issue(Issue),
    /// Issue anew what ends soon on nodes: one record, however many clusters
    #[command(after_help = "EXAMPLES
  kluis cert renew -c prod
  kluis cert renew --all-clusters --within 60d --dry-run
  kluis cert renew -c prod --node cp-1 --node cp-2

Keys are new, but for those that stay on their node. Export what was renewed afterwards. A person's certificate is not
renewed: they ask for the next with `kluis request new`.")]
    Renew {
        /// How soon a certificate has to end
        #[arg(long, value_name = "DURATION", default_value = "30d")]
        within: Span,
        /// These nodes alone (repeatable)
        #[arg(long = "node", value_name = "NAME")]
        nodes: Vec<NodeName>,
    },
    /// Show when certificates end, the first first
    #[command(after_help = "EXAMPLES
  kluis cert expiry
  kluis cert expiry -c prod --within 90d
  kluis cert expiry --at 2027-06-01T00:00:00Z
  kluis cert expiry --quick -o json
  kluis cert expiry --prometheus /var/lib/node_exporter/kluis.prom

Those of CAs and nodes; --people adds people's, which end soon on purpose. Ends 0 whatever it finds: `kluis verify`
ends 5 where something ends within 30 days. docs/MONITORING.md has alerts for what --prometheus writes.")]
    Expiry {
        /// Only those that end within this time
        #[arg(long, value_name = "DURATION")]
        within: Option<Span>,
        /// Those of people too
        #[arg(long)]
        people: bool,
        /// Read the certificates alone, and verify nothing
        #[arg(long)]
        quick: bool,
        /// Write when they end to FILE for Prometheus, through node_exporter's textfile collector; - for stdout
        #[arg(long, value_name = "FILE", conflicts_with = "within")]
        prometheus: Option<PathBuf>,
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

#[derive(Debug, clap::Args)]
struct Issue {
    /// One profile of the node, client or break-glass; all of the node's if left out
    #[arg(value_name = "PROFILE")]
    profile: Option<Profile>,
    /// The node
    #[arg(long, value_name = "NAME")]
    node: Option<NodeName>,
    /// A certificate request (PEM or DER) made on the node, for kubelet-client or kubelet-serving
    #[arg(long, value_name = "FILE", requires = "node")]
    csr: Option<PathBuf>,
    /// A group of your own certificate (repeatable); the only one that you may have if left out
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// Why; break-glass needs it
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// How long your own certificate lives; as cluster.toml says if left out
    #[arg(long, value_name = "DURATION")]
    lifetime: Option<Span>,
}

/// The command's name in reports.
pub fn name(args: &Args) -> String {
    let action = match args.action {
        Action::Issue(_) => "issue",
        Action::Renew { .. } => "renew",
        Action::Expiry { .. } => "expiry",
        Action::List { .. } => "list",
        Action::Show { .. } => "show",
    };
    format!("cert {action}")
}

/// Runs the command.
pub fn run(args: &Args, global: &Global, session: &mut Session) -> Result<Answer, Failure> {
    match &args.action {
        Action::Issue(issue) => run_issue(issue, global, session),
        Action::Renew { within, nodes } => {
            global.refuse_at()?;
            let mut repository = session.open(&Gate::Valid)?;
            let clusters = global.clusters(&repository)?;
            let nodes = nodes.iter().cloned().collect();
            let renewed = renew::renew(session, &mut repository, &clusters, &nodes, *within)?;
            let owed = renewed.written.findings.clone();
            Ok(Answer::written(renewed, &owed))
        }
        Action::Expiry { within, people, quick, prometheus } => {
            let mut wanted =
                expiry::Wanted { clusters: global.named_clusters().to_vec(), within: *within, people: *people };
            let (ends, epoch) = if *quick {
                (expiry::quick(session, &wanted)?, None)
            } else {
                let repository = session.open_reading(&Gate::Valid)?;
                wanted.clusters = global.clusters_or_all(&repository)?;
                (expiry::expiry(&repository, &wanted, session.now)?, Some(repository.epoch()?.expires))
            };
            let Some(path) = prometheus else { return Ok(Answer::fine(ends)) };
            let content = metrics::text(&ends, epoch, session.now);
            if path == Path::new("-") {
                return Ok(Answer::fine(Text { content, data: json!(ends) }));
            }
            let root = find_root(&session.settings.dir)?;
            if !session.settings.dry_run {
                beside::write(&root, path, content.as_bytes(), "cert expiry --prometheus -")?;
            }
            Ok(Answer::fine(ends))
        }
        Action::List { all } => {
            let repository = session.open_reading(&Gate::Valid)?;
            let clusters = global.clusters_or_all(&repository)?;
            Ok(Answer::fine(view::list(&repository, &clusters, *all, session.now)))
        }
        Action::Show { certificate } => {
            let repository = session.open_reading(&Gate::Valid)?;
            let clusters = global.clusters_or_all(&repository)?;
            Ok(Answer::fine(view::show(&repository, &clusters, certificate, session.now)?))
        }
    }
}

fn run_issue(issue: &Issue, global: &Global, session: &mut Session) -> Result<Answer, Failure> {
    global.refuse_at()?;
    check_words(issue)?;
    let mut repository = session.open(&Gate::Valid)?;
    let cluster = global.one_cluster(&repository)?;
    let issued = match (&issue.node, issue.profile) {
        (None, Some(profile)) => {
            let reason = issue.reason.as_deref().unwrap_or_default();
            let wanted = own::Own { profile, groups: &issue.groups, reason, lifetime: issue.lifetime };
            own::issue(session, &mut repository, &cluster, &wanted)?
        }
        (Some(name), profile) => {
            let wanted = node::Wanted { node: name, profile, csr: issue.csr.as_deref() };
            node::issue(session, &mut repository, &cluster, &wanted)?
        }
        (None, None) => return Err(which_node(None)),
    };
    let owed = issued.written.findings.clone();
    Ok(Answer::written(issued, &owed))
}

fn which_node(profile: Option<Profile>) -> Failure {
    let help = match profile {
        Some(profile) => format!("cert issue {profile} --node NAME"),
        None => "cert issue --node NAME".to_owned(),
    };
    Failure::usage("say which node with --node NAME").help(Remedy::Kluis(help))
}

fn check_words(issue: &Issue) -> Result<(), Failure> {
    let is_person = issue.profile.is_some_and(Profile::is_person);
    let profile = issue.profile.map(Profile::as_str).unwrap_or_default();
    if is_person && issue.node.is_some() {
        return Err(Failure::usage(format!("{profile} is a person's, not a node's")));
    }
    if issue.profile == Some(Profile::BreakGlass) && issue.reason.is_none() {
        return Err(Failure::usage("a break-glass certificate needs a reason: --reason TEXT"));
    }
    if issue.profile == Some(Profile::BreakGlass) && !issue.groups.is_empty() {
        return Err(Failure::usage("a break-glass certificate is system:masters and nothing else: leave --group out"));
    }
    if !is_person && issue.node.is_none() {
        return Err(which_node(issue.profile));
    }
    if !is_person && (issue.reason.is_some() || issue.lifetime.is_some() || !issue.groups.is_empty()) {
        let what = "--group, --reason and --lifetime are for your own certificate; a node's lifetime is in cluster.toml";
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
        if self.break_glass {
            writeln!(out, "\nBREAK-GLASS  this is system:masters, which no binding can take back")?;
        }
        if !self.reason.is_empty() {
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

impl Report for Renewed {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.renew.is_empty() {
            return writeln!(out, "nothing ends so soon: {} certificates of nodes end later", self.kept);
        }
        let verb = if self.written.dry_run { "Would renew" } else { "Renewed" };
        let what = if self.renew.len() == 1 { "certificate" } else { "certificates" };
        writeln!(out, "{verb} {} {what}; {} end later and stay", self.renew.len(), self.kept)?;
        for step in &self.renew {
            let made = self.certificates.iter().find(|made| made.path == step.path);
            match made.and_then(|made| made.not_after) {
                Some(end) => writeln!(out, "  {}  until {end}  ({})", step.path, step.why)?,
                None => writeln!(out, "  {}  ({})", step.path, step.why)?,
            }
        }
        let verb = if self.written.dry_run { "would open" } else { "opened" };
        writeln!(out, "{verb} {}", self.opened.join(", "))?;
        match (&self.written.record, self.written.dry_run) {
            (Some(record), false) => {
                writeln!(out, "record {}", record.h16())?;
                writeln!(out, "next: kluis export kubeadm --help")
            }
            _ => Ok(()),
        }
    }

    fn data(&self) -> Value {
        json!(self)
    }
}

impl Report for Expiry {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        for end in &self.certificates {
            let state = if end.state == "later" { "" } else { end.state };
            writeln!(out, "{}", format!("{}  {:<5}  {}", end.not_after, state, end.path).trim_end())?;
        }
        for path in &self.unreadable {
            writeln!(out, "no certificate        {}", displayed(path))?;
        }
        let Self { total, ended, soon, .. } = self;
        writeln!(out, "{total} certificates: {ended} have ended, {soon} end within 30 days")?;
        if !self.verified {
            writeln!(out, "nothing was verified: these are the files that lie here")?;
        }
        Ok(())
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
