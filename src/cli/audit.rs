//! `audit`: its words and flags, and which question they ask. Answering belongs to `ops::audit`, how answers read to the
//! files below.

mod denied;
mod log;
mod requests;

use std::path::PathBuf;

use clap::builder::TypedValueParser as _;
use serde_json::Value;

use super::{Answer, Global, Report};
use crate::model::{PersonName, Span, Time};
use crate::ops::audit::log::{Kind, Wanted};
use crate::ops::{Failure, Session, audit};

/// Show who did what, which certificates are denied, and API requests whose certificate nobody recorded
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES
  kluis audit
  kluis audit --person carol --since 30d
  kluis audit -c prod --kind issued --kind approve
  kluis audit --break-glass -o json
  kluis audit -c prod --k8s-audit /var/log/kubernetes/audit.log
  zcat audit-*.log.gz | kluis audit --k8s-audit -
  kluis audit --deny-list --ids-only

Needs no key, and works in an unpacked archive. What is wrong with the repository is shown beside the answer and decides
the exit code: void records are shown, marked. A request with a certificate that nobody recorded, or that is denied, ends 3.")]
pub struct Args {
    /// Records by this person, and about them: certificates, requests, keys
    #[arg(long, value_name = "NAME")]
    person: Option<PersonName>,
    /// Not before this time, or this long ago
    #[arg(long, value_name = "TIME|DURATION")]
    since: Option<Moment>,
    /// Not after this time, or this long ago
    #[arg(long, value_name = "TIME|DURATION")]
    until: Option<Moment>,
    /// Entries of this kind alone (repeatable)
    #[arg(long = "kind", value_name = "KIND", value_parser = kind())]
    kinds: Vec<Kind>,
    /// Break-glass certificates alone, and what was said of requests for them
    #[arg(long)]
    break_glass: bool,
    /// Read an API server's audit log, and name requests whose certificate nobody recorded (repeatable; - for stdin)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["person", "since", "until", "kinds", "break_glass", "deny_list"])]
    k8s_audit: Vec<PathBuf>,
    /// List live certificates that must not be accepted any more
    #[arg(long, conflicts_with_all = ["person", "since", "until", "kinds", "break_glass"])]
    deny_list: bool,
    /// Write their credential ids alone, one a line
    #[arg(long, requires = "deny_list")]
    ids_only: bool,
}

/// A point in time, or how long ago.
#[derive(Debug, Clone, Copy)]
enum Moment {
    At(Time),
    Ago(Span),
}

impl Moment {
    fn time(self, now: Time) -> Time {
        match self {
            Self::At(time) => time,
            Self::Ago(span) => now.minus(span),
        }
    }
}

impl std::str::FromStr for Moment {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let at = Time::parse(text).map(Self::At);
        let moment = at.or_else(|| Span::parse(text).map(Self::Ago));
        moment.ok_or_else(|| "it is a time like 2026-11-20T18:00:00Z, or a duration like 30d, 8h, 15m".to_owned())
    }
}

fn kind() -> impl clap::builder::TypedValueParser<Value = Kind> {
    let names = Kind::ALL.iter().map(|kind| kind.as_str());
    clap::builder::PossibleValuesParser::new(names)
        .try_map(|text| Kind::parse(&text).ok_or_else(|| format!("{text:?} is no kind of entry")))
}

/// The command's name in reports.
pub fn name(_args: &Args) -> String {
    "audit".to_owned()
}

/// Runs the command.
pub fn run(args: &Args, global: &Global, session: &mut Session) -> Result<Answer, Failure> {
    let clusters = global.named_clusters();
    if !args.k8s_audit.is_empty() {
        let (audit, findings) = audit::k8s_audit(session, &args.k8s_audit, clusters)?;
        return Ok(Answer::judged(requests::Page(audit), findings));
    }
    if args.deny_list {
        let (denied, findings) = audit::deny_list(session, clusters)?;
        return Ok(Answer::judged(denied::Page { denied, ids_only: args.ids_only }, findings));
    }
    let wanted = Wanted {
        person: args.person.clone(),
        clusters: clusters.to_vec(),
        since: args.since.map(|moment| moment.time(session.now)),
        until: args.until.map(|moment| moment.time(session.now)),
        kinds: args.kinds.iter().copied().collect(),
        break_glass: args.break_glass,
    };
    let (lines, findings) = audit::log(session, &wanted)?;
    Ok(Answer::judged(log::Page(lines), findings))
}
