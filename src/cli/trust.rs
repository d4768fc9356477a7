//! `trust`: epochs shown, drafted, signed, pinned and compared. Owns the words and flags; the rest belongs to
//! `ops::trust`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::change;
use super::{Answer, Global, Report};
use crate::model::{Finding, Level, PersonName, Remedy, Time, displayed};
use crate::ops::trust::{
    self, Comparison, Drafted, EpochView, PinSet, Pinned, Proposal, Raised, Relation, Setting, Shown, Signed,
};
use crate::ops::{Failure, Gate, Session};
use crate::trust::anchor::PinLine;

/// Show, draft, sign, pin and compare epochs
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES\n  kluis trust show\n  kluis trust sign\n  kluis trust set threshold.trust 2\n  kluis trust pin")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Show an epoch: the latest and the draft, a numbered one, or the difference between two
    #[command(after_help = "EXAMPLES
  kluis trust show
  kluis trust show 3
  kluis trust show 4 --from 3")]
    Show {
        /// The number of an epoch; the latest if left out
        #[arg(value_name = "N")]
        number: Option<u32>,
        /// Show what it changes against this epoch
        #[arg(long, value_name = "M")]
        from: Option<u32>,
    },
    /// Draft other thresholds, limits or another expiry
    #[command(after_help = "KEYS
  threshold.trust         persons who must sign the next epoch
  threshold.break_glass   issuers who must approve a break-glass certificate
  policy.max_client       longest life of a person's certificate
  policy.max_break_glass  longest life of a break-glass certificate
  policy.max_quiet        a newest record older than this is stale
  expires                 how long the next epoch lives

EXAMPLES
  kluis trust set threshold.trust 2
  kluis trust set policy.max_client 30d policy.max_break_glass 4h
  kluis trust set expires 365d")]
    Set {
        /// A key and its value; several pairs may follow one another
        #[arg(value_names = ["KEY", "VALUE"], num_args = 2.., required = true)]
        settings: Vec<String>,
    },
    /// Draft the next generation of a group, which cuts off every certificate with the former one
    #[command(after_help = "EXAMPLES
  kluis trust raise developers -c prod
  kluis trust raise kluis:admins --all-clusters

Who may ask for `developers` may ask for `developers:g2` then. Once the draft is signed and `kluis export rbac -c prod`
is applied, certificates with the former generation have no rights any more. It does nothing against system:masters or
whoever has a CA key: that takes new CAs.")]
    Raise {
        /// The group, without its generation
        #[arg(value_name = "GROUP")]
        group: String,
    },
    /// Draft that an exposure or a finding of lint is lived with until a time
    #[command(after_help = "EXAMPLES
  kluis trust waive exposure:carol -c prod --until 2027-05-01T00:00:00Z --reason \"decommissioned in May\"
  kluis trust waive lint:LF012:clusters/prod/certs/node/w-1/kubelet-client.crt -c prod --until 2027-05-01T00:00:00Z \\
    --reason \"replaced next week\"

Until then it is a note that says so, and afterwards what it was. Naming it again replaces its end and reason.")]
    Waive {
        /// exposure:PERSON, or lint:RULE:PATH as `kluis lint` names them
        #[arg(value_name = "WHAT")]
        what: String,
        /// When it ends
        #[arg(long, value_name = "TIME")]
        until: Time,
        /// Why; goes into the epoch
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Sign the draft of the next epoch, after showing what it changes
    #[command(after_help = "EXAMPLES\n  kluis trust sign\n  kluis trust sign --yes")]
    Sign,
    /// Print the line that pins this repository, or pin it by a colleague's line
    #[command(after_help = "EXAMPLES
  kluis trust pin
  kluis trust pin kluis-pin:REPO:EPOCH:HASH")]
    Pin {
        /// A colleague's line; this machine pins the repository if the tree agrees with it
        #[arg(value_name = "LINE")]
        line: Option<String>,
        /// Replace a pin of this machine that contradicts the tree
        #[arg(long, requires = "line")]
        replace: bool,
    },
    /// Compare with a colleague's pin line, or with another checkout
    #[command(after_help = "EXAMPLES
  kluis trust compare kluis-pin:REPO:EPOCH:HASH
  kluis trust compare ../other-checkout")]
    Compare {
        /// A pin line, or the folder of another checkout
        #[arg(value_name = "LINE|PATH")]
        other: String,
    },
}

