//! `trust raise`: the next generation of a group. Who may ask for it in the latest epoch may ask for the next one
//! instead; once the cluster's RBAC manifest is applied, every certificate with the former one is cut off.

use std::collections::BTreeSet;

use serde::Serialize;

use super::super::failure::Failure;
use super::super::session::{Gate, Repository, Session};
use super::{Drafted, carry_out, start};
use crate::model::{
    ClusterName, Digest, PersonName, Remedy, Time, check_group, group_generation, newest_group, split_group,
};
use crate::trust::current::Vouch;

/// A live certificate that raising cuts off.
#[derive(Debug, Serialize)]
pub struct CutOff {
    /// The cluster.
    pub cluster: ClusterName,
    /// Whose it is.
    pub person: PersonName,
    /// The SHA-256 of its DER: `X509SHA256` in audit logs.
    pub sha256: Digest,
    /// Its last second.
    pub not_after: Time,
}

/// What was raised; `data` of the report.
#[derive(Debug, Serialize)]
pub struct Raised {
    /// The group without its generation.
    pub group: String,
    /// The new names, by cluster.
    pub names: Vec<(ClusterName, String)>,
    /// Live certificates with a former generation.
    pub cuts_off: Vec<CutOff>,
    /// What was drafted.
    #[serde(flatten)]
    pub drafted: Drafted,
}

/// Raises the generation of `group` in `clusters`: drafts the next epoch. `given` are the clusters to work on, from the
/// repository as it was opened.
pub fn raise(
    session: &mut Session,
    given: impl FnOnce(&Repository) -> Result<Vec<ClusterName>, Failure>,
    group: &str,
) -> Result<Raised, Failure> {
    let mut repository = session.open(&Gate::Draft)?;
    let clusters = given(&repository)?;
    let base = split_group(group).0.to_owned();
    let what = format!("raise {base}");
    let mut draft = start(session, &repository, &what)?;
    let mut raised = Vec::new();
    for name in &clusters {
        let cluster = repository.cluster(name)?;
        // Against the latest epoch: running it twice before the draft is signed raises once.
        if !cluster.groups.values().flatten().any(|known| split_group(known).0 == base) {
            continue;
        }
        let newest = newest_group(repository.groups_ever(name), &base).map_or(1, |newest| split_group(&newest).1);
        let next = group_generation(&base, newest.saturating_add(1));
        if !check_group(&next) {
            return Err(Failure::usage(format!("{next} would be longer than a group's name may be")));
        }
        if let Some(cluster) = draft.epoch.clusters.get_mut(name) {
            for groups in cluster.groups.values_mut() {
                let before = groups.len();
                groups.retain(|group| split_group(group).0 != base);
                if groups.len() < before {
                    groups.insert(next.clone());
                }
            }
        }
        raised.push((name.clone(), next));
    }
    if raised.is_empty() {
        let names = clusters.iter().map(ClusterName::as_str).collect::<Vec<_>>().join(", ");
        let what = format!("nobody may ask for the group {base} in {names}");
        return Err(Failure::usage(what).help(Remedy::PersonList));
    }
    let cuts_off = cut_off(&repository, &clusters, &base, session.now);
    let drafted = carry_out(session, &mut repository, draft, (&what, false))?;
    Ok(Raised { group: base, names: raised, cuts_off, drafted })
}

fn cut_off(repository: &Repository, clusters: &[ClusterName], base: &str, now: Time) -> Vec<CutOff> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for (place, said) in &repository.verified.current.history {
        let (Some(person), Some(cluster)) = (crate::trust::current::owner(place), place.cluster()) else { continue };
        for vouched in said.iter().filter(|_| clusters.contains(cluster)) {
            let Vouch::Issued(entry) = &vouched.vouch else { continue };
            let has = entry.organizations().iter().any(|group| split_group(group).0 == base);
            if has && entry.not_after > now && seen.insert(entry.sha256) {
                let (cluster, person) = (cluster.clone(), person.clone());
                found.push(CutOff { cluster, person, sha256: entry.sha256, not_after: entry.not_after });
            }
        }
    }
    found
}
