//! Why an export is refused, and what mends it. Facts only; no secret ever stands in one.

use crate::model::{ClusterName, Distribution, Generation, Keyset, NodeName, Profile, Remedy};

/// Why an export is refused. Nothing was laid out.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A control-plane node that its own components could not call.
    #[error(
        "node {node} runs a control plane and has no IP address but loopback, so its controller-manager, scheduler \
         and kubelet could not find their API server; add one to its `addresses` in clusters/{cluster}/cluster.toml"
    )]
    NoAdvertiseAddress {
        /// The cluster.
        cluster: ClusterName,
        /// The node.
        node: NodeName,
    },
    /// A certificate that the node's roles ask for was never issued.
    #[error("node {node} has no certificate {profile} yet")]
    MissingCertificate {
        /// The cluster.
        cluster: ClusterName,
        /// The node.
        node: NodeName,
        /// What is missing.
        profile: Profile,
    },
    /// The opened bundle has no key for a certificate.
    #[error("the sealed keys of node {node} have none for {profile}")]
    MissingKey {
        /// The cluster.
        cluster: ClusterName,
        /// The node.
        node: NodeName,
        /// What is missing.
        profile: Profile,
    },
    /// No generation of a keyset issues, or its issuing certificate is not trusted: every client would be
    /// refused the moment it is used (kubernetes-pki, CA023).
    #[error("cluster {cluster} trusts no issuing generation of {keyset}")]
    NoIssuer {
        /// The cluster.
        cluster: ClusterName,
        /// The keyset.
        keyset: Keyset,
    },
    /// A private key of a keyset was not among what was opened.
    #[error("the issuing key of {keyset} was not opened for node {node}")]
    MissingKeysetKey {
        /// The node.
        node: NodeName,
        /// The keyset.
        keyset: Keyset,
    },
    /// The first public key of the service-account keyset is not that of the key that signs: every token
    /// would be refused (kubernetes-pki, KY011).
    #[error("the service-account key that signs is not the first of those that verify in cluster {cluster}")]
    ServiceAccountOrder {
        /// The cluster.
        cluster: ClusterName,
    },
    /// CA keys for a node that runs no control plane.
    #[error("node {node} runs no control plane; CA keys would only make it worth stealing")]
    CaKeysOutOfPlace {
        /// The node.
        node: NodeName,
    },
    /// An encryption key of a length that secretbox does not take.
    #[error("encryption key {generation} has {length} bytes; secretbox takes exactly 32")]
    EncryptionKey {
        /// The generation.
        generation: Generation,
        /// The length in bytes.
        length: usize,
    },
    /// Two encryption keys of one name: what the one wrote the other can't read.
    #[error("two encryption keys are called {generation}")]
    EncryptionKeyTwice {
        /// The generation.
        generation: Generation,
    },
    /// The layout of another distribution.
    #[error("cluster {cluster} runs on {distribution}, which does not read kubeadm's files")]
    Distribution {
        /// The cluster.
        cluster: ClusterName,
        /// The node.
        node: NodeName,
        /// What it runs on.
        distribution: Distribution,
    },
    /// The exporter's break-glass certificate can't be read, or names nobody.
    #[error("the break-glass certificate names nobody")]
    BreakGlass,
    /// A symmetric keyset, which has no PEM form.
    #[error("{keyset} is no key pair; PEM has no form for it")]
    Symmetric {
        /// The keyset.
        keyset: Keyset,
    },
    /// The YAML library failed. Its message may quote a value, so it is not kept.
    #[error("{path} could not be written as YAML")]
    Yaml {
        /// The file in the export.
        path: String,
    },
}

impl ExportError {
    /// The command that mends it, where there is one.
    pub fn remedy(&self) -> Option<Remedy> {
        match self {
            Self::NoAdvertiseAddress { cluster, .. } | Self::MissingCertificate { cluster, .. } => {
                Some(Remedy::ClusterApply(cluster.clone()))
            }
            Self::MissingKey { cluster, node, .. } => Some(Remedy::CertIssue(cluster.clone(), node.clone())),
            Self::NoIssuer { .. }
            | Self::ServiceAccountOrder { .. }
            | Self::EncryptionKey { .. }
            | Self::EncryptionKeyTwice { .. } => Some(Remedy::Verify),
            Self::Distribution { cluster, node, .. } => {
                Some(Remedy::Kluis(format!("export pem -c {cluster} --node {node} --out DIR")))
            }
            Self::Symmetric { keyset } => Some(Remedy::Kluis(format!("open {keyset}"))),
            Self::MissingKeysetKey { .. } | Self::CaKeysOutOfPlace { .. } | Self::BreakGlass | Self::Yaml { .. } => {
                None
            }
        }
    }
}
