//! Files of others that are to be kept: the same patience with their dress as `material`, and none with what is in them. A
//! block that can't be read is a fault, since what it held would be missing without a word.

use super::halves::rsa_public;
use super::key::PrivateKey;
use super::material::{Block, blocks, is_certificate, is_der};
use super::pem;
use super::{Facts, Seen};
use crate::secret::Secret;

/// What a file holds, in its order. No `Debug`: the keys are whole.
#[derive(Default)]
pub struct Given {
    /// Certificates (DER).
    pub certificates: Vec<Vec<u8>>,
    /// Private keys.
    pub keys: Vec<PrivateKey>,
    /// SubjectPublicKeyInfo DER of public keys.
    pub public_keys: Vec<Vec<u8>>,
}

/// Why a file is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GivenError {
    /// A private key that a passphrase protects.
    #[error("its private key is encrypted")]
    Encrypted,
    /// A PKCS#12 file.
    #[error("it is PKCS#12")]
    Pkcs12,
    /// A certificate or key that can't be read, or is of a kind that nothing here issues with.
    #[error("{0}")]
    Unreadable(String),
}

impl Given {
    /// Reads a file: PEM in any dress, or one certificate or key in DER. A file without any block has nothing.
    pub fn read(bytes: &Secret) -> Result<Self, GivenError> {
        let mut given = Self::default();
        if is_der(bytes.expose()) {
            given.take_der(bytes.expose())?;
            return Ok(given);
        }
        let (blocks, faults) = blocks(bytes.expose());
        if let Some(fault) = faults.into_iter().next() {
            return Err(GivenError::Unreadable(fault));
        }
        for block in &blocks {
            given.take(block)?;
        }
        Ok(given)
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.certificates.is_empty() && self.keys.is_empty() && self.public_keys.is_empty()
    }

    fn take(&mut self, block: &Block) -> Result<(), GivenError> {
        let (label, number) = (block.label.as_str(), block.number);
        let fault = |why: String| GivenError::Unreadable(format!("block {number} ({label}): {why}"));
        let der = || block.der().ok_or_else(|| fault("it is not base64".to_owned()));
        match label {
            _ if label.ends_with("PRIVATE KEY") && block.is_encrypted() => return Err(GivenError::Encrypted),
            _ if label.ends_with("PRIVATE KEY") => {
                let key = PrivateKey::from_block(label, &Secret::from(der()?));
                self.keys.push(key.map_err(|error| fault(error.to_string()))?);
            }
            "PUBLIC KEY" => self.public_keys.push(der()?.to_vec()),
            // kops writes this label with SubjectPublicKeyInfo inside (kubernetes-pki B.4), OpenSSL with PKCS#1.
            "RSA PUBLIC KEY" => {
                let der = der()?;
                let is_spki = super::spki_strength(&der).is_ok();
                self.public_keys.push(if is_spki { der.to_vec() } else { rsa_public(&der) });
            }
            _ if is_certificate(label) => {
                let der = der()?;
                let whole = pem::first_value(&der).filter(|_| label == "TRUSTED CERTIFICATE").unwrap_or(&der);
                Seen::read(whole).map_err(fault)?;
                self.certificates.push(whole.to_vec());
            }
            _ => {}
        }
        Ok(())
    }

    fn take_der(&mut self, der: &[u8]) -> Result<(), GivenError> {
        if pem::is_pkcs12(der) {
            return Err(GivenError::Pkcs12);
        }
        if !pem::is_private_der(der) {
            Seen::read(der).map_err(|why| GivenError::Unreadable(format!("it is DER, and no certificate: {why}")))?;
            self.certificates.push(der.to_vec());
            return Ok(());
        }
        let key = Secret::new(der.to_vec());
        let labels = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"];
        match labels.iter().find_map(|label| PrivateKey::from_block(label, &key).ok()) {
            Some(key) => self.keys.push(key),
            None if pem::is_encrypted_der(der) => return Err(GivenError::Encrypted),
            None => return Err(GivenError::Unreadable("it is a private key in DER of another kind".to_owned())),
        }
        Ok(())
    }
}

