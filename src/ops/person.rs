//! `person add` and `person update`: drafts of the next epoch that let somebody in, or change what they are
//! and may do. Everything that the chain would refuse is refused here first, in words for the person who asks.

use std::collections::BTreeSet;

use serde::Serialize;

use super::draft::Draft;
use super::failure::Failure;
use super::given::Given;
use super::plan::{Plan, Written};
use super::session::{Gate, Repository, Session};
use crate::model::{ClusterName, PersonName, Remedy, current_group, newest_group, split_group};
use crate::openpgp::Certificate;
use crate::trust::difference::{Change, difference};
use crate::trust::{Epoch, FormerReason, TrustRole, Verified};

/// The group whose RBAC manifest makes its members administrators of a cluster.
pub const ADMINS: &str = "kluis:admins";

/// Parts in clusters, to be granted or taken back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parts {
    /// Clusters whose secrets are sealed to the person.
    pub keyholder: BTreeSet<ClusterName>,
    /// Clusters that the person issues for, and whose `kluis:admins` they may ask for.
    pub issuer: BTreeSet<ClusterName>,
    /// Groups that the person may ask for.
    pub groups: BTreeSet<(ClusterName, String)>,
}

impl Parts {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn clusters(&self) -> BTreeSet<&ClusterName> {
        let groups = self.groups.iter().map(|(cluster, _)| cluster);
        self.keyholder.iter().chain(&self.issuer).chain(groups).collect()
    }

    /// With the group that comes with being an issuer.
    fn with_admins(&self) -> Self {
        let mut all = self.clone();
        all.groups.extend(self.issuer.iter().map(|cluster| (cluster.clone(), ADMINS.to_owned())));
        all
    }
}

/// What `person update` changes.
#[derive(Default)]
pub struct Update {
    /// Another certificate, or newer bytes of the same one.
    pub given: Option<Given>,
    /// Why the primary key is another.
    pub former_reason: Option<FormerReason>,
    /// Another role.
    pub role: Option<TrustRole>,
    /// Parts to grant.
    pub grant: Parts,
    /// Parts to take back.
    pub withdraw: Parts,
}

/// What was drafted.
#[derive(Debug, Serialize)]
pub struct Drafted {
    /// The person.
    pub person: PersonName,
    /// What the draft changes against the latest epoch: all that its signers sign. Empty where nothing was written.
    pub changes: Vec<Change>,
    /// What was written.
    #[serde(flatten)]
    pub written: Written,
}

/// Lets somebody in: drafts the next epoch with them, and signs it.
pub fn add(
    session: &mut Session,
    name: &PersonName,
    given: &Given,
    role: TrustRole,
    grant: &Parts,
) -> Result<Drafted, Failure> {
    let mut repository = session.open(&Gate::Draft)?;
    let verified = &repository.verified;
    let mut draft = start(&repository, session, &format!("{name} joins"))?;
    if draft.epoch.persons.contains_key(name) {
        return Err(Failure::usage(format!("{name} is a person already")).help(Remedy::PersonUpdate(name.clone())));
    }
    check_return(name, given, &draft.epoch, verified)?;
    given.check_unshared(name, &draft.epoch, |sha256| verified.chain.certificate(sha256))?;
    draft.epoch.persons.insert(name.clone(), given.person(role));
    draft.certificates.insert(given.sha256, given.stored.clone());
    parts(&repository, &mut draft.epoch, name, (grant, &Parts::default()))?;
    check_epoch(&draft.epoch, name)?;
    let title = format!("Draft epoch {}: add {name} as {role}", draft.epoch.number);
    carry_out(session, &mut repository, name, draft, FormerReason::Replaced, &title)
}

/// Changes somebody: certificate, role, parts in clusters. Writes nothing if nothing changes.
pub fn update(session: &mut Session, name: &PersonName, update: &Update) -> Result<Drafted, Failure> {
    let mut repository = session.open(&Gate::Draft)?;
    let verified = &repository.verified;
    let mut draft = start(&repository, session, &format!("{name} changes"))?;
    let Some(mut person) = draft.epoch.persons.get(name).cloned() else {
        return Err(Failure::usage(format!("there is no person {name}")).help(Remedy::PersonList));
    };
    if let Some(given) = &update.given {
        given.check_unshared(name, &draft.epoch, |sha256| verified.chain.certificate(sha256))?;
        person = given.person(person.role);
        draft.certificates.insert(given.sha256, given.stored.clone());
    }
    if let Some(role) = update.role {
        person.role = role;
    }
    let latest = repository.epoch()?;
    if let Some(reason) = update.former_reason {
        let then = latest.persons.get(name);
        if then.is_none_or(|then| then.cert == person.cert) {
            let what = format!("{name} keeps the same certificate, so there is no --former-reason to record");
            return Err(Failure::usage(what).help(Remedy::PersonUpdate(name.clone())));
        }
        if reason == FormerReason::Compromised && then.is_some_and(|then| then.role.votes()) {
            session.notes.push(format!(
                "{name}'s former key still counts towards epoch {}: look at its signatures before you sign",
                draft.epoch.number
            ));
        }
        // Said anew: it replaces what the draft said before.
        draft.epoch.former.retain(|former| former.person != *name || former.epoch != draft.epoch.number);
    }
    draft.epoch.persons.insert(name.clone(), person);
    parts(&repository, &mut draft.epoch, name, (&update.grant, &update.withdraw))?;
    check_epoch(&draft.epoch, name)?;
    let title = format!("Draft epoch {}: update {name}", draft.epoch.number);
    carry_out(session, &mut repository, name, draft, update.former_reason.unwrap_or(FormerReason::Replaced), &title)
}

