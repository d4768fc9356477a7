//! A person's OpenPGP certificate: public parts only, read strictly from the repository (`parse_stored`) or
//! leniently from a person's hands (`parse_given`), and what its own bytes say about each key.
//!
//! Nothing here asks the clock: facts about keys are taken at a reference time that comes from the newest
//! self-signature in the bytes. What is usable now is decided in `usable`.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use sequoia_openpgp as sq;
use sq::cert::prelude::*;
use sq::crypto::mpi::PublicKey;
use sq::packet::Key;
use sq::packet::key::{PublicParts, UnspecifiedRole};
use sq::parse::Parse as _;
use sq::serialize::Marshal as _;

use super::armor::{self, ArmorFault};
use super::packet::{self, tag};
use super::{LENIENT, POLICY, Purpose, fingerprint};
use crate::model::{Code, Digest, Fingerprint, KeyId, Time};

pub(super) const LABEL: &str = "PGP PUBLIC KEY BLOCK";

/// The largest certificate in octets (FORMAT 1); what is handed in may bring more third-party signatures along.
const LARGEST_STORED: usize = 256 * 1024;
const LARGEST_GIVEN: usize = 4 * 1024 * 1024;

/// One OpenPGP certificate. Cloning is cheap.
#[derive(Clone)]
pub struct Certificate {
    cert: Arc<sq::Cert>,
    fingerprint: Fingerprint,
    keys: Arc<Vec<KeyRecord>>,
}

/// What distinguishes a key (FORMAT 3, `key-reuse`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFacts {
    /// The fingerprint.
    pub fingerprint: Fingerprint,
    /// The 64-bit key id.
    pub key_id: KeyId,
    /// SHA-256 over what makes the key itself: the modulus, or the curve's point. Exponents, KDF parameters and
    /// the old or new OpenPGP name of one algorithm are left out, since they could be varied to hide that the
    /// same secret key stands under two names.
    pub material: Digest,
    /// The algorithm in words, such as `Ed25519` or `RSA 3072`.
    pub algorithm: String,
}

/// One key and what the certificate's bytes say about it.
pub(super) struct KeyRecord {
    pub facts: KeyFacts,
    pub key: Key<PublicParts, UnspecifiedRole>,
    /// Bound by a signature that the policy accepts.
    pub bound: bool,
    /// Allowed to sign, by the newest binding that the policy accepts.
    pub signs: bool,
    /// Allowed to be encrypted to, likewise.
    pub encrypts: bool,
    /// What the newest binding says whatever its hash: for words alone.
    pub claims: (bool, bool),
    pub revoked: bool,
    pub weakness: Option<String>,
    pub created: Time,
    pub expires: Option<Time>,
}

/// Why bytes are not a certificate that kluis takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    /// The armor is not the strict one.
    #[error("{0}")]
    Armor(String),
    /// It holds secret keys.
    #[error("it holds a secret key")]
    Secret,
    /// More than one certificate, or packets that do not belong into one.
    #[error("{0}")]
    Trailing(String),
    /// Not a certificate at all.
    #[error("{0}")]
    NotACertificate(String),
}

impl CertificateFault {
    /// The finding's code.
    pub fn code(&self) -> Code {
        match self {
            Self::Armor(_) => Code::BadArmor,
            Self::Secret => Code::SecretMaterial,
            Self::Trailing(_) => Code::TrailingData,
            Self::NotACertificate(_) => Code::BadKey,
        }
    }
}

/// Why a key must not be listed (FORMAT 3).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// Missing, unbound, with the wrong flag, or revoked.
    #[error("{0}")]
    Bad(String),
    /// Of a kind or size that does not count.
    #[error("{0}")]
    Weak(String),
}

impl KeyFault {
    /// The finding's code.
    pub fn code(&self) -> Code {
        match self {
            Self::Bad(_) => Code::BadKey,
            Self::Weak(_) => Code::WeakKey,
        }
    }
}

