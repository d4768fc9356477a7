//! What somebody could ever open: from the log, and checked against git's history, where a file may lie that nobody
//! recorded. The log is the evidence that a shallow clone or a rewritten history can't take away (T9).
//!
//! `exposure` is the whole answer about one person; what `person remove` and `person revoke-key` say of it is a part.

mod history;
mod plan;

use std::collections::BTreeMap;

use serde::Serialize;

use super::audit::deny::{self, Reason};
use super::audit::log::credential_id;
use super::failure::Failure;
use super::session::{Gate, Repository, Session};
use crate::model::{
    ClusterName, Code, Finding, Fingerprint, Generation, Keyset, Level, NodeName, PersonName, Place, Profile, Remedy,
    SealedName, Time,
};
use crate::trust::current::Vouch;
use crate::trust::exposure::Standing;
use crate::trust::{self, Verified, exposure};
pub use history::Memory;
pub use plan::Step;

/// One secret that a person could open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exposed {
    /// Its path.
    pub path: String,
    /// The cluster.
    pub cluster: ClusterName,
    /// The keyset, of a CA key and the like.
    pub keyset: Option<Keyset>,
    /// Its generation.
    pub generation: Option<Generation>,
    /// The node, of a node's keys.
    pub node: Option<NodeName>,
    /// What has become of it.
    #[serde(serialize_with = "word")]
    pub standing: Standing,
    /// Whether what is inside is still in use.
    pub live: bool,
    /// Until when the quorum decided to live with it.
    pub waived_until: Option<Time>,
    /// When it was first sealed to them, as its record says; none if no record says so.
    pub since: Option<Time>,
    /// The newest commit of this clone that brought a file sealed to them that no record says is; none where every one
    /// has its own.
    pub unrecorded: Option<String>,
    /// Of a node's keys that were replaced: until when the cluster accepts a certificate for one of them.
    pub accepted_until: Option<Time>,
    /// Whether it was adopted: it was in plaintext before, so others may have it whom no record names.
    pub imported: bool,
    /// What whoever has it can do.
    pub gives: &'static str,
}

fn word<S: serde::Serializer>(standing: &Standing, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(standing.as_str())
}

/// A message in history that is sealed to a person's key, at a place that no record ever named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stray {
    /// Its path.
    pub path: String,
    /// The newest commit that brought it.
    pub commit: String,
}

/// Everything that a person could open.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Exposures {
    /// The secrets, by path.
    pub secrets: Vec<Exposed>,
    /// Messages elsewhere; what is in them can't be told without opening them.
    pub elsewhere: Vec<Stray>,
    /// How many commits of history were searched; none where there is no git repository.
    pub commits: Option<usize>,
}

impl Exposures {
    /// Those that are still in use.
    pub fn live(&self) -> impl Iterator<Item = &Exposed> {
        self.secrets.iter().filter(|secret| secret.live)
    }
}

/// A certificate of the person's own that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Own {
    /// The cluster.
    pub cluster: ClusterName,
    /// The profile.
    pub profile: Profile,
    /// As Kubernetes' audit logs name it.
    pub credential_id: String,
    /// The groups.
    pub groups: Vec<String>,
    /// The serial number.
    pub serial: String,
    /// Its last second.
    pub not_after: Time,
    /// Whether it has `system:masters`, which no binding takes back: only a new CA does.
    pub only_rotation: bool,
    /// Why it must not be accepted any more; none where it may be.
    pub denied: Vec<Reason>,
}

/// What an epoch says of somebody who is not what they were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Left {
    /// The first epoch without them.
    pub epoch: u32,
    /// `left`, `compromised`, `replaced` or `lost`.
    pub reason: &'static str,
}

