//! `status`: what there is, what is under way, what ends next. Reads what verifying found; judges nothing itself.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::ends::{self, End, Lane};
use super::failure::Failure;
use super::requests::{self, Standing};
use super::session::{Gate, Session};
use super::verify::Waiting;
use crate::model::{ClusterName, Finding, Generation, HexId, PersonName, Place, Profile, SealedName, State, Time};
use crate::trust::current::Vouch;
use crate::trust::owed::due_recipients;
use crate::trust::record::Issued;
use crate::trust::{Cluster, Epoch, Verified};

/// How many of the next ends are listed.
const NEXT: usize = 5;

/// What there is; `data` of the report.
#[derive(Debug, Serialize)]
pub struct Status {
    /// The repository's id.
    pub repo: Option<HexId<32>>,
    /// The latest valid epoch.
    pub epoch: Option<EpochStatus>,
    /// The epoch that lacks signatures, if there is one. While there is one, the clusters are not judged.
    pub draft: Option<Waiting>,
    /// How many records the log has.
    pub records: usize,
    /// The clusters, by name.
    pub clusters: Vec<ClusterStatus>,
    /// What ends next, the soonest first; at most five.
    pub next: Vec<End>,
    /// What ends within twelve months: trust first, then the clusters that have something, the soonest first.
    pub timeline: Vec<Lane>,
}

/// The latest valid epoch.
#[derive(Debug, Serialize)]
pub struct EpochStatus {
    /// Its number.
    pub number: u32,
    /// When it was made.
    pub created: Time,
    /// When issuing begins to ask for `--accept-stale`.
    pub expires: Time,
    /// How many persons it lists.
    pub persons: usize,
    /// How many of them must sign the next one.
    pub threshold: u32,
}

/// One cluster.
#[derive(Debug, Serialize)]
pub struct ClusterStatus {
    /// Its name.
    pub name: ClusterName,
    /// The API endpoint.
    pub api: String,
    /// Whether it is retired.
    pub retired: bool,
    /// How many nodes cluster.toml has; none where it was not judged.
    pub nodes: Option<usize>,
    /// The generation of each keyset that issues.
    pub issuing: BTreeMap<&'static str, Generation>,
    /// Keysets of which more than one generation is about: their rotation is under way.
    pub rotations: BTreeMap<&'static str, BTreeMap<String, State>>,
    /// Keysets whose issuing generation was in plaintext before it was adopted: a rotation is recommended.
    pub imported: BTreeSet<&'static str>,
    /// Live certificates for `system:masters`, replaced ones too.
    pub break_glass: Vec<BreakGlass>,
    /// Requests that wait for an issuer.
    pub requests: Vec<PendingRequest>,
    /// How many sealed files are not sealed to exactly the right people.
    pub to_reseal: usize,
    /// What ends next.
    pub next: Option<End>,
}

/// A live certificate for `system:masters`.
#[derive(Debug, Serialize)]
pub struct BreakGlass {
    /// Whose it is.
    pub person: PersonName,
    /// Its serial number.
    pub serial: String,
    /// When it ends.
    pub not_after: Time,
}

/// A request that waits.
#[derive(Debug, Serialize)]
pub struct PendingRequest {
    /// The first 16 digits of its hash.
    pub request: String,
    /// Who asks.
    pub person: PersonName,
    /// For what.
    pub profile: String,
    /// With which groups.
    pub groups: BTreeSet<String>,
    /// When it can no longer be approved.
    pub expires: Time,
    /// Why.
    pub reason: String,
    /// The issuers who approved it so far.
    pub approved_by: BTreeSet<PersonName>,
    /// How many it takes.
    pub needed: u32,
}

/// Reads the status, of these clusters alone if any are named. Works on any tree, and says less of an invalid one. The
/// findings are those of the whole repository.
pub fn status(session: &mut Session, clusters: &[ClusterName]) -> Result<(Status, Vec<Finding>), Failure> {
    let repository = session.open_reading(&Gate::Anything)?;
    for name in clusters {
        repository.cluster(name)?;
    }
    let status = of(&repository.verified, clusters, session.now);
    Ok((status, repository.verified.findings))
}

