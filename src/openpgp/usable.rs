//! Which keys of a certificate can be used at a given moment, and in words why the others cannot.
//!
//! It chooses what a new epoch lists and what is offered to seal to. What an epoch already lists is judged by
//! `certificate::check_listed`, without a clock.

use std::fmt;

use sequoia_openpgp as sq;
use sq::cert::prelude::*;

use super::certificate::{Certificate, KeyRecord};
use super::{LENIENT, POLICY, Purpose};
use crate::model::{Fingerprint, Time};

/// The keys to list, in the order of the certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usable {
    /// For signing.
    pub sign: Vec<Fingerprint>,
    /// For encryption.
    pub encrypt: Vec<Fingerprint>,
}

/// Why a certificate is of no use now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnusableFault {
    /// The certificate as a whole: what its primary key is.
    Certificate(Fingerprint, String),
    /// It has no usable key for a purpose: each key that is for it, and why it cannot be used.
    NoKey(Purpose, Vec<(Fingerprint, String)>),
}

impl fmt::Display for UnusableFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(fingerprint, why) => write!(f, "the certificate {fingerprint} {why}"),
            Self::NoKey(purpose, keys) => match &keys[..] {
                [] => write!(f, "it has no {purpose} key"),
                [(key, why)] => write!(f, "its only {purpose} key {key} {why}"),
                several => {
                    write!(f, "none of its {purpose} keys can be used:")?;
                    for (at, (key, why)) in several.iter().enumerate() {
                        write!(f, "{} {key} {why}", if at == 0 { "" } else { ";" })?;
                    }
                    Ok(())
                }
            },
        }
    }
}

impl std::error::Error for UnusableFault {}

impl Certificate {
    /// All keys that are good at `now`: bound by SHA-2 or SHA-3, with the right flag, alive, not revoked, strong,
    /// and of an algorithm that this build can use. All of them are taken, not the newest alone as gpg does:
    /// who has two hardware keys has one subkey on each.
    ///
    /// # Errors
    /// If the certificate as a whole can't be used, or has no key to sign with or to encrypt to; with the reason
    /// and the date.
    pub fn usable(&self, now: Time) -> Result<Usable, UnusableFault> {
        let primary = self.primary();
        if let Some(why) = self.whole(now).or_else(|| self.own(primary, now)) {
            return Err(UnusableFault::Certificate(self.fingerprint(), why));
        }
        let choose = |purpose: Purpose| {
            let mut good = Vec::new();
            let mut bad = Vec::new();
            for record in self.records() {
                let wanted = match purpose {
                    Purpose::Sign => (record.signs, record.claims.0),
                    Purpose::Encrypt => (record.encrypts, record.claims.1),
                };
                match self.own(record, now) {
                    None if wanted.0 && self.flagged(record, purpose, now) => {
                        good.push(record.facts.fingerprint.clone())
                    }
                    Some(why) if wanted.1 => bad.push((record.facts.fingerprint.clone(), why)),
                    _ => {}
                }
            }
            if good.is_empty() { Err(UnusableFault::NoKey(purpose, bad)) } else { Ok(good) }
        };
        Ok(Usable { sign: choose(Purpose::Sign)?, encrypt: choose(Purpose::Encrypt)? })
    }

    /// Why the certificate can't be used at `now`, from its primary key and user ids.
    fn whole(&self, now: Time) -> Option<String> {
        let cert = self.cert();
        if self.primary().revoked {
            let when = cert.primary_key().self_revocations().find_map(|one| one.signature_creation_time());
            return Some(match when {
                Some(when) => format!("was revoked on {}", day(Time::from_system(when))),
                None => "is revoked".to_owned(),
            });
        }
        match cert.with_policy(&*POLICY, now.system()) {
            Ok(_) => None,
            Err(_) if cert.with_policy(&*LENIENT, now.system()).is_ok() => Some(
                "is signed by its owner with SHA-1 or weaker only: let its owner renew its expiry with a newer program"
                    .to_owned(),
            ),
            Err(_) if self.primary().created > now => {
                Some(format!("is not valid before {}", day(self.primary().created)))
            }
            Err(_) => Some("has no valid signature of its owner".to_owned()),
        }
    }

    /// Why one key can't be used at `now`.
    fn own(&self, record: &KeyRecord, now: Time) -> Option<String> {
        if record.revoked {
            return Some("is revoked".to_owned());
        }
        if let Some(why) = &record.weakness {
            return Some(format!("is weak: {why}"));
        }
        if !record.key.pk_algo().is_supported() {
            return Some(format!("is of an algorithm that this build cannot use ({})", record.facts.algorithm));
        }
        let key = self.cert().keys().find(|key| key.key().fingerprint() == record.key.fingerprint())?;
        let valid = match key.clone().with_policy(&*POLICY, now.system()) {
            Ok(valid) => valid,
            Err(_) if record.created > now => return Some(format!("is not valid before {}", day(record.created))),
            Err(_) if key.with_policy(&*LENIENT, now.system()).is_ok() => {
                return Some("is bound by SHA-1 or weaker only".to_owned());
            }
            Err(_) => return Some("is not bound to the certificate".to_owned()),
        };
        let expired = valid.key_expiration_time().map(Time::from_system).filter(|end| *end <= now);
        expired.map(|end| format!("expired on {}", day(end)))
    }

    /// Whether the binding in force at `now` has the flag.
    fn flagged(&self, record: &KeyRecord, purpose: Purpose, now: Time) -> bool {
        let key = self.cert().keys().find(|key| key.key().fingerprint() == record.key.fingerprint());
        let Some(valid) = key.and_then(|key| key.with_policy(&*POLICY, now.system()).ok()) else { return false };
        match purpose {
            Purpose::Sign => valid.for_signing(),
            Purpose::Encrypt => valid.for_storage_encryption() || valid.for_transport_encryption(),
        }
    }
}

fn day(time: Time) -> String {
    time.to_string()[..10].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Span;
    use crate::openpgp::generate;

    #[test]
    fn a_fresh_certificate_is_usable_until_it_expires() {
        let made = Time::parse("2026-01-02T03:04:05Z").unwrap();
        let (cert, _) = generate("alice", made, Some(Span::days(30))).unwrap();
        let usable = cert.usable(made.plus(Span::days(1))).unwrap();
        assert_eq!((usable.sign.len(), usable.encrypt.len()), (1, 1));
        let fault = cert.usable(made.plus(Span::days(30))).unwrap_err();
        assert!(fault.to_string().ends_with("expired on 2026-02-01"), "{fault}");
        let fault = cert.usable(made.minus(Span::days(1))).unwrap_err();
        assert!(fault.to_string().ends_with("is not valid before 2026-01-02"), "{fault}");
    }
}
