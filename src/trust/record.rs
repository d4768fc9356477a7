//! Records: signed statements of what one command did (FORMAT 5), as values and as canonical bytes.
//! Whether a record counts is judged in `log` and `allowed`.

use std::collections::BTreeSet;

use super::canonical::{self, Reader, StatementFault, Writer};
use crate::model::{
    ClusterName, Code, Digest, Fingerprint, Generation, HexId, Keyset, PersonName, Place, PlaceError, SealedName,
    State, Time,
};

/// A statement of what one command did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the keys of FORMAT 5, where each has its sentence")]
pub struct Record {
    pub repo: HexId<32>,
    pub epoch: u32,
    pub epoch_sha256: Digest,
    pub actor: PersonName,
    pub time: Time,
    pub command: String,
    pub reason: String,
    pub accepted: Vec<String>,
    pub parents: Vec<Digest>,
    pub config: Vec<Config>,
    pub sealed: Vec<Sealed>,
    pub issued: Vec<Issued>,
    pub phase: Vec<Phase>,
    pub approve: Vec<Digest>,
    pub deny: Vec<Deny>,
    pub confirm: Vec<Confirm>,
    pub revoke_key: Vec<RevokeKey>,
    pub adopt: Vec<Digest>,
    pub removed: Vec<Place>,
}

/// Vouches for a cluster.toml.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the keys of FORMAT 5")]
pub struct Config {
    pub cluster: ClusterName,
    pub sha256: Digest,
}

/// One recipient of a sealed file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[expect(missing_docs, reason = "the keys of FORMAT 5")]
pub struct Recipient {
    pub person: PersonName,
    pub key: Fingerprint,
}

/// One key inside a sealed file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicId {
    /// `ca.kubernetes`, `sa`, a profile.
    pub name: String,
    /// SHA-256 of the SPKI DER; of a symmetric key, see FORMAT 5.
    pub id: Digest,
}

/// Vouches for one sealed file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the keys of FORMAT 5")]
pub struct Sealed {
    pub cluster: ClusterName,
    pub name: SealedName,
    pub revision: u32,
    pub sha256: Digest,
    pub imported: bool,
    pub recipients: Vec<Recipient>,
    pub public: Vec<PublicId>,
}

/// Vouches for one leaf certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the keys of FORMAT 5")]
pub struct Issued {
    pub place: Place,
    pub subject: String,
    pub serial: String,
    pub sha256: Digest,
    pub spki: Digest,
    pub issuer: Digest,
    pub not_before: Time,
    pub not_after: Time,
    pub request: Option<Digest>,
}

/// A step of a rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the keys of FORMAT 5")]
pub struct Phase {
    pub cluster: ClusterName,
    pub keyset: Keyset,
    pub generation: Generation,
    pub state: State,
    pub gates: Vec<String>,
}

/// A request that is refused for good.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the keys of FORMAT 5")]
pub struct Deny {
    pub request: Digest,
    pub reason: String,
}

/// The actor opened this sealed file and the keys inside match.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the keys of FORMAT 5")]
pub struct Confirm {
    pub cluster: ClusterName,
    pub name: SealedName,
    pub sha256: Digest,
}

/// A key that is not to be trusted from here on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the keys of FORMAT 5")]
pub struct RevokeKey {
    pub person: PersonName,
    pub key: Fingerprint,
    pub reason: String,
}

impl Config {
    /// The path that it vouches for.
    pub fn place(&self) -> Place {
        Place::Config(self.cluster.clone())
    }
}

impl Sealed {
    /// The path that it vouches for.
    pub fn place(&self) -> Place {
        Place::Sealed(self.cluster.clone(), self.name.clone())
    }
}

impl Confirm {
    /// The path that was opened.
    pub fn place(&self) -> Place {
        Place::Sealed(self.cluster.clone(), self.name.clone())
    }
}

impl Issued {
    /// The organisations in `subject`, unescaped.
    pub fn organizations(&self) -> Vec<String> {
        split_subject(&self.subject).into_iter().filter(|(kind, _)| kind == "O").map(|(_, value)| value).collect()
    }

    /// Whether it gives `system:masters`, whatever its profile: then the rules of break-glass hold.
    pub fn is_break_glass(&self) -> bool {
        matches!(&self.place, Place::PersonCert(_, _, crate::model::Profile::BreakGlass))
            || self.organizations().iter().any(|group| group == "system:masters")
    }
}