/// Starts the draft that a command about a person changes.
pub(super) fn start(repository: &Repository, session: &Session, reason: &str) -> Result<Draft, Failure> {
    let draft = Draft::start(&repository.verified, session.now, reason);
    draft.ok_or_else(|| Failure::refused("there is no valid epoch").help(Remedy::Verify))
}

/// Signs and writes the draft, if it changes anything.
pub(super) fn carry_out(
    session: &mut Session,
    repository: &mut Repository,
    name: &PersonName,
    mut draft: Draft,
    former: FormerReason,
    title: &str,
) -> Result<Drafted, Failure> {
    let latest = repository.epoch()?.clone();
    let base = repository.verified.chain.draft().map_or(&latest, |draft| &draft.epoch).clone();
    draft.note_former(&latest, |_| former);
    let changes = |from| {
        let all = difference(from, &draft.epoch).into_iter();
        all.filter(|change| !matches!(change, Change::Expires { .. })).collect::<Vec<Change>>()
    };
    if changes(&base).is_empty() && base.former == draft.epoch.former {
        let written = Written { dry_run: session.settings.dry_run, ..Written::default() };
        return Ok(Drafted { person: name.clone(), changes: Vec::new(), written });
    }
    // All that is signed is shown, also what an earlier command drafted.
    let changes = changes(&latest);
    note_dropped(session, &repository.verified);
    let mut actor = session.actor(&repository.verified)?;
    let why = draft.epoch.reason.clone();
    let mut plan = Plan::default();
    plan.draft(draft);
    let written = plan.carry_out(session, repository, &mut actor, title, &why)?;
    Ok(Drafted { person: name.clone(), changes, written })
}

/// Says whose signatures a changed draft loses.
pub fn note_dropped(session: &mut Session, verified: &Verified) {
    let Some(draft) = verified.chain.draft().filter(|draft| !draft.signers.is_empty()) else { return };
    session.notes.push(format!(
        "the draft of epoch {} changes, so these signatures of it are gone: {}",
        draft.epoch.number,
        super::pinning::names(&draft.signers)
    ));
}