/// The status of what was verified: of these clusters alone, if any are named. What ends next is that of all.
pub(super) fn of(verified: &Verified, wanted: &[ClusterName], now: Time) -> Status {
    let latest = verified.chain.latest().map(|latest| &latest.epoch);
    let clusters: Vec<ClusterStatus> = latest
        .into_iter()
        .flat_map(|epoch| epoch.clusters.iter().map(move |(name, cluster)| (epoch, name, cluster)))
        .filter(|(_, name, _)| wanted.is_empty() || wanted.contains(name))
        .map(|(epoch, name, cluster)| of_cluster(verified, epoch, name, cluster, now))
        .collect();
    let months = ends::months(now);
    let mut next: Vec<End> = latest.map(|epoch| ends::of_trust(verified, epoch)).unwrap_or_default();
    let trust = Lane::of(None, &next, &months, now);
    let mut lanes: Vec<Lane> = Vec::new();
    for (name, cluster) in latest.into_iter().flat_map(|epoch| &epoch.clusters) {
        let ends = ends::of_cluster(verified, name, cluster);
        if wanted.is_empty() || wanted.contains(name) {
            lanes.extend(Lane::of(Some(name), &ends, &months, now));
        }
        next.extend(ends);
    }
    next.sort();
    next.truncate(NEXT);
    lanes.sort_by(|a, b| (a.first(), &a.cluster).cmp(&(b.first(), &b.cluster)));
    Status {
        repo: verified.chain.all().first().map(|first| first.epoch.repo),
        epoch: latest.map(|epoch| EpochStatus {
            number: epoch.number,
            created: epoch.created,
            expires: epoch.expires,
            persons: epoch.persons.len(),
            threshold: epoch.threshold.trust,
        }),
        draft: Waiting::of(verified),
        records: verified.log.records.len(),
        clusters,
        next,
        timeline: trust.into_iter().chain(lanes).collect(),
    }
}

fn of_cluster(verified: &Verified, epoch: &Epoch, name: &ClusterName, cluster: &Cluster, now: Time) -> ClusterStatus {
    let (issuing, rotations) = keysets(verified, name);
    ClusterStatus {
        name: name.clone(),
        api: cluster.api.clone(),
        retired: cluster.retired,
        nodes: verified.current.configs.get(name).map(|config| config.nodes.len()),
        imported: if cluster.retired { BTreeSet::new() } else { imported(verified, name, &issuing) },
        issuing,
        rotations,
        break_glass: break_glass(verified, name, now),
        requests: pending(verified, epoch, name, now),
        to_reseal: if cluster.retired { 0 } else { to_reseal(verified, epoch, name, cluster) },
        next: ends::of_cluster(verified, name, cluster).into_iter().min(),
    }
}

type Rotations = BTreeMap<&'static str, BTreeMap<String, State>>;

/// What issues, and what more than one generation of a keyset is about.
fn keysets(verified: &Verified, name: &ClusterName) -> (BTreeMap<&'static str, Generation>, Rotations) {
    let mut issuing = BTreeMap::new();
    let mut rotations = BTreeMap::new();
    for ((_, keyset), states) in verified.current.states.iter().filter(|((cluster, _), _)| cluster == name) {
        if let Some(generation) = crate::trust::phases::issuing(states).first() {
            issuing.insert(keyset.as_str(), *generation);
        }
        // What is distrusted is on nodes until it is removed; afterwards its key is gone from here.
        let there = |generation: Generation| {
            let sealed = Place::Sealed(name.clone(), SealedName::Keyset(*keyset, generation));
            matches!(verified.current.paths.get(&sealed).map(|vouched| &vouched.vouch), Some(Vouch::Sealed(_)))
        };
        let about: BTreeMap<String, State> = states
            .iter()
            .filter(|(generation, states)| !states.contains(&State::Distrusted) || there(**generation))
            .filter_map(|(generation, states)| Some((generation.to_string(), *states.iter().next()?)))
            .collect();
        if about.len() > 1 {
            rotations.insert(keyset.as_str(), about);
        }
    }
    (issuing, rotations)
}

