//! Why an export is refused, and what mends it. Facts only; no secret ever stands in one.

use super::Layout;
use crate::model::{ClusterName, Distribution, Generation, Keyset, KubernetesVersion, NodeName, Profile, Remedy};

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
    #[error("the issuing key of {keyset} was not opened")]
    MissingKeysetKey {
        /// The keyset.
        keyset: Keyset,
    },
    /// A join secret was not among what was opened.
    #[error("the join secret {name} of cluster {cluster} was not opened")]
    MissingToken {
        /// The cluster.
        cluster: ClusterName,
        /// Its name.
        name: &'static str,
    },
    /// A CA certificate that can't be read.
    #[error("the certificate of {keyset} {generation} can't be read")]
    Authority {
        /// The keyset.
        keyset: Keyset,
        /// The generation.
        generation: Generation,
    },
    /// A CA that kops would make another certificate for (kubernetes-pki B.4).
    #[error(
        "kops would replace {keyset} {generation} by a certificate of its own over the same key, because this one's key usage \
         is not exactly keyCertSign and cRLSign; rotate it first"
    )]
    NotOfKops {
        /// The cluster.
        cluster: ClusterName,
        /// The keyset.
        keyset: Keyset,
        /// The generation.
        generation: Generation,
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
    #[error("cluster {cluster} runs on {distribution}, which does not read the files of {layout}")]
    Distribution {
        /// The cluster.
        cluster: ClusterName,
        /// The layout that was asked for.
        layout: &'static str,
        /// What it runs on.
        distribution: Distribution,
    },
    /// What kubeadm reads, for a cluster that it does not run.
    #[error("cluster {cluster} runs on {distribution}, and this is for kubeadm")]
    NotKubeadm {
        /// The cluster.
        cluster: ClusterName,
        /// What it runs on.
        distribution: Distribution,
    },
    /// An object that this version of Kubernetes does not know (KEP-3257).
    #[error("Kubernetes {version} has no ClusterTrustBundle: it came with 1.27, switched off")]
    NoTrustBundle {
        /// The version.
        version: KubernetesVersion,
    },
    /// kubeadm configures the first API server with where etcd is, and nobody says where.
    #[error(
        "the control-plane nodes of cluster {cluster} run no etcd, and no node of it has the role etcd, so nothing says \
         where etcd is; add the nodes that run it to clusters/{cluster}/cluster.toml"
    )]
    NoEtcd {
        /// The cluster.
        cluster: ClusterName,
    },
    /// An etcd node that API servers could not call.
    #[error(
        "node {node} runs etcd and has no IP address but loopback; add one to its `addresses` in \
         clusters/{cluster}/cluster.toml"
    )]
    NoEtcdAddress {
        /// The cluster.
        cluster: ClusterName,
        /// The node.
        node: NodeName,
    },
    /// `kubeadm init` for a node that runs no control plane.
    #[error("node {node} runs no control plane, and kubeadm init is for nodes that do")]
    NoControlPlane {
        /// The node.
        node: NodeName,
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
    /// The archive could not be built: the path is too long for tar.
    #[error("{path} could not be put into an archive")]
    Archive {
        /// The file in the export.
        path: String,
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
            Self::NoAdvertiseAddress { cluster, .. }
            | Self::MissingCertificate { cluster, .. }
            | Self::NoEtcd { cluster }
            | Self::NoEtcdAddress { cluster, .. } => Some(Remedy::ClusterApply(cluster.clone())),
            Self::NotKubeadm { cluster, distribution } | Self::Distribution { cluster, distribution, .. } => {
                let of = Layout::of(*distribution);
                let layout = of.name;
                Some(match of.node {
                    Some(_) => Remedy::Kluis(format!("export {layout} -c {cluster} --all-nodes --out DIR")),
                    None => Remedy::Kluis(format!("export {layout} -c {cluster} --out DIR")),
                })
            }
            Self::MissingKey { cluster, node, .. } => Some(Remedy::CertIssue(cluster.clone(), node.clone())),
            Self::NoIssuer { .. }
            | Self::ServiceAccountOrder { .. }
            | Self::EncryptionKey { .. }
            | Self::EncryptionKeyTwice { .. } => Some(Remedy::Verify),
            Self::NotOfKops { cluster, keyset, .. } => {
                Some(Remedy::Kluis(format!("rotate start {keyset} -c {cluster}")))
            }
            Self::Symmetric { keyset } => Some(Remedy::Kluis(format!("open {keyset}"))),
            Self::NoTrustBundle { .. } | Self::NoControlPlane { .. } => Some(Remedy::Kluis("export --help".to_owned())),
            Self::MissingKeysetKey { .. }
            | Self::MissingToken { .. }
            | Self::Authority { .. }
            | Self::CaKeysOutOfPlace { .. }
            | Self::BreakGlass
            | Self::Archive { .. }
            | Self::Yaml { .. } => None,
        }
    }
}
