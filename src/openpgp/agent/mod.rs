//! gpg-agent: holds people's secret keys, also those on cards, and does the arithmetic with them. kluis asks it
//! three things: is a key there, sign this hash, open this session key.
//!
//! Nothing else of GnuPG is used: no gpg program, no keyring, no configuration file. Secret keys never enter this
//! process.

mod assuan;
mod keygrip;
mod locate;
mod sexp;

use std::path::Path;
use std::time::Duration;

use sequoia_openpgp as sq;
use sq::crypto::mem::Protected;
use sq::crypto::mpi::{Ciphertext, ProtectedMPI, PublicKey, Signature};
use sq::crypto::{SessionKey, ecdh};
use sq::packet::Key;
use sq::packet::key::{PublicParts, UnspecifiedRole};
use sq::types::HashAlgorithm;

use super::secret_keys::KeyError;
use crate::model::displayed;
use crate::secret::Secret;
use assuan::{Answer, Connection, Reply};

/// How long an ordinary answer may take.
const SOON: Duration = Duration::from_secs(20);
/// How long the arithmetic may take: a person types a passphrase, or touches a card.
const PERSON: Duration = Duration::from_secs(600);
/// The longest explanation in octets; a line of the protocol has at most 1000.
const LONGEST_EXPLANATION: usize = 240;

/// Where a pinentry could ask, for `doctor`: a display or a terminal, as the agent is told. `None` if nowhere.
pub fn asks_on() -> Option<String> {
    locate::asks_on()
}

/// A connection to the person's gpg-agent.
pub struct AgentKeys {
    connection: Connection,
    passphrase: Option<Secret>,
    purpose: String,
}

impl AgentKeys {
    /// Connects to the agent of `home`, or of `GNUPGHOME` or the user's own home where that is `None`; starts it
    /// if it doesn't run.
    ///
    /// # Errors
    /// [`KeyError::NoAgent`] if none answers.
    pub fn connect(home: Option<&Path>) -> Result<Self, KeyError> {
        let mut connection = Connection::open(locate::connect(home)?)?;
        // Nothing of an earlier use of the connection, and a word when a pinentry comes up. Agents that don't know
        // an option say so, and go on.
        for line in ["RESET".to_owned(), "OPTION allow-pinentry-notify".to_owned()].into_iter().chain(locate::options())
        {
            connection.ask(&line, SOON)?;
        }
        Ok(Self { connection, passphrase: None, purpose: "use your key".to_owned() })
    }

    /// Answers the agent's question for a passphrase with this one instead of a pinentry (`--passphrase-fd`).
    /// The agent must allow it (`allow-loopback-pinentry`, its default).
    ///
    /// # Errors
    /// If the agent does not allow it.
    pub fn with_passphrase(mut self, passphrase: Secret) -> Result<Self, KeyError> {
        match self.connection.ask("OPTION pinentry-mode=loopback", SOON)? {
            Reply::Done { .. } => Ok(Self { passphrase: Some(passphrase), ..self }),
            Reply::Refused { code, text } => Err(refusal(code, &text)),
        }
    }

    /// Says in the agent's question what the key is wanted for.
    pub fn explain(&mut self, what: &str) {
        let shown = displayed(what);
        let end = (0..=shown.len().min(LONGEST_EXPLANATION)).rev().find(|&at| shown.is_char_boundary(at)).unwrap_or(0);
        self.purpose = shown[..end].to_owned();
    }

    /// Whether the agent has the secret key. `false` too if it can't be asked.
    pub(super) fn holds(&mut self, key: &Key<PublicParts, UnspecifiedRole>) -> bool {
        let Some(grip) = keygrip::of(key.mpis()) else { return false };
        matches!(self.connection.ask(&format!("HAVEKEY {grip}"), SOON), Ok(Reply::Done { .. }))
    }

    /// Has the agent sign `digest`.
    pub(super) fn sign(
        &mut self,
        key: &Key<PublicParts, UnspecifiedRole>,
        hash: HashAlgorithm,
        digest: &[u8],
    ) -> Result<Signature, KeyError> {
        let grip = keygrip::of(key.mpis()).ok_or(KeyError::NoKey)?;
        // libgcrypt numbers hashes as OpenPGP does.
        let number = u8::from(hash);
        self.done(&format!("SIGKEY {grip}"))?;
        self.describe(key)?;
        self.done(&format!("SETHASH {number} {}", hex(digest)))?;
        let (data, _) = self.operate("PKSIGN", None)?;
        sexp::signature(&data).ok_or_else(|| KeyError::Failed("gpg-agent's signature cannot be read".to_owned()))
    }

