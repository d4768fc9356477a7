//! `doctor`: whether this machine can do what its person wants of it. Looks at everything, changes nothing, opens no
//! secret and asks for no passphrase; each line says what was found and what mends it.

use serde::Serialize;

use super::failure::Failure;
use super::session::{Actor, Gate, Repository, Session};
use crate::model::{ClusterName, Code, Finding, Fingerprint, PersonName, Remedy, Time};
use crate::openpgp::SecretKeys;
use crate::repo::{RepoError, WorkTree};
use crate::trust::current::Vouch;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// As it should be.
    Ok,
    /// Something does less than it could.
    Warn,
    /// Something will not work.
    Fail,
}

/// One check.
#[derive(Debug, Serialize)]
pub struct Check {
    /// What was checked.
    pub name: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// What was found, as a clause.
    pub what: String,
    /// What mends it.
    #[serde(serialize_with = "as_text")]
    pub help: Option<Remedy>,
}

fn as_text<S: serde::Serializer>(help: &Option<Remedy>, serializer: S) -> Result<S::Ok, S::Error> {
    match help {
        Some(help) => serializer.collect_str(help),
        None => serializer.serialize_none(),
    }
}

/// What was found; `data` of the report.
#[derive(Debug, Default, Serialize)]
pub struct Diagnosis {
    /// The checks, in the order in which they were made.
    pub checks: Vec<Check>,
    /// Who you are here, if the keys at hand say so.
    pub person: Option<PersonName>,
    /// How many secrets you should be able to open, and how many there are, by cluster.
    pub secrets: Vec<Openable>,
    /// Whether the trouble is with the keys.
    #[serde(skip)]
    pub without_key: bool,
}

/// The secrets of one cluster.
#[derive(Debug, Serialize)]
pub struct Openable {
    /// The cluster.
    pub cluster: ClusterName,
    /// Those sealed to a key of yours that is at hand.
    pub openable: usize,
    /// All.
    pub all: usize,
}

impl Diagnosis {
    fn note(&mut self, name: &'static str, outcome: Outcome, what: impl Into<String>, help: Option<Remedy>) {
        self.checks.push(Check { name, outcome, what: what.into(), help });
    }

    fn ok(&mut self, name: &'static str, what: impl Into<String>) {
        self.note(name, Outcome::Ok, what, None);
    }

    fn failed(&mut self, name: &'static str, failure: &Failure) {
        self.note(name, Outcome::Fail, failure.what.clone(), failure.help.clone());
    }

    /// The exit code: that of the repository if it is no good, 6 without a usable key, 1 for anything else that
    /// fails, 5 where something is owed.
    pub fn exit(&self, findings: &[Finding]) -> u8 {
        let failed = self.checks.iter().any(|check| check.outcome == Outcome::Fail);
        match crate::trust::exit_code(findings) {
            code @ (3 | 4) => code,
            _ if self.without_key => 6,
            _ if failed => 1,
            code => code,
        }
    }
}

/// Checks this machine, and the repository if there is one.
pub fn doctor(session: &mut Session) -> (Diagnosis, Vec<Finding>) {
    let mut diagnosis = Diagnosis::default();
    state(session, &mut diagnosis);
    // The agent first: it must be started before the process forbids itself the network, and no stranger's file
    // was parsed yet.
    let keys = session.secret_keys();
    let repository = repository(session, &mut diagnosis);
    match (keys, &repository) {
        (Err(failure), _) => {
            diagnosis.failed("keys", &failure);
            diagnosis.without_key = true;
        }
        (Ok(_), None) => diagnosis.ok("keys", format!("{} answers", source(session))),
        (Ok(keys), Some(repository)) => held(session, repository, keys, &mut diagnosis),
    }
    pinentry(session, &mut diagnosis);
    limits(&mut diagnosis);
    let findings = repository.map(|repository| repository.verified.findings).unwrap_or_default();
    (diagnosis, findings)
}

