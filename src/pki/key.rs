//! Private keys: made, read, written and used for signing. The bytes leave only as `Secret`.
//! No `Debug` and no `Clone`: `rsa::RsaPrivateKey` prints its exponent in its own `Debug`.
//!
//! Ed25519 is read and never made: Talos has such an authority, while kubeadm loads no such key (`Algorithm`).

#![expect(clippy::disallowed_types, reason = "the one holder of RSA keys: it has no Debug and wipes them")]

use p256::elliptic_curve::Generate as _;
use rsa::pkcs1::{DecodeRsaPrivateKey as _, EncodeRsaPrivateKey as _};
use rsa::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, EncodePublicKey as _};
use rsa::signature::RandomizedSigner as _;
use rsa::traits::{PrivateKeyParts as _, PublicKeyParts as _};
use sha2::{Digest as _, Sha256};
use x509_cert::der::{AnyRef, Decode as _, Tag, TagNumber, Tagged as _};
use zeroize::Zeroizing;

use super::encode::{self, INTEGER, OCTET_STRING, SEQUENCE, tlv};
use super::error::PkiError;
use super::pem;
use super::signature::ED25519;
use crate::env::Rng;
use crate::model::{Algorithm, Digest};
use crate::secret::Secret;

/// So many keys of an elliptic curve are worth a thread.
const MANY: usize = 64;

/// A private key of one of the algorithms that clusters can run with, or an imported one of Ed25519. Wiped when
/// dropped.
pub struct PrivateKey {
    inner: Inner,
    algorithm: Option<Algorithm>,
    spki: Vec<u8>,
}

enum Inner {
    Rsa(Box<rsa::RsaPrivateKey>),
    P256(p256::SecretKey),
    P384(p384::SecretKey),
    Ed25519(Box<ed25519_dalek::SigningKey>),
}

impl PrivateKey {
    /// Makes a key. RSA keys have the exponent 65537 and take up to seconds.
    pub fn generate(algorithm: Algorithm, rng: &mut Rng) -> Self {
        let rsa = |bits, rng: &mut Rng| {
            let key = rsa::RsaPrivateKey::new(rng, bits).expect("the modulus is one of three supported sizes");
            Inner::Rsa(Box::new(key))
        };
        let inner = match algorithm {
            Algorithm::Rsa2048 => rsa(2048, rng),
            Algorithm::Rsa3072 => rsa(3072, rng),
            Algorithm::Rsa4096 => rsa(4096, rng),
            Algorithm::EcdsaP256 => Inner::P256(p256::SecretKey::generate_from_rng(rng)),
            Algorithm::EcdsaP384 => Inner::P384(p384::SecretKey::generate_from_rng(rng)),
        };
        Self::from_inner(inner).expect("a key that was just made has a supported size")
    }

    /// Makes `count` keys with the system's random numbers: RSA keys, and many of any kind, on all cores.
    pub fn generate_many(algorithm: Algorithm, count: usize) -> Vec<Self> {
        Self::generate_watched(algorithm, count, &mut |_| {})
    }

