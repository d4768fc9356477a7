//! How the difference between two epochs reads: one line a change, those that weaken trust marked.

use std::io::{self, Write};

use crate::model::{Code, PersonName, displayed};
use crate::ops::Written;
use crate::trust::FormerReason;
use crate::trust::difference::{Change, Part};

/// Writes the changes, one a line, indented.
pub fn write(out: &mut dyn Write, changes: &[Change]) -> io::Result<()> {
    if changes.is_empty() {
        writeln!(out, "  nothing but its date and what it closes")?;
    }
    for change in changes {
        let mark = if change.is_weaker() { "WEAKER" } else { "" };
        writeln!(out, "  {mark:6}  {}", displayed(&line(change)))?;
    }
    Ok(())
}

/// One change as a clause.
pub fn line(change: &Change) -> String {
    match change {
        Change::ThresholdTrust { from, to } => format!("threshold.trust {from} -> {to}"),
        Change::ThresholdBreakGlass { from, to } => format!("threshold.break_glass {from} -> {to}"),
        Change::Policy { limit, from, to } => format!("policy.{} {from} -> {to}", limit.as_str()),
        Change::Expires { from, to } => format!("expires {from} -> {to}"),
        Change::PersonAdded { person, role, cert } => format!("{person} joins as {role}, {cert}"),
        Change::PersonRemoved { person, role, cert, reason } => {
            format!("{person} leaves, was {role}, {cert}{}", because(*reason))
        }
        Change::Role { person, from, to } => format!("{person} {from} -> {to}"),
        Change::Rekeyed { person, from, to, reason } => {
            format!("{person} has another certificate{}: {from} -> {to}", because(*reason))
        }
        Change::KeyAdded { person, purpose, key } => format!("{person} gets a key to {purpose}: {key}"),
        Change::KeyRemoved { person, purpose, key } => format!("{person} loses a key to {purpose}: {key}"),
        Change::Refreshed { person, to, .. } => {
            format!("{person}'s certificate has other bytes, with the same keys: {}", to.h16())
        }
        Change::ClusterAdded { cluster, api, .. } => format!("cluster {cluster} is new, {api}"),
        Change::ClusterRemoved { cluster, .. } => format!("cluster {cluster} is dropped"),
        Change::ClusterRetired { cluster } => format!("cluster {cluster} is retired"),
        Change::ClusterRevived { cluster } => format!("cluster {cluster} was retired and is in use again"),
        Change::Api { cluster, from, to } => format!("{cluster}: endpoint {from} -> {to}"),
        Change::Granted { cluster, person, part } => format!("{cluster}: {person} becomes {}", part_of(part)),
        Change::Withdrawn { cluster, person, part } => format!("{cluster}: {person} is no more {}", part_of(part)),
        Change::GenerationAdded { cluster, keyset, generation, sha256 } => {
            format!("{cluster}: trusts {keyset} {generation}, {}", sha256.h16())
        }
        Change::GenerationRemoved { cluster, keyset, generation, sha256 } => {
            format!("{cluster}: trusts {keyset} {generation} no more, {}", sha256.h16())
        }
        Change::WaivedAdded { cluster, finding, until, reason } => {
            format!("{cluster}: lives with {finding} until {until}: {reason}")
        }
        Change::WaivedRemoved { cluster, finding, .. } => format!("{cluster}: lives with {finding} no more"),
    }
}

fn because(reason: Option<FormerReason>) -> String {
    reason.map(|reason| format!(" ({})", reason.as_str())).unwrap_or_default()
}

fn part_of(part: &Part) -> String {
    match part {
        Part::Keyholder => "keyholder".to_owned(),
        Part::Issuer => "issuer".to_owned(),
        Part::Group(group) => format!("member of {group} on request"),
    }
}

/// Writes what a command drafted: the changes, whose signatures are missing, and the next command.
pub fn write_drafted(out: &mut dyn Write, changes: &[Change], written: &Written) -> io::Result<()> {
    let Some(number) = written.epoch else {
        return writeln!(out, "Nothing changes, so nothing was written.");
    };
    let verb = if written.dry_run { "would be drafted" } else { "is drafted" };
    writeln!(out, "Epoch {number} {verb}:")?;
    write(out, changes)?;
    if written.dry_run {
        return Ok(());
    }
    write_missing(out, written)
}

/// Writes whose signatures an epoch lacks, or that it counts.
pub fn write_missing(out: &mut dyn Write, written: &Written) -> io::Result<()> {
    let missing = &written.missing_signatures;
    if missing.is_empty() {
        writeln!(out, "\nIt has its signatures and counts from now on.")?;
        let reseals = |code| matches!(code, Code::MissingRecipient | Code::ExtraRecipient);
        return match written.findings.iter().any(|finding| reseals(finding.code)) {
            true => writeln!(out, "next: kluis reseal"),
            false => Ok(()),
        };
    }
    let names = missing.iter().map(PersonName::as_str).collect::<Vec<_>>().join(", ");
    writeln!(out, "\nIt does not count yet. Signatures that would help: {names}")?;
    writeln!(out, "next: push it; each of them runs")?;
    writeln!(out, "  kluis trust sign")?;
    writeln!(out, "Who sees this repository for the first time pins it before, by the line that you see with")?;
    writeln!(out, "  kluis trust pin")
}
