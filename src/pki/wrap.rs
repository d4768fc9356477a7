//! A certificate round a bare key, for programs that know a public key in no other form. It certifies nothing, and is the same
//! whenever it is made: same key, same bytes.

use super::authority::{Validity, params};
use super::key::PrivateKey;
use super::signer::Signer;
use crate::env::Rng;

/// What the certificate says.
#[derive(Debug, Clone, Copy)]
pub struct WrapSpec<'a> {
    /// Its subject and issuer.
    pub common_name: &'a str,
    /// Its life.
    pub validity: Validity,
    /// Its serial number, not 0 and below 2^127.
    pub serial: u128,
}

/// A self-signed certificate round the public half of `key` (DER), in the form of a CA's: CA:TRUE, key usage exactly
/// keyCertSign and cRLSign. kops gives its service-account keys that form and makes another certificate where it finds a
/// different one (kops 1.36, `wellKnownCertificateTypes`).
pub fn wrap(key: &PrivateKey, spec: &WrapSpec) -> Vec<u8> {
    // They blind RSA against timing, and are in no signature.
    let mut rng = Rng::system();
    let signer = Repeatable(Signer::new(key, &mut rng));
    let mut params = params(spec.common_name, spec.validity, signer.0.key_identifier());
    let serial = spec.serial.to_be_bytes();
    let leading = serial.iter().take_while(|octet| **octet == 0).count();
    params.serial_number = Some(rcgen::SerialNumber::from_slice(&serial[leading..]));
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&signer).expect("rcgen writes what has a serial and plain names");
    certificate.der().to_vec()
}

struct Repeatable<'a>(Signer<'a>);

impl rcgen::PublicKeyData for Repeatable<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        rcgen::PublicKeyData::algorithm(&self.0)
    }
}

impl rcgen::SigningKey for Repeatable<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.0.sign_repeatably(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Algorithm, Time};
    use crate::pki::{Facts, check_issued_by};

    #[test]
    fn the_same_key_gives_the_same_certificate_and_its_own_signature() {
        let validity = Validity { not_before: Time::from_unix(1), not_after: Time::from_unix(2) };
        for algorithm in [Algorithm::EcdsaP256, Algorithm::EcdsaP384, Algorithm::Rsa2048] {
            let key = PrivateKey::generate(algorithm, &mut Rng::seeded([3; 32]));
            let spec = WrapSpec { common_name: "service-account", validity, serial: 0x80 << 64 };
            let der = wrap(&key, &spec);
            assert_eq!(der, wrap(&key, &spec), "{algorithm}");
            let facts = Facts::read(&der).unwrap();
            assert_eq!((facts.serial.as_str(), &facts.spki), ("800000000000000000", &key.spki()));
            assert_eq!(check_issued_by(&facts, &facts), Ok(()), "{algorithm}");
        }
    }
}