    /// As `generate_many`; tells `made` how many keys are there after each.
    pub fn generate_watched(algorithm: Algorithm, count: usize, made: &mut dyn FnMut(usize)) -> Vec<Self> {
        let is_slow = matches!(algorithm, Algorithm::Rsa2048 | Algorithm::Rsa3072 | Algorithm::Rsa4096);
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let workers = if is_slow || count >= MANY { cores.min(count) } else { 1 };
        let mut keys = Vec::with_capacity(count);
        if workers <= 1 {
            let mut rng = Rng::system();
            while keys.len() < count {
                keys.push(Self::generate(algorithm, &mut rng));
                made(keys.len());
            }
            return keys;
        }
        // The time to find a key varies a lot: workers take the next number, not a fixed share.
        let next = std::sync::atomic::AtomicUsize::new(0);
        let (found, finds) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 0..workers {
                let (next, found) = (&next, found.clone());
                scope.spawn(move || {
                    let mut rng = Rng::system();
                    while next.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < count {
                        // Nobody takes keys any more only if this thread's parent is gone too.
                        let _ = found.send(Self::generate(algorithm, &mut rng));
                    }
                });
            }
            drop(found);
            for key in finds {
                keys.push(key);
                made(keys.len());
            }
        });
        keys
    }

    /// Reads PKCS#8 DER. Fails on other algorithms and sizes, on an RSA key whose numbers do not belong
    /// together, and on an EC key whose public half is another one.
    pub fn from_pkcs8(der: &Secret) -> Result<Self, PkiError> {
        let der = der.expose();
        let inner = if let Ok(key) = p256::SecretKey::from_pkcs8_der(der) {
            Inner::P256(key)
        } else if let Ok(key) = p384::SecretKey::from_pkcs8_der(der) {
            Inner::P384(key)
        } else if let Ok(key) = rsa::RsaPrivateKey::from_pkcs8_der(der) {
            Inner::Rsa(Box::new(key))
        } else if let Some(key) = read_ed25519(der)? {
            Inner::Ed25519(key)
        } else {
            return Err(PkiError::PrivateKey("it is no PKCS#8 key of RSA, P-256, P-384 or Ed25519"));
        };
        Self::from_inner(inner)
    }

    /// Reads one key as other tools leave it: a block of one of `LABELS`, for OpenSSL's sake behind an `EC
    /// PARAMETERS` block, in any line length. Encrypted keys are refused.
    pub fn from_pem(text: &Secret) -> Result<Self, PkiError> {
        let found = Self::LABELS.iter().find_map(|label| Some((label, pem::read_lenient(text, label)?)));
        let (label, der) = found.ok_or(PkiError::PrivateKey(
            "the file has not exactly one unencrypted PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY block",
        ))?;
        Self::from_block(label, &der)
    }

    /// The labels of PEM blocks that `from_block` reads. The last is Talos' own, with PKCS#8 inside
    /// (kubernetes-pki B.3), which OpenSSL does not read.
    pub const LABELS: &'static [&'static str] =
        &["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ED25519 PRIVATE KEY"];

    /// Reads the content of a PEM block by its label: PKCS#8, PKCS#1 (RFC 8017) or SEC1 (RFC 5915).
    pub fn from_block(label: &str, der: &Secret) -> Result<Self, PkiError> {
        match label {
            "PRIVATE KEY" => Self::from_pkcs8(der),
            "RSA PRIVATE KEY" => {
                let key = rsa::RsaPrivateKey::from_pkcs1_der(der.expose())
                    .map_err(|_| PkiError::PrivateKey("it is no PKCS#1 key"))?;
                Self::from_inner(Inner::Rsa(Box::new(key)))
            }
            "EC PRIVATE KEY" => {
                let inner = if let Ok(key) = p256::SecretKey::from_sec1_der(der.expose()) {
                    Inner::P256(key)
                } else if let Ok(key) = p384::SecretKey::from_sec1_der(der.expose()) {
                    Inner::P384(key)
                } else {
                    return Err(PkiError::PrivateKey("it is no SEC1 key of P-256 or P-384"));
                };
                Self::from_inner(inner)
            }
            "ED25519 PRIVATE KEY" => {
                let other = PkiError::PrivateKey("it is no PKCS#8 key of Ed25519");
                Self::from_inner(Inner::Ed25519(read_ed25519(der.expose())?.ok_or(other)?))
            }
            _ => Err(PkiError::PrivateKey("its label is of no kind of key that is read")),
        }
    }

    fn from_inner(inner: Inner) -> Result<Self, PkiError> {
        let (algorithm, spki) = match &inner {
            Inner::Rsa(key) => (Some(rsa_algorithm(key)?), key.as_public_key().to_public_key_der()),
            Inner::P256(key) => (Some(Algorithm::EcdsaP256), key.public_key().to_public_key_der()),
            Inner::P384(key) => (Some(Algorithm::EcdsaP384), key.public_key().to_public_key_der()),
            Inner::Ed25519(key) => {
                let spki = super::halves::ed25519_public(key);
                return Ok(Self { inner, algorithm: None, spki });
            }
        };
        let spki = spki.map_err(|_| PkiError::PrivateKey("its public half can't be written"))?.into_vec();
        Ok(Self { inner, algorithm, spki })
    }

    /// PKCS#8 DER, version 1; an EC key carries its public half inside, as OpenSSL and Go write it.
    pub fn to_pkcs8(&self) -> Secret {
        let der = match &self.inner {
            Inner::Rsa(key) => key.to_pkcs8_der(),
            Inner::P256(key) => key.to_pkcs8_der(),
            Inner::P384(key) => key.to_pkcs8_der(),
            Inner::Ed25519(key) => return write_ed25519(key),
        };
        Secret::new(der.expect("a key that was read can be written").as_bytes().to_vec())
    }

    /// PEM as kubeadm and k3s write it: `RSA PRIVATE KEY` (PKCS#1) or `EC PRIVATE KEY` (SEC1 with the curve). Ed25519
    /// as Talos does: `ED25519 PRIVATE KEY`, with PKCS#8 inside.
    pub fn to_traditional_pem(&self) -> Secret {
        const WRITTEN: &str = "a key that was read can be written";
        match &self.inner {
            Inner::Rsa(key) => pem::write_secret("RSA PRIVATE KEY", key.to_pkcs1_der().expect(WRITTEN).as_bytes()),
            Inner::P256(key) => pem::write_secret("EC PRIVATE KEY", &key.to_sec1_der().expect(WRITTEN)),
            Inner::P384(key) => pem::write_secret("EC PRIVATE KEY", &key.to_sec1_der().expect(WRITTEN)),
            Inner::Ed25519(key) => pem::write_secret("ED25519 PRIVATE KEY", write_ed25519(key).expose()),
        }
    }

    /// PEM of the PKCS#8 form: `PRIVATE KEY`.
    pub fn to_pkcs8_pem(&self) -> Secret {
        pem::write_secret("PRIVATE KEY", self.to_pkcs8().expose())
    }

    /// The public key: SubjectPublicKeyInfo DER (RFC 5280, 4.1.2.7).
    pub fn spki(&self) -> Vec<u8> {
        self.spki.clone()
    }

    /// The SHA-256 of `spki`, by which records know the key.
    pub fn spki_id(&self) -> Digest {
        Digest::of(&self.spki)
    }

    /// The algorithm; `None` is Ed25519, of which no key is made.
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.algorithm
    }

    /// Signs with the hash that belongs to the key: SHA-256 for RSA (PKCS#1 v1.5) and P-256, SHA-384 for
    /// P-384; ECDSA signatures are DER. Ed25519 hashes by itself (RFC 8032).
    ///
    /// The random numbers blind RSA against timing, and are mixed into ECDSA's deterministic nonce (RFC
    /// 6979, 3.6). The nonce could be deterministic alone; then one computing fault while the same message
    /// is signed twice gives the key away. Random alone, a bad generator would. Both together need both.
    pub(super) fn sign(&self, message: &[u8], rng: &mut Rng) -> Vec<u8> {
        const SIGNS: &str = "a key of a supported size signs a hash";
        match &self.inner {
            Inner::Rsa(key) => {
                let scheme = rsa::Pkcs1v15Sign::new::<Sha256>();
                key.sign_with_rng(rng, scheme, &Sha256::digest(message)).expect(SIGNS)
            }
            Inner::P256(key) => {
                let key = p256::ecdsa::SigningKey::from(key);
                let signature: p256::ecdsa::DerSignature = key.try_sign_with_rng(rng, message).expect(SIGNS);
                signature.as_bytes().to_vec()
            }
            Inner::P384(key) => {
                let key = p384::ecdsa::SigningKey::from(key);
                let signature: p384::ecdsa::DerSignature = key.try_sign_with_rng(rng, message).expect(SIGNS);
                signature.as_bytes().to_vec()
            }
            Inner::Ed25519(key) => {
                use ed25519_dalek::Signer as _;
                key.sign(message).to_bytes().to_vec()
            }
        }
    }

    /// Signs as `sign` does, and gives the same signature for the same message again: ECDSA's nonce is the
    /// deterministic one alone (RFC 6979). What that leaves open is a computing fault in one of two signatures of a
    /// message, which gives the key away to who sees both; so nobody gets one to see that the key does not verify.
    /// RSA's signature never had anything random in it, and its own arithmetic checks for faults.
    pub(super) fn sign_repeatably(&self, message: &[u8], rng: &mut Rng) -> Vec<u8> {
        use p256::ecdsa::signature::{Signer as _, Verifier as _};
        const SIGNS: &str = "a key of a supported size signs a hash, and the processor does not err";
        match &self.inner {
            Inner::P256(key) => {
                let key = p256::ecdsa::SigningKey::from(key);
                let signature: p256::ecdsa::DerSignature = key.try_sign(message).expect(SIGNS);
                key.verifying_key().verify(message, &signature).expect(SIGNS);
                signature.as_bytes().to_vec()
            }
            Inner::P384(key) => {
                let key = p384::ecdsa::SigningKey::from(key);
                let signature: p384::ecdsa::DerSignature = key.try_sign(message).expect(SIGNS);
                key.verifying_key().verify(message, &signature).expect(SIGNS);
                signature.as_bytes().to_vec()
            }
            _ => self.sign(message, rng),
        }
    }
}

