//! `cert`: issues certificates on request (a node's, or the actor's own break-glass one); listing and showing are
//! `view`'s.

pub mod view;

use serde::Serialize;

use super::cluster::own_break_glass;
use super::failure::Failure;
use super::issuing::{self, NodeWork, Target};
use super::plan::{Plan, Written, new_record};
use super::secrets::Recipients;
use super::session::{Actor, Repository, Session};
use crate::model::{ClusterConfig, ClusterName, Digest, NodeName, Place, Profile, Remedy, SealedName, Span, Time};
use crate::trust::current::{Vouch, Vouched};
use crate::trust::record::Issued;

/// One certificate that was issued.
#[derive(Debug, Clone, Serialize)]
pub struct Made {
    /// Its path.
    pub path: String,
    /// Its serial number; none on a dry run, as what follows.
    pub serial: Option<String>,
    /// The SHA-256 of its DER: `X509SHA256` in audit logs.
    pub sha256: Option<Digest>,
    /// Its last second.
    pub not_after: Option<Time>,
}

/// What was issued; `data` of the report.
#[derive(Debug, Serialize)]
pub struct IssueReport {
    /// The cluster.
    pub cluster: ClusterName,
    /// The certificates, by path.
    pub certificates: Vec<Made>,
    /// Sealed files that were opened.
    pub opened: Vec<String>,
    /// Where the key of a person's certificate lies, sealed to its owner.
    pub key: Option<String>,
    /// Why, for break-glass.
    pub reason: String,
    /// What was written.
    #[serde(flatten)]
    pub written: Written,
}

impl IssueReport {
    fn new(cluster: &ClusterName, places: impl Iterator<Item = Place>, opened: Vec<String>, session: &Session) -> Self {
        let made = |place: Place| Made { path: place.to_string(), serial: None, sha256: None, not_after: None };
        let mut certificates: Vec<Made> = places.map(made).collect();
        certificates.sort_by(|a, b| a.path.cmp(&b.path));
        let paths = certificates.iter().map(|made| made.path.clone()).collect();
        let written = Written { dry_run: session.settings.dry_run, paths, ..Written::default() };
        Self { cluster: cluster.clone(), certificates, opened, key: None, reason: String::new(), written }
    }

    fn fill(&mut self, issued: &[Issued]) {
        for made in &mut self.certificates {
            if let Some(entry) = issued.iter().find(|entry| entry.place.to_string() == made.path) {
                made.serial = Some(entry.serial.clone());
                made.sha256 = Some(entry.sha256);
                made.not_after = Some(entry.not_after);
            }
        }
    }
}

fn config<'a>(repository: &'a Repository, cluster: &ClusterName) -> Result<&'a ClusterConfig, Failure> {
    let missing = || Failure::refused(format!("cluster {cluster} has no cluster.toml")).help(Remedy::Verify);
    repository.verified.current.configs.get(cluster).ok_or_else(missing)
}

/// Issues one, or all, of a node's certificates anew, with new keys.
pub fn issue_node(
    session: &mut Session,
    repository: &mut Repository,
    cluster: &ClusterName,
    (node, profile): (&NodeName, Option<Profile>),
) -> Result<IssueReport, Failure> {
    let config = config(repository, cluster)?.clone();
    issuing::check_distribution(&config)?;
    let work = node_work(repository, cluster, &config, (node, profile))?;
    let works = std::slice::from_ref(&work);
    let opened = issuing::opens(repository, (cluster, repository.cluster(cluster)?), works)?;
    let place = |profile: &Profile| Place::NodeCert(cluster.clone(), node.clone(), *profile);
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
    let title = format!("Issue certificates of {node} in {cluster}");
    report.written = plan.carry_out(session, repository, &mut actor, &title, "")?;
    Ok(report)
}

fn node_work(
    repository: &Repository,
    cluster: &ClusterName,
    config: &ClusterConfig,
    (name, profile): (&NodeName, Option<Profile>),
) -> Result<NodeWork, Failure> {
    let node = config.node(name).ok_or_else(|| {
        let known = config.nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>().join(", ");
        Failure::usage(format!("cluster {cluster} has no node {name}; there are: {known}"))
            .help(Remedy::Kluis(format!("cluster show {cluster}")))
    })?;
    let profiles: Vec<Profile> = node.profiles().collect();
    if let Some(unknown) = profile.filter(|profile| !profiles.contains(profile)) {
        let known = profiles.iter().map(|profile| profile.as_str()).collect::<Vec<_>>().join(", ");
        return Err(Failure::usage(format!("node {name} has no certificate {unknown}; it has: {known}")));
    }
    let bundle = Place::Sealed(cluster.clone(), SealedName::Node(name.clone()));
    let current = &repository.verified.current;
    let sealed = matches!(current.paths.get(&bundle), Some(Vouched { vouch: Vouch::Sealed(_), .. }));
    // Without a bundle there is nothing that one new key could join: all are made.
    let fresh: Vec<Profile> = match profile {
        Some(profile) if sealed => vec![profile],
        _ => profiles,
    };
    let mut held = current.leaves.keys().filter_map(|place| match place {
        Place::NodeCert(at, owner, profile) if at == cluster && owner == name => Some(profile),
        _ => None,
    });
    let opens_bundle = sealed && held.any(|profile| !fresh.contains(profile));
    let fresh = fresh.into_iter().map(|profile| (profile, "asked for".to_owned())).collect();
    Ok(NodeWork { node: node.clone(), fresh, gone: Vec::new(), opens_bundle })
}

