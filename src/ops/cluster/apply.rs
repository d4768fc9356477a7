//! `cluster apply`: brings certificates in line with cluster.toml as it lies in the work tree, edited or not.
//! Issues what is newly asked for, takes away what belongs to no node any more, and takes the edited file along.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Serialize;

use super::super::cert::node::kept_by_node;
use super::super::draft::{Draft, clusters_in_words};
use super::super::failure::Failure;
use super::super::issuing::{self, BundleWork, NodeWork, Step};
use super::super::plan::{Plan, Written, new_record};
use super::super::session::{Gate, Repository, Session};
use crate::model::{
    ClusterConfig, ClusterName, Digest, Host, Keyset, Node, Place, Profile, Remedy, SealedName, displayed,
};
use crate::pki::{self, Facts};
use crate::trust::current::{Vouch, Vouched};
use crate::trust::record::Config;
use crate::trust::{Cluster, Verified, keyset_of, phases};

/// A change of the API endpoint, which takes an epoch.
#[derive(Debug, Clone, Serialize)]
pub struct ApiChange {
    /// What the latest epoch says.
    pub from: String,
    /// What cluster.toml says.
    pub to: String,
}

/// What happens to one cluster.
#[derive(Debug, Serialize)]
pub struct ClusterChange {
    /// Its name.
    pub cluster: ClusterName,
    /// Whether an edited cluster.toml goes on record.
    pub config: bool,
    /// The endpoint, if it is another.
    pub api: Option<ApiChange>,
    /// Certificates that are issued, with new keys.
    pub issue: Vec<Step>,
    /// Files that are removed.
    pub remove: Vec<Step>,
    /// Certificates that no verifier would take: the name constraints of their CA exclude a name. They wait for a new
    /// generation of it.
    pub excluded: Vec<Step>,
    /// Sealed files that are opened.
    pub opens: Vec<String>,
}

/// What was applied; `data` of the report.
#[derive(Debug, Serialize)]
pub struct Applied {
    /// The clusters where something happens, by name.
    pub clusters: Vec<ClusterChange>,
    /// What was written.
    #[serde(flatten)]
    pub written: Written,
}

/// One cluster's work.
struct Work {
    name: ClusterName,
    config: ClusterConfig,
    /// Whoever could write to the work tree may have edited it too: what follows from it is shown before it is done.
    edited: Option<Vec<u8>>,
    api: Option<ApiChange>,
    nodes: Vec<NodeWork>,
    /// What can't be issued by today's CAs.
    excluded: Vec<Step>,
    /// Files of nodes that are gone.
    gone: Vec<(Place, String)>,
}

impl Work {
    fn is_empty(&self) -> bool {
        self.edited.is_none() && self.api.is_none() && self.nodes.is_empty() && self.gone.is_empty()
    }
}

/// Applies the desired state of `clusters`.
pub fn apply(session: &mut Session, clusters: &[ClusterName]) -> Result<Applied, Failure> {
    let mut repository = session.open(&Gate::Edited(clusters.to_vec()))?;
    let mut works = Vec::new();
    for name in clusters {
        let work = compare(&repository, name)?;
        if work.is_empty() {
            // There is nothing to ask about or to write, but that something is missing is said all the same.
            session.notes.extend(work.excluded.iter().map(|step| format!("not issued: {}: {}", step.path, step.why)));
        } else {
            works.push(work);
        }
    }
    let mut applied = Applied { clusters: changes(&repository, &works)?, written: Written::default() };
    applied.written.dry_run = session.settings.dry_run;
    if works.is_empty() {
        return Ok(applied);
    }
    let mut actor = session.actor(&repository.verified)?;
    for work in &works {
        issuing::check_issuer(&work.name, repository.cluster(&work.name)?, &actor.name)?;
    }
    let mut record = new_record(&repository.verified, &actor.name, session.now, "cluster apply")?;
    if works.iter().any(|work| work.nodes.iter().any(|node| !node.fresh.is_empty())) {
        record.accepted = issuing::accepted(session, &repository.verified)?;
    }
    ask(session, &applied)?;
    let draft = draft(session, &repository, &works)?;
    if session.settings.dry_run {
        let steps = applied.clusters.iter().flat_map(|change| change.issue.iter().chain(&change.remove));
        applied.written.paths = steps.map(|step| step.path.clone()).collect();
        applied.written.epoch = draft.map(|draft| draft.epoch.number);
        return Ok(applied);
    }
    let mut plan = Plan::default();
    for work in &works {
        if let Some(bytes) = &work.edited {
            let place = Place::Config(work.name.clone());
            record.config.push(Config { cluster: work.name.clone(), sha256: Digest::of(bytes) });
            plan.edited.insert(place.to_string());
            plan.write(&place, bytes.clone());
        }
        for (place, _) in &work.gone {
            plan.changes.removes.insert(place.to_string());
            record.removed.push(place.clone());
        }
    }
    // carry_out looks again; here, so that no touch or passphrase is for nothing.
    repository.work()?.check_writable(&plan.edited)?;
    for work in &works {
        let of = (&work.name, &work.config);
        issuing::carry_out(session, &repository, &mut actor, of, &work.nodes, (&mut record, &mut plan))?;
    }
    // An endpoint alone is the epoch's business; a record that says nothing would be a heartbeat.
    if !record.is_heartbeat() {
        plan.record(record);
    }
    if let Some(draft) = draft {
        plan.draft(draft);
    }
    let names = works.iter().map(|work| work.name.as_str()).collect::<Vec<_>>().join(", ");
    let title = format!("Apply cluster.toml of {names}");
    applied.written = plan.carry_out(session, &mut repository, &mut actor, &title, &summary(&applied))?;
    Ok(applied)
}

