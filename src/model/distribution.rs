//! Distributions of Kubernetes: which keysets a cluster of each has, what it makes by itself, and what it can't replace
//! (kubernetes-pki B and C.2). Facts about programs of others; lays out and decides nothing.

use std::fmt;

use serde::Deserialize;

use super::{Algorithm, Keyset};

/// A Kubernetes distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "their names are the distributions'")]
pub enum Distribution {
    Kubeadm,
    K3s,
    Rke2,
    K0s,
    Talos,
}

impl Distribution {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Kubeadm, Self::K3s, Self::Rke2, Self::K0s, Self::Talos];

    /// The name in cluster.toml.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kubeadm => "kubeadm",
            Self::K3s => "k3s",
            Self::Rke2 => "rke2",
            Self::K0s => "k0s",
            Self::Talos => "talos",
        }
    }

    /// The keysets that a new cluster has.
    ///
    /// k3s and RKE2 split client from server and etcd's peers from its clients (kubernetes-pki B.1), and keep their own
    /// encryption keys (`k3s secrets-encrypt`), so kluis makes them none. k0s has no encryption at rest unless its
    /// configuration names a file; kluis has one to name, as for kubeadm: without it secrets lie in etcd in the clear.
    pub fn keysets(self) -> &'static [Keyset] {
        use Keyset::{
            Encryption, Etcd, EtcdPeer, FrontProxy, Kubernetes, KubernetesClient, ServiceAccount, Talos, Tokens,
        };
        match self {
            Self::Kubeadm | Self::K0s => &[Kubernetes, Etcd, FrontProxy, ServiceAccount, Encryption],
            Self::K3s | Self::Rke2 => {
                &[Kubernetes, KubernetesClient, Etcd, EtcdPeer, FrontProxy, ServiceAccount, Tokens]
            }
            Self::Talos => &[Kubernetes, Etcd, FrontProxy, Talos, ServiceAccount, Encryption, Tokens],
        }
    }

    /// Whether its nodes make every leaf certificate by themselves at each start, from CA keys that lie there. Nodes
    /// of such a cluster have no certificates in the repository.
    pub fn makes_leaves(self) -> bool {
        matches!(self, Self::K3s | Self::Rke2 | Self::Talos)
    }

    /// The algorithm of a new key of `keyset`, where cluster.toml asks for `algorithm`. k3s, RKE2 and k0s know the key of
    /// service accounts as RSA in PKCS#1 alone (kubernetes-pki B.1, B.2): where another is asked for, it has 2048 bits,
    /// which is what they would make themselves.
    pub fn algorithm(self, keyset: Keyset, algorithm: Algorithm) -> Algorithm {
        let wants_rsa = keyset == Keyset::ServiceAccount && matches!(self, Self::K3s | Self::Rke2 | Self::K0s);
        if wants_rsa && !algorithm.is_rsa() { Algorithm::Rsa2048 } else { algorithm }
    }

    /// The range of service addresses where nobody says another.
    pub fn service_cidr(self) -> &'static str {
        match self {
            Self::K3s | Self::Rke2 => "10.43.0.0/16",
            Self::Kubeadm | Self::K0s | Self::Talos => "10.96.0.0/12",
        }
    }

    /// Why a keyset can't be rotated; `None` where it can.
    pub fn fixed(self, keyset: Keyset) -> Option<&'static str> {
        match (self, keyset) {
            (Self::Talos, Keyset::Kubernetes | Keyset::Talos) => None,
            (Self::Talos, Keyset::Etcd | Keyset::FrontProxy) => Some(
                "a Talos machine configuration has acceptedCAs for the CAs of Kubernetes and of its own API alone, so no node \
                 could trust two of these",
            ),
            (Self::Talos, Keyset::ServiceAccount) => Some(
                "a Talos machine configuration holds one service-account key, so every token would be void at once",
            ),
            (Self::Talos, Keyset::Encryption) => Some(
                "a Talos machine configuration holds one encryption key, so what the former one wrote could not be read",
            ),
            (Self::Talos, _) => Some("Talos has no command that replaces join tokens, cluster id or cluster secret"),
            _ => None,
        }
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl serde::Serialize for Distribution {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl std::str::FromStr for Distribution {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::as_str).join(", ");
        Self::ALL.into_iter().find(|one| one.as_str() == text).ok_or_else(|| format!("there are {}", names()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_distribution_has_what_an_api_server_needs() {
        for distribution in Distribution::ALL {
            for keyset in [Keyset::Kubernetes, Keyset::Etcd, Keyset::FrontProxy, Keyset::ServiceAccount] {
                assert!(distribution.keysets().contains(&keyset), "{distribution} {keyset}");
            }
            assert_eq!(distribution.as_str().parse(), Ok(distribution));
        }
    }

    #[test]
    fn talos_replaces_what_it_can_accept_twice() {
        let fixed = |keyset: &&Keyset| Distribution::Talos.fixed(**keyset).is_some();
        let can: Vec<&Keyset> = Distribution::Talos.keysets().iter().filter(|keyset| !fixed(keyset)).collect();
        assert_eq!(can, [&Keyset::Kubernetes, &Keyset::Talos]);
        assert!(Distribution::K3s.keysets().iter().all(|keyset| Distribution::K3s.fixed(*keyset).is_none()));
    }

    #[test]
    fn service_account_keys_are_rsa_where_they_have_to_be() {
        let of = |distribution: Distribution, algorithm| distribution.algorithm(Keyset::ServiceAccount, algorithm);
        assert_eq!(of(Distribution::K3s, Algorithm::EcdsaP256), Algorithm::Rsa2048);
        assert_eq!(of(Distribution::K3s, Algorithm::Rsa4096), Algorithm::Rsa4096);
        assert_eq!(of(Distribution::Talos, Algorithm::EcdsaP384), Algorithm::EcdsaP384);
        assert_eq!(Distribution::K3s.algorithm(Keyset::Etcd, Algorithm::EcdsaP256), Algorithm::EcdsaP256);
    }
}
