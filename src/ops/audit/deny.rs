//! Certificates that live and must not be accepted any more. Kubernetes has no revocation list, so this is a list for
//! alarms, and for authorizers and proxies that can be told; what cuts access off is in docs/AUDIT.md.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::log::{credential_id, owner};
use crate::model::{ClusterName, Digest, KeyUse, Keyset, PersonName, Place, Profile, Time};
use crate::trust::owed::{Excess, excess};
use crate::trust::record::Issued;
use crate::trust::{Epoch, Verified};

/// A certificate that must not be accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Denied {
    /// As Kubernetes' audit logs name it.
    pub credential_id: String,
    /// The SHA-256 of its DER.
    pub sha256: Digest,
    /// The cluster.
    pub cluster: ClusterName,
    /// `node` or `person`.
    pub kind: &'static str,
    /// The node's or person's name.
    pub owner: String,
    /// The profile.
    pub profile: Profile,
    /// The subject.
    pub subject: String,
    /// The groups.
    pub groups: Vec<String>,
    /// The serial number.
    pub serial: String,
    /// Its first second.
    pub not_before: Time,
    /// Its last second.
    pub not_after: Time,
    /// The record that names it.
    pub record: Digest,
    /// Why; at least one.
    pub reasons: Vec<Reason>,
    /// Whether it has `system:masters`, which no binding takes back: only a new CA does.
    pub only_rotation: bool,
}

/// Why a certificate must not be accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// `left`, `compromised`, `replaced` or `lost`, as the epoch says why somebody is gone; `group`, `removed`,
    /// `revoked` or `void`.
    pub code: &'static str,
    /// From when on; none: it never was to be accepted.
    pub since: Option<Time>,
    /// The reason, as a clause.
    pub why: String,
}

impl Denied {
    /// From when on it must not be accepted, by the earliest reason; none: never.
    pub fn since(&self) -> Option<Time> {
        self.reasons.iter().map(|reason| reason.since).min().flatten()
    }
}

/// The certificates that live at `now` and must not be accepted, of these clusters (all, if there are none), by cluster,
/// owner, profile and end.
pub fn list(verified: &Verified, clusters: &[ClusterName], now: Time) -> Vec<Denied> {
    let Some(latest) = verified.chain.latest().map(|latest| &latest.epoch) else { return Vec::new() };
    let looker = Looker::of(verified, latest);
    let mut found: BTreeMap<Digest, Denied> = BTreeMap::new();
    let live = |entry: &&Issued| entry.not_after > now;
    for (index, logged) in verified.log.counted() {
        for entry in logged.record.issued.iter().filter(live) {
            let reasons = looker.reasons(index, entry);
            found.extend(looker.denied(index, entry, reasons).map(|denied| (entry.sha256, denied)));
        }
    }
    let counted: BTreeSet<Digest> =
        verified.log.counted().flat_map(|(_, logged)| &logged.record.issued).map(|entry| entry.sha256).collect();
    for (index, logged) in verified.log.records.iter().enumerate().filter(|(index, _)| !verified.log.counts(*index)) {
        for entry in logged.record.issued.iter().filter(live).filter(|entry| !counted.contains(&entry.sha256)) {
            let reason = looker.void(index);
            found.extend(looker.denied(index, entry, vec![reason]).map(|denied| (entry.sha256, denied)));
        }
    }
    let mut list: Vec<Denied> = found.into_values().collect();
    list.retain(|denied| clusters.is_empty() || clusters.contains(&denied.cluster));
    list.sort_by(|a, b| {
        let key =
            |one: &Denied| (one.cluster.clone(), one.kind, one.owner.clone(), one.profile, one.not_after, one.sha256);
        key(a).cmp(&key(b))
    });
    list
}

struct Looker<'a> {
    verified: &'a Verified,
    latest: &'a Epoch,
    /// The records that count and revoke somebody's key.
    revocations: BTreeMap<&'a PersonName, Vec<usize>>,
    /// The records that count and remove something, by its place.
    removals: BTreeMap<&'a Place, Vec<usize>>,
}

/// Whether an API server takes such a certificate for a client's: etcd, the front proxy and serving certificates are of no
/// use there.
fn authenticates(profile: Profile) -> bool {
    profile.key_use() != KeyUse::Server && matches!(profile.keyset(), Keyset::Kubernetes | Keyset::KubernetesClient)
}

impl<'a> Looker<'a> {
    fn of(verified: &'a Verified, latest: &'a Epoch) -> Self {
        let mut looker = Self { verified, latest, revocations: BTreeMap::new(), removals: BTreeMap::new() };
        for (index, logged) in verified.log.counted() {
            for entry in &logged.record.revoke_key {
                looker.revocations.entry(&entry.person).or_default().push(index);
            }
            for place in &logged.record.removed {
                looker.removals.entry(place).or_default().push(index);
            }
        }
        looker
    }

