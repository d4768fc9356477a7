//! `rotate remove`: drops distrusted generations: from the epoch, and their files. Git's history keeps what was sealed.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::super::draft::{Draft, check_signed, clusters_in_words};
use super::super::failure::Failure;
use super::super::issuing;
use super::super::plan::{Plan, Written, new_record};
use super::super::session::{Repository, Session};
use super::{Phase, Position, chosen, steps};
use crate::model::{ClusterName, Digest, Generation, Keyset, Place, Remedy, SealedName, State, Time};
use crate::trust::current::Vouch;

/// What was removed; `data` of the report.
#[derive(Debug, Serialize)]
pub struct Removed {
    /// The generations.
    pub removed: Vec<(ClusterName, Keyset, Generation)>,
    /// People's certificates of theirs that live and go along.
    pub certificates: BTreeSet<String>,
    /// Clusters that were left alone, and why.
    pub left: Vec<String>,
    /// What was written.
    #[serde(flatten)]
    pub written: Written,
}

/// Removes the distrusted generations of `keysets`, or of all, in `clusters`.
pub fn remove(
    session: &mut Session,
    repository: &mut Repository,
    clusters: &[ClusterName],
    keysets: &[Keyset],
) -> Result<Removed, Failure> {
    let mut gone: Vec<(ClusterName, Keyset, Generation)> = Vec::new();
    let mut left = Vec::new();
    for name in clusters {
        if repository.cluster(name)?.retired && clusters.len() > 1 {
            left.push(format!("{name}: it is retired"));
            continue;
        }
        for keyset in chosen(repository, name, keysets)? {
            let position = Position::of(repository, name, keyset)?;
            gone.extend(position.with(State::Distrusted).map(|generation| (name.clone(), keyset, generation)));
        }
    }
    let certificates = certificates(repository, &gone, session.now)?;
    let mut report = Removed { removed: gone.clone(), certificates, left, written: Written::default() };
    report.written.dry_run = session.settings.dry_run;
    if gone.is_empty() {
        return Ok(report);
    }
    let mut actor = session.actor(&repository.verified)?;
    check_signed(&repository.verified, &actor.name)?;
    let names: BTreeSet<&ClusterName> = gone.iter().map(|(name, ..)| name).collect();
    for name in names {
        issuing::check_may_issue(name, repository.cluster(name)?, &actor.name)?;
    }
    let mut question = String::new();
    let keysets: BTreeSet<Keyset> = gone.iter().map(|(_, keyset, _)| *keyset).collect();
    let gates = keysets.into_iter().flat_map(|keyset| steps::gates(keyset, Phase::Distrusted));
    for (_, what) in gates.map(|gate| (gate.name, gate.what)).collect::<BTreeMap<_, _>>() {
        question.push_str(&format!("Is it so that {what}?\n"));
    }
    if !report.certificates.is_empty() {
        let list = report.certificates.iter().cloned().collect::<Vec<_>>().join(", ");
        question.push_str(&format!("These certificates go along, and live: {list}.\n"));
    }
    session.confirm(&format!(
        "{question}Remove {} distrusted generations? Their keys stay in git's history, sealed to those who had them.",
        gone.len()
    ))?;
    let mut record = new_record(&repository.verified, &actor.name, session.now, "rotate remove")?;
    let names = clusters_in_words(gone.iter().map(|(name, ..)| name));
    let missing = || Failure::refused("there is no valid epoch").help(Remedy::Verify);
    let reason = format!("distrusted generations of {names} are gone");
    let mut draft = Draft::start(&repository.verified, session.now, &reason).ok_or_else(missing)?;
    let mut plan = Plan::default();
    let mut lists = false;
    for (name, keyset, generation) in &gone {
        let sealed = Place::Sealed(name.clone(), SealedName::Keyset(*keyset, *generation));
        record.removed.push(sealed.clone());
        plan.changes.removes.insert(sealed.to_string());
        let hash = draft.epoch.clusters.get_mut(name).and_then(|cluster| cluster.keysets.get_mut(keyset));
        let Some(hash) = hash.and_then(|generations| generations.remove(generation)) else { continue };
        lists = true;
        let public = match keyset {
            Keyset::ServiceAccount => Place::ServiceAccount(name.clone(), *generation),
            _ => Place::Ca(name.clone(), *keyset, *generation),
        };
        plan.changes.removes.insert(public.to_string());
        // A current certificate is of a CA that the epoch lists: people's that were not replaced go along.
        for place in issued_by(repository, name, &hash) {
            plan.changes.removes.insert(place.to_string());
            record.removed.push(place);
        }
    }
    if session.settings.dry_run {
        report.written.paths = plan.changes.removes.iter().cloned().collect();
        return Ok(report);
    }
    plan.record(record);
    if lists {
        plan.draft(draft);
    }
    let title = format!("Remove distrusted generations of {names}");
    report.written = plan.carry_out(session, repository, &mut actor, &title, "")?;
    Ok(report)
}

/// The paths of people's certificates that live and go along with their CA. Refuses where a node's does: it is in use, whoever
/// made the CA distrusted (a node that was added on another branch meanwhile).
fn certificates(
    repository: &Repository,
    gone: &[(ClusterName, Keyset, Generation)],
    now: Time,
) -> Result<BTreeSet<String>, Failure> {
    let mut certificates = BTreeSet::new();
    for (name, keyset, generation) in gone {
        let mut listed = repository.cluster(name)?.generations(*keyset);
        let Some((_, ca)) = listed.find(|(listed, _)| listed == generation).filter(|_| keyset.is_ca()) else {
            continue;
        };
        for place in issued_by(repository, name, &ca) {
            let ends = repository.verified.current.leaves.get(&place).map(|facts| facts.not_after);
            if ends.is_some_and(|end| end <= now) {
                continue;
            }
            if matches!(place, Place::NodeCert(..)) {
                let what = format!("{place} is of {keyset} {generation}, which would be removed, and is in use");
                return Err(Failure::refused(what).help(Remedy::ClusterApply(name.clone())));
            }
            certificates.insert(place.to_string());
        }
    }
    Ok(certificates)
}

fn issued_by(repository: &Repository, name: &ClusterName, ca: &Digest) -> Vec<Place> {
    let current = repository.verified.current.paths.iter();
    let of = current.filter(|(place, vouched)| {
        place.cluster() == Some(name) && matches!(&vouched.vouch, Vouch::Issued(entry) if entry.issuer == *ca)
    });
    of.map(|(place, _)| place.clone()).collect()
}
