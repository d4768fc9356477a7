//! The log: reads every record with its signature, links them, and decides which count (FORMAT 5, "When it
//! counts", "Revocation", "Adoption"). What one epoch allows is `allowed`'s; what is current is `current`'s.

mod read;
mod standing;
mod structure;

use std::collections::{BTreeMap, BTreeSet};

use super::chain::Chain;
use super::dag::{Dag, Set};
use super::record::Record;
use super::tree::Tree;
use crate::model::{Code, Digest, Finding, Fingerprint, PersonName, Remedy};
use crate::openpgp::SignatureFault;

pub(in crate::trust) use read::verify;
pub use standing::Reason;

/// A record of the tree, with a good signature.
pub struct Logged {
    /// What it says.
    pub record: Record,
    /// The hash of its file.
    pub sha256: Digest,
    /// Its path.
    pub path: String,
    /// The key that signed it.
    pub key: Fingerprint,
    /// What verifying its signature said, by the hash of the certificate bytes that were used: epochs may pin
    /// different bytes for one key, with another life.
    pub verified: BTreeMap<Digest, Result<(), SignatureFault>>,
}

/// All records of a tree, each after those it saw.
#[derive(Default)]
pub struct Log {
    /// The records, by their index in `dag`.
    pub records: Vec<Logged>,
    /// Who saw whom.
    pub dag: Dag,
    /// By epoch number less one: what that epoch closed.
    pub closed: Vec<Set>,
    /// By record: why it is void; `None` if it counts.
    pub void: Vec<Option<Reason>>,
    /// By record: void, but adopted by records that count; their indices.
    pub adopters: Vec<Vec<usize>>,
    /// By record: the epochs that allow it and may rule it.
    pub ruling: Vec<Vec<u32>>,
    /// Records whose own shape is wrong, whatever an epoch allows.
    pub broken: Vec<bool>,
    /// Whether records are missing or unreadable, so that nothing can be said about files.
    pub incomplete: bool,
}

impl Log {
    /// Whether a record's entries hold: it counts, or somebody vouched for it.
    pub fn counts(&self, index: usize) -> bool {
        !self.broken[index] && (self.void[index].is_none() || !self.adopters[index].is_empty())
    }

    /// The hashes of the heads, sorted.
    pub fn heads(&self) -> Vec<Digest> {
        let mut heads: Vec<Digest> = self.dag.heads().iter().map(|index| self.records[*index].sha256).collect();
        heads.sort();
        heads
    }

    /// The keys of a person that a record which counts revoked under `epoch` or a later one: records that they sign for
    /// that epoch are void. A later epoch that lists a key again reinstates it.
    pub fn suspended(&self, person: &PersonName, epoch: u32) -> BTreeSet<Fingerprint> {
        let revocations = self.counted().filter(|(_, logged)| logged.record.epoch >= epoch);
        let entries = revocations.flat_map(|(_, logged)| &logged.record.revoke_key);
        entries.filter(|entry| entry.person == *person).map(|entry| entry.key.clone()).collect()
    }

    /// The records that count, with their indices.
    pub fn counted(&self) -> impl Iterator<Item = (usize, &Logged)> {
        self.records.iter().enumerate().filter(|(index, _)| self.counts(*index))
    }
}

/// Reads and judges the log of `tree` under `chain`.
pub fn read(
    tree: &Tree,
    chain: &Chain,
    requests: &super::requests::Index,
    authorities: &super::Authorities,
) -> (Log, Vec<Finding>) {
    let (mut log, mut findings) = load(tree, chain);
    log.broken = structure::check(&log, chain, &mut findings);
    standing::decide(&mut log, chain, requests, authorities);
    for (index, logged) in log.records.iter().enumerate() {
        let (Some(reason), true) = (&log.void[index], log.adopters[index].is_empty()) else { continue };
        if log.broken[index] {
            continue;
        }
        let finding = Finding::new(reason.code, reason.why.clone()).at(&logged.path).of(&logged.record.actor);
        findings.push(finding.fix(Remedy::Adopt(logged.sha256.h16())));
    }
    (log, findings)
}

/// Reads the records and links them, and does not judge them: all that drafting an epoch needs.
pub fn load(tree: &Tree, chain: &Chain) -> (Log, Vec<Finding>) {
    let mut findings = Vec::new();
    let (loaded, unread) = read::records(tree, chain, &mut findings);
    let shape: Vec<(Digest, &[Digest])> = loaded.iter().map(|l| (l.sha256, l.record.parents.as_slice())).collect();
    let (dag, order) = Dag::build(&shape);
    let mut slots: Vec<Option<Logged>> = loaded.into_iter().map(Some).collect();
    let records: Vec<Logged> = order.into_iter().filter_map(|at| slots[at].take()).collect();
    let mut log = Log { incomplete: unread, dag, ..Log::default() };
    for logged in &records {
        for parent in &logged.record.parents {
            if log.dag.find(parent).is_none() {
                log.incomplete = true;
                let why = format!("it names {}, which is not there", parent.h16());
                let fix = Remedy::GitRestore("trust/log".to_owned());
                findings
                    .push(Finding::new(Code::DanglingParent, why).at(&logged.path).of(&logged.record.actor).fix(fix));
            }
        }
    }
    let size = records.len();
    log.records = records;
    log.void = vec![None; size];
    log.adopters = vec![Vec::new(); size];
    log.ruling = vec![Vec::new(); size];
    log.broken = vec![false; size];
    log.closed = close(&mut log.incomplete, &log.dag, chain, &mut findings);
    (log, findings)
}

/// What each epoch closed. `bad-closing` where heads are ancestors of one another, forget what the epoch
/// before closed, or count wrongly; `closed-missing` where a head is gone.
fn close(incomplete: &mut bool, dag: &Dag, chain: &Chain, findings: &mut Vec<Finding>) -> Vec<Set> {
    let mut closed: Vec<Set> = Vec::new();
    for chained in chain.all() {
        let path = super::chain::epoch_path(chained.epoch.number);
        let mut fault = |code, why: String| findings.push(Finding::new(code, why).at(&path));
        let closes = chained.epoch.closes.clone().unwrap_or_default();
        let mut complete = true;
        for head in closes.heads.iter().filter(|head| dag.find(head).is_none()) {
            complete = false;
            fault(Code::ClosedMissing, format!("it closed the record {}, which is not there", head.h16()));
        }
        *incomplete |= !complete;
        let heads: Vec<usize> = closes.heads.iter().filter_map(|head| dag.find(head)).collect();
        let reached = dag.reach(heads.iter().copied());
        if complete && !*incomplete {
            if dag.latest(&heads).len() != heads.len() {
                fault(Code::BadClosing, "one of its heads is an ancestor of another".to_owned());
            }
            if closed.last().is_some_and(|before| !reached.includes(before)) {
                fault(Code::BadClosing, "it does not reach all that the epoch before closed".to_owned());
            }
            if reached.count() != closes.count as usize {
                fault(
                    Code::BadClosing,
                    format!("it counts {} records, and its heads reach {}", closes.count, reached.count()),
                );
            }
        }
        closed.push(reached);
    }
    closed
}
