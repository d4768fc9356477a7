//! `reseal`: encrypts anew exactly what is not sealed to the right people. With a choice, also decides between versions
//! that two branches made apart: what lies in the tree stays, and one record after both says so. All or nothing: one
//! record, one signature, one private-key operation a file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError, mpsc};

use serde::Serialize;

use super::failure::Failure;
use super::issuing;
use super::plan::{Plan, Written, new_record};
use super::secrets::{self, Recipients};
use super::session::{Actor, Repository, Session};
use crate::model::{ClusterName, Code, Digest, PersonName, Place, Remedy};
use crate::pki;
use crate::seal::{Header, SealedKey};
use crate::trust::Verified;
use crate::trust::current::Vouch;
use crate::trust::owed::due_recipients;
use crate::trust::record::{Issued, Recipient, Sealed};

/// One file that was sealed again.
#[derive(Debug, Clone, Serialize)]
pub struct Resealed {
    /// Its path.
    pub path: String,
    /// Its cluster.
    pub cluster: ClusterName,
    /// Who could not open it before.
    pub added: Vec<Recipient>,
    /// Who can't open this revision any more; what they may have kept stays open to them.
    pub removed: Vec<Recipient>,
}

/// What was sealed again; `data` of the report.
#[derive(Debug, Default, Serialize)]
pub struct ResealReport {
    /// The files, by path.
    pub resealed: Vec<Resealed>,
    /// Certificates that stay as they lie in the tree, by path.
    pub chosen: Vec<String>,
    /// Certificates that are taken away: the request behind them was used for two, and vouches for neither.
    pub dropped: Vec<String>,
    /// Clusters where something is owed that the actor, who is no issuer of them, left alone.
    pub left: BTreeSet<ClusterName>,
    /// What was written.
    #[serde(flatten)]
    pub written: Written,
}

/// Seals again what is owed in `clusters`. Clusters of which the actor is no issuer are refused if `named`, else
/// left alone with a note.
pub fn reseal(
    session: &mut Session,
    repository: &mut Repository,
    clusters: &[ClusterName],
    named: bool,
) -> Result<ResealReport, Failure> {
    check_choice(&repository.verified, clusters)?;
    let mut owed = owed(&repository.verified, clusters);
    let mut leaves = leaves(&repository.verified, clusters);
    let mut report = ResealReport::default();
    report.written.dry_run = session.settings.dry_run;
    if owed.is_empty() && leaves.is_empty() {
        return Ok(report);
    }
    let mut actor = session.actor(&repository.verified)?;
    report.left = retain_own(session, repository, &actor, &mut owed, named)?;
    leaves.retain(|place, _| place.cluster().is_none_or(|cluster| !report.left.contains(cluster)));
    report.resealed = owed.iter().map(|entry| difference(repository, entry)).collect::<Result<_, _>>()?;
    check_openable(&repository.verified, &actor.name, &owed)?;
    let mut record = new_record(&repository.verified, &actor.name, session.now, "reseal")?;
    let mut plan = Plan::default();
    for (place, entry) in leaves {
        match entry {
            Some(entry) if entry.request.is_none() => {
                report.chosen.push(place.to_string());
                record.issued.push(entry);
            }
            _ => {
                report.dropped.push(place.to_string());
                plan.changes.removes.insert(place.to_string());
                record.removed.push(place);
            }
        }
    }
    if session.settings.dry_run || record.is_heartbeat() && owed.is_empty() {
        let resealed = report.resealed.iter().map(|file| &file.path);
        report.written.paths = resealed.chain(&report.chosen).chain(&report.dropped).cloned().collect();
        return Ok(report);
    }
    if owed.iter().any(|entry| entry.imported) {
        record.reason = "imported keys are sealed again to the right people".to_owned();
    }
    // carry_out looks again; here, so that no touch or passphrase is for nothing.
    repository.work()?.check_writable(&plan.edited)?;
    for (entry, bytes) in seal_all(session, repository, &mut actor, &owed)? {
        plan.write(&entry.place(), bytes);
        record.sealed.push(entry);
    }
    plan.record(record);
    let title = match owed.len() {
        0 => "Choose between certificates that were issued apart".to_owned(),
        1 => format!("Seal {} again", owed[0].place()),
        count => format!("Seal {count} files again"),
    };
    let torn = repository.verified.current.in_conflict().find_map(|place| place.cluster()).cloned();
    let written = plan.carry_out(session, repository, &mut actor, &title, "");
    // The files that were kept do not fit together: a bundle of one branch, and a certificate of the other.
    report.written = written.map_err(|failure| match torn {
        Some(cluster) if !failure.findings.is_empty() => failure.help(Remedy::Settle(cluster)),
        _ => failure,
    })?;
    Ok(report)
}

