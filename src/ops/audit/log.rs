//! The log as an auditor reads it: what each record says, who stood behind it, and whether it counts. Judges nothing.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::model::{
    ClusterName, Code, Digest, Fingerprint, Generation, Keyset, PersonName, Place, Profile, Span, State, Time,
};
use crate::trust::log::Log;
use crate::trust::record::{Issued, Recipient, Sealed};
use crate::trust::{approvers, requests};

/// What a record can have an entry of; the names are those of the tables in records, with hyphens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the tables of FORMAT 5")]
pub enum Kind {
    Issued,
    Sealed,
    Config,
    Phase,
    Approve,
    Deny,
    Confirm,
    RevokeKey,
    Adopt,
    Removed,
}

impl Kind {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Issued,
        Self::Sealed,
        Self::Config,
        Self::Phase,
        Self::Approve,
        Self::Deny,
        Self::Confirm,
        Self::RevokeKey,
        Self::Adopt,
        Self::Removed,
    ];

    /// The name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::Sealed => "sealed",
            Self::Config => "config",
            Self::Phase => "phase",
            Self::Approve => "approve",
            Self::Deny => "deny",
            Self::Confirm => "confirm",
            Self::RevokeKey => "revoke-key",
            Self::Adopt => "adopt",
            Self::Removed => "removed",
        }
    }

    /// Parses the name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == text)
    }
}

/// Which records are shown, and which of their entries.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Records of this person's, and about them.
    pub person: Option<PersonName>,
    /// Entries about these clusters, and those about all; all, if empty.
    pub clusters: Vec<ClusterName>,
    /// Not before.
    pub since: Option<Time>,
    /// Not after.
    pub until: Option<Time>,
    /// Entries of these kinds; all, if empty.
    pub kinds: BTreeSet<Kind>,
    /// Break-glass certificates and what was said of requests for them.
    pub break_glass: bool,
}

/// Whether a record counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Standing {
    /// It does.
    Counts,
    /// It is void, and these vouched for it.
    #[expect(missing_docs, reason = "the sentence above")]
    Adopted { code: Code, why: String, by: Vec<PersonName> },
    /// It does not.
    #[expect(missing_docs, reason = "the sentence above")]
    Void { code: Option<Code>, why: String },
    /// The epochs are at fault, so nobody can say.
    Unjudged,
}

/// A request, as far as it is still there.
#[derive(Debug, Clone, Serialize)]
pub struct Asked {
    /// Its hash.
    pub request: Digest,
    /// The cluster.
    pub cluster: Option<ClusterName>,
    /// Who asks.
    pub person: Option<PersonName>,
    /// For what.
    pub profile: Option<String>,
    /// With which groups.
    pub groups: BTreeSet<String>,
    /// For how long.
    pub lifetime: Option<Span>,
    /// Why.
    pub reason: String,
    /// Whether it asks for `system:masters`.
    pub break_glass: bool,
}

/// A certificate that was issued.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "the keys of FORMAT 5, and what follows from them")]
pub struct IssuedEntry {
    pub path: String,
    pub cluster: ClusterName,
    /// `node` or `person`.
    pub kind: &'static str,
    pub owner: String,
    pub profile: Profile,
    pub subject: String,
    pub groups: Vec<String>,
    pub serial: String,
    pub sha256: Digest,
    /// As audit logs of Kubernetes name it.
    pub credential_id: String,
    pub spki: Digest,
    pub issuer: Digest,
    pub not_before: Time,
    pub not_after: Time,
    /// In seconds.
    pub lifetime: i64,
    pub break_glass: bool,
    pub request: Option<Asked>,
    /// Of a certificate that was asked for, and of break-glass: the actor first, then those who approved it before.
    pub approved_by: Vec<PersonName>,
}

/// A sealed file.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "the keys of FORMAT 5")]
pub struct SealedEntry {
    pub path: String,
    pub cluster: ClusterName,
    pub secret: String,
    pub revision: u32,
    pub sha256: Digest,
    pub imported: bool,
    pub recipients: Vec<Recipient>,
}