/// Reads PKCS#8 of Ed25519 (RFC 8410, 7): the seed in an OCTET STRING within the OCTET STRING, and in version 2 the
/// public half behind it, which must fit. `None` if it is of another kind.
///
/// By hand, because the crate's own reader is of another generation of PKCS#8 than everything else here, and its
/// writer makes a version 2 that OpenSSL 3.0 does not read.
fn read_ed25519(der: &[u8]) -> Result<Option<Box<ed25519_dalek::SigningKey>>, PkiError> {
    let fault = PkiError::PrivateKey("its Ed25519 key is not in the one form that it has");
    let Ok(sequence) = AnyRef::from_der(der) else { return Ok(None) };
    let mut members = sequence.value();
    let mut next = || {
        let (value, rest) = AnyRef::from_der_partial(members).ok()?;
        members = rest;
        Some(value)
    };
    let (Some(version), Some(algorithm)) = (next(), next()) else { return Ok(None) };
    if algorithm.value() != encode::oid(&ED25519).as_slice() {
        return Ok(None);
    }
    let (inside, attributes) = (next().ok_or(fault.clone())?, next());
    let seed: &[u8; 32] = match inside.value().strip_prefix(&[OCTET_STRING, 32]) {
        Some(seed) => seed.try_into().map_err(|_| fault.clone())?,
        None => return Err(fault),
    };
    let key = Box::new(ed25519_dalek::SigningKey::from_bytes(seed));
    let public = [&[0][..], key.verifying_key().as_bytes()].concat();
    let fits = match (version.value(), attributes) {
        ([0 | 1], None) => true,
        ([1], Some(half)) => half.tag() == PUBLIC_HALF && half.value() == public,
        _ => false,
    };
    if fits && members.is_empty() && sequence.tag() == Tag::Sequence { Ok(Some(key)) } else { Err(fault) }
}

