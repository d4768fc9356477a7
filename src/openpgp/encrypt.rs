//! Sealing: PKESK v3 for each recipient in order, then one SEIPD v1 packet with AES-256, uncompressed, armored.
//!
//! Always this form, whatever the certificates advertise: Sequoia would change to SEIPD v2 as soon as all of them
//! could read it, and so lock out everybody whose program is gpg.

use std::io::Write as _;

use sequoia_openpgp as sq;
use sha1::{Digest as _, Sha1};
use sq::crypto::SessionKey;
use sq::crypto::symmetric::{BlockCipherMode, Encryptor, PaddingMode};
use sq::packet::key::{PublicParts, UnspecifiedRole};
use sq::packet::pkesk::PKESK3;
use sq::serialize::Serialize as _;
use sq::types::SymmetricAlgorithm;
use zeroize::Zeroizing;

use super::certificate::{Certificate, KeyFault};
use super::envelope::{self, LABEL, LARGEST};
use super::packet::tag;
use super::{Purpose, armor};
use crate::model::{Fingerprint, KeyId};
use crate::secret::Secret;

/// Octets of a block of AES.
const BLOCK: usize = 16;
/// A literal packet's octets before its data: binary, no file name, no date.
const LITERAL: [u8; 6] = [b'b', 0, 0, 0, 0, 0];
/// The header of the hash that ends an SEIPD v1.
const MDC: [u8; 2] = [0xd3, 20];

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
        to.push(&cert.record(key).expect("a key that may be listed is there").key);
    }
    let packets = packets(plaintext, &to).map_err(|error| EncryptFault::Failed(error.to_string()))?;
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

/// The packets: written by ourselves from Sequoia's arithmetic. Its streaming writer buffers 4 MiB twice for a message
/// of 1 KiB, and all of that has to be wiped; and it chooses forms that FORMAT 9 has decided.
fn packets(plaintext: &Secret, to: &[&sq::packet::Key<PublicParts, UnspecifiedRole>]) -> sq::Result<Vec<u8>> {
    let session_key = SessionKey::new(SymmetricAlgorithm::AES256.key_size()?)?;
    let mut packets = Vec::new();
    for key in to {
        sq::Packet::from(PKESK3::for_recipient(SymmetricAlgorithm::AES256, &session_key, key)?)
            .serialize(&mut packets)?;
    }
    let content = content(plaintext)?;
    header(tag::SEIPD, 1 + content.len(), &mut packets);
    packets.push(1); // version
    let (mode, padding) = (BlockCipherMode::CFB, PaddingMode::None);
    let mut cipher = Encryptor::new(SymmetricAlgorithm::AES256, mode, padding, &session_key, None, &mut packets)?;
    cipher.write_all(&content)?;
    cipher.finalize()?;
    Ok(packets)
}

/// What is encrypted (RFC 9580, 5.13.1): a random block and its last two octets again, the plaintext as one literal
/// packet, and the SHA-1 of all that as the last packet. The hash is a checksum that nobody without the key can forge;
/// that it is SHA-1 is the format's.
fn content(plaintext: &Secret) -> sq::Result<Zeroizing<Vec<u8>>> {
    // As much as it can become: no copy is left behind by growing.
    let mut content = Zeroizing::new(Vec::with_capacity(BLOCK + 2 + 6 + LITERAL.len() + plaintext.len() + 2 + 20));
    let mut block = [0; BLOCK];
    sq::crypto::random(&mut block)?;
    content.extend(block);
    content.extend_from_slice(&block[BLOCK - 2..]);
    header(tag::LITERAL, LITERAL.len() + plaintext.len(), &mut content);
    content.extend(LITERAL);
    content.extend_from_slice(plaintext.expose());
    content.extend(MDC);
    let hash = Sha1::digest(content.as_slice());
    content.extend_from_slice(&hash);
    Ok(content)
}

/// A header of the current form (RFC 9580, 4.2.1) with the shortest definite length.
fn header(tag: u8, length: usize, out: &mut Vec<u8>) {
    out.push(0xc0 | tag);
    match u16::try_from(length) {
        Ok(short @ 0..192) => out.push(short.to_be_bytes()[1]),
        Ok(middle @ 192..8384) => out.extend((middle - 192 + (192 << 8)).to_be_bytes()),
        _ => {
            out.push(0xff);
            out.extend(u32::try_from(length).expect("a sealed file is at most 256 KiB").to_be_bytes());
        }
    }
}