/// A file that is vouched for by its hash.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "the keys of FORMAT 5")]
pub struct FileEntry {
    pub path: String,
    pub cluster: ClusterName,
    pub sha256: Digest,
}

/// A step of a rotation.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "the keys of FORMAT 5")]
pub struct PhaseEntry {
    pub cluster: ClusterName,
    pub keyset: Keyset,
    pub generation: Generation,
    pub state: State,
    pub gates: Vec<String>,
}

/// A request that was approved or denied.
#[derive(Debug, Clone, Serialize)]
pub struct JudgedEntry {
    /// What was asked.
    #[serde(flatten)]
    pub asked: Asked,
    /// Why it was denied.
    pub denied: Option<String>,
}

/// A key that was revoked.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "the keys of FORMAT 5")]
pub struct RevokedEntry {
    pub person: PersonName,
    pub key: Fingerprint,
    pub reason: String,
}

/// A record that was vouched for.
#[derive(Debug, Clone, Serialize)]
pub struct AdoptedEntry {
    /// Its hash.
    pub record: Digest,
    /// Whose it is, if it is there.
    pub actor: Option<PersonName>,
}

/// A file that is gone on purpose.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "the keys of FORMAT 5")]
pub struct RemovedEntry {
    pub path: String,
    pub cluster: Option<ClusterName>,
}

/// One record.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "the keys of FORMAT 5")]
pub struct Line {
    pub record: Digest,
    pub path: String,
    pub time: Time,
    pub actor: PersonName,
    /// The key that signed it.
    pub key: Fingerprint,
    pub epoch: u32,
    pub command: String,
    pub reason: String,
    pub accepted: Vec<String>,
    pub parents: Vec<Digest>,
    pub standing: Standing,
    pub issued: Vec<IssuedEntry>,
    pub sealed: Vec<SealedEntry>,
    pub config: Vec<FileEntry>,
    pub phase: Vec<PhaseEntry>,
    pub approve: Vec<JudgedEntry>,
    pub deny: Vec<JudgedEntry>,
    pub confirm: Vec<FileEntry>,
    pub revoke_key: Vec<RevokedEntry>,
    pub adopt: Vec<AdoptedEntry>,
    pub removed: Vec<RemovedEntry>,
}

/// The records that are wanted, by their time: what their signers say, and of two at one time, first what the other saw.
pub fn lines(log: &Log, requests: &requests::Index, is_judged: bool, wanted: &Wanted) -> Vec<Line> {
    let reader = Reader { log, requests, is_judged };
    let mut lines: Vec<Line> = (0..log.records.len())
        .filter(|index| in_time(log.records[*index].record.time, wanted))
        .filter_map(|index| reader.line(index).restricted(wanted))
        .collect();
    lines.sort_by_key(|line| line.time);
    lines
}

fn in_time(time: Time, wanted: &Wanted) -> bool {
    wanted.since.is_none_or(|since| time >= since) && wanted.until.is_none_or(|until| time <= until)
}

struct Reader<'a> {
    log: &'a Log,
    requests: &'a requests::Index,
    is_judged: bool,
}

