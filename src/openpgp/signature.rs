//! The signature rule of FORMAT 3: what a detached signature file may look like, and when it is good.
//!
//! One function for the form (`parse`), one for the arithmetic and the times (`verify`). `gpg --verify` and
//! Sequoia's own verifier both call more things good (SHA-1, text mode, several signatures in a file), so
//! neither of them is asked.

use sequoia_openpgp as sq;
use sq::packet::signature::subpacket::{Subpacket, SubpacketTag, SubpacketValue};
use sq::parse::Parse as _;
use sq::types::SignatureType;

use super::armor::{self, ArmorFault};
use super::certificate::Certificate;
use super::packet::{self, tag};
use super::{HASHES, Kind, fingerprint};
use crate::model::{Code, Fingerprint, Time};

pub(super) const LABEL: &str = "PGP SIGNATURE";
/// The name of the notation that says what is signed.
pub(super) const NOTATION: &str = "kind@kluis";

/// One detached signature whose form is right.
#[derive(Debug, Clone)]
pub struct Signature {
    packet: sq::packet::Signature,
    issuer: Fingerprint,
    created: Time,
}

/// Why a signature file is not good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    /// The armor is not the strict one.
    #[error("{0}")]
    Armor(String),
    /// More than one signature, or anything else after it.
    #[error("{0}")]
    Trailing(String),
    /// Not a binary document signature of version 4 (6 for v6 keys).
    #[error("{0}")]
    Type(String),
    /// Its hash does not count.
    #[error("it is made with {0}, which is no longer safe to sign with")]
    WeakHash(String),
    /// It does not say what it signs, or says something else.
    #[error("{0}")]
    Notation(String),
    /// It does not name its key in what it signs.
    #[error("{0}")]
    Unlisted(String),
    /// Its key or its primary had expired when it says that it was made.
    #[error("it says it was made at {created}, and key {key} had expired at {expired}")]
    KeyExpired {
        /// The key.
        key: Fingerprint,
        /// When the signature says that it was made.
        created: Time,
        /// The end of the key's life.
        expired: Time,
    },
    /// Its times are missing, doubled, or before its key's life.
    #[error("{0}")]
    SignatureTime(String),
    /// The arithmetic fails, or it is not a signature at all.
    #[error("{0}")]
    Bad(String),
}

impl SignatureFault {
    /// The finding's code.
    pub fn code(&self) -> Code {
        match self {
            Self::Armor(_) => Code::BadArmor,
            Self::Trailing(_) => Code::TrailingData,
            Self::Type(_) => Code::SignatureType,
            Self::WeakHash(_) => Code::WeakHash,
            Self::Notation(_) => Code::Notation,
            Self::Unlisted(_) => Code::UnlistedSigner,
            Self::KeyExpired { .. } => Code::KeyExpired,
            Self::SignatureTime(_) => Code::SignatureTime,
            Self::Bad(_) => Code::BadSignature,
        }
    }
}

impl Signature {
    /// Reads a signature file, armored or binary, that must be about a `kind`.
    ///
    /// # Errors
    /// With the first rule of FORMAT 3 that its form breaks.
    pub fn parse(bytes: &[u8], kind: Kind) -> Result<Self, SignatureFault> {
        let decoded;
        // A binary packet begins with the high bit set, an armored file with a dash.
        let bytes = if bytes.first().is_some_and(|first| first & 0x80 != 0) {
            bytes
        } else {
            decoded = armor::read(bytes, LABEL).map_err(|fault| match fault {
                ArmorFault::Bad(why) => SignatureFault::Armor(why.to_owned()),
                ArmorFault::Trailing => SignatureFault::Trailing(fault.to_string()),
            })?;
            &decoded
        };
        let signature = one_packet(bytes)?;
        let issuer = check_form(&signature, kind)?;
        let created = creation(&signature)?;
        Ok(Self { packet: signature, issuer, created })
    }