/// What a certificate has to be to be listed as an authority: strict X.509 version 3 that may sign certificates. Whatever
/// else its maker chose (an empty subject, extended key usages, no key identifier) stays as it is.
pub fn adoptable_authority(der: &[u8]) -> Result<Facts, String> {
    let facts = Facts::read(der).map_err(|error| error.to_string())?;
    super::spki_strength(&facts.spki)?;
    if !facts.is_ca || facts.key_usage.is_some_and(|usage| usage & super::facts::KEY_CERT_SIGN == 0) {
        return Err(format!("{:?} is no certificate of an authority that may sign certificates", facts.subject));
    }
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Rng;
    use crate::model::{Algorithm, Span, Time};
    use crate::pki::{CaSpec, Validity, certificate_pem, issue_ca};

    fn text(secret: &Secret) -> String {
        String::from_utf8(secret.expose().to_vec()).unwrap()
    }

    fn key() -> PrivateKey {
        PrivateKey::generate(Algorithm::EcdsaP256, &mut Rng::seeded([4; 32]))
    }

    fn certificate() -> Vec<u8> {
        let not_before = Time::parse("2026-11-20T18:00:00Z").unwrap();
        let validity = Validity { not_before, not_after: not_before.plus(Span::days(30)) };
        issue_ca(&key(), &CaSpec { common_name: "a", validity, name_constraints: None }, &mut Rng::seeded([5; 32]))
    }

    fn read(bytes: impl Into<Vec<u8>>) -> Result<Given, GivenError> {
        Given::read(&Secret::new(bytes.into()))
    }

    #[test]
    fn a_bundle_with_text_crlf_and_a_key_is_read_whole() {
        let pem = String::from_utf8(certificate_pem(&certificate())).unwrap();
        let both = format!("Bag Attributes\n  friendlyName: ca\n{pem}{}", text(&key().to_traditional_pem()));
        for dressed in [
            both.clone(),
            both.replace('\n', "\r\n"),
            both.replace("BEGIN CERT", "BEGIN X509 CERT").replace("END CERT", "END X509 CERT"),
        ] {
            let given = read(dressed).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(given.certificates, [certificate()]);
            assert_eq!(given.keys[0].spki(), key().spki());
        }
        assert_eq!(read(certificate()).unwrap_or_default().certificates.len(), 1);
        assert_eq!(read(key().to_pkcs8().expose()).unwrap_or_default().keys.len(), 1);
        assert!(read("nothing").unwrap_or_default().is_empty());
    }

    #[test]
    fn one_bad_block_makes_the_whole_file_bad() {
        let pem = String::from_utf8(certificate_pem(&certificate())).unwrap();
        for bad in [
            format!("{pem}{}", &pem[..pem.len() / 2]),
            format!("{pem}-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"),
            format!("{pem}-----BEGIN DSA PRIVATE KEY-----\nMAA=\n-----END DSA PRIVATE KEY-----\n"),
            format!("{pem}-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n"),
        ] {
            assert!(matches!(read(bad.clone()), Err(GivenError::Unreadable(_))), "{bad}");
        }
        let encrypted = text(&key().to_traditional_pem()).replacen("-----\n", "-----\nProc-Type: 4,ENCRYPTED\n\n", 1);
        assert_eq!(read(encrypted).err(), Some(GivenError::Encrypted));
        assert_eq!(read(vec![0x30, 5, 2, 1, 3, 0x30, 0]).err(), Some(GivenError::Pkcs12));
    }

    #[test]
    fn an_authority_may_be_odd_and_must_be_one() {
        assert_eq!(adoptable_authority(&certificate()).map(|facts| facts.subject), Ok("CN=a".to_owned()));
        assert!(adoptable_authority(&certificate()[..40]).is_err());
    }
}