/// The epoch that says the new endpoints, if there are any.
fn draft(session: &Session, repository: &Repository, works: &[Work]) -> Result<Option<Draft>, Failure> {
    let moved: Vec<(&ClusterName, &ApiChange)> =
        works.iter().filter_map(|work| Some((&work.name, work.api.as_ref()?))).collect();
    if moved.is_empty() {
        return Ok(None);
    }
    let reason = format!("another endpoint of {}", clusters_in_words(moved.iter().map(|(name, _)| *name)));
    let missing = || Failure::refused("there is no valid epoch").help(Remedy::Verify);
    let mut draft = Draft::start(&repository.verified, session.now, &reason).ok_or_else(missing)?;
    for (name, change) in moved {
        if let Some(cluster) = draft.epoch.clusters.get_mut(name) {
            cluster.api.clone_from(&change.to);
        }
    }
    Ok(Some(draft))
}

/// Compares a cluster with its description.
fn compare(repository: &Repository, name: &ClusterName) -> Result<Work, Failure> {
    let verified = &repository.verified;
    let cluster = repository.cluster(name)?;
    if cluster.retired {
        return Err(Failure::refused(format!("cluster {name} is retired: nothing is issued for it any more")));
    }
    let place = Place::Config(name.clone());
    let missing = || Failure::refused(format!("cluster {name} has no cluster.toml")).help(Remedy::Verify);
    let config = verified.current.configs.get(name).cloned().ok_or_else(missing)?;
    issuing::check_config(&config)?;
    let bytes = verified.tree.bytes(&place.to_string()).unwrap_or_default();
    let on_record = match verified.current.paths.get(&place) {
        Some(Vouched { vouch: Vouch::Config(sha256), .. }) => Some(*sha256),
        _ => None,
    };
    let edited = (on_record != Some(Digest::of(bytes))).then(|| bytes.to_vec());
    let moved = cluster.api != config.endpoint.as_str();
    let api = moved.then(|| ApiChange { from: cluster.api.clone(), to: config.endpoint.as_str().to_owned() });
    let (mut nodes, mut excluded) = (Vec::new(), Vec::new());
    for node in &config.nodes {
        let work = of_node(verified, name, node, &config, &mut excluded);
        nodes.extend((!work.is_empty()).then_some(work));
    }
    let gone = gone_nodes(verified, name, &config);
    Ok(Work { name: name.clone(), config, edited, api, nodes, excluded, gone })
}