impl Certificate {
    /// Reads `pubkeys/NAME.asc`: one strictly armored certificate (FORMAT 1) and nothing else.
    ///
    /// # Errors
    /// If the armor is lax, or there is anything but one certificate's public packets.
    pub fn parse_stored(bytes: &[u8]) -> Result<Self, CertificateFault> {
        if bytes.len() > LARGEST_STORED {
            return Err(CertificateFault::NotACertificate(format!("it is larger than {LARGEST_STORED} bytes")));
        }
        if packet::holds_secret_key(bytes) {
            return Err(CertificateFault::Secret);
        }
        let packets = armor::read(bytes, LABEL).map_err(|fault| match fault {
            ArmorFault::Bad(why) => CertificateFault::Armor(why.to_owned()),
            ArmorFault::Trailing => CertificateFault::Trailing(fault.to_string()),
        })?;
        Self::from_packets(&packets, false)
    }

    /// Reads what a person hands in: armored or binary, exactly one certificate. Third-party signatures, user
    /// attributes and packets of a local keyring are left out.
    ///
    /// # Errors
    /// If it holds a secret key, several certificates or none.
    pub fn parse_given(bytes: &[u8]) -> Result<Self, CertificateFault> {
        let not = |why: &str| CertificateFault::NotACertificate(why.to_owned());
        if bytes.len() > LARGEST_GIVEN {
            return Err(not("it is larger than 4 MiB"));
        }
        if packet::holds_secret_key(bytes) {
            return Err(CertificateFault::Secret);
        }
        let packets = if bytes.first().is_some_and(|first| first & 0x80 != 0) {
            bytes.to_vec()
        } else {
            let begins = b"-----BEGIN PGP ";
            if bytes.windows(begins.len()).filter(|window| window == begins).count() > 1 {
                return Err(CertificateFault::Trailing("there is more than one armored block".to_owned()));
            }
            let mut decoded = Vec::new();
            let mut reader =
                sq::armor::Reader::from_bytes(bytes, sq::armor::ReaderMode::Tolerant(Some(sq::armor::Kind::PublicKey)));
            std::io::Read::read_to_end(&mut reader, &mut decoded)
                .map_err(|_| not("it holds no OpenPGP certificate, armored or binary"))?;
            decoded
        };
        Self::from_packets(&Self::from_packets(&packets, true)?.own_packets(), false)
    }

    /// The bytes to store: armored by kluis, the owner's packets alone, keys in the order in which they were read.
    pub fn to_stored(&self) -> Vec<u8> {
        armor::write(&self.own_packets(), LABEL)
    }

