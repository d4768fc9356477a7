//! `request`: people ask for certificates, and issuers judge. Owns the words and flags; the rest is `ops::requests`'.

use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Answer, Global, Report};
use crate::model::{Profile, Span, displayed};
use crate::ops::requests::{self, Approved, Ask, Asked, Chosen, Denied, RequestPage, Standing};
use crate::ops::{Failure, Gate, Repository, Session};

/// Ask for a certificate, signed by your OpenPGP key; list, show, approve and deny requests
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES
  kluis request new -c prod --group developers --lifetime 8h
  kluis request list -c prod
  kluis request approve -c prod 5f2c9a0e

A certificate is built from the epoch and its policy. Of a request only the public key is used, once.")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Ask for a certificate in your own name
    #[command(after_help = "EXAMPLES
  kluis request new -c prod
  kluis request new -c prod --group developers --lifetime 8h
  kluis request new -c prod --csr token.csr
  kluis request new -c prod --break-glass --reason \"API down, INC-4711\"

The key is made here and sealed to you alone, outside the repository; with --csr it stays where it is. You may ask for
the groups that `kluis person show` has for you; a group without a generation is its newest.")]
    New(New),
    /// List requests, those that wait unless --all
    #[command(after_help = "EXAMPLES\n  kluis request list\n  kluis request list -c prod --all -o json")]
    List {
        /// Granted, denied, expired and dead ones too
        #[arg(long)]
        all: bool,
    },
    /// Show one request and what became of it
    #[command(after_help = "EXAMPLES\n  kluis request show 5f2c9a0e")]
    Show {
        /// Its hash, or the beginning of it
        #[arg(value_name = "REQUEST")]
        request: String,
    },
    /// Grant requests: one record and one opening of each CA key, however many
    #[command(after_help = "EXAMPLES
  kluis request approve 5f2c9a0e
  kluis request approve -c prod --all
  kluis request approve 5f2c9a0e --lifetime 2h --yes

