//! What somebody could ever open: from the log, and checked against git's history, where a file may lie that nobody
//! recorded. The log is the evidence that a shallow clone or a rewritten history can't take away (T9).

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::failure::Failure;
use super::session::{Repository, Session};
use crate::model::{Digest, Finding, KeyId, PersonName, Place, Time};
use crate::openpgp::read_envelope;
use crate::repo::{Blob, History};
use crate::trust::{self, Verified, exposure};

/// One secret that a person could open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exposed {
    /// Its path.
    pub path: String,
    /// Whether what is inside is still in use.
    pub live: bool,
    /// When it was first sealed to them, as its record says; none if no record says so.
    pub since: Option<Time>,
    /// The newest commit of this clone that has a file sealed to them and no record; none where every one has its own.
    pub unrecorded: Option<String>,
}

/// Everything that a person could open.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Exposures {
    /// The secrets, by path.
    pub secrets: Vec<Exposed>,
    /// How many commits of history were searched; none where there is no git repository.
    pub commits: Option<usize>,
}

impl Exposures {
    /// Those that are still in use.
    pub fn live(&self) -> impl Iterator<Item = &Exposed> {
        self.secrets.iter().filter(|secret| secret.live)
    }
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
    let verified = judged.as_ref().unwrap_or(verified);
    let mut secrets: BTreeMap<String, Exposed> = BTreeMap::new();
    for exposure in exposure::of(verified, person, session.now) {
        let path = exposure.place.to_string();
        let since = Some(exposure.since);
        secrets.insert(path.clone(), Exposed { path, live: exposure.live, since, unrecorded: None });
    }
    let mut findings = Vec::new();
    let commits = match repository.work() {
        Ok(work) => {
            let history = History::open(work.root())?;
            if history.is_shallow() {
                let what = format!("files that were sealed to {person} before its first commit are not seen");
                findings.push(super::verify::shallow(&what).of(person));
            }
            Some(search(session, verified, &history, person, &mut secrets)?)
        }
        Err(_) => None,
    };
    Ok((Exposures { secrets: secrets.into_values().collect(), commits }, findings))
}

/// Looks for sealed files of history that a key of the person opens and that no record names. Which generation such a
/// file holds can't be told without opening it; its path is believed, since whoever wrote it wanted it to be used.
fn search(
    session: &mut Session,
    verified: &Verified,
    history: &History,
    person: &PersonName,
    secrets: &mut BTreeMap<String, Exposed>,
) -> Result<usize, Failure> {
    let epochs = verified.chain.all().iter();
    let keys: BTreeSet<KeyId> = epochs
        .filter_map(|epoch| epoch.epoch.persons.get(person))
        .flat_map(|person| person.encrypt.iter().map(crate::model::Fingerprint::key_id))
        .collect();
    let records = verified.log.records.iter().flat_map(|logged| &logged.record.sealed);
    let recorded: BTreeSet<Digest> = records.map(|entry| entry.sha256).collect();
    let wanted = |path: &str| {
        let mut parts = path.split('/');
        parts.next() == Some("clusters") && parts.nth(1).is_none_or(|folder| folder == "sealed")
    };
    let current = &verified.current.paths;
    let mut look = |blob: &Blob<'_>| {
        let Ok(place @ Place::Sealed(..)) = Place::parse(blob.path) else { return };
        if recorded.contains(&Digest::of(blob.bytes)) {
            return;
        }
        let Ok(envelope) = read_envelope(blob.bytes) else { return };
        if envelope.recipients.iter().any(|key| keys.contains(key)) {
            let path = blob.path.to_owned();
            let live = current.contains_key(&place);
            let new = Exposed { path: path.clone(), live, since: None, unrecorded: None };
            let entry = secrets.entry(path).or_insert(new);
            entry.live |= live;
            entry.unrecorded.get_or_insert_with(|| blob.commit.to_owned());
        }
    };
    let progress = &mut session.progress;
    Ok(history.each_blob(&wanted, &mut look, &mut |done, all| progress("searching history", done, all))?)
}
