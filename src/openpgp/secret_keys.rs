//! A person's secret keys, in gpg-agent or in a key file, and the three things done with them: asking whether a
//! key is there, signing a statement, and opening a sealed file.
//!
//! The agent is the way for people: its keys never enter this process. Key files are for air-gapped machines,
//! the demo and tests.

use std::io::Read as _;
use std::time::UNIX_EPOCH;

use sequoia_openpgp as sq;
use sq::crypto::{Decryptor, KeyPair, Password, SessionKey, Signer, mpi};
use sq::packet::key::{PublicParts, SecretKeyMaterial, UnspecifiedRole};
use sq::packet::signature::SignatureBuilder;
use sq::packet::signature::subpacket::NotationDataFlags;
use sq::packet::{Key, PKESK, SKESK};
use sq::parse::stream::{DecryptionHelper, DecryptorBuilder, MessageLayer, MessageStructure, VerificationHelper};
use sq::parse::{PacketParser, Parse as _};
use sq::serialize::Serialize as _;
use sq::types::{HashAlgorithm, SignatureType, SymmetricAlgorithm};
use zeroize::Zeroizing;

use super::agent::AgentKeys;
use super::certificate::Certificate;
use super::envelope::{self, EnvelopeFault};
use super::signature::{self, NOTATION, Signature};
use super::{Kind, POLICY, POLICY_TIME, armor, fingerprint};
use crate::model::{Fingerprint, Time};
use crate::secret::Secret;

/// The largest plaintext that is read. A quarter of a megabyte of ciphertext can hold two hundred of zeros.
const LARGEST_PLAINTEXT: usize = 1024 * 1024;
/// The smallest wrapped session key of the curves: one block of key and one of integrity (RFC 3394).
const SMALLEST_WRAPPED: usize = 24;

