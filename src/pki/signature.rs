//! Public keys and signatures of certificates and requests: what kind a key is, whether it is strong
//! enough, whether a signature is its. The kind of key comes from the key alone; the algorithm that a
//! signature claims only chooses the hash. (To take the curve from the label is how other libraries came
//! to certify a P-384 key as one of P-256.)

use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use ring::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, UnparsedPublicKey};
use rsa::pkcs1::RsaPublicKeyRef;
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{AnyRef, Decode as _, Encode as _};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoRef};

pub(super) const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
pub(super) const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
pub(super) const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
pub(super) const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
pub(super) const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
pub(super) const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

pub(super) const SHA256_WITH_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
pub(super) const SHA384_WITH_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12");
pub(super) const SHA512_WITH_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13");
pub(super) const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
pub(super) const ECDSA_WITH_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
pub(super) const ECDSA_WITH_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4");

/// The largest RSA modulus that is read: what OpenSSL verifies with, and no more, since a stranger's
/// certificate could else keep a verifier busy.
const LARGEST_RSA: usize = 16_384;

/// A public key that signatures can be checked with.
pub(super) enum PublicKey {
    Rsa { modulus: Vec<u8>, exponent: Vec<u8>, bits: usize },
    P256(Box<p256::ecdsa::VerifyingKey>, Vec<u8>),
    P384(Box<p384::ecdsa::VerifyingKey>, Vec<u8>),
    P521(Box<p521::ecdsa::VerifyingKey>),
    Ed25519(ed25519_dalek::VerifyingKey),
}

impl PublicKey {
    /// Reads a SubjectPublicKeyInfo in strict DER. Fails with a clause on other kinds and forms: EC points
    /// are uncompressed, RSA's parameters are NULL (RFC 3279, 2.3).
    pub(super) fn read(spki: &[u8]) -> Result<Self, String> {
        let parsed = SubjectPublicKeyInfoRef::from_der(spki).map_err(|error| error.to_string())?;
        if parsed.to_der().ok().as_deref() != Some(spki) {
            return Err("its DER is not the only one".to_owned());
        }
        let bits = parsed.subject_public_key.as_bytes().ok_or("its bits are no whole octets")?;
        let parameters = parsed.algorithm.parameters;
        match parsed.algorithm.oid {
            RSA if parameters == Some(AnyRef::NULL) => Self::read_rsa(bits),
            EC => {
                let curve = parameters.and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
                Self::read_ec(curve.ok_or("its curve has no name")?, bits)
            }
            ED25519 if parameters.is_none() => {
                let key = bits.try_into().map(ed25519_dalek::VerifyingKey::from_bytes);
                let key = key.map_err(|_| "its point has not 32 octets")?;
                key.map(Self::Ed25519).map_err(|_| "its point is not on the curve".to_owned())
            }
            oid => Err(format!("{oid} with these parameters is no supported kind of key")),
        }
    }

    fn read_rsa(bits: &[u8]) -> Result<Self, String> {
        let key = RsaPublicKeyRef::from_der(bits).map_err(|error| error.to_string())?;
        let modulus = key.modulus.as_bytes();
        let leading = modulus.first().map_or(0, |first| first.leading_zeros() as usize);
        let size = modulus.len() * 8 - leading;
        if size > LARGEST_RSA {
            return Err(format!("an RSA key of {size} bits is larger than anything verifies with"));
        }
        let exponent = key.public_exponent.as_bytes().to_vec();
        Ok(Self::Rsa { modulus: modulus.to_vec(), exponent, bits: size })
    }

    fn read_ec(curve: ObjectIdentifier, point: &[u8]) -> Result<Self, String> {
        const UNCOMPRESSED: u8 = 4;
        if point.first() != Some(&UNCOMPRESSED) {
            return Err("its point is not in the uncompressed form".to_owned());
        }
        let key = match curve {
            P256 => {
                let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(point).ok();
                key.map(|key| Self::P256(Box::new(key), point.to_vec()))
            }
            P384 => {
                let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(point).ok();
                key.map(|key| Self::P384(Box::new(key), point.to_vec()))
            }
            P521 => p521::ecdsa::VerifyingKey::from_sec1_bytes(point).ok().map(|key| Self::P521(Box::new(key))),
            _ => return Err(format!("the curve {curve} is none of P-256, P-384 and P-521")),
        };
        key.ok_or_else(|| "its point is not on the curve".to_owned())
    }

    /// Whether the key is RSA, which may encrypt keys.
    pub(super) fn is_rsa(&self) -> bool {
        matches!(self, Self::Rsa { .. })
    }

    /// Fails with a clause unless the key is strong: RSA of at least 2048 bits with an odd exponent of at
    /// least 3; every curve that is read is.
    pub(super) fn check_strength(&self) -> Result<(), String> {
        let Self::Rsa { exponent, bits, .. } = self else { return Ok(()) };
        let is_odd = exponent.last().is_some_and(|last| last % 2 == 1);
        if *bits < 2048 {
            Err(format!("RSA of {bits} bits is less than 2048"))
        } else if !is_odd || exponent.as_slice() == [1] {
            Err("the exponent of the RSA key is even or 1".to_owned())
        } else {
            Ok(())
        }
    }