/// Issues the actor's own break-glass certificate. Only where one issuer is enough; else it takes a request that
/// others approve before it is issued.
pub fn issue_break_glass(
    session: &mut Session,
    repository: &mut Repository,
    cluster: &ClusterName,
    (reason, lifetime): (&str, Option<Span>),
) -> Result<IssueReport, Failure> {
    if reason.trim().is_empty() {
        return Err(Failure::usage("a break-glass certificate needs a reason: --reason TEXT"));
    }
    let config = config(repository, cluster)?.clone();
    let life = break_glass_life(repository, &config, lifetime)?;
    let mut actor = session.actor(&repository.verified)?;
    check_break_glass(repository, cluster, &actor)?;
    let keyset = crate::trust::keyset_of(repository.cluster(cluster)?, Profile::BreakGlass);
    let generation = issuing::issuing(&repository.verified, cluster, keyset)?;
    let place = Place::PersonCert(cluster.clone(), actor.name.clone(), Profile::BreakGlass);
    let opened = vec![SealedName::Keyset(keyset, generation).to_string()];
    let mut report = IssueReport::new(cluster, std::iter::once(place), opened, session);
    report.reason = reason.to_owned();
    let mut record = new_record(&repository.verified, &actor.name, session.now, "cert issue break-glass")?;
    record.accepted = issuing::accepted(session, &repository.verified)?;
    record.reason = reason.to_owned();
    if session.settings.dry_run {
        return Ok(report);
    }
    let mut plan = Plan::default();
    repository.work()?.check_writable(&plan.edited)?;
    let authorities = issuing::open_authorities(repository, &mut actor, cluster, &[keyset].into())?;
    let own_key = {
        let (epoch, of) = (repository.epoch()?, repository.cluster(cluster)?);
        let recipients = Recipients::of(&repository.verified, epoch, of, session)?;
        let target = Target { epoch, name: cluster, cluster: of, config: &config, recipients: &recipients };
        let (issued, pem, own_key) = own_break_glass(session, repository, &target, &authorities, (&actor.name, life))?;
        plan.write(&issued.place, pem);
        record.issued.push(issued);
        own_key
    };
    report.fill(&record.issued);
    report.key = Some(own_key.path.display().to_string());
    plan.record(record);
    let title = format!("Issue break-glass for {} in {cluster}", actor.name);
    report.written = own_key.keep(|| plan.carry_out(session, repository, &mut actor, &title, reason))?;
    Ok(report)
}

fn break_glass_life(repository: &Repository, config: &ClusterConfig, lifetime: Option<Span>) -> Result<Span, Failure> {
    let bound = repository.epoch()?.policy.max_break_glass;
    match lifetime {
        Some(lifetime) if lifetime > bound => {
            let what = format!("a break-glass certificate lives at most {bound} here, and {lifetime} was asked for");
            Err(Failure::refused(what).help(Remedy::Kluis("trust show".to_owned())))
        }
        Some(lifetime) => Ok(lifetime),
        None if config.lifetime.break_glass > bound => Ok(bound),
        None => Ok(config.lifetime.break_glass),
    }
}

fn check_break_glass(repository: &Repository, cluster: &ClusterName, actor: &Actor) -> Result<(), Failure> {
    let of = repository.cluster(cluster)?;
    issuing::check_issuer(cluster, of, &actor.name)?;
    let needed = repository.epoch()?.threshold.break_glass;
    if needed > 1 {
        let what = format!(
            "a break-glass certificate takes {needed} issuers here, so nobody issues one alone: it takes a request \
             that {needed} issuers approve"
        );
        return Err(Failure::refused(what).help(Remedy::Kluis("trust show".to_owned())));
    }
    if !of.groups.contains_key(&actor.name) {
        let help = Remedy::Kluis(format!("person update {} --group {cluster}=kluis:admins", actor.name));
        return Err(Failure::refused(format!("the epoch gives {} no groups on {cluster}", actor.name)).help(help));
    }
    Ok(())
}
