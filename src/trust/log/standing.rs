//! Which records count: a port of the closing model. A record that claims epoch n counts if some epoch
//! k ≥ n allows it, and k is the latest or epoch k+1 closed it; revocation voids, adoption rescues.
//!
//! Attack: a leaver, or a thief of an old key, signs a record today and dates it back. No clock decides here:
//! times are the signer's own claim. What decides is whether people with a quorum named the record, by hash,
//! as part of the log when they signed the next epoch.

use super::{Log, Logged};
use crate::model::Code;
use crate::trust::allowed::{self, View};
use crate::trust::chain::Chain;
use crate::trust::phases::Steps;
use crate::trust::requests;

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
        let view = View { log, chain, requests, authorities, steps: &steps };
        (0..log.records.len()).map(|index| rule(&view, index, latest)).collect()
    };
    for (index, (ruling, void)) in rulings.into_iter().enumerate() {
        log.ruling[index] = ruling;
        log.void[index] = void;
    }
    revoke(log);
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
/// did not close. It is itself void only if it comes after one of its author's key that has effect and
/// claims the same epoch or a newer one: no revenge, and nobody is silenced by a fork of the log.
fn revoke(log: &mut Log) {
    let mut effective: Vec<usize> = Vec::new();
    for index in 0..log.records.len() {
        let this = &log.records[index];
        if this.record.revoke_key.is_empty() || log.void[index].is_some() || log.broken[index] {
            continue;
        }
        let disarmed = effective.iter().any(|earlier| {
            revokes(&log.records[*earlier], this)
                && log.dag.is_before(*earlier, index)
                && this.record.epoch <= log.records[*earlier].record.epoch
        });
        if !disarmed {
            effective.push(index);
        }
    }
    for index in 0..log.records.len() {
        if log.void[index].is_some() || effective.contains(&index) {
            continue;
        }
        let by = effective.iter().find(|by| {
            let revocation = &log.records[**by];
            let claimed = revocation.record.epoch;
            let closed = usize::try_from(claimed - 1).ok().and_then(|at| log.closed.get(at));
            revokes(revocation, &log.records[index])
                && log.records[index].record.epoch <= claimed
                && !log.dag.is_before(index, **by)
                && !closed.is_some_and(|closed| closed.contains(index))
        });
        if let Some(by) = by {
            let by = &log.records[*by];
            let why =
                format!("its key {} was revoked by {} in {}", log.records[index].key, by.record.actor, by.sha256.h16());
            log.void[index] = Some(Reason::new(Code::RevokedSigner, why));
        }
    }
}

fn revokes(revocation: &Logged, other: &Logged) -> bool {
    revocation.record.revoke_key.iter().any(|entry| entry.key == other.key && entry.person == other.record.actor)
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

/// Break-glass certificates: enough issuers before anything was issued, under the epoch that rules.
fn break_glass(log: &mut Log, chain: &Chain, requests: &requests::Index) {
    for index in 0..log.records.len() {
        let issues = log.records[index].record.issued.iter().any(crate::trust::record::Issued::is_break_glass);
        if !issues {
            continue;
        }
        if log.void[index].is_none() {
            let (kept, mut refused): (Vec<u32>, Vec<Reason>) = (Vec::new(), Vec::new());
            let mut kept = kept;
            for k in log.ruling[index].clone() {
                match allowed::break_glass(log, chain, requests, index, k) {
                    Ok(()) => kept.push(k),
                    Err(reason) => refused.push(reason),
                }
            }
            if kept.is_empty() {
                log.void[index] = refused.into_iter().next();
                // What it adopted is not vouched for any more.
                log.adopters.iter_mut().for_each(|adopters| adopters.retain(|by| *by != index));
            }
            log.ruling[index] = kept;
        } else if !allowed::enough_adopters(log, chain, index) {
            log.adopters[index].clear();
        }
    }
}