/// The command's name in reports.
pub fn name(args: &Args) -> String {
    let action = match args.action {
        Action::Show { .. } => "show",
        Action::Set { .. } => "set",
        Action::Raise { .. } => "raise",
        Action::Waive { .. } => "waive",
        Action::Sign => "sign",
        Action::Pin { .. } => "pin",
        Action::Compare { .. } => "compare",
    };
    format!("trust {action}")
}

/// Whether it works on the clusters of -c: epochs are about the whole repository, but for the groups and waivers of a cluster.
pub fn takes_clusters(args: &Args) -> bool {
    matches!(args.action, Action::Raise { .. } | Action::Waive { .. })
}

/// Runs the command.
pub fn run(args: &Args, global: &Global, session: &mut Session) -> Result<Answer, Failure> {
    match &args.action {
        Action::Show { number, from } => {
            let repository = session.open_reading(&Gate::Anything)?;
            let shown = trust::show(&repository, *number, *from)?;
            let verified = &repository.verified;
            // A draft that lacks signatures is what is looked at here, and no fault.
            let draft = verified.is_only_unsigned_draft();
            let wrong = |f: &&Finding| f.level == Level::Error && (f.code.is_anchor() || !draft);
            Ok(Answer::judged(shown, verified.findings.iter().filter(wrong).cloned().collect()))
        }
        Action::Set { settings } => {
            global.refuse_at()?;
            let (parsed, what) = parse_settings(settings)?;
            let drafted = trust::set(session, &parsed, &what)?;
            let owed = drafted.written.findings.clone();
            Ok(Answer::written(drafted, &owed))
        }
        Action::Raise { group } => {
            global.refuse_at()?;
            let raised = trust::raise(session, |repository| global.clusters(repository), group)?;
            let owed = raised.drafted.written.findings.clone();
            Ok(Answer::written(raised, &owed))
        }
        Action::Waive { what, until, reason } => {
            global.refuse_at()?;
            let drafted = trust::waive(session, |epoch| global.one_cluster_of(epoch), what, *until, reason)?;
            let owed = drafted.written.findings.clone();
            Ok(Answer::written(drafted, &owed))
        }
        Action::Sign => {
            global.refuse_at()?;
            let signed = trust::sign(session, &|proposal| {
                let mut text = Vec::new();
                // Writing to memory does not fail.
                let _ = write_proposal(&mut text, proposal);
                String::from_utf8_lossy(&text).into_owned()
            })?;
            let owed = signed.written.findings.clone();
            // Without a question nobody has seen yet what was signed.
            let shows = session.settings.yes || session.settings.dry_run;
            Ok(Answer::written(SignedReport { signed, shows }, &owed))
        }
        Action::Pin { line: None, .. } => {
            let (pinned, findings) = trust::print(session)?;
            Ok(Answer::judged(pinned, findings))
        }
        Action::Pin { line: Some(line), replace } => {
            global.refuse_at()?;
            Ok(Answer::fine(trust::set_pin(session, &parse_line(line)?, *replace)?))
        }
        Action::Compare { other } => {
            let comparison = if other.starts_with("kluis-pin:") {
                trust::with_line(session, &parse_line(other)?)?
            } else {
                trust::with_checkout(session, checkout(other)?.as_path())?
            };
            let findings = comparison.findings();
            Ok(Answer::judged(comparison, findings))
        }
    }
}

fn parse_line(line: &str) -> Result<PinLine, Failure> {
    let bad = || {
        let what = "the line is no line like kluis-pin:REPO:EPOCH:HASH";
        Failure::usage(what).help(Remedy::Kluis("trust pin".to_owned()))
    };
    PinLine::parse(line.trim()).ok_or_else(bad)
}

fn checkout(path: &str) -> Result<PathBuf, Failure> {
    let path = Path::new(path);
    if path.is_dir() {
        return Ok(path.to_owned());
    }
    let what = format!("{} is neither a pin line nor a folder", displayed(&path.display().to_string()));
    Err(Failure::usage(what).help(Remedy::Kluis("trust compare --help".to_owned())))
}

fn parse_settings(words: &[String]) -> Result<(Vec<Setting>, String), Failure> {
    let usage = |what: String| Failure::usage(what).help(Remedy::Kluis("trust set --help".to_owned()));
    let mut parsed = Vec::new();
    let mut keys: Vec<&str> = Vec::new();
    for pair in words.chunks(2) {
        let [key, value] = pair else {
            return Err(usage(format!("{:?} has no value", pair.first().map_or("", String::as_str))));
        };
        if keys.contains(&key.as_str()) {
            return Err(usage(format!("{key} is set twice")));
        }
        keys.push(key);
        parsed.push(Setting::parse(key, value).map_err(usage)?);
    }
    let what = words.chunks(2).map(|pair| pair.join(" ")).collect::<Vec<_>>().join(", ");
    Ok((parsed, what))
}

