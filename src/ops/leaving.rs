//! `person remove` and `person revoke-key`: trust is taken back from a person, or from one key of theirs. What they could
//! open before stays known to them, and both say so.

use serde::Serialize;

use super::exposure::{self, Exposures};
use super::failure::Failure;
use super::person::{Drafted, carry_out, check_epoch, start};
use super::plan::{Plan, Written, new_record};
use super::session::{Gate, Repository, Session};
use crate::model::{Finding, Fingerprint, PersonName, Place, Remedy};
use crate::trust::record::RevokeKey;
use crate::trust::{Epoch, FormerReason};

/// What `person remove` drafted, and what the person can open still.
#[derive(Debug, Serialize)]
pub struct Removed {
    /// The draft.
    #[serde(flatten)]
    pub drafted: Drafted,
    /// What they could ever open.
    pub exposed: Exposures,
}

/// Drafts the next epoch without `name`, and signs it. Asks before.
pub fn remove(
    session: &mut Session,
    name: &PersonName,
    reason: FormerReason,
) -> Result<(Removed, Vec<Finding>), Failure> {
    let mut repository = session.open(&Gate::Draft)?;
    let mut draft = start(&repository, session, &format!("{name} leaves ({})", reason.as_str()))?;
    if draft.epoch.persons.remove(name).is_none() {
        let what = match repository.epoch()?.persons.contains_key(name) {
            true => format!("the draft of epoch {} removes {name} already", draft.epoch.number),
            false => format!("there is no person {name}"),
        };
        return Err(Failure::usage(what).help(Remedy::PersonList));
    }
    for cluster in draft.epoch.clusters.values_mut() {
        cluster.keyholders.remove(name);
        cluster.issuers.remove(name);
        cluster.groups.remove(name);
    }
    check_epoch(&draft.epoch, name)?;
    check_issuers(session, &draft.epoch, repository.epoch()?);
    let (exposed, findings) = exposure::of(session, &repository, name)?;
    let live = exposed.live().count();
    let what = match live {
        0 => "nothing that is in use was ever sealed to them".to_owned(),
        1 => "1 secret that is in use was sealed to them, and stays known to them until it is replaced".to_owned(),
        live => format!("{live} secrets that are in use were sealed to them, and stay known to them until replaced"),
    };
    session.confirm(&format!("Remove {name} (reason: {})? {what}.", reason.as_str()))?;
    if reason == FormerReason::Compromised && repository.epoch()?.persons.get(name).is_some_and(|p| p.role.votes()) {
        let number = draft.epoch.number;
        session.notes.push(format!("{name}'s key still counts towards epoch {number}: look at who signs it"));
    }
    draft.epoch.former.retain(|former| former.person != *name || former.epoch != draft.epoch.number);
    let title = format!("Draft epoch {}: remove {name}", draft.epoch.number);
    let drafted = carry_out(session, &mut repository, name, draft, reason, &title)?;
    Ok((Removed { drafted, exposed }, findings))
}

/// Says which clusters lose their last issuer: nothing can be issued there until an epoch names another.
fn check_issuers(session: &mut Session, epoch: &Epoch, latest: &Epoch) {
    for (name, _) in epoch.clusters.iter().filter(|(_, cluster)| !cluster.retired && cluster.issuers.is_empty()) {
        if latest.clusters.get(name).is_some_and(|then| !then.issuers.is_empty()) {
            session
                .notes
                .push(format!("cluster {name} would have no issuer: nothing could be issued or resealed there"));
        }
    }
}

/// What `person revoke-key` did.
#[derive(Debug, Serialize)]
pub struct Revoked {
    /// The person.
    pub person: PersonName,
    /// The key that counts no more.
    pub key: Fingerprint,
    /// Whether it is one that signs.
    pub signs: bool,
    /// Whether it is one that is sealed to.
    pub encrypts: bool,
    /// Whether an epoch was drafted instead of a record: the actor's own key was revoked before.
    pub drafted: bool,
    /// What was sealed to the person, where the key is one that is sealed to.
    pub exposed: Option<Exposures>,
    /// What was written.
    #[serde(flatten)]
    pub written: Written,
}

