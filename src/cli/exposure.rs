//! `exposure`: its words and flags, and how the answer reads, for people and as a comment. Finding out belongs to
//! `ops::exposure`.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::{Value, json};

use super::forms::{inert, markdown_findings};
use super::{Answer, Global, Report};
use crate::model::{ClusterName, Finding, PersonName, displayed};
use crate::ops::exposure::{self, Exposed, Exposure, Memory, Own};
use crate::ops::{Failure, Session};
use crate::trust::exposure::Standing;

/// How many messages outside the places of sealed files are written out.
const SHOWN_ELSEWHERE: usize = 10;

/// Show what somebody could ever open, what of it is in use, and what is to be done
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES
  kluis exposure carol
  kluis exposure carol -o markdown
  kluis exposure carol --strict -o json
  kluis exposure carol --full

For people who left, and for people who are still there: what would be exposed if they left. Needs no key. From the log,
and from all of git's history that this clone has, where a file may lie that no record names; in an unpacked archive from
the log alone. What was seen of history is remembered on this machine, beside the pins.

live      it is in use, and known to them: sealing it again takes nothing back, and only a new key does
waived    in use, and the quorum decided to live with that for a time
followed  out of use, and what took its place was sealed to them too
rotated   out of use, and what took its place was never sealed to them
retired   its cluster is retired or gone

Ends 5 while something is owed because of them, as `kluis verify` does.")]
pub struct Args {
    /// The person
    #[arg(value_name = "PERSON")]
    person: PersonName,
    /// What is owed counts as an error (exit 3)
    #[arg(long)]
    strict: bool,
    /// Search all of history again, whatever this machine remembers of it
    #[arg(long)]
    full: bool,
}

/// The command's name in reports.
pub fn name(_args: &Args) -> String {
    "exposure".to_owned()
}

/// Runs the command.
pub fn run(args: &Args, _global: &Global, session: &mut Session) -> Result<Answer, Failure> {
    session.settings.strict = args.strict;
    let memory = if args.full { Memory::Renewed } else { Memory::Kept };
    let (exposure, findings) = exposure::exposure(session, &args.person, memory)?;
    Ok(Answer::judged(exposure, findings))
}

fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// Who they are to the repository, and how much they know, in a sentence or two.
fn summary(exposure: &Exposure) -> String {
    let Exposure { person, listed, left, keyholder, exposures, .. } = exposure;
    let who = match (listed, left) {
        (true, _) if keyholder.is_empty() => format!("{person} is no keyholder."),
        (true, _) => {
            let names = keyholder.iter().map(ClusterName::as_str).collect::<Vec<_>>().join(", ");
            format!("{person} is a keyholder of {names}: this is what would be exposed if {person} left.")
        }
        (false, Some(left)) => format!("{person} is gone since epoch {} ({}).", left.epoch, left.reason),
        (false, None) => format!("{person} is gone."),
    };
    if exposures.secrets.is_empty() {
        return match exposure.complete {
            true => format!("{who} Nothing was ever sealed to {person}."),
            false => format!("{who} No record says that anything was sealed to {person}."),
        };
    }
    let count = |wanted: fn(Standing) -> bool| exposures.secrets.iter().filter(|one| wanted(one.standing)).count();
    let live = count(|standing| standing == Standing::Live);
    let waived = count(|standing| matches!(standing, Standing::Waived(_)));
    let waived = if waived > 0 { format!(", {waived} waived") } else { String::new() };
    let rest = count(|standing| !standing.is_in_use());
    let secrets = counted(exposures.secrets.len(), "secret");
    format!("{who} {person} could open {secrets}: {live} live{waived}, {rest} out of use.")
}

fn by_cluster(exposure: &Exposure) -> BTreeMap<&ClusterName, Vec<&Exposed>> {
    let mut clusters: BTreeMap<&ClusterName, Vec<&Exposed>> = BTreeMap::new();
    for one in &exposure.exposures.secrets {
        clusters.entry(&one.cluster).or_default().push(one);
    }
    for secrets in clusters.values_mut() {
        secrets.sort_by_key(|one| (one.standing, one.node.clone(), one.keyset, one.generation));
    }
    clusters
}

/// `kubernetes g1`, or `node cp-1`.
fn what(one: &Exposed) -> String {
    match (&one.node, one.keyset, one.generation) {
        (Some(node), ..) => format!("node {node}"),
        (None, Some(keyset), Some(generation)) => format!("{keyset} {generation}"),
        _ => one.path.clone(),
    }
}

/// Since when, and how long still.
fn times(one: &Exposed) -> String {
    let mut times = match one.since {
        Some(since) => format!("since {since}"),
        None => "no record says since when".to_owned(),
    };
    if one.imported {
        times += ", in plaintext before it was adopted";
    }
    if let Some(until) = one.waived_until {
        times += &format!(", waived until {until}");
    }
    if let Some(until) = one.accepted_until {
        times += &format!(", former certificates accepted until {until}");
    }
    times
}

fn searched(exposure: &Exposure) -> String {
    match (exposure.exposures.commits, exposure.complete) {
        (Some(commits), true) => format!("history: {} searched", counted(commits, "commit")),
        (Some(commits), false) => format!("history: {} searched, and there is more that is not here", counted(commits, "commit")),
        (None, _) => "history: not searched, there is no git repository here".to_owned(),
    }
}

