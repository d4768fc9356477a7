//! Why X.509 material is refused.

use crate::model::{Code, Time};

/// Why a key, certificate, request or PEM file is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PkiError {
    /// Not exactly one PEM block of the wanted label in the one form of FORMAT 1.
    #[error("it is not exactly one {label} block: {why}")]
    Pem {
        /// The label that was wanted.
        label: String,
        /// What is wrong.
        why: &'static str,
    },
    /// Not the strict DER of what it should be.
    #[error("it is no {what}: {why}")]
    Der {
        /// What it should be, as "X.509 certificate".
        what: &'static str,
        /// What is wrong.
        why: String,
    },
    /// A private key that does not parse. Says nothing of its content.
    #[error("the private key can't be read: {0}")]
    PrivateKey(&'static str),
    /// A public key too weak, or of a kind that nothing here knows.
    #[error("the key is not good enough: {0}")]
    WeakKey(String),
    /// The private key is not the one of the authority's certificate.
    #[error("the private key is not the one of the authority's certificate {subject}")]
    WrongAuthorityKey {
        /// The subject of the certificate.
        subject: String,
    },
    /// The issuing certificate may not issue.
    #[error("{subject} is no certificate of an authority that may sign certificates")]
    NotAnAuthority {
        /// The subject of the certificate.
        subject: String,
    },
    /// The authority's life and the wanted one have nothing in common.
    #[error("the authority lives from {from} until {until}, which leaves no time for the certificate")]
    AuthorityEnded {
        /// The authority's first second.
        from: Time,
        /// The authority's last second.
        until: Time,
    },
    /// The authority's name constraints exclude a name.
    #[error(
        "the name constraints of {subject} exclude {name}: no verifier would take the certificate; names that came later need \
         a new generation of that authority"
    )]
    NotPermitted {
        /// The subject of the authority's certificate.
        subject: String,
        /// The name.
        name: String,
    },
    /// The profile allows no such content.
    #[error("a certificate of profile {profile} {why}")]
    Profile {
        /// The profile.
        profile: &'static str,
        /// What is wrong with what was asked.
        why: &'static str,
    },
}

impl PkiError {
    /// The finding code of a file with this fault.
    pub fn code(&self) -> Code {
        match self {
            Self::WeakKey(_) => Code::WeakKey,
            Self::WrongAuthorityKey { .. } => Code::SpkiMismatch,
            Self::NotAnAuthority { .. } | Self::NotPermitted { .. } => Code::BadChain,
            Self::AuthorityEnded { .. } => Code::Lifetime,
            Self::Profile { .. } => Code::LeafFacts,
            Self::Pem { .. } | Self::Der { .. } | Self::PrivateKey(_) => Code::CertFormat,
        }
    }
}
