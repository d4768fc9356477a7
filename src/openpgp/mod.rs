//! OpenPGP: certificates, detached signatures, sealed envelopes, and people's secret keys.
//!
//! The only module that names `sequoia_openpgp`. It never reads a keyring, a `gpg.conf` or a user id to decide
//! anything, and it never asks the clock: times come in as arguments or from the bytes themselves.

pub mod agent;
mod armor;
mod certificate;
mod encrypt;
mod envelope;
mod generate;
mod packet;
mod readers;
mod secret_keys;
mod signature;
mod usable;
mod view;

use std::fmt;
use std::sync::LazyLock;
use std::time::{Duration, UNIX_EPOCH};

use sequoia_openpgp::policy::{AsymmetricAlgorithm, StandardPolicy};
use sequoia_openpgp::types::HashAlgorithm;

use crate::model::Fingerprint;

pub use agent::AgentKeys;
pub use certificate::{Certificate, CertificateFault, KeyFacts, KeyFault};
pub use encrypt::{EncryptFault, encrypt};
pub use envelope::{Envelope, EnvelopeFault, read_envelope};
pub use generate::generate;
pub use packet::holds_secret_key;
pub use readers::readers;
pub use secret_keys::{KeyError, KeyFile, SecretKeys};
pub use signature::{Signature, SignatureFault};
pub use usable::{UnusableFault, Usable};
pub use view::KeyView;

/// What a signature is about: the value of its `kind@kluis` notation (FORMAT 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An epoch.
    Epoch,
    /// A record of the log.
    Record,
    /// A request for a certificate.
    Request,
}

impl Kind {
    /// The value of the notation.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Epoch => "epoch",
            Self::Record => "record",
            Self::Request => "request",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a listed key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// Signing statements.
    Sign,
    /// Being sealed to.
    Encrypt,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Sign => "signing",
            Self::Encrypt => "encryption",
        })
    }
}

/// The hashes that count, in bindings and in signatures (FORMAT 3).
const HASHES: [HashAlgorithm; 5] = [
    HashAlgorithm::SHA256,
    HashAlgorithm::SHA384,
    HashAlgorithm::SHA512,
    HashAlgorithm::SHA3_256,
    HashAlgorithm::SHA3_512,
];

/// The moment at which the policy's own cutoffs are judged, 2026-01-01. A `StandardPolicy` without one asks the
/// clock, and the same tree would be valid today and invalid tomorrow.
const POLICY_TIME: Duration = Duration::from_secs(1_767_225_600);

/// The one policy. It is built here from constants: reading Sequoia's policy file, as its command does, would let
/// an environment variable on one machine bring SHA-1 back. Weak keys are not its business: it accepts them, and
/// `certificate::weakness` refuses them with a code of their own.
static POLICY: LazyLock<StandardPolicy<'static>> = LazyLock::new(|| {
    let mut policy = StandardPolicy::at(UNIX_EPOCH + POLICY_TIME);
    policy.reject_all_hashes();
    for hash in HASHES {
        policy.accept_hash(hash);
    }
    for algorithm in AsymmetricAlgorithm::variants() {
        policy.accept_asymmetric_algo(algorithm);
    }
    policy
});

/// The same without its one demand on hashes: used only to tell a person why a key does not count, never to let
/// it count.
static LENIENT: LazyLock<StandardPolicy<'static>> = LazyLock::new(|| {
    let mut policy = POLICY.clone();
    for hash in [HashAlgorithm::MD5, HashAlgorithm::SHA1, HashAlgorithm::RipeMD, HashAlgorithm::SHA224] {
        policy.accept_hash(hash);
    }
    policy
});

/// Sequoia's fingerprint as ours; `None` for versions other than 4 and 6.
fn fingerprint(of: &sequoia_openpgp::Fingerprint) -> Option<Fingerprint> {
    Fingerprint::parse(&of.to_hex())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Time;
    use crate::secret::Secret;
    use proptest::prelude::*;

    /// A certificate, a signature and a sealed file, without armor, with the labels to put around them.
    static SAMPLES: LazyLock<[(&'static str, Vec<u8>); 3]> = LazyLock::new(|| {
        let made = Time::from_unix(1_700_000_000);
        let (cert, secret) = generate("alice", made, None).unwrap();
        let mut keys = SecretKeys::file(secret, &mut |_| None).ok().unwrap();
        let names: Vec<_> = cert.keys().into_iter().map(|key| key.fingerprint).collect();
        let signature = keys.sign(b"x", Kind::Epoch, &cert, &names[0], made).unwrap();
        let sealed = encrypt(&Secret::new(vec![1; 100]), &[(&cert, &names[1])]).unwrap();
        let bare = |bytes: &[u8], label| (label, armor::read(bytes, label).unwrap());
        [
            bare(&cert.to_stored(), certificate::LABEL),
            bare(&signature, signature::LABEL),
            bare(&sealed, envelope::LABEL),
        ]
    });

    fn parse_everything(bytes: &[u8]) {
        let _ = holds_secret_key(bytes);
        if let Ok(cert) = Certificate::parse_stored(bytes).or_else(|_| Certificate::parse_given(bytes)) {
            let _ = cert.usable(Time::from_unix(1_800_000_000));
            assert!(Certificate::parse_stored(&cert.to_stored()).is_ok());
        }
        let _ = Signature::parse(bytes, Kind::Epoch);
        let _ = read_envelope(bytes);
        let _ = SecretKeys::file(Secret::new(bytes.to_vec()), &mut |_| None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn no_bytes_make_a_parser_panic(
            sample in 0..3_usize,
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            cut in any::<prop::sample::Index>(),
            whole in any::<bool>(),
        ) {
            let (label, mut bytes) = SAMPLES[sample].clone();
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            if !whole {
                bytes.truncate(cut.index(bytes.len()) + 1);
            }
            parse_everything(&bytes);
            parse_everything(&armor::write(&bytes, label));
        }
    }
}