    /// The (sub)key that it says made it.
    pub fn issuer(&self) -> &Fingerprint {
        &self.issuer
    }

    /// When it says that it was made.
    pub fn created(&self) -> Time {
        self.created
    }

    /// Checks the signature over `data` with the key [`issuer`](Self::issuer) of `cert`, and that it was made in
    /// the life of that key and its primary as the bytes of `cert` say. Now is not consulted: the time in a
    /// signature is whatever its maker typed, and closing (FORMAT 5), not a clock, protects against that.
    ///
    /// Whether the key may sign at all is [`Certificate::check_listed`]'s.
    ///
    /// # Errors
    /// If the key is missing or unbound, the arithmetic fails, or the time is outside the life.
    pub fn verify(&self, data: &[u8], cert: &Certificate) -> Result<(), SignatureFault> {
        let missing = || SignatureFault::Bad(format!("key {} is not bound in the pinned certificate", self.issuer));
        let record = cert.record(&self.issuer).filter(|record| record.bound).ok_or_else(missing)?;
        let (from, until) = cert.life(&self.issuer).ok_or_else(missing)?;
        if self.created < from {
            let why = format!("it says it was made at {}, before its key existed ({from})", self.created);
            return Err(SignatureFault::SignatureTime(why));
        }
        // The arithmetic before the end of the life: bytes may differ between epochs in when a key expires, so a
        // caller may go on with an expired one, and must then know that the key did sign this.
        let arithmetic = self.packet.verify_message(&record.key, data);
        arithmetic.map_err(|_| {
            SignatureFault::Bad(format!("it is not a signature of key {} over these bytes", self.issuer))
        })?;
        match until.filter(|end| self.created >= *end) {
            Some(expired) => {
                Err(SignatureFault::KeyExpired { key: self.issuer.clone(), created: self.created, expired })
            }
            None => Ok(()),
        }
    }
}

/// Exactly one signature packet, to the last octet.
fn one_packet(bytes: &[u8]) -> Result<sq::packet::Signature, SignatureFault> {
    let packets = packet::split(bytes);
    let first = match &packets {
        Ok(packets) => packets.first(),
        Err(fault) => return Err(stray(bytes, *fault)),
    };
    let first = first.ok_or_else(|| SignatureFault::Bad("the file is empty".to_owned()))?;
    if first.tag != tag::SIGNATURE || first.partial {
        return Err(SignatureFault::Bad("it does not begin with an OpenPGP signature".to_owned()));
    }
    if first.raw.len() < bytes.len() {
        return Err(SignatureFault::Trailing("there is more than one packet in the file".to_owned()));
    }
    match sq::Packet::from_bytes(first.raw) {
        Ok(sq::Packet::Signature(signature)) => Ok(signature),
        _ => match first.body.first() {
            Some(version @ 0..=3) => Err(SignatureFault::Type(format!("it is a signature of version {version}"))),
            _ => Err(SignatureFault::Bad("the signature cannot be read".to_owned())),
        },
    }
}

/// What to call a file whose packets do not add up: rubbish after a whole signature is trailing data.
fn stray(bytes: &[u8], fault: packet::HeaderFault) -> SignatureFault {
    let at = match fault {
        packet::HeaderFault::NoPacket(at) | packet::HeaderFault::Short(at) | packet::HeaderFault::Indeterminate(at) => {
            at
        }
    };
    if at > 0 && at <= bytes.len() {
        SignatureFault::Trailing(format!("after the signature, {fault}"))
    } else {
        SignatureFault::Bad(fault.to_string())
    }
}

