//! `cluster list` and `cluster show`: what a cluster is, from the verified repository. Judges nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::super::failure::Failure;
use super::super::session::Repository;
use crate::model::{
    ClusterName, Digest, Distribution, Generation, HexId, Keyset, PersonName, Place, Profile, SealedName, State, Time,
};
use crate::trust::current::Vouch;
use crate::trust::record::{Recipient, Sealed};
use crate::trust::{Cluster, Verified, phases};

/// One line of the list.
#[derive(Debug, Serialize)]
pub struct ClusterLine {
    /// Its name.
    pub name: ClusterName,
    /// The URL of its API.
    pub endpoint: String,
    /// The distribution; none where cluster.toml is not there.
    pub distribution: Option<String>,
    /// The version of Kubernetes.
    pub kubernetes: Option<String>,
    /// How many nodes it has.
    pub nodes: usize,
    /// How many current certificates it has.
    pub certificates: usize,
    /// To whom its secrets are sealed.
    pub keyholders: BTreeSet<PersonName>,
    /// Whether it is retired.
    pub retired: bool,
    /// When the first of its CA and node certificates ends.
    pub ends: Option<Time>,
}

/// All clusters, by name; `data` of the report.
#[derive(Debug, Serialize)]
pub struct ClusterList {
    /// The clusters.
    pub clusters: Vec<ClusterLine>,
}

/// One generation of a keyset.
#[derive(Debug, Serialize)]
pub struct KeyView {
    /// The keyset.
    pub keyset: Keyset,
    /// The generation.
    pub generation: Generation,
    /// Its state; none before its first record.
    pub state: Option<State>,
    /// What the epoch lists, or for a symmetric key its id.
    pub sha256: Option<Digest>,
    /// The subject of the CA certificate.
    pub subject: Option<String>,
    /// When the CA certificate ends.
    pub not_after: Option<Time>,
    /// The sealed file with the private key, if there is one.
    pub sealed: Option<String>,
}

/// One node.
#[derive(Debug, Serialize)]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// Its roles.
    pub roles: Vec<&'static str>,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// Its current certificates and when they end.
    pub certificates: BTreeMap<String, Time>,
    /// Profiles of which it should have a certificate and has none.
    pub missing: Vec<Profile>,
}

/// A person's current certificate.
#[derive(Debug, Serialize)]
pub struct PersonCertificate {
    /// Whose.
    pub person: PersonName,
    /// The profile.
    pub profile: Profile,
    /// When it ends.
    pub not_after: Time,
}

/// A sealed file.
#[derive(Debug, Serialize)]
pub struct SealedView {
    /// Its name: `ca.kubernetes.g1`, `node.cp-1`.
    pub name: String,
    /// How often it was sealed.
    pub revision: u32,
    /// Whether its keys existed in plaintext before.
    pub imported: bool,
    /// Who can open it.
    pub recipients: Vec<Recipient>,
}

/// One cluster; `data` of the report.
#[derive(Debug, Serialize)]
pub struct ClusterPage {
    /// Its name.
    pub name: ClusterName,
    /// Its random id.
    pub id: HexId<16>,
    /// The URL of its API.
    pub endpoint: String,
    /// Whether it is retired.
    pub retired: bool,
    /// The distribution.
    pub distribution: Option<String>,
    /// The version of Kubernetes.
    pub kubernetes: Option<String>,
    /// The algorithm of new keys.
    pub algorithm: Option<String>,
    /// To whom its secrets are sealed.
    pub keyholders: BTreeSet<PersonName>,
    /// Who may issue.
    pub issuers: BTreeSet<PersonName>,
    /// Which groups people may ask for.
    pub groups: BTreeMap<PersonName, BTreeSet<String>>,
    /// The generations of its keysets.
    pub keysets: Vec<KeyView>,
    /// The nodes, as cluster.toml has them.
    pub nodes: Vec<NodeView>,
    /// Current certificates of people.
    pub people: Vec<PersonCertificate>,
    /// The sealed files.
    pub sealed: Vec<SealedView>,
}

/// All clusters.
pub fn list(repository: &Repository) -> Result<ClusterList, Failure> {
    let verified = &repository.verified;
    let line = |(name, cluster): (&ClusterName, &Cluster)| {
        let config = verified.current.configs.get(name);
        ClusterLine {
            name: name.clone(),
            endpoint: cluster.api.clone(),
            distribution: config.map(|config| config.distribution.to_string()),
            kubernetes: config.map(|config| config.kubernetes.to_string()),
            nodes: config.map_or(0, |config| config.nodes.len()),
            certificates: verified.current.leaves.keys().filter(|place| place.cluster() == Some(name)).count(),
            keyholders: cluster.keyholders.clone(),
            retired: cluster.retired,
            ends: ends(verified, name, cluster),
        }
    };
    Ok(ClusterList { clusters: repository.epoch()?.clusters.iter().map(line).collect() })
}