fn write_certificate(out: &mut dyn Write, one: &Own) -> io::Result<()> {
    let denied = if one.denied.is_empty() { "" } else { "  denied" };
    writeln!(out, "  {} {}  until {}{denied}", one.cluster, one.profile, one.not_after)?;
    writeln!(out, "    id      {}", one.credential_id)?;
    if !one.groups.is_empty() {
        writeln!(out, "    groups  {}", displayed(&one.groups.join(", ")))?;
    }
    match one.only_rotation {
        true => writeln!(out, "    ROTATE  it is system:masters: no binding takes that back, only a new CA does"),
        false => Ok(()),
    }
}

impl Report for Exposure {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", summary(self))?;
        for (cluster, secrets) in by_cluster(self) {
            writeln!(out, "\ncluster {cluster}")?;
            let width = secrets.iter().map(|one| what(one).len()).max().unwrap_or(0);
            for one in secrets {
                writeln!(out, "  {:8}  {:width$}  {}", one.standing.as_str(), what(one), times(one))?;
                if one.live {
                    writeln!(out, "  {:8}  {:width$}  {}", "", "", one.gives)?;
                }
                if let Some(commit) = &one.unrecorded {
                    let commit = &commit[..commit.len().min(12)];
                    writeln!(out, "  {:8}  {:width$}  commit {commit} has a file that no record names", "", "")?;
                }
            }
        }
        if !self.exposures.elsewhere.is_empty() {
            writeln!(out, "\nsealed to {} elsewhere in history; what is inside can't be told without a key", self.person)?;
            for one in self.exposures.elsewhere.iter().take(SHOWN_ELSEWHERE) {
                writeln!(out, "  {}  commit {}", displayed(&one.path), &one.commit[..one.commit.len().min(12)])?;
            }
            if let more @ 1.. = self.exposures.elsewhere.len().saturating_sub(SHOWN_ELSEWHERE) {
                writeln!(out, "  and {more} more; -o json names them all")?;
            }
        }
        if !self.certificates.is_empty() {
            writeln!(out, "\ncertificates of {} that have not ended", self.person)?;
            self.certificates.iter().try_for_each(|one| write_certificate(out, one))?;
        }
        writeln!(out, "\n{}", searched(self))?;
        if !self.plan.is_empty() {
            writeln!(out, "\nplan, in this order")?;
            for (at, step) in self.plan.iter().enumerate() {
                let cluster = step.cluster.as_ref().map(|cluster| format!("{cluster}: ")).unwrap_or_default();
                writeln!(out, "{:3}. {cluster}{}", at + 1, displayed(&step.what))?;
                if let Some(command) = &step.command {
                    writeln!(out, "     {}", displayed(command))?;
                }
            }
        }
        if !self.plan.is_empty() || !self.exposures.secrets.is_empty() {
            writeln!(out)?;
        }
        Ok(())
    }

    fn data(&self) -> Value {
        json!(self)
    }

    fn markdown(&self, out: &mut dyn Write, findings: &[Finding]) -> Option<io::Result<()>> {
        Some(write_markdown(self, out, findings))
    }
}

fn write_markdown(exposure: &Exposure, out: &mut dyn Write, findings: &[Finding]) -> io::Result<()> {
    writeln!(out, "<!-- kluis exposure -->\n### kluis exposure {}\n", exposure.person)?;
    writeln!(out, "{}", summary(exposure))?;
    for (cluster, secrets) in by_cluster(exposure) {
        writeln!(out, "\n| {cluster} | | since | gives |\n| --- | --- | --- | --- |")?;
        for one in secrets {
            let gives = if one.live { one.gives } else { "" };
            writeln!(out, "| **{}** | {} | {} | {gives} |", one.standing.as_str(), what(one), times(one))?;
        }
    }
    let unrecorded = exposure.exposures.secrets.iter().filter_map(|one| Some((&one.path, one.unrecorded.as_ref()?)));
    let elsewhere = exposure.exposures.elsewhere.iter().take(SHOWN_ELSEWHERE).map(|one| (&one.path, &one.commit));
    let files: Vec<_> = unrecorded.chain(elsewhere).collect();
    if !files.is_empty() {
        writeln!(out, "\nIn history, sealed to {}, and in no record:\n", exposure.person)?;
        for (path, commit) in files {
            writeln!(out, "- {} in commit {}", inert(path), &commit[..commit.len().min(12)])?;
        }
    }
    if !exposure.certificates.is_empty() {
        writeln!(out, "\n| certificate | groups | until | id |\n| --- | --- | --- | --- |")?;
        for one in &exposure.certificates {
            let groups = one.groups.iter().map(|group| inert(group)).collect::<Vec<_>>().join(", ");
            let only = if one.only_rotation { " **only a new CA cuts it off**" } else { "" };
            let id = inert(&one.credential_id);
            writeln!(out, "| {} {} | {groups}{only} | {} | {id} |", one.cluster, one.profile, one.not_after)?;
        }
    }
    writeln!(out, "\n{}\n", searched(exposure))?;
    for (at, step) in exposure.plan.iter().enumerate() {
        let cluster = step.cluster.as_ref().map(|cluster| format!("{cluster}: ")).unwrap_or_default();
        let command = step.command.as_ref().map(|command| format!(" — {}", inert(command))).unwrap_or_default();
        writeln!(out, "{}. {cluster}{}{command}", at + 1, inert(&step.what))?;
    }
    if !exposure.plan.is_empty() {
        writeln!(out)?;
    }
    markdown_findings(out, findings)
}
