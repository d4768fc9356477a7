//! What a command is about to write: at most one epoch and one record, with their files, as one change set.
//! Before anything is written, the tree that would result is verified like any other, and refused if it
//! would be invalid: no mistake of a command can get into a repository.

use std::collections::BTreeSet;

use super::draft::{Draft, check_signed};
use super::failure::Failure;
use super::session::{Actor, Repository, Session};
use crate::model::{ClusterName, Code, Digest, Finding, Fingerprint, Level, PersonName, Place, Remedy, Time};
use crate::openpgp::{Certificate, Kind};
use crate::repo::{ChangeSet, Commit, WorkTree};
use crate::trust::{self, Entry, Epoch, Record, Request, Tree, Verified};

/// A change set in the making.
#[derive(Default)]
pub struct Plan {
    /// The files.
    pub changes: ChangeSet,
    /// Managed paths that people edited and that this command takes into its commit.
    pub edited: BTreeSet<String>,
    /// Whether errors that the tree had before may stay: for commands that mend one thing of several.
    pub keeps_errors: bool,
    record: Option<Record>,
    request: Option<(ClusterName, Request)>,
    draft: Option<Draft>,
    signs_draft: bool,
}

/// What was written.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Written {
    /// The record, if there is one.
    pub record: Option<Digest>,
    /// The number of the epoch that was drafted or signed.
    pub epoch: Option<u32>,
    /// Whose signatures that epoch lacks now.
    pub missing_signatures: Vec<PersonName>,
    /// The commit; none with `--no-commit` and `--dry-run`.
    pub commit: Option<String>,
    /// The paths that were written or removed.
    pub paths: Vec<String>,
    /// Whether nothing was written, because of `--dry-run`.
    pub dry_run: bool,
    /// What is owed now, though everything is valid.
    #[serde(skip)]
    pub findings: Vec<Finding>,
}

/// A record that claims the latest valid epoch and saw every head of the log.
pub fn new_record(verified: &Verified, actor: &PersonName, now: Time, command: &str) -> Result<Record, Failure> {
    let latest =
        verified.chain.latest().ok_or_else(|| Failure::refused("there is no valid epoch").help(Remedy::Verify))?;
    let heads = match verified.chain.draft() {
        // Beside a draft the log was not judged.
        Some(_) => trust::log::load(&verified.tree, &verified.chain).0.heads(),
        None => verified.log.heads(),
    };
    let claimed = (latest.epoch.number, latest.sha256);
    Ok(Record::new(latest.epoch.repo, claimed, actor.clone(), now, command, heads))
}

impl Plan {
    /// Writes a file; one that a draft drops, as the actor's former signature, is then replaced.
    pub fn write(&mut self, place: &Place, bytes: Vec<u8>) {
        let path = place.to_string();
        self.changes.removes.remove(&path);
        self.changes.writes.insert(path, bytes);
    }

    /// The record of this command; signed when the plan is carried out.
    pub fn record(&mut self, record: Record) {
        self.record = Some(record);
    }

    /// The request of this command; signed when the plan is carried out.
    pub fn request(&mut self, cluster: ClusterName, request: Request) {
        self.request = Some((cluster, request));
    }

    /// The epoch that this command drafts; signed when the plan is carried out.
    pub fn draft(&mut self, draft: Draft) {
        self.draft = Some(draft);
    }

    /// Signs the draft that the tree has.
    pub fn sign_draft(&mut self) {
        self.signs_draft = true;
    }