    fn denied(&self, index: usize, entry: &Issued, reasons: Vec<Reason>) -> Option<Denied> {
        let (cluster, kind, owner, profile) = owner(&entry.place)?;
        let groups = entry.organizations();
        (!reasons.is_empty()).then(|| Denied {
            credential_id: credential_id(&entry.sha256),
            sha256: entry.sha256,
            cluster: cluster.clone(),
            kind,
            owner,
            profile,
            subject: entry.subject.clone(),
            only_rotation: groups.iter().any(|group| group == "system:masters"),
            groups,
            serial: entry.serial.clone(),
            not_before: entry.not_before,
            not_after: entry.not_after,
            record: self.verified.log.records[index].sha256,
            reasons,
        })
    }

    fn void(&self, index: usize) -> Reason {
        let log = &self.verified.log;
        let record = log.records[index].sha256.h16();
        let why = match &log.void[index] {
            Some(reason) => format!("record {record} does not count ({}): {}", reason.code, reason.why),
            None => format!("record {record} does not count: its own shape is wrong"),
        };
        Reason { code: "void", since: None, why }
    }

    /// Why a certificate that a record which counts names is not to be accepted.
    fn reasons(&self, index: usize, entry: &Issued) -> Vec<Reason> {
        let mut reasons = Vec::new();
        let profile = match &entry.place {
            Place::NodeCert(_, _, profile) | Place::PersonCert(_, _, profile) => *profile,
            _ => return reasons,
        };
        let cluster = entry.place.cluster().and_then(|name| Some((name, self.latest.clusters.get(name)?)));
        let Some((name, cluster)) = cluster.filter(|(_, cluster)| !cluster.retired && authenticates(profile)) else {
            return reasons; // a cluster that is gone or retired owes nothing
        };
        if let Place::PersonCert(_, person, _) = &entry.place {
            let beyond = excess(entry, person, self.latest, cluster);
            reasons.extend(beyond.map(|beyond| self.beyond(entry, person, name, &beyond)));
            reasons.extend(self.revoked(index, person));
        }
        reasons.extend(self.removed(index, &entry.place));
        reasons
    }

    /// As `excess-cert`: the person is gone, or may not have a group any more.
    fn beyond(&self, entry: &Issued, person: &PersonName, name: &ClusterName, beyond: &Excess) -> Reason {
        let still =
            |epoch: &Epoch| epoch.clusters.get(name).is_some_and(|of| excess(entry, person, epoch, of).is_none());
        let chain = self.verified.chain.all().iter().filter(|epoch| epoch.epoch.number <= self.latest.number);
        let after = chain.rev().take_while(|epoch| !still(&epoch.epoch)).last().map(|epoch| &epoch.epoch);
        let since = after.map(|epoch| epoch.created);
        let number = after.map_or(self.latest.number, |epoch| epoch.number);
        match beyond {
            Excess::Gone => {
                let former = self.latest.former.iter().rfind(|former| former.person == *person);
                let code = former.map_or("left", |former| former.reason.as_str());
                Reason { code, since, why: format!("{person} is no person of epoch {number} ({code})") }
            }
            Excess::Group(group) => {
                Reason { code: "group", since, why: format!("epoch {number} took {group} back from {person}") }
            }
        }
    }

    /// A key of theirs was revoked by a record that the certificate's did not see. What lies sealed to a lost laptop's
    /// key lies on that laptop, and its certificate's key with it.
    fn revoked(&self, index: usize, person: &PersonName) -> Option<Reason> {
        let log = &self.verified.log;
        let by = self.revocations.get(person)?.iter().filter(|by| **by != index && !log.dag.is_before(**by, index));
        let first = by.map(|by| &log.records[*by]).min_by_key(|logged| logged.record.time)?;
        let (actor, record) = (&first.record.actor, first.sha256.h16());
        let why = format!("a key of {person} was revoked by {actor} in {record}, after it was issued");
        Some(Reason { code: "revoked", since: Some(first.record.time), why })
    }

    /// A later record removed the certificate from its place: of a node that is gone, most of the time.
    fn removed(&self, index: usize, place: &Place) -> Option<Reason> {
        let log = &self.verified.log;
        let by = self.removals.get(place)?.iter().find(|by| log.dag.is_before(index, **by))?;
        let record = &log.records[*by];
        let why = format!("record {} took it from its place", record.sha256.h16());
        Some(Reason { code: "removed", since: Some(record.record.time), why })
    }
}
