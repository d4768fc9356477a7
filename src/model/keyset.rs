//! Keysets: the long-lived roles of a cluster, their generations, and the states of a rotation.

use std::fmt;

/// A long-lived role with generations (FORMAT 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Keyset {
    /// The main CA.
    Kubernetes,
    /// The CA of clients alone, where the distribution splits it from the main one (k3s, RKE2).
    KubernetesClient,
    /// The etcd CA.
    Etcd,
    /// The CA of etcd peers alone (k3s, RKE2).
    EtcdPeer,
    /// The CA of the aggregation layer.
    FrontProxy,
    /// The CA of Talos' own API.
    Talos,
    /// The key pair that signs service-account tokens.
    ServiceAccount,
    /// The symmetric key of encryption at rest.
    Encryption,
    /// The join secrets of a distribution.
    Tokens,
}

impl Keyset {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Kubernetes,
        Self::KubernetesClient,
        Self::Etcd,
        Self::EtcdPeer,
        Self::FrontProxy,
        Self::Talos,
        Self::ServiceAccount,
        Self::Encryption,
        Self::Tokens,
    ];

    /// The name in statements and file names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes",
            Self::KubernetesClient => "kubernetes-client",
            Self::Etcd => "etcd",
            Self::EtcdPeer => "etcd-peer",
            Self::FrontProxy => "front-proxy",
            Self::Talos => "talos",
            Self::ServiceAccount => "service-account",
            Self::Encryption => "encryption",
            Self::Tokens => "tokens",
        }
    }

    /// Parses the name in statements and file names.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|one| one.as_str() == text)
    }

    /// Whether its generations are CA certificates.
    pub fn is_ca(self) -> bool {
        !matches!(self, Self::ServiceAccount) && !self.is_symmetric()
    }

    /// Whether its generations are symmetric secrets, which no epoch lists.
    pub fn is_symmetric(self) -> bool {
        matches!(self, Self::Encryption | Self::Tokens)
    }
}

impl fmt::Display for Keyset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Keyset {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text).ok_or_else(|| {
            let known = Self::ALL.iter().map(|one| one.as_str()).collect::<Vec<_>>().join(", ");
            format!("{text:?} is no keyset; there are {known}")
        })
    }
}

impl serde::Serialize for Keyset {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The number of a generation, 1 to 9999. Text form in names: `g2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(u16);

impl Generation {
    /// The first generation.
    pub const FIRST: Self = Self(1);

    /// A generation by its number; `None` unless 1 to 9999.
    pub fn new(number: u32) -> Option<Self> {
        (1..=9999).contains(&number).then(|| Self(u16::try_from(number).expect("at most 9999")))
    }

    /// Parses `g1` to `g9999`, without leading zeros.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('g')?;
        if digits.starts_with('0') || !digits.bytes().all(|c| c.is_ascii_digit()) {
            return None;
        }
        Self::new(digits.parse().ok()?)
    }

    /// The number.
    pub fn number(self) -> u32 {
        u32::from(self.0)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("g{}", self.0))
    }
}

impl serde::Serialize for Generation {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The state of a generation in a rotation (FORMAT 5, Phases).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Made and sealed; nothing trusts it.
    Staged,
    /// In the trust bundle; issues nothing.
    Trusted,
    /// The one that issues.
    Issuing,
    /// Issued until now; still trusted.
    Retiring,
    /// Out of the trust bundle.
    Distrusted,
}

impl State {
    const ALL: [Self; 5] = [Self::Staged, Self::Trusted, Self::Issuing, Self::Retiring, Self::Distrusted];

    /// The name in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Trusted => "trusted",
            Self::Issuing => "issuing",
            Self::Retiring => "retiring",
            Self::Distrusted => "distrusted",
        }
    }

    /// Parses the name in records.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == text)
    }

    /// Whether a generation in this state is part of the trust bundle.
    pub fn is_in_bundle(self) -> bool {
        matches!(self, Self::Trusted | Self::Issuing | Self::Retiring)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl serde::Serialize for State {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_have_no_leading_zeros() {
        assert_eq!(Generation::parse("g9999").unwrap().number(), 9999);
        for text in ["g0", "g01", "g10000", "1", "g", "g+1", "G1"] {
            assert_eq!(Generation::parse(text), None, "{text}");
        }
    }
}
