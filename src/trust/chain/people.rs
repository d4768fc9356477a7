//! The OpenPGP certificates of an epoch's people: the right bytes in the right places, every listed key
//! bound and strong, nothing shared between two persons (FORMAT 1 and 3).

use std::collections::{BTreeMap, BTreeSet};

use super::{Chain, count, epoch_path};
use crate::model::{Code, Digest, Finding, Fingerprint, PersonName, Place, Remedy};
use crate::openpgp::{Certificate, KeyFault, Purpose};
use crate::trust::epoch::{Epoch, Person};
use crate::trust::tree::{Entry, Tree};

/// Checks every certificate that some epoch pins; fills `chain.certificates`.
pub fn check(tree: &Tree, chain: &mut Chain, findings: &mut Vec<Finding>) {
    let Some(last) = chain.epochs.last() else { return };
    let pinned_now: BTreeMap<&PersonName, &Person> = last.epoch.persons.iter().collect();
    let mut pinned_ever: BTreeMap<Digest, (&PersonName, &Person)> = BTreeMap::new();
    for epoch in &chain.epochs {
        pinned_ever.extend(epoch.epoch.persons.iter().map(|(name, person)| (person.cert_sha256, (name, person))));
    }
    let mut certificates = BTreeMap::new();
    let mut keep =
        |bytes: &[u8], path: &str, person: &PersonName, findings: &mut Vec<Finding>| match Certificate::parse_stored(
            bytes,
        ) {
            Ok(certificate) => drop(certificates.insert(Digest::of(bytes), certificate)),
            Err(fault) => findings.push(Finding::new(fault.code(), fault.to_string()).at(path).of(person)),
        };
    let today: BTreeSet<Digest> = pinned_now.values().map(|person| person.cert_sha256).collect();
    for (path, entry) in tree.below("pubkeys/") {
        let (Entry::File { bytes, .. }, Ok(place)) = (entry, Place::parse(path)) else { continue };
        match place {
            Place::PublicKey(name) => match pinned_now.get(&name) {
                Some(person) if Digest::of(bytes) == person.cert_sha256 => keep(bytes, path, &name, findings),
                Some(person) => findings.extend(swapped(bytes, path, &name, person)),
                None => {
                    let why = format!("the latest epoch lists no {name}");
                    findings.push(Finding::new(Code::UnexpectedPath, why).at(path).of(&name));
                }
            },
            Place::OldPublicKey(h16) => {
                let digest = Digest::of(bytes);
                let expected = pinned_ever.keys().find(|pinned| pinned.h16() == h16 && !today.contains(pinned));
                match (expected, pinned_ever.get(&digest)) {
                    (Some(expected), Some((name, _))) if *expected == digest => keep(bytes, path, name, findings),
                    (Some(_), _) => {
                        let why = "the bytes are not those that its name and an older epoch say";
                        findings.push(Finding::new(Code::CertHash, why).at(path).fix(Remedy::GitRestore(path.clone())));
                    }
                    (None, _) => {
                        let why = "no older epoch alone pins such a certificate";
                        findings.push(Finding::new(Code::UnexpectedPath, why).at(path));
                    }
                }
            }
            _ => {}
        }
    }
    missing_files(tree, &pinned_now, &pinned_ever, &today, findings);
    let judged: Vec<&Epoch> = chain.epochs.iter().map(|epoch| &epoch.epoch).collect();
    for (index, epoch) in judged.iter().enumerate() {
        check_listed(index, epoch, &certificates, findings);
    }
    chain.certificates = certificates;
}

/// Other bytes lie at a person's place: `cert-hash`, and `cert-fingerprint` too where they are not even a
/// certificate of the same primary key, which is the attack (T10) and not a forgotten refresh.
fn swapped(bytes: &[u8], path: &str, name: &PersonName, person: &Person) -> Vec<Finding> {
    let at = |code, why: String| Finding::new(code, why).at(path).of(name);
    if crate::openpgp::holds_secret_key(bytes) {
        return Vec::new(); // `secret-material` is the walk's
    }
    let hash = at(Code::CertHash, "the bytes are not those that the latest epoch pins".to_owned())
        .fix(Remedy::GitRestore(path.to_owned()));
    let mut findings = Vec::new();
    if let Ok(other) = Certificate::parse_given(bytes)
        && other.fingerprint() != person.cert
    {
        let why = format!("it is the certificate {}, not {}", other.fingerprint(), person.cert);
        findings.push(at(Code::CertFingerprint, why).fix(Remedy::GitRestore(path.to_owned())));
    }
    findings.push(hash);
    if let Some(note) = crate::trust::files::line_endings(bytes, &person.cert_sha256, path) {
        findings.push(note);
    }
    findings
}

fn missing_files(
    tree: &Tree,
    now: &BTreeMap<&PersonName, &Person>,
    ever: &BTreeMap<Digest, (&PersonName, &Person)>,
    today: &BTreeSet<Digest>,
    findings: &mut Vec<Finding>,
) {
    let current = now.keys().map(|name| (Place::PublicKey((*name).clone()), *name));
    let old = ever.iter().filter(|(digest, _)| !today.contains(digest));
    let old = old.map(|(digest, (name, _))| (Place::OldPublicKey(digest.h16()), *name));
    for (place, name) in current.chain(old) {
        let path = place.to_string();
        if !tree.entries.contains_key(&path) {
            let why = format!("an epoch pins this certificate of {name}, and it is not there");
            findings.push(Finding::new(Code::MissingFile, why).at(&path).of(name).fix(Remedy::GitRestore(path)));
        }
    }
}

fn check_listed(
    index: usize,
    epoch: &Epoch,
    certificates: &BTreeMap<Digest, Certificate>,
    findings: &mut Vec<Finding>,
) {
    let path = epoch_path(count(index + 1));
    let mut owners: BTreeMap<String, &PersonName> = BTreeMap::new();
    for (name, person) in &epoch.persons {
        let mut fault = |code, why: String| findings.push(Finding::new(code, why).at(&path).of(name));
        let Some(certificate) = certificates.get(&person.cert_sha256) else { continue };
        if certificate.fingerprint() != person.cert {
            fault(Code::CertFingerprint, format!("the pinned bytes are the certificate {}", certificate.fingerprint()));
        }
        for (keys, purpose) in [(&person.sign, Purpose::Sign), (&person.encrypt, Purpose::Encrypt)] {
            for key in keys {
                match certificate.check_listed(key, purpose) {
                    Ok(()) => {}
                    Err(KeyFault::Bad(why)) => fault(Code::BadKey, format!("{key}: {why}")),
                    Err(KeyFault::Weak(why)) => fault(Code::WeakKey, format!("{key}: {why}")),
                }
            }
        }
        for mark in marks(certificate) {
            let owner = *owners.entry(mark.clone()).or_insert(name);
            if owner != name {
                fault(Code::KeyReuse, format!("{owner} has the same key ({mark})"));
                break;
            }
        }
    }
}

/// What no two persons of an epoch may share: fingerprints, 64-bit key ids (all that a sealed file names its
/// recipients by) and key material (one key under two fingerprints).
fn marks(certificate: &Certificate) -> BTreeSet<String> {
    let keys = certificate.keys();
    let marks = keys.iter().flat_map(|key| {
        let fingerprint: &Fingerprint = &key.fingerprint;
        [format!("fingerprint {fingerprint}"), format!("key id {}", key.key_id), format!("material {}", key.material)]
    });
    marks.collect()
}
