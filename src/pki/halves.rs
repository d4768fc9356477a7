//! The public half of a private key, whoever wrote it and however: what tells whether a key belongs to a certificate.
//! Makes no `PrivateKey`, so that keys too weak or odd for one are named too. Nothing of the private half leaves.

use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{AnyRef, Decode as _, Encode as _, Tag, TagNumber, Tagged as _};

use super::encode::{self, BIT_STRING, INTEGER, SEQUENCE, tlv};
use super::seen::next;
use super::signature::{EC, ED25519, P256, P384, RSA};

/// What a private key in a file is, without the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenKey {
    /// The label of its PEM block.
    pub label: String,
    /// SubjectPublicKeyInfo DER of its public half; `None` where that can't be told.
    pub spki: Option<Vec<u8>>,
    /// Whether a passphrase is needed to read it.
    pub encrypted: bool,
}

impl SeenKey {
    /// Looks at the content of a block with a label that ends in `PRIVATE KEY`.
    pub(super) fn read(label: &str, encrypted: bool, der: &[u8]) -> Self {
        let encrypted = encrypted || label == "ENCRYPTED PRIVATE KEY";
        let spki = match label {
            _ if encrypted => None,
            // Talos' label for Ed25519 has PKCS#8 inside, too.
            "PRIVATE KEY" | "ED25519 PRIVATE KEY" => pkcs8(der),
            "RSA PRIVATE KEY" => pkcs1(der),
            "EC PRIVATE KEY" => sec1(der, None),
            _ => None,
        };
        Self { label: label.to_owned(), spki, encrypted }
    }
}

fn public(algorithm: &[&[u8]], bits: &[u8]) -> Vec<u8> {
    tlv(SEQUENCE, &[&tlv(SEQUENCE, algorithm), &tlv(BIT_STRING, &[&[0], bits])])
}

/// RFC 5958, 2: version, algorithm, the key in an OCTET STRING.
fn pkcs8(der: &[u8]) -> Option<Vec<u8>> {
    let mut members = AnyRef::from_der(der).ok()?.value();
    next(&mut members)?;
    let mut algorithm = next(&mut members)?.value();
    let oid = next(&mut algorithm)?.decode_as::<ObjectIdentifier>().ok()?;
    let inside = next(&mut members)?.value();
    match oid {
        RSA => pkcs1(inside),
        EC => sec1(inside, Some(algorithm)),
        ED25519 => {
            let seed: &[u8; 32] = AnyRef::from_der(inside).ok()?.value().try_into().ok()?;
            Some(ed25519_public(&ed25519_dalek::SigningKey::from_bytes(seed)))
        }
        _ => None,
    }
}

/// SubjectPublicKeyInfo of an Ed25519 key (RFC 8410, 4).
pub(super) fn ed25519_public(key: &ed25519_dalek::SigningKey) -> Vec<u8> {
    public(&[&encode::oid(&ED25519)], key.verifying_key().as_bytes())
}

/// RFC 8017, A.1.2: version, modulus, public exponent, and the private numbers.
fn pkcs1(der: &[u8]) -> Option<Vec<u8>> {
    let mut members = AnyRef::from_der(der).ok()?.value();
    next(&mut members)?;
    let (modulus, exponent) = (next(&mut members)?, next(&mut members)?);
    Some(rsa_public(&tlv(SEQUENCE, &[&tlv(INTEGER, &[modulus.value()]), &tlv(INTEGER, &[exponent.value()])])))
}

/// SubjectPublicKeyInfo of an `RSAPublicKey`.
pub(super) fn rsa_public(pkcs1: &[u8]) -> Vec<u8> {
    public(&[&encode::oid(&RSA), &[5, 0]], pkcs1)
}

/// RFC 5915, 3: version, the number, perhaps the curve, perhaps the point.
fn sec1(der: &[u8], curve: Option<&[u8]>) -> Option<Vec<u8>> {
    let mut members = AnyRef::from_der(der).ok()?.value();
    next(&mut members)?;
    let number = next(&mut members)?.value();
    let (mut curve, mut point) = (curve.map(<[u8]>::to_vec), None);
    while let Some(member) = next(&mut members) {
        match member.tag() {
            Tag::ContextSpecific { number: TagNumber(0), .. } => curve = Some(member.value().to_vec()),
            Tag::ContextSpecific { number: TagNumber(1), .. } => {
                point = AnyRef::from_der(member.value()).ok()?.value().get(1..).map(<[u8]>::to_vec);
            }
            _ => {}
        }
    }
    let curve = curve?;
    let point = match (point, ObjectIdentifier::from_der(&curve).ok()?) {
        (Some(point), _) => point,
        (None, P256) => p256::SecretKey::from_slice(number).ok()?.public_key().to_sec1_bytes().to_vec(),
        (None, P384) => p384::SecretKey::from_slice(number).ok()?.public_key().to_sec1_bytes().to_vec(),
        (None, _) => return None,
    };
    let oid = EC.to_der().ok()?;
    Some(public(&[&oid, &curve], &point))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Rng;
    use crate::model::Algorithm;
    use crate::pki::{PrivateKey, parse_secret_pem};

    #[test]
    fn the_public_half_is_told_from_every_form() {
        for algorithm in [Algorithm::Rsa2048, Algorithm::EcdsaP256, Algorithm::EcdsaP384] {
            let key = PrivateKey::generate(algorithm, &mut Rng::seeded([6; 32]));
            let label = if algorithm == Algorithm::Rsa2048 { "RSA PRIVATE KEY" } else { "EC PRIVATE KEY" };
            let traditional = parse_secret_pem(&key.to_traditional_pem(), label).unwrap();
            assert_eq!(SeenKey::read(label, false, traditional.expose()).spki, Some(key.spki()), "{algorithm}");
            assert_eq!(SeenKey::read("PRIVATE KEY", false, key.to_pkcs8().expose()).spki, Some(key.spki()));
        }
    }
}
