//! `export kubeadm-config`: kubeadm's configuration for a cluster's exports. Holds no secret and opens none.

use serde::Serialize;

use super::super::cert::{config, node};
use super::super::failure::Failure;
use super::super::session::Repository;
use crate::export::kubeadm_config::{Subject, configuration};
use crate::model::{ClusterName, Keyset, NodeName};

/// The configuration; `data` of the report.
#[derive(Debug, Serialize)]
pub struct KubeadmConfig {
    /// The cluster.
    pub cluster: ClusterName,
    /// The node whose part is in it.
    pub node: Option<NodeName>,
    /// Whether it is for nodes with CA keys.
    pub ca_keys: bool,
    /// The YAML documents.
    pub content: String,
}

/// The configuration of `cluster`, with the part of `name` for `kubeadm init`.
pub fn kubeadm_config(
    repository: &Repository,
    cluster: &ClusterName,
    name: Option<&NodeName>,
    with_ca_keys: bool,
) -> Result<KubeadmConfig, Failure> {
    let config = config(repository, cluster)?;
    let node = name.map(|name| node::find(config, cluster, name)).transpose()?;
    let encrypts = !super::bundle(repository, cluster, Keyset::Encryption).is_empty();
    let content = configuration(&Subject { cluster, config, node: node.as_ref(), with_ca_keys, encrypts })?;
    Ok(KubeadmConfig { cluster: cluster.clone(), node: name.cloned(), ca_keys: with_ca_keys, content })
}