    /// Signs, checks the result, writes and commits. `title` is the commit's first line, `why` its body.
    pub fn carry_out(
        mut self,
        session: &mut Session,
        repository: &mut Repository,
        actor: &mut Actor,
        title: &str,
        why: &str,
    ) -> Result<Written, Failure> {
        let verified = &repository.verified;
        if !session.settings.dry_run {
            repository.work()?.check_writable(&self.edited)?;
        }
        let mut written = Written { dry_run: session.settings.dry_run, ..Written::default() };
        let mut signed = None;
        if let Some(draft) = &self.draft {
            draft.changes(verified, &mut self.changes);
            signed = Some((draft.epoch.clone(), draft.text().into_bytes()));
        } else if let (true, Some(draft)) = (self.signs_draft, verified.chain.draft()) {
            let path = Place::Epoch(draft.epoch.number).to_string();
            let bytes = verified.tree.bytes(&path).unwrap_or_default().to_vec();
            signed = Some((draft.epoch.clone(), bytes));
        }
        if let Some((epoch, bytes)) = &signed {
            written.epoch = Some(epoch.number);
            if !session.settings.dry_run {
                repository.pinning.check_signing(session, epoch, bytes)?;
            }
            if self.draft.is_some() {
                check_signed(verified, &actor.name)?;
            }
            if !session.settings.dry_run {
                self.sign_epoch(session, verified, actor, epoch, bytes)?;
            }
        }
        if let Some(mut record) = self.record.take() {
            record.sort();
            let bytes = record.write().into_bytes();
            // Beside a draft the log is not judged; what is no record now would be found when nobody can sign the draft.
            Record::parse(&bytes).map_err(|fault| Failure::failed(format!("the record would be invalid: {fault}")))?;
            let sha256 = Digest::of(&bytes);
            let (month, h16) = (record.time.month(), sha256.h16());
            written.record = Some(sha256);
            if !session.settings.dry_run {
                let signature =
                    sign(session, verified, actor, &bytes, Kind::Record, signing_epoch(verified, &actor.name))?;
                let place =
                    Place::RecordSignature { month: month.clone(), h16: h16.clone(), person: actor.name.clone() };
                self.write(&place, signature);
            }
            self.write(&Place::Record { month, h16 }, bytes);
        }
        if let Some((cluster, request)) = self.request.take() {
            let bytes = request.write().into_bytes();
            let h16 = Digest::of(&bytes).h16();
            let place = Place::RequestSignature(cluster.clone(), h16.clone(), actor.name.clone());
            if !session.settings.dry_run {
                let person = signing_epoch(verified, &actor.name);
                let signature = sign(session, verified, actor, &bytes, Kind::Request, person)?;
                self.write(&place, signature);
            }
            self.write(&Place::Request(cluster, h16), bytes);
        }
        written.paths = self.changes.writes.keys().chain(&self.changes.removes).cloned().collect();
        if session.settings.dry_run {
            return Ok(written);
        }
        let after = self.check_result(session, repository)?;
        written.missing_signatures = missing_signatures(&after);
        written.findings = after.findings.iter().filter(|f| f.level == Level::Attention).cloned().collect();
        written.commit = commit(session, repository.work()?, &self.changes, message(title, why, &written))?;
        repository.verified = after;
        if let Err(failure) = remember(repository, signed.as_ref()) {
            session.notes.push(forgotten(&failure));
        }
        Ok(written)
    }

    /// Signs an epoch: with a key that it lists, and with one that the epoch before lists if that is another.
    fn sign_epoch(
        &mut self,
        session: &mut Session,
        verified: &Verified,
        actor: &mut Actor,
        epoch: &Epoch,
        bytes: &[u8],
    ) -> Result<(), Failure> {
        let latest = verified.chain.latest().map(|latest| &latest.epoch);
        let old = latest.and_then(|latest| latest.persons.get(&actor.name));
        let new = epoch.persons.get(&actor.name);
        let name = actor.name.clone();
        let place = |old| Place::EpochSignature { number: epoch.number, person: name.clone(), old };
        let rekeyed = old.zip(new).is_some_and(|(old, new)| old.cert_sha256 != new.cert_sha256);
        let mut given = BTreeSet::new();
        if new.is_some() {
            let signature = match sign_listed(session, verified, actor, bytes, Kind::Epoch, new, self.draft.as_ref()) {
                Ok((signature, key)) => {
                    given.insert(key);
                    Some(signature)
                }
                Err(failure) if rekeyed && old.is_some() => {
                    session
                        .notes
                        .push(format!("your new key did not sign: {failure}; sign with it on the machine that has it"));
                    None
                }
                Err(failure) => return Err(failure),
            };
            if let Some(signature) = signature {
                self.write(&place(false), signature);
            }
        }
        let votes = |person: Option<&trust::Person>| person.is_some_and(|person| person.role.votes());
        let is_new = new.is_some_and(|new| old.is_none_or(|old| (&old.cert, &old.sign) != (&new.cert, &new.sign)));
        if !votes(old) && !votes(new) && !is_new {
            session.notes.push(format!("{name} is neither root nor recovery: this signature is not one that it needs"));
        }
        let votes_anew = old.is_some_and(|old| old.role.votes() && !given.iter().any(|key| old.sign.contains(key)));
        if votes_anew {
            match sign_listed(session, verified, actor, bytes, Kind::Epoch, old, None) {
                Ok((signature, _)) => self.write(&place(new.is_some()), signature),
                Err(failure) if given.is_empty() => return Err(failure),
                Err(failure) => session
                    .notes
                    .push(format!("your former key did not sign: {failure}; it counts for the epoch before")),
            }
        }
        Ok(())
    }