    /// The fingerprint of the primary key: it names the certificate.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint.clone()
    }

    /// The primary key and every bound subkey, in the order of the bytes.
    pub fn keys(&self) -> Vec<KeyFacts> {
        let own = self.keys.iter().enumerate().filter(|(at, key)| *at == 0 || key.bound);
        own.map(|(_, key)| key.facts.clone()).collect()
    }

    /// Whether a statement may list `key` for `purpose` (FORMAT 3): the bytes bind it with the right flag by a
    /// SHA-2 or SHA-3 signature, revoke neither it nor the primary, and both are strong. No clock is asked, and
    /// expiry is not looked at.
    ///
    /// # Errors
    /// With the reason, as `bad-key` or `weak-key`.
    pub fn check_listed(&self, key: &Fingerprint, purpose: Purpose) -> Result<(), KeyFault> {
        let bad = |why: String| Err(KeyFault::Bad(why));
        let Some(record) = self.record(key) else {
            return bad(format!("{key} is not a key of certificate {}", self.fingerprint));
        };
        for (whose, one) in [("primary key", self.primary()), ("key", record)] {
            if one.revoked {
                return bad(format!("the {whose} {} is revoked", one.facts.fingerprint));
            }
            if let Some(why) = &one.weakness {
                return Err(KeyFault::Weak(format!("the {whose} {} is weak: {why}", one.facts.fingerprint)));
            }
        }
        if !record.bound {
            return bad(format!("{key} is not bound to the certificate by a SHA-2 or SHA-3 signature"));
        }
        let flagged = match purpose {
            Purpose::Sign => record.signs,
            Purpose::Encrypt => record.encrypts,
        };
        if flagged { Ok(()) } else { bad(format!("{key} is not for {purpose}")) }
    }

    /// When `key` and its primary both live, as the newest binding in these bytes says: from the first time on,
    /// until just before the second; `None` there is for ever. `None` if the key is not bound.
    pub fn life(&self, key: &Fingerprint) -> Option<(Time, Option<Time>)> {
        let (record, primary) = (self.record(key).filter(|record| record.bound)?, self.primary());
        let expires = match (record.expires, primary.expires) {
            (Some(own), Some(whole)) => Some(own.min(whole)),
            (own, whole) => own.or(whole),
        };
        Some((record.created.max(primary.created), expires))
    }

    /// The user ids as raw text, for display alone: they are whatever their maker typed, line breaks and terminal
    /// codes included, so the caller escapes them.
    pub fn user_ids(&self) -> Vec<String> {
        self.cert.userids().map(|user| String::from_utf8_lossy(user.userid().value()).into_owned()).collect()
    }

    /// The record of `key`, bound or not.
    pub(super) fn record(&self, key: &Fingerprint) -> Option<&KeyRecord> {
        self.keys.iter().find(|record| record.facts.fingerprint == *key)
    }

    pub(super) fn records(&self) -> &[KeyRecord] {
        &self.keys
    }

    pub(super) fn primary(&self) -> &KeyRecord {
        &self.keys[0]
    }

    pub(super) fn cert(&self) -> &sq::Cert {
        &self.cert
    }

    /// Takes the public parts of a certificate that was made or loaded here.
    pub(super) fn from_cert(cert: &sq::Cert) -> Result<Self, CertificateFault> {
        let mut packets = Vec::new();
        cert.serialize(&mut packets).map_err(|error| CertificateFault::NotACertificate(error.to_string()))?;
        Self::from_packets(&packets, false)
    }

    /// Reads exactly one certificate from binary packets. With `foreign` also packets that only a keyring has.
    fn from_packets(bytes: &[u8], foreign: bool) -> Result<Self, CertificateFault> {
        let not = |why: String| CertificateFault::NotACertificate(why);
        let packets = packet::split(bytes).map_err(|fault| not(fault.to_string()))?;
        if packets.first().is_none_or(|first| first.tag != tag::PUBLIC_KEY) {
            return Err(not("it does not begin with an OpenPGP public key".to_owned()));
        }
        for (at, one) in packets.iter().enumerate() {
            match one.tag {
                tag::PUBLIC_KEY if at > 0 => {
                    return Err(CertificateFault::Trailing("there is more than one certificate".to_owned()));
                }
                _ if one.partial => return Err(not("a packet of the certificate comes in parts".to_owned())),
                tag::PUBLIC_KEY | tag::PUBLIC_SUBKEY | tag::SIGNATURE | tag::USER_ID | tag::USER_ATTRIBUTE => {}
                tag::TRUST | tag::MARKER if foreign => {}
                other => {
                    let why = format!("a packet of type {other} does not belong into a certificate");
                    return Err(CertificateFault::Trailing(why));
                }
            }
        }
        let cert = sq::Cert::from_bytes(bytes).map_err(|error| not(error.to_string()))?;
        if cert.is_tsk() {
            return Err(CertificateFault::Secret);
        }
        let name = fingerprint(&cert.fingerprint()).ok_or_else(|| not("its version is not 4 or 6".to_owned()))?;
        let order = key_order(&packets);
        let mut keys = records(&cert);
        keys.sort_by_key(|record| {
            let place = order.iter().position(|one| *one == record.facts.fingerprint);
            (record.facts.fingerprint != name, place.unwrap_or(usize::MAX))
        });
        if keys.first().is_none_or(|first| first.facts.fingerprint != name) {
            return Err(not("its primary key cannot be read".to_owned()));
        }
        Ok(Self { cert: Arc::new(cert), fingerprint: name, keys: Arc::new(keys) })
    }

    /// The packets of [`ordered`](Self::ordered), as octets.
    fn own_packets(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for packet in self.ordered() {
            packet.serialize(&mut bytes).expect("writing to memory does not fail");
        }
        bytes
    }

    /// Primary key, user ids and subkeys with their own signatures. Third-party signatures are not ours to
    /// publish and decide nothing here; revocations by a designated revoker (deprecated by RFC 9580) fall under
    /// them, and a person who is gone is taken off the epoch instead.
    fn ordered(&self) -> Vec<sq::Packet> {
        let mut packets: Vec<sq::Packet> = Vec::new();
        let exportable = |signature: &&sq::packet::Signature| signature.exportable().is_ok();
        let primary = self.cert.primary_key();
        packets.push(primary.key().clone().into());
        let signatures = primary.self_revocations().chain(primary.self_signatures()).filter(exportable);
        packets.extend(signatures.cloned().map(sq::Packet::from));
        for user in self.cert.userids() {
            let signatures: Vec<_> =
                user.self_revocations().chain(user.self_signatures()).filter(exportable).cloned().collect();
            if !signatures.is_empty() {
                packets.push(user.userid().clone().into());
                packets.extend(signatures.into_iter().map(sq::Packet::from));
            }
        }
        for record in self.keys.iter().skip(1) {
            let subkeys = self.cert.keys().subkeys();
            for subkey in subkeys.filter(|one| one.key().fingerprint() == record.key.fingerprint()) {
                let signatures: Vec<_> =
                    subkey.self_revocations().chain(subkey.self_signatures()).filter(exportable).cloned().collect();
                if !signatures.is_empty() {
                    packets.push(subkey.key().clone().into());
                    packets.extend(signatures.into_iter().map(sq::Packet::from));
                }
            }
        }
        packets
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.fingerprint)
    }
}