fn source(session: &Session) -> String {
    match &session.settings.identity {
        Some(path) => path.display().to_string(),
        None => "gpg-agent".to_owned(),
    }
}

/// Whether pins and own keys can be kept. The lock that every change of the pins takes is taken once.
fn state(session: &Session, diagnosis: &mut Diagnosis) {
    let tried = session.settings.state_dir().and_then(|folder| {
        crate::repo::Pins::update(&folder, |_| ())?;
        Ok(folder)
    });
    match tried {
        Ok(folder) => diagnosis.ok("state", format!("{} can be written", folder.display())),
        Err(failure) => diagnosis.failed("state", &failure),
    }
}

fn repository(session: &mut Session, diagnosis: &mut Diagnosis) -> Option<Repository> {
    let work = match WorkTree::open(&session.settings.dir) {
        Ok(work) => work,
        Err(error) => {
            diagnosis.failed("git", &error.into());
            return None;
        }
    };
    diagnosis.ok("git", format!("work tree {}", work.root().display()));
    identity(&work, diagnosis);
    drop(work);
    let repository = match session.open(&Gate::Anything) {
        Ok(repository) => repository,
        Err(failure) => {
            diagnosis.failed("repository", &failure);
            return None;
        }
    };
    judged(&repository, diagnosis);
    clock(&repository, session.now, diagnosis);
    Some(repository)
}

/// Whether a commit can be made here at all.
fn identity(work: &WorkTree, diagnosis: &mut Diagnosis) {
    match work.committer() {
        Ok((name, email)) => diagnosis.ok("committer", format!("{name} <{email}>")),
        Err(error @ RepoError::NoIdentity { .. }) => diagnosis.failed("committer", &error.into()),
        Err(error) => diagnosis.note("committer", Outcome::Warn, error.to_string(), error.remedy()),
    }
    match work.dirty() {
        Ok(dirty) if dirty.is_empty() => {}
        Ok(dirty) => {
            let what = format!("{} managed files differ from the last commit, {} first", dirty.len(), dirty[0]);
            diagnosis.note("work tree", Outcome::Warn, what, Some(Remedy::GitStatus));
        }
        Err(error) => diagnosis.note("work tree", Outcome::Warn, error.to_string(), error.remedy()),
    }
}

fn judged(repository: &Repository, diagnosis: &mut Diagnosis) {
    let verified = &repository.verified;
    let anchors: Vec<&Finding> = verified.findings.iter().filter(|finding| finding.code.is_anchor()).collect();
    match anchors.first() {
        Some(finding) => {
            diagnosis.note("pin", Outcome::Fail, finding.why.clone(), finding.fix.clone().or(Some(Remedy::TrustPin)));
        }
        None if repository.pinning.is_given() => diagnosis.ok("pin", "the given line fits"),
        None => diagnosis.ok("pin", "this machine has pinned this repository"),
    }
    match verified.exit() {
        3 => diagnosis.note("repository", Outcome::Fail, "it is invalid", Some(Remedy::Verify)),
        5 => diagnosis.note("repository", Outcome::Warn, "it is valid, and something is owed", Some(Remedy::Verify)),
        _ => diagnosis.ok("repository", "everything in it is vouched for"),
    }
}

/// A clock that is behind issues certificates that end too early and calls colleagues' records the future.
fn clock(repository: &Repository, now: Time, diagnosis: &mut Diagnosis) {
    let future = repository.verified.findings.iter().find(|finding| finding.code == Code::FutureTime);
    match future {
        Some(finding) => {
            let path = finding.path.clone().unwrap_or_default();
            let what = format!("{path} is dated after now, {now}: this clock or its author's is wrong");
            diagnosis.note("clock", Outcome::Warn, what, Some(Remedy::Run("date -u".to_owned())));
        }
        None => diagnosis.ok("clock", format!("{now}, not before anything in the log")),
    }
}

