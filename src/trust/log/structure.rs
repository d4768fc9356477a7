//! What must hold of a record among its ancestors, whatever an epoch allows: parents, revisions, steps,
//! ids that never change, adoption of ancestors, revocations of keys that somebody had.

use std::collections::{BTreeMap, BTreeSet};

use super::{Log, Reason};
use crate::model::{Code, Finding, Place};
use crate::trust::chain::Chain;
use crate::trust::phases::{self, Steps};
use crate::trust::record::{Issued, PublicId, Sealed};

type Seals<'a> = BTreeMap<Place, Vec<(usize, &'a Sealed)>>;

/// Checks every record; returns which are broken, with a finding for each fault.
pub fn check(log: &Log, chain: &Chain, findings: &mut Vec<Finding>) -> Vec<bool> {
    let steps = Steps::of(log, |_| true);
    let mut seals = Seals::new();
    for (index, logged) in log.records.iter().enumerate() {
        for entry in &logged.record.sealed {
            seals.entry(entry.place()).or_default().push((index, entry));
        }
    }
    let mut broken = vec![false; log.records.len()];
    for (index, logged) in log.records.iter().enumerate() {
        let mut reasons = Vec::new();
        shape(log, index, &mut reasons);
        parents(log, chain, index, &mut reasons);
        sealed(log, &seals, index, &mut reasons);
        let keysets: BTreeSet<_> = logged.record.phase.iter().map(|entry| (&entry.cluster, entry.keyset)).collect();
        for (cluster, keyset) in keysets {
            let before = steps.states(log, cluster, keyset, |earlier| log.dag.is_before(earlier, index));
            if let Err(why) = phases::check(&logged.record, cluster, keyset, &before) {
                reasons.push(Reason::new(Code::BadPhase, why));
            }
        }
        links(log, chain, index, &mut reasons);
        broken[index] = !reasons.is_empty();
        let finding = |reason: Reason| Finding::new(reason.code, reason.why).at(&logged.path).of(&logged.record.actor);
        findings.extend(reasons.into_iter().map(finding));
    }
    reuse(log, &seals, findings);
    broken
}

/// What the record alone shows.
fn shape(log: &Log, index: usize, reasons: &mut Vec<Reason>) {
    let record = &log.records[index].record;
    if !record.revoke_key.is_empty() && record.entries() > 1 {
        reasons.push(Reason::new(Code::MixedRecord, "a revocation stands alone in its record"));
    }
    let why = if record.sealed.iter().any(|entry| entry.imported) {
        Some("imported keys")
    } else if record.issued.iter().any(Issued::is_break_glass) {
        Some("a break-glass certificate")
    } else if !record.adopt.is_empty() {
        Some("adopting")
    } else {
        None
    };
    if let (Some(what), true) = (why, record.reason.is_empty()) {
        reasons.push(Reason::new(Code::ReasonMissing, format!("{what} takes a reason")));
    }
}

/// No parent is an ancestor of another, and together they reach all that the claimed epoch closed.
fn parents(log: &Log, chain: &Chain, index: usize, reasons: &mut Vec<Reason>) {
    let record = &log.records[index].record;
    let parents = log.dag.parents(index);
    if parents.len() < record.parents.len() {
        return; // `dangling-parent` says it
    }
    if log.dag.latest(parents).len() != parents.len() {
        reasons.push(Reason::new(Code::BadParents, "one of its parents is an ancestor of another"));
    }
    let closed = chain.get(record.epoch).and_then(|_| log.closed.get(record.epoch as usize - 1));
    if closed.is_some_and(|closed| !log.dag.before(index).includes(closed)) {
        let why = format!("its parents do not reach all that epoch {} closed", record.epoch);
        reasons.push(Reason::new(Code::BadParents, why));
    }
}

/// Revisions grow by one over the ancestors; the ids of a generation never change.
fn sealed(log: &Log, seals: &Seals<'_>, index: usize, reasons: &mut Vec<Reason>) {
    for entry in &log.records[index].record.sealed {
        let place = entry.place();
        let earlier = || seals[&place].iter().filter(|(other, _)| log.dag.is_before(*other, index));
        let highest = earlier().map(|(_, entry)| entry.revision).max().unwrap_or(0);
        if entry.revision != highest.saturating_add(1) {
            let why =
                format!("{place} has revision {}, and {} would be the next", entry.revision, highest.saturating_add(1));
            reasons.push(Reason::new(Code::BadRevision, why));
        }
        let of_keyset = matches!(entry.name, crate::model::SealedName::Keyset(..));
        if of_keyset && earlier().any(|(_, other)| other.public != entry.public) {
            reasons.push(Reason::new(Code::SpkiMismatch, format!("{place} held another key before")));
        }
    }
}

/// Adopted records are ancestors; revoked keys were somebody's.
fn links(log: &Log, chain: &Chain, index: usize, reasons: &mut Vec<Reason>) {
    let record = &log.records[index].record;
    for target in &record.adopt {
        if !log.dag.find(target).is_some_and(|target| log.dag.is_before(target, index)) {
            reasons
                .push(Reason::new(Code::BadAdopt, format!("it adopts {}, which is no ancestor of it", target.h16())));
        }
    }
    for entry in &record.revoke_key {
        if !chain.ever_listed(&entry.person, &entry.key) {
            let why = format!("no epoch listed {} for {}", entry.key, entry.person);
            reasons.push(Reason::new(Code::BadRevocation, why));
        }
    }
}

/// No key and no ciphertext lies, or ever lay, in two paths.
fn reuse(log: &Log, seals: &Seals<'_>, findings: &mut Vec<Finding>) {
    let mut keys = BTreeMap::new();
    let mut files = BTreeMap::new();
    for (place, entries) in seals {
        for (index, entry) in entries {
            let at = |why: String| {
                Finding::new(Code::KeyReuse, why).at(place.to_string()).of(&log.records[*index].record.actor)
            };
            let first = *files.entry(entry.sha256).or_insert(place);
            if first != place {
                findings.push(at(format!("the same ciphertext is recorded at {first}")));
            }
            for PublicId { id, name } in &entry.public {
                let first = *keys.entry(*id).or_insert(place);
                if first != place {
                    findings.push(at(format!("the key {name} also lies in {first}")));
                }
            }
        }
    }
    findings.dedup();
}
