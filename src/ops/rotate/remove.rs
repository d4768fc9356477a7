//! `rotate remove`: drops distrusted generations: from the epoch, and their files. Git's history keeps what was sealed.

use serde::Serialize;

use super::super::draft::{Draft, check_signed, clusters_in_words};
use super::super::failure::Failure;
use super::super::issuing;
use super::super::plan::{Plan, Written, new_record};
use super::super::session::{Repository, Session};
use super::{Position, chosen};
use crate::model::{ClusterName, Digest, Generation, Keyset, Place, Remedy, SealedName, State};
use crate::trust::current::Vouch;

/// What was removed; `data` of the report.
#[derive(Debug, Serialize)]
pub struct Removed {
    /// The generations.
    pub removed: Vec<(ClusterName, Keyset, Generation)>,
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
    for name in clusters {
        for keyset in chosen(repository, name, keysets)? {
            let position = Position::of(repository, name, keyset)?;
            gone.extend(position.with(State::Distrusted).map(|generation| (name.clone(), keyset, generation)));
        }
    }
    let mut report = Removed { removed: gone.clone(), written: Written::default() };
    report.written.dry_run = session.settings.dry_run;
    if gone.is_empty() {
        return Ok(report);
    }
    let mut actor = session.actor(&repository.verified)?;
    check_signed(&repository.verified, &actor.name)?;
    for name in clusters {
        issuing::check_may_issue(name, repository.cluster(name)?, &actor.name)?;
    }
    session.confirm(&format!(
        "Remove {} distrusted generations? Their keys stay in git's history, sealed to those who had them.",
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

fn issued_by(repository: &Repository, name: &ClusterName, ca: &Digest) -> Vec<Place> {
    let current = repository.verified.current.paths.iter();
    let of = current.filter(|(place, vouched)| {
        place.cluster() == Some(name) && matches!(&vouched.vouch, Vouch::Issued(entry) if entry.issuer == *ca)
    });
    of.map(|(place, _)| place.clone()).collect()
}