    /// Has the agent open a wrapped session key.
    pub(super) fn decrypt(
        &mut self,
        key: &Key<PublicParts, UnspecifiedRole>,
        ciphertext: &Ciphertext,
    ) -> Result<SessionKey, KeyError> {
        let grip = keygrip::of(key.mpis()).ok_or(KeyError::NoKey)?;
        let question = sexp::ciphertext(ciphertext)
            .ok_or_else(|| KeyError::Failed("gpg-agent does not know this kind of session key".to_owned()))?;
        self.done(&format!("SETKEY {grip}"))?;
        self.describe(key)?;
        let (data, padded) = self.operate("PKDECRYPT", Some(&question))?;
        let value =
            sexp::value(&data).ok_or_else(|| KeyError::Failed("gpg-agent's answer cannot be read".to_owned()))?;
        finish(key, ciphertext, value, padded).ok_or_else(|| {
            KeyError::Failed(format!("the file is not really encrypted to key {}", key.fingerprint().to_hex()))
        })
    }

    /// Tells the person who is asked for a passphrase what for.
    fn describe(&mut self, key: &Key<PublicParts, UnspecifiedRole>) -> Result<(), KeyError> {
        let text = format!("kluis wants to {}\nwith the OpenPGP key {}", self.purpose, key.fingerprint().to_hex());
        self.done(&format!("SETKEYDESC {}", assuan::percent_plus(&text)))
    }

    /// A command that must succeed and returns nothing.
    fn done(&mut self, line: &str) -> Result<(), KeyError> {
        match self.connection.ask(line, SOON)? {
            Reply::Done { .. } => Ok(()),
            Reply::Refused { code, text } => Err(refusal(code, &text)),
        }
    }

    /// A command that uses the secret key. Returns its data, and whether it still has its padding.
    fn operate(&mut self, line: &str, ciphertext: Option<&[u8]>) -> Result<(Protected, bool), KeyError> {
        let passphrase = &self.passphrase;
        let mut asked = 0;
        let reply = self.connection.converse(line, PERSON, &mut |question| match question {
            "CIPHERTEXT" => ciphertext.map_or(Answer::Cancel, Answer::Data),
            "PASSPHRASE" | "NEW_PASSPHRASE" => {
                asked += 1;
                // Asked again, the agent has refused what it was given.
                match passphrase {
                    Some(word) if asked == 1 => Answer::Data(word.expose()),
                    _ => Answer::Cancel,
                }
            }
            // Nothing to say: "a pinentry is up", and what newer agents will ask.
            _ => Answer::Data(&[]),
        })?;
        match reply {
            Reply::Done { data, padded } => Ok((data, padded)),
            Reply::Refused { .. } if asked > 1 => Err(KeyError::BadPassphrase),
            Reply::Refused { code, text } => Err(refusal(code, &text)),
        }
    }
}

/// The agent's error as ours. The lower 16 bits are a code of libgpg-error, which is stable; the text is the
/// agent's, in the language that it was started with.
fn refusal(code: u32, text: &str) -> KeyError {
    let text = displayed(text);
    match code & 0xffff {
        11 | 87 => KeyError::BadPassphrase,
        17 => KeyError::NoKey,
        62 => KeyError::Timeout,
        77 => KeyError::NoAgent,
        85 | 86 => KeyError::NoPinentry,
        // An error of the system (bit 15) in the pinentry (source 5): it is there, and finds no terminal.
        system if system & 0x8000 != 0 && code >> 24 & 0x7f == 5 => KeyError::NoPinentry,
        99 | 114 | 198 => KeyError::Cancelled,
        91 | 108..=112 | 119 | 120 | 122 | 123 | 130 | 132 => KeyError::NoCard(text),
        _ => KeyError::Failed(format!("gpg-agent: {text}")),
    }
}

/// Turns the agent's number into the session key: takes off the padding of RSA, or derives and unwraps with the
/// shared point of ECDH (RFC 9580, 11.5). `None` if it is damaged.
fn finish(
    key: &Key<PublicParts, UnspecifiedRole>,
    ciphertext: &Ciphertext,
    value: Protected,
    padded: bool,
) -> Option<SessionKey> {
    match key.mpis() {
        PublicKey::RSA { .. } if padded => {
            // 00 02, octets other than 0, 0, the session key (RFC 8017, 7.2.2); the leading 0 may be lost.
            let bytes = value.strip_prefix(&[0]).unwrap_or(&value).strip_prefix(&[2])?;
            let zero = bytes.iter().position(|&octet| octet == 0)?;
            Some(bytes[zero + 1..].into())
        }
        PublicKey::RSA { .. } => Some(value[..].into()),
        PublicKey::ECDH { curve, .. } => {
            let point = ProtectedMPI::from(value);
            let shared = Protected::from(point.decode_point(curve).ok()?.0);
            ecdh::decrypt_unwrap(key, &shared, ciphertext, None).ok()
        }
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}