    /// Verifies the tree that would result. Only missing signatures of a draft may be wrong with it.
    fn check_result(&self, session: &Session, repository: &Repository) -> Result<Verified, Failure> {
        let tree = overlay(&repository.verified.tree, &self.changes);
        let anchor = repository.pinning.anchor();
        let after = trust::verify_change(&repository.verified, tree, anchor.as_ref(), session.now, false);
        let known = |f: &&Finding| f.code.is_anchor() || self.keeps_errors;
        let known: Vec<&Finding> = repository.verified.findings.iter().filter(known).collect();
        let new: Vec<Finding> = after
            .findings
            .iter()
            .filter(|f| f.level == Level::Error && !known.contains(f) && f.code != Code::Unpinned)
            .cloned()
            .collect();
        if new.is_empty() || after.is_only_unsigned_draft() {
            return Ok(after);
        }
        let first = format!("this would make the repository invalid ({}: {})", new[0].code, new[0].why);
        Err(Failure { help: None, ..Failure::findings(first, new) })
    }
}

/// Notes in this machine's pins what was signed and what the tree is now.
fn remember(repository: &mut Repository, signed: Option<&(Epoch, Vec<u8>)>) -> Result<(), Failure> {
    if let Some((epoch, bytes)) = signed {
        repository.pinning.note_signed(epoch, &Digest::of(bytes))?;
    }
    match repository.verified.exit() {
        0 | 5 => repository.pinning.advance(&repository.verified),
        _ => Ok(()),
    }
}

/// What to say where the pins can't be kept. The change is made and committed by then: calling the command failed
/// would make the person run it again.
pub fn forgotten(failure: &Failure) -> String {
    format!("this is written, and this machine could not note it in its pins: {failure}")
}

/// Whose signatures the draft of a tree lacks.
pub fn missing_signatures(verified: &Verified) -> Vec<PersonName> {
    verified.chain.draft().map(|draft| draft.missing.people().into_iter().collect()).unwrap_or_default()
}

/// Writes the changes and commits them, or leaves the commit to the user; returns the commit.
pub fn commit(
    session: &mut Session,
    work: &WorkTree,
    changes: &ChangeSet,
    message: String,
) -> Result<Option<String>, Failure> {
    let commit = if session.settings.no_commit { Commit::IndexOnly } else { Commit::Message(message) };
    let applied = work.apply(changes, &commit, session.now)?;
    if work.wants_signed_commits() && applied.commit.is_some() {
        session.notes.push(
            "this commit is not signed, though commit.gpgsign asks for it: kluis signs what it says, not commits"
                .to_owned(),
        );
    }
    Ok(applied.commit)
}

/// The commit message: title, reason, and the epoch and record in trailers.
pub fn message(title: &str, why: &str, written: &Written) -> String {
    let mut message = format!("{title}\n");
    if !why.is_empty() {
        message.push_str(&format!("\n{why}\n"));
    }
    message.push('\n');
    if let Some(epoch) = written.epoch {
        message.push_str(&format!("Epoch: {epoch}\n"));
    }
    if let Some(record) = written.record {
        message.push_str(&format!("Record: {}\n", record.h16()));
    }
    message
}