impl Reader<'_> {
    fn line(&self, index: usize) -> Line {
        let logged = &self.log.records[index];
        let record = &logged.record;
        let file = |place: Place, cluster: &ClusterName, sha256| FileEntry {
            path: place.to_string(),
            cluster: cluster.clone(),
            sha256,
        };
        let actor = |record: &Digest| self.log.dag.find(record).map(|at| self.log.records[at].record.actor.clone());
        Line {
            record: logged.sha256,
            path: logged.path.clone(),
            time: record.time,
            actor: record.actor.clone(),
            key: logged.key.clone(),
            epoch: record.epoch,
            command: record.command.clone(),
            reason: record.reason.clone(),
            accepted: record.accepted.clone(),
            parents: record.parents.clone(),
            standing: self.standing(index),
            issued: record.issued.iter().filter_map(|entry| self.issued(index, entry)).collect(),
            sealed: record.sealed.iter().map(sealed).collect(),
            config: record.config.iter().map(|e| file(e.place(), &e.cluster, e.sha256)).collect(),
            phase: record
                .phase
                .iter()
                .map(|e| PhaseEntry {
                    cluster: e.cluster.clone(),
                    keyset: e.keyset,
                    generation: e.generation,
                    state: e.state,
                    gates: e.gates.clone(),
                })
                .collect(),
            approve: record.approve.iter().map(|e| JudgedEntry { asked: self.asked(e), denied: None }).collect(),
            deny: record
                .deny
                .iter()
                .map(|e| JudgedEntry { asked: self.asked(&e.request), denied: Some(e.reason.clone()) })
                .collect(),
            confirm: record.confirm.iter().map(|e| file(e.place(), &e.cluster, e.sha256)).collect(),
            revoke_key: record
                .revoke_key
                .iter()
                .map(|e| RevokedEntry { person: e.person.clone(), key: e.key.clone(), reason: e.reason.clone() })
                .collect(),
            adopt: record.adopt.iter().map(|e| AdoptedEntry { record: *e, actor: actor(e) }).collect(),
            removed: record
                .removed
                .iter()
                .map(|place| RemovedEntry { path: place.to_string(), cluster: place.cluster().cloned() })
                .collect(),
        }
    }

    fn standing(&self, index: usize) -> Standing {
        if !self.is_judged {
            return Standing::Unjudged;
        }
        let adopters: BTreeSet<PersonName> =
            self.log.adopters[index].iter().map(|by| self.log.records[*by].record.actor.clone()).collect();
        match (&self.log.void[index], self.log.broken[index]) {
            (None, false) => Standing::Counts,
            (Some(reason), false) if !adopters.is_empty() => {
                Standing::Adopted { code: reason.code, why: reason.why.clone(), by: adopters.into_iter().collect() }
            }
            (Some(reason), false) => Standing::Void { code: Some(reason.code), why: reason.why.clone() },
            (_, true) => Standing::Void { code: None, why: "its own shape is wrong".to_owned() },
        }
    }

    fn issued(&self, index: usize, entry: &Issued) -> Option<IssuedEntry> {
        let (cluster, kind, owner, profile) = owner(&entry.place)?;
        let actor = &self.log.records[index].record.actor;
        let mut approved_by = Vec::new();
        if entry.request.is_some() || entry.is_break_glass() {
            approved_by.push(actor.clone());
        }
        // Nothing else is ever approved.
        let request = entry.request.filter(|_| entry.is_break_glass());
        let others = request
            .map(|request| approvers(self.log, &request, |one| one == index || self.log.dag.is_before(one, index)))
            .unwrap_or_default();
        approved_by.extend(others.into_iter().filter(|person| person != actor));
        Some(IssuedEntry {
            path: entry.place.to_string(),
            cluster: cluster.clone(),
            kind,
            owner,
            profile,
            subject: entry.subject.clone(),
            groups: entry.organizations(),
            serial: entry.serial.clone(),
            sha256: entry.sha256,
            credential_id: credential_id(&entry.sha256),
            spki: entry.spki,
            issuer: entry.issuer,
            not_before: entry.not_before,
            not_after: entry.not_after,
            lifetime: entry.not_after.since(entry.not_before),
            break_glass: entry.is_break_glass(),
            request: entry.request.map(|request| self.asked(&request)),
            approved_by,
        })
    }

    fn asked(&self, sha256: &Digest) -> Asked {
        let filed = self.requests.get(sha256);
        let request = filed.and_then(|filed| filed.request.as_ref().ok());
        Asked {
            request: *sha256,
            cluster: filed.map(|filed| filed.cluster.clone()),
            person: request.map(|request| request.person.clone()),
            profile: request.map(|request| request.profile.to_string()),
            groups: request.map(|request| request.groups.clone()).unwrap_or_default(),
            lifetime: request.map(|request| request.lifetime),
            reason: request.map(|request| request.reason.clone()).unwrap_or_default(),
            break_glass: request.is_some_and(|request| request.profile == Profile::BreakGlass),
        }
    }
}

