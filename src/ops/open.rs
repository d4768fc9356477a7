//! `open`: decrypts one secret, by the name that a person gives it. Decides which sealed file is meant; checks
//! that what is opened is what the record says; prints nothing.

use std::collections::BTreeSet;

use super::failure::Failure;
use super::secrets;
use super::session::{Actor, Repository};
use crate::model::{ClusterName, Keyset, NodeName, Place, Remedy, SealedName};
use crate::seal::SealedKey;
use crate::trust::current::Vouch;
use crate::trust::phases;

/// A secret as a person names it, found in the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The cluster.
    pub cluster: ClusterName,
    /// The sealed file.
    pub name: SealedName,
    /// One key in it; all of them if there is none.
    pub key: Option<String>,
}

impl Found {
    /// The file's place.
    pub fn place(&self) -> Place {
        Place::Sealed(self.cluster.clone(), self.name.clone())
    }

    /// What whoever has it can do, for the question.
    pub fn power(&self) -> &'static str {
        match &self.name {
            SealedName::Keyset(keyset, _) if keyset.is_ca() => "whoever has it can issue any certificate of this CA",
            SealedName::Keyset(Keyset::ServiceAccount, _) => "whoever has it can be any service account",
            SealedName::Keyset(..) => "whoever has it can read what it protects",
            SealedName::Node(_) => "whoever has it can be this node",
        }
    }
}

/// Finds the secret called `text` in `cluster`: `ca.kubernetes` (the issuing generation), `ca.kubernetes.g2`, `sa`,
/// `encryption`, `node.cp-1` (all its keys), `node.cp-1/apiserver`. Fails with the list of what there is.
pub fn find(repository: &Repository, cluster: &ClusterName, text: &str) -> Result<Found, Failure> {
    let known = names(repository, cluster);
    let unknown = || {
        let list = known.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let list = if list.is_empty() { "none".to_owned() } else { list };
        Failure::usage(format!("cluster {cluster} has no secret {text:?}; there are: {list}")).help(Remedy::Verify)
    };
    let (file, key) = match text.split_once('/') {
        Some((file, key)) => (file, Some(key.to_owned())),
        None => (text, None),
    };
    let name = parse(repository, cluster, file).filter(|name| known.contains(&name.to_string())).ok_or_else(unknown)?;
    let found = Found { cluster: cluster.clone(), name, key };
    let entry = secrets::entry(repository, &found.place())?;
    if let Some(key) = &found.key
        && !entry.public.iter().any(|public| public.name == *key)
    {
        let names = entry.public.iter().map(|public| public.name.as_str()).collect::<Vec<_>>().join(", ");
        let what = format!("{} of cluster {cluster} has no key {key:?}; there are: {names}", found.name);
        return Err(Failure::usage(what));
    }
    Ok(found)
}

/// A name with its generation, or without: then the one that issues.
fn parse(repository: &Repository, cluster: &ClusterName, file: &str) -> Option<SealedName> {
    if let Some(node) = file.strip_prefix("node.") {
        return NodeName::parse(node).ok().map(SealedName::Node);
    }
    if let Ok(name) = SealedName::parse(file) {
        return Some(name);
    }
    let SealedName::Keyset(keyset, _) = SealedName::parse(&format!("{file}.g1")).ok()? else { return None };
    let states = repository.verified.current.states.get(&(cluster.clone(), keyset))?;
    phases::issuing(states).first().map(|generation| SealedName::Keyset(keyset, *generation))
}

/// The sealed files of a cluster, by name.
pub fn names(repository: &Repository, cluster: &ClusterName) -> BTreeSet<String> {
    let current = repository.verified.current.paths.values();
    let names = current.filter_map(|vouched| match &vouched.vouch {
        Vouch::Sealed(entry) if entry.cluster == *cluster => Some(entry.name.to_string()),
        _ => None,
    });
    names.collect()
}

/// Opens it: one private-key operation. The keys come in the order of their names.
pub fn open(repository: &Repository, actor: &mut Actor, found: &Found) -> Result<Vec<SealedKey>, Failure> {
    let keys = secrets::open(repository, actor, &found.place())?;
    Ok(keys.into_iter().filter(|key| found.key.as_ref().is_none_or(|wanted| key.name == *wanted)).collect())
}