/// Who the keys at hand make you, and what they can open.
fn held(session: &mut Session, repository: &Repository, mut keys: SecretKeys, diagnosis: &mut Diagnosis) {
    let verified = &repository.verified;
    let actor = session.actor_with(verified, &mut keys);
    let name = match actor {
        Ok(name) => name,
        Err(failure) => {
            diagnosis.failed("keys", &failure);
            diagnosis.without_key = failure.exit == 6;
            return;
        }
    };
    diagnosis.ok("keys", format!("{} holds a signing key of {name}", source(session)));
    let mut actor = Actor { name: name.clone(), keys };
    let latest = verified.chain.latest().and_then(|latest| latest.epoch.persons.get(&name));
    let listed: Vec<Fingerprint> = latest.map(|person| person.encrypt.clone()).unwrap_or_default();
    let certificate = latest.and_then(|person| verified.chain.certificate(&person.cert_sha256));
    let missing: Vec<&Fingerprint> = listed
        .iter()
        .filter(|key| !certificate.is_some_and(|certificate| actor.keys.holds(certificate, key)))
        .collect();
    if missing.len() == listed.len() && !listed.is_empty() {
        let what = format!("{} holds none of your encryption keys: nothing can be opened here", source(session));
        diagnosis.note("encryption", Outcome::Fail, what, Some(Remedy::Run("gpg --list-secret-keys".to_owned())));
    } else if let Some(first) = missing.first() {
        let what = format!("{} of your {} encryption keys are elsewhere, {first} first", missing.len(), listed.len());
        diagnosis.note("encryption", Outcome::Warn, what, None);
    }
    secrets(repository, &mut actor, diagnosis);
    diagnosis.person = Some(name);
}

fn secrets(repository: &Repository, actor: &mut Actor, diagnosis: &mut Diagnosis) {
    let verified = &repository.verified;
    let Some(latest) = verified.chain.latest() else { return };
    for (name, cluster) in latest.epoch.clusters.iter().filter(|(_, cluster)| !cluster.retired) {
        let mut counts = Openable { cluster: name.clone(), openable: 0, all: 0 };
        for vouched in verified.current.paths.values() {
            let Vouch::Sealed(entry) = &vouched.vouch else { continue };
            if entry.cluster != *name {
                continue;
            }
            counts.all += 1;
            let mine = super::secrets::candidates(verified, &actor.name, entry);
            counts.openable += usize::from(mine.into_iter().any(|(cert, key)| actor.keys.holds(cert, key)));
        }
        let what = format!("you can open {} of {} in cluster {name}", counts.openable, counts.all);
        if counts.openable < counts.all && cluster.keyholders.contains(&actor.name) {
            diagnosis.note("secrets", Outcome::Warn, what, Some(Remedy::Reseal(Some(name.clone()))));
        } else {
            diagnosis.ok("secrets", what);
        }
        diagnosis.secrets.push(counts);
    }
}

/// Whether a passphrase could be asked for: the agent's own business, so only what it needs to know is looked at.
fn pinentry(session: &Session, diagnosis: &mut Diagnosis) {
    if session.settings.identity.is_some() {
        return;
    }
    match crate::openpgp::agent::asks_on() {
        Some(place) => diagnosis.ok("pinentry", format!("can ask on {place}")),
        None => diagnosis.note(
            "pinentry",
            Outcome::Warn,
            "there is no terminal and no display to ask for a passphrase on",
            Some(Remedy::Run("export GPG_TTY=$(tty)".to_owned())),
        ),
    }
}

fn limits(diagnosis: &mut Diagnosis) {
    let limits = crate::env::limits().unwrap_or_else(|| vec!["this process was not hardened".to_owned()]);
    if limits.is_empty() {
        return diagnosis.ok("hardening", "no core dumps, no tracing, no swap, no network");
    }
    for what in limits {
        let raise = what.contains("ulimit").then(|| Remedy::Run("ulimit -l unlimited".to_owned()));
        diagnosis.note("hardening", Outcome::Warn, what, raise);
    }
}