/// Revokes one key of a person in all clusters at once, by one record. Without `key`, the only signing key that the
/// latest epoch lists for them. Asks before.
///
/// Who was revoked themself can't revoke by a record (FORMAT 5): for them an epoch is drafted, which takes the quorum.
pub fn revoke_key(
    session: &mut Session,
    name: &PersonName,
    key: Option<&str>,
    reason: &str,
) -> Result<Revoked, Failure> {
    let mut repository = session.open(&Gate::Valid)?;
    let key = find_key(&repository, name, key)?;
    let latest = repository.epoch()?.clone();
    let listed = |list: fn(&crate::trust::Person) -> &Vec<Fingerprint>| {
        let mut epochs = repository.verified.chain.all().iter().filter_map(|epoch| epoch.epoch.persons.get(name));
        epochs.any(|person| list(person).contains(&key))
    };
    let (signs, encrypts) = (listed(|person| &person.sign), listed(|person| &person.encrypt));
    if repository.verified.log.suspended(name, latest.number).contains(&key) {
        let what = format!("the key {key} of {name} is revoked already, until an epoch lists it again or drops it");
        return Err(Failure::usage(what).help(Remedy::PersonUpdate(name.clone())));
    }
    let mut actor = session.actor(&repository.verified)?;
    let suspended = repository.verified.log.suspended(&actor.name, latest.number);
    let person = latest.persons.get(&actor.name);
    let is_suspended = person.is_some_and(|person| person.sign.iter().all(|key| suspended.contains(key)));
    let may = *name == actor.name
        || person.is_some_and(|person| person.role == crate::trust::TrustRole::Root)
        || latest.clusters.values().any(|cluster| cluster.issuers.contains(&actor.name));
    if !may && !is_suspended {
        let what = format!("{} is neither root nor issuer of any cluster, and {key} is not their own key", actor.name);
        return Err(Failure::refused(what).help(Remedy::PersonList));
    }
    let effect = match (signs, encrypts) {
        (true, _) => "Its signatures stop counting in all clusters, but for what was recorded before.",
        _ => "What was sealed to it is then exposed, and owed until it is replaced.",
    };
    session.confirm(&format!("Revoke the key {key} of {name}? {effect} Only a new epoch lists it again."))?;
    let exposed = match encrypts {
        true => Some(exposure::of(session, &repository, name)?.0),
        false => None,
    };
    let mut revoked = Revoked {
        person: name.clone(),
        key: key.clone(),
        signs,
        encrypts,
        drafted: false,
        exposed,
        written: Written::default(),
    };
    if is_suspended {
        revoked.drafted = true;
        revoked.written = draft_without(session, &mut repository, name, &key, reason)?;
        return Ok(revoked);
    }
    let mut record = new_record(&repository.verified, &actor.name, session.now, "person revoke-key")?;
    record.revoke_key.push(RevokeKey { person: name.clone(), key: key.clone(), reason: reason.to_owned() });
    let mut plan = Plan::default();
    plan.record(record);
    let gone = asked_with(&repository, name, &key);
    if !gone.is_empty() {
        session.notes.push(format!(
            "{} requests that were signed with it and wait go along: they can't be granted any more",
            gone.len() / 2
        ));
    }
    plan.changes.removes.extend(gone);
    let title = format!("Revoke a key of {name}");
    revoked.written = plan.carry_out(session, &mut repository, &mut actor, &title, reason)?;
    Ok(revoked)
}

/// The files of requests that are signed with a key and that no record names. They would be invalid where they lie, and
/// so keep the key from being revoked.
fn asked_with(repository: &Repository, name: &PersonName, key: &Fingerprint) -> Vec<String> {
    let verified = &repository.verified;
    let records = || verified.log.records.iter().map(|logged| &logged.record);
    let mut files = Vec::new();
    for filed in verified.requests.all().filter(|filed| filed.signer() == Some((name, key))) {
        let named = records().any(|record| {
            record.issued.iter().any(|entry| entry.request == Some(filed.sha256))
                || record.approve.contains(&filed.sha256)
                || record.deny.iter().any(|deny| deny.request == filed.sha256)
        });
        if !named {
            let signature = Place::RequestSignature(filed.cluster.clone(), filed.sha256.h16(), name.clone());
            files.extend([filed.path.clone(), signature.to_string()]);
        }
    }
    files
}

/// The key that is meant: a whole fingerprint, or at least its last 8 digits, among all that an epoch ever listed.
fn find_key(repository: &Repository, name: &PersonName, key: Option<&str>) -> Result<Fingerprint, Failure> {
    let chain = &repository.verified.chain;
    let persons = chain.all().iter().rev().filter_map(|epoch| epoch.epoch.persons.get(name));
    let mut listed: Vec<Fingerprint> = Vec::new();
    for key in persons.flat_map(|person| person.sign.iter().chain(&person.encrypt)) {
        if !listed.contains(key) {
            listed.push(key.clone());
        }
    }
    if listed.is_empty() {
        return Err(Failure::usage(format!("no epoch ever listed a person {name}")).help(Remedy::PersonList));
    }
    let show = Remedy::Kluis(format!("person show {name}"));
    let Some(text) = key else {
        let signing = repository.epoch()?.persons.get(name).map(|person| person.sign.clone()).unwrap_or_default();
        return match signing.as_slice() {
            [only] => Ok(only.clone()),
            several => {
                let what = format!("{name} has {} signing keys: say which fingerprint", several.len());
                Err(Failure::usage(what).help(show))
            }
        };
    };
    let wanted = text.to_ascii_uppercase().replace(' ', "");
    let matches: Vec<&Fingerprint> =
        listed.iter().filter(|key| wanted.len() >= 8 && key.to_string().ends_with(&wanted)).collect();
    match matches.as_slice() {
        [only] => Ok((*only).clone()),
        [] => Err(Failure::usage(format!("no epoch lists a key {text} for {name}; give its fingerprint")).help(show)),
        _ => Err(Failure::usage(format!("{text} fits several keys of {name}; give the whole fingerprint")).help(show)),
    }
}

/// The next epoch without the key.
fn draft_without(
    session: &mut Session,
    repository: &mut Repository,
    name: &PersonName,
    key: &Fingerprint,
    reason: &str,
) -> Result<Written, Failure> {
    let mut draft = start(repository, session, &format!("a key of {name} is revoked: {reason}"))?;
    let gone = || Failure::usage(format!("the latest epoch lists no person {name}")).help(Remedy::PersonList);
    let person = draft.epoch.persons.get_mut(name).ok_or_else(gone)?;
    person.sign.retain(|one| one != key);
    person.encrypt.retain(|one| one != key);
    if person.sign.is_empty() || person.encrypt.is_empty() {
        let what = format!("{name} would have no key left: remove the person, or give them another certificate");
        return Err(Failure::refused(what).help(Remedy::Kluis(format!("person remove {name} --reason compromised"))));
    }
    session
        .notes
        .push("your own key was revoked, so a record of yours would be void: an epoch is drafted instead".to_owned());
    let title = format!("Draft epoch {}: revoke a key of {name}", draft.epoch.number);
    Ok(carry_out(session, repository, name, draft, FormerReason::Replaced, &title)?.written)
}
