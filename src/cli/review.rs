//! `review`: words and flags, and how a review reads as text of 80 columns. How it reads as a comment is `comment`'s.

mod comment;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use serde_json::{Value, json};

use super::{Answer, Global, Report, change};
use crate::model::{ClusterName, Code, Finding, Level, PersonName, displayed};
use crate::ops::review::{Access, Asked, Fate, Review, SecretChange, review};
use crate::ops::{Failure, Session};

/// Show what a change does: who gains and loses which secrets, trust, certificates, and what is wrong
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES
  kluis review main..HEAD
  kluis review
  kluis review HEAD~1
  kluis review main..HEAD -o markdown
  kluis review main..HEAD -o sarif
  kluis review main..HEAD --fail-on weaker --fail-on access-gained

Without a range it is the work tree against HEAD; with one revision, that commit against its parent. Reads git's
objects: nothing is checked out, no hook runs, no key is needed. It ends 3 where the result is invalid, and where
something is found that --fail-on names.")]
pub struct Args {
    /// BASE..HEAD, one revision, or nothing for the work tree
    #[arg(value_name = "RANGE")]
    range: Option<String>,
    /// End 3 if this is found: a level (error, attention, note), a code, or never (repeatable)
    #[arg(long, value_name = "LEVEL|CODE", value_parser = fail_on)]
    fail_on: Vec<FailOn>,
    /// Judge the whole head, however large it is
    #[arg(long)]
    full: bool,
}

/// What makes a review end 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FailOn {
    Never,
    Level(Level),
    Code(Code),
}

fn fail_on(text: &str) -> Result<FailOn, String> {
    Ok(match text {
        "never" => FailOn::Never,
        "error" => FailOn::Level(Level::Error),
        "attention" => FailOn::Level(Level::Attention),
        "note" => FailOn::Level(Level::Note),
        code => {
            let known = Code::ALL.iter().find(|known| known.as_str() == code);
            FailOn::Code(*known.ok_or("it is error, attention, note, never, or a finding's code (docs/EXIT-CODES.md)")?)
        }
    })
}

/// The command's name in reports.
pub fn name(_args: &Args) -> String {
    "review".to_owned()
}

/// Runs the command.
pub fn run(args: &Args, _global: &Global, session: &mut Session) -> Result<Answer, Failure> {
    let (review, findings) = review(session, &Asked::parse(args.range.as_deref()), args.full)?;
    let exit = exit(&args.fail_on, &findings);
    Ok(Answer { report: Box::new(Page { review, exit }), findings, exit })
}

fn exit(fail_on: &[FailOn], findings: &[Finding]) -> u8 {
    if fail_on.contains(&FailOn::Never) {
        return 0;
    }
    let anchor = findings.iter().any(|f| f.level == Level::Error && f.code.is_anchor());
    let hit = |finding: &&Finding| {
        finding.level == Level::Error && !finding.code.is_anchor()
            || fail_on.iter().any(|on| match on {
                FailOn::Never => false,
                // A level takes the graver ones along.
                FailOn::Level(level) => finding.level <= *level,
                FailOn::Code(code) => finding.code == *code,
            })
    };
    match findings.iter().any(|finding| hit(&finding)) {
        true => 3,
        false if anchor => 4,
        false => 0,
    }
}

struct Page {
    review: Review,
    exit: u8,
}

fn names<'a>(people: impl IntoIterator<Item = &'a PersonName>) -> String {
    let names: Vec<&str> = people.into_iter().map(PersonName::as_str).collect();
    if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
}

fn short(id: Option<&String>) -> String {
    id.map_or_else(String::new, |id| format!(" {}", &id[..id.len().min(12)]))
}

/// `prod: ca.etcd.g1, sa.g1; stage: 14 secrets`.
fn listed(side: &BTreeMap<ClusterName, BTreeSet<String>>) -> String {
    let cluster = |(name, secrets): (&ClusterName, &BTreeSet<String>)| {
        let list = secrets.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        if list.len() > 60 { format!("{name}: {} secrets", secrets.len()) } else { format!("{name}: {list}") }
    };
    side.iter().map(cluster).collect::<Vec<_>>().join("; ")
}

