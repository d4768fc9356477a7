//! `person list` and `person show`: who is trusted with what, in the latest epoch and in the draft. Read only.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::failure::Failure;
use super::person::certificate;
use super::session::Repository;
use crate::model::{ClusterName, Fingerprint, PersonName, Remedy, Time};
use crate::trust::current::Vouch;
use crate::trust::difference::{Change, difference};
use crate::trust::{Epoch, FormerReason, TrustRole, Verified};

/// A listed key of a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyView {
    /// The fingerprint.
    pub fingerprint: Fingerprint,
    /// The algorithm, as its certificate says.
    pub algorithm: Option<String>,
    /// Whether its signatures count.
    pub sign: bool,
    /// Whether secrets are sealed to it.
    pub encrypt: bool,
    /// When it expires; none if never, or if its certificate is not there.
    pub expires: Option<Time>,
}

/// A person of one epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PersonView {
    /// The name.
    pub name: PersonName,
    /// What they may do about epochs.
    pub role: TrustRole,
    /// The primary fingerprint.
    pub cert: Fingerprint,
    /// The listed keys, in the epoch's order.
    pub keys: Vec<KeyView>,
    /// Clusters whose secrets are sealed to them.
    pub keyholder: Vec<ClusterName>,
    /// Clusters that they issue for.
    pub issuer: Vec<ClusterName>,
    /// Groups that they may ask for, by cluster.
    pub groups: BTreeMap<ClusterName, BTreeSet<String>>,
}

/// The persons of an epoch.
#[derive(Debug, Serialize)]
pub struct Listing {
    /// The number of the epoch.
    pub epoch: u32,
    /// Its persons, by name.
    pub persons: Vec<PersonView>,
}

/// The persons of the draft, and what it waits for.
#[derive(Debug, Serialize)]
pub struct Proposal {
    /// The draft's persons.
    #[serde(flatten)]
    pub listing: Listing,
    /// What the draft changes.
    pub changes: Vec<Change>,
    /// Who has signed it.
    pub signed: BTreeSet<PersonName>,
    /// Whose signatures would help.
    pub missing: BTreeSet<PersonName>,
}

/// What `person list` says.
#[derive(Debug, Serialize)]
pub struct People {
    /// The latest valid epoch.
    #[serde(flatten)]
    pub latest: Listing,
    /// The draft, if there is one.
    pub draft: Option<Proposal>,
}

/// A certificate that somebody had.
#[derive(Debug, Serialize)]
pub struct FormerView {
    /// The primary fingerprint.
    pub cert: Fingerprint,
    /// The first epoch without it.
    pub epoch: u32,
    /// Why.
    pub reason: FormerReason,
}

/// What `person show` says.
#[derive(Debug, Serialize)]
pub struct Page {
    /// The name.
    pub person: PersonName,
    /// The number of the latest valid epoch.
    pub epoch: u32,
    /// What it says of them.
    pub latest: Option<PersonView>,
    /// The user ids of their certificate: text that anybody can write, which decides nothing.
    pub user_ids: Vec<String>,
    /// What the draft says of them.
    pub draft: Option<PersonView>,
    /// What the draft changes for them.
    pub changes: Vec<Change>,
    /// The sealed files that they are recipients of; none where the log is not judged, beside a draft.
    pub recipient_of: Option<BTreeSet<String>>,
    /// Certificates that they had.
    pub former: Vec<FormerView>,
}

/// What `epoch` says of a person.
pub fn person(verified: &Verified, epoch: &Epoch, name: &PersonName) -> Option<PersonView> {
    let person = epoch.persons.get(name)?;
    let pinned = certificate(verified, epoch, name);
    let mut order: Vec<&Fingerprint> = person.sign.iter().collect();
    order.extend(person.encrypt.iter().filter(|key| !person.sign.contains(key)));
    let facts = pinned.map(|certificate| certificate.keys()).unwrap_or_default();
    let keys = order.into_iter().map(|key| KeyView {
        fingerprint: key.clone(),
        algorithm: facts.iter().find(|facts| facts.fingerprint == *key).map(|facts| facts.algorithm.clone()),
        sign: person.sign.contains(key),
        encrypt: person.encrypt.contains(key),
        expires: pinned.and_then(|certificate| certificate.life(key)).and_then(|(_, end)| end),
    });
    let where_in = |has: fn(&crate::trust::Cluster) -> &BTreeSet<PersonName>| {
        let clusters = epoch.clusters.iter().filter(|(_, cluster)| has(cluster).contains(name));
        clusters.map(|(cluster, _)| cluster.clone()).collect()
    };
    let groups = epoch.clusters.iter();
    Some(PersonView {
        name: name.clone(),
        role: person.role,
        cert: person.cert.clone(),
        keys: keys.collect(),
        keyholder: where_in(|cluster| &cluster.keyholders),
        issuer: where_in(|cluster| &cluster.issuers),
        groups: groups.filter_map(|(at, cluster)| Some((at.clone(), cluster.groups.get(name)?.clone()))).collect(),
    })
}

/// The persons of `epoch`.
pub fn listing(verified: &Verified, epoch: &Epoch) -> Listing {
    let persons = epoch.persons.keys().filter_map(|name| person(verified, epoch, name)).collect();
    Listing { epoch: epoch.number, persons }
}

/// Lists everybody.
pub fn list(repository: &Repository) -> Result<People, Failure> {
    let verified = &repository.verified;
    let latest = repository.epoch()?;
    let draft = verified.chain.draft().map(|draft| Proposal {
        listing: listing(verified, &draft.epoch),
        changes: difference(latest, &draft.epoch),
        signed: draft.signers.clone(),
        missing: draft.missing.people(),
    });
    Ok(People { latest: listing(verified, latest), draft })
}

/// Shows one person, who may be new in the draft, or gone.
pub fn show(repository: &Repository, name: &PersonName) -> Result<Page, Failure> {
    let verified = &repository.verified;
    let latest = repository.epoch()?;
    let draft = verified.chain.draft().map(|draft| &draft.epoch);
    let newest = draft.unwrap_or(latest);
    let former = newest.former.iter().filter(|former| former.person == *name);
    let page = Page {
        person: name.clone(),
        epoch: latest.number,
        latest: person(verified, latest, name),
        user_ids: certificate(verified, newest, name)
            .or_else(|| certificate(verified, latest, name))
            .map(|certificate| certificate.user_ids())
            .unwrap_or_default(),
        draft: draft.and_then(|draft| person(verified, draft, name)),
        changes: draft.map(|draft| difference(latest, draft)).unwrap_or_default(),
        recipient_of: draft.is_none().then(|| recipient_of(verified, name)),
        former: former
            .map(|former| FormerView { cert: former.cert.clone(), epoch: former.epoch, reason: former.reason })
            .collect(),
    };
    if page.latest.is_none() && page.draft.is_none() && page.former.is_empty() {
        return Err(Failure::usage(format!("there is no person {name}")).help(Remedy::PersonList));
    }
    let concerns = |change: &Change| change.person() == Some(name);
    Ok(Page { changes: page.changes.into_iter().filter(concerns).collect(), ..page })
}

/// The current sealed files that `name` is a recipient of.
fn recipient_of(verified: &Verified, name: &PersonName) -> BTreeSet<String> {
    let sealed = verified.current.paths.iter().filter_map(|(place, vouched)| match &vouched.vouch {
        Vouch::Sealed(sealed) => Some((place, sealed)),
        _ => None,
    });
    let theirs = sealed.filter(|(_, sealed)| sealed.recipients.iter().any(|recipient| recipient.person == *name));
    theirs.map(|(place, _)| place.to_string()).collect()
}