/// The fingerprints of all keys as the packets stand.
fn key_order(packets: &[packet::Packet<'_>]) -> Vec<Fingerprint> {
    let keys = packets.iter().filter(|one| matches!(one.tag, tag::PUBLIC_KEY | tag::PUBLIC_SUBKEY));
    keys.filter_map(|one| match sq::Packet::from_bytes(one.raw) {
        Ok(sq::Packet::PublicKey(key)) => fingerprint(&key.fingerprint()),
        Ok(sq::Packet::PublicSubkey(key)) => fingerprint(&key.fingerprint()),
        _ => None,
    })
    .collect()
}

fn records(cert: &sq::Cert) -> Vec<KeyRecord> {
    let reference = reference_time(cert);
    let mut records: Vec<KeyRecord> = Vec::new();
    for key in cert.keys() {
        let Some(name) = fingerprint(&key.key().fingerprint()) else { continue };
        if records.iter().any(|one| one.facts.fingerprint == name) {
            continue;
        }
        let valid = key.clone().with_policy(&*POLICY, reference).ok();
        let claimed = key.clone().with_policy(&*LENIENT, reference).ok();
        let flags = |one: &Option<ValidErasedKeyAmalgamation<'_, PublicParts>>| {
            one.as_ref().map_or((false, false), |one| {
                (one.for_signing(), one.for_storage_encryption() || one.for_transport_encryption())
            })
        };
        let (signs, encrypts) = flags(&valid);
        let expiry = valid.as_ref().or(claimed.as_ref()).and_then(|one| one.key_expiration_time());
        records.push(KeyRecord {
            facts: KeyFacts {
                key_id: name.key_id(),
                fingerprint: name,
                material: material(key.key().mpis()),
                algorithm: algorithm(key.key()),
            },
            bound: valid.is_some(),
            signs,
            encrypts,
            claims: flags(&claimed),
            // Any revocation by the owner counts, whatever its reason, date and hash: a key that was taken back
            // once must not come back by a newer binding in the same bytes.
            revoked: key.self_revocations().next().is_some(),
            weakness: weakness(key.key()),
            created: Time::from_system(key.key().creation_time()),
            expires: expiry.map(Time::from_system),
            key: key.key().clone(),
        });
    }
    records
}

