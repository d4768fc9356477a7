//! Sealed files: the plaintext of FORMAT 9, sealing it to people, and opening it again.
//!
//! It joins OpenPGP with the facts that a record vouches for: what is opened counts only if it is what the record
//! says. It knows no paths and no persons, writes nothing, and shows nothing.

pub mod delivery;
mod plaintext;

use std::sync::OnceLock;

use crate::model::{Code, Digest, Fingerprint, Generation, HexId};
use crate::openpgp::{Certificate, EncryptFault, KeyError, SecretKeys, encrypt};
use crate::pki::PrivateKey;
use crate::secret::Secret;

pub use plaintext::{read_plaintext, write_plaintext};

/// Where a secret belongs: the header of a sealed file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The repository's id.
    pub repo: HexId<32>,
    /// The cluster's id.
    pub cluster: HexId<16>,
    /// `ca.kubernetes`, `sa`, `node.cp-1`: the sealed file's name without its generation.
    pub name: String,
    /// The generation; 1 for a node.
    pub generation: Generation,
}

/// The secret itself.
pub enum KeyBody {
    /// A private key, PKCS#8 DER.
    Pkcs8(Secret),
    /// A symmetric secret, and the salt that keeps its id from being guessed.
    Symmetric {
        /// 32 random octets.
        salt: [u8; 32],
        /// The secret octets.
        bytes: Secret,
    },
}

/// One key in a sealed file.
pub struct SealedKey {
    /// Its name: a profile, `ca.kubernetes`, `encryption`, or what the distribution calls its join secret.
    pub name: String,
    /// Never changes, so that `id` stays its id.
    body: KeyBody,
    id: OnceLock<Option<Digest>>,
}

impl SealedKey {
    /// A key of this name.
    pub fn new(name: impl Into<String>, body: KeyBody) -> Self {
        Self { name: name.into(), body, id: OnceLock::new() }
    }

    /// The secret.
    pub fn body(&self) -> &KeyBody {
        &self.body
    }

    /// The secret, taken out.
    pub fn into_body(self) -> KeyBody {
        self.body
    }

    /// The id that a record names: SHA-256 of the public key (SPKI DER), which is computed from the private one
    /// and never taken from what the file says; of a symmetric secret [`symmetric_id`]. `None` if the bytes are
    /// no private key that kluis reads. Computed once: it costs as much as opening or sealing does.
    pub fn id(&self) -> Option<Digest> {
        *self.id.get_or_init(|| match &self.body {
            KeyBody::Pkcs8(der) => PrivateKey::from_pkcs8(der).ok().map(|key| key.spki_id()),
            KeyBody::Symmetric { salt, bytes } => Some(symmetric_id(salt, bytes)),
        })
    }

    /// The key as the PEM block that stands in the sealed file: PKCS#8, or kluis's own block with the octets of
    /// a symmetric secret.
    pub fn to_pem(&self) -> Secret {
        plaintext::pem(&self.body)
    }
}

/// The id of a symmetric secret (FORMAT 5): SHA-256 of `kluis-symmetric:`, its salt and its bytes.
pub fn symmetric_id(salt: &[u8; 32], bytes: &Secret) -> Digest {
    Digest::of_parts(&[b"kluis-symmetric:", salt, bytes.expose()])
}

/// Why keys could not be sealed. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum SealFault {
    /// A name that can't stand in the plaintext.
    #[error("{0:?} cannot be the name of a sealed key")]
    Name(String),
    /// Two keys with one name, or none at all.
    #[error("there is not exactly one key named {0:?}")]
    Names(String),
    /// Not a private key that kluis could open again.
    #[error("{0:?} is not a private key that kluis reads")]
    NotAKey(String),
    /// Encryption failed.
    #[error(transparent)]
    Encrypt(#[from] EncryptFault),
}

/// Why a sealed file could not be opened, or must not be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenFault {
    /// The secret keys of the person could not be used, or the envelope is not one.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The plaintext is not that of FORMAT 9, or belongs elsewhere.
    #[error("{0}")]
    ContextMismatch(String),
    /// A key inside is not the one that the record names.
    #[error("{0}")]
    SpkiMismatch(String),
}

impl OpenFault {
    /// The finding's code; `None` where the trouble is the person's keys and not the file.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Keys(KeyError::Envelope(fault)) => Some(fault.code()),
            Self::Keys(KeyError::Content(_) | KeyError::Limit) => Some(Code::BadContainer),
            Self::Keys(_) => None,
            Self::ContextMismatch(_) => Some(Code::ContextMismatch),
            Self::SpkiMismatch(_) => Some(Code::SpkiMismatch),
        }
    }
}

/// Seals `keys` under `header` to each of `recipients`, in their order, with a fresh session key.
///
/// # Errors
/// If a name or key is not as it must be, or a recipient can't be sealed to.
pub fn seal(
    header: &Header,
    keys: &[SealedKey],
    recipients: &[(&Certificate, &Fingerprint)],
) -> Result<Vec<u8>, SealFault> {
    let plaintext = write_plaintext(header, keys)?;
    Ok(encrypt(&plaintext, recipients)?)
}

/// Opens the sealed file `armored` with one of `candidates` that `keys` holds, and checks that it is what the
/// record says: `expected`, and exactly the keys `ids` by name and id.
///
/// # Errors
/// If it can't be opened, or is not what was expected; then nothing of it is returned.
pub fn open(
    keys: &mut SecretKeys,
    armored: &[u8],
    candidates: &[(&Certificate, &Fingerprint)],
    expected: &Header,
    ids: &[(String, Digest)],
) -> Result<Vec<SealedKey>, OpenFault> {
    let plaintext = keys.decrypt(armored, candidates)?;
    read_plaintext(&plaintext, expected, ids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Rng;
    use crate::model::{Algorithm, Time};
    use crate::openpgp::generate;

    fn header() -> Header {
        Header {
            repo: HexId([1; 32]),
            cluster: HexId([2; 16]),
            name: "node.cp-1".to_owned(),
            generation: Generation::FIRST,
        }
    }

    #[test]
    fn what_is_sealed_is_opened_and_only_as_what_it_is() {
        let (cert, secret) = generate("alice", Time::from_unix(1_700_000_000), None).unwrap();
        let mut person = SecretKeys::file(secret, &mut |_| None).ok().unwrap();
        let key = cert.keys()[1].fingerprint.clone();
        let private = PrivateKey::generate(Algorithm::EcdsaP256, &mut Rng::system());
        let keys = [SealedKey::new("apiserver", KeyBody::Pkcs8(private.to_pkcs8()))];
        let sealed = seal(&header(), &keys, &[(&cert, &key)]).unwrap();
        let ids = [("apiserver".to_owned(), private.spki_id())];
        let opened = open(&mut person, &sealed, &[(&cert, &key)], &header(), &ids).unwrap();
        assert_eq!(opened[0].id(), Some(private.spki_id()));
        let elsewhere = Header { name: "node.cp-2".to_owned(), ..header() };
        let fault = open(&mut person, &sealed, &[(&cert, &key)], &elsewhere, &ids).err().unwrap();
        assert_eq!(fault.code(), Some(Code::ContextMismatch));
        let nobody = open(&mut person, &sealed, &[], &header(), &ids).err().unwrap();
        assert_eq!(nobody.code(), None);
        let broken = open(&mut person, b"x", &[(&cert, &key)], &header(), &ids).err().unwrap();
        assert_eq!(broken.code(), Some(Code::BadArmor));
    }
}
