//! Sealing: PKESK v3 for each recipient in order, then one SEIPD v1 packet with AES-256, uncompressed, armored.
//!
//! Always this form, whatever the certificates advertise: Sequoia would change to SEIPD v2 as soon as all of them
//! could read it, and so lock out everybody whose program is gpg.

use std::io::Write as _;

use sequoia_openpgp as sq;
use sq::serialize::stream::{Encryptor, LiteralWriter, Message, Recipient};
use sq::types::{DataFormat, Features, SymmetricAlgorithm};

use super::certificate::{Certificate, KeyFault};
use super::envelope::{self, LABEL, LARGEST};
use super::{Purpose, armor};
use crate::model::{Fingerprint, KeyId};
use crate::secret::Secret;

/// Why something could not be sealed. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum EncryptFault {
    /// Nobody to seal to.
    #[error("there is nobody to seal to")]
    Nobody,
    /// A recipient's key can't be sealed to.
    #[error("key {key} cannot be sealed to")]
    Key {
        /// The key.
        key: Fingerprint,
        /// Why.
        source: KeyFault,
    },
    /// It would be larger than a sealed file may be.
    #[error("the sealed file would be larger than {LARGEST} bytes")]
    TooLarge,
    /// The OpenPGP library failed, or wrote something else than was asked for.
    #[error("sealing failed: {0}")]
    Failed(String),
}

/// Seals `plaintext` to each key of `recipients`, in that order, under a fresh session key.
///
/// # Errors
/// If a key may not be listed for encryption ([`Certificate::check_listed`]), the result would be too large, or
/// the library fails. Whether keys are alive is the caller's business (`usable`).
pub fn encrypt(plaintext: &Secret, recipients: &[(&Certificate, &Fingerprint)]) -> Result<Vec<u8>, EncryptFault> {
    if recipients.is_empty() {
        return Err(EncryptFault::Nobody);
    }
    if plaintext.len() > LARGEST {
        return Err(EncryptFault::TooLarge);
    }
    let mut to = Vec::with_capacity(recipients.len());
    for (cert, key) in recipients {
        let fault = |source| EncryptFault::Key { key: (*key).clone(), source };
        cert.check_listed(key, Purpose::Encrypt).map_err(fault)?;
        let record = cert.record(key).expect("a key that may be listed is there");
        to.push(Recipient::new(Features::empty().set_seipdv1(), sq::KeyHandle::from(record.key.keyid()), &record.key));
    }
    let packets = packets(plaintext, to).map_err(|error| EncryptFault::Failed(error.to_string()))?;
    let sealed = armor::write(&packets, LABEL);
    // An update of the library must not silently change who can read, or what gpg can.
    let expected: Vec<KeyId> = recipients.iter().map(|(_, key)| key.key_id()).collect();
    match envelope::read_envelope(&sealed) {
        Ok(envelope) if envelope.recipients == expected => Ok(sealed),
        Ok(_) => Err(EncryptFault::Failed("the recipients are not those that were asked for".to_owned())),
        Err(envelope::EnvelopeFault::Limit) => Err(EncryptFault::TooLarge),
        Err(fault) => Err(EncryptFault::Failed(fault.to_string())),
    }
}

fn packets(plaintext: &Secret, to: Vec<Recipient<'_>>) -> sq::Result<Vec<u8>> {
    let mut packets = Vec::new();
    let message = Message::new(&mut packets);
    let message = Encryptor::for_recipients(message, to).symmetric_algo(SymmetricAlgorithm::AES256).build()?;
    let mut message = LiteralWriter::new(message).format(DataFormat::Binary).build()?;
    message.write_all(plaintext.expose())?;
    message.finalize()?;
    Ok(packets)
}
