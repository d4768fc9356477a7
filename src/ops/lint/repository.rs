//! A cluster of the repository as a place to judge: its current certificates, as they were verified, and what cluster.toml
//! says of it.

use super::super::failure::Failure;
use super::super::session::Repository;
use crate::lint::{File, Known, Layout, Policy, Role, Scene, What};
use crate::model::{ClusterConfig, ClusterName, Distribution, Place, Remedy, Span, State, Time};
use crate::pki::Material;
use crate::trust::current::Vouch;

/// The place of `name`.
pub(super) fn scene(repository: &Repository, name: &ClusterName, now: Time) -> Result<Scene, Failure> {
    let verified = &repository.verified;
    let cluster = repository.cluster(name)?;
    let config = verified.current.configs.get(name);
    let distribution = config.map_or(Distribution::Kubeadm, |config| config.distribution);
    let mut scene = Scene::new(format!("clusters/{name}"), Some(Layout::Repository(distribution)), now);
    scene.cluster = Some(name.clone());
    // Of a cluster that is no more nothing is asked.
    if cluster.retired {
        return Ok(scene);
    }
    scene.imported = verified.current.paths.iter().any(|(place, vouched)| {
        place.cluster() == Some(name) && matches!(&vouched.vouch, Vouch::Sealed(entry) if entry.imported)
    });
    if let Some(config) = config {
        scene.known = known(config);
        let epoch = repository.epoch()?;
        scene.policy = policy(config, epoch.policy.max_break_glass);
    }
    for keyset in cluster.keysets.keys() {
        let states = verified.current.states.get(&(name.clone(), *keyset));
        for (generation, _) in cluster.generations(*keyset) {
            let state = states.and_then(|all| all.get(&generation)).and_then(|states| states.iter().max().copied());
            let (place, what) = match keyset.is_ca() {
                true => (Place::Ca(name.clone(), *keyset, generation), What::Bundle(*keyset)),
                false => (Place::ServiceAccount(name.clone(), generation), What::ServiceAccountPublic),
            };
            take(&mut scene, repository, &place, what, state);
        }
    }
    for place in verified.current.leaves.keys().filter(|place| place.cluster() == Some(name)) {
        let profile = match place {
            Place::NodeCert(_, _, profile) | Place::PersonCert(_, _, profile) => *profile,
            _ => continue,
        };
        take(&mut scene, repository, place, What::Leaf(Role::Leaf(profile)), None);
    }
    Ok(scene)
}

/// The place of a cluster that is about to be adopted, by its public files.
pub(super) fn adopted(
    (name, config): (&ClusterName, &ClusterConfig),
    files: &[(Place, What, Vec<u8>)],
    max_break_glass: Span,
    now: Time,
) -> Scene {
    let layout = Some(Layout::Repository(config.distribution));
    let mut scene = Scene::new(format!("clusters/{name}"), layout, now);
    scene.cluster = Some(name.clone());
    scene.imported = true;
    scene.known = known(config);
    scene.policy = policy(config, max_break_glass);
    for (place, what, bytes) in files {
        let path = place.to_string();
        let first = scene.certificates.len();
        scene.take(File::new(&path, &path, *what), Material::read(bytes));
        for certificate in &mut scene.certificates[first..] {
            certificate.state = what.authority().map(|_| State::Issuing);
        }
    }
    scene
}

fn take(scene: &mut Scene, repository: &Repository, place: &Place, what: What, state: Option<State>) {
    let path = place.to_string();
    let Some(bytes) = repository.verified.tree.bytes(&path) else { return };
    let mut file = File::new(&path, &path, what);
    if let Place::NodeCert(cluster, node, _) = place {
        file.node = Some(node.to_string());
        file.fix = Some(Remedy::CertIssue(cluster.clone(), node.clone()));
    }
    let first = scene.certificates.len();
    scene.take(file, Material::read(bytes));
    for certificate in &mut scene.certificates[first..] {
        certificate.state = state;
    }
}

fn known(config: &ClusterConfig) -> Known {
    Known {
        minor: Some(config.kubernetes.minor),
        dns_domain: Some(config.dns_domain.clone()),
        service_addresses: config.service_cidrs.iter().map(|cidr| cidr.first()).collect(),
        endpoint: Some(config.endpoint.host.clone()),
        nodes: config.nodes.iter().map(|node| (node.name.to_string(), node.addresses.clone())).collect(),
        advertised: config.extra_sans.clone(),
        proxy_names: Vec::new(),
        external_ca: false,
    }
}

/// What cluster.toml and the epoch allow, with room for backdating.
fn policy(config: &ClusterConfig, max_break_glass: Span) -> Policy {
    let minutes = |span: Span| u32::try_from(span.seconds() / 60).unwrap_or(u32::MAX - 10);
    let wider = |span: Span| Span::minutes(minutes(span) + 10);
    Policy {
        authority: wider(config.lifetime.authority),
        component: wider(config.lifetime.component),
        admin: wider(config.lifetime.component),
        break_glass: wider(max_break_glass),
    }
}
