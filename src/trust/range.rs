//! What must be the same in a later tree: everything that was signed (`verify --base`). A pin says so of the past that
//! it names; this says so of a whole tree that somebody trusts, such as the branch that a pull request is to join. Pure.

use std::collections::BTreeSet;

use super::chain::{self, Chain};
use super::log;
use super::tree::Tree;
use crate::model::{Code, Finding, Place, Remedy};
use crate::openpgp::{Kind, Signature};

/// Whether `path`, a file or a folder on the way to one, is among what `check` compares.
pub fn is_compared(path: &str) -> bool {
    let mut parts = path.split('/');
    match parts.next() {
        Some("trust" | "pubkeys") => true,
        Some("clusters") => parts.nth(1).is_none_or(|folder| folder == "requests"),
        _ => false,
    }
}

/// Compares the signed statements of `before`, of which only what `is_compared` says is looked at, with `after`:
/// epochs that had their signatures, records, requests, and the signatures of each.
///
/// A draft may change or go. A request may go where FORMAT 7 lets it: by a record that removes it, or with its
/// cluster. `base` is the revision of `before`, for the remedy; `chain` the epochs of `after`. Of both trees a part will
/// do, as long as it has the epochs with their certificates and all that differs.
pub fn check(before: &Tree, base: &str, after: &Tree, chain: &Chain) -> Vec<Finding> {
    let (old, _) = chain::read(before);
    let valid = old.latest().map_or(0, |latest| latest.epoch.number);
    let clusters = chain.latest().map(|latest| &latest.epoch.clusters);
    // Reading the records costs more than the rest, and few changes take a request away.
    let mut left = None;
    let mut findings = Vec::new();
    for (path, entry) in &before.entries {
        let Ok(place) = Place::parse(path) else { continue };
        let (what, may_leave) = match &place {
            Place::Epoch(number) | Place::EpochSignature { number, .. } if *number <= valid => ("an epoch", false),
            Place::Record { .. } | Place::RecordSignature { .. } => ("a record", false),
            Place::Request(cluster, h16) | Place::RequestSignature(cluster, h16, _) => {
                let dropped = clusters.is_some_and(|clusters| !clusters.contains_key(cluster));
                let gone = !after.entries.contains_key(path);
                let mut removed = || {
                    let left = left.get_or_insert_with(|| left_on_purpose(before, after, chain));
                    left.contains(&Place::Request(cluster.clone(), h16.clone()))
                };
                ("a request", gone && (dropped || removed()))
            }
            _ => continue,
        };
        let signature =
            matches!(place, Place::EpochSignature { .. } | Place::RecordSignature { .. } | Place::RequestSignature(..));
        let what = if signature { format!("the signature of {what}") } else { what.to_owned() };
        let (code, why) = match after.entries.get(path) {
            Some(now) if entry.is_same(now) => continue,
            Some(_) => (Code::ChangedInRange, format!("{what} has other bytes than at the base")),
            None if may_leave => continue,
            None => (Code::RemovedInRange, format!("{what} is there at the base, and not here")),
        };
        findings.push(Finding::new(code, why).at(path).fix(Remedy::Run(format!("git checkout {base} -- {path}"))));
    }
    findings
}

/// Requests that some record of the tree removes, void or not: whether it may is judged with the record; and those that
/// are signed with a key that a record of the tree revokes. Those can't be granted any more, and would make the tree
/// invalid where they lie (`key-revoked`), so that whoever has a stolen key could keep it from being revoked.
fn left_on_purpose(before: &Tree, after: &Tree, chain: &Chain) -> BTreeSet<Place> {
    let (log, _) = log::load(after, chain);
    let records = || log.records.iter().map(|logged| &logged.record);
    let removed = records().flat_map(|record| record.removed.iter().cloned());
    let mut left: BTreeSet<Place> = removed.filter(|place| matches!(place, Place::Request(..))).collect();
    for (path, _) in before.in_clusters(&["requests"]) {
        let Ok(Place::RequestSignature(cluster, h16, person)) = Place::parse(path) else { continue };
        let signature = before.bytes(path).and_then(|bytes| Signature::parse(bytes, Kind::Request).ok());
        let mut revoked = records().flat_map(|record| &record.revoke_key).filter(|entry| entry.person == person);
        if signature.is_some_and(|signature| revoked.any(|entry| entry.key == *signature.issuer())) {
            left.insert(Place::Request(cluster, h16));
        }
    }
    left
}
