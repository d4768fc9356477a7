//! Material for the tests of this layer. Certificates are opaque to an export, so they are just bytes that
//! say what they stand for; keys are real.

use std::collections::BTreeMap;

use crate::env::Rng;
use crate::model::{Algorithm, ClusterConfig, ClusterName, Generation, Keyset, Profile, Time};
use crate::pki::{self, CaSpec, LeafSpec, PrivateKey, Validity};
use crate::secret::Secret;

use super::{Exported, Material, kubeadm};

pub(super) fn keys(count: usize) -> Vec<PrivateKey> {
    PrivateKey::generate_many(Algorithm::EcdsaP256, count)
}

pub(super) fn key() -> PrivateKey {
    keys(1).pop().unwrap()
}

pub(super) fn generation(number: u32) -> Generation {
    Generation::new(number).unwrap()
}

/// Everything that the node cp-1 with `roles` (comma-separated) may draw on; two trusted CAs each.
pub(super) fn material(kubernetes: &str, roles: &str) -> Material {
    let roles = roles.split(',').map(|role| format!("{role:?}")).collect::<Vec<_>>().join(", ");
    let config = ClusterConfig::parse(&format!(
        "distribution = \"kubeadm\"\nkubernetes = {kubernetes:?}\nendpoint = \"https://api.example.org:6443\"\n\
         [[node]]\nname = \"cp-1\"\nroles = [{roles}]\naddresses = [\"10.0.0.11\"]\n"
    ))
    .unwrap();
    let node = config.nodes[0].clone();
    let cas = [Keyset::Kubernetes, Keyset::FrontProxy, Keyset::Etcd];
    let certificate = |keyset: Keyset, generation: u8| format!("{keyset}-g{generation}").into_bytes();
    let profiles: Vec<Profile> = node.profiles().collect();
    let control_plane = super::material::is_control_plane(&node);
    let service_account = control_plane.then(key);
    let encryption = [2, 1].map(|number: u8| (generation(number.into()), Secret::new(vec![number; 32])));
    Material {
        cluster: ClusterName::parse("prod").unwrap(),
        bundles: cas.map(|ca| (ca, vec![certificate(ca, 1), certificate(ca, 2)])).into(),
        issuing_certificates: cas.map(|ca| (ca, certificate(ca, 2))).into(),
        certificates: profiles.iter().map(|p| (*p, p.as_str().as_bytes().to_vec())).collect(),
        keys: profiles.iter().copied().zip(keys(profiles.len())).collect(),
        service_account_public: service_account.iter().map(PrivateKey::spki).chain([key().spki()]).collect(),
        service_account_private: service_account,
        encryption: encryption.into_iter().filter(|_| control_plane).collect(),
        super_admin: None,
        ca_keys: BTreeMap::new(),
        kept: std::collections::BTreeSet::new(),
        groups: vec!["kluis:admins".to_owned()],
        config,
        node,
    }
}

pub(super) fn with_ca_keys(mut material: Material) -> Material {
    material.ca_keys = [Keyset::Kubernetes, Keyset::FrontProxy, Keyset::Etcd].into_iter().zip(keys(3)).collect();
    material
}

pub(super) fn kubeadm(kubernetes: &str, roles: &str) -> Exported {
    (kubeadm::LAYOUT.files)(&material(kubernetes, roles)).unwrap()
}

/// `MODE PATH` a line.
pub(super) fn listing(exported: &Exported) -> String {
    exported.files.iter().map(|file| format!("{:04o} {}\n", file.mode, file.path)).collect()
}

pub(super) fn has(exported: &Exported, path: &str) -> bool {
    exported.files.iter().any(|file| file.path == path)
}

pub(super) fn content<'a>(exported: &'a Exported, path: &str) -> &'a Secret {
    &exported.files.iter().find(|file| file.path == path).unwrap_or_else(|| panic!("no {path}")).content
}

pub(super) fn text(exported: &Exported, path: &str) -> String {
    String::from_utf8(content(exported, path).expose().to_vec()).unwrap()
}

/// A break-glass certificate of alice and its key.
pub(super) fn break_glass() -> (Vec<u8>, PrivateKey) {
    let (ca_key, key) = (key(), key());
    let validity = || Validity {
        not_before: Time::parse("2026-11-20T17:55:00Z").unwrap(),
        not_after: Time::parse("2026-11-20T19:00:00Z").unwrap(),
    };
    let mut rng = Rng::seeded([1; 32]);
    let authority = CaSpec { common_name: "kubernetes-ca-g1", validity: validity(), name_constraints: None };
    let authority = pki::issue_ca(&ca_key, &authority, &mut rng);
    let spec = LeafSpec {
        profile: Profile::BreakGlass,
        owner: "alice",
        organizations: &["system:masters".to_owned()],
        sans: &[],
        validity: validity(),
    };
    (pki::issue_leaf(&key.spki(), &spec, &authority, &ca_key, &mut rng).unwrap(), key)
}