/// The whole answer about one person; `data` of the report.
#[derive(Debug, Serialize)]
pub struct Exposure {
    /// The person.
    pub person: PersonName,
    /// Whether the latest epoch lists them.
    pub listed: bool,
    /// Why they are gone.
    pub left: Option<Left>,
    /// The clusters whose keyholder they are today.
    pub keyholder: Vec<ClusterName>,
    /// Every key that any epoch listed to be sealed to for them.
    pub keys: Vec<Fingerprint>,
    /// How many secrets are owed because of them (`exposure-open`).
    pub open: usize,
    /// What they could open.
    #[serde(flatten)]
    pub exposures: Exposures,
    /// Whether all of git's history was there to be searched.
    pub complete: bool,
    /// Their own certificates that have not ended, by cluster, profile and end.
    pub certificates: Vec<Own>,
    /// What is to be done, in this order.
    pub plan: Vec<Step>,
}

/// What `person` could ever open. Returns `history-incomplete` too where history can't be searched whole.
pub fn of(
    session: &mut Session,
    repository: &Repository,
    person: &PersonName,
) -> Result<(Exposures, Vec<Finding>), Failure> {
    let verified = &repository.verified;
    // Beside a draft the log is not judged.
    let judged = verified.chain.draft().map(|_| trust::without_draft(&verified.tree, &verified.chain, session.now));
    gather(session, repository, judged.as_ref().unwrap_or(verified), person, Memory::Asked)
}

/// Everything about `person`: what they could open, what follows from it and what is to be done. Needs no key. Errors of
/// the repository stand beside the answer and decide the exit code; where they leave nobody able to say what was sealed to
/// whom, it fails.
pub fn exposure(
    session: &mut Session,
    person: &PersonName,
    memory: Memory,
) -> Result<(Exposure, Vec<Finding>), Failure> {
    let repository = session.open_reading(&Gate::Anything)?;
    let (judged, mut findings) = judge(session, &repository)?;
    let verified = judged.as_ref().unwrap_or(&repository.verified);
    if !verified.chain.all().iter().any(|epoch| epoch.epoch.persons.contains_key(person)) {
        return Err(Failure::usage(format!("no epoch ever listed a person {person}")).help(Remedy::PersonList));
    }
    let (exposures, more) = gather(session, &repository, verified, person, memory)?;
    let complete = exposures.commits.is_some() && more.iter().all(|finding| finding.code != Code::HistoryIncomplete);
    let owed = [Code::ExposureOpen, Code::ExcessCert];
    let theirs =
        verified.findings.iter().filter(|found| owed.contains(&found.code) && found.person.as_ref() == Some(person));
    // Of what the log says is open; then what history alone says. The plan says what to do about either.
    findings.extend(theirs.cloned().map(|finding| Finding { fix: None, ..finding }));
    let latest = verified.chain.latest().map(|latest| &latest.epoch);
    let clusters = latest.into_iter().flat_map(|latest| &latest.clusters);
    let keyholder: Vec<ClusterName> =
        clusters.filter(|(_, cluster)| cluster.keyholders.contains(person)).map(|(name, _)| name.clone()).collect();
    findings.extend(unrecorded(&exposures, person, &keyholder, &findings));
    findings.extend(more);
    if session.settings.strict {
        findings.iter_mut().filter(|f| f.level == Level::Attention).for_each(|f| f.level = Level::Error);
    }
    let listed = latest.is_some_and(|latest| latest.persons.contains_key(person));
    let former = latest.and_then(|latest| latest.former.iter().rfind(|former| former.person == *person));
    let left = former.filter(|_| !listed).map(|former| Left { epoch: former.epoch, reason: former.reason.as_str() });
    let mut exposure = Exposure {
        person: person.clone(),
        listed,
        left,
        keyholder,
        keys: keys(verified, person),
        open: findings.iter().filter(|finding| finding.code == Code::ExposureOpen).count(),
        exposures,
        complete,
        certificates: certificates(verified, person, session.now),
        plan: Vec::new(),
    };
    exposure.plan = plan::of(verified, &exposure);
    Ok((exposure, findings))
}

