//! What is to be done about somebody's exposure, in the order in which one thing rests on another: who left is taken out
//! and gets nothing new; then CAs, since whoever has one makes any identity; then the keys below them; then the keys of
//! nodes, which the new CAs issue; and the certificates that nothing but time ends.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::Exposure;
use crate::model::{ClusterName, Generation, Keyset, NodeName, PersonName, Remedy, State, split_group};
use crate::trust::Verified;
use crate::trust::current::Vouch;
use crate::trust::exposure::Standing;

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The cluster, where it is about one.
    pub cluster: Option<ClusterName>,
    /// What, as a clause.
    pub what: String,
    /// The command that does it, or begins it.
    pub command: Option<String>,
}

/// The plan for one person; empty if nothing they know is in use.
pub(super) fn of(verified: &Verified, exposure: &Exposure) -> Vec<Step> {
    let person = &exposure.person;
    let mut steps = Vec::new();
    let mut say = |cluster: Option<&ClusterName>, what: String, command: Option<Remedy>| {
        steps.push(Step { cluster: cluster.cloned(), what, command: command.map(|command| command.to_string()) });
    };
    let open = exposure.exposures.secrets.iter().filter(|one| one.standing == Standing::Live);
    let open: Vec<_> = open.collect();
    if exposure.listed && (!open.is_empty() || !exposure.certificates.is_empty()) {
        let remove = Remedy::Kluis(format!("person remove {person} --reason left"));
        say(None, format!("if {person} leaves: an epoch without them"), Some(remove));
    }
    for cluster in sealed_to(verified, person) {
        let what =
            format!("seal what there is without {person}; that takes nothing back, and keeps what comes from them");
        say(Some(&cluster), what, Some(Remedy::Reseal(Some(cluster.clone()))));
    }
    let groups = exposure.certificates.iter().filter(|one| !one.only_rotation);
    let groups: BTreeSet<_> = groups
        .flat_map(|one| one.groups.iter().map(|group| (one.cluster.clone(), split_group(group).0.to_owned())))
        .collect();
    for (cluster, group) in groups {
        let raise = Remedy::Kluis(format!("trust raise {group} -c {cluster}"));
        say(Some(&cluster), format!("cut certificates with {group} off, {person}'s among them"), Some(raise));
    }
    let mut keysets: BTreeMap<(&ClusterName, Keyset), BTreeSet<Generation>> = BTreeMap::new();
    for one in &open {
        if let (Some(keyset), Some(generation)) = (one.keyset, one.generation) {
            keysets.entry((&one.cluster, keyset)).or_default().insert(generation);
        }
    }
    // system:masters ends with its CA alone, whoever else knows that CA's key.
    let masters: Vec<_> = exposure.certificates.iter().filter(|one| one.only_rotation).collect();
    for one in &masters {
        let known = verified.chain.latest().and_then(|latest| latest.epoch.clusters.get(&one.cluster));
        let Some(cluster) = known.filter(|cluster| !cluster.retired) else { continue };
        let split = cluster.keysets.contains_key(&Keyset::KubernetesClient);
        let keyset = if split { Keyset::KubernetesClient } else { Keyset::Kubernetes };
        keysets.entry((&one.cluster, keyset)).or_default();
    }
    let begins: BTreeSet<&ClusterName> = keysets
        .iter()
        .filter(|((cluster, keyset), known)| {
            fixed(verified, cluster, *keyset).is_none()
                && !known.is_empty()
                && !is_under_way(verified, cluster, *keyset)
        })
        .map(|((cluster, _), _)| *cluster)
        .collect();
    if !begins.is_empty() {
        let clusters = begins.iter().map(|cluster| cluster.as_str()).collect::<Vec<_>>().join(" -c ");
        let start = Remedy::Kluis(format!("rotate start -c {clusters} --because-of {person}"));
        say(None, "new generations of what follows, in one epoch and one record".to_owned(), Some(start));
    }
    for ((cluster, keyset), generations) in &keysets {
        let ends = masters.iter().filter(|one| one.cluster == **cluster).map(|one| one.not_after).max();
        if let Some(why) = fixed(verified, cluster, *keyset) {
            let what = format!("{keyset} stays what {person} knows, unless the cluster is made anew: {why}");
            say(Some(cluster), what, None);
            continue;
        }
        let is_client = matches!(keyset, Keyset::Kubernetes | Keyset::KubernetesClient);
        let mut what = rotation(*keyset, generations);
        let command = match (is_under_way(verified, cluster, *keyset), generations.is_empty()) {
            (true, _) => Some(Remedy::Kluis(format!("rotate status -c {cluster}"))),
            (false, true) => Some(Remedy::Kluis(format!("rotate start {keyset} -c {cluster}"))),
            (false, false) => None,
        };
        if let (true, Some(end)) = (is_client, ends) {
            what += &format!("; it alone cuts off {person}'s system:masters, which ends {end}");
        }
        say(Some(cluster), what, command);
    }
    let nodes: BTreeSet<(&ClusterName, &NodeName)> =
        open.iter().filter_map(|one| Some((&one.cluster, one.node.as_ref()?))).collect();
    let cas = |cluster: &ClusterName| {
        let listed = verified.chain.latest().and_then(|latest| latest.epoch.clusters.get(cluster));
        listed.into_iter().flat_map(|listed| listed.keysets.keys()).copied().filter(|keyset| keyset.is_ca())
    };
    for (cluster, node) in nodes {
        // Where every CA is replaced, that replaces every key of a node too.
        if cas(cluster).all(|keyset| keysets.contains_key(&(cluster, keyset))) {
            say(Some(cluster), format!("new keys for node {node}, which rotate promote makes"), None);
            continue;
        }
        let after =
            if keysets.keys().any(|(of, keyset)| *of == cluster && keyset.is_ca()) { ", by the new CAs" } else { "" };
        let issue = Remedy::CertIssue(cluster.clone(), node.clone());
        say(Some(cluster), format!("new keys for node {node}{after}"), Some(issue));
    }
    if !exposure.certificates.is_empty() {
        let list = Remedy::Kluis("audit --deny-list".to_owned());
        say(None, "give authorizers, proxies and alarms the certificates that are denied".to_owned(), Some(list));
    }
    steps
}