/// Checks everything that needs no key, from the hashed area alone; the unhashed one is anybody's to change.
fn check_form(signature: &sq::packet::Signature, kind: Kind) -> Result<Fingerprint, SignatureFault> {
    if signature.typ() != SignatureType::Binary {
        let why = format!("it is a signature of type {:#04x}, not of a binary document", u8::from(signature.typ()));
        return Err(SignatureFault::Type(why));
    }
    if !matches!(signature.version(), 4 | 6) {
        return Err(SignatureFault::Type(format!("it is a signature of version {}", signature.version())));
    }
    if !HASHES.contains(&signature.hash_algo()) {
        return Err(SignatureFault::WeakHash(signature.hash_algo().to_string()));
    }
    check_notations(signature, kind)?;
    for one in signature.hashed_area().iter() {
        let known = [SubpacketTag::SignatureCreationTime, SubpacketTag::Issuer, SubpacketTag::IssuerFingerprint];
        if one.critical() && !known.contains(&one.tag()) {
            return Err(match one.tag() {
                SubpacketTag::NotationData => SignatureFault::Notation("a notation is critical".to_owned()),
                SubpacketTag::SignatureExpirationTime => expiration(),
                other => SignatureFault::Bad(format!("it has a critical part that kluis does not know ({other})")),
            });
        }
    }
    if hashed(signature, SubpacketTag::SignatureExpirationTime).next().is_some() {
        return Err(expiration());
    }
    issuer(signature)
}

fn expiration() -> SignatureFault {
    SignatureFault::SignatureTime("it has an expiration time: statements do not expire by their signature".to_owned())
}

fn check_notations(signature: &sq::packet::Signature, kind: Kind) -> Result<(), SignatureFault> {
    let kinds: Vec<_> = hashed(signature, SubpacketTag::NotationData)
        .filter_map(|one| match one.value() {
            SubpacketValue::NotationData(notation) if notation.name() == NOTATION => Some((one.critical(), notation)),
            _ => None,
        })
        .collect();
    match &kinds[..] {
        [(false, notation)] if notation.value() == kind.as_str().as_bytes() => Ok(()),
        [(true, _)] => Err(SignatureFault::Notation(format!("the notation {NOTATION} is critical"))),
        [(false, notation)] => {
            let says = String::from_utf8_lossy(notation.value());
            Err(SignatureFault::Notation(format!("it says that it signs a {says:?}, and this is a {kind}")))
        }
        [] => Err(SignatureFault::Notation(format!("it has no notation {NOTATION}={kind}"))),
        _ => Err(SignatureFault::Notation(format!("it has more than one notation {NOTATION}"))),
    }
}

/// The one key that the signed part names.
fn issuer(signature: &sq::packet::Signature) -> Result<Fingerprint, SignatureFault> {
    let unlisted = |why: &str| SignatureFault::Unlisted(why.to_owned());
    let mut named: Vec<_> = hashed(signature, SubpacketTag::IssuerFingerprint)
        .filter_map(|one| match one.value() {
            SubpacketValue::IssuerFingerprint(print) => fingerprint(print),
            _ => None,
        })
        .collect();
    named.dedup();
    match &named[..] {
        [] => Err(unlisted("its signed part does not name the fingerprint of its key")),
        [one] if (one.as_str().len() == 64) == (signature.version() == 6) => Ok(one.clone()),
        [_] => Err(SignatureFault::Type("its version is not that of its key".to_owned())),
        // Programs would choose differently which of them made it.
        _ => Err(unlisted("it names more than one key")),
    }
}

fn creation(signature: &sq::packet::Signature) -> Result<Time, SignatureFault> {
    let times: Vec<_> = hashed(signature, SubpacketTag::SignatureCreationTime).collect();
    match (&times[..], signature.signature_creation_time()) {
        ([one], Some(_)) => match one.value() {
            SubpacketValue::SignatureCreationTime(time) => Ok(Time::from_system((*time).into())),
            _ => Err(SignatureFault::SignatureTime("its creation time cannot be read".to_owned())),
        },
        _ => Err(SignatureFault::SignatureTime("it does not say exactly once when it was made".to_owned())),
    }
}

fn hashed(signature: &sq::packet::Signature, tag: SubpacketTag) -> impl Iterator<Item = &Subpacket> {
    signature.hashed_area().iter().filter(move |one| one.tag() == tag)
}