/// The repository as it counts, if that is another than was verified, and what is wrong with it.
fn judge(session: &mut Session, repository: &Repository) -> Result<(Option<Verified>, Vec<Finding>), Failure> {
    let verified = &repository.verified;
    let mut findings: Vec<Finding> =
        verified.findings.iter().filter(|finding| finding.level == Level::Error).cloned().collect();
    let mut judged = None;
    if verified.is_only_unsigned_draft() {
        findings.retain(|finding| !finding.code.is_missing_signature());
        judged = Some(trust::without_draft(&verified.tree, &verified.chain, session.now));
        let note = "the draft of the next epoch does not count yet: this is how things are without it";
        session.notes.push(note.to_owned());
    }
    let log = &judged.as_ref().unwrap_or(verified).log;
    // An empty answer would read like "nothing".
    let what = match () {
        // A log that was read has an entry for each epoch there.
        () if log.closed.is_empty() => "the epochs are at fault, so nobody can say which records count",
        () if log.incomplete => "a record is missing or can't be read, so nobody can say what was sealed to whom",
        () => return Ok((judged, findings)),
    };
    Err(Failure::findings(what, findings))
}

/// Every key that an epoch listed to be sealed to for a person, in the order of the epochs.
fn keys(verified: &Verified, person: &PersonName) -> Vec<Fingerprint> {
    let mut keys: Vec<Fingerprint> = Vec::new();
    let epochs = verified.chain.all().iter().filter_map(|epoch| epoch.epoch.persons.get(person));
    for key in epochs.flat_map(|person| &person.encrypt) {
        if !keys.contains(key) {
            keys.push(key.clone());
        }
    }
    keys
}

fn gather(
    session: &mut Session,
    repository: &Repository,
    verified: &Verified,
    person: &PersonName,
    memory: Memory,
) -> Result<(Exposures, Vec<Finding>), Failure> {
    let mut secrets: BTreeMap<String, Exposed> = BTreeMap::new();
    for one in exposure::of(verified, person, session.now) {
        let Some(mut exposed) = exposed(&one.place, one.standing) else { continue };
        (exposed.since, exposed.accepted_until) = (Some(one.since), one.accepted_until);
        let current = verified.current.paths.get(&one.place).map(|vouched| &vouched.vouch);
        exposed.imported = matches!(current, Some(Vouch::Sealed(entry)) if entry.imported);
        secrets.insert(exposed.path.clone(), exposed);
    }
    let Ok(work) = repository.work() else {
        session
            .notes
            .push("there is no git repository here: this is what the log says, and history may have more".to_owned());
        return Ok((Exposures { secrets: secrets.into_values().collect(), ..Exposures::default() }, Vec::new()));
    };
    let root = work.root().to_owned();
    let keys = keys(verified, person).iter().map(Fingerprint::key_id).collect();
    let is_given = repository.pinning.is_given();
    let found = history::search(session, verified, &root, (person, &keys), memory.unless(is_given))?;
    let mut elsewhere = Vec::new();
    for message in found.messages {
        let place = Place::parse(&message.path).ok();
        let standing = place.as_ref().and_then(|place| exposure::unrecorded(verified, place, person, session.now));
        match place.zip(standing).and_then(|(place, standing)| exposed(&place, standing)) {
            Some(new) => {
                let entry = secrets.entry(new.path.clone()).or_insert_with(|| new.clone());
                if new.standing < entry.standing {
                    (entry.standing, entry.live, entry.waived_until) = (new.standing, new.live, new.waived_until);
                }
                entry.unrecorded.get_or_insert(message.commit);
            }
            None => elsewhere.push(Stray { path: message.path, commit: message.commit }),
        }
    }
    let secrets = secrets.into_values().collect();
    Ok((Exposures { secrets, elsewhere, commits: Some(found.commits) }, found.findings))
}

fn exposed(place: &Place, standing: Standing) -> Option<Exposed> {
    let Place::Sealed(cluster, sealed) = place else { return None };
    let (keyset, generation, node) = match sealed {
        SealedName::Keyset(keyset, generation) => (Some(*keyset), Some(*generation), None),
        SealedName::Node(node) => (None, None, Some(node.clone())),
    };
    let waived_until = match standing {
        Standing::Waived(until) => Some(until),
        _ => None,
    };
    Some(Exposed {
        path: place.to_string(),
        cluster: cluster.clone(),
        keyset,
        generation,
        node,
        standing,
        live: standing.is_in_use(),
        waived_until,
        since: None,
        unrecorded: None,
        accepted_until: None,
        imported: false,
        gives: gives(sealed),
    })
}