fn names<'a>(people: impl IntoIterator<Item = &'a PersonName>) -> String {
    let names: Vec<&str> = people.into_iter().map(PersonName::as_str).collect();
    if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
}

fn write_proposal(out: &mut dyn Write, proposal: &Proposal) -> io::Result<()> {
    writeln!(out, "Draft of epoch {}: {}", proposal.number, displayed(&proposal.reason))?;
    writeln!(out, "  sha256  {}", proposal.sha256)?;
    change::write(out, &proposal.changes)?;
    if !proposal.not_closed.is_empty() {
        writeln!(out, "Records that it does NOT close; they count on only if it allows them:")?;
        for record in &proposal.not_closed {
            let (h16, actor, time) = (record.record.h16(), &record.actor, record.time);
            writeln!(out, "  {h16}  {actor}  {time}  {}", displayed(&record.command))?;
        }
    }
    for earlier in &proposal.signed_before {
        writeln!(out, "You signed another draft of this number before: {earlier}")?;
    }
    writeln!(out, "  signed      {}", names(&proposal.signed))?;
    writeln!(out, "  would help  {}", names(&proposal.missing))
}

fn write_epoch(out: &mut dyn Write, epoch: &EpochView) -> io::Result<()> {
    writeln!(out, "epoch {} ({})", epoch.number, epoch.state)?;
    writeln!(out, "  sha256   {}", epoch.sha256)?;
    writeln!(out, "  created  {}", epoch.created)?;
    writeln!(out, "  expires  {}", epoch.expires)?;
    writeln!(out, "  reason   {}", displayed(&epoch.reason))?;
    writeln!(out, "  signed   {}", names(&epoch.signed))?;
    if !epoch.missing.is_empty() {
        writeln!(out, "  missing  {}", names(&epoch.missing))?;
    }
    let rules = &epoch.rules;
    writeln!(out, "  takes    {} to sign an epoch, {} for break-glass", rules.trust, rules.break_glass)?;
    let (client, glass, quiet) = (rules.max_client, rules.max_break_glass, rules.max_quiet);
    writeln!(out, "  limits   client {client}, break-glass {glass}, quiet {quiet}")?;
    writeln!(out, "  closes   {} records", epoch.closed_records)?;
    let width = epoch.persons.iter().map(|person| person.name.as_str().len()).max().unwrap_or(0);
    for person in &epoch.persons {
        writeln!(out, "  {:width$}  {:8}  {}", person.name, person.role, person.cert)?;
    }
    for cluster in &epoch.clusters {
        let retired = if cluster.retired { ", retired" } else { "" };
        writeln!(out, "  cluster {} {}{retired}", cluster.name, displayed(&cluster.api))?;
        writeln!(out, "    keyholders  {}", names(&cluster.keyholders))?;
        writeln!(out, "    issuers     {}", names(&cluster.issuers))?;
        for (person, groups) in &cluster.groups {
            let groups = groups.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            writeln!(out, "    {person} may ask for {groups}")?;
        }
        for (keyset, generations) in &cluster.keysets {
            let hashes = generations.iter().map(|(generation, sha256)| format!("{generation} {}", sha256.h16()));
            writeln!(out, "    {keyset}: {}", hashes.collect::<Vec<_>>().join(", "))?;
        }
    }
    for former in &epoch.former {
        let reason = former.reason.as_str();
        writeln!(out, "  former   {} {} until epoch {} ({reason})", former.person, former.cert, former.epoch)?;
    }
    for waived in &epoch.waived {
        let (what, until) = (displayed(&waived.what), waived.until);
        writeln!(out, "  waived   {} {what} until {until}: {}", waived.cluster, displayed(&waived.reason))?;
    }
    Ok(())
}

impl Report for Shown {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        if let (Some(from), Some(changes)) = (self.from, &self.changes) {
            writeln!(out, "epoch {} against epoch {from}", self.epoch.number)?;
            return change::write(out, changes);
        }
        writeln!(out, "repository {}", self.repo)?;
        write_epoch(out, &self.epoch)?;
        let Some(draft) = &self.draft else { return Ok(()) };
        writeln!(out)?;
        write_proposal(out, draft)?;
        writeln!(out, "next: kluis trust sign")
    }

    fn data(&self) -> Value {
        json!(self)
    }
}

