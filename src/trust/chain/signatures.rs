//! Signatures of epochs: which are good, under which of the two epochs they count, and who is missing.

use std::collections::{BTreeMap, BTreeSet};

use super::{Chain, Missing, count, epoch_path};
use crate::model::{Code, Digest, Finding, PersonName, Place, Remedy};
use crate::openpgp::{Certificate, Kind, Signature, SignatureFault};
use crate::trust::epoch::{Epoch, Person};
use crate::trust::tree::{Entry, Tree};

/// Judges the signatures of every epoch in `chain`; fills `signers` and `missing`.
pub fn check(tree: &Tree, chain: &mut Chain, findings: &mut Vec<Finding>) {
    let mut files: BTreeMap<u32, Vec<(String, PersonName, bool)>> = BTreeMap::new();
    for (path, _) in tree.below("trust/epoch/") {
        if let Ok(Place::EpochSignature { number, person, old }) = Place::parse(path) {
            files.entry(number).or_default().push((path.clone(), person, old));
        }
    }
    for index in 0..chain.epochs.len() {
        let number = count(index + 1);
        let votes = judge(tree, chain, index, &files.remove(&number).unwrap_or_default(), findings);
        let before = index.checked_sub(1).map(|before| &chain.epochs[before].epoch);
        let missing = missing(&chain.epochs[index].epoch, before, &votes);
        let is_draft = index > 0 && index + 1 == chain.epochs.len();
        report(number, &missing, is_draft, findings);
        chain.epochs[index].signers = votes.under_old.union(&votes.under_new).cloned().collect();
        chain.epochs[index].missing = missing;
    }
    let orphans = files.into_iter().filter(|(number, _)| chain.get(*number).is_none()).flat_map(|(_, files)| files);
    let broken =
        tree.below("trust/epoch/").filter(|(path, _)| matches!(Place::parse(path), Ok(Place::Epoch(_)))).count();
    if broken == chain.epochs.len() {
        findings.extend(orphans.map(|(path, ..)| Finding::new(Code::UnexpectedPath, "it signs no epoch").at(path)));
    }
}

#[derive(Default)]
struct Votes {
    under_old: BTreeSet<PersonName>,
    under_new: BTreeSet<PersonName>,
}

/// A signature is good under an epoch if the key is listed there for the person and the bytes pinned there
/// verify it, life included.
///
/// Where those bytes are not in the tree, that is a finding already, and the tree is invalid for it. Nothing can
/// then be said about the signature, so it is not called bad or missing as well: one fault, one code.
fn good(
    signature: &Signature,
    data: &[u8],
    person: Option<&Person>,
    certificates: &BTreeMap<Digest, Certificate>,
) -> Result<(), SignatureFault> {
    let listed = person.filter(|person| person.sign.contains(signature.issuer()));
    let unlisted = || SignatureFault::Unlisted(format!("{} is not listed for this person", signature.issuer()));
    match certificates.get(&listed.ok_or_else(unlisted)?.cert_sha256) {
        Some(certificate) => signature.verify(data, certificate),
        None => Ok(()),
    }
}

fn judge(
    tree: &Tree,
    chain: &Chain,
    index: usize,
    files: &[(String, PersonName, bool)],
    findings: &mut Vec<Finding>,
) -> Votes {
    let mut votes = Votes::default();
    let this = &chain.epochs[index].epoch;
    let before = index.checked_sub(1).map(|before| &chain.epochs[before].epoch);
    let Some(Entry::File { bytes: data, .. }) = tree.entries.get(&epoch_path(count(index + 1))) else { return votes };
    for (path, name, old) in files {
        let Some(Entry::File { bytes, .. }) = tree.entries.get(path) else { continue };
        let mut refuse = |fault: &SignatureFault| {
            let fix = Remedy::TrustSign;
            findings.push(Finding::new(fault.code(), fault.to_string()).at(path).of(name).fix(fix));
        };
        let signature = match Signature::parse(bytes, Kind::Epoch) {
            Ok(signature) => signature,
            Err(fault) => {
                refuse(&fault);
                continue;
            }
        };
        let then = before.and_then(|before| before.persons.get(name));
        let now = this.persons.get(name);
        let under_old = good(&signature, data, then, &chain.certificates);
        let under_new = good(&signature, data, now, &chain.certificates);
        // Who is in both signs with a key of the new epoch; `+old` and those who leave, with one of the old.
        let ruling = if *old || now.is_none() { &under_old } else { &under_new };
        if let Err(fault) = ruling {
            refuse(fault);
            continue;
        }
        if under_old.is_ok() {
            votes.under_old.insert(name.clone());
        }
        if !*old && now.is_some() {
            votes.under_new.insert(name.clone());
        }
    }
    votes
}

fn missing(this: &Epoch, before: Option<&Epoch>, votes: &Votes) -> Missing {
    let short = |epoch: &Epoch, signed: &BTreeSet<PersonName>| {
        let voters = epoch.persons.iter().filter(|(_, person)| person.role.votes()).map(|(name, _)| name);
        let (have, rest): (Vec<_>, Vec<_>) = voters.partition(|name| signed.contains(*name));
        let lacking = epoch.threshold.trust.saturating_sub(count(have.len()));
        (lacking > 0).then(|| (lacking, rest.into_iter().cloned().collect::<BTreeSet<_>>()))
    };
    let is_new = |name: &PersonName, person: &Person| {
        let then = before.and_then(|before| before.persons.get(name));
        then.is_none_or(|then| (&then.cert, &then.sign, &then.encrypt) != (&person.cert, &person.sign, &person.encrypt))
    };
    let unsigned = this.persons.iter().filter(|(name, _)| !votes.under_new.contains(*name));
    Missing {
        threshold: before.and_then(|before| short(before, &votes.under_old)),
        new_threshold: short(this, &votes.under_new),
        newcomers: unsigned.filter(|(name, person)| is_new(name, person)).map(|(name, _)| name.clone()).collect(),
    }
}

/// Says which signatures are missing. A draft waits for them; any other epoch had them, and lost them.
fn report(number: u32, missing: &Missing, is_draft: bool, findings: &mut Vec<Finding>) {
    let lost = || Remedy::Run("git log --stat -- trust/epoch".to_owned());
    let fix = || if is_draft { Remedy::TrustSign } else { lost() };
    let names = |people: &BTreeSet<PersonName>| people.iter().map(PersonName::as_str).collect::<Vec<_>>().join(", ");
    let path = epoch_path(number);
    let thresholds = [
        (Code::Threshold, &missing.threshold, number.saturating_sub(1)),
        (Code::NewThreshold, &missing.new_threshold, number),
    ];
    for (code, short, under) in thresholds {
        if let Some((lacking, people)) = short {
            let who = if people.is_empty() {
                "nobody is left to give them".to_owned()
            } else {
                format!("of {}", names(people))
            };
            let why = format!("it lacks {lacking} of the signatures that epoch {under} demands: {who}");
            findings.push(Finding::new(code, why).at(&path).fix(fix()));
        }
    }
    for name in &missing.newcomers {
        let why = format!("{name} is new in it, or has other keys, and has not signed it");
        findings.push(Finding::new(Code::NewAdminMustSign, why).at(&path).of(name).fix(fix()));
    }
}