fn ends(verified: &Verified, name: &ClusterName, cluster: &Cluster) -> Option<Time> {
    let nodes =
        verified.current.leaves.iter().filter(|(place, _)| matches!(place, Place::NodeCert(at, ..) if at == name));
    let authorities = keysets(verified, name, cluster).into_iter().filter(|key| key.state != Some(State::Distrusted));
    nodes.map(|(_, facts)| facts.not_after).chain(authorities.filter_map(|key| key.not_after)).min()
}

fn sealed<'a>(verified: &'a Verified, name: &'a ClusterName) -> impl Iterator<Item = &'a Sealed> {
    verified.current.paths.values().filter_map(move |vouched| match &vouched.vouch {
        Vouch::Sealed(entry) if entry.cluster == *name => Some(entry),
        _ => None,
    })
}

/// Every generation that the epoch lists, and every sealed symmetric one.
fn keysets(verified: &Verified, name: &ClusterName, cluster: &Cluster) -> Vec<KeyView> {
    let state = |keyset, generation| {
        let states: &phases::States = verified.current.states.get(&(name.clone(), keyset))?;
        states.get(&generation)?.iter().next().copied()
    };
    let in_repository = |keyset, generation| {
        let wanted = SealedName::Keyset(keyset, generation);
        sealed(verified, name).find(|entry| entry.name == wanted)
    };
    let mut views: Vec<KeyView> = Vec::new();
    for (keyset, generation) in cluster
        .keysets
        .keys()
        .flat_map(|keyset| cluster.generations(*keyset).map(|(generation, _)| (*keyset, generation)))
    {
        let sha256 = cluster.generations(keyset).find(|(g, _)| *g == generation).map(|(_, sha256)| sha256);
        let authority = sha256.and_then(|sha256| verified.authorities.get(&sha256)).filter(|_| keyset.is_ca());
        views.push(KeyView {
            keyset,
            generation,
            state: state(keyset, generation),
            sha256,
            subject: authority.map(|facts| facts.subject.clone()),
            not_after: authority.map(|facts| facts.not_after),
            sealed: in_repository(keyset, generation).map(|entry| entry.place().to_string()),
        });
    }
    for entry in sealed(verified, name) {
        let SealedName::Keyset(keyset, generation) = entry.name else { continue };
        if keyset.is_symmetric() {
            views.push(KeyView {
                keyset,
                generation,
                state: state(keyset, generation),
                sha256: entry.public.first().map(|key| key.id),
                subject: None,
                not_after: None,
                sealed: Some(entry.place().to_string()),
            });
        }
    }
    views.sort_by_key(|view| (view.keyset, view.generation));
    views
}

/// One cluster.
pub fn show(repository: &Repository, name: &ClusterName) -> Result<ClusterPage, Failure> {
    let verified = &repository.verified;
    let cluster = repository.cluster(name)?;
    let config = verified.current.configs.get(name);
    let people = verified.current.leaves.iter().filter_map(|(place, facts)| match place {
        Place::PersonCert(at, person, profile) if at == name => {
            Some(PersonCertificate { person: person.clone(), profile: *profile, not_after: facts.not_after })
        }
        _ => None,
    });
    let sealed = sealed(verified, name).map(|entry| SealedView {
        name: entry.name.to_string(),
        revision: entry.revision,
        imported: entry.imported,
        recipients: entry.recipients.clone(),
    });
    Ok(ClusterPage {
        name: name.clone(),
        id: cluster.id,
        endpoint: cluster.api.clone(),
        retired: cluster.retired,
        distribution: config.map(|config| config.distribution.to_string()),
        kubernetes: config.map(|config| config.kubernetes.to_string()),
        algorithm: config.map(|config| config.algorithm.to_string()),
        keyholders: cluster.keyholders.clone(),
        issuers: cluster.issuers.clone(),
        groups: cluster.groups.clone(),
        keysets: keysets(verified, name, cluster),
        nodes: config
            .map(|config| config.nodes.iter().map(|one| node(verified, name, (one, config.distribution))).collect())
            .unwrap_or_default(),
        people: people.collect(),
        sealed: sealed.collect(),
    })
}

fn node(
    verified: &Verified,
    name: &ClusterName,
    (node, distribution): (&crate::model::Node, Distribution),
) -> NodeView {
    let current = verified.current.leaves.iter().filter_map(|(place, facts)| match place {
        Place::NodeCert(at, owner, profile) if at == name && *owner == node.name => {
            Some((profile.to_string(), facts.not_after))
        }
        _ => None,
    });
    let certificates: BTreeMap<String, Time> = current.collect();
    let missing = node.profiles(distribution).filter(|profile| !certificates.contains_key(profile.as_str())).collect();
    NodeView {
        name: node.name.to_string(),
        roles: node.roles.iter().map(|role| role.as_str()).collect(),
        addresses: node.addresses.iter().map(ToString::to_string).collect(),
        certificates,
        missing,
    }
}