/// The newest moment that the owner's signatures in the bytes speak of: every binding is in force then.
fn reference_time(cert: &sq::Cert) -> SystemTime {
    let keys = cert.keys().flat_map(|key| {
        let made = key.key().creation_time();
        key.self_signatures().filter_map(|one| one.signature_creation_time()).chain([made]).collect::<Vec<_>>()
    });
    let users = cert
        .userids()
        .flat_map(|user| user.self_signatures().filter_map(|one| one.signature_creation_time()).collect::<Vec<_>>());
    keys.chain(users).max().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Why a key is of no use for kluis (FORMAT 3): RSA from 2048 bits, the Edwards and Weierstrass curves of RFC
/// 9580, and the post-quantum algorithms of RFC 9980 are strong; DSA, ElGamal and the unknown are not.
fn weakness(key: &Key<PublicParts, UnspecifiedRole>) -> Option<String> {
    match key.mpis() {
        PublicKey::RSA { n, .. } if n.bits() < 2048 => Some(format!("RSA with {} bits, not 2048 or more", n.bits())),
        PublicKey::RSA { .. }
        | PublicKey::EdDSA { .. }
        | PublicKey::ECDSA { .. }
        | PublicKey::ECDH { .. }
        | PublicKey::X25519 { .. }
        | PublicKey::X448 { .. }
        | PublicKey::Ed25519 { .. }
        | PublicKey::Ed448 { .. }
        | PublicKey::MLDSA65_Ed25519 { .. }
        | PublicKey::MLDSA87_Ed448 { .. }
        | PublicKey::SLHDSA128s { .. }
        | PublicKey::SLHDSA128f { .. }
        | PublicKey::SLHDSA256s { .. }
        | PublicKey::MLKEM768_X25519 { .. }
        | PublicKey::MLKEM1024_X448 { .. } => None,
        _ => Some(format!("{} is not accepted", key.pk_algo())),
    }
}

fn algorithm(key: &Key<PublicParts, UnspecifiedRole>) -> String {
    match key.mpis() {
        PublicKey::RSA { n, .. } => format!("RSA {}", n.bits()),
        PublicKey::EdDSA { curve, .. } | PublicKey::ECDSA { curve, .. } | PublicKey::ECDH { curve, .. } => {
            curve.to_string()
        }
        _ => key.pk_algo().to_string(),
    }
}

/// See [`KeyFacts::material`].
fn material(key: &PublicKey) -> Digest {
    let of = |family: &[u8], value: &[u8]| Digest::of_parts(&[b"kluis-material:", family, value]);
    match key {
        PublicKey::RSA { n, .. } => of(b"rsa:", n.value()),
        // The old encoding puts 0x40 before a native point, RFC 9580's own algorithms do not.
        PublicKey::EdDSA { q, .. } | PublicKey::ECDSA { q, .. } | PublicKey::ECDH { q, .. } => {
            of(b"curve:", q.value().strip_prefix(&[0x40]).unwrap_or(q.value()))
        }
        PublicKey::Ed25519 { a } => of(b"curve:", a),
        PublicKey::Ed448 { a } => of(b"curve:", &a[..]),
        PublicKey::X25519 { u } => of(b"curve:", u),
        PublicKey::X448 { u } => of(b"curve:", &u[..]),
        other => {
            let mut bytes = Vec::new();
            other.serialize(&mut bytes).expect("writing to memory does not fail");
            of(b"other:", &bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Span;
    use crate::openpgp::generate;

    fn made() -> Certificate {
        generate("alice", Time::parse("2026-01-02T03:04:05Z").unwrap(), Some(Span::days(365))).unwrap().0
    }

    #[test]
    fn what_is_stored_is_read_again() {
        let cert = made();
        let stored = cert.to_stored();
        let again = Certificate::parse_stored(&stored).unwrap();
        assert_eq!(again.to_stored(), stored);
        assert_eq!(again.fingerprint(), cert.fingerprint());
        assert_eq!(again.keys(), cert.keys());
        assert_eq!(Certificate::parse_given(&stored).unwrap().to_stored(), stored);
        assert_eq!(again.user_ids(), ["alice"]);
    }

    #[test]
    fn keys_are_listed_for_what_they_are_for() {
        let cert = made();
        let keys = cert.keys();
        assert_eq!(keys.len(), 2);
        let [primary, subkey] = [&keys[0].fingerprint, &keys[1].fingerprint];
        assert_eq!(cert.check_listed(primary, Purpose::Sign), Ok(()));
        assert_eq!(cert.check_listed(subkey, Purpose::Encrypt), Ok(()));
        assert_eq!(cert.check_listed(primary, Purpose::Encrypt).unwrap_err().code(), Code::BadKey);
        assert_eq!(cert.check_listed(subkey, Purpose::Sign).unwrap_err().code(), Code::BadKey);
        let stranger = made().fingerprint();
        assert_eq!(cert.check_listed(&stranger, Purpose::Sign).unwrap_err().code(), Code::BadKey);
        let created = Time::parse("2026-01-02T03:04:05Z").unwrap();
        assert_eq!(cert.life(primary), Some((created, Some(created.plus(Span::days(365))))));
        assert_eq!(cert.life(&stranger), None);
    }

    #[test]
    fn two_certificates_in_one_file_are_refused() {
        let (one, other) = (made(), made());
        let packets = |cert: &Certificate| armor::read(&cert.to_stored(), LABEL).unwrap();
        let both = [packets(&one), packets(&other)].concat();
        let fault = Certificate::parse_stored(&armor::write(&both, LABEL)).unwrap_err();
        assert_eq!(fault.code(), Code::TrailingData);
        assert_eq!(Certificate::parse_given(&both).unwrap_err().code(), Code::TrailingData);
        let after = [one.to_stored(), other.to_stored()].concat();
        assert_eq!(Certificate::parse_stored(&after).unwrap_err().code(), Code::TrailingData);
        assert_eq!(Certificate::parse_given(&after).unwrap_err().code(), Code::TrailingData);
    }

    #[test]
    fn secret_keys_are_refused_under_any_label() {
        let (_, secret) = generate("alice", Time::from_unix(1_700_000_000), None).unwrap();
        let text = String::from_utf8(secret.expose().to_vec()).unwrap();
        assert!(crate::openpgp::holds_secret_key(text.as_bytes()));
        let relabelled = text.replace("PRIVATE KEY", "PUBLIC KEY");
        for text in [text.clone(), relabelled, format!("hello\n{text}")] {
            assert!(crate::openpgp::holds_secret_key(text.as_bytes()));
            assert_eq!(Certificate::parse_stored(text.as_bytes()).unwrap_err(), CertificateFault::Secret);
            assert_eq!(Certificate::parse_given(text.as_bytes()).unwrap_err(), CertificateFault::Secret);
        }
        assert!(!crate::openpgp::holds_secret_key(&made().to_stored()));
    }

    #[test]
    fn foreign_packets_and_lax_armor_are_refused() {
        let packets = armor::read(&made().to_stored(), LABEL).unwrap();
        for foreign in [&[0xcb, 2, b't', 0][..], &[0xca, 3, b'P', b'G', b'P'], &[0xd5, 1, 0], &[0xcc, 1, 0]] {
            let bytes = armor::write(&[&packets[..], foreign].concat(), LABEL);
            assert_eq!(Certificate::parse_stored(&bytes).unwrap_err().code(), Code::TrailingData);
        }
        assert_eq!(Certificate::parse_stored(&packets).unwrap_err().code(), Code::BadArmor);
        assert_eq!(Certificate::parse_given(b"hello").unwrap_err().code(), Code::BadKey);
        assert!(Certificate::parse_given(&packets).is_ok());
    }
}