/// Why secret keys could not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No gpg-agent answers, and none could be started.
    #[error("gpg-agent does not answer and could not be started")]
    NoAgent,
    /// None of the keys asked for is there.
    #[error("the secret key is not here")]
    NoKey,
    /// The passphrase is wrong.
    #[error("the passphrase is wrong")]
    BadPassphrase,
    /// The person closed the question.
    #[error("the question for the passphrase was cancelled")]
    Cancelled,
    /// The agent can't ask for the passphrase.
    #[error("gpg-agent has no pinentry to ask for the passphrase")]
    NoPinentry,
    /// The key is on a card that isn't here, or the card refuses.
    #[error("the key is on a card: {0}")]
    NoCard(String),
    /// The agent fell silent.
    #[error("gpg-agent did not answer in time")]
    Timeout,
    /// The plaintext is larger than any that kluis seals.
    #[error("the plaintext is larger than {LARGEST_PLAINTEXT} bytes")]
    Limit,
    /// Not an envelope of FORMAT 9.
    #[error(transparent)]
    Envelope(#[from] EnvelopeFault),
    /// What is inside the envelope is not plain data: compressed, signed or another message.
    #[error("inside the encryption there is {0} instead of plain data")]
    Content(&'static str),
    /// The file given as secret key is none.
    #[error("it is not an OpenPGP secret key: {0}")]
    NotAKey(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

/// A person's secret keys.
pub enum SecretKeys {
    /// In the person's gpg-agent.
    Agent(AgentKeys),
    /// In an OpenPGP secret-key file.
    File(KeyFile),
}

/// Secret keys out of a file, opened.
pub struct KeyFile {
    keys: Vec<(Fingerprint, KeyPair)>,
}

impl SecretKeys {
    /// Finds or starts the user's gpg-agent. With a passphrase, it is the answer to the agent's question, and no
    /// pinentry comes up.
    ///
    /// # Errors
    /// [`KeyError::NoAgent`] if it neither answers nor starts.
    pub fn agent(passphrase: Option<Secret>) -> Result<Self, KeyError> {
        let agent = AgentKeys::connect(None)?;
        Ok(Self::Agent(match passphrase {
            Some(passphrase) => agent.with_passphrase(passphrase)?,
            None => agent,
        }))
    }

    /// Reads a secret-key file, armored or binary. `passphrase` is asked, with a prompt, only if a key in it is
    /// protected by one.
    ///
    /// # Errors
    /// If it holds no secret key, or the passphrase opens none.
    pub fn file(bytes: Secret, passphrase: &mut dyn FnMut(&str) -> Option<Secret>) -> Result<Self, KeyError> {
        KeyFile::read(&bytes, passphrase).map(Self::File)
    }

    /// Says what the next operations are for, in words for the person who is asked for a passphrase: "open
    /// ca.kubernetes.g1 of prod".
    pub fn explain(&mut self, what: &str) {
        if let Self::Agent(agent) = self {
            agent.explain(what);
        }
    }

    /// Whether `key` of `cert` is here. Of a key on a card the agent says yes once it has seen the card. A key
    /// that the agent can't have (RFC 9580's own and post-quantum algorithms) is not here.
    pub fn holds(&mut self, cert: &Certificate, key: &Fingerprint) -> bool {
        let Some(record) = cert.record(key) else { return false };
        match self {
            Self::Agent(agent) => agent.holds(&record.key),
            Self::File(file) => file.keys.iter().any(|(name, _)| name == key),
        }
    }

    /// Signs the statement `data` as a `kind` with `key` of `cert`, dated `now`, with SHA-512: the bytes of an
    /// armored `.sig` file that [`Signature::parse`] and stock `gpg --verify` accept.
    ///
    /// # Errors
    /// If the key isn't here or its holder refuses.
    pub fn sign(
        &mut self,
        data: &[u8],
        kind: Kind,
        cert: &Certificate,
        key: &Fingerprint,
        now: Time,
    ) -> Result<Vec<u8>, KeyError> {
        let mut holder = self.holder(cert, key)?;
        let made = build_signature(&mut holder, data, kind, now);
        let packet = match (made, holder.failure) {
            (_, Some(failure)) => return Err(failure),
            (made, None) => made.map_err(|error| KeyError::Failed(error.to_string()))?,
        };
        let mut bytes = Vec::new();
        sq::Packet::from(packet).serialize(&mut bytes).map_err(|error| KeyError::Failed(error.to_string()))?;
        let armored = armor::write(&bytes, signature::LABEL);
        // What we would refuse to read we do not write: a broken card, or a change in a library, shows here.
        let good = Signature::parse(&armored, kind).and_then(|one| one.verify(data, cert));
        good.map_err(|fault| KeyError::Failed(format!("the signature just made is not good: {fault}")))?;
        Ok(armored)
    }

    /// Opens the sealed file `armored` with the first of its recipients that is among `candidates` and here.
    /// Plaintext is returned whole and only after its integrity was checked.
    ///
    /// # Errors
    /// If the envelope isn't that of FORMAT 9, no key is here, its holder refuses, or the content is damaged.
    pub fn decrypt(&mut self, armored: &[u8], candidates: &[(&Certificate, &Fingerprint)]) -> Result<Secret, KeyError> {
        let contents = envelope::read(armored)?;
        let mut failure = KeyError::NoKey;
        for (id, range) in contents.envelope.recipients.iter().zip(&contents.wrapped) {
            for (cert, key) in candidates.iter().filter(|(_, key)| key.key_id() == *id) {
                if !self.holds(cert, key) {
                    continue;
                }
                match self.session_key(&contents.packets[range.clone()], cert, key) {
                    Ok(session_key) => return open(&contents.packets, session_key),
                    // A person who said no is not asked again by the next key.
                    Err(no @ (KeyError::Cancelled | KeyError::BadPassphrase)) => return Err(no),
                    Err(other) => failure = other,
                }
            }
        }
        Err(failure)
    }

    fn session_key(
        &mut self,
        packet: &[u8],
        cert: &Certificate,
        key: &Fingerprint,
    ) -> Result<(SymmetricAlgorithm, SessionKey), KeyError> {
        let Ok(sq::Packet::PKESK(wrapped)) = sq::Packet::from_bytes(packet) else {
            return Err(KeyError::Failed("a recipient's packet cannot be read".to_owned()));
        };
        let mut holder = self.holder(cert, key)?;
        // `PKESK::decrypt` swallows the reason of a failure; the holder has kept it.
        match (wrapped.decrypt(&mut holder, None), holder.failure) {
            (Some((Some(algorithm), session_key)), None) => Ok((algorithm, session_key)),
            (_, Some(failure)) => Err(failure),
            (_, None) => Err(KeyError::Failed(format!("the file is not really encrypted to key {key}"))),
        }
    }

    fn holder<'a>(&'a mut self, cert: &'a Certificate, key: &Fingerprint) -> Result<Holder<'a>, KeyError> {
        let record = cert.record(key).ok_or(KeyError::NoKey)?;
        let source = match self {
            Self::Agent(agent) => Source::Agent(agent),
            Self::File(file) => Source::Pair(
                file.keys.iter_mut().find(|(name, _)| name == key).map(|(_, pair)| pair).ok_or(KeyError::NoKey)?,
            ),
        };
        Ok(Holder { source, public: &record.key, failure: None })
    }
}

impl KeyFile {
    fn read(bytes: &Secret, passphrase: &mut dyn FnMut(&str) -> Option<Secret>) -> Result<Self, KeyError> {
        let not = |error: sq::anyhow::Error| KeyError::NotAKey(error.to_string());
        let mut keys = Vec::new();
        let mut given: Option<Password> = None;
        let mut locked = false;
        for cert in sq::cert::CertParser::from_bytes(bytes.expose()).map_err(not)? {
            let cert = cert.map_err(not)?;
            for key in cert.keys().secret() {
                let key = key.key().clone();
                let Some(name) = fingerprint(&key.fingerprint()) else { continue };
                let open = match key.secret() {
                    SecretKeyMaterial::Unencrypted(_) => key,
                    // gpg writes a stub without a secret where the key is on a card or kept elsewhere.
                    SecretKeyMaterial::Encrypted(secret) if !secret.s2k().is_supported() => continue,
                    SecretKeyMaterial::Encrypted(_) => {
                        if given.is_none() {
                            let prompt = format!("passphrase of the OpenPGP key {}", cert.fingerprint().to_hex());
                            let word = passphrase(&prompt).ok_or(KeyError::Cancelled)?;
                            given = Some(Password::from(word.expose()));
                        }
                        let opened = given.as_ref().and_then(|word| key.decrypt_secret(word).ok());
                        let Some(opened) = opened else {
                            locked = true;
                            continue;
                        };
                        opened
                    }
                };
                keys.push((name, open.into_keypair().map_err(not)?));
            }
        }
        match keys.is_empty() {
            false => Ok(Self { keys }),
            true if locked => Err(KeyError::BadPassphrase),
            true => Err(KeyError::NotAKey("it has no secret key".to_owned())),
        }
    }
}

fn build_signature(holder: &mut Holder<'_>, data: &[u8], kind: Kind, now: Time) -> sq::Result<sq::packet::Signature> {
    let issuer = holder.public.fingerprint();
    let text = NotationDataFlags::empty().set_human_readable();
    SignatureBuilder::new(SignatureType::Binary)
        .set_hash_algo(HashAlgorithm::SHA512)
        .set_signature_creation_time(now.system())?
        .set_issuer_fingerprint(issuer)?
        // Not critical, so that stock gpg still calls the signature good for people who check by hand.
        .set_notation(NOTATION, kind.as_str(), text, false)?
        .sign_message(holder, data)
}

/// One secret key in use. It keeps the reason of a failure, which Sequoia's interfaces lose.
struct Holder<'a> {
    source: Source<'a>,
    public: &'a Key<PublicParts, UnspecifiedRole>,
    failure: Option<KeyError>,
}

enum Source<'a> {
    Agent(&'a mut AgentKeys),
    Pair(&'a mut KeyPair),
}

impl Signer for Holder<'_> {
    fn public(&self) -> &Key<PublicParts, UnspecifiedRole> {
        self.public
    }

    fn sign(&mut self, hash: HashAlgorithm, digest: &[u8]) -> sq::Result<mpi::Signature> {
        match &mut self.source {
            Source::Pair(pair) => pair.sign(hash, digest),
            Source::Agent(agent) => agent.sign(self.public, hash, digest).map_err(|error| {
                self.failure = Some(error.clone());
                error.into()
            }),
        }
    }
}

impl Decryptor for Holder<'_> {
    fn public(&self) -> &Key<PublicParts, UnspecifiedRole> {
        self.public
    }

    fn decrypt(&mut self, ciphertext: &mpi::Ciphertext, length: Option<usize>) -> sq::Result<SessionKey> {
        // Sequoia indexes into short results without looking; whoever writes the file chooses their length.
        if let mpi::Ciphertext::ECDH { key, .. } = ciphertext
            && key.len() < SMALLEST_WRAPPED
        {
            return Err(KeyError::Failed("a wrapped session key is too short".to_owned()).into());
        }
        let opened = match &mut self.source {
            Source::Pair(pair) => pair.decrypt(ciphertext, length),
            Source::Agent(agent) => agent.decrypt(self.public, ciphertext).map_err(|error| {
                self.failure = Some(error.clone());
                error.into()
            }),
        }?;
        if opened.len() < 3 {
            return Err(KeyError::Failed("a session key is too short".to_owned()).into());
        }
        Ok(opened)
    }
}

/// Opens the container with its session key.
fn open(packets: &[u8], session_key: (SymmetricAlgorithm, SessionKey)) -> Result<Secret, KeyError> {
    let failed = || KeyError::Failed("the encrypted data is damaged".to_owned());
    let mut inside = Inside { session_key, wrong: None };
    let time = UNIX_EPOCH + POLICY_TIME;
    let builder = DecryptorBuilder::from_bytes(packets).map_err(|_| failed())?;
    let mut reader = match builder.with_policy(&*POLICY, time, &mut inside) {
        Ok(reader) => reader,
        Err(_) => return Err(inside.wrong.map_or_else(failed, KeyError::Content)),
    };
    // One allocation that never grows leaves no copies behind: nothing inside is compressed, so it can't be larger
    // than what it lies in.
    let mut plaintext = Zeroizing::new(Vec::with_capacity(packets.len().min(LARGEST_PLAINTEXT) + 64));
    let read = (&mut reader).take(LARGEST_PLAINTEXT as u64 + 1).read_to_end(&mut plaintext);
    drop(reader);
    match (read, inside.wrong) {
        (_, Some(wrong)) => Err(KeyError::Content(wrong)),
        (Err(_), None) => Err(failed()),
        (Ok(_), None) if plaintext.len() > LARGEST_PLAINTEXT => Err(KeyError::Limit),
        (Ok(_), None) => Ok(Secret::new(plaintext.to_vec())),
    }
}

/// Allows plain data alone inside the encryption.
struct Inside {
    session_key: (SymmetricAlgorithm, SessionKey),
    wrong: Option<&'static str>,
}

impl VerificationHelper for &mut Inside {
    fn inspect(&mut self, parser: &PacketParser<'_>) -> sq::Result<()> {
        let wrong = match &parser.packet {
            sq::Packet::CompressedData(_) => "compressed data",
            sq::Packet::OnePassSig(_) | sq::Packet::Signature(_) => "a signed message",
            sq::Packet::PKESK(_) | sq::Packet::SEIP(_) if parser.recursion_depth() > 0 => "another encrypted message",
            _ => return Ok(()),
        };
        self.wrong = Some(wrong);
        Err(KeyError::Content(wrong).into())
    }

    fn get_certs(&mut self, _: &[sq::KeyHandle]) -> sq::Result<Vec<sq::Cert>> {
        Ok(Vec::new())
    }

    fn check(&mut self, structure: MessageStructure<'_>) -> sq::Result<()> {
        let plain = structure.iter().all(|layer| matches!(layer, MessageLayer::Encryption { .. }));
        if plain { Ok(()) } else { Err(KeyError::Content("another message").into()) }
    }
}

impl DecryptionHelper for &mut Inside {
    fn decrypt(
        &mut self,
        _: &[PKESK],
        _: &[SKESK],
        _: Option<SymmetricAlgorithm>,
        decrypt: &mut dyn FnMut(Option<SymmetricAlgorithm>, &SessionKey) -> bool,
    ) -> sq::Result<Option<sq::Cert>> {
        decrypt(Some(self.session_key.0), &self.session_key.1);
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Span;
    use crate::openpgp::{SignatureFault, encrypt, generate, read_envelope};

    fn person(name: &str) -> (Certificate, SecretKeys) {
        let (cert, secret) = generate(name, made(), Some(Span::days(100))).unwrap();
        (cert, SecretKeys::file(secret, &mut |_| panic!("it has no passphrase")).unwrap())
    }

    fn made() -> Time {
        Time::parse("2026-01-02T03:04:05Z").unwrap()
    }

    fn keys(cert: &Certificate) -> (Fingerprint, Fingerprint) {
        (cert.keys()[0].fingerprint.clone(), cert.keys()[1].fingerprint.clone())
    }

    #[test]
    fn a_statement_is_signed_and_the_signature_is_good() {
        let (cert, mut secret) = person("alice");
        let (sign, encryption) = keys(&cert);
        let now = made().plus(Span::hours(1));
        let bytes = secret.sign(b"statement\n", Kind::Record, &cert, &sign, now).unwrap();
        let signature = Signature::parse(&bytes, Kind::Record).unwrap();
        assert_eq!((signature.issuer(), signature.created()), (&sign, now));
        signature.verify(b"statement\n", &cert).unwrap();
        assert!(matches!(signature.verify(b"statement", &cert), Err(SignatureFault::Bad(_))));
        let other = person("bob").0;
        assert!(matches!(signature.verify(b"statement\n", &other), Err(SignatureFault::Bad(_))));
        assert!(matches!(Signature::parse(&bytes, Kind::Epoch), Err(SignatureFault::Notation(_))));
        assert!(secret.holds(&cert, &sign) && secret.holds(&cert, &encryption));
        assert!(!secret.holds(&other, &keys(&other).0));
        assert_eq!(secret.sign(b"", Kind::Record, &other, &keys(&other).0, now), Err(KeyError::NoKey));
    }

    #[test]
    fn a_signature_outside_the_life_of_its_key_is_not_made_and_not_accepted() {
        let (cert, mut secret) = person("alice");
        let (sign, _) = keys(&cert);
        for now in [made().minus(Span::minutes(1)), made().plus(Span::days(100))] {
            let refused = secret.sign(b"x", Kind::Epoch, &cert, &sign, now);
            assert!(matches!(refused, Err(KeyError::Failed(_))), "{now}");
        }
    }

    #[test]
    fn what_is_sealed_is_opened_by_each_recipient_and_nobody_else() {
        let ((alice, mut a), (bob, mut b), (eve, mut e)) = (person("alice"), person("bob"), person("eve"));
        let (ka, kb, ke) = (keys(&alice).1, keys(&bob).1, keys(&eve).1);
        let sealed = encrypt(&Secret::new(b"secret\n".to_vec()), &[(&alice, &ka), (&bob, &kb)]).unwrap();
        assert_eq!(read_envelope(&sealed).unwrap().recipients, [ka.key_id(), kb.key_id()]);
        for (keys, cert, key) in [(&mut a, &alice, &ka), (&mut b, &bob, &kb)] {
            assert_eq!(keys.decrypt(&sealed, &[(cert, key)]).ok().unwrap().expose(), b"secret\n");
        }
        assert_eq!(e.decrypt(&sealed, &[(&eve, &ke), (&alice, &ka)]).err(), Some(KeyError::NoKey));
    }

    #[test]
    fn a_damaged_file_gives_no_plaintext() {
        let (alice, mut keys_) = person("alice");
        let key = keys(&alice).1;
        let sealed = encrypt(&Secret::new(vec![b'x'; 5000]), &[(&alice, &key)]).unwrap();
        let mut packets = armor::read(&sealed, envelope::LABEL).unwrap();
        let last = packets.len() - 30;
        packets[last] ^= 1;
        let damaged = armor::write(&packets, envelope::LABEL);
        assert!(matches!(keys_.decrypt(&damaged, &[(&alice, &key)]), Err(KeyError::Failed(_))));
        assert!(matches!(keys_.decrypt(b"hello", &[(&alice, &key)]), Err(KeyError::Envelope(_))));
    }

    #[test]
    fn only_a_key_for_encryption_is_sealed_to() {
        let (alice, _) = person("alice");
        let (sign, _) = keys(&alice);
        assert!(encrypt(&Secret::new(vec![1]), &[(&alice, &sign)]).is_err());
        assert!(encrypt(&Secret::new(vec![1]), &[]).is_err());
    }

    #[test]
    fn a_public_key_is_no_secret_key() {
        let stored = person("alice").0.to_stored();
        let read = SecretKeys::file(Secret::new(stored), &mut |_| None);
        assert!(matches!(read, Err(KeyError::NotAKey(_))));
    }
}
