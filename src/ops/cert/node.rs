//! `cert issue --node`: a node's certificates anew, with keys made here and sealed with the node's others, or for the
//! key behind a CSR, which then never leaves its node.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::csr::GivenCsr;
use super::super::failure::Failure;
use super::super::issuing::{self, BundleWork, NodeWork};
use super::super::plan::{Plan, new_record};
use super::super::session::{Repository, Session};
use super::{IssueReport, config};
use crate::export;
use crate::model::{
    ClusterConfig, ClusterName, Distribution, Node, NodeName, Place, Profile, Remedy, SealedName, displayed,
};
use crate::trust::Verified;
use crate::trust::current::{Vouch, Vouched};

/// The profiles whose keys may stay on their node: a kubelet makes its own, and nothing else reads them.
pub(in crate::ops) const KEPT_BY_NODES: [Profile; 2] = [Profile::KubeletClient, Profile::KubeletServing];

/// Which of a node's certificates are issued.
pub struct Wanted<'a> {
    /// The node.
    pub node: &'a NodeName,
    /// One profile; all of the node's if there is none.
    pub profile: Option<Profile>,
    /// A CSR made on the node.
    pub csr: Option<&'a Path>,
}

/// Issues one, or all, of a node's certificates anew.
pub fn issue(
    session: &mut Session,
    repository: &mut Repository,
    cluster: &ClusterName,
    wanted: &Wanted<'_>,
) -> Result<IssueReport, Failure> {
    let config = config(repository, cluster)?.clone();
    issuing::check_config(&config)?;
    let node = find(&config, cluster, wanted.node)?;
    if config.distribution.makes_leaves() {
        return Err(made_by_itself(cluster, &node, config.distribution));
    }
    let work = match wanted.csr {
        Some(path) => from_csr(session, repository, (cluster, &node, config.distribution), wanted.profile, path)?,
        None => anew(repository, cluster, (&node, config.distribution), wanted.profile)?,
    };
    let works = std::slice::from_ref(&work);
    let opened = issuing::opens(repository, (cluster, repository.cluster(cluster)?), works)?;
    let place = |profile: &Profile| Place::NodeCert(cluster.clone(), node.name.clone(), *profile);
    let places = work.fresh.iter().map(|(profile, _)| place(profile));
    let mut report = IssueReport::new(cluster, places, opened, session);
    let mut actor = session.actor(&repository.verified)?;
    issuing::check_issuer(cluster, repository.cluster(cluster)?, &actor.name)?;
    let mut record = new_record(&repository.verified, &actor.name, session.now, "cert issue")?;
    record.accepted = issuing::accepted(session, &repository.verified)?;
    if session.settings.dry_run {
        return Ok(report);
    }
    let mut plan = Plan::default();
    // carry_out looks again; here, so that no touch or passphrase is for nothing.
    repository.work()?.check_writable(&plan.edited)?;
    let of = (cluster, &config);
    issuing::carry_out(session, repository, &mut actor, of, works, (&mut record, &mut plan))?;
    report.fill(&record.issued);
    plan.record(record);
    let title = format!("Issue certificates of {} in {cluster}", node.name);
    report.written = plan.carry_out(session, repository, &mut actor, &title, "")?;
    Ok(report)
}

/// The node of that name. Fails with the list of those that there are.
pub(in crate::ops) fn find(config: &ClusterConfig, cluster: &ClusterName, name: &NodeName) -> Result<Node, Failure> {
    config.node(name).cloned().ok_or_else(|| {
        let known = config.nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>().join(", ");
        Failure::usage(format!("cluster {cluster} has no node {name}; there are: {known}"))
            .help(Remedy::Kluis(format!("cluster show {cluster}")))
    })
}

/// Where nodes make their leaves themselves, an export brings them what they make them from.
fn made_by_itself(cluster: &ClusterName, node: &Node, distribution: Distribution) -> Failure {
    let name = &node.name;
    let what = format!("{distribution} makes the certificates of node {name} itself, from the CA keys of an export");
    let of = export::Layout::of(distribution);
    let layout = of.name;
    Failure::usage(what).help(match of.node {
        Some(_) => Remedy::Kluis(format!("export {layout} -c {cluster} --node {name} --out DIR")),
        None => Remedy::Kluis(format!("export {layout} -c {cluster} --out DIR")),
    })
}

fn check_profile(node: &Node, distribution: Distribution, profile: Profile) -> Result<(), Failure> {
    if node.profiles(distribution).any(|known| known == profile) {
        return Ok(());
    }
    let known = node.profiles(distribution).map(|profile| profile.to_string()).collect::<Vec<_>>().join(", ");
    Err(Failure::usage(format!("node {} has no certificate {profile}; it has: {known}", node.name)))
}