/// What a node that is described lacks, and has too much of. What its CAs can't issue goes to `excluded`.
fn of_node(
    verified: &Verified,
    name: &ClusterName,
    node: &Node,
    config: &ClusterConfig,
    excluded: &mut Vec<Step>,
) -> NodeWork {
    let bundle = Place::Sealed(name.clone(), SealedName::Node(node.name.clone()));
    let has_bundle = is_sealed(verified, &bundle);
    let (fresh, gone, bundle) = (Vec::new(), Vec::new(), BundleWork::New);
    let mut work = NodeWork { node: node.clone(), fresh, gone, bundle, public: BTreeMap::new() };
    // Keys that stay on the node are certified again as they are: whoever has them proved it once.
    let kept = kept_by_node(verified, name, &node.name);
    let mut stays = false;
    for profile in node.profiles(config.distribution) {
        let place = Place::NodeCert(name.clone(), node.name.clone(), profile);
        let why = match verified.current.leaves.get(&place) {
            _ if !has_bundle && !kept.contains_key(&profile) => Some("its node has no keys yet".to_owned()),
            None => Some("there is none yet".to_owned()),
            Some(_) if !of_issuing(verified, name, profile, &place) => Some("its CA issues no more".to_owned()),
            Some(facts) => difference(facts, profile, node, config),
        };
        let why = match (why, excluded_by(verified, name, (profile, node, config))) {
            (Some(_), Some(keyset)) => {
                let fix = Remedy::Kluis(format!("rotate start {keyset} -c {name}"));
                let why = format!("the name constraints of its CA exclude a name of it; {fix} makes one that has it");
                excluded.push(Step { path: place.to_string(), why });
                stays |= has_bundle && verified.current.leaves.contains_key(&place) && !kept.contains_key(&profile);
                continue;
            }
            (why, _) => why,
        };
        match why {
            Some(why) => {
                work.public.extend(kept.get(&profile).map(|spki| (profile, spki.clone())));
                work.fresh.push((profile, why));
            }
            None => stays |= !kept.contains_key(&profile),
        }
    }
    for (place, profile) in certificates(verified, name, node) {
        if !node.profiles(config.distribution).any(|wanted| wanted == profile) {
            work.gone.push((place, format!("{} has no such role any more", node.name)));
        }
    }
    let bundled_goes = work.gone.iter().any(|(place, _)| !is_kept(&kept, place));
    work.bundle = match (stays && !work.is_empty(), work.new_keys() > 0 || bundled_goes) {
        (_, false) => BundleWork::Keep,
        (true, true) => BundleWork::Open,
        (false, true) => BundleWork::New,
    };
    work
}

/// The keyset whose issuing CA may not vouch for a name that the certificate has to have.
fn excluded_by(
    verified: &Verified,
    name: &ClusterName,
    (profile, node, config): (Profile, &Node, &ClusterConfig),
) -> Option<Keyset> {
    let cluster = verified.chain.latest()?.epoch.clusters.get(name)?;
    let keyset = keyset_of(cluster, profile);
    let states = verified.current.states.get(&(name.clone(), keyset))?;
    let issuing = phases::issuing(states).first().copied()?;
    let (_, sha256) = cluster.generations(keyset).find(|(generation, _)| *generation == issuing)?;
    let authority = verified.authorities.get(&sha256)?;
    let sans = pki::subject_alt_names(profile, node, config);
    pki::check_names(&sans, authority).err().map(|_| keyset)
}

/// Whether a certificate is of the CA that issues: one that was made on another branch may be of a former one.
fn of_issuing(verified: &Verified, name: &ClusterName, profile: Profile, place: &Place) -> bool {
    let cluster = verified.chain.latest().and_then(|latest| latest.epoch.clusters.get(name));
    let Some((cluster, Vouched { vouch: Vouch::Issued(entry), .. })) = cluster.zip(verified.current.paths.get(place))
    else {
        return true;
    };
    let keyset = keyset_of(cluster, profile);
    let states = verified.current.states.get(&(name.clone(), keyset));
    let issuing = states.and_then(|states| phases::issuing(states).first().copied());
    let mut generations = cluster.generations(keyset);
    generations.any(|(generation, sha256)| Some(generation) == issuing && sha256 == entry.issuer)
}

fn is_kept(kept: &BTreeMap<Profile, Vec<u8>>, place: &Place) -> bool {
    matches!(place, Place::NodeCert(_, _, profile) if kept.contains_key(profile))
}

fn is_sealed(verified: &Verified, place: &Place) -> bool {
    matches!(verified.current.paths.get(place), Some(Vouched { vouch: Vouch::Sealed(_), .. }))
}

/// The current certificates of a node.
fn certificates(verified: &Verified, name: &ClusterName, node: &Node) -> Vec<(Place, Profile)> {
    let of_node = |place: &Place| match place {
        Place::NodeCert(cluster, owner, profile) if cluster == name && *owner == node.name => Some(*profile),
        _ => None,
    };
    verified.current.leaves.keys().filter_map(|place| Some((place.clone(), of_node(place)?))).collect()
}