/// Why the distribution of a cluster can't replace a keyset; `None` where it can.
fn fixed(verified: &Verified, cluster: &ClusterName, keyset: Keyset) -> Option<&'static str> {
    verified.current.configs.get(cluster)?.distribution.fixed(keyset)
}

/// Whether a generation waits to issue, or one that did waits to be distrusted.
fn is_under_way(verified: &Verified, cluster: &ClusterName, keyset: Keyset) -> bool {
    let states = verified.current.states.get(&(cluster.clone(), keyset));
    states
        .into_iter()
        .flatten()
        .flat_map(|(_, states)| states)
        .any(|state| matches!(state, State::Staged | State::Trusted | State::Retiring))
}

/// How a keyset is replaced; none of the generations is to blame where it is about certificates alone.
fn rotation(keyset: Keyset, generations: &BTreeSet<Generation>) -> String {
    let old: Vec<String> = generations.iter().map(ToString::to_string).collect();
    let old = if old.is_empty() { "the former one".to_owned() } else { old.join(" and ") };
    match keyset {
        Keyset::Encryption => {
            format!("a new generation of {keyset}; every secret written again; then {old} distrusted")
        }
        Keyset::Tokens => format!("new {keyset}; then {old} distrusted"),
        _ => format!("a new generation of {keyset}, trusted everywhere before it issues; then {old} distrusted"),
    }
}

/// The clusters of which a current file is sealed to a person.
fn sealed_to(verified: &Verified, person: &PersonName) -> BTreeSet<ClusterName> {
    let theirs = verified.current.paths.values().filter_map(|vouched| match &vouched.vouch {
        Vouch::Sealed(entry) if entry.recipients.iter().any(|recipient| recipient.person == *person) => {
            Some(entry.cluster.clone())
        }
        _ => None,
    });
    theirs.collect()
}
