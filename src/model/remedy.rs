//! Remedies: the command that mends a fault, as data. The text is the command line; a test parses each
//! with the real grammar, so that no advice is ever a typo.

use std::fmt;

use super::{ClusterName, NodeName, PersonName};

/// What mends a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// Put back what the last commit has.
    GitRestore(String),
    /// Look at what differs before anything else.
    GitStatus,
    /// Make this folder a git repository.
    GitInit,
    /// Tell git who you are.
    GitIdentity,
    /// Start a repository of kluis.
    Init,
    /// Sign the draft of the next epoch.
    TrustSign,
    /// Compare what is pinned.
    TrustCompare,
    /// Pin what a colleague's line says.
    TrustPin,
    /// Seal again to the right people.
    Reseal(Option<ClusterName>),
    /// Keep, of two versions that were made apart, the one that lies in the tree.
    Choose(ClusterName),
    /// Decide what two branches decided apart in a rotation.
    Settle(ClusterName),
    /// Vouch for a record.
    Adopt(String),
    /// Refresh a person's OpenPGP certificate.
    PersonUpdate(PersonName),
    /// Bring a cluster's certificates in line with cluster.toml.
    ClusterApply(ClusterName),
    /// Issue a node's certificates anew.
    CertIssue(ClusterName, NodeName),
    /// Draft an epoch that lives longer; it is news, too.
    TrustExpires,
    /// Check this machine.
    Doctor,
    /// Give the passphrase where nobody can be asked for it.
    Passphrase,
    /// Say who you are.
    As(PersonName),
    /// See everything that is wrong.
    Verify,
    /// List the persons.
    PersonList,
    /// List the clusters.
    ClusterList,
    /// Get a newer kluis.
    Upgrade,
    /// Any other command line of kluis, without the leading `kluis`.
    Kluis(String),
    /// A command line of another program.
    Run(String),
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GitRestore(path) => write!(f, "git restore -- {path}"),
            Self::GitStatus => f.write_str("git status"),
            Self::GitInit => f.write_str("git init"),
            Self::GitIdentity => {
                f.write_str("git config user.name \"Your Name\" && git config user.email you@example.org")
            }
            Self::Init => f.write_str("kluis init --as NAME --pgp FILE"),
            Self::TrustSign => f.write_str("kluis trust sign"),
            Self::TrustCompare => f.write_str("kluis trust compare LINE"),
            Self::TrustPin => f.write_str("kluis trust pin LINE"),
            Self::Reseal(None) => f.write_str("kluis reseal"),
            Self::Reseal(Some(cluster)) => write!(f, "kluis reseal -c {cluster}"),
            Self::Choose(cluster) => write!(f, "kluis reseal --choose -c {cluster}"),
            Self::Settle(cluster) => write!(f, "kluis rotate settle -c {cluster}"),
            Self::Adopt(record) => write!(f, "kluis adopt {record} --reason TEXT"),
            Self::PersonUpdate(person) => write!(f, "kluis person update {person} --pgp FILE"),
            Self::ClusterApply(cluster) => write!(f, "kluis cluster apply -c {cluster}"),
            Self::CertIssue(cluster, node) => write!(f, "kluis cert issue -c {cluster} --node {node}"),
            Self::TrustExpires => f.write_str("kluis trust set expires 365d"),
            Self::Doctor => f.write_str("kluis doctor"),
            Self::Passphrase => f.write_str("kluis --passphrase-fd 3 COMMAND 3<PASSPHRASE-FILE"),
            Self::As(person) => write!(f, "kluis --as {person} status"),
            Self::Verify => f.write_str("kluis verify"),
            Self::PersonList => f.write_str("kluis person list"),
            Self::ClusterList => f.write_str("kluis cluster list"),
            Self::Upgrade => f.write_str("cargo install --locked kluis"),
            Self::Kluis(line) => write!(f, "kluis {line}"),
            Self::Run(line) => f.write_str(line),
        }
    }
}