/// The tree with the changes applied.
pub fn overlay(tree: &Tree, changes: &ChangeSet) -> Tree {
    let mut tree = tree.clone();
    for path in &changes.removes {
        tree.entries.remove(path);
    }
    let managed = |path: &String| ["trust/", "pubkeys/", "clusters/"].iter().any(|root| path.starts_with(root));
    for (path, bytes) in changes.writes.iter().filter(|(path, _)| managed(path)) {
        tree.entries.insert(path.clone(), Entry::File { bytes: bytes.clone(), executable: false });
    }
    tree
}

/// What the latest epoch says of the actor; records are signed with a key that it lists.
fn signing_epoch<'a>(verified: &'a Verified, actor: &PersonName) -> Option<&'a trust::Person> {
    verified.chain.latest().and_then(|latest| latest.epoch.persons.get(actor))
}

fn sign(
    session: &mut Session,
    verified: &Verified,
    actor: &mut Actor,
    bytes: &[u8],
    kind: Kind,
    person: Option<&trust::Person>,
) -> Result<Vec<u8>, Failure> {
    sign_listed(session, verified, actor, bytes, kind, person, None).map(|(signature, _)| signature)
}

/// Signs with the first key of `person` that is at hand and alive.
fn sign_listed(
    session: &mut Session,
    verified: &Verified,
    actor: &mut Actor,
    bytes: &[u8],
    kind: Kind,
    person: Option<&trust::Person>,
    draft: Option<&Draft>,
) -> Result<(Vec<u8>, Fingerprint), Failure> {
    let unlisted = || Failure::no_key(format!("the epoch does not list {}", actor.name)).help(Remedy::PersonList);
    let person = person.ok_or_else(unlisted)?;
    let drafted = draft.and_then(|draft| draft.certificates.get(&person.cert_sha256));
    let drafted = drafted.and_then(|bytes| Certificate::parse_stored(bytes).ok());
    let certificate = verified.chain.certificate(&person.cert_sha256).or(drafted.as_ref());
    let certificate =
        certificate.ok_or_else(|| Failure::no_key(format!("the certificate of {} is not there", actor.name)))?;
    let alive = |key: &Fingerprint| {
        certificate.life(key).is_some_and(|(from, to)| from <= session.now && to.is_none_or(|to| session.now < to))
    };
    // Epochs go on counting the signatures of a revoked key (FORMAT 5); a record or request of it would be void.
    let latest = verified.chain.latest().map_or(0, |latest| latest.epoch.number);
    let suspended = match kind {
        Kind::Record | Kind::Request => verified.log.suspended(&actor.name, latest),
        Kind::Epoch => BTreeSet::new(),
    };
    let (mut expired, mut revoked) = (None, None);
    for key in &person.sign {
        if !actor.keys.holds(certificate, key) {
            continue;
        }
        if suspended.contains(key) {
            revoked = Some(key);
            continue;
        }
        if !alive(key) {
            expired = Some(key);
            continue;
        }
        actor.keys.explain(&format!("kluis: sign {} as {}", what(kind), actor.name));
        let signature = actor.keys.sign(bytes, kind, certificate, key, session.now)?;
        return Ok((signature, key.clone()));
    }
    Err(match (revoked, expired) {
        (Some(key), _) => {
            let what = format!("the signing key {key} of {} was revoked: what it signs is void", actor.name);
            Failure::refused(what).help(Remedy::PersonUpdate(actor.name.clone()))
        }
        (None, Some(key)) => Failure::no_key(format!("the signing key {key} of {} has expired", actor.name))
            .help(Remedy::PersonUpdate(actor.name.clone())),
        (None, None) => Failure::no_key(format!("no signing key of {} is at hand", actor.name)).help(Remedy::Doctor),
    })
}

fn what(kind: Kind) -> &'static str {
    match kind {
        Kind::Epoch => "an epoch (who is trusted)",
        Kind::Record => "a record (what was done)",
        Kind::Request => "a request",
    }
}