Shows what was asked, what policy says, what is issued and what differs, and asks. Break-glass takes as many issuers as
threshold.break_glass says: the approval that reaches it issues, and --all leaves it out.")]
    Approve {
        /// Hashes, or their beginnings
        #[arg(value_name = "REQUEST", required_unless_present = "all", conflicts_with = "all")]
        requests: Vec<String>,
        /// Every request that waits and that you may grant, break-glass aside
        #[arg(long)]
        all: bool,
        /// Grant a shorter life than was asked for
        #[arg(long, value_name = "DURATION")]
        lifetime: Option<Span>,
        /// Why, for the record; what the requests say if left out
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Refuse requests for good; your own too
    #[command(after_help = "EXAMPLES\n  kluis request deny 5f2c9a0e --reason \"asks for more than the ticket says\"")]
    Deny {
        /// Hashes, or their beginnings
        #[arg(value_name = "REQUEST", required = true)]
        requests: Vec<String>,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

#[derive(Debug, clap::Args)]
struct New {
    /// A group (repeatable); the only one that you may have if left out
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// How long the certificate is to live; as cluster.toml says if left out
    #[arg(long, value_name = "DURATION")]
    lifetime: Option<Span>,
    /// Ask for system:masters, in an emergency
    #[arg(long, conflicts_with = "groups", requires = "reason")]
    break_glass: bool,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    /// A certificate request (PEM or DER) made elsewhere, as by a hardware token
    #[arg(long, value_name = "FILE")]
    csr: Option<PathBuf>,
    /// How long issuers may take
    #[arg(long, value_name = "DURATION", default_value = "7d")]
    wait: Span,
}

/// The command's name in reports.
pub fn name(args: &Args) -> String {
    let action = match args.action {
        Action::New(_) => "new",
        Action::List { .. } => "list",
        Action::Show { .. } => "show",
        Action::Approve { .. } => "approve",
        Action::Deny { .. } => "deny",
    };
    format!("request {action}")
}

/// Runs the command.
pub fn run(args: &Args, global: &Global, session: &mut Session) -> Result<Answer, Failure> {
    match &args.action {
        Action::New(new) => ask(new, global, session),
        Action::List { all } => {
            let repository = session.open_reading(&Gate::Valid)?;
            let clusters = global.clusters_or_all(&repository)?;
            let mut found = requests::pages(&repository.verified, repository.epoch()?, &clusters, session.now);
            found.retain(|page| *all || page.standing.is_waiting());
            Ok(Answer::fine(RequestList { requests: found }))
        }
        Action::Show { request } => {
            let repository = session.open_reading(&Gate::Valid)?;
            let clusters = global.clusters_or_all(&repository)?;
            Ok(Answer::fine(Shown(requests::find(&repository, &clusters, request, session.now)?)))
        }
        Action::Approve { requests: names, all, lifetime, reason } => {
            global.refuse_at()?;
            let mut repository = session.open(&Gate::Valid)?;
            let found = if *all {
                let clusters = global.clusters(&repository)?;
                let mut found = requests::pages(&repository.verified, repository.epoch()?, &clusters, session.now);
                found.retain(|page| page.standing.is_waiting());
                found
            } else {
                named(global, &repository, names, session)?
            };
            let chosen = Chosen { requests: found, all: *all, lifetime: *lifetime, reason: reason.clone() };
            let approved = requests::approve(session, &mut repository, chosen)?;
            let owed = approved.written.findings.clone();
            Ok(Answer::written(approved, &owed))
        }
        Action::Deny { requests: names, reason } => {
            global.refuse_at()?;
            let mut repository = session.open(&Gate::Valid)?;
            let found = named(global, &repository, names, session)?;
            let denied = requests::deny(session, &mut repository, found, reason)?;
            let owed = denied.written.findings.clone();
            Ok(Answer::written(denied, &owed))
        }
    }
}

fn ask(new: &New, global: &Global, session: &mut Session) -> Result<Answer, Failure> {
    global.refuse_at()?;
    let mut repository = session.open(&Gate::Valid)?;
    let cluster = global.one_cluster(&repository)?;
    let wanted = Ask {
        groups: &new.groups,
        profile: if new.break_glass { Profile::BreakGlass } else { Profile::Client },
        lifetime: new.lifetime,
        reason: &new.reason,
        wait: new.wait,
        csr: new.csr.as_deref(),
    };
    let asked = requests::ask(session, &mut repository, &cluster, &wanted)?;
    let owed = asked.written.findings.clone();
    Ok(Answer::written(asked, &owed))
}

/// The requests that a person names; one named twice is one.
fn named(
    global: &Global,
    repository: &Repository,
    names: &[String],
    session: &Session,
) -> Result<Vec<RequestPage>, Failure> {
    let clusters = global.clusters_or_all(repository)?;
    let mut found: Vec<RequestPage> = Vec::new();
    for name in names {
        let page = requests::find(repository, &clusters, name, session.now)?;
        if !found.iter().any(|other| other.request == page.request) {
            found.push(page);
        }
    }
    found.sort_by_key(|page| (page.created, page.request));
    Ok(found)
}

impl Report for Asked {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let groups = self.groups.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let verb = if self.written.dry_run { "would ask" } else { "asks" };
        if self.profile == Profile::BreakGlass {
            writeln!(out, "BREAK-GLASS  {} {verb} for {groups} on {} for {}", self.person, self.cluster, self.lifetime)?;
            writeln!(out, "  because  {}", displayed(&self.reason))?;
        } else {
            writeln!(out, "{} {verb} for {groups} on {} for {}", self.person, self.cluster, self.lifetime)?;
        }
        let Some(request) = &self.request else { return Ok(()) };
        writeln!(out, "  request  {}, good until {}", request.h16(), self.expires)?;
        if let Some(key) = &self.key {
            writeln!(out, "  its key, sealed to you and not in the repository:")?;
            writeln!(out, "    {}", displayed(&key.display().to_string()))?;
        }
        let issuers = crate::ops::names(&self.issuers);
        match self.needed {
            1 => writeln!(out, "next: push it; one of {issuers} runs")?,
            needed => writeln!(out, "next: push it; {needed} of {issuers} run, one after the other")?,
        }
        writeln!(out, "  kluis request approve -c {} {}", self.cluster, request.h16())
    }

    fn data(&self) -> Value {
        json!(self)
    }
}

struct RequestList {
    requests: Vec<RequestPage>,
}

impl Report for RequestList {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.requests.is_empty() {
            return writeln!(out, "no requests");
        }
        for page in &self.requests {
            let groups = page.groups.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            let (h16, cluster, person) = (page.request.h16(), &page.cluster, &page.person);
            writeln!(out, "{h16}  {cluster}  {person} asks for {groups} for {}", page.lifetime)?;
            if page.profile == Profile::BreakGlass {
                writeln!(out, "  BREAK-GLASS  {}", displayed(&page.reason))?;
            }
            writeln!(out, "  {}", standing(page))?;
        }
        Ok(())
    }

    fn data(&self) -> Value {
        json!({ "requests": self.requests })
    }
}