/// A name that left may come back only as FORMAT 4 says: certificates and role bindings for it may still be
/// about.
fn check_return(name: &PersonName, given: &Given, epoch: &Epoch, verified: &Verified) -> Result<(), Failure> {
    for former in epoch.former.iter().filter(|former| former.person == *name && former.epoch < epoch.number) {
        let left = verified.chain.get(former.epoch).is_some_and(|then| !then.epoch.persons.contains_key(name));
        if !left {
            continue;
        }
        let since = format!("{name} left with epoch {}", former.epoch);
        match former.reason {
            FormerReason::Compromised => {
                let what = format!("{since} because their key was compromised: the name never comes back; use another");
                return Err(Failure::refused(what).help(Remedy::PersonList));
            }
            FormerReason::Left if former.cert != given.fingerprint() => {
                let what = format!(
                    "{since} and had the certificate {}: the name comes back only with the same one, since \
                     certificates and role bindings for {name} may still be about; use another name",
                    former.cert
                );
                return Err(Failure::refused(what).help(Remedy::PersonList));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Grants and takes back parts. What is both is a contradiction.
fn parts(
    repository: &Repository,
    epoch: &mut Epoch,
    name: &PersonName,
    (grant, withdraw): (&Parts, &Parts),
) -> Result<(), Failure> {
    let asked: BTreeSet<&ClusterName> = grant.clusters().into_iter().chain(withdraw.clusters()).collect();
    if let Some(unknown) = asked.into_iter().find(|cluster| !epoch.clusters.contains_key(cluster)) {
        return Err(Failure::usage(format!("there is no cluster {unknown}")).help(Remedy::ClusterList));
    }
    let both = grant.keyholder.intersection(&withdraw.keyholder).chain(grant.issuer.intersection(&withdraw.issuer));
    let both = both.chain(grant.groups.intersection(&withdraw.groups).map(|(cluster, _)| cluster));
    if let Some(cluster) = both.into_iter().next() {
        let what = format!("on {cluster} the same part is given and taken back at once");
        return Err(Failure::usage(what));
    }
    let grant = newest(repository, grant, epoch);
    let mut withdraw = withdraw.with_admins();
    withdraw.groups.retain(|group| !grant.groups.contains(group));
    let grant = Parts {
        groups: newest(repository, &grant.with_admins(), epoch).groups.difference(&withdraw.groups).cloned().collect(),
        ..grant
    };
    for (cluster_name, cluster) in &mut epoch.clusters {
        set(
            &mut cluster.keyholders,
            name,
            grant.keyholder.contains(cluster_name),
            withdraw.keyholder.contains(cluster_name),
        );
        set(&mut cluster.issuers, name, grant.issuer.contains(cluster_name), withdraw.issuer.contains(cluster_name));
        let of = |parts: &Parts| -> BTreeSet<String> {
            parts.groups.iter().filter(|(cluster, _)| cluster == cluster_name).map(|(_, group)| group.clone()).collect()
        };
        let mut groups = cluster.groups.remove(name).unwrap_or_default();
        groups.extend(of(&grant));
        // A name without a generation takes all of them back, but for one that is given at once.
        let (given, taken) = (of(&grant), of(&withdraw));
        groups.retain(|group| given.contains(group) || !taken.iter().any(|taken| is_taken(group, taken)));
        if !groups.is_empty() {
            cluster.groups.insert(name.clone(), groups);
        }
    }
    Ok(())
}

fn is_taken(group: &str, taken: &str) -> bool {
    group == taken || split_group(group).0 == taken
}

/// Groups that are given without a generation are the newest that anybody on the cluster has: a newcomer joins those
/// whose certificates the cluster's RBAC binds today. Where nobody has it any more, they are the newest that anybody ever had.
fn newest(repository: &Repository, parts: &Parts, epoch: &Epoch) -> Parts {
    let newest = |(cluster, group): &(ClusterName, String)| {
        let known = epoch.clusters.get(cluster).into_iter().flat_map(|cluster| cluster.groups.values().flatten());
        let ever = || newest_group(repository.groups_ever(cluster), group);
        (cluster.clone(), current_group(known, group).or_else(ever).unwrap_or_else(|| group.clone()))
    };
    Parts { groups: parts.groups.iter().map(newest).collect(), ..parts.clone() }
}

fn set(names: &mut BTreeSet<PersonName>, name: &PersonName, grant: bool, withdraw: bool) {
    if grant {
        names.insert(name.clone());
    }
    if withdraw {
        names.remove(name);
    }
}

/// What no draft may be.
pub(super) fn check_epoch(epoch: &Epoch, name: &PersonName) -> Result<(), Failure> {
    let recovery = epoch.persons.get(name).is_some_and(|person| person.role == TrustRole::Recovery);
    for (cluster_name, cluster) in &epoch.clusters {
        let has_part =
            cluster.keyholders.contains(name) || cluster.issuers.contains(name) || cluster.groups.contains_key(name);
        if recovery && has_part {
            let what = format!(
                "{name} has a part in cluster {cluster_name}, and a recovery person signs epochs and is nothing else"
            );
            return Err(Failure::usage(what).help(Remedy::Kluis(format!("person show {name}"))));
        }
        if cluster.keyholders.is_empty() && !cluster.retired {
            let what = format!("cluster {cluster_name} would have no keyholder, and nobody could open its keys again");
            return Err(Failure::refused(what).help(Remedy::PersonList));
        }
    }
    check_thresholds(epoch)
}

/// Refuses a threshold that its people can't reach: the next epoch could never be signed.
pub fn check_thresholds(epoch: &Epoch) -> Result<(), Failure> {
    let voters = epoch.persons.values().filter(|person| person.role.votes()).count();
    let needed = epoch.threshold.trust;
    if usize::try_from(needed).is_ok_and(|needed| needed > voters) {
        let what = format!(
            "threshold.trust is {needed}, and only {voters} of its people could sign (roots and recovery persons)"
        );
        let fix = format!("trust set threshold.trust {}", voters.max(1));
        return Err(Failure::refused(what).help(Remedy::Kluis(fix)));
    }
    let issuers = epoch.persons.values().filter(|person| person.role != TrustRole::Recovery).count();
    let needed = epoch.threshold.break_glass;
    if usize::try_from(needed).is_ok_and(|needed| needed > issuers) {
        let what = format!("threshold.break_glass is {needed}, and only {issuers} of its people could be issuers");
        let fix = format!("trust set threshold.break_glass {}", issuers.max(1));
        return Err(Failure::refused(what).help(Remedy::Kluis(fix)));
    }
    Ok(())
}

/// The certificate of a person, from the bytes that their epoch pins.
pub fn certificate<'a>(verified: &'a Verified, epoch: &Epoch, name: &PersonName) -> Option<&'a Certificate> {
    verified.chain.certificate(&epoch.persons.get(name)?.cert_sha256)
}