/// Why a certificate is not what the description asks for; `None` if it is.
fn difference(facts: &Facts, profile: Profile, node: &Node, config: &ClusterConfig) -> Option<String> {
    let wanted: BTreeSet<Host> = pki::subject_alt_names(profile, node, config).into_iter().collect();
    let has: BTreeSet<Host> = facts.sans.iter().cloned().collect();
    let mut parts: Vec<String> = wanted.difference(&has).map(|host| format!("+{host}")).collect();
    parts.extend(has.difference(&wanted).map(|host| format!("-{host}")));
    parts.extend(facts.other_sans.iter().map(|name| format!("-{}", displayed(name))));
    let wanted: BTreeSet<String> = pki::organizations(profile, config).into_iter().collect();
    let has: BTreeSet<String> = facts.organizations.iter().cloned().collect();
    parts.extend(wanted.difference(&has).map(|group| format!("+O={group}")));
    parts.extend(has.difference(&wanted).map(|group| format!("-O={}", displayed(group))));
    (!parts.is_empty()).then(|| parts.join(" "))
}

/// Certificates and bundles of nodes that are not described any more.
fn gone_nodes(verified: &Verified, name: &ClusterName, config: &ClusterConfig) -> Vec<(Place, String)> {
    let is_gone = |place: &Place| match place {
        Place::NodeCert(cluster, node, _) | Place::Sealed(cluster, SealedName::Node(node)) => {
            (cluster == name && config.node(node).is_none()).then(|| format!("{node} is gone"))
        }
        _ => None,
    };
    let there = verified.current.paths.iter().filter(|(_, vouched)| vouched.vouch != Vouch::Removed);
    there.filter_map(|(place, _)| Some((place.clone(), is_gone(place)?))).collect()
}

fn changes(repository: &Repository, works: &[Work]) -> Result<Vec<ClusterChange>, Failure> {
    let mut changes = Vec::new();
    for work in works {
        let cluster: &Cluster = repository.cluster(&work.name)?;
        let fresh = work.nodes.iter().flat_map(|node| node.fresh.iter().map(move |step| (node, step)));
        let issue = fresh.map(|(node, (profile, why))| {
            let place = Place::NodeCert(work.name.clone(), node.node.name.clone(), *profile);
            Step { path: place.to_string(), why: why.clone() }
        });
        let gone = work.gone.iter().chain(work.nodes.iter().flat_map(|node| &node.gone));
        let remove = gone.map(|(place, why)| Step { path: place.to_string(), why: why.clone() });
        changes.push(ClusterChange {
            cluster: work.name.clone(),
            config: work.edited.is_some(),
            api: work.api.clone(),
            issue: issue.collect(),
            remove: remove.collect(),
            excluded: work.excluded.clone(),
            opens: issuing::opens(repository, (&work.name, cluster), &work.nodes)?,
        });
    }
    changes.sort_by(|a, b| a.cluster.cmp(&b.cluster));
    Ok(changes)
}

fn summary(applied: &Applied) -> String {
    let issued: usize = applied.clusters.iter().map(|change| change.issue.len()).sum();
    let removed: usize = applied.clusters.iter().map(|change| change.remove.len()).sum();
    format!("{issued} certificates issued, {removed} files removed.")
}

/// Shows what will happen, and asks.
fn ask(session: &mut Session, applied: &Applied) -> Result<(), Failure> {
    let names = applied.clusters.iter().map(|change| change.cluster.as_str()).collect::<Vec<_>>().join(", ");
    let question = format!("Apply cluster.toml of {names}?");
    if session.settings.yes || session.settings.dry_run || !session.terminal.is_interactive() {
        return session.confirm(&question);
    }
    let mut text = String::new();
    for change in &applied.clusters {
        for line in lines(change) {
            let _ = writeln!(text, "{line}");
        }
    }
    session.confirm(&format!("{text}{question}"))
}

/// One cluster's changes for people, a line each.
pub fn lines(change: &ClusterChange) -> Vec<String> {
    let prefix = format!("clusters/{}/", change.cluster);
    let short = |path: &str| path.strip_prefix(&prefix).unwrap_or(path).to_owned();
    let mut lines = vec![format!("cluster {}", change.cluster)];
    if change.config {
        lines.push("  record  cluster.toml as edited".to_owned());
    }
    if let Some(api) = &change.api {
        lines.push(format!("  draft   the next epoch, with endpoint {} for {}", api.to, displayed(&api.from)));
    }
    lines.extend(change.issue.iter().map(|step| format!("  issue   {}  ({})", short(&step.path), step.why)));
    lines.extend(change.remove.iter().map(|step| format!("  remove  {}  ({})", short(&step.path), step.why)));
    lines.extend(change.excluded.iter().map(|step| format!("  wait    {}  ({})", short(&step.path), step.why)));
    lines.extend(change.opens.iter().map(|name| format!("  open    {name}")));
    lines
}