fn standing(page: &RequestPage) -> String {
    match &page.standing {
        Standing::Waiting { approved_by, needed } if *needed > 1 => {
            let names = crate::ops::names(approved_by);
            let names = if names.is_empty() { "nobody".to_owned() } else { names };
            format!("waits until {}; it takes {needed} issuers, approved by {names}", page.expires)
        }
        Standing::Waiting { .. } => format!("waits until {}", page.expires),
        Standing::Granted { by, not_after, .. } => format!("granted by {by}; the certificate ends {not_after}"),
        Standing::Denied { by, why, .. } => format!("denied by {by}: {}", displayed(why)),
        Standing::Expired => format!("expired {}", page.expires),
        Standing::Dead { code, why } => format!("dead ({code}): {}", displayed(why)),
    }
}

/// One request, shown.
pub(super) struct Shown(pub(super) RequestPage);

impl Report for Shown {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let page = &self.0;
        writeln!(out, "request {}  ({})", page.request, page.standing.word())?;
        let mut row = |name: &str, value: &str| writeln!(out, "  {name:<10} {}", displayed(value));
        row("cluster", page.cluster.as_str())?;
        row("person", page.person.as_str())?;
        row("profile", page.profile.as_str())?;
        row("groups", &page.groups.iter().map(String::as_str).collect::<Vec<_>>().join(", "))?;
        row("lifetime", &page.lifetime.to_string())?;
        row("created", &page.created.to_string())?;
        row("signed by", &page.signed_by.to_string())?;
        if let Some(key) = &page.key {
            row("key", &key.to_string())?;
        }
        if !page.reason.is_empty() {
            row("because", &page.reason)?;
        }
        row("state", &standing(page))?;
        if let Standing::Granted { record, certificate, .. } = &page.standing {
            row("record", &record.to_string())?;
            row("sha256", &certificate.to_string())?;
        }
        if let Standing::Denied { record, .. } = &page.standing {
            row("record", &record.to_string())?;
        }
        if page.standing.is_waiting() {
            writeln!(out, "next: kluis request approve -c {} {}", page.cluster, page.request.h16())?;
        }
        Ok(())
    }

    fn data(&self) -> Value {
        json!(self.0)
    }
}

impl Report for Approved {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.approved.is_empty() && self.left.is_empty() {
            return writeln!(out, "no request waits");
        }
        let proposals: Vec<_> = self.approved.iter().map(|approval| approval.proposal.clone()).collect();
        for line in requests::lines(&proposals) {
            writeln!(out, "{line}")?;
        }
        for left in &self.left {
            writeln!(out, "left     {}  {}", left.request.h16(), displayed(&left.why))?;
        }
        if self.written.dry_run {
            return write_opened(out, "would open", &self.opened);
        }
        let mut next = None;
        for approval in &self.approved {
            let page = &approval.proposal.page;
            match &approval.certificate {
                Some(made) => {
                    writeln!(out, "issued   {}", made.path)?;
                    let flag = if page.profile == Profile::BreakGlass { " --break-glass" } else { "" };
                    let (person, cluster) = (&page.person, &page.cluster);
                    next = Some(format!("next: push it; {person} runs kluis kubeconfig -c {cluster}{flag}"));
                }
                None => {
                    let (have, needed) = (approval.proposal.behind.len(), approval.proposal.needed);
                    writeln!(out, "approved {}: {have} of {needed} issuers", page.request.h16())?;
                    writeln!(out, "next: push it; a colleague runs")?;
                    writeln!(out, "  kluis request approve -c {} {}", page.cluster, page.request.h16())?;
                }
            }
        }
        write_opened(out, "opened", &self.opened)?;
        if let Some(record) = &self.written.record {
            writeln!(out, "record {}", record.h16())?;
        }
        match next.filter(|_| self.approved.len() == 1) {
            Some(next) => writeln!(out, "{next}"),
            None => Ok(()),
        }
    }

    fn data(&self) -> Value {
        json!(self)
    }
}

fn write_opened(out: &mut dyn Write, verb: &str, opened: &[String]) -> io::Result<()> {
    if opened.is_empty() { Ok(()) } else { writeln!(out, "{verb} {}", opened.join(", ")) }
}

impl Report for Denied {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let verb = if self.written.dry_run { "would deny" } else { "denied" };
        for page in &self.denied {
            writeln!(out, "{verb} {}, {} of {} for {}", page.request.h16(), page.profile, page.person, page.cluster)?;
        }
        writeln!(out, "  because  {}", displayed(&self.reason))?;
        match (&self.written.record, self.written.dry_run) {
            (Some(record), false) => writeln!(out, "record {}", record.h16()),
            _ => Ok(()),
        }
    }

    fn data(&self) -> Value {
        json!(self)
    }
}