fn fate(change: &SecretChange) -> &'static str {
    match change.fate {
        Fate::New => "new",
        Fate::Resealed => "sealed again",
        Fate::Removed => "removed",
        Fate::Damaged => "DAMAGED",
    }
}

/// Sealed files that have the same readers before and after and met the same fate: shown as one line.
fn grouped(secrets: &[SecretChange]) -> Vec<(Vec<&SecretChange>, String, String)> {
    let mut groups: Vec<(Vec<&SecretChange>, String, String)> = Vec::new();
    for secret in secrets {
        let labels = |readers: &[crate::ops::review::Reader]| {
            let mut labels: Vec<String> = readers.iter().map(crate::ops::review::Reader::label).collect();
            labels.dedup();
            if labels.is_empty() { "-".to_owned() } else { labels.join(" ") }
        };
        let (before, after) = (labels(&secret.before), labels(&secret.after));
        let same = groups.iter_mut().find(|(group, b, a)| {
            (group[0].fate, &group[0].cluster, group[0].recorded) == (secret.fate, &secret.cluster, secret.recorded)
                && (b.as_str(), a.as_str()) == (before.as_str(), after.as_str())
        });
        match same {
            Some((group, ..)) => group.push(secret),
            None => groups.push((vec![secret], before, after)),
        }
    }
    groups
}

fn group_name(group: &[&SecretChange]) -> String {
    match group {
        [one] => one.path.clone(),
        several => format!("clusters/{}/sealed/… ({} files)", several[0].cluster, several.len()),
    }
}

impl Page {
    fn is_empty(&self) -> bool {
        let Review { trust, secrets, certificates, issued, records, configs, others, .. } = &self.review;
        trust.is_none()
            && secrets.is_empty()
            && certificates.is_empty()
            && issued.is_empty()
            && records.is_empty()
            && configs.is_empty()
            && others.is_empty()
    }

    fn write_trust(&self, out: &mut dyn Write) -> io::Result<()> {
        let Some(trust) = &self.review.trust else { return Ok(()) };
        let from = trust.from.map_or("nothing".to_owned(), |from| format!("epoch {from}"));
        let state = if trust.draft { "DRAFT, lacks signatures" } else { "has its signatures" };
        writeln!(out, "\nTrust  {from} -> epoch {}: {state}", trust.to)?;
        wrapped(out, 2, &format!("why     {}", trust.reason))?;
        if !trust.changes.is_empty() {
            change::write(out, &trust.changes)?;
        }
        writeln!(out, "  signed  {}", names(&trust.signed))?;
        trust.missing.iter().try_for_each(|missing| wrapped(out, 2, &format!("MISSING {missing}")))?;
        if !trust.not_closed.is_empty() {
            writeln!(out, "  does not close these records, which count on only if it allows them:")?;
            wrapped(out, 10, &trust.not_closed.join(" "))?;
        }
        Ok(())
    }

    fn write_access(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.review.access.is_empty() {
            return Ok(());
        }
        writeln!(out, "\nWho can open what")?;
        let width = self.review.access.keys().map(String::len).max().unwrap_or(0);
        for (label, Access { gains, loses }) in &self.review.access {
            if !gains.is_empty() {
                wrapped(out, 2, &format!("+ {label:width$}  gains  {}", listed(gains)))?;
            }
            if !loses.is_empty() {
                wrapped(out, 2, &format!("- {label:width$}  loses  {}", listed(loses)))?;
            }
        }
        Ok(())
    }

    fn write_secrets(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.review.secrets.is_empty() {
            return Ok(());
        }
        writeln!(out, "\nSealed files")?;
        for (group, before, after) in grouped(&self.review.secrets) {
            writeln!(out, "  {}  {}", group_name(&group), fate(group[0]))?;
            wrapped(out, 6, &format!("{before} -> {after}"))?;
            if !group[0].recorded {
                writeln!(out, "      NO RECORD of this change vouches for it")?;
            }
        }
        Ok(())
    }

