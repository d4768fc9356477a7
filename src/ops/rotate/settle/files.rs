//! What a record that settles a cluster takes along: of every path of which two branches made a version, one is kept, made
//! anew or removed, so that no conflict is left.

use std::collections::{BTreeMap, BTreeSet};

use super::super::super::cert::config;
use super::super::super::cert::node::{KEPT_BY_NODES, has_key};
use super::super::super::failure::Failure;
use super::super::super::issuing::{BundleWork, NodeWork};
use super::super::super::plan::Plan;
use super::super::super::secrets;
use super::super::super::session::Repository;
use super::Decided;
use crate::model::{
    ClusterName, Digest, Distribution, Generation, Keyset, Node, NodeName, PersonName, Place, Profile, Remedy,
    SealedName,
};
use crate::pki;
use crate::trust::current::{Vouch, Vouched};
use crate::trust::record::{Config, Issued, Record, Sealed};
use crate::trust::{keyset_of, phases};

/// What is done in one cluster.
pub(super) struct Work {
    pub cluster: ClusterName,
    /// The authorities that nodes' certificates are issued by.
    pub authorities: BTreeMap<Keyset, Generation>,
    pub nodes: Vec<NodeWork>,
    /// Sealed files of keysets, as they lie in the tree, that are sealed again.
    pub sealed: Vec<Sealed>,
    /// Every generation that issues once the record counts.
    issuers: BTreeMap<Keyset, Generation>,
    torn: BTreeSet<Place>,
    config: Option<Config>,
}

impl Work {
    /// What has to be done where these keysets are settled so.
    pub fn of(repository: &Repository, cluster: &ClusterName, decided: &[&Decided]) -> Result<Self, Failure> {
        let current = &repository.verified.current;
        let torn: BTreeSet<Place> = current.in_conflict().filter(|p| p.cluster() == Some(cluster)).cloned().collect();
        let settled: BTreeMap<Keyset, Generation> =
            decided.iter().map(|one| (one.conflict.keyset, one.to.issues)).collect();
        let mut issuers = settled.clone();
        for ((_, keyset), states) in current.states.iter().filter(|((name, _), _)| name == cluster) {
            if let (false, [only]) = (issuers.contains_key(keyset), phases::issuing(states).as_slice()) {
                issuers.insert(*keyset, *only);
            }
        }
        let config_entry = kept_config(repository, cluster, &torn)?;
        let described = config(repository, cluster)?;
        let distribution = described.distribution;
        let desk = Desk { repository, cluster, distribution, torn: &torn, settled: &settled, issuers: &issuers };
        let nodes = described.nodes.iter().map(|node| desk.node(node));
        let nodes: Vec<NodeWork> = nodes.collect::<Result<_, _>>()?;
        let nodes: Vec<NodeWork> = nodes.into_iter().filter(|work| !work.is_empty()).collect();
        let listed = repository.cluster(cluster)?;
        let needed: BTreeSet<Keyset> = nodes.iter().flat_map(|work| work.keysets(listed)).collect();
        let authorities = issuers.iter().filter(|(keyset, _)| needed.contains(keyset));
        let authorities = authorities.map(|(keyset, generation)| (*keyset, *generation)).collect();
        let sealed = desk.keyset_files(decided)?;
        Ok(Self { cluster: cluster.clone(), authorities, nodes, sealed, issuers, torn, config: config_entry })
    }

    /// Fills the record with what stays as it lies in the tree, and with what is taken away: all in conflict that is not
    /// made anew either.
    pub fn fill(&self, repository: &Repository, actor: &PersonName, record: &mut Record, plan: &mut Plan) {
        record.config.extend(self.config.clone());
        let made = self.made();
        for place in self.torn.iter().filter(|place| !made.contains(place) && !matches!(place, Place::Config(_))) {
            if let Some(entry) = self.persons(repository, actor, place) {
                record.issued.push(entry);
                continue;
            }
            let path = place.to_string();
            if repository.verified.tree.entries.contains_key(&path) {
                plan.changes.removes.insert(path);
            }
            record.removed.push(place.clone());
        }
    }

