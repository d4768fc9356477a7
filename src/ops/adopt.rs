//! `adopt`: vouches for records that no epoch allows any more. One record adopts all of them.

use std::collections::BTreeSet;

use serde::Serialize;

use super::failure::Failure;
use super::plan::{Plan, Written, new_record};
use super::requests::check_reason;
use super::session::{Gate, Session};
use crate::model::{Code, Digest, Finding, PersonName, Remedy, Time};
use crate::trust::Verified;

/// What a void record says, and so what adopting it vouches for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Voided {
    /// Its hash.
    pub record: Digest,
    /// Who made it.
    pub actor: PersonName,
    /// When, by their own word.
    pub time: Time,
    /// What they ran.
    pub command: String,
    /// The reason that they gave.
    pub reason: String,
    /// Why it is void.
    pub code: Code,
    /// The same as a clause.
    pub why: String,
    /// The files that it vouches for, as absent too.
    pub paths: BTreeSet<String>,
    /// Its other entries, one clause each.
    pub entries: Vec<String>,
}

/// What was adopted.
#[derive(Debug, Serialize)]
pub struct Adopted {
    /// The records.
    pub adopted: Vec<Voided>,
    /// What was written.
    #[serde(flatten)]
    pub written: Written,
}

/// Adopts the records that `names` are the hashes of, or the beginnings of hashes.
pub fn adopt(session: &mut Session, names: &[String], reason: &str) -> Result<Adopted, Failure> {
    check_reason(reason)?;
    let mut repository = session.open(&Gate::Void)?;
    let mut found: BTreeSet<usize> = BTreeSet::new();
    for name in names {
        found.insert(find(&repository.verified, name)?);
    }
    let verified = &repository.verified;
    let adopted: Vec<Voided> = found.iter().filter_map(|index| describe(verified, *index)).collect();
    let mut actor = session.actor(verified)?;
    let mut record = new_record(verified, &actor.name, session.now, "adopt")?;
    record.reason = reason.to_owned();
    record.adopt = adopted.iter().map(|voided| voided.record).collect();
    let list = adopted.iter().map(|voided| voided.record.h16()).collect::<Vec<_>>().join(", ");
    // Several records may be void, each with its own person to judge it, and a break-glass record needs
    // several adopters: what was wrong before and is not made worse may stay.
    let mut plan = Plan::default();
    plan.keeps_errors = true;
    plan.record(record);
    let written = plan.carry_out(session, &mut repository, &mut actor, &format!("Adopt {list}"), reason);
    let written = written.map_err(|failure| hopeless(&list, failure))?;
    Ok(Adopted { adopted, written })
}

/// What to say where no epoch can allow a record any more: it has another key for a generation that the epoch lists, as
/// where two branches started one rotation. Adopting the adoption would help as little.
fn hopeless(list: &str, failure: Failure) -> Failure {
    if !failure.findings.iter().any(|finding| finding.code == Code::SpkiMismatch) {
        return failure;
    }
    let findings = failure.findings.into_iter().map(|finding| Finding { fix: None, ..finding }).collect();
    let what = format!(
        "nobody can vouch for {list}: it has another key for a generation than the epoch lists; take back the merge that \
         brought it, and make again what else it did"
    );
    Failure { findings, ..Failure::refused(what).help(Remedy::Run("git revert -m 1 HEAD".to_owned())) }
}

/// The void record that a hash, or the beginning of one, names.
fn find(verified: &Verified, name: &str) -> Result<usize, Failure> {
    let hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    if name.len() < 4 || name.len() > 64 || !name.bytes().all(hex) {
        let what = format!("{name:?} is no record: give its hash, or at least its first 4 digits");
        return Err(Failure::usage(what).help(Remedy::Verify));
    }
    let log = &verified.log;
    let matching: Vec<usize> =
        (0..log.records.len()).filter(|index| log.records[*index].sha256.to_string().starts_with(name)).collect();
    let index = match matching.as_slice() {
        [one] => *one,
        [] => return Err(Failure::usage(format!("there is no record {name}")).help(Remedy::Verify)),
        several => {
            let several = several.iter().map(|index| log.records[*index].sha256.h16()).collect::<Vec<_>>().join(", ");
            return Err(Failure::usage(format!("{name} begins the names of several records: {several}")));
        }
    };
    if log.counts(index) {
        let what = format!("the record {name} counts: there is nothing to adopt");
        return Err(Failure::usage(what).help(Remedy::Verify));
    }
    if log.broken[index] {
        let what = format!("the record {name} is broken in itself, and nobody can vouch for it");
        return Err(Failure::refused(what).help(Remedy::Verify));
    }
    Ok(index)
}

fn describe(verified: &Verified, index: usize) -> Option<Voided> {
    let logged = &verified.log.records[index];
    let reason = verified.log.void[index].as_ref()?;
    let record = &logged.record;
    let config = record.config.iter().map(|entry| entry.place());
    let sealed = record.sealed.iter().map(|entry| entry.place());
    let issued = record.issued.iter().map(|entry| entry.place.clone());
    let paths = config.chain(sealed).chain(issued).chain(record.removed.iter().cloned());
    let mut entries = Vec::new();
    for issued in &record.issued {
        entries.push(format!("issues {} until {}", issued.subject, issued.not_after));
    }
    for sealed in &record.sealed {
        let people: BTreeSet<&str> = sealed.recipients.iter().map(|recipient| recipient.person.as_str()).collect();
        let people = people.into_iter().collect::<Vec<_>>().join(", ");
        entries.push(format!("seals {} to {people}", sealed.place()));
    }
    for phase in &record.phase {
        let (keyset, generation) = (phase.keyset, phase.generation);
        entries.push(format!("makes {}/{keyset} {generation} {}", phase.cluster, phase.state));
    }
    entries.extend(record.approve.iter().map(|request| format!("approves the request {}", request.h16())));
    entries.extend(record.deny.iter().map(|deny| format!("denies the request {}", deny.request.h16())));
    entries.extend(record.confirm.iter().map(|confirm| format!("confirms {}", confirm.place())));
    let without = |what: &str| format!("{what}, which adopting does not bring back");
    entries
        .extend(record.revoke_key.iter().map(|entry| without(&format!("revokes {} of {}", entry.key, entry.person))));
    entries.extend(record.adopt.iter().map(|other| without(&format!("adopts {}", other.h16()))));
    Some(Voided {
        record: logged.sha256,
        actor: record.actor.clone(),
        time: record.time,
        command: record.command.clone(),
        reason: record.reason.clone(),
        code: reason.code,
        why: reason.why.clone(),
        paths: paths.map(|place| place.to_string()).collect(),
        entries,
    })
}
