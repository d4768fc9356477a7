//! An OpenPGP certificate that a person hands in: read, judged with today's clock, put into the form that is
//! stored, and held against everybody else's keys.

use std::collections::BTreeSet;
use std::path::Path;

use super::failure::Failure;
use crate::model::{Digest, Fingerprint, PersonName, Remedy, Time, displayed};
use crate::openpgp::{Certificate, CertificateFault, UnusableFault, Usable};
use crate::trust::{Epoch, Person, TrustRole};

/// The largest input that is read, in bytes; what is stored of it is at most 256 KiB.
const LARGEST: u64 = 4 << 20;

/// A certificate that can be listed.
pub struct Given {
    /// The certificate, in the form that is stored.
    pub certificate: Certificate,
    /// Its bytes.
    pub stored: Vec<u8>,
    /// Their hash.
    pub sha256: Digest,
    /// The keys to list.
    pub usable: Usable,
}

impl Given {
    /// Reads exactly one certificate from `path`, or from standard input if it is `-`. Refuses secret keys, and a
    /// certificate that can't be signed with or sealed to at `now`.
    pub fn read(path: &Path, now: Time) -> Result<Self, Failure> {
        let input = path == Path::new("-");
        let place = if input { "standard input".to_owned() } else { displayed(&path.display().to_string()) };
        let bytes = if input {
            crate::env::read_input(LARGEST).map_err(|e| Failure::usage(format!("{place} can't be read: {e}")))?
        } else {
            let bytes = crate::disk::read_capped(path, LARGEST)?;
            bytes.ok_or_else(|| Failure::usage(format!("{place} is not there")).help(export()))?
        };
        if bytes.is_empty() {
            let what = format!("{place} is empty: gpg --export prints nothing for a name that it does not know");
            return Err(Failure::usage(what).help(Remedy::Run("gpg --list-keys".to_owned())));
        }
        Self::judge(&bytes, now).map_err(|failure| failure.at(&place))
    }

    fn judge(bytes: &[u8], now: Time) -> Result<Self, Failure> {
        let given = Certificate::parse_given(bytes).map_err(|fault| refused(&fault))?;
        let stored = given.to_stored();
        // What is stored is what others parse strictly: read it back before anything is signed over it.
        let certificate = Certificate::parse_stored(&stored).map_err(|fault| refused(&fault))?;
        let usable = certificate.usable(now).map_err(|fault| unusable(&fault))?;
        Ok(Self { sha256: Digest::of(&stored), certificate, stored, usable })
    }

    /// The primary fingerprint.
    pub fn fingerprint(&self) -> Fingerprint {
        self.certificate.fingerprint()
    }

    /// What an epoch says of a person with this certificate.
    pub fn person(&self, role: TrustRole) -> Person {
        Person {
            role,
            cert: self.fingerprint(),
            cert_sha256: self.sha256,
            sign: self.usable.sign.clone(),
            encrypt: self.usable.encrypt.clone(),
        }
    }

    /// Refuses a key that somebody else in `epoch` has: as a fingerprint, a 64-bit key id, or the same key
    /// material under another fingerprint (`key-reuse`); and a certificate that was called compromised.
    ///
    /// Attack: bob hands in alice's certificate, or one with her subkey, and his powers become hers in every
    /// report while she opens what is sealed to him (T12, T28).
    pub fn check_unshared<'a>(
        &self,
        name: &PersonName,
        epoch: &Epoch,
        find: impl Fn(&Digest) -> Option<&'a Certificate>,
    ) -> Result<(), Failure> {
        let own = marks(&self.certificate);
        for (other, person) in epoch.persons.iter().filter(|(other, _)| *other != name) {
            let Some(certificate) = find(&person.cert_sha256) else { continue };
            if let Some((mark, key)) = marks(certificate).intersection(&own).next() {
                let what = match mark.as_str() {
                    "fingerprint" => format!("{other} has this key already: {key}"),
                    _ => format!("{other} has a key with the same {mark}: {key}"),
                };
                return Err(Failure::refused(format!("{what}; no two persons share a key")).help(Remedy::PersonList));
            }
        }
        let compromised = epoch.former.iter().find(|former| {
            former.reason == crate::trust::FormerReason::Compromised && former.cert == self.fingerprint()
        });
        match compromised {
            Some(former) => Err(Failure::refused(format!(
                "the certificate {} of {} was called compromised in epoch {} and never comes back",
                former.cert, former.person, former.epoch
            ))),
            None => Ok(()),
        }
    }
}

fn marks(certificate: &Certificate) -> BTreeSet<(String, String)> {
    let keys = certificate.keys();
    let marks = keys.iter().flat_map(|key| {
        [
            ("fingerprint".to_owned(), key.fingerprint.to_string()),
            ("key id".to_owned(), key.key_id.to_string()),
            ("key material".to_owned(), key.material.to_string()),
        ]
    });
    marks.collect()
}

fn export() -> Remedy {
    Remedy::Run("gpg --export --armor alice".to_owned())
}

fn refused(fault: &CertificateFault) -> Failure {
    let what = match fault {
        CertificateFault::Secret => {
            "it holds a secret key: export the public certificate alone, and delete this file if others could read it"
                .to_owned()
        }
        CertificateFault::Trailing(why) => {
            format!("{why}; give exactly one certificate, by its fingerprint: a name may match several")
        }
        CertificateFault::Armor(why) | CertificateFault::NotACertificate(why) => why.clone(),
    };
    Failure::refused(what).help(export())
}

fn unusable(fault: &UnusableFault) -> Failure {
    Failure::refused(fault.to_string()).help(Remedy::Run("gpg --list-options show-unusable-subkeys -k".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Span;
    use crate::openpgp::generate;

    fn now() -> Time {
        Time::parse("2026-11-24T12:00:00Z").unwrap()
    }

    #[test]
    fn a_certificate_is_taken_in_its_stored_form() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("alice.asc");
        let (certificate, _) = generate("alice", now(), None).unwrap();
        std::fs::write(&path, certificate.to_stored()).unwrap();
        let given = Given::read(&path, now()).unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(given.sha256, Digest::of(&given.stored));
        assert_eq!(given.person(TrustRole::Root).cert, certificate.fingerprint());
    }

    #[test]
    fn secret_keys_several_certificates_expired_ones_and_nothing_are_refused_with_the_reason() {
        let scratch = tempfile::tempdir().unwrap();
        let (alice, secret) = generate("alice", now().minus(Span::days(3)), Some(Span::days(1))).unwrap();
        let (bob, _) = generate("bob", now(), None).unwrap();
        let two = [bob.to_stored(), alice.to_stored()].concat();
        for (bytes, exit, why) in [
            (secret.expose().to_vec(), 3, "holds a secret key"),
            (two, 3, "exactly one certificate"),
            (alice.to_stored(), 3, "expired on 2026-11-22"),
            (b"hello".to_vec(), 3, "no OpenPGP certificate"),
            (Vec::new(), 2, "is empty"),
        ] {
            let path = scratch.path().join("given");
            std::fs::write(&path, bytes).unwrap();
            let failure = Given::read(&path, now()).err().unwrap();
            assert_eq!(failure.exit, exit, "{failure}");
            assert!(failure.what.contains(why) && failure.what.contains("given"), "{failure}");
        }
        let failure = Given::read(&scratch.path().join("nothing"), now()).err().unwrap();
        assert_eq!(failure.exit, 2);
    }
}