impl Report for Drafted {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        change::write_drafted(out, &self.changes, &self.written)
    }

    fn data(&self) -> Value {
        json!(self)
    }
}

struct SignedReport {
    signed: Signed,
    shows: bool,
}

impl Report for SignedReport {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let (Some(proposal), Some(person)) = (&self.signed.proposal, &self.signed.person) else {
            return writeln!(out, "No draft waits for signatures.");
        };
        if self.shows {
            write_proposal(out, proposal)?;
        }
        let number = proposal.number;
        if self.signed.written.dry_run {
            return writeln!(out, "Epoch {number} would be signed by {person}.");
        }
        if self.signed.signed_now {
            writeln!(out, "Epoch {number} is signed by {person}.")?;
        } else {
            writeln!(out, "Epoch {number} has the signature of {person} already.")?;
        }
        change::write_missing(out, &self.signed.written)
    }

    fn data(&self) -> Value {
        json!(self.signed)
    }
}

impl Report for Pinned {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.pin)
    }

    fn data(&self) -> Value {
        json!(self)
    }

    fn is_value(&self) -> bool {
        true
    }
}

impl Report for Raised {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        change::write_drafted(out, &self.drafted.changes, &self.drafted.written)?;
        if !self.cuts_off.is_empty() {
            writeln!(out, "\nApplying the manifest then cuts off:")?;
        }
        for one in &self.cuts_off {
            writeln!(out, "  {} of {} until {}  {}", one.person, one.cluster, one.not_after, one.sha256.h16())?;
        }
        for (cluster, _) in &self.names {
            writeln!(out, "once it counts: kluis export rbac -c {cluster} | kubectl apply -f -")?;
        }
        // A binding's role can't change: without them kubectl refuses, and the former generation goes on.
        writeln!(out, "  with every --role that the manifest was applied with before")?;
        Ok(())
    }

    fn data(&self) -> Value {
        json!(self)
    }
}

impl Report for PinSet {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        match (self.written, self.was_pinned) {
            (true, false) => writeln!(out, "This machine has pinned the repository:")?,
            (true, true) => writeln!(out, "This machine has replaced its pin:")?,
            (false, true) => writeln!(out, "The line agrees with what this machine has pinned:")?,
            (false, false) => writeln!(out, "This machine would pin the repository:")?,
        }
        writeln!(out, "  {}", self.pin)?;
        writeln!(out, "next: kluis verify, and kluis trust sign where a draft waits for you")
    }

    fn data(&self) -> Value {
        json!(self)
    }
}

impl Report for Comparison {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let say = match self.relation {
            Relation::Same => "the same: both have the same epochs and records",
            Relation::Ahead => "ahead: this checkout has more than the other",
            Relation::Behind => "behind: the other has more than this checkout; pull, and compare again",
            Relation::Diverged => "diverged: each has records that the other lacks; merge them",
            Relation::Fork => "FORK: two epochs of one number. Stop, and ask everyone who signed them",
            Relation::OtherRepository => "ANOTHER REPOSITORY: these two have nothing to do with each other",
        };
        writeln!(out, "{say}")?;
        for (which, side) in [("here ", &self.here), ("there", &self.there)] {
            writeln!(out, "  {which}  epoch {}  {}", side.epoch, side.sha256)?;
            let heads = if side.heads.len() == 1 { "1 head".to_owned() } else { format!("{} heads", side.heads.len()) };
            writeln!(out, "         {heads} of the log, repository {}", &side.repo.to_string()[..16])?;
        }
        if let Some(fork) = &self.fork {
            writeln!(out, "  they part at epoch {}", fork.epoch)?;
            writeln!(out, "    here   {}  signed by {}", fork.here, names(&fork.here_signed))?;
            let signed = fork.there_signed.as_ref().map(|signed| format!("  signed by {}", names(signed)));
            writeln!(out, "    there  {}{}", fork.there, signed.unwrap_or_default())?;
        }
        if self.other_draft {
            writeln!(out, "  the drafts of the next epoch differ: agree on one before more people sign")?;
        }
        Ok(())
    }

    fn data(&self) -> Value {
        json!(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_in_pairs_and_no_key_twice() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let (parsed, what) = parse_settings(&words("threshold.trust 2 expires 90d")).unwrap();
        assert_eq!((parsed.len(), what.as_str()), (2, "threshold.trust 2, expires 90d"));
        for bad in ["threshold.trust 2 expires", "threshold.trust 2 threshold.trust 3", "color red"] {
            assert_eq!(parse_settings(&words(bad)).unwrap_err().exit, 2, "{bad}");
        }
    }
}