    /// The certificates of nodes that are issued.
    pub fn certificates(&self) -> impl Iterator<Item = Place> + '_ {
        let of = |work: &NodeWork, profile| Place::NodeCert(self.cluster.clone(), work.node.name.clone(), profile);
        self.nodes.iter().flat_map(move |work| work.fresh.iter().map(move |(profile, _)| of(work, *profile)))
    }

    /// The files that are made anew.
    fn made(&self) -> BTreeSet<Place> {
        let bundles = self.nodes.iter().filter(|work| work.bundle != BundleWork::Keep);
        let bundles = bundles.map(|work| Place::Sealed(self.cluster.clone(), SealedName::Node(work.node.name.clone())));
        self.certificates().chain(bundles).chain(self.sealed.iter().map(Sealed::place)).collect()
    }

    /// A person's certificate that stays: a record vouches for one without a request only if its own actor is the owner,
    /// and for none of a generation that does not issue.
    fn persons(&self, repository: &Repository, actor: &PersonName, place: &Place) -> Option<Issued> {
        let Place::PersonCert(_, person, profile) = place else { return None };
        let entry = lying(repository, place)?;
        let cluster = repository.cluster(&self.cluster).ok()?;
        let (keyset, generation) = cluster.authority(&entry.issuer)?;
        let issues = keyset == keyset_of(cluster, *profile) && self.issuers.get(&keyset) == Some(&generation);
        (issues && person == actor && entry.request.is_none() && !entry.is_break_glass()).then(|| entry.clone())
    }
}

/// The version of a certificate that lies in the tree.
fn lying<'a>(repository: &'a Repository, place: &Place) -> Option<&'a Issued> {
    let verified = &repository.verified;
    let der = pki::parse_pem(verified.tree.bytes(&place.to_string())?, "CERTIFICATE").ok()?;
    let sha256 = Digest::of(&der);
    issued(verified.current.last(&verified.log, place)).into_iter().find(|entry| entry.sha256 == sha256)
}

fn issued(said: Vec<&Vouched>) -> Vec<&Issued> {
    let entries = said.into_iter().filter_map(|vouched| match &vouched.vouch {
        Vouch::Issued(entry) => Some(entry),
        _ => None,
    });
    entries.collect()
}

/// The version of cluster.toml that lies in the tree, where two are in conflict. Attack: nobody vouched for a text that git
/// merged, and certificates take their names from it. So it has to be one of the two.
fn kept_config(
    repository: &Repository,
    cluster: &ClusterName,
    torn: &BTreeSet<Place>,
) -> Result<Option<Config>, Failure> {
    let place = Place::Config(cluster.clone());
    if !torn.contains(&place) {
        return Ok(None);
    }
    let verified = &repository.verified;
    let sha256 = Digest::of(verified.tree.bytes(&place.to_string()).unwrap_or_default());
    let said = verified.current.last(&verified.log, &place);
    if said.iter().any(|vouched| vouched.vouch == Vouch::Config(sha256)) {
        return Ok(Some(Config { cluster: cluster.clone(), sha256 }));
    }
    let what = format!(
        "{place} was edited on both branches as well, and lies here as neither has it: put one of the two there and commit it, \
         settle, and then apply what the other had"
    );
    Err(Failure::refused(what).help(Remedy::Run(format!("git checkout HEAD^ -- {place}"))))
}

/// What deciding about a cluster's files looks at.
struct Desk<'a> {
    repository: &'a Repository,
    cluster: &'a ClusterName,
    distribution: Distribution,
    torn: &'a BTreeSet<Place>,
    settled: &'a BTreeMap<Keyset, Generation>,
    issuers: &'a BTreeMap<Keyset, Generation>,
}