    fn write_rest(&self, out: &mut dyn Write) -> io::Result<()> {
        let review = &self.review;
        for (at, certificate) in review.certificates.iter().enumerate() {
            if at == 0 {
                writeln!(out, "\nInside OpenPGP certificates")?;
            }
            writeln!(out, "  {}", certificate.person)?;
            certificate.changes.iter().try_for_each(|change| wrapped(out, 6, change))?;
        }
        for (at, config) in review.configs.iter().enumerate() {
            if at == 0 {
                writeln!(out, "\nClusters")?;
            }
            let state = if config.recorded { "applied" } else { "NOT applied yet" };
            writeln!(out, "  {}  cluster.toml, {state}", config.cluster)?;
            config.changes.iter().try_for_each(|change| wrapped(out, 6, change))?;
        }
        for (at, record) in review.records.iter().enumerate() {
            if at == 0 {
                writeln!(out, "\nRecords")?;
            }
            let reason = if record.reason.is_empty() { String::new() } else { format!(": {}", displayed(&record.reason)) };
            let (h16, actor, time) = (record.sha256.h16(), &record.actor, record.time);
            writeln!(out, "  {h16}  {actor}  {time}  {}{reason}", displayed(&record.command))?;
            record.says.iter().try_for_each(|line| wrapped(out, 6, line))?;
        }
        self.write_issued(out)?;
        write_some(out, "Other files that kluis manages", &review.others)?;
        for (at, open) in review.exposed.iter().enumerate() {
            if at == 0 {
                writeln!(out, "\nStill open to those who lose access; sealing again takes none of it back")?;
            }
            writeln!(out, "  {}: {} secrets in use, {} replaced", open.person, open.live.len(), open.rotated)?;
            write_paths(out, 6, &open.live)?;
        }
        Ok(())
    }

    fn write_issued(&self, out: &mut dyn Write) -> io::Result<()> {
        let issued = &self.review.issued;
        if issued.is_empty() {
            return Ok(());
        }
        writeln!(out, "\nCertificates issued ({})", issued.len())?;
        for one in issued.iter().take(SHOWN * 2) {
            let mark = if one.break_glass { "BREAK-GLASS " } else { "" };
            writeln!(out, "  {}", one.path)?;
            let asked = one.request.map_or(String::new(), |request| format!(", asked in {}", request.h16()));
            wrapped(out, 6, &format!("{mark}{} until {}, by {}{asked}", one.subject, one.not_after, one.by))?;
        }
        if issued.len() > SHOWN * 2 {
            writeln!(out, "  and {} more; -o json names them all", issued.len() - SHOWN * 2)?;
        }
        Ok(())
    }

    fn verdict_words(&self) -> String {
        let review = &self.review;
        let judged = match review.whole {
            true => "the whole head was judged".to_owned(),
            false => "only what differs was judged: `kluis verify --rev` judges the rest".to_owned(),
        };
        let known = match review.known {
            0 => String::new(),
            1 => "; 1 finding was there before".to_owned(),
            known => format!("; {known} findings were there before"),
        };
        format!("{judged}, without any private key{known}")
    }
}

/// Writes paths, and how many there are more.
fn write_paths(out: &mut dyn Write, indent: usize, paths: &[String]) -> io::Result<()> {
    paths.iter().take(SHOWN).try_for_each(|path| writeln!(out, "{:indent$}{path}", ""))?;
    match paths.len().checked_sub(SHOWN) {
        None | Some(0) => Ok(()),
        Some(more) => writeln!(out, "{:indent$}and {more} more; -o json names them all", ""),
    }
}

/// Writes paths below a title, if there are any.
fn write_some(out: &mut dyn Write, title: &str, paths: &[String]) -> io::Result<()> {
    if paths.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{title}")?;
    write_paths(out, 2, paths)
}