/// New keys, made here. One profile goes into the bundle that is there; without one there is nothing that a single
/// key could join, and all are made. Keys that stay on the node are left there.
fn anew(
    repository: &Repository,
    cluster: &ClusterName,
    (node, distribution): (&Node, Distribution),
    profile: Option<Profile>,
) -> Result<NodeWork, Failure> {
    if let Some(profile) = profile {
        check_profile(node, distribution, profile)?;
    }
    let verified = &repository.verified;
    let (sealed, kept) = (has_bundle(verified, cluster, &node.name), kept_by_node(verified, cluster, &node.name));
    let fresh: Vec<Profile> = match profile {
        Some(profile) if sealed || kept.contains_key(&profile) => vec![profile],
        _ => node.profiles(distribution).filter(|profile| !kept.contains_key(profile)).collect(),
    };
    if fresh.is_empty() {
        let what = format!("the keys of all certificates of {} stay on it, and none is made here", node.name);
        let help = format!("cert issue PROFILE -c {cluster} --node {} --csr FILE", node.name);
        return Err(Failure::usage(what).help(Remedy::Kluis(help)));
    }
    let mut held = profiles_of(verified, cluster, &node.name).filter(|profile| !kept.contains_key(profile));
    let bundle = match sealed && held.any(|profile| !fresh.contains(&profile)) {
        true => BundleWork::Open,
        false => BundleWork::New,
    };
    let fresh = fresh.into_iter().map(|profile| (profile, "asked for".to_owned())).collect();
    Ok(NodeWork { node: node.clone(), fresh, gone: Vec::new(), bundle, public: BTreeMap::new() })
}

/// A certificate for the key behind a CSR. Identity comes from the profile, names from cluster.toml, usages from
/// FORMAT: of the CSR only the public key is used, once it is proven that whoever made it has the key (kubernetes-pki
/// D). A subject that is another's is a file mixed up, and refused.
fn from_csr(
    session: &mut Session,
    repository: &Repository,
    (cluster, node, distribution): (&ClusterName, &Node, Distribution),
    profile: Option<Profile>,
    path: &Path,
) -> Result<NodeWork, Failure> {
    let name = &node.name;
    let list = KEPT_BY_NODES.map(Profile::as_str).join(" and ");
    let Some(profile) = profile.filter(|profile| KEPT_BY_NODES.contains(profile)) else {
        return Err(Failure::usage(format!("--csr is for one of {list}: the keys of a control plane are exported")));
    };
    check_profile(node, distribution, profile)?;
    let expected = profile.common_name(name.as_str());
    let csr = GivenCsr::read(path, &format!("/O=system:nodes/CN={expected}"))?;
    let facts = &csr.facts;
    if !facts.subject.is_empty() && facts.common_name.as_ref() != Some(&expected) {
        let subject = displayed(&facts.subject);
        return Err(csr.refused(format!("its subject is {subject}, and {profile} of {name} is CN={expected}")));
    }
    let verified = &repository.verified;
    let own = Place::NodeCert(cluster.clone(), name.clone(), profile);
    let issued = verified.log.records.iter().flat_map(|logged| &logged.record.issued);
    let elsewhere = issued.into_iter().find(|entry| entry.spki == facts.spki_id && entry.place != own);
    if let Some(entry) = elsewhere {
        return Err(csr.refused(format!("its key is also that of {}", entry.place)));
    }
    if verified.requests.all().any(|filed| filed.key == Some(facts.spki_id)) {
        return Err(csr.refused("its key is also that of a person's request"));
    }
    if facts.has_extensions_or_attributes {
        session.notes.push(format!(
            "{} asks for extensions; the names and usages of the certificate are those of cluster.toml and {profile}",
            csr.place
        ));
    }
    let bundled = has_key(verified, cluster, name, profile);
    let others =
        profiles_of(verified, cluster, name).any(|other| other != profile && has_key(verified, cluster, name, other));
    let bundle = match (bundled, others) {
        (false, _) => BundleWork::Keep,
        (true, true) => BundleWork::Open,
        (true, false) => BundleWork::New,
    };
    let fresh = vec![(profile, "asked for".to_owned())];
    let public = BTreeMap::from([(profile, csr.facts.spki)]);
    Ok(NodeWork { node: node.clone(), fresh, gone: Vec::new(), bundle, public })
}

fn bundle<'a>(
    verified: &'a Verified,
    cluster: &ClusterName,
    node: &NodeName,
) -> Option<&'a crate::trust::record::Sealed> {
    let place = Place::Sealed(cluster.clone(), SealedName::Node(node.clone()));
    match verified.current.paths.get(&place) {
        Some(Vouched { vouch: Vouch::Sealed(entry), .. }) => Some(entry),
        _ => None,
    }
}

fn has_bundle(verified: &Verified, cluster: &ClusterName, node: &NodeName) -> bool {
    bundle(verified, cluster, node).is_some()
}

pub(in crate::ops) fn has_key(verified: &Verified, cluster: &ClusterName, node: &NodeName, profile: Profile) -> bool {
    let keys = bundle(verified, cluster, node).map(|entry| entry.public.as_slice()).unwrap_or_default();
    keys.iter().any(|key| key.name == profile.as_str())
}

/// The profiles of a node's current certificates.
fn profiles_of<'a>(
    verified: &'a Verified,
    cluster: &'a ClusterName,
    node: &'a NodeName,
) -> impl Iterator<Item = Profile> + 'a {
    verified.current.leaves.keys().filter_map(move |place| match place {
        Place::NodeCert(at, owner, profile) if at == cluster && owner == node => Some(*profile),
        _ => None,
    })
}

/// The public keys (SPKI DER) of a node's current certificates whose keys stay on the node, by profile: no sealed file
/// has them.
pub(in crate::ops) fn kept_by_node(
    verified: &Verified,
    cluster: &ClusterName,
    node: &NodeName,
) -> BTreeMap<Profile, Vec<u8>> {
    let own = profiles_of(verified, cluster, node)
        .filter(|profile| KEPT_BY_NODES.contains(profile) && !has_key(verified, cluster, node, *profile));
    own.filter_map(|profile| {
        let place = Place::NodeCert(cluster.clone(), node.clone(), profile);
        Some((profile, verified.current.leaves.get(&place)?.spki.clone()))
    })
    .collect()
}
