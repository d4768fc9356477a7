//! What an export may draw on that needs no key: certificates, public keys and the phase of each keyset, from the verified
//! repository.

use std::collections::{BTreeMap, BTreeSet};

use super::super::failure::Failure;
use super::super::session::Repository;
use crate::export::{CaGeneration, ClusterMaterial, Material, SigningGeneration};
use crate::model::{ClusterName, Generation, Keyset, Node, Place, State};
use crate::pki;
use crate::trust::current::Vouch;

/// The keysets that a cluster has: those that the epoch lists, and symmetric ones of which a generation issues.
pub(super) fn keysets_of(repository: &Repository, name: &ClusterName) -> Result<Vec<Keyset>, Failure> {
    let listed = &repository.cluster(name)?.keysets;
    let has = |keyset: &Keyset| listed.contains_key(keyset) || issuing(repository, name, *keyset).is_some();
    Ok(Keyset::ALL.iter().copied().filter(has).collect())
}

/// What an export of `node` may draw on that needs no key.
pub(in crate::ops) fn public_material(
    repository: &Repository,
    name: &ClusterName,
    node: Node,
) -> Result<Material, Failure> {
    let mut certificates = BTreeMap::new();
    for (place, vouched) in &repository.verified.current.paths {
        if let (Place::NodeCert(at, owner, profile), Vouch::Issued(_)) = (place, &vouched.vouch)
            && at == name
            && *owner == node.name
        {
            let bytes = repository.verified.tree.bytes(&place.to_string()).unwrap_or_default();
            certificates.insert(*profile, pki::parse_pem(bytes, "CERTIFICATE")?);
        }
    }
    let kept = super::super::cert::node::kept_by_node(&repository.verified, name, &node.name);
    Ok(Material {
        cluster: public_cluster(repository, name)?,
        node,
        certificates,
        keys: BTreeMap::new(),
        kept: kept.into_keys().collect(),
        super_admin: None,
    })
}

/// What an export of a cluster may draw on that needs no key.
pub(in crate::ops) fn public_cluster(repository: &Repository, name: &ClusterName) -> Result<ClusterMaterial, Failure> {
    let cluster = repository.cluster(name)?;
    let mut authorities = BTreeMap::new();
    for keyset in cluster.keysets.keys().copied().filter(|keyset| keyset.is_ca()) {
        let mut generations = Vec::new();
        for (generation, state) in bundle_states(repository, name, keyset) {
            let place = Place::Ca(name.clone(), keyset, generation);
            let bytes = repository.verified.tree.bytes(&place.to_string()).unwrap_or_default();
            let certificate = pki::parse_pem(bytes, "CERTIFICATE")?;
            generations.push(CaGeneration { generation, state, certificate, key: None });
        }
        authorities.insert(keyset, generations);
    }
    let mut service_account = Vec::new();
    for (generation, state) in bundle_states(repository, name, Keyset::ServiceAccount) {
        let place = Place::ServiceAccount(name.clone(), generation);
        let bytes = repository.verified.tree.bytes(&place.to_string()).unwrap_or_default();
        let public = pki::service_account_public(bytes)?;
        service_account.push(SigningGeneration { generation, state, public, key: None });
    }
    let groups: BTreeSet<&String> = cluster.groups.values().flatten().collect();
    Ok(ClusterMaterial {
        name: name.clone(),
        config: super::super::cert::config(repository, name)?.clone(),
        authorities,
        service_account,
        encryption: Vec::new(),
        tokens: BTreeMap::new(),
        groups: groups.into_iter().cloned().collect(),
    })
}

/// The generation that issues.
pub(super) fn issuing(repository: &Repository, cluster: &ClusterName, keyset: Keyset) -> Option<Generation> {
    let states = repository.verified.current.states.get(&(cluster.clone(), keyset))?;
    crate::trust::phases::issuing(states).first().copied()
}

/// The generations that are trusted together: the issuing one first, because kubeadm takes the first for the CA and an API
/// server writes with the first encryption key; then the others by number.
pub(in crate::ops) fn bundle(repository: &Repository, cluster: &ClusterName, keyset: Keyset) -> Vec<Generation> {
    bundle_states(repository, cluster, keyset).into_iter().map(|(generation, _)| generation).collect()
}

/// The same with their states.
fn bundle_states(repository: &Repository, cluster: &ClusterName, keyset: Keyset) -> Vec<(Generation, State)> {
    let states = repository.verified.current.states.get(&(cluster.clone(), keyset));
    let trusted = states.into_iter().flatten().filter_map(|(generation, of)| {
        let state = of.iter().find(|state| **state == State::Issuing);
        Some((*generation, *state.or_else(|| of.iter().find(|state| state.is_in_bundle()))?))
    });
    let mut bundle: Vec<(Generation, State)> = trusted.collect();
    bundle.sort_by_key(|(generation, state)| (*state != State::Issuing, *generation));
    bundle
}

/// The CA certificates (DER) that are trusted together in the current phase, the issuing one first.
pub(in crate::ops) fn authorities(
    repository: &Repository,
    cluster: &ClusterName,
    keyset: Keyset,
) -> Result<Vec<Vec<u8>>, Failure> {
    let places = bundle(repository, cluster, keyset).into_iter().map(|of| Place::Ca(cluster.clone(), keyset, of));
    let bytes = |place: Place| repository.verified.tree.bytes(&place.to_string()).unwrap_or_default();
    places.map(|place| Ok(pki::parse_pem(bytes(place), "CERTIFICATE")?)).collect()
}

/// The service-account public keys (SPKI DER) that verify tokens in the current phase, the one that signs first.
pub(in crate::ops) fn service_account_public(
    repository: &Repository,
    cluster: &ClusterName,
) -> Result<Vec<Vec<u8>>, Failure> {
    let bundle = bundle(repository, cluster, Keyset::ServiceAccount).into_iter();
    let places = bundle.map(|of| Place::ServiceAccount(cluster.clone(), of));
    let bytes = |place: Place| repository.verified.tree.bytes(&place.to_string()).unwrap_or_default();
    places.map(|place| Ok(pki::service_account_public(bytes(place))?)).collect()
}