/// What is not sealed to the right people, or in conflict: the entry that the file in the tree fits.
fn owed(verified: &Verified, clusters: &[ClusterName]) -> Vec<Sealed> {
    let wanted = [Code::MissingRecipient, Code::ExtraRecipient, Code::ConflictingGenerations];
    let found = verified.findings.iter().filter(|finding| wanted.contains(&finding.code));
    let places: BTreeSet<Place> = found
        .filter(|finding| finding.cluster.as_ref().is_some_and(|cluster| clusters.contains(cluster)))
        .filter_map(|finding| Place::parse(finding.path.as_deref()?).ok())
        .collect();
    let mut owed: Vec<Sealed> =
        places.iter().filter_map(|place| secrets::entry_of_file(verified, place)).cloned().collect();
    owed.sort_by_key(|entry| entry.place().to_string());
    owed
}

/// Refuses a conflict in which neither version can stay, and sealed files that lie in the tree as neither branch has them.
fn check_choice(verified: &Verified, clusters: &[ClusterName]) -> Result<(), Failure> {
    let settle = verified.findings.iter().find_map(|finding| match (&finding.fix, &finding.path) {
        (Some(Remedy::Settle(cluster)), Some(path)) if clusters.contains(cluster) => Some((cluster, path)),
        _ => None,
    });
    let of_sealed = verified.current.in_conflict().filter(|place| matches!(place, Place::Sealed(..)));
    let mut lying = of_sealed.filter(|place| place.cluster().is_some_and(|cluster| clusters.contains(cluster)));
    match (settle, lying.find(|place| secrets::entry_of_file(verified, place).is_none())) {
        (Some((cluster, path)), _) => {
            let what = format!("neither version of {path} can simply stay: the steps of a rotation made it");
            Err(Failure::refused(what).help(Remedy::Settle(cluster.clone())))
        }
        (None, Some(place)) => {
            let what =
                format!("{place} was made on both branches, and lies here as neither has it: put one of the two there");
            Err(Failure::refused(what).help(Remedy::Run(format!("git checkout HEAD^ -- {place}"))))
        }
        (None, None) => Ok(()),
    }
}

/// Certificates in conflict: the entry that the file in the tree fits; none where no file lies there.
fn leaves(verified: &Verified, clusters: &[ClusterName]) -> BTreeMap<Place, Option<Issued>> {
    let found = verified.findings.iter().filter(|finding| finding.code == Code::ConflictingGenerations);
    let places = found.filter_map(|finding| Place::parse(finding.path.as_deref()?).ok());
    let wanted = |place: &Place| {
        matches!(place, Place::NodeCert(..) | Place::PersonCert(..))
            && place.cluster().is_some_and(|cluster| clusters.contains(cluster))
    };
    let of_file = |place: &Place| {
        let der = pki::parse_pem(verified.tree.bytes(&place.to_string())?, "CERTIFICATE").ok()?;
        let sha256 = Digest::of(&der);
        verified.current.history.get(place)?.iter().find_map(|vouched| match &vouched.vouch {
            Vouch::Issued(entry) if entry.sha256 == sha256 => Some(entry.clone()),
            _ => None,
        })
    };
    places.filter(wanted).map(|place| (place.clone(), of_file(&place))).collect()
}

/// Keeps the files of clusters of which the actor is an issuer; returns the clusters of the others.
fn retain_own(
    session: &mut Session,
    repository: &Repository,
    actor: &Actor,
    owed: &mut Vec<Sealed>,
    named: bool,
) -> Result<BTreeSet<ClusterName>, Failure> {
    let names: BTreeSet<ClusterName> = owed.iter().map(|entry| entry.cluster.clone()).collect();
    let mut foreign = BTreeSet::new();
    for name in names {
        let cluster = repository.cluster(&name)?;
        if named {
            issuing::check_may_issue(&name, cluster, &actor.name)?;
        } else if !cluster.issuers.contains(&actor.name) {
            foreign.insert(name);
        }
    }
    if !foreign.is_empty() {
        owed.retain(|entry| !foreign.contains(&entry.cluster));
        let names = foreign.iter().map(ClusterName::as_str).collect::<Vec<_>>().join(", ");
        session.notes.push(format!("{} is no issuer of {names}: what is owed there is left to others", actor.name));
    }
    Ok(foreign)
}

fn difference(repository: &Repository, entry: &Sealed) -> Result<Resealed, Failure> {
    let due = due_recipients(repository.cluster(&entry.cluster)?, repository.epoch()?);
    let without = |one: &[Recipient], other: &[Recipient]| -> Vec<Recipient> {
        one.iter().filter(|recipient| !other.contains(recipient)).cloned().collect()
    };
    Ok(Resealed {
        path: entry.place().to_string(),
        cluster: entry.cluster.clone(),
        added: without(&due, &entry.recipients),
        removed: without(&entry.recipients, &due),
    })
}