/// Keysets whose issuing generation was imported: its key was in plaintext, and copies of it go on working.
fn imported(
    verified: &Verified,
    name: &ClusterName,
    issuing: &BTreeMap<&'static str, Generation>,
) -> BTreeSet<&'static str> {
    let is_imported = |keyset: &&'static str| {
        let found = crate::model::Keyset::parse(keyset).zip(issuing.get(*keyset));
        let Some((keyset, generation)) = found else { return false };
        let sealed = Place::Sealed(name.clone(), SealedName::Keyset(keyset, *generation));
        let vouched = verified.current.paths.get(&sealed).map(|vouched| &vouched.vouch);
        matches!(vouched, Some(Vouch::Sealed(entry)) if entry.imported)
    };
    issuing.keys().copied().filter(is_imported).collect()
}

/// Everything that was ever issued for a path and that counts: a replaced certificate is as good as its
/// successor to whoever has kept it.
fn live(verified: &Verified, name: &ClusterName, now: Time) -> Vec<(PersonName, Issued)> {
    let mut live = Vec::new();
    for (place, said) in &verified.current.history {
        let Place::PersonCert(cluster, person, _) = place else { continue };
        for vouched in said.iter().filter(|_| cluster == name) {
            match &vouched.vouch {
                Vouch::Issued(entry) if entry.not_after > now => live.push((person.clone(), entry.clone())),
                _ => {}
            }
        }
    }
    live
}

fn break_glass(verified: &Verified, name: &ClusterName, now: Time) -> Vec<BreakGlass> {
    let live = live(verified, name, now).into_iter().filter(|(_, entry)| entry.is_break_glass());
    let mut found: Vec<BreakGlass> =
        live.map(|(person, entry)| BreakGlass { person, serial: entry.serial, not_after: entry.not_after }).collect();
    found.sort_by(|a, b| (a.not_after, &a.person).cmp(&(b.not_after, &b.person)));
    found
}

fn pending(verified: &Verified, epoch: &Epoch, name: &ClusterName, now: Time) -> Vec<PendingRequest> {
    let pages = requests::pages(verified, epoch, std::slice::from_ref(name), now);
    let waiting = pages.into_iter().filter_map(|page| match page.standing {
        Standing::Waiting { approved_by, needed } => Some(PendingRequest {
            request: page.request.h16(),
            person: page.person,
            profile: page.profile.to_string(),
            groups: page.groups,
            expires: page.expires,
            reason: page.reason,
            approved_by,
            needed,
        }),
        _ => None,
    });
    waiting.collect()
}

fn to_reseal(verified: &Verified, epoch: &Epoch, name: &ClusterName, cluster: &Cluster) -> usize {
    let due = due_recipients(cluster, epoch);
    let current = verified.current.paths.values().filter_map(|vouched| match &vouched.vouch {
        Vouch::Sealed(entry) if entry.cluster == *name => Some(entry),
        _ => None,
    });
    current.filter(|entry| entry.recipients != due).count()
}

/// The actor's live break-glass certificate of a cluster: the current one at its place.
pub fn own_break_glass<'a>(
    verified: &'a Verified,
    cluster: &ClusterName,
    person: &PersonName,
    now: Time,
) -> Option<(Place, &'a crate::pki::Facts)> {
    let place = Place::PersonCert(cluster.clone(), person.clone(), Profile::BreakGlass);
    let facts = verified.current.leaves.get(&place)?;
    (facts.not_before <= now && now < facts.not_after).then_some((place, facts))
}