impl Desk<'_> {
    /// The certificates of a node that are issued anew: those in conflict, those of a generation that does not issue any
    /// more, and, where its bundle is in conflict, all whose keys lie in one of the two: neither has the keys of both.
    fn node(&self, node: &Node) -> Result<NodeWork, Failure> {
        let (repository, name) = (self.repository, &node.name);
        let (verified, cluster) = (&repository.verified, repository.cluster(self.cluster)?);
        let torn_bundle = self.torn.contains(&self.bundle(name));
        let mut work = NodeWork {
            node: node.clone(),
            fresh: Vec::new(),
            gone: Vec::new(),
            bundle: BundleWork::Keep,
            public: BTreeMap::new(),
        };
        let mut stays = false;
        for profile in node.profiles(self.distribution) {
            let place = Place::NodeCert(self.cluster.clone(), name.clone(), profile);
            let versions = issued(verified.current.last(&verified.log, &place));
            if versions.is_empty() {
                continue;
            }
            let keyset = keyset_of(cluster, profile);
            let generation = self.issuers.get(&keyset).copied();
            let of = |entry: &&Issued| cluster.authority(&entry.issuer).map(|(_, generation)| generation);
            let on_node = KEPT_BY_NODES.contains(&profile) && !self.was_bundled(name, profile);
            let why = if self.torn.contains(&place) {
                "two branches issued it".to_owned()
            } else if let (true, Some(issues)) = (self.settled.contains_key(&keyset), generation)
                && versions.iter().any(|entry| of(entry) != Some(issues))
            {
                format!("{keyset} {issues} issues")
            } else if torn_bundle && !on_node {
                "two branches sealed its key".to_owned()
            } else {
                stays |= !torn_bundle && has_key(verified, self.cluster, name, profile);
                continue;
            };
            if on_node {
                work.public.insert(profile, self.public(&place)?);
            }
            work.fresh.push((profile, why));
        }
        if work.new_keys() > 0 {
            work.bundle = if stays { BundleWork::Open } else { BundleWork::New };
        }
        Ok(work)
    }

    fn bundle(&self, node: &NodeName) -> Place {
        Place::Sealed(self.cluster.clone(), SealedName::Node(node.clone()))
    }

    /// Whether a version of the node's bundle has the key of a profile. If none has, the key never left its node.
    fn was_bundled(&self, node: &NodeName, profile: Profile) -> bool {
        let verified = &self.repository.verified;
        let said = verified.current.last(&verified.log, &self.bundle(node));
        said.iter().any(|vouched| match &vouched.vouch {
            Vouch::Sealed(entry) => entry.public.iter().any(|key| key.name == profile.as_str()),
            _ => false,
        })
    }

    /// The public key (SPKI DER) of a certificate whose key stays on its node.
    fn public(&self, place: &Place) -> Result<Vec<u8>, Failure> {
        let path = place.to_string();
        if lying(self.repository, place).is_none() {
            return Err(neither(&path));
        }
        let bytes = self.repository.verified.tree.bytes(&path).unwrap_or_default();
        let der = pki::parse_pem(bytes, "CERTIFICATE").map_err(|error| Failure::from(error).at(&path))?;
        Ok(pki::Facts::read(&der)?.spki)
    }

    /// Files of keysets that both branches sealed, but for generations that are given up.
    fn keyset_files(&self, decided: &[&Decided]) -> Result<Vec<Sealed>, Failure> {
        let mut files = Vec::new();
        for place in self.torn {
            let Place::Sealed(_, SealedName::Keyset(keyset, generation)) = place else { continue };
            let about = decided.iter().find(|one| one.conflict.keyset == *keyset);
            if about.is_some_and(|one| one.conflict.given_up.contains(generation)) {
                continue;
            }
            let entry = secrets::entry_of_file(&self.repository.verified, place);
            files.push(entry.ok_or_else(|| neither(&place.to_string()))?.clone());
        }
        Ok(files)
    }
}

/// What lies there is no version that a record has: a leftover of the merge.
fn neither(path: &str) -> Failure {
    let what = format!("{path} was made on both branches, and lies here as neither has it: put one of the two there");
    Failure::refused(what).help(Remedy::Run(format!("git checkout HEAD^ -- {path}")))
}