/// What whoever has a secret can do with it.
fn gives(sealed: &SealedName) -> &'static str {
    match sealed {
        SealedName::Keyset(Keyset::Kubernetes, _) => {
            "any identity under this CA: any user, node or component, system:masters too"
        }
        SealedName::Keyset(Keyset::KubernetesClient, _) => {
            "any client's identity: any user, node or component, system:masters too"
        }
        SealedName::Keyset(Keyset::Etcd, _) => "any identity at etcd: reading and changing all that the cluster stores",
        SealedName::Keyset(Keyset::EtcdPeer, _) => "being a member of etcd: all that the cluster stores",
        SealedName::Keyset(Keyset::FrontProxy, _) => "any user at the API server, named in a header",
        SealedName::Keyset(Keyset::Talos, _) => "any identity at the API of Talos: the machines themselves",
        SealedName::Keyset(Keyset::ServiceAccount, _) => "any token of any service account",
        SealedName::Keyset(Keyset::Encryption, _) => "all secrets at rest, in etcd's files and in every backup of them",
        SealedName::Keyset(Keyset::Tokens, _) => "joining machines to the cluster",
        SealedName::Node(_) => "the identities of this node's components",
    }
}

/// What is in use and lies in history without a record: for people who are keyholders it is theirs to open.
fn unrecorded(exposures: &Exposures, person: &PersonName, keyholder: &[ClusterName], owed: &[Finding]) -> Vec<Finding> {
    let known = |path: &String| owed.iter().any(|f| f.code == Code::ExposureOpen && f.path.as_ref() == Some(path));
    let open =
        exposures.secrets.iter().filter(|one| one.standing == Standing::Live && !keyholder.contains(&one.cluster));
    open.filter(|one| !known(&one.path))
        .map(|one| {
            let commit = one.unrecorded.as_deref().unwrap_or_default();
            let why = format!(
                "commit {} has a file here that {person} can open and no record says so, and what is in it may be in use",
                &commit[..commit.len().min(12)]
            );
            Finding::new(Code::ExposureOpen, why).at(&one.path).of(person)
        })
        .collect()
}

/// The person's certificates that have not ended, those of void records too.
fn certificates(verified: &Verified, person: &PersonName, now: Time) -> Vec<Own> {
    let mut own: BTreeMap<_, Own> = BTreeMap::new();
    for denied in
        deny::list(verified, &[], now).into_iter().filter(|one| one.kind == "person" && one.owner == person.as_str())
    {
        let one = Own {
            cluster: denied.cluster,
            profile: denied.profile,
            credential_id: denied.credential_id,
            groups: denied.groups,
            serial: denied.serial,
            not_after: denied.not_after,
            only_rotation: denied.only_rotation,
            denied: denied.reasons,
        };
        own.insert(denied.sha256, one);
    }
    for (place, said) in &verified.current.history {
        let Place::PersonCert(cluster, owner, profile) = place else { continue };
        for vouched in said.iter().filter(|_| owner == person) {
            let Vouch::Issued(entry) = &vouched.vouch else { continue };
            if entry.not_after <= now || own.contains_key(&entry.sha256) {
                continue;
            }
            let groups = entry.organizations();
            let one = Own {
                cluster: cluster.clone(),
                profile: *profile,
                credential_id: credential_id(&entry.sha256),
                only_rotation: groups.iter().any(|group| group == "system:masters"),
                groups,
                serial: entry.serial.clone(),
                not_after: entry.not_after,
                denied: Vec::new(),
            };
            own.insert(entry.sha256, one);
        }
    }
    let mut own: Vec<Own> = own.into_values().collect();
    let key = |one: &Own| (one.cluster.clone(), one.profile, one.not_after, one.credential_id.clone());
    own.sort_by_key(key);
    own
}
