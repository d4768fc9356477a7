//! How the log reads: a block a record, the newest last, in at most 100 columns as long as names are short.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use serde_json::json;

use super::{Report, Value};
use crate::model::{ClusterName, PersonName, displayed};
use crate::ops::audit::log::{Asked, IssuedEntry, Line, Standing};

const COLUMNS: usize = 100;
const LABEL: usize = 9;
const INDENT: usize = 4;
/// Of what a record has many of, so many are named.
const NAMED: usize = 6;

pub struct Page(pub Vec<Line>);

impl Report for Page {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.0.is_empty() {
            return writeln!(out, "no records");
        }
        let width = self.0.iter().map(|line| line.actor.as_str().len()).max().unwrap_or(0);
        for line in &self.0 {
            writeln!(out, "{}  {:<width$}  {}", line.time, line.actor, displayed(&line.command))?;
            for (label, text) in details(line) {
                row(out, label, &text)?;
            }
        }
        Ok(())
    }

    fn data(&self) -> Value {
        json!({ "records": self.0 })
    }
}

/// A label and its text, which goes on below itself.
pub fn row(out: &mut dyn Write, label: &str, text: &str) -> io::Result<()> {
    let room = COLUMNS - INDENT - LABEL;
    let text = displayed(text);
    let (mut lines, mut line) = (Vec::new(), String::new());
    for word in text.split(' ') {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > room {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    for (at, line) in lines.iter().enumerate() {
        let label = if at == 0 { label } else { "" };
        writeln!(out, "{:INDENT$}{label:<LABEL$}{line}", "")?;
    }
    Ok(())
}

type Rows = Vec<(&'static str, String)>;

fn details(line: &Line) -> Rows {
    let mut rows: Rows = Vec::new();
    match &line.standing {
        Standing::Counts => {}
        Standing::Adopted { code, by, .. } => {
            rows.push(("adopted", format!("by {}; it was void ({code})", people(by))));
        }
        Standing::Void { code, why } => {
            let code = code.map(|code| format!("{code}: ")).unwrap_or_default();
            rows.push(("VOID", format!("{code}{why}")));
        }
        Standing::Unjudged => rows.push(("?", "not judged: the epochs are at fault".to_owned())),
    }
    issued(&line.issued, &mut rows);
    sealed(line, &mut rows);
    for cluster in line.config.iter().map(|entry| &entry.cluster) {
        rows.push(("config", format!("{cluster}: cluster.toml")));
    }
    phases(line, &mut rows);
    rows.extend(line.approve.iter().map(|entry| ("approve", approved(&entry.asked))));
    for entry in &line.deny {
        let why = entry.denied.as_deref().unwrap_or_default();
        rows.push(("deny", format!("{}: {why}", request(&entry.asked))));
    }
    let confirmed = line.confirm.iter().map(|entry| (Some(&entry.cluster), entry.path.as_str()));
    rows.extend(files(confirmed).into_iter().map(|text| ("confirm", text)));
    for entry in &line.revoke_key {
        rows.push(("revoke", format!("{}'s key {}: {}", entry.person, entry.key.key_id(), entry.reason)));
    }
    for entry in &line.adopt {
        let whose = entry.actor.as_ref().map(|actor| format!(" of {actor}")).unwrap_or_default();
        rows.push(("adopt", format!("{}{whose}", entry.record.h16())));
    }
    let removed = line.removed.iter().map(|entry| (entry.cluster.as_ref(), entry.path.as_str()));
    rows.extend(files(removed).into_iter().map(|text| ("removed", text)));
    if !line.reason.is_empty() {
        rows.push(("why", line.reason.clone()));
    }
    if !line.accepted.is_empty() {
        rows.push(("stale", format!("went on past {}", line.accepted.join(", "))));
    }
    rows
}

fn people<'a>(people: impl IntoIterator<Item = &'a PersonName>) -> String {
    people.into_iter().map(PersonName::as_str).collect::<Vec<_>>().join(", ")
}

/// The first few, and how many more.
fn few(names: &[&str]) -> String {
    let named = names[..names.len().min(NAMED)].join(", ");
    if names.len() > NAMED { format!("{named} and {} more", names.len() - NAMED) } else { named }
}

fn issued(entries: &[IssuedEntry], rows: &mut Rows) {
    let mut nodes: BTreeMap<&ClusterName, Vec<&IssuedEntry>> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.kind == "node") {
        nodes.entry(&entry.cluster).or_default().push(entry);
    }
    for (cluster, entries) in nodes {
        let owners: BTreeSet<&str> = entries.iter().map(|entry| entry.owner.as_str()).collect();
        let owners = few(&owners.into_iter().collect::<Vec<_>>());
        let what = match entries.as_slice() {
            [one] => one.profile.to_string(),
            more => format!("{} certificates", more.len()),
        };
        rows.push(("issued", format!("{cluster}: {what} of {owners}")));
    }
    for entry in entries.iter().filter(|entry| entry.kind == "person") {
        let glass = if entry.break_glass { "BREAK-GLASS " } else { "" };
        let groups = if entry.groups.is_empty() { String::new() } else { format!(" ({})", entry.groups.join(", ")) };
        let text = format!("{}: {glass}{}/{}{groups} until {}", entry.cluster, entry.owner, entry.profile, entry.not_after);
        rows.push(("issued", text));
        if !entry.approved_by.is_empty() {
            let by = people(&entry.approved_by);
            let who = entry.request.as_ref().map(|asked| match &asked.person {
                Some(person) => format!("; asked by {person}"),
                None => format!("; request {} is gone", asked.request.h16()),
            });
            rows.push(("by", by + &who.unwrap_or_default()));
        }
        let why = entry.request.as_ref().map(|asked| &asked.reason).filter(|why| !why.is_empty());
        rows.extend(why.map(|why| ("asked", why.clone())));
    }
}

/// By cluster and recipients: who can open what since then.
fn sealed(line: &Line, rows: &mut Rows) {
    let mut groups: BTreeMap<(&ClusterName, BTreeSet<&PersonName>, bool), Vec<&str>> = BTreeMap::new();
    for entry in &line.sealed {
        let to = entry.recipients.iter().map(|recipient| &recipient.person).collect();
        groups.entry((&entry.cluster, to, entry.imported)).or_default().push(&entry.secret);
    }
    for ((cluster, to, imported), secrets) in groups {
        let imported = if imported { ", imported" } else { "" };
        rows.push(("sealed", format!("{cluster}: {} to {}{imported}", few(&secrets), people(to))));
    }
}

fn phases(line: &Line, rows: &mut Rows) {
    let mut clusters: BTreeMap<&ClusterName, Vec<String>> = BTreeMap::new();
    for entry in &line.phase {
        let gates = if entry.gates.is_empty() { String::new() } else { format!(" ({})", entry.gates.join(", ")) };
        let text = format!("{} {} {}{gates}", entry.keyset, entry.generation, entry.state);
        clusters.entry(&entry.cluster).or_default().push(text);
    }
    rows.extend(clusters.into_iter().map(|(cluster, steps)| ("phase", format!("{cluster}: {}", steps.join(", ")))));
}

fn request(asked: &Asked) -> String {
    let id = asked.request.h16();
    let Some(person) = &asked.person else { return format!("request {id}, which is gone") };
    let cluster = asked.cluster.as_ref().map(|cluster| format!("{cluster}: ")).unwrap_or_default();
    format!("{cluster}{person}/{}, request {id}", asked.profile.as_deref().unwrap_or_default())
}

fn approved(asked: &Asked) -> String {
    let why = if asked.reason.is_empty() { String::new() } else { format!(", because {}", asked.reason) };
    request(asked) + &why
}

fn files<'a>(entries: impl Iterator<Item = (Option<&'a ClusterName>, &'a str)>) -> Vec<String> {
    let mut groups: BTreeMap<Option<&ClusterName>, Vec<&str>> = BTreeMap::new();
    for (cluster, path) in entries {
        groups.entry(cluster).or_default().push(path);
    }
    let text = |(cluster, paths): (Option<&ClusterName>, Vec<&str>)| {
        let cluster = cluster.map(ClusterName::as_str).unwrap_or_default();
        let prefix = format!("clusters/{cluster}/");
        let names: Vec<&str> = paths.iter().map(|path| path.strip_prefix(&prefix).unwrap_or(path)).collect();
        format!("{cluster}: {}", few(&names))
    };
    groups.into_iter().map(text).collect()
}
