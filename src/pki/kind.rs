//! What kind a public key or a signature is, and whether it is one to live with. Where `signature` refuses what it can't
//! check with, this names it.

use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{AnyRef, Decode as _};

use super::encode::{self, INTEGER, SEQUENCE, tlv};
use super::seen::next;
use super::signature::{
    EC, ECDSA_WITH_SHA256, ECDSA_WITH_SHA384, ECDSA_WITH_SHA512, ED25519, P256, P384, P521, RSA, SHA256_WITH_RSA,
    SHA384_WITH_RSA, SHA512_WITH_RSA,
};

const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const MGF1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.8");

/// The kind of a public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA.
    Rsa {
        /// The modulus, without leading zeros.
        modulus: Vec<u8>,
        /// The exponent; `None` where it does not fit.
        exponent: Option<u64>,
    },
    /// ECDSA on P-256.
    P256,
    /// ECDSA on P-384.
    P384,
    /// ECDSA on P-521.
    P521,
    /// ECDSA on another curve, by its OID.
    OtherCurve(String),
    /// Ed25519.
    Ed25519,
    /// Another kind, by its OID.
    Other(String),
}

impl KeyKind {
    /// Reads a SubjectPublicKeyInfo.
    pub fn read(spki: &[u8]) -> Self {
        Self::walk(spki).unwrap_or_else(|| Self::Other("a key that can't be read".to_owned()))
    }

    fn walk(spki: &[u8]) -> Option<Self> {
        let mut members = AnyRef::from_der(spki).ok()?.value();
        let mut algorithm = next(&mut members)?.value();
        let oid = next(&mut algorithm)?.decode_as::<ObjectIdentifier>().ok()?;
        // The first octet of a BIT STRING counts the bits that are unused.
        let bits = next(&mut members)?.value().get(1..)?;
        Some(match oid {
            RSA => {
                let mut numbers = AnyRef::from_der(bits).ok()?.value();
                let modulus = unsigned(next(&mut numbers)?.value()).to_vec();
                let exponent = unsigned(next(&mut numbers)?.value());
                let fits = exponent.len() <= 8;
                let exponent = fits.then(|| exponent.iter().fold(0, |sum, octet| sum << 8 | u64::from(*octet)));
                Self::Rsa { modulus, exponent }
            }
            EC => match next(&mut algorithm)?.decode_as::<ObjectIdentifier>() {
                Ok(P256) => Self::P256,
                Ok(P384) => Self::P384,
                Ok(P521) => Self::P521,
                Ok(curve) => Self::OtherCurve(curve.to_string()),
                Err(_) => Self::OtherCurve("a curve without a name".to_owned()),
            },
            ED25519 => Self::Ed25519,
            oid => Self::Other(oid.to_string()),
        })
    }

    /// Whether the key is on a curve, and can encrypt nothing.
    pub fn is_elliptic(&self) -> bool {
        !matches!(self, Self::Rsa { .. } | Self::Other(_))
    }

    /// The size of an RSA key in bits.
    pub fn rsa_bits(&self) -> Option<usize> {
        let Self::Rsa { modulus, .. } = self else { return None };
        let leading = modulus.first().map_or(0, |first| first.leading_zeros() as usize);
        Some(modulus.len() * 8 - leading)
    }

    /// Whether it is an RSA key whose primes come from a broken generator (ROCA, CVE-2017-15361). Such primes are
    /// k·M + (65537^a mod M), so the modulus is a power of 65537 modulo every small prime that divides M. By chance that
    /// happens once in 2^27 (Nemec et al., "The Return of Coppersmith's Attack", 2017).
    pub fn is_roca(&self) -> bool {
        const PRIMES: [u32; 17] = [11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157];
        let Self::Rsa { modulus, .. } = self else { return false };
        PRIMES.iter().all(|prime| {
            let rest = modulus.iter().fold(0, |rest, octet| (rest * 256 + u32::from(*octet)) % prime);
            let mut power = 1;
            (0..*prime).any(|_| {
                power = power * 65537 % prime;
                power == rest
            })
        })
    }
}

fn unsigned(number: &[u8]) -> &[u8] {
    &number[number.iter().take_while(|octet| **octet == 0).count()..]
}

/// The kind of a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignatureKind {
    /// One that every component checks.
    Sound,
    /// With a hash for which collisions are made.
    Broken(&'static str),
    /// One that components built with Go don't check, by its OID.
    Unknown(String),
}

impl SignatureKind {
    /// Reads an AlgorithmIdentifier.
    pub(super) fn read(algorithm: &[u8]) -> Self {
        let mut members = AnyRef::from_der(algorithm).map_or(&[][..], |whole| whole.value());
        let Some(oid) = next(&mut members).and_then(|oid| oid.decode_as::<ObjectIdentifier>().ok()) else {
            return Self::Unknown("an algorithm that can't be read".to_owned());
        };
        match oid {
            SHA256_WITH_RSA | SHA384_WITH_RSA | SHA512_WITH_RSA | ECDSA_WITH_SHA256 | ECDSA_WITH_SHA384
            | ECDSA_WITH_SHA512 | ED25519 => Self::Sound,
            RSA_PSS if is_known_pss(members) => Self::Sound,
            RSA_PSS => Self::Unknown("RSASSA-PSS with parameters of its own".to_owned()),
            oid => match oid.to_string().as_str() {
                "1.2.840.113549.1.1.2" => Self::Broken("MD2"),
                "1.2.840.113549.1.1.4" => Self::Broken("MD5"),
                "1.2.840.113549.1.1.5" | "1.2.840.10045.4.1" | "1.2.840.10040.4.3" => Self::Broken("SHA-1"),
                oid => Self::Unknown(oid.to_owned()),
            },
        }
    }
}

/// Whether the parameters of RSASSA-PSS are of those three that Go reads: one hash for both, and a salt of its length
/// (crypto/x509, getSignatureAlgorithmFromAI).
fn is_known_pss(parameters: &[u8]) -> bool {
    [("2.16.840.1.101.3.4.2.1", 32), ("2.16.840.1.101.3.4.2.2", 48), ("2.16.840.1.101.3.4.2.3", 64)].iter().any(
        |(hash, salt)| {
            let hash = tlv(SEQUENCE, &[&encode::oid(&ObjectIdentifier::new_unwrap(hash)), &[5, 0]]);
            let mask = tlv(SEQUENCE, &[&encode::oid(&MGF1), &hash]);
            let salt = tlv(INTEGER, &[&[*salt]]);
            parameters == tlv(SEQUENCE, &[&tlv(0xa0, &[&hash]), &tlv(0xa1, &[&mask]), &tlv(0xa2, &[&salt])])
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_modulus_of_the_broken_generator_is_seen() {
        let kind = |modulus: u64| KeyKind::Rsa { modulus: modulus.to_be_bytes().to_vec(), exponent: Some(65537) };
        assert!(kind(65537).is_roca(), "a power of 65537 is one modulo every prime");
        assert!(!kind(65539).is_roca());
        assert!(!KeyKind::P256.is_roca());
    }
}
