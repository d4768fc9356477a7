//! `cert renew`: issues anew what ends soon on the nodes of any number of clusters, as one record. Keys are new, but
//! for those that stay on their node, which are certified again.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::super::failure::Failure;
use super::super::issuing::{self, BundleWork, NodeWork, Step};
use super::super::plan::{Plan, Written, new_record};
use super::super::session::{Repository, Session};
use super::node::{has_key, kept_by_node};
use super::{Made, config};
use crate::model::{ClusterName, Distribution, Node, NodeName, Place, Profile, Remedy, Span, Time};

/// What was renewed; `data` of the report.
#[derive(Debug, Serialize)]
pub struct Renewed {
    /// Why each certificate is issued anew, by path.
    pub renew: Vec<Step>,
    /// The new certificates; none on a dry run.
    pub certificates: Vec<Made>,
    /// How many certificates of nodes end later and stay.
    pub kept: usize,
    /// Sealed files that are opened, with their clusters.
    pub opened: Vec<String>,
    /// What was written.
    #[serde(flatten)]
    pub written: Written,
}

/// Renews the certificates of `clusters`, or of the `nodes` named, that end within `within` of now.
pub fn renew(
    session: &mut Session,
    repository: &mut Repository,
    clusters: &[ClusterName],
    nodes: &BTreeSet<NodeName>,
    within: Span,
) -> Result<Renewed, Failure> {
    let end = session.now.plus(within);
    let mut report = Renewed {
        renew: Vec::new(),
        certificates: Vec::new(),
        kept: 0,
        opened: Vec::new(),
        written: Written { dry_run: session.settings.dry_run, ..Written::default() },
    };
    let mut works: Vec<(ClusterName, Vec<NodeWork>)> = Vec::new();
    let mut unknown = nodes.clone();
    for name in clusters {
        if repository.cluster(name)?.retired {
            continue;
        }
        let config = config(repository, name)?;
        let (described, distribution) = (config.nodes.clone(), config.distribution);
        unknown.retain(|node| !described.iter().any(|one| one.name == *node));
        let wanted = described.into_iter().filter(|node| nodes.is_empty() || nodes.contains(&node.name));
        let of_cluster: Vec<NodeWork> = wanted
            .map(|node| of_node((repository, name), (node, distribution), end, &mut report.kept))
            .filter(|work| !work.is_empty())
            .collect();
        if !of_cluster.is_empty() {
            works.push((name.clone(), of_cluster));
        }
    }
    if let Some(node) = unknown.first() {
        let names = clusters.iter().map(ClusterName::as_str).collect::<Vec<_>>().join(", ");
        let what = format!("there is no node {node} in {names}");
        return Err(Failure::usage(what).help(Remedy::Kluis("cert list".to_owned())));
    }
    for (name, of_cluster) in &works {
        let steps =
            of_cluster.iter().flat_map(|work| work.fresh.iter().map(move |(profile, why)| (work, *profile, why)));
        report.renew.extend(steps.map(|(work, profile, why)| Step {
            path: Place::NodeCert(name.clone(), work.node.name.clone(), profile).to_string(),
            why: why.clone(),
        }));
        let opens = issuing::opens(repository, (name, repository.cluster(name)?), of_cluster)?;
        report.opened.extend(opens.into_iter().map(|sealed| format!("{name}/{sealed}")));
    }
    if works.is_empty() {
        return Ok(report);
    }
    carry_out(session, repository, &works, &mut report)?;
    Ok(report)
}

fn carry_out(
    session: &mut Session,
    repository: &mut Repository,
    works: &[(ClusterName, Vec<NodeWork>)],
    report: &mut Renewed,
) -> Result<(), Failure> {
    let mut actor = session.actor(&repository.verified)?;
    for (name, _) in works {
        issuing::check_config(config(repository, name)?)?;
        issuing::check_issuer(name, repository.cluster(name)?, &actor.name)?;
    }
    let mut record = new_record(&repository.verified, &actor.name, session.now, "cert renew")?;
    record.accepted = issuing::accepted(session, &repository.verified)?;
    if session.settings.dry_run {
        return Ok(());
    }
    let mut plan = Plan::default();
    // carry_out looks again; here, so that no touch or passphrase is for nothing.
    repository.work()?.check_writable(&plan.edited)?;
    for (name, of_cluster) in works {
        let config = config(repository, name)?.clone();
        issuing::carry_out(session, repository, &mut actor, (name, &config), of_cluster, (&mut record, &mut plan))?;
    }
    report.certificates = record.issued.iter().map(Made::of).collect();
    report.certificates.sort_by(|a, b| a.path.cmp(&b.path));
    let names = works.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    let title = format!("Renew {} certificates of {names}", record.issued.len());
    plan.record(record);
    report.written = plan.carry_out(session, repository, &mut actor, &title, "")?;
    Ok(())
}

/// What of a node ends by `end`.
fn of_node(
    (repository, name): (&Repository, &ClusterName),
    (node, distribution): (Node, Distribution),
    end: Time,
    stay: &mut usize,
) -> NodeWork {
    let verified = &repository.verified;
    let mut kept_keys = kept_by_node(verified, name, &node.name);
    let mut fresh: Vec<(Profile, String)> = Vec::new();
    let mut bundled_stays = false;
    for profile in node.profiles(distribution) {
        let place = Place::NodeCert(name.clone(), node.name.clone(), profile);
        let Some(facts) = verified.current.leaves.get(&place) else { continue };
        if facts.not_after <= end {
            fresh.push((profile, format!("ends {}", facts.not_after)));
        } else {
            *stay += 1;
            bundled_stays |= has_key(verified, name, &node.name, profile);
        }
    }
    kept_keys.retain(|profile, _| fresh.iter().any(|(one, _)| one == profile));
    let public: BTreeMap<Profile, Vec<u8>> = kept_keys;
    let mut work = NodeWork { node, fresh, gone: Vec::new(), bundle: BundleWork::Keep, public };
    if work.new_keys() > 0 {
        work.bundle = if bundled_stays { BundleWork::Open } else { BundleWork::New };
    }
    work
}