/// The public half in PKCS#8 version 2 (RFC 5958, 2).
const PUBLIC_HALF: Tag = Tag::ContextSpecific { constructed: false, number: TagNumber(1) };

fn write_ed25519(key: &ed25519_dalek::SigningKey) -> Secret {
    // Of its full size from the start, which `tlv` is not: growing would leave copies of the key behind.
    let mut der = Zeroizing::new(Vec::with_capacity(64));
    der.extend_from_slice(&[SEQUENCE, 46, INTEGER, 1, 0]);
    der.extend_from_slice(&tlv(SEQUENCE, &[&encode::oid(&ED25519)]));
    der.extend_from_slice(&[OCTET_STRING, 34, OCTET_STRING, 32]);
    der.extend_from_slice(&Zeroizing::new(key.to_bytes())[..]);
    Secret::from(der)
}

/// The size of an RSA key whose numbers belong together: a file could name primes of another modulus, and
/// signing with such a key gives its factors away.
fn rsa_algorithm(key: &rsa::RsaPrivateKey) -> Result<Algorithm, PkiError> {
    if key.primes().len() != 2 || key.validate().is_err() {
        return Err(PkiError::PrivateKey("the numbers of the RSA key do not belong together"));
    }
    match key.n().bit_width() {
        2048 => Ok(Algorithm::Rsa2048),
        3072 => Ok(Algorithm::Rsa3072),
        4096 => Ok(Algorithm::Rsa4096),
        _ => Err(PkiError::PrivateKey("an RSA key has 2048, 3072 or 4096 bits")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(algorithm: Algorithm) -> PrivateKey {
        PrivateKey::generate(algorithm, &mut Rng::seeded([1; 32]))
    }

    #[test]
    fn every_key_survives_every_form() {
        for algorithm in [Algorithm::Rsa2048, Algorithm::EcdsaP256, Algorithm::EcdsaP384] {
            let key = key(algorithm);
            assert_eq!(key.algorithm(), Some(algorithm));
            for again in [
                PrivateKey::from_pkcs8(&key.to_pkcs8()),
                PrivateKey::from_pem(&key.to_pkcs8_pem()),
                PrivateKey::from_pem(&key.to_traditional_pem()),
            ] {
                let again = again.unwrap_or_else(|error| panic!("{algorithm}: {error}"));
                assert_eq!(again.spki(), key.spki());
                assert_eq!(again.to_pkcs8().expose(), key.to_pkcs8().expose());
            }
        }
    }

    #[test]
    fn a_key_that_is_broken_or_of_another_kind_is_refused() {
        let key = key(Algorithm::EcdsaP256);
        let good = key.to_pkcs8().expose().to_vec();
        let refused = |bytes: Vec<u8>| PrivateKey::from_pkcs8(&Secret::new(bytes)).is_err();
        assert!(refused(Vec::new()));
        assert!(refused(good[..good.len() - 1].to_vec()));
        assert!(refused([good.as_slice(), &[0]].concat()), "trailing octet");
        let mut other_public = good;
        let last = other_public.len() - 1;
        other_public[last] ^= 1;
        assert!(refused(other_public), "public half of another key");
    }

    #[test]
    fn no_change_of_an_octet_of_an_rsa_key_makes_another_or_panics() {
        let key = key(Algorithm::Rsa2048);
        let good = key.to_pkcs8().expose().to_vec();
        for index in (0..good.len()).step_by(7) {
            for change in [0, 1, 0xff] {
                let mut changed = good.clone();
                changed[index] = changed[index].wrapping_mul(change).wrapping_add(change & 1);
                // The CRT parameters at the end are computed anew, so what was changed there is not taken over.
                if let Ok(read) = PrivateKey::from_pkcs8(&Secret::new(changed)) {
                    assert!(read.to_pkcs8().expose() == good, "octet {index}");
                }
            }
        }
    }

    #[test]
    fn ed25519_is_read_in_both_forms_and_under_both_labels_and_nothing_else() {
        // RFC 8410, 10.3: the same key in both versions. The second has an attribute before the public half.
        let version_1 = "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC";
        let public = "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=";
        let decode = |text| base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text).unwrap();
        let der = decode(version_1);
        let key = PrivateKey::from_pkcs8(&Secret::new(der.clone())).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(key.spki(), decode(public));
        assert_eq!(key.algorithm(), None);
        assert_eq!(key.to_pkcs8().expose(), der);
        let label = String::from_utf8(key.to_traditional_pem().expose().to_vec()).unwrap();
        assert!(label.starts_with("-----BEGIN ED25519 PRIVATE KEY-----\n"), "{label}");
        for pem in [key.to_traditional_pem(), key.to_pkcs8_pem()] {
            assert_eq!(PrivateKey::from_pem(&pem).unwrap_or_else(|error| panic!("{error}")).spki(), key.spki());
        }
        let mut version_2 = [&der[..], &[0x81, 33, 0], &decode(public)[12..]].concat();
        (version_2[1], version_2[4]) = (81, 1);
        let read = |bytes: &[u8]| PrivateKey::from_pkcs8(&Secret::new(bytes.to_vec()));
        assert_eq!(read(&version_2).unwrap_or_else(|error| panic!("{error}")).spki(), key.spki());
        *version_2.last_mut().unwrap() ^= 1;
        assert!(read(&version_2).is_err(), "public half of another key");
        assert!(read(&der[..der.len() - 1]).is_err());
        let ec = PrivateKey::generate(Algorithm::EcdsaP256, &mut Rng::seeded([1; 32])).to_pkcs8();
        assert!(PrivateKey::from_block("ED25519 PRIVATE KEY", &ec).is_err());
        assert!(PrivateKey::from_block("DSA PRIVATE KEY", &ec).is_err());
    }

    #[test]
    fn encrypted_and_doubled_pem_is_refused() {
        let pem = key(Algorithm::EcdsaP256).to_pkcs8_pem();
        let text = String::from_utf8(pem.expose().to_vec()).unwrap();
        for bad in [
            text.repeat(2),
            text.replace("PRIVATE", "ENCRYPTED PRIVATE"),
            text.replace("-----\nM", "-----\nProc-Type: 4,ENCRYPTED\n\nM"),
            "nothing".to_owned(),
        ] {
            assert!(PrivateKey::from_pem(&Secret::new(bad.into_bytes())).is_err());
        }
    }

    #[test]
    fn keys_made_in_parallel_are_all_there_and_all_different() {
        let keys = PrivateKey::generate_many(Algorithm::Rsa2048, 3);
        let ids: std::collections::BTreeSet<_> = keys.iter().map(PrivateKey::spki_id).collect();
        assert_eq!(ids.len(), 3);
        let keys = PrivateKey::generate_many(Algorithm::EcdsaP256, MANY);
        let ids: std::collections::BTreeSet<_> = keys.iter().map(PrivateKey::spki_id).collect();
        assert_eq!(ids.len(), MANY);
        assert!(PrivateKey::generate_many(Algorithm::EcdsaP256, 0).is_empty());
    }
}
