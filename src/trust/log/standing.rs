//! Which records count: a port of the closing model. A record that claims epoch n counts if some epoch
//! k ≥ n allows it, and k is the latest or epoch k+1 closed it; revocation voids, adoption rescues.
//!
//! Attack: a leaver, or a thief of an old key, signs a record today and dates it back. No clock decides here:
//! times are the signer's own claim. What decides is whether people with a quorum named the record, by hash,
//! as part of the log when they signed the next epoch.

use super::{Log, Logged};
use crate::model::{Code, Digest, Fingerprint, PersonName};
use crate::trust::allowed::{self, View};
use crate::trust::chain::Chain;
use crate::trust::phases::Steps;
use crate::trust::requests;
use crate::trust::uses::Uses;

/// Why a record is void.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The finding code.
    pub code: Code,
    /// The reason, as a clause.
    pub why: String,
}

impl Reason {
    /// A reason.
    pub fn new(code: Code, why: impl Into<String>) -> Self {
        Self { code, why: why.into() }
    }
}

/// Fills `void`, `adopters` and `ruling`.
pub fn decide(log: &mut Log, chain: &Chain, requests: &requests::Index, authorities: &crate::trust::Authorities) {
    let Some(latest) = chain.latest().map(|latest| latest.epoch.number) else { return };
    let rulings: Vec<_> = {
        let steps = Steps::of(log, |_| true);
        let uses = Uses::of(log);
        let view = View { log, chain, requests, authorities, steps: &steps, uses: &uses };
        (0..log.records.len()).map(|index| rule(&view, index, latest)).collect()
    };
    for (index, (ruling, void)) in rulings.into_iter().enumerate() {
        log.ruling[index] = ruling;
        log.void[index] = void;
    }
    revoke(log, requests);
    deny(log);
    adopt(log);
    break_glass(log, chain, requests);
}

/// The epochs that may rule a record, and allow it; why not, where there is none.
fn rule(view: &View<'_>, index: usize, latest: u32) -> (Vec<u32>, Option<Reason>) {
    let claimed = view.log.records[index].record.epoch;
    let closed_by = |number: u32| {
        let at = usize::try_from(number - 1).unwrap_or(usize::MAX);
        view.log.closed.get(at).is_some_and(|closed| closed.contains(index))
    };
    let may_rule = (claimed..=latest).filter(|k| *k == latest || closed_by(k + 1));
    let mut ruling = Vec::new();
    let mut refused_by_claimed = None;
    for k in may_rule {
        match allowed::check(view, index, k) {
            Ok(()) => ruling.push(k),
            Err(reason) if k == claimed => refused_by_claimed = Some(reason),
            Err(_) => {}
        }
    }
    if !ruling.is_empty() {
        return (ruling, None);
    }
    let unclosed = || {
        let why = format!("it claims epoch {claimed}, whose successor did not close it, and no later epoch allows it");
        Reason::new(Code::UnclosedOldEpoch, why)
    };
    (ruling, Some(refused_by_claimed.unwrap_or_else(unclosed)))
}

/// A revocation voids what its key signed, claims the same or an older epoch, it did not see, and its epoch
/// did not close; and what of that used a request that the key signed. It is itself void only if it comes after one of
/// its author's key that has effect and claims the same epoch or a newer one: no revenge, and nobody is silenced by a
/// fork of the log.
fn revoke(log: &mut Log, requests: &requests::Index) {
    let effective = effective(log);
    for index in 0..log.records.len() {
        if log.void[index].is_some() {
            continue;
        }
        let reached = effective.iter().filter(|by| reaches(log, **by, index));
        log.void[index] = reached.filter_map(|by| voided(log, requests, *by, index, &effective)).next();
    }
}

/// The revocations that have effect, by their index.
fn effective(log: &Log) -> Vec<usize> {
    let mut effective: Vec<usize> = Vec::new();
    for index in 0..log.records.len() {
        let this = &log.records[index];
        if this.record.revoke_key.is_empty() || log.void[index].is_some() || log.broken[index] {
            continue;
        }
        let disarmed = effective.iter().any(|earlier| {
            revokes(&log.records[*earlier], &this.record.actor, &this.key)
                && log.dag.is_before(*earlier, index)
                && this.record.epoch <= log.records[*earlier].record.epoch
        });
        if !disarmed {
            effective.push(index);
        }
    }
    effective
}

/// Whether the record at `index` claims the epoch of the revocation `by` or an older one, and neither was seen by it nor
/// closed by that epoch.
fn reaches(log: &Log, by: usize, index: usize) -> bool {
    let claimed = log.records[by].record.epoch;
    let closed = usize::try_from(claimed - 1).ok().and_then(|at| log.closed.get(at));
    by != index
        && log.records[index].record.epoch <= claimed
        && !log.dag.is_before(index, by)
        && !closed.is_some_and(|closed| closed.contains(index))
}

