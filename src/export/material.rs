//! The material of one node: what an export may draw on, opened and checked by `ops`. Finds things in it and
//! says what is missing; lays out nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{ClusterConfig, ClusterName, Generation, Keyset, Node, Profile, Role};
use crate::pki::{self, PrivateKey};
use crate::secret::Secret;

use super::ExportError;

/// Everything that one node's export may draw on. The keys fit their certificates: opening checked that.
pub struct Material {
    /// The cluster's name.
    pub cluster: ClusterName,
    /// The cluster's description.
    pub config: ClusterConfig,
    /// The node.
    pub node: Node,
    /// The CA certificates (DER) that are trusted together.
    pub bundles: BTreeMap<Keyset, Vec<Vec<u8>>>,
    /// The CA certificate (DER) that issues.
    pub issuing_certificates: BTreeMap<Keyset, Vec<u8>>,
    /// The node's leaf certificates (DER).
    pub certificates: BTreeMap<Profile, Vec<u8>>,
    /// The node's leaf keys.
    pub keys: BTreeMap<Profile, PrivateKey>,
    /// The leaf certificates whose keys never left the node.
    pub kept: BTreeSet<Profile>,
    /// The public keys (SPKI DER) that verify service-account tokens, the one that signs first.
    pub service_account_public: Vec<Vec<u8>>,
    /// The key that signs service-account tokens; for control-plane nodes.
    pub service_account_private: Option<PrivateKey>,
    /// The encryption keys, the one that writes first; for control-plane nodes.
    pub encryption: Vec<(Generation, Secret)>,
    /// The exporter's own live break-glass certificate (DER) and its key.
    pub super_admin: Option<(Vec<u8>, PrivateKey)>,
    /// The issuing CA keys; empty unless they were asked for.
    pub ca_keys: BTreeMap<Keyset, PrivateKey>,
    /// The groups that the epoch lets people ask for.
    pub groups: Vec<String>,
}

pub(super) fn is_control_plane(node: &Node) -> bool {
    node.roles.contains(&Role::ControlPlane)
}

pub(super) fn runs_etcd(node: &Node) -> bool {
    node.roles.contains(&Role::Etcd)
}

/// Whether the key of the CA `keyset` may lie on `node` when CA keys are asked for.
pub(super) fn takes_key_of(node: &Node, keyset: Keyset) -> bool {
    let for_etcd = matches!(keyset, Keyset::Etcd | Keyset::EtcdPeer);
    is_control_plane(node) && (!for_etcd || runs_etcd(node))
}

impl Material {
    /// The node's certificate, or the error that names the command that issues it.
    pub(super) fn certificate(&self, profile: Profile) -> Result<&[u8], ExportError> {
        self.certificates.get(&profile).map(Vec::as_slice).ok_or_else(|| ExportError::MissingCertificate {
            cluster: self.cluster.clone(),
            node: self.node.name.clone(),
            profile,
        })
    }

    /// The key of the node's certificate.
    pub(super) fn key(&self, profile: Profile) -> Result<&PrivateKey, ExportError> {
        self.keys.get(&profile).ok_or_else(|| ExportError::MissingKey {
            cluster: self.cluster.clone(),
            node: self.node.name.clone(),
            profile,
        })
    }

    /// The CA certificate that issues. Fails unless it is trusted as well.
    pub(super) fn issuing(&self, keyset: Keyset) -> Result<&[u8], ExportError> {
        let trusted = self.bundles.get(&keyset).map_or(&[][..], Vec::as_slice);
        self.issuing_certificates
            .get(&keyset)
            .filter(|issuing| trusted.contains(issuing))
            .map(Vec::as_slice)
            .ok_or_else(|| ExportError::NoIssuer { cluster: self.cluster.clone(), keyset })
    }

    /// The trust bundle as PEM. The issuing certificate comes first whatever the order was: kubeadm takes
    /// the first as the CA (kubernetes-pki A.0), and an issuer that nobody trusts is an outage.
    pub(super) fn bundle_pem(&self, keyset: Keyset) -> Result<Vec<u8>, ExportError> {
        let issuing = self.issuing(keyset)?;
        let others = self.bundles.get(&keyset).into_iter().flatten().filter(|der| der.as_slice() != issuing);
        Ok(others.fold(pki::certificate_pem(issuing), |mut pem, der| {
            pem.extend_from_slice(&pki::certificate_pem(der));
            pem
        }))
    }

    /// The issuing key of a CA.
    pub(super) fn ca_key(&self, keyset: Keyset) -> Result<&PrivateKey, ExportError> {
        self.ca_keys.get(&keyset).ok_or_else(|| ExportError::MissingKeysetKey { node: self.node.name.clone(), keyset })
    }

    /// The key that signs service-account tokens. Fails where it is missing, and where its public key is
    /// not the first of those that verify.
    pub(super) fn service_account(&self) -> Result<&PrivateKey, ExportError> {
        let key = self.service_account_private.as_ref().ok_or_else(|| ExportError::MissingKeysetKey {
            node: self.node.name.clone(),
            keyset: Keyset::ServiceAccount,
        })?;
        if self.service_account_public.first() != Some(&key.spki()) {
            return Err(ExportError::ServiceAccountOrder { cluster: self.cluster.clone() });
        }
        Ok(key)
    }

    /// Refuses CA keys for a node that runs no control plane: with them its root user could issue
    /// `system:masters`, and nothing that runs there would ever use them.
    pub(super) fn check_ca_keys(&self) -> Result<(), ExportError> {
        if self.ca_keys.is_empty() || is_control_plane(&self.node) {
            return Ok(());
        }
        Err(ExportError::CaKeysOutOfPlace { node: self.node.name.clone() })
    }
}