/// Columns of a terminal that nobody has made wider.
const COLUMNS: usize = 80;

/// Writes text at an indent, broken at spaces; a word that is longer than a line stays whole, so that it can be copied.
fn wrapped(out: &mut dyn Write, indent: usize, text: &str) -> io::Result<()> {
    let mut line = String::new();
    for word in displayed(text).split(' ') {
        if !line.is_empty() && indent + line.chars().count() + 1 + word.chars().count() > COLUMNS {
            writeln!(out, "{:indent$}{line}", "")?;
            line = format!("  {word}");
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    writeln!(out, "{:indent$}{line}", "")
}

/// Of lists that can be long, this many entries are written out.
const SHOWN: usize = 8;

impl Report for Page {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let (base, head) = (&self.review.base, &self.review.head);
        let (from, to) = (short(base.id.as_ref()), short(head.id.as_ref()));
        writeln!(out, "Changes  {}{from} .. {}{to}", displayed(&base.name), displayed(&head.name))?;
        if self.is_empty() {
            writeln!(out, "\nNothing that kluis manages differs.")?;
        }
        self.write_trust(out)?;
        self.write_access(out)?;
        self.write_secrets(out)?;
        self.write_rest(out)?;
        if self.review.other_files > 0 {
            writeln!(out, "\n{} other files outside the managed trees differ; not judged", self.review.other_files)?;
        }
        writeln!(out)
    }

    fn verdict(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.verdict_words())?;
        match self.exit {
            0 => writeln!(out, "nothing is wrong with it by the rules; whether it is wanted, you decide"),
            4 => writeln!(out, "this is not known to be the right repository"),
            _ => writeln!(out, "do not merge it as it is"),
        }
    }

    fn data(&self) -> Value {
        let mut data = json!(self.review);
        // A word for programs too: a change's own text has no mark.
        if let Some(trust) = &self.review.trust {
            for (at, change) in trust.changes.iter().enumerate() {
                data["trust"]["changes"][at]["weaker"] = json!(change.is_weaker());
            }
        }
        data
    }

    fn markdown(&self, out: &mut dyn Write, findings: &[Finding]) -> Option<io::Result<()>> {
        Some(self.comment(out, findings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_broken_at_spaces_and_words_stay_whole() {
        let mut out = Vec::new();
        wrapped(&mut out, 6, &format!("{} {}", "word ".repeat(30).trim_end(), "x".repeat(90))).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.lines().all(|line| line.chars().count() <= 80 || line.trim() == "x".repeat(90)), "{text}");
        assert_eq!(text.split_whitespace().count(), 31);
    }

    #[test]
    fn what_fails_a_pipeline_is_a_level_or_a_code() {
        let note = Finding::new(Code::AccessGained, "x");
        let attention = Finding::new(Code::NotVouched, "x");
        let error = Finding::new(Code::BadName, "x");
        let anchor = Finding::new(Code::Rollback, "x");
        let on = |words: &[&str], findings: &[&Finding]| {
            let fail_on: Vec<FailOn> = words.iter().map(|word| fail_on(word).unwrap()).collect();
            exit(&fail_on, &findings.iter().map(|finding| (*finding).clone()).collect::<Vec<_>>())
        };
        assert_eq!(on(&[], &[&note, &attention]), 0);
        assert_eq!(on(&[], &[&error]), 3);
        assert_eq!(on(&[], &[&anchor, &note]), 4);
        assert_eq!(on(&["never"], &[&error]), 0);
        assert_eq!(on(&["attention"], &[&note]), 0);
        assert_eq!(on(&["attention"], &[&attention]), 3);
        assert_eq!(on(&["note"], &[&attention]), 3);
        assert_eq!(on(&["access-gained"], &[&note]), 3);
        assert_eq!(on(&["access-lost"], &[&note]), 0);
        assert!(fail_on("everything").is_err());
    }
}