/// Splits an RFC 4514 string into types and unescaped values.
pub fn split_subject(subject: &str) -> Vec<(String, String)> {
    let mut parts = vec![String::new()];
    let mut chars = subject.chars();
    while let Some(c) = chars.next() {
        let last = parts.len() - 1;
        match c {
            '\\' => parts[last].extend(chars.next()),
            ',' | '+' => parts.push(String::new()),
            c => parts[last].push(c),
        }
    }
    let pair = |part: String| part.split_once('=').map(|(kind, value)| (kind.to_owned(), value.to_owned()));
    parts.into_iter().filter_map(pair).collect()
}

impl Record {
    /// A record without entries.
    pub fn new(
        repo: HexId<32>,
        (epoch, epoch_sha256): (u32, Digest),
        actor: PersonName,
        time: Time,
        command: impl Into<String>,
        parents: Vec<Digest>,
    ) -> Self {
        Self {
            repo,
            epoch,
            epoch_sha256,
            actor,
            time,
            command: command.into(),
            reason: String::new(),
            accepted: Vec::new(),
            parents,
            config: Vec::new(),
            sealed: Vec::new(),
            issued: Vec::new(),
            phase: Vec::new(),
            approve: Vec::new(),
            deny: Vec::new(),
            confirm: Vec::new(),
            revoke_key: Vec::new(),
            adopt: Vec::new(),
            removed: Vec::new(),
        }
    }

    /// Parses canonical bytes. Fails with the first rule of FORMAT 2 and 5 that the bytes alone break.
    pub fn parse(bytes: &[u8]) -> Result<Self, StatementFault> {
        let mut top = canonical::parse(bytes, "record")?;
        let request = |mut table: Reader| {
            let request = table.digest("request")?;
            table.end().map(|()| request)
        };
        let record = Self {
            repo: top.id("repo")?,
            epoch: top.number("epoch")?,
            epoch_sha256: top.digest("epoch_sha256")?,
            actor: top.name("actor")?,
            time: top.time("time")?,
            command: top.free_text("command")?,
            reason: top.free_text("reason")?,
            accepted: top.optional_list("accepted")?,
            parents: parse_parents(&mut top)?,
            config: each(&mut top, "config", parse_config)?,
            sealed: each(&mut top, "sealed", parse_sealed)?,
            issued: each(&mut top, "issued", parse_issued)?,
            phase: each(&mut top, "phase", parse_phase)?,
            approve: each(&mut top, "approve", request)?,
            deny: each(&mut top, "deny", parse_deny)?,
            confirm: each(&mut top, "confirm", parse_confirm)?,
            revoke_key: each(&mut top, "revoke_key", parse_revoke_key)?,
            adopt: each(&mut top, "adopt", parse_adopt)?,
            removed: each(&mut top, "removed", parse_removed)?,
        };
        top.end()?;
        canonical::check_bytes(bytes, &record.write())?;
        record.check_order()?;
        Ok(record)
    }

    /// Entries with a path stand in its byte order; one path stands once over all kinds of entries; no entry
    /// stands twice.
    fn check_order(&self) -> Result<(), StatementFault> {
        let fault = |why: String| Err(StatementFault::new(Code::NotCanonical, why));
        let lists = [
            self.config.iter().map(|e| e.place().to_string()).collect::<Vec<_>>(),
            self.sealed.iter().map(|e| e.place().to_string()).collect(),
            self.issued.iter().map(|e| e.place.to_string()).collect(),
            self.removed.iter().map(ToString::to_string).collect(),
        ];
        let confirms: Vec<String> = self.confirm.iter().map(|e| e.place().to_string()).collect();
        let mut seen = BTreeSet::new();
        for path in lists.iter().flatten() {
            if !seen.insert(path) {
                return fault(format!("{path} stands twice"));
            }
        }
        if let Some(list) = lists.iter().chain([&confirms]).find(|list| !list.is_sorted()) {
            return fault(format!("the entries of {} are not in byte order", list[0]));
        }
        let twice = has_twice(&self.phase)
            || has_twice(&self.approve)
            || has_twice(&self.deny)
            || has_twice(&self.confirm)
            || has_twice(&self.adopt)
            || has_twice(&self.revoke_key);
        if twice { fault("an entry stands twice".to_owned()) } else { Ok(()) }
    }

    /// Puts entries with a path into its byte order, as `parse` wants them.
    pub fn sort(&mut self) {
        self.config.sort_by_key(|e| e.place().to_string());
        self.sealed.sort_by_key(|e| e.place().to_string());
        self.issued.sort_by_key(|e| e.place.to_string());
        self.confirm.sort_by_key(|e| e.place().to_string());
        self.removed.sort_by_key(ToString::to_string);
        self.parents.sort();
    }

    /// Whether it has no entries: a heartbeat.
    pub fn is_heartbeat(&self) -> bool {
        self.entries() == 0
    }

