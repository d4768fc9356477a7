//! Reading records: file name, signature, then content, in that order, so that nobody who isn't listed can
//! make anybody parse a large file.

use std::collections::BTreeMap;

use super::Logged;
use crate::model::{Code, Digest, Finding, PersonName, Place, Remedy};
use crate::openpgp::{Kind, Signature, SignatureFault};
use crate::trust::chain::Chain;
use crate::trust::parallel;
use crate::trust::record::Record;
use crate::trust::tree::{Entry, Tree};

/// Where the signatures of hash-named statements lie, by folder and h16.
type Signatures = BTreeMap<String, Vec<(PersonName, String)>>;

const LOG: &str = "trust/log/";

/// Reads all records. Returns those that are whole, and whether any is not.
pub fn records(tree: &Tree, chain: &Chain, findings: &mut Vec<Finding>) -> (Vec<Logged>, bool) {
    let mut signatures = Signatures::new();
    for (path, _) in tree.below(LOG) {
        if let Ok(Place::RecordSignature { month, h16, person }) = Place::parse(path) {
            signatures.entry(format!("{month}/{h16}")).or_default().push((person, path.clone()));
        }
    }
    let mut signed = Vec::new();
    let mut unread = false;
    for (path, entry) in tree.below(LOG) {
        let Ok(Place::Record { month, h16 }) = Place::parse(path) else { continue };
        let found = signatures.remove(&format!("{month}/{h16}")).unwrap_or_default();
        let Entry::File { bytes, .. } = entry else {
            unread = true;
            continue;
        };
        let (first, more) = match found.split_first() {
            Some(found) => found,
            None => {
                findings.push(Finding::new(Code::Unsigned, "nobody has signed it").at(path));
                unread = true;
                continue;
            }
        };
        for (_, extra) in more {
            let why = "a record has one signature, its actor's";
            findings.push(Finding::new(Code::UnexpectedPath, why).at(extra));
        }
        signed.push((path, bytes, first.clone()));
    }
    let mut records = Vec::new();
    let read = parallel::map(&signed, |(path, bytes, first)| one(tree, chain, path, bytes, first));
    for ((path, ..), read) in signed.into_iter().zip(read) {
        match read {
            Ok(logged) => records.push(logged),
            Err(faults) => {
                unread = true;
                findings.extend(faults.into_iter().map(|fault| match fault.fix {
                    Some(_) => fault,
                    None => fault.fix(Remedy::GitRestore(path.clone())),
                }));
            }
        }
    }
    for (_, path) in signatures.into_values().flatten() {
        findings.push(Finding::new(Code::UnexpectedPath, "it signs no record").at(path));
    }
    (records, unread)
}

/// Verifies a detached signature with every certificate that some epoch pins for a person who lists the key.
/// Fails unless at least one of them verifies it, life left aside: which epoch rules is decided later.
pub(in crate::trust) fn verify(
    chain: &Chain,
    person: &PersonName,
    signature: &Signature,
    data: &[u8],
) -> Result<BTreeMap<Digest, Result<(), SignatureFault>>, SignatureFault> {
    let mut verified = BTreeMap::new();
    for epoch in chain.all() {
        let Some(listed) = epoch.epoch.persons.get(person) else { continue };
        let certificate = chain.certificate(&listed.cert_sha256);
        if let (true, Some(certificate)) = (listed.sign.contains(signature.issuer()), certificate) {
            verified.entry(listed.cert_sha256).or_insert_with(|| signature.verify(data, certificate));
        }
    }
    if verified.is_empty() {
        return Err(SignatureFault::Unlisted(format!("no epoch lists {} for {person}", signature.issuer())));
    }
    let aged = |result: &Result<(), SignatureFault>| match result {
        Ok(()) => true,
        Err(fault) => fault.code() == Code::KeyExpired,
    };
    match verified.values().find(|result| !aged(result)) {
        Some(Err(fault)) => Err(fault.clone()),
        _ => Ok(verified),
    }
}

fn one(
    tree: &Tree,
    chain: &Chain,
    path: &str,
    bytes: &[u8],
    (person, signature_path): &(PersonName, String),
) -> Result<Logged, Vec<Finding>> {
    let at = |code, why: String| Finding::new(code, why).at(path).of(person);
    let sha256 = Digest::of(bytes);
    let mut faults = Vec::new();
    let Ok(Place::Record { month, h16 }) = Place::parse(path) else { return Err(faults) };
    if sha256.h16() != h16 {
        faults.push(at(Code::RecordName, format!("its hash is {}", sha256.h16())));
        faults.extend(crate::trust::files::line_endings_by_name(bytes, &h16, path));
    }
    let Some(Entry::File { bytes: signature, .. }) = tree.entries.get(signature_path) else { return Err(faults) };
    let checked = Signature::parse(signature, Kind::Record)
        .and_then(|signature| verify(chain, person, &signature, bytes).map(|verified| (signature, verified)));
    let (signature, verified) = match checked {
        Ok(checked) => checked,
        Err(fault) => {
            faults.push(Finding::new(fault.code(), fault.to_string()).at(signature_path).of(person));
            return Err(faults);
        }
    };
    if !faults.is_empty() {
        return Err(faults);
    }
    let record = Record::parse(bytes).map_err(|fault| {
        let finding = at(fault.code, fault.why);
        vec![if fault.code == Code::NewerFormat { finding.fix(Remedy::Upgrade) } else { finding }]
    })?;
    check_context(chain, &record, person, &month).map_err(|(code, why)| vec![at(code, why)])?;
    Ok(Logged { record, sha256, path: path.to_owned(), key: signature.issuer().clone(), verified })
}

/// Name, repository and epoch fit.
fn check_context(chain: &Chain, record: &Record, person: &PersonName, month: &str) -> Result<(), (Code, String)> {
    if record.time.month() != month {
        return Err((Code::RecordName, format!("its time is {}, and it lies in {month}", record.time)));
    }
    if record.actor != *person {
        return Err((Code::RecordName, format!("its actor is {}, and its signature {person}'s", record.actor)));
    }
    let known = chain.all().first().map(|first| first.epoch.repo);
    if known != Some(record.repo) {
        return Err((Code::WrongRepo, format!("it is a record of repository {}", record.repo)));
    }
    match chain.get(record.epoch) {
        Some(epoch) if epoch.sha256 == record.epoch_sha256 => Ok(()),
        Some(_) => Err((Code::UnknownEpoch, format!("it claims another epoch {} than the one here", record.epoch))),
        None => Err((Code::UnknownEpoch, format!("it claims epoch {}, which is not there", record.epoch))),
    }
}
