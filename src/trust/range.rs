//! What must be the same in a later tree: everything that was signed (`verify --base`). A pin says so of the past that
//! it names; this says so of a whole tree that somebody trusts, such as the branch that a pull request is to join. Pure.

use std::collections::BTreeSet;

use super::chain;
use super::log;
use super::tree::{Entry, Tree};
use super::verify::Verified;
use crate::model::{Code, Finding, Place, Remedy};

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
/// cluster. `base` is the revision of `before`, for the remedy.
pub fn check(before: &Tree, base: &str, after: &Verified) -> Vec<Finding> {
    let (chain, _) = chain::read(before);
    let valid = chain.latest().map_or(0, |latest| latest.epoch.number);
    let left = left_on_purpose(after);
    let clusters = after.chain.latest().map(|latest| &latest.epoch.clusters);
    let mut findings = Vec::new();
    for (path, entry) in &before.entries {
        let Ok(place) = Place::parse(path) else { continue };
        let (what, may_leave) = match &place {
            Place::Epoch(number) | Place::EpochSignature { number, .. } if *number <= valid => ("an epoch", false),
            Place::Record { .. } | Place::RecordSignature { .. } => ("a record", false),
            Place::Request(cluster, h16) | Place::RequestSignature(cluster, h16, _) => {
                let dropped = clusters.is_some_and(|clusters| !clusters.contains_key(cluster));
                ("a request", dropped || left.contains(&Place::Request(cluster.clone(), h16.clone())))
            }
            _ => continue,
        };
        let signature =
            matches!(place, Place::EpochSignature { .. } | Place::RecordSignature { .. } | Place::RequestSignature(..));
        let what = if signature { format!("the signature of {what}") } else { what.to_owned() };
        let (code, why) = match after.tree.entries.get(path) {
            Some(now) if same(entry, now) => continue,
            Some(_) => (Code::ChangedInRange, format!("{what} has other bytes than at the base")),
            None if may_leave => continue,
            None => (Code::RemovedInRange, format!("{what} is there at the base, and not here")),
        };
        findings.push(Finding::new(code, why).at(path).fix(Remedy::Run(format!("git checkout {base} -- {path}"))));
    }
    findings
}

fn same(a: &Entry, b: &Entry) -> bool {
    match (a, b) {
        (Entry::File { bytes: a, .. }, Entry::File { bytes: b, .. }) => a == b,
        _ => a == b,
    }
}

/// Requests that some record of the tree removes, void or not: whether it may is judged with the record.
fn left_on_purpose(after: &Verified) -> BTreeSet<Place> {
    let loaded;
    let log = if after.log.records.is_empty() {
        loaded = log::load(&after.tree, &after.chain).0;
        &loaded
    } else {
        &after.log
    };
    let removed = log.records.iter().flat_map(|logged| &logged.record.removed);
    removed.filter(|place| matches!(place, Place::Request(..))).cloned().collect()
}