/// Refuses where some file is not sealed to the actor, before any is opened: a thousand touches should not end in
/// nothing. Says who can.
fn check_openable(verified: &Verified, actor: &PersonName, owed: &[Sealed]) -> Result<(), Failure> {
    let closed = |entry: &&Sealed| secrets::candidates(verified, actor, entry).is_empty();
    let closed: Vec<&Sealed> = owed.iter().filter(closed).collect();
    let Some(first) = closed.first() else { return Ok(()) };
    let mut people: BTreeSet<&PersonName> = first.recipients.iter().map(|recipient| &recipient.person).collect();
    people.retain(|person| closed.iter().all(|entry| entry.recipients.iter().any(|r| r.person == **person)));
    let who = if people.is_empty() { String::new() } else { format!("; {} can reseal it", super::names(people)) };
    let what = match closed.len() {
        1 => format!("{} is not sealed to {actor}{who}", first.place()),
        count => format!("{} and {} more files are not sealed to {actor}{who}", first.place(), count - 1),
    };
    Err(Failure::no_key(what).help(Remedy::Reseal(Some(first.cluster.clone()))))
}

/// One file between opening and sealing.
struct Job<'a> {
    old: &'a Sealed,
    header: Header,
    recipients: &'a Recipients<'a>,
    revision: u32,
}

impl Job<'_> {
    fn seal(&self, keys: &[SealedKey]) -> Result<(Sealed, Vec<u8>), Failure> {
        let of = (&self.old.cluster, &self.old.name);
        let (mut entry, bytes) = secrets::seal(&self.header, of, keys, self.recipients, self.revision)?;
        entry.imported = self.old.imported;
        Ok((entry, bytes))
    }
}

type SealedFile = (usize, Result<(Sealed, Vec<u8>), Failure>);

/// Opens one file after the other, as a card or an agent wants it, while every core seals what is open.
pub(super) fn seal_all(
    session: &mut Session,
    repository: &Repository,
    actor: &mut Actor,
    owed: &[Sealed],
) -> Result<Vec<(Sealed, Vec<u8>)>, Failure> {
    let epoch = repository.epoch()?;
    let mut recipients: BTreeMap<&ClusterName, Recipients<'_>> = BTreeMap::new();
    for entry in owed {
        if !recipients.contains_key(&entry.cluster) {
            let cluster = repository.cluster(&entry.cluster)?;
            recipients.insert(&entry.cluster, Recipients::of(&repository.verified, epoch, cluster, session)?);
        }
    }
    let revisions = secrets::revisions(&repository.verified);
    let mut jobs = Vec::with_capacity(owed.len());
    for old in owed {
        let revision = revisions.get(&old.place()).copied().unwrap_or(0).saturating_add(1);
        let header = secrets::header(epoch, repository.cluster(&old.cluster)?, &old.name);
        jobs.push(Job { old, header, recipients: &recipients[&old.cluster], revision });
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(jobs.len());
    // Few secrets wait at a time: opening stops while sealing is behind.
    let (open, waiting) = mpsc::sync_channel::<(usize, Vec<SealedKey>)>(cores * 2);
    let waiting = Mutex::new(waiting);
    let (done, sealed) = mpsc::channel::<SealedFile>();
    let mut files = std::thread::scope(|scope| {
        for _ in 0..cores {
            let (jobs, waiting, done) = (&jobs, &waiting, done.clone());
            scope.spawn(move || {
                loop {
                    let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((index, keys)) = next else { return };
                    if done.send((index, jobs[index].seal(&keys))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        let opening = open_all(session, repository, actor, &jobs, &open);
        drop(open);
        let files: Vec<SealedFile> = sealed.iter().collect();
        opening.map(|()| files)
    })?;
    files.sort_by_key(|(index, _)| *index);
    files.into_iter().map(|(_, file)| file).collect()
}

fn open_all(
    session: &mut Session,
    repository: &Repository,
    actor: &mut Actor,
    jobs: &[Job<'_>],
    open: &mpsc::SyncSender<(usize, Vec<SealedKey>)>,
) -> Result<(), Failure> {
    for (index, job) in jobs.iter().enumerate() {
        (session.progress)("sealing again", index, jobs.len());
        let keys = secrets::open_entry(repository, actor, job.old)?;
        open.send((index, keys)).map_err(|_| Failure::failed("sealing stopped"))?;
    }
    (session.progress)("sealing again", jobs.len(), jobs.len());
    Ok(())
}
