//! `cluster import`: adopts a cluster that runs. Seals the keys that it was handed, lists its authorities in the draft of the
//! next epoch, and makes nothing: no key, no certificate. What of the material is taken is decided by `import`; what a
//! cluster.toml says beside it is derived in `describe`.
//!
//! The keys were in plaintext before, and every copy of them goes on working. That is on record with each of them
//! (`imported`), and `status` recommends to rotate them.

mod describe;
mod reading;
mod sealing;

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Serialize;

use super::super::draft::{Draft, check_signed};
use super::super::failure::Failure;
use super::super::issuing;
use super::super::plan::{Plan, Written, new_record};
use super::super::requests::check_reason;
use super::super::secrets::Recipients;
use super::super::session::{Gate, Repository, Session};
use super::new;
use crate::import::{self, Found, Item, Source};
use crate::lint::What;
use crate::model::{
    ClusterConfig, ClusterName, Digest, Distribution, Finding, Generation, HexId, Keyset, PersonName, Place, Profile,
    Remedy, Time,
};
use crate::pki::{self, Facts};

pub use describe::{Description, Flags};

/// What the command line asks for.
pub struct Wanted {
    /// The name.
    pub name: ClusterName,
    /// A folder, a file, or `-` for standard input.
    pub from: PathBuf,
    /// The distribution.
    pub distribution: Distribution,
    /// What is said of the cluster.
    pub description: Description,
    /// To whom its secrets are sealed; the actor if empty.
    pub keyholders: BTreeSet<PersonName>,
    /// Who may issue; the actor if empty.
    pub issuers: BTreeSet<PersonName>,
    /// Why; where it came from if there is none.
    pub reason: Option<String>,
}

/// A generation that was adopted.
#[derive(Debug, Clone, Serialize)]
pub struct AdoptedKey {
    /// The keyset.
    pub keyset: Keyset,
    /// Its generation.
    pub generation: Generation,
    /// What the epoch lists: the hash of the certificate, or of the public key. None for what is symmetric.
    pub sha256: Option<Digest>,
    /// When the certificate ends.
    pub not_after: Option<Time>,
    /// Whether its private key, or the secret itself, is sealed here.
    pub sealed: bool,
}

/// A certificate of the node that the files are from.
#[derive(Debug, Clone, Serialize)]
pub struct AdoptedLeaf {
    /// The node.
    pub node: String,
    /// Its profile.
    pub profile: Profile,
    /// When it ends.
    pub not_after: Time,
}

/// What was adopted; `data` of the report.
#[derive(Debug, Serialize)]
pub struct Adopted {
    /// The name.
    pub cluster: ClusterName,
    /// The random id; none on a dry run.
    pub id: Option<HexId<16>>,
    /// What the material is.
    pub source: Source,
    /// The distribution.
    pub distribution: Distribution,
    /// The URL of the API.
    pub endpoint: String,
    /// The version of Kubernetes.
    pub kubernetes: String,
    /// The algorithm of keys that are made from now on.
    pub algorithm: String,
    /// Every file and item: taken, derived or left alone.
    pub items: Vec<Item>,
    /// Authorities, keys and secrets.
    pub keysets: Vec<AdoptedKey>,
    /// Certificates of nodes.
    pub certificates: Vec<AdoptedLeaf>,
    /// What a new cluster of this distribution would have, and this one has not.
    pub lacking: Vec<Keyset>,
    /// The nodes that cluster.toml has.
    pub nodes: Vec<String>,
    /// To whom its secrets are sealed.
    pub keyholders: BTreeSet<PersonName>,
    /// Who may issue.
    pub issuers: BTreeSet<PersonName>,
    /// Why, as it stands in the record.
    pub reason: String,
    /// What `lint` says of what was taken.
    pub lint: Vec<Finding>,
    /// What was written.
    #[serde(flatten)]
    pub written: Written,
}

/// Adopts the cluster.
pub fn import(session: &mut Session, wanted: &Wanted) -> Result<Adopted, Failure> {
    let files = reading::files(&wanted.from, wanted.distribution)?;
    let mut found = import::read(files, wanted.distribution, session.now)
        .map_err(|error| Failure::refused(error.to_string()).help(Remedy::Kluis("cluster import --help".to_owned())))?;
    let (text, source) = describe::text(wanted, &mut found)?;
    let config = ClusterConfig::parse(&text).map_err(|error| Failure::usage(format!("{source}: {error}")))?;
    if config.distribution != wanted.distribution {
        let what = format!("{source} says {}, and --distribution {}", config.distribution, wanted.distribution);
        return Err(Failure::usage(what));
    }
    issuing::check_config(&config)?;
    fit_leaves(&mut found, &config);
    let reason = wanted.reason.clone().filter(|reason| !reason.trim().is_empty());
    let reason = reason.unwrap_or_else(|| format!("adopted from {}", found.source.tool()));
    check_reason(&reason)?;
    let mut repository = session.open(&Gate::Draft)?;
    new::check_name(&repository, &wanted.name)?;
    let lint = judge(&repository, wanted, &config, &found, session.now)?;
    let mut report = planned(wanted, &config, &found, lint, reason)?;
    if session.settings.dry_run {
        report.written.dry_run = true;
        return Ok(report);
    }
    let mut actor = session.actor(&repository.verified)?;
    check_signed(&repository.verified, &actor.name)?;
    let accepted = issuing::accepted(session, &repository.verified)?;
    let missing = || Failure::refused("there is no valid epoch").help(Remedy::Verify);
    let title = format!("adopt cluster {}", wanted.name);
    let mut draft = Draft::start(&repository.verified, session.now, &title).ok_or_else(missing)?;
    let people = new::People { keyholders: &wanted.keyholders, issuers: &wanted.issuers };
    let mut cluster = new::describe(&people, &config, &actor.name, session);
    new::check_people(&repository, &draft, &cluster, &actor.name, &wanted.name)?;
    (report.keyholders, report.issuers) = (cluster.keyholders.clone(), cluster.issuers.clone());
    let mut plan = Plan::default();
    repository.work()?.check_writable(&plan.edited)?;
    let mut record = new_record(&repository.verified, &actor.name, session.now, "cluster import")?;
    (record.accepted, record.reason) = (accepted, report.reason.clone());
    // Whoever can't be sealed to is found before anything is signed.
    Recipients::of(&repository.verified, repository.epoch()?, &cluster, session)?;
    let sealing = sealing::Sealing { name: &wanted.name, config: &config, text, record: &mut record, plan: &mut plan };
    sealing.everything(session, &repository, (&mut draft, &mut cluster), found)?;
    plan.record(record);
    plan.draft(draft);
    let title = format!("Adopt cluster {}", wanted.name);
    report.written = plan.carry_out(session, &mut repository, &mut actor, &title, &report.reason)?;
    report.id = repository.verified.chain.all().last().and_then(|e| e.epoch.clusters.get(&wanted.name)).map(|c| c.id);
    Ok(report)
}