/// Cluster, kind, name and profile of a certificate's place.
pub fn owner(place: &Place) -> Option<(&ClusterName, &'static str, String, Profile)> {
    match place {
        Place::NodeCert(cluster, node, profile) => Some((cluster, "node", node.to_string(), *profile)),
        Place::PersonCert(cluster, person, profile) => Some((cluster, "person", person.to_string(), *profile)),
        _ => None,
    }
}

/// How Kubernetes' audit logs name a certificate.
pub fn credential_id(sha256: &Digest) -> String {
    format!("X509SHA256={sha256}")
}

fn sealed(entry: &Sealed) -> SealedEntry {
    SealedEntry {
        path: entry.place().to_string(),
        cluster: entry.cluster.clone(),
        secret: entry.name.to_string(),
        revision: entry.revision,
        sha256: entry.sha256,
        imported: entry.imported,
        recipients: entry.recipients.clone(),
    }
}

impl Line {
    /// With the wanted entries alone; `None` if none of it is wanted.
    fn restricted(mut self, wanted: &Wanted) -> Option<Self> {
        let of_person = wanted.person.as_ref().is_none_or(|person| self.concerns(person));
        let here = |cluster: Option<&ClusterName>| {
            wanted.clusters.is_empty() || cluster.is_some_and(|cluster| wanted.clusters.contains(cluster))
        };
        let kind = |kind: Kind| wanted.kinds.is_empty() || wanted.kinds.contains(&kind);
        let glass = wanted.break_glass;
        self.issued.retain(|e| kind(Kind::Issued) && here(Some(&e.cluster)) && (!glass || e.break_glass));
        // Of a request that has left, nobody knows the cluster; and only break-glass is ever approved.
        let there = |asked: &Asked| asked.cluster.is_none() || here(asked.cluster.as_ref());
        self.approve.retain(|e| kind(Kind::Approve) && there(&e.asked));
        self.deny.retain(|e| kind(Kind::Deny) && there(&e.asked) && (!glass || e.asked.break_glass));
        self.sealed.retain(|e| !glass && kind(Kind::Sealed) && here(Some(&e.cluster)));
        self.config.retain(|e| !glass && kind(Kind::Config) && here(Some(&e.cluster)));
        self.phase.retain(|e| !glass && kind(Kind::Phase) && here(Some(&e.cluster)));
        self.confirm.retain(|e| !glass && kind(Kind::Confirm) && here(Some(&e.cluster)));
        self.removed.retain(|e| !glass && kind(Kind::Removed) && here(e.cluster.as_ref()));
        // These two are about every cluster.
        self.revoke_key.retain(|_| !glass && kind(Kind::RevokeKey));
        self.adopt.retain(|_| !glass && kind(Kind::Adopt));
        let everything = wanted.clusters.is_empty() && wanted.kinds.is_empty() && !glass;
        (of_person && (everything || !self.is_empty())).then_some(self)
    }

    fn concerns(&self, person: &PersonName) -> bool {
        let asks = |asked: &Asked| asked.person.as_ref() == Some(person);
        self.actor == *person
            || self.issued.iter().any(|e| (e.kind, e.owner.as_str()) == ("person", person.as_str()))
            || self.issued.iter().filter_map(|e| e.request.as_ref()).any(asks)
            || self.approve.iter().chain(&self.deny).any(|e| asks(&e.asked))
            || self.revoke_key.iter().any(|e| e.person == *person)
    }

    /// Whether it has no entries.
    pub fn is_empty(&self) -> bool {
        self.issued.is_empty()
            && self.sealed.is_empty()
            && self.config.is_empty()
            && self.phase.is_empty()
            && self.approve.is_empty()
            && self.deny.is_empty()
            && self.confirm.is_empty()
            && self.revoke_key.is_empty()
            && self.adopt.is_empty()
            && self.removed.is_empty()
    }
}