    /// The number of entries of all kinds.
    pub fn entries(&self) -> usize {
        self.config.len()
            + self.sealed.len()
            + self.issued.len()
            + self.phase.len()
            + self.approve.len()
            + self.deny.len()
            + self.confirm.len()
            + self.revoke_key.len()
            + self.adopt.len()
            + self.removed.len()
    }

    /// The canonical text.
    pub fn write(&self) -> String {
        let mut w = Writer::default();
        w.string("format", "kluis/record/1");
        w.string("repo", self.repo);
        w.plain("epoch", self.epoch);
        w.string("epoch_sha256", self.epoch_sha256);
        w.string("actor", &self.actor);
        w.plain("time", self.time);
        w.string("command", &self.command);
        w.string("reason", &self.reason);
        if !self.accepted.is_empty() {
            w.list("accepted", &self.accepted);
        }
        w.list("parents", &self.parents);
        for entry in &self.config {
            w.element("config");
            w.string("path", entry.place());
            w.string("sha256", entry.sha256);
        }
        self.sealed.iter().for_each(|entry| write_sealed(&mut w, entry));
        self.issued.iter().for_each(|entry| write_issued(&mut w, entry));
        for entry in &self.phase {
            w.element("phase");
            w.string("cluster", &entry.cluster);
            w.string("keyset", entry.keyset);
            w.plain("generation", entry.generation.number());
            w.string("state", entry.state);
            if !entry.gates.is_empty() {
                w.list("gates", &entry.gates);
            }
        }
        for request in &self.approve {
            w.element("approve");
            w.string("request", request);
        }
        for entry in &self.deny {
            w.element("deny");
            w.string("request", entry.request);
            w.string("reason", &entry.reason);
        }
        for entry in &self.confirm {
            w.element("confirm");
            w.string("path", entry.place());
            w.string("sha256", entry.sha256);
        }
        for entry in &self.revoke_key {
            w.element("revoke_key");
            w.string("person", &entry.person);
            w.string("key", &entry.key);
            w.string("reason", &entry.reason);
        }
        for record in &self.adopt {
            w.element("adopt");
            w.string("record", record);
        }
        for place in &self.removed {
            w.element("removed");
            w.string("path", place);
        }
        w.finish()
    }
}

fn has_twice<T: PartialEq>(entries: &[T]) -> bool {
    entries.iter().enumerate().any(|(index, entry)| entries[..index].contains(entry))
}

fn write_sealed(w: &mut Writer, entry: &Sealed) {
    w.element("sealed");
    w.string("path", entry.place());
    w.plain("revision", entry.revision);
    w.string("sha256", entry.sha256);
    w.flag("imported", entry.imported);
    let recipient = |r: &Recipient| [("person", r.person.to_string()), ("key", r.key.to_string())];
    w.inline("recipients", entry.recipients.iter().map(recipient));
    w.inline("public", entry.public.iter().map(|p| [("name", p.name.clone()), ("id", p.id.to_string())]));
}

fn write_issued(w: &mut Writer, entry: &Issued) {
    w.element("issued");
    w.string("path", &entry.place);
    w.string("subject", &entry.subject);
    w.string("serial", &entry.serial);
    w.string("sha256", entry.sha256);
    w.string("spki", entry.spki);
    w.string("issuer", entry.issuer);
    w.plain("not_before", entry.not_before);
    w.plain("not_after", entry.not_after);
    if let Some(request) = &entry.request {
        w.string("request", request);
    }
}

fn each<T>(
    top: &mut Reader,
    key: &str,
    parse: impl Fn(Reader) -> Result<T, StatementFault>,
) -> Result<Vec<T>, StatementFault> {
    top.elements(key)?.into_iter().map(parse).collect()
}

fn parse_parents(top: &mut Reader) -> Result<Vec<Digest>, StatementFault> {
    let parents = top.sorted_list("parents")?;
    let bad = || StatementFault::new(Code::NotCanonical, "record: parents are SHA-256 hashes");
    parents.iter().map(|parent| Digest::parse(parent).ok_or_else(bad)).collect()
}

/// The path of an entry. A name in it that is no name is `bad-name`, a profile that is none `bad-profile`,
/// any other path, or one of another kind than the entry is about, `bad-path`.
fn place(table: &mut Reader) -> Result<Place, StatementFault> {
    let path = table.string("path")?;
    Place::parse(&path).map_err(|error| {
        let code = match error {
            PlaceError::Name => Code::BadName,
            PlaceError::Unexpected => Code::BadPath,
            PlaceError::Profile => Code::BadProfile,
        };
        StatementFault::new(code, format!("{path:?} is no path that a record can vouch for"))
    })
}

fn wrong_place<T>(place: &Place) -> Result<T, StatementFault> {
    Err(StatementFault::new(Code::BadPath, format!("{place} is no path for this kind of entry")))
}