/// Leaves go to a node of cluster.toml that has such certificates; others stay where they are.
fn fit_leaves(found: &mut Found, config: &ClusterConfig) {
    let node = found.surroundings.node.clone();
    let named = config.nodes.iter().find(|one| Some(one.name.as_str()) == node.as_deref());
    let has: BTreeSet<Profile> = named.map(|node| node.profiles(config.distribution).collect()).unwrap_or_default();
    let foreign: Vec<Profile> = found.leaves.keys().copied().filter(|profile| !has.contains(profile)).collect();
    for profile in foreign {
        let why = match (&named, &node) {
            (Some(node), _) => format!("node {} has no certificate {profile} by its roles", node.name),
            (None, Some(node)) => format!("cluster.toml has no node {node}: --node {node}=ADDRESS:ROLE takes it along"),
            (None, None) => "whose node it is can't be told".to_owned(),
        };
        found.leave(profile, crate::model::displayed(&why));
    }
}

fn judge(
    repository: &Repository,
    wanted: &Wanted,
    config: &ClusterConfig,
    found: &Found,
    now: Time,
) -> Result<Vec<Finding>, Failure> {
    let name = &wanted.name;
    let mut files = Vec::new();
    for (keyset, authority) in &found.authorities {
        let place = Place::Ca(name.clone(), *keyset, Generation::FIRST);
        files.push((place, What::Bundle(*keyset), pki::certificate_pem(&authority.certificate)));
    }
    if let Some(one) = &found.service_account {
        let place = Place::ServiceAccount(name.clone(), Generation::FIRST);
        files.push((place, What::ServiceAccountPublic, pki::public_pem(&one.public)));
    }
    let node = config.nodes.iter().find(|one| Some(one.name.as_str()) == found.surroundings.node.as_deref());
    for (profile, leaf) in node.into_iter().flat_map(|_| &found.leaves) {
        let Some(node) = node else { continue };
        let place = Place::NodeCert(name.clone(), node.name.clone(), *profile);
        let what = What::Leaf(crate::lint::Role::Leaf(*profile));
        files.push((place, what, pki::certificate_pem(&leaf.certificate)));
    }
    let policy = repository.epoch()?.policy.max_break_glass;
    Ok(super::super::lint::adopted((name, config), &files, policy, now))
}

fn planned(
    wanted: &Wanted,
    config: &ClusterConfig,
    found: &Found,
    lint: Vec<Finding>,
    reason: String,
) -> Result<Adopted, Failure> {
    let mut keysets = Vec::new();
    let generation = Generation::FIRST;
    for (keyset, authority) in &found.authorities {
        let facts = Facts::read(&authority.certificate)?;
        let (sha256, not_after) = (Some(facts.sha256), Some(facts.not_after));
        keysets.push(AdoptedKey { keyset: *keyset, generation, sha256, not_after, sealed: authority.key.is_some() });
    }
    if let Some(one) = &found.service_account {
        let (sha256, sealed) = (Some(Digest::of(&one.public)), one.key.is_some());
        keysets.push(AdoptedKey { keyset: Keyset::ServiceAccount, generation, sha256, not_after: None, sealed });
    }
    let symmetric = |keyset| AdoptedKey { keyset, generation, sha256: None, not_after: None, sealed: true };
    keysets.extend(found.encryption.iter().map(|_| symmetric(Keyset::Encryption)));
    if !found.tokens.is_empty() {
        keysets.push(symmetric(Keyset::Tokens));
    }
    let lacks = |keyset: &&Keyset| keysets.iter().all(|known| known.keyset != **keyset);
    let lacking = config.distribution.keysets().iter().filter(lacks).copied().collect();
    let mut certificates = Vec::new();
    for (profile, leaf) in &found.leaves {
        let node = found.surroundings.node.clone().unwrap_or_default();
        let not_after = Facts::read(&leaf.certificate)?.not_after;
        certificates.push(AdoptedLeaf { node, profile: *profile, not_after });
    }
    Ok(Adopted {
        cluster: wanted.name.clone(),
        id: None,
        source: found.source,
        distribution: config.distribution,
        endpoint: config.endpoint.as_str().to_owned(),
        kubernetes: config.kubernetes.to_string(),
        algorithm: config.algorithm.to_string(),
        items: found.items.clone(),
        keysets,
        certificates,
        lacking,
        nodes: config.nodes.iter().map(|node| node.name.to_string()).collect(),
        keyholders: wanted.keyholders.clone(),
        issuers: wanted.issuers.clone(),
        reason,
        lint,
        written: Written::default(),
    })
}
