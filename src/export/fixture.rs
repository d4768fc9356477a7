//! Material for the tests of this layer. Certificates are opaque to an export, so they are just bytes that
//! say what they stand for; keys are real.

use crate::env::Rng;
use crate::model::{Algorithm, ClusterConfig, ClusterName, Distribution, Generation, Keyset, Profile, State, Time};
use crate::pki::{self, CaSpec, LeafSpec, PrivateKey, Validity};
use crate::secret::Secret;

use super::{CaGeneration, ClusterMaterial, Exported, Material, SigningGeneration, kubeadm};

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
    material_of(Distribution::Kubeadm, kubernetes, roles)
}

/// The same of a node of any distribution, with the keysets that it has.
pub(super) fn material_of(distribution: Distribution, kubernetes: &str, roles: &str) -> Material {
    let roles = roles.split(',').map(|role| format!("{role:?}")).collect::<Vec<_>>().join(", ");
    let config = ClusterConfig::parse(&format!(
        "distribution = \"{distribution}\"\nkubernetes = {kubernetes:?}\nendpoint = \"https://api.example.org:6443\"\n\
         [[node]]\nname = \"cp-1\"\nroles = [{roles}]\naddresses = [\"10.0.0.11\"]\n"
    ))
    .unwrap();
    let node = config.nodes[0].clone();
    let authority = |keyset: Keyset| {
        let one = |number: u32, state| CaGeneration {
            generation: generation(number),
            state,
            certificate: format!("{keyset}-g{number}").into_bytes(),
            key: None,
        };
        // Not in the order in which they are to be written.
        (keyset, vec![one(1, State::Retiring), one(2, State::Issuing)])
    };
    let signs = |number: u32, state, private: bool| {
        let key = key();
        SigningGeneration { generation: generation(number), state, public: key.spki(), key: private.then_some(key) }
    };
    let token = |name: &str| (name.to_owned(), Secret::new(format!("the-{name}-token").into_bytes()));
    let tokens: &[&str] = match distribution {
        Distribution::K3s | Distribution::Rke2 => &["agent", "server"],
        _ => &[],
    };
    let profiles: Vec<Profile> = node.profiles(config.distribution).collect();
    let control_plane = super::material::is_control_plane(&node);
    let encryption = [2, 1].map(|number: u8| (generation(number.into()), Secret::new(vec![number; 32])));
    let keysets = distribution.keysets().iter().copied();
    let cluster = ClusterMaterial {
        name: ClusterName::parse("prod").unwrap(),
        authorities: keysets.filter(|keyset| keyset.is_ca()).map(authority).collect(),
        service_account: vec![signs(2, State::Issuing, control_plane), signs(1, State::Retiring, false)],
        encryption: encryption.into_iter().filter(|_| control_plane).collect(),
        tokens: tokens.iter().map(|name| token(name)).collect(),
        groups: vec!["kluis:admins".to_owned()],
        config,
    };
    Material {
        cluster,
        certificates: profiles.iter().map(|p| (*p, p.as_str().as_bytes().to_vec())).collect(),
        keys: profiles.iter().copied().zip(keys(profiles.len())).collect(),
        super_admin: None,
        kept: std::collections::BTreeSet::new(),
        node,
    }
}

pub(super) fn with_ca_keys(mut material: Material) -> Material {
    for one in material.cluster.authorities.values_mut().flatten().filter(|one| one.state == State::Issuing) {
        one.key = Some(key());
    }
    material
}

pub(super) fn kubeadm(kubernetes: &str, roles: &str) -> Exported {
    (kubeadm::LAYOUT.node.unwrap().files)(&material(kubernetes, roles)).unwrap()
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