fn sealed_place(table: &mut Reader) -> Result<(ClusterName, SealedName), StatementFault> {
    match place(table)? {
        Place::Sealed(cluster, name) => Ok((cluster, name)),
        other => wrong_place(&other),
    }
}

fn parse_config(mut table: Reader) -> Result<Config, StatementFault> {
    let cluster = match place(&mut table)? {
        Place::Config(cluster) => cluster,
        other => return wrong_place(&other),
    };
    let entry = Config { cluster, sha256: table.digest("sha256")? };
    table.end().map(|()| entry)
}

fn parse_sealed(mut table: Reader) -> Result<Sealed, StatementFault> {
    let (cluster, name) = sealed_place(&mut table)?;
    let recipient = |mut table: Reader| {
        let entry = Recipient { person: table.name("person")?, key: table.fingerprint("key")? };
        table.end().map(|()| entry)
    };
    let public = |mut table: Reader| {
        let entry = PublicId { name: table.string("name")?, id: table.digest("id")? };
        table.end().map(|()| entry)
    };
    let entry = Sealed {
        cluster,
        name,
        revision: table.number("revision")?,
        sha256: table.digest("sha256")?,
        imported: table.flag("imported")?,
        recipients: each(&mut table, "recipients", recipient)?,
        public: each(&mut table, "public", public)?,
    };
    table.end()?;
    let names: Vec<&str> = entry.public.iter().map(|key| key.name.as_str()).collect();
    if has_twice(&entry.recipients) || names.windows(2).any(|pair| pair[0] >= pair[1]) {
        let why = format!("{}: keys are sorted by name, and nothing stands twice", entry.place());
        return Err(StatementFault::new(Code::NotCanonical, why));
    }
    Ok(entry)
}

fn is_serial(text: &str) -> bool {
    let hex = text.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c));
    hex && text.len().is_multiple_of(2) && (2..=40).contains(&text.len()) && !text.starts_with("00")
}

fn parse_issued(mut table: Reader) -> Result<Issued, StatementFault> {
    let place = match place(&mut table)? {
        place @ (Place::NodeCert(..) | Place::PersonCert(..)) => place,
        other => return wrong_place(&other),
    };
    let entry = Issued {
        place,
        subject: table.string("subject")?,
        serial: table
            .parsed("serial", "a serial in lower-case hex", |text| is_serial(text).then(|| text.to_owned()))?,
        sha256: table.digest("sha256")?,
        spki: table.digest("spki")?,
        issuer: table.digest("issuer")?,
        not_before: table.time("not_before")?,
        not_after: table.time("not_after")?,
        request: table.optional_digest("request")?,
    };
    table.end().map(|()| entry)
}

fn parse_phase(mut table: Reader) -> Result<Phase, StatementFault> {
    let number = |table: &mut Reader| -> Result<Generation, StatementFault> {
        let bad = || StatementFault::new(Code::NotCanonical, "phase: generation is not 1 to 9999");
        Generation::new(table.number("generation")?).ok_or_else(bad)
    };
    let entry = Phase {
        cluster: table.name("cluster")?,
        keyset: table.parsed("keyset", "a keyset", Keyset::parse)?,
        generation: number(&mut table)?,
        state: table.parsed("state", "a state", State::parse)?,
        gates: table.optional_list("gates")?,
    };
    table.end().map(|()| entry)
}

fn parse_deny(mut table: Reader) -> Result<Deny, StatementFault> {
    let entry = Deny { request: table.digest("request")?, reason: table.free_text("reason")? };
    table.end().map(|()| entry)
}

fn parse_confirm(mut table: Reader) -> Result<Confirm, StatementFault> {
    let (cluster, name) = sealed_place(&mut table)?;
    let entry = Confirm { cluster, name, sha256: table.digest("sha256")? };
    table.end().map(|()| entry)
}

fn parse_revoke_key(mut table: Reader) -> Result<RevokeKey, StatementFault> {
    let entry =
        RevokeKey { person: table.name("person")?, key: table.fingerprint("key")?, reason: table.free_text("reason")? };
    table.end().map(|()| entry)
}

fn parse_adopt(mut table: Reader) -> Result<Digest, StatementFault> {
    let record = table.digest("record")?;
    table.end().map(|()| record)
}

fn parse_removed(mut table: Reader) -> Result<Place, StatementFault> {
    let place = match place(&mut table)? {
        place @ (Place::NodeCert(..)
        | Place::PersonCert(..)
        | Place::Sealed(..)
        | Place::Request(..)
        | Place::RequestSignature(..)) => place,
        other => return wrong_place(&other),
    };
    table.end().map(|()| place)
}
