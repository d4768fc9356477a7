//! The material of an export, opened and checked by `ops`: what is a whole cluster's, and what is one node's. Finds things in
//! it and says what is missing; lays out nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{ClusterConfig, ClusterName, Generation, Keyset, Node, Profile, Role, State};
use crate::pki::{self, PrivateKey};
use crate::secret::Secret;

use super::ExportError;

/// One generation of a CA that is trusted in the phase of now.
pub struct CaGeneration {
    /// Its number.
    pub generation: Generation,
    /// Issuing, trusted (it is to issue next) or retiring (it issued until now).
    pub state: State,
    /// Its certificate (DER).
    pub certificate: Vec<u8>,
    /// Its key, where it was opened.
    pub key: Option<PrivateKey>,
}

/// One generation of the service-account key that verifies tokens in the phase of now.
pub struct SigningGeneration {
    /// Its number.
    pub generation: Generation,
    /// Issuing, trusted or retiring.
    pub state: State,
    /// Its public key (SPKI DER).
    pub public: Vec<u8>,
    /// Its private key, where it was opened.
    pub key: Option<PrivateKey>,
}

/// Everything of a cluster that an export may draw on, whatever the node. The keys fit their certificates: opening
/// checked that. Generations are those that are trusted together, the issuing one first, then the others by number.
pub struct ClusterMaterial {
    /// The cluster's name.
    pub name: ClusterName,
    /// The cluster's description.
    pub config: ClusterConfig,
    /// Every CA, by keyset.
    pub authorities: BTreeMap<Keyset, Vec<CaGeneration>>,
    /// The keys of service-account tokens.
    pub service_account: Vec<SigningGeneration>,
    /// The encryption keys, the one that writes first; empty where they were not opened.
    pub encryption: Vec<(Generation, Secret)>,
    /// The join secrets of the issuing generation, by name; empty where they were not opened.
    pub tokens: BTreeMap<String, Secret>,
    /// The groups that the epoch lets people ask for.
    pub groups: Vec<String>,
}

/// Everything that one node's export may draw on.
pub struct Material {
    /// What is the cluster's.
    pub cluster: ClusterMaterial,
    /// The node.
    pub node: Node,
    /// The node's leaf certificates (DER).
    pub certificates: BTreeMap<Profile, Vec<u8>>,
    /// The node's leaf keys.
    pub keys: BTreeMap<Profile, PrivateKey>,
    /// The leaf certificates whose keys never left the node.
    pub kept: BTreeSet<Profile>,
    /// The exporter's own live break-glass certificate (DER) and its key.
    pub super_admin: Option<(Vec<u8>, PrivateKey)>,
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

impl ClusterMaterial {
    /// The generations of a CA, the issuing one first; none where the cluster does not have it.
    pub fn generations(&self, keyset: Keyset) -> &[CaGeneration] {
        self.authorities.get(&keyset).map_or(&[][..], Vec::as_slice)
    }

    /// The generation of a CA that issues. Fails where none is trusted that does.
    pub(super) fn issuer(&self, keyset: Keyset) -> Result<&CaGeneration, ExportError> {
        let issuing = self.generations(keyset).iter().find(|one| one.state == State::Issuing);
        issuing.ok_or_else(|| ExportError::NoIssuer { cluster: self.name.clone(), keyset })
    }

    /// The CA certificate that issues.
    pub(super) fn issuing(&self, keyset: Keyset) -> Result<&[u8], ExportError> {
        Ok(self.issuer(keyset)?.certificate.as_slice())
    }

    /// The trust bundle as PEM. The issuing certificate comes first whatever the order was: kubeadm and k3s take
    /// the first as the CA (kubernetes-pki A.0, B.1), and an issuer that nobody trusts is an outage.
    pub(super) fn bundle_pem(&self, keyset: Keyset) -> Result<Vec<u8>, ExportError> {
        let issuing = self.issuing(keyset)?;
        let others = self.generations(keyset).iter().filter(|one| one.certificate != issuing);
        Ok(others.fold(pki::certificate_pem(issuing), |mut pem, one| {
            pem.extend_from_slice(&pki::certificate_pem(&one.certificate));
            pem
        }))
    }

    /// The issuing key of a CA.
    pub(super) fn ca_key(&self, keyset: Keyset) -> Result<&PrivateKey, ExportError> {
        self.issuer(keyset)?.key.as_ref().ok_or(ExportError::MissingKeysetKey { keyset })
    }

    /// The issuing keys of CAs that were opened.
    pub(super) fn ca_keys(&self) -> impl Iterator<Item = (Keyset, &PrivateKey)> {
        let issuing = |keyset: &Keyset| self.issuer(*keyset).ok().and_then(|one| one.key.as_ref());
        self.authorities.keys().filter_map(move |keyset| Some((*keyset, issuing(keyset)?)))
    }

    /// Whether any CA key was opened.
    pub(super) fn has_ca_keys(&self) -> bool {
        self.ca_keys().next().is_some()
    }

    /// The public keys (SPKI DER) that verify service-account tokens, the one that signs first.
    pub(super) fn service_account_public(&self) -> Vec<Vec<u8>> {
        self.service_account.iter().map(|one| one.public.clone()).collect()
    }

    /// The key that signs service-account tokens. Fails where it is missing, and where its public key is
    /// not the first of those that verify.
    pub(super) fn service_account_key(&self) -> Result<&PrivateKey, ExportError> {
        let keyset = Keyset::ServiceAccount;
        let signs = self.service_account.iter().find(|one| one.state == State::Issuing);
        let key = signs.and_then(|one| one.key.as_ref()).ok_or(ExportError::MissingKeysetKey { keyset })?;
        if self.service_account.first().map(|one| &one.public) != Some(&key.spki()) {
            return Err(ExportError::ServiceAccountOrder { cluster: self.name.clone() });
        }
        Ok(key)
    }

    /// A join secret.
    pub fn token(&self, name: &str) -> Option<&Secret> {
        self.tokens.get(name)
    }

    /// Refuses CA keys for a node that runs no control plane: with them its root user could issue
    /// `system:masters`, and nothing that runs there would ever use them.
    fn check_ca_keys(&self, node: &Node) -> Result<(), ExportError> {
        if !self.has_ca_keys() || is_control_plane(node) {
            return Ok(());
        }
        Err(ExportError::CaKeysOutOfPlace { node: node.name.clone() })
    }
}

impl Material {
    /// The node's certificate, or the error that names the command that issues it.
    pub(super) fn certificate(&self, profile: Profile) -> Result<&[u8], ExportError> {
        self.certificates.get(&profile).map(Vec::as_slice).ok_or_else(|| ExportError::MissingCertificate {
            cluster: self.cluster.name.clone(),
            node: self.node.name.clone(),
            profile,
        })
    }

    /// The key of the node's certificate.
    pub(super) fn key(&self, profile: Profile) -> Result<&PrivateKey, ExportError> {
        self.keys.get(&profile).ok_or_else(|| ExportError::MissingKey {
            cluster: self.cluster.name.clone(),
            node: self.node.name.clone(),
            profile,
        })
    }

    /// Refuses CA keys for a node that runs no control plane.
    pub(super) fn check_ca_keys(&self) -> Result<(), ExportError> {
        self.cluster.check_ca_keys(&self.node)
    }
}
