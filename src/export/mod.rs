//! Export layouts: what lies where on a node, or in the files of a whole cluster, with modes. Pure: takes the opened
//! material, returns files and notes. Never reads or writes a disk, never decides who may open what, and knows neither
//! OpenPGP nor git.

mod archive;
pub mod capi;
mod document;
mod encryption;
mod error;
mod files;
pub mod k0s;
pub mod k3s;
pub mod kops;
pub mod kubeadm;
pub mod kubeadm_config;
pub mod kubeconfig;
mod material;
pub mod merge;
pub mod outline;
pub mod pem;
pub mod rbac;
pub mod script;
pub mod talos;
pub mod trust_bundle;
pub(crate) mod yaml;

pub use archive::archive;
pub use error::ExportError;
pub use material::{CaGeneration, ClusterMaterial, Material, SigningGeneration};

use crate::model::{ClusterConfig, ClusterName, Distribution, Keyset, Node};
use crate::secret::Secret;

/// One file of an export. Its directories are made with mode 0700.
pub struct ExportFile {
    /// The path below the export's directory, with `/` between its parts; never absolute, never with `..`.
    pub path: String,
    /// The permission bits: 0644 for certificates and manifests, 0600 for all else, or 0640 where components with accounts of
    /// their own read it.
    pub mode: u32,
    /// The bytes. Certificates too are kept in a `Secret`, so that there is one way to handle a file.
    pub content: Secret,
}

/// What a layout returns.
pub struct Exported {
    /// The files, sorted by path, each path once; last the checksums of the others, where the layout has them.
    pub files: Vec<ExportFile>,
    /// What to do with them, one thing a note, in the order in which to do it.
    pub notes: Vec<String>,
}

/// A sealed secret that a layout draws on, so that nothing else is opened for it. A keyset that the cluster
/// does not have is passed over when opening; where a layout can't do without it, laying out fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Needed {
    /// The bundle of the node's own leaf keys.
    NodeBundle,
    /// The issuing generation of a keyset, and no other.
    Issuing(Keyset),
    /// Every generation of a keyset that is in its bundle.
    Bundle(Keyset),
}

/// When CA keys are among the files of a layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaKeys {
    /// With `--with-ca-keys` alone: what reads the files does without.
    OnRequest,
    /// Always, where they have a place: what reads the files signs leaves with them, and does not start without.
    Always,
}

/// A layout: where a distribution, or a person, expects the files.
pub struct Layout {
    /// Its name on the command line.
    pub name: &'static str,
    /// One line for the help.
    pub about: &'static str,
    /// The distributions whose clusters it is for.
    pub distributions: &'static [Distribution],
    /// When CA keys are among its files.
    pub ca_keys: CaKeys,
    /// How it lays out a node, where it does that.
    pub node: Option<OfNode>,
    /// How it lays out a whole cluster, where it does that.
    pub cluster: Option<OfCluster>,
}

/// A layout of one node's files.
pub struct OfNode {
    /// What has to be opened for a node; the flag is whether CA keys are wanted. Where the flag makes no difference, CA
    /// keys have no place on such a node, or always have one.
    pub needs: fn(&Node, bool) -> Vec<Needed>,
    /// Lays out the material of one node.
    pub files: fn(&Material) -> Result<Exported, ExportError>,
}

/// A layout of a whole cluster's files, whatever its nodes.
pub struct OfCluster {
    /// What has to be opened, of the keysets that the distribution has; the flag is whether CA keys are wanted.
    pub needs: fn(&[Keyset], bool) -> Vec<Needed>,
    /// Lays out the material of the cluster.
    pub files: fn(&ClusterMaterial) -> Result<Exported, ExportError>,
}

/// All layouts, in the order of the help. The first that is for a distribution is its own.
pub const LAYOUTS: &[Layout] =
    &[kubeadm::LAYOUT, k3s::K3S, k3s::RKE2, k0s::LAYOUT, talos::LAYOUT, kops::LAYOUT, capi::LAYOUT, pem::LAYOUT];

impl Layout {
    /// The layout of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        LAYOUTS.iter().find(|layout| layout.name == name)
    }

    /// The layout that a distribution reads.
    pub fn of(distribution: Distribution) -> &'static Self {
        LAYOUTS.iter().find(|layout| layout.distributions.contains(&distribution)).unwrap_or(&pem::LAYOUT)
    }

    /// Refuses a cluster of another distribution: it would not read a file of this.
    pub fn check(&self, cluster: &ClusterName, config: &ClusterConfig) -> Result<(), ExportError> {
        let distribution = config.distribution;
        if self.distributions.contains(&distribution) {
            return Ok(());
        }
        Err(ExportError::Distribution { cluster: cluster.clone(), layout: self.name, distribution })
    }
}

/// What a control-plane, etcd or worker node has to have opened, where the leaves are made here.
///
/// A worker gets by with its own bundle: a stolen export of it opens nothing of the cluster. CA keys are for
/// control-plane nodes alone, and the etcd CA's only where an etcd member runs: on any other node they would
/// be of no use to anybody but a thief.
fn needs(node: &Node, with_ca_keys: bool, cas: impl Iterator<Item = Keyset>) -> Vec<Needed> {
    let mut needed = vec![Needed::NodeBundle];
    if material::is_control_plane(node) {
        needed.push(Needed::Issuing(Keyset::ServiceAccount));
        needed.push(Needed::Bundle(Keyset::Encryption));
        if with_ca_keys {
            needed.extend(cas.filter(|ca| material::takes_key_of(node, *ca)).map(Needed::Issuing));
        }
    }
    needed
}

#[cfg(test)]
mod fixture;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_found_by_name() {
        assert_eq!(Layout::named("kubeadm").map(|layout| layout.name), Some("kubeadm"));
        assert!(Layout::named("kubespray").is_none());
    }

    #[test]
    fn every_distribution_has_a_layout_that_lays_out_something() {
        for distribution in Distribution::ALL {
            assert!(Layout::of(distribution).distributions.contains(&distribution), "{distribution}");
        }
        for layout in LAYOUTS {
            assert!(layout.node.is_some() || layout.cluster.is_some(), "{}", layout.name);
        }
    }

    #[test]
    fn a_worker_needs_its_own_bundle_alone_even_with_ca_keys() {
        let material = fixture::material("1.36", "worker");
        for layout in [kubeadm::LAYOUT, pem::LAYOUT] {
            let needs = layout.node.unwrap().needs;
            assert_eq!(needs(&material.node, false), [Needed::NodeBundle]);
            assert_eq!(needs(&material.node, true), [Needed::NodeBundle]);
        }
    }

    #[test]
    fn a_control_plane_node_needs_three_secrets_and_ca_keys_on_request() {
        use Needed::{Bundle, Issuing, NodeBundle};
        let three = [NodeBundle, Issuing(Keyset::ServiceAccount), Bundle(Keyset::Encryption)];
        let node = fixture::material("1.36", "control-plane,etcd").node;
        let needs = kubeadm::LAYOUT.node.unwrap().needs;
        assert_eq!(needs(&node, false), three);
        assert_eq!(
            needs(&node, true)[3..],
            [Issuing(Keyset::Kubernetes), Issuing(Keyset::FrontProxy), Issuing(Keyset::Etcd)]
        );
        let external_etcd = fixture::material("1.36", "control-plane").node;
        assert!(!needs(&external_etcd, true).contains(&Issuing(Keyset::Etcd)));
    }
}
