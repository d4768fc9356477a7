//! Why material is refused. No error quotes a value: it may be a key.

use crate::export::yaml::YamlError;
use crate::model::Keyset;
use crate::pki::GivenError;

/// Why nothing is taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// There is nothing that a cluster could be made from.
    #[error("{0}")]
    Nothing(String),
    /// A file that can't be read.
    #[error("{name}: {source}")]
    Unreadable {
        /// Which one.
        name: String,
        /// What is wrong.
        source: GivenError,
    },
    /// A document that can't be read.
    #[error("{name}: {source}")]
    Yaml {
        /// Which one.
        name: String,
        /// What is wrong.
        source: YamlError,
    },
    /// Something that is encrypted by another program, with the command that decrypts it into a pipe.
    #[error("{name}: {what}; hand it over through a pipe: {command} | kluis cluster import NAME --from - …")]
    Encrypted {
        /// Which one.
        name: String,
        /// What it is.
        what: &'static str,
        /// The command.
        command: String,
    },
    /// Something that is not as it has to be.
    #[error("{name}: {why}")]
    Item {
        /// Which one.
        name: String,
        /// Why.
        why: String,
    },
    /// A key that fits nothing.
    #[error(
        "{name}: this private key fits none of {of}: it belongs to another cluster, or to a certificate that was replaced"
    )]
    Misfit {
        /// Which one.
        name: String,
        /// What it should fit.
        of: String,
    },
    /// More is trusted than the first generation of a keyset can hold.
    #[error(
        "{name}: {count} of its {what} are trusted at the same time. A keyset is adopted with one generation, and what it \
         would lose is trusted by what runs: end that rotation first (take out what nothing uses any more), then adopt"
    )]
    Several {
        /// Where.
        name: String,
        /// How many.
        count: usize,
        /// Of what.
        what: String,
    },
    /// One key for two keysets.
    #[error(
        "{one} and {other} have one key: whoever may issue for the one could issue for the other, so no key belongs to two \
         keysets here. Give {other} a key of its own first"
    )]
    Shared {
        /// The first keyset.
        one: Keyset,
        /// The second.
        other: Keyset,
    },
}

impl ImportError {
    /// Something that is not as it has to be.
    pub(super) fn item(name: &str, why: impl Into<String>) -> Self {
        Self::Item { name: name.to_owned(), why: why.into() }
    }

    /// A file that `Given` refuses, with the way around where there is one.
    pub(super) fn given(name: &str, error: GivenError) -> Self {
        let (what, command) = match error {
            // With everything else: a key alone is no cluster.
            GivenError::Encrypted => {
                let command = format!("(cat OTHER-FILES; openssl pkey -in {})", quoted(name));
                ("its private key is encrypted", command)
            }
            GivenError::Pkcs12 => {
                ("it is PKCS#12", format!("(cat OTHER-FILES; openssl pkcs12 -nodes -in {})", quoted(name)))
            }
            source => return Self::Unreadable { name: name.to_owned(), source },
        };
        Self::Encrypted { name: name.to_owned(), what, command }
    }
}

/// A path for a shell.
pub(super) fn quoted(name: &str) -> String {
    let path = name.split('#').next().unwrap_or(name);
    if path == "stdin" {
        return "FILE".to_owned();
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./+=@:".contains(c);
    if path.chars().all(plain) { path.to_owned() } else { format!("'{}'", path.replace('\'', r"'\''")) }
}
