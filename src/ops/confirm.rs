//! `doctor --confirm`: opens everything that its person should be able to open, and says so in one record.
//!
//! Attack (T34): a key id in front of a sealed file is not authenticated. Whoever seals can put a colleague's id on a
//! packet for a stranger; every list shows the colleague, who is locked out, while the stranger reads. Nobody but the
//! colleague can see it, by opening. So each keyholder confirms now and then; a record of it is also the news that
//! shows that nobody keeps this repository from moving (T2).

use std::collections::BTreeMap;

use serde::Serialize;

use super::failure::Failure;
use super::plan::{Plan, Written, new_record};
use super::secrets;
use super::session::{Actor, Repository, Session};
use crate::model::{ClusterName, Code, Finding, PersonName, Remedy};
use crate::openpgp::KeyError;
use crate::seal::OpenFault;
use crate::trust::TrustRole;
use crate::trust::current::Vouch;
use crate::trust::record::{Confirm, Sealed};

/// What was confirmed; `data` of the report.
#[derive(Debug, Serialize)]
pub struct Confirmation {
    /// Who confirms.
    pub person: PersonName,
    /// How many files were opened and are what their records say, by cluster.
    pub confirmed: BTreeMap<ClusterName, usize>,
    /// The files that should open and do not, or hold something else.
    pub failed: Vec<String>,
    /// What was written.
    #[serde(flatten)]
    pub written: Written,
}

/// Opens every current file of `clusters` (all, where none is named) that is sealed to the actor as a keyholder, and
/// writes one record that names those that opened. Files that do not open are findings; the record says nothing of
/// them. Who holds no cluster's keys and is root or issuer writes a record without entries.
pub fn confirm(
    session: &mut Session,
    repository: &mut Repository,
    clusters: &[ClusterName],
) -> Result<(Confirmation, Vec<Finding>), Failure> {
    let mut actor = session.actor(&repository.verified)?;
    let due = due(session, repository, &actor.name, clusters)?;
    let mut record = new_record(&repository.verified, &actor.name, session.now, "doctor --confirm")?;
    let mut confirmation = Confirmation {
        person: actor.name.clone(),
        confirmed: BTreeMap::new(),
        failed: Vec::new(),
        written: Written { dry_run: session.settings.dry_run, ..Written::default() },
    };
    if due.is_empty() {
        check_heartbeat(repository, &actor)?;
    }
    if !session.settings.dry_run {
        repository.work()?.check_writable(&std::collections::BTreeSet::new())?;
    }
    let mut findings = Vec::new();
    for (at, entry) in due.iter().enumerate() {
        (session.progress)("opening", at, due.len());
        if !session.settings.dry_run
            && let Some(finding) = look(repository, &mut actor, entry)?
        {
            confirmation.failed.push(entry.place().to_string());
            findings.push(finding);
            continue;
        }
        *confirmation.confirmed.entry(entry.cluster.clone()).or_default() += 1;
        record.confirm.push(Confirm { cluster: entry.cluster.clone(), name: entry.name.clone(), sha256: entry.sha256 });
    }
    (session.progress)("opening", due.len(), due.len());
    if record.confirm.is_empty() && !due.is_empty() {
        return Err(Failure::findings("none of your sealed files is what its record says", findings));
    }
    let title = match record.confirm.len() {
        0 => format!("{} is here: heartbeat", actor.name),
        1 => format!("{} confirms 1 sealed file", actor.name),
        count => format!("{} confirms {count} sealed files", actor.name),
    };
    let mut plan = Plan::default();
    plan.record(record);
    confirmation.written = plan.carry_out(session, repository, &mut actor, &title, "")?;
    Ok((confirmation, findings))
}

/// The current files of clusters in use that are sealed to `person`, who is a keyholder there.
fn due(
    session: &mut Session,
    repository: &Repository,
    person: &PersonName,
    clusters: &[ClusterName],
) -> Result<Vec<Sealed>, Failure> {
    let epoch = repository.epoch()?;
    let mut due = Vec::new();
    let mut closed: BTreeMap<&ClusterName, usize> = BTreeMap::new();
    for vouched in repository.verified.current.paths.values() {
        let Vouch::Sealed(entry) = &vouched.vouch else { continue };
        let asked = clusters.is_empty() || clusters.contains(&entry.cluster);
        let Some((name, cluster)) = epoch.clusters.get_key_value(&entry.cluster) else { continue };
        if !asked || cluster.retired || !cluster.keyholders.contains(person) {
            continue;
        }
        if entry.recipients.iter().any(|recipient| recipient.person == *person) {
            due.push(entry.clone());
        } else {
            *closed.entry(name).or_default() += 1;
        }
    }
    for (name, count) in closed {
        session
            .notes
            .push(format!("{count} files of cluster {name} are not sealed to you yet: kluis reseal -c {name}"));
    }
    Ok(due)
}

/// A heartbeat is any root's or issuer's (FORMAT 5).
fn check_heartbeat(repository: &Repository, actor: &Actor) -> Result<(), Failure> {
    let epoch = repository.epoch()?;
    let root = epoch.persons.get(&actor.name).is_some_and(|person| person.role == TrustRole::Root);
    if root || epoch.clusters.values().any(|cluster| cluster.issuers.contains(&actor.name)) {
        return Ok(());
    }
    let what =
        format!("nothing is sealed to {}, who is neither root nor issuer: there is nothing to confirm", actor.name);
    Err(Failure::refused(what).help(Remedy::Kluis(format!("person show {}", actor.name))))
}

/// Opens one file. What is wrong with it is a finding; what is wrong with the keys at hand ends the command, since
/// nothing can be said about the file then.
fn look(repository: &Repository, actor: &mut Actor, entry: &Sealed) -> Result<Option<Finding>, Failure> {
    let path = entry.place().to_string();
    let fault = match secrets::opening(repository, actor, entry)? {
        Ok(_) => return Ok(None),
        Err(fault) => fault,
    };
    let finding = match (fault.code(), &fault) {
        (Some(code), fault) => Finding::new(code, fault.to_string()),
        (None, OpenFault::Keys(KeyError::Failed(why))) => {
            let why = format!("it names a key of {} that does not open it, so somebody else may: {why}", actor.name);
            Finding::new(Code::RecipientSet, why)
        }
        (None, _) => return Err(Failure::from(fault).at(&path)),
    };
    Ok(Some(finding.at(path).of(&actor.name).fix(Remedy::Reseal(Some(entry.cluster.clone())))))
}