/// Why the revocation `by`, which reaches it, voids the record at `index`.
fn voided(log: &Log, requests: &requests::Index, by: usize, index: usize, effective: &[usize]) -> Option<Reason> {
    let (revocation, this) = (&log.records[by], &log.records[index]);
    let who = format!("was revoked by {} in {}", revocation.record.actor, revocation.sha256.h16());
    if revokes(revocation, &this.record.actor, &this.key) && !effective.contains(&index) {
        return Some(Reason::new(Code::RevokedSigner, format!("its key {} {who}", this.key)));
    }
    let asked = this.record.issued.iter().filter_map(|entry| requests.get(&entry.request?)?.signer());
    let mut revoked = asked.filter(|(person, key)| revokes(revocation, person, key));
    revoked.next().map(|(_, key)| Reason::new(Code::KeyRevoked, format!("the key {key} of its request {who}")))
}

fn revokes(revocation: &Logged, person: &PersonName, key: &Fingerprint) -> bool {
    revocation.record.revoke_key.iter().any(|entry| entry.key == *key && entry.person == *person)
}

/// A denial refuses also a grant that did not see it, until a record after both decides: by vouching for the path of
/// the certificate again, or by adopting the grant. What comes after a denial is refused in `requests`.
fn deny(log: &mut Log) {
    let counts = |log: &Log, index: usize| log.void[index].is_none() && !log.broken[index];
    let denials: Vec<(usize, Digest)> = (0..log.records.len())
        .filter(|index| counts(log, *index))
        .flat_map(|index| log.records[index].record.deny.iter().map(move |deny| (index, deny.request)))
        .collect();
    for (denial, request) in denials {
        for index in (0..log.records.len()).filter(|index| *index != denial) {
            let apart = !log.dag.is_before(index, denial) && !log.dag.is_before(denial, index);
            let granted = log.records[index].record.issued.iter().find(|entry| entry.request == Some(request));
            let (true, true, Some(granted)) = (counts(log, index), apart, granted) else { continue };
            let decided = (0..log.records.len()).any(|later| {
                let record = &log.records[later].record;
                let speaks = record.removed.contains(&granted.place)
                    || record.issued.iter().any(|entry| entry.place == granted.place);
                speaks && counts(log, later) && log.dag.is_before(index, later) && log.dag.is_before(denial, later)
            });
            if !decided {
                let by = &log.records[denial];
                let why = format!("its request was denied by {} in {}", by.record.actor, by.sha256.h16());
                log.void[index] = Some(Reason::new(Code::RequestDenied, why));
            }
        }
    }
}

fn adopt(log: &mut Log) {
    let mut adopters = vec![Vec::new(); log.records.len()];
    for (index, logged) in log.records.iter().enumerate() {
        if log.void[index].is_some() || log.broken[index] {
            continue;
        }
        for target in logged.record.adopt.iter().filter_map(|target| log.dag.find(target)) {
            if log.dag.is_before(target, index) {
                adopters[target].push(index);
            }
        }
    }
    log.adopters = adopters;
}

/// Break-glass certificates: enough issuers before anything was issued, under the epoch that rules; or, of a record that
/// is void, as many adopters.
///
/// Attack (T37): an issuer signs the record alone, and a second one that adopts it. So whether there are enough adopters
/// is asked after the record was found void, and again whenever an adopter became void itself, until nothing changes:
/// records only ever become void here, so it ends.
fn break_glass(log: &mut Log, chain: &Chain, requests: &requests::Index) {
    let issues = |log: &Log, index: &usize| {
        log.records[*index].record.issued.iter().any(crate::trust::record::Issued::is_break_glass)
    };
    let glass: Vec<usize> = (0..log.records.len()).filter(|index| issues(log, index)).collect();
    loop {
        let mut changed = false;
        for index in glass.iter().copied() {
            if log.void[index].is_none() && !log.broken[index] {
                let (mut kept, mut refused): (Vec<u32>, Vec<Reason>) = (Vec::new(), Vec::new());
                for k in log.ruling[index].clone() {
                    match allowed::break_glass(log, chain, requests, index, k) {
                        Ok(()) => kept.push(k),
                        Err(reason) => refused.push(reason),
                    }
                }
                if kept.is_empty() {
                    log.void[index] = refused.into_iter().next();
                    changed |= log.void[index].is_some();
                    // What it adopted is not vouched for any more.
                    log.adopters.iter_mut().for_each(|adopters| adopters.retain(|by| *by != index));
                }
                log.ruling[index] = kept;
            }
            let is_adopted = log.void[index].is_some() && !log.adopters[index].is_empty();
            if is_adopted && !allowed::enough_adopters(log, chain, index) {
                log.adopters[index].clear();
                changed = true;
            }
        }
        if !changed {
            return;
        }
    }
}