    /// Checks a signature over `message` with this key. Fails with a clause on a hash older than SHA-2, on
    /// an algorithm that is not this key's, on parameters where there are none, and on a wrong signature.
    pub(super) fn verify(
        &self,
        algorithm: &AlgorithmIdentifierOwned,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), String> {
        let hash = hash_of(algorithm)?;
        let is_good = match (self, algorithm.oid) {
            (Self::Rsa { modulus, exponent, .. }, SHA256_WITH_RSA | SHA384_WITH_RSA | SHA512_WITH_RSA) => {
                verify_rsa(modulus, exponent, hash, message, signature)
            }
            // What nearly every certificate has; a repository has tens of thousands of them.
            (Self::P256(_, point), ECDSA_WITH_SHA256) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, signature).is_ok()
            }
            (Self::P384(_, point), ECDSA_WITH_SHA384) => {
                UnparsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, point).verify(message, signature).is_ok()
            }
            (Self::P256(key, _), ECDSA_WITH_SHA384 | ECDSA_WITH_SHA512) => p256::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify_prehash(&hash.of(message), &signature).is_ok()),
            (Self::P384(key, _), ECDSA_WITH_SHA256 | ECDSA_WITH_SHA512) => p384::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify_prehash(&hash.of(message), &signature).is_ok()),
            (Self::P521(key), ECDSA_WITH_SHA384 | ECDSA_WITH_SHA512) => {
                use p521::ecdsa::signature::hazmat::PrehashVerifier as _;
                p521::ecdsa::Signature::from_der(signature)
                    .is_ok_and(|signature| key.verify_prehash(&hash.of(message), &signature).is_ok())
            }
            (Self::Ed25519(key), ED25519) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok()),
            (_, oid) => return Err(format!("the signature algorithm {oid} is none of its key")),
        };
        if is_good { Ok(()) } else { Err("the signature is not the key's".to_owned()) }
    }
}

#[derive(Clone, Copy)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    fn of(self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(message).to_vec(),
            Self::Sha384 => Sha384::digest(message).to_vec(),
            Self::Sha512 => Sha512::digest(message).to_vec(),
        }
    }
}

/// The hash of a signature algorithm whose parameters are as they must be: NULL for RSA (RFC 4055, 5),
/// absent for the others (RFC 5758, 3.2; RFC 8410, 3).
fn hash_of(algorithm: &AlgorithmIdentifierOwned) -> Result<Hash, String> {
    let (hash, has_null) = match algorithm.oid {
        SHA256_WITH_RSA => (Hash::Sha256, true),
        SHA384_WITH_RSA => (Hash::Sha384, true),
        SHA512_WITH_RSA => (Hash::Sha512, true),
        ECDSA_WITH_SHA256 => (Hash::Sha256, false),
        ECDSA_WITH_SHA384 => (Hash::Sha384, false),
        ECDSA_WITH_SHA512 | ED25519 => (Hash::Sha512, false),
        oid => return Err(format!("the signature algorithm {oid} is not supported")),
    };
    let is_null = algorithm.parameters.as_ref().map(|any| AnyRef::from(any) == AnyRef::NULL);
    match (has_null, is_null) {
        (true, Some(true)) | (false, None) => Ok(hash),
        _ => Err("the parameters of the signature algorithm are not as they must be".to_owned()),
    }
}

fn verify_rsa(modulus: &[u8], exponent: &[u8], hash: Hash, message: &[u8], signature: &[u8]) -> bool {
    let number = |bytes: &[u8]| rsa::BoxedUint::from_be_slice(bytes, u32::try_from(bytes.len() * 8).ok()?).ok();
    let (Some(n), Some(e)) = (number(modulus), number(exponent)) else { return false };
    let Ok(key) = rsa::RsaPublicKey::new_with_size_limits(n, e, 512..=LARGEST_RSA) else { return false };
    let scheme = match hash {
        Hash::Sha256 => rsa::Pkcs1v15Sign::new::<Sha256>(),
        Hash::Sha384 => rsa::Pkcs1v15Sign::new::<Sha384>(),
        Hash::Sha512 => rsa::Pkcs1v15Sign::new::<Sha512>(),
    };
    key.verify(scheme, &hash.of(message), signature).is_ok()
}

/// Fails with a clause unless `spki_der` is a strong public key: RSA ≥ 2048, P-256, P-384, P-521 or Ed25519.
pub fn spki_strength(spki_der: &[u8]) -> Result<(), String> {
    PublicKey::read(spki_der)?.check_strength()
}

/// The subjectPublicKey bits of a SubjectPublicKeyInfo, if it is one.
pub(super) fn subject_public_key(spki: &[u8]) -> Option<Vec<u8>> {
    let parsed = SubjectPublicKeyInfoRef::from_der(spki).ok()?;
    Some(parsed.subject_public_key.as_bytes()?.to_vec())
}

/// The key identifier: the first 160 bits of the SHA-256 of the key's bits (RFC 7093, 2, method 1).
pub(super) fn key_identifier(subject_public_key: &[u8]) -> Vec<u8> {
    Sha256::digest(subject_public_key)[..20].to_vec()
}
