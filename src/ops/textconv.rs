//! `textconv`: one file in words, for git's diffs: to whom it is sealed, what a certificate says. Opens nothing, asks
//! nobody, judges nothing; a file that is no good is described as far as that goes, since git gives up a whole diff
//! where its driver fails.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::failure::Failure;
use super::session::Session;
use crate::model::{Digest, KeyId, PersonName, Place, displayed};
use crate::openpgp::{Certificate, read_envelope};
use crate::pki;
use crate::trust::Epoch;

/// Nothing larger is read; a managed file of these kinds has at most 256 KiB.
const LARGEST: u64 = 1 << 20;

/// A file in words: what it is, then names and values in order; `data` of the report.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Described {
    /// What kind of file it is.
    pub kind: &'static str,
    /// Facts by name; a name may stand several times.
    pub facts: Vec<(&'static str, String)>,
    /// The lines of a text that is no kind of ours, escaped.
    pub text: Vec<String>,
}

/// Describes the file at `path`. Names come from the epochs of the repository around the current folder, as they stand
/// there, unverified. Fails only where the file can't be read.
pub fn textconv(session: &Session, path: &Path) -> Result<Described, Failure> {
    let bytes = match crate::disk::read_capped(path, LARGEST) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Err(Failure::usage(format!("{} is not there", displayed(&path.display().to_string())))),
        Err(crate::disk::DiskError::TooLarge { size, .. }) => {
            let facts = vec![("bytes", size.to_string())];
            return Ok(Described { kind: "file too large for anything of kluis", facts, text: Vec::new() });
        }
        Err(error) => return Err(error.into()),
    };
    let names = Names::around(&session.settings.dir);
    Ok(describe(&bytes, &names))
}

/// Whom 64-bit key ids belong to, as epochs say.
#[derive(Debug, Default)]
pub struct Names(BTreeMap<KeyId, PersonName>);

impl Names {
    /// The names of every epoch in `epochs`; a later one wins.
    pub fn of<'a>(epochs: impl IntoIterator<Item = &'a Epoch>) -> Self {
        let mut names = BTreeMap::new();
        for (name, person) in epochs.into_iter().flat_map(|epoch| &epoch.persons) {
            names.extend(person.encrypt.iter().map(|key| (key.key_id(), name.clone())));
        }
        Self(names)
    }

    fn around(dir: &Path) -> Self {
        let Ok(root) = super::verify::find_root(dir) else { return Self::default() };
        let mut epochs = Vec::new();
        for number in 1.. {
            let path = root.join(Place::Epoch(number).to_string());
            match crate::disk::read_capped(&path, 256 << 10).ok().flatten().map(|bytes| Epoch::parse(&bytes)) {
                Some(Ok(epoch)) => epochs.push(epoch),
                Some(Err(_)) => {}
                None => break,
            }
        }
        Self::of(&epochs)
    }

    /// The person with this key id.
    pub fn find(&self, key: KeyId) -> Option<&PersonName> {
        self.0.get(&key)
    }
}

/// Describes bytes.
pub fn describe(bytes: &[u8], names: &Names) -> Described {
    let starts = |text: &str| bytes.starts_with(text.as_bytes());
    let (kind, mut facts) = if starts("-----BEGIN PGP MESSAGE-----") {
        ("sealed file", sealed(bytes, names))
    } else if starts("-----BEGIN PGP PUBLIC KEY BLOCK-----") {
        ("OpenPGP certificate", certificate(bytes))
    } else if starts("-----BEGIN CERTIFICATE-----") {
        ("X.509 certificate", x509(bytes))
    } else if starts("-----BEGIN PUBLIC KEY-----") {
        ("public key", public_key(bytes))
    } else if crate::trust::holds_secret(bytes) {
        ("PRIVATE KEY in the clear: take it out, and treat it as known", Vec::new())
    } else {
        return match std::str::from_utf8(bytes) {
            Ok(text) => Described { kind: "text", facts: Vec::new(), text: text.lines().map(displayed).collect() },
            Err(_) => Described { kind: "bytes that are nothing of kluis", facts: size(bytes), text: Vec::new() },
        };
    };
    facts.extend(size(bytes));
    Described { kind, facts, text: Vec::new() }
}

fn size(bytes: &[u8]) -> Vec<(&'static str, String)> {
    vec![("bytes", bytes.len().to_string()), ("sha256", Digest::of(bytes).to_string())]
}

fn sealed(bytes: &[u8], names: &Names) -> Vec<(&'static str, String)> {
    match read_envelope(bytes) {
        Ok(envelope) => {
            let of = |key: &KeyId| match names.find(*key) {
                Some(name) => format!("{name} {key}"),
                None => format!("UNKNOWN {key}: no epoch here lists this key"),
            };
            envelope.recipients.iter().map(|key| ("recipient", of(key))).collect()
        }
        Err(fault) => vec![("FAULT", format!("{}: {fault}", fault.code()))],
    }
}

fn certificate(bytes: &[u8]) -> Vec<(&'static str, String)> {
    match Certificate::parse_stored(bytes) {
        Ok(certificate) => {
            let keys = certificate.view().into_iter().map(|key| {
                let what = if key.primary { "primary" } else { "subkey" };
                (what, format!("{} {}, {}", key.fingerprint, key.algorithm, key.words()))
            });
            // Whatever their maker typed: shown as text, used for nothing.
            let users = certificate.user_ids().into_iter().map(|user| ("says", displayed(&user)));
            keys.chain(users).collect()
        }
        Err(fault) => vec![("FAULT", format!("{}: {fault}", fault.code()))],
    }
}

fn x509(bytes: &[u8]) -> Vec<(&'static str, String)> {
    let facts = match pki::parse_pem(bytes, "CERTIFICATE").and_then(|der| pki::Facts::read(&der)) {
        Ok(facts) => facts,
        Err(error) => return vec![("FAULT", format!("cert-format: {error}"))],
    };
    let mut lines = vec![
        ("subject", displayed(&facts.subject)),
        ("issuer", displayed(&facts.issuer)),
        ("serial", facts.serial.clone()),
        ("not before", facts.not_before.to_string()),
        ("not after", facts.not_after.to_string()),
    ];
    if facts.is_ca {
        lines.push(("authority", "may sign certificates".to_owned()));
    }
    lines.extend(facts.sans.iter().map(|san| ("san", displayed(&san.to_string()))));
    lines.extend(facts.other_sans.iter().map(|san| ("other san", displayed(san))));
    lines.push(("spki", facts.spki_id.to_string()));
    lines.push(("X509SHA256", facts.sha256.to_string()));
    lines
}

fn public_key(bytes: &[u8]) -> Vec<(&'static str, String)> {
    match pki::service_account_public(bytes) {
        Ok(der) => vec![("spki", Digest::of(&der).to_string())],
        Err(error) => vec![("FAULT", format!("cert-format: {error}"))],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nothing_of_ours_is_described_and_never_fails() {
        let names = Names::default();
        assert_eq!(describe(b"a\x1b[31m\nb", &names).text, ["a\\u{1b}[31m", "b"]);
        assert_eq!(describe(&[0xff, 0xfe], &names).kind, "bytes that are nothing of kluis");
        let broken = describe(b"-----BEGIN PGP MESSAGE-----\n\nAAAA\n", &names);
        assert_eq!(broken.facts[0].0, "FAULT");
        let key = describe(b"x\n-----BEGIN EC PRIVATE KEY-----\nAAAA\n", &names);
        assert!(key.kind.starts_with("PRIVATE KEY") && key.facts == [("bytes", "38".to_owned()), key.facts[1].clone()]);
    }
}
