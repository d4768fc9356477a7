//! `cluster new`: makes a cluster's authorities, keys and certificates, seals them, and drafts the epoch that
//! lists them, all in one change set: two signatures, and nothing is opened.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Serialize;

use super::super::draft::{Draft, check_signed};
use super::super::failure::Failure;
use super::super::issuing;
use super::super::plan::{Plan, Written, new_record};
use super::super::secrets::Recipients;
use super::super::session::{Actor, Gate, Repository, Session};
use super::making::Making;
use crate::model::{
    ClusterConfig, ClusterName, Digest, Distribution, Generation, HexId, Keyset, PersonName, Place, Profile, Remedy,
    SealedName, Span, Time, displayed,
};
use crate::trust::{Cluster, TrustRole};

/// The group that issuers may ask for; an export binds it to `cluster-admin`.
const ADMINS: &str = "kluis:admins";

/// What the command line asks for.
pub struct Wanted {
    /// The name.
    pub name: ClusterName,
    /// The text of its cluster.toml.
    pub text: String,
    /// Where the text is from, for errors.
    pub source: String,
    /// To whom its secrets are sealed; the actor if empty.
    pub keyholders: BTreeSet<PersonName>,
    /// Who may issue; the actor if empty.
    pub issuers: BTreeSet<PersonName>,
    /// Whether the founder gets a break-glass certificate, and why.
    pub super_admin: Option<Option<String>>,
}

/// A generation that was made.
#[derive(Debug, Clone, Serialize)]
pub struct MadeKey {
    /// The keyset.
    pub keyset: Keyset,
    /// Its generation.
    pub generation: Generation,
    /// What the epoch lists: the hash of the certificate, or of the public key. None for the encryption key, and
    /// on a dry run.
    pub sha256: Option<Digest>,
    /// When the certificate ends.
    pub not_after: Option<Time>,
}

/// A node of the new cluster.
#[derive(Debug, Clone, Serialize)]
pub struct MadeNode {
    /// Its name.
    pub name: String,
    /// Its roles.
    pub roles: Vec<&'static str>,
    /// The profiles of its certificates.
    pub certificates: Vec<Profile>,
}

/// The founder's break-glass certificate.
#[derive(Debug, Clone, Serialize)]
pub struct MadeBreakGlass {
    /// Whose it is.
    pub person: PersonName,
    /// Its serial number; none on a dry run.
    pub serial: Option<String>,
    /// When it ends.
    pub not_after: Time,
    /// Where its key lies, sealed to its owner.
    pub key: Option<String>,
    /// Why.
    pub reason: String,
}

/// What was made; `data` of the report.
#[derive(Debug, Serialize)]
pub struct NewCluster {
    /// The name.
    pub cluster: ClusterName,
    /// The random id; none on a dry run.
    pub id: Option<HexId<16>>,
    /// The URL of the API.
    pub endpoint: String,
    /// The distribution.
    pub distribution: Distribution,
    /// The version of Kubernetes.
    pub kubernetes: String,
    /// The algorithm of its keys.
    pub algorithm: String,
    /// Authorities and keys.
    pub keysets: Vec<MadeKey>,
    /// The nodes.
    pub nodes: Vec<MadeNode>,
    /// To whom its secrets are sealed.
    pub keyholders: BTreeSet<PersonName>,
    /// Who may issue.
    pub issuers: BTreeSet<PersonName>,
    /// The founder's break-glass certificate, if asked for.
    pub break_glass: Option<MadeBreakGlass>,
    /// What was written.
    #[serde(flatten)]
    pub written: Written,
}

/// Makes the cluster.
pub fn new(session: &mut Session, wanted: &Wanted) -> Result<NewCluster, Failure> {
    let config =
        ClusterConfig::parse(&wanted.text).map_err(|error| Failure::usage(format!("{}: {error}", wanted.source)))?;
    issuing::check_config(&config)?;
    let mut repository = session.open(&Gate::Draft)?;
    let mut actor = session.actor(&repository.verified)?;
    check_signed(&repository.verified, &actor.name)?;
    check_name(&repository, &wanted.name)?;
    let accepted = issuing::accepted(session, &repository.verified)?;
    let reason = format!("cluster {}", wanted.name);
    let missing = || Failure::refused("there is no valid epoch").help(Remedy::Verify);
    let mut draft = Draft::start(&repository.verified, session.now, &reason).ok_or_else(missing)?;
    let people = People { keyholders: &wanted.keyholders, issuers: &wanted.issuers };
    let mut cluster = describe(&people, &config, &actor.name, session);
    check_people(&repository, &draft, &cluster, &actor.name, &wanted.name)?;
    let break_glass = plan_break_glass(session, wanted, &config, &draft, &actor.name)?;
    let mut report = planned(wanted, &config, &cluster, break_glass);
    // Whoever can't be sealed to is found before anybody is asked, or waits for keys.
    Recipients::of(&repository.verified, repository.epoch()?, &cluster, session)?;
    ask(session, &repository, &report, &config)?;
    if session.settings.dry_run {
        report.written.dry_run = true;
        report.written.epoch = Some(draft.epoch.number);
        report.written.paths = paths(&wanted.name, &report);
        return Ok(report);
    }
    let mut plan = Plan::default();
    repository.work()?.check_writable(&plan.edited)?;
    let mut record = new_record(&repository.verified, &actor.name, session.now, "cluster new")?;
    record.accepted = accepted;
    let mut making = Making { wanted, config: &config, record: &mut record, plan: &mut plan, report: &mut report };
    let own_key = making.everything(session, &repository, (&mut draft, &mut cluster), &actor)?;
    plan.record(record);
    plan.draft(draft);
    let title = format!("Make cluster {}", wanted.name);
    let commit = |session: &mut Session, repository: &mut Repository, actor: &mut Actor| {
        plan.carry_out(session, repository, actor, &title, config.endpoint.as_str())
    };
    report.written = match own_key {
        Some(own_key) => own_key.keep(|| commit(session, &mut repository, &mut actor))?,
        None => commit(session, &mut repository, &mut actor)?,
    };
    if let (Some(own), false) = (&report.break_glass, report.written.missing_signatures.is_empty()) {
        session
            .notes
            .push(format!("break-glass lives until {}, and counts only once the draft is signed", own.not_after));
    }
    report.id = repository.verified.chain.all().last().and_then(|e| e.epoch.clusters.get(&wanted.name)).map(|c| c.id);
    Ok(report)
}

/// A name belongs to one id for ever, so a name that any epoch had is taken.
pub(super) fn check_name(repository: &Repository, name: &ClusterName) -> Result<(), Failure> {
    let chain = &repository.verified.chain;
    let Some(had) = chain.all().iter().rev().find(|epoch| epoch.epoch.clusters.contains_key(name)) else {
        return Ok(());
    };
    let now = chain.draft().or(chain.latest()).is_some_and(|e| e.epoch.number == had.epoch.number);
    Err(if now {
        Failure::usage(format!("there is a cluster {name} already")).help(Remedy::ClusterApply(name.clone()))
    } else {
        let number = had.epoch.number;
        Failure::usage(format!("the name {name} belonged to a cluster until epoch {number}; choose another"))
            .help(Remedy::ClusterList)
    })
}

/// Who is named for a cluster; nobody is the actor alone.
pub(super) struct People<'a> {
    pub keyholders: &'a BTreeSet<PersonName>,
    pub issuers: &'a BTreeSet<PersonName>,
}

/// The cluster as the epoch is to list it, without keysets yet.
pub(super) fn describe(
    wanted: &People<'_>,
    config: &ClusterConfig,
    actor: &PersonName,
    session: &mut Session,
) -> Cluster {
    let or_actor = |named: &BTreeSet<PersonName>| match named.is_empty() {
        true => BTreeSet::from([actor.clone()]),
        false => named.clone(),
    };
    let issuers = or_actor(wanted.issuers);
    let admins = || BTreeSet::from([ADMINS.to_owned()]);
    Cluster {
        id: HexId(session.rng.bytes()),
        api: config.endpoint.as_str().to_owned(),
        keyholders: or_actor(wanted.keyholders),
        groups: issuers.iter().map(|person| (person.clone(), admins())).collect(),
        issuers,
        retired: false,
        keysets: BTreeMap::new(),
    }
}

/// Everyone named is a person of the latest valid epoch and stays the same in the draft, since nothing is sealed
/// to a person before an epoch that lists them is valid. The actor is among them: the record that brings the
/// cluster is theirs, and who made its keys could have kept them anyway.
pub(super) fn check_people(
    repository: &Repository,
    draft: &Draft,
    cluster: &Cluster,
    actor: &PersonName,
    name: &ClusterName,
) -> Result<(), Failure> {
    let latest = repository.epoch()?;
    for person in cluster.keyholders.iter().chain(&cluster.issuers) {
        let Some(now) = latest.persons.get(person) else {
            let what = match draft.epoch.persons.contains_key(person) {
                true => {
                    format!("{person} is in the draft alone: nothing is sealed to them before it has its signatures")
                }
                false => format!("no epoch lists a person {person}"),
            };
            return Err(Failure::refused(what).help(Remedy::PersonList));
        };
        if now.role == TrustRole::Recovery {
            let what = format!("{person} is a recovery person, who signs epochs and may be nothing else");
            return Err(Failure::refused(what).help(Remedy::PersonList));
        }
        if draft.epoch.persons.get(person) != Some(now) {
            let what = format!("{person} leaves or changes in the draft: have that signed first");
            return Err(Failure::refused(what).help(Remedy::TrustSign));
        }
    }
    for (people, what, flag) in
        [(&cluster.keyholders, "keyholder", "keyholder"), (&cluster.issuers, "issuer", "issuer")]
    {
        if !people.contains(actor) {
            let what = format!(
                "who makes a cluster is its {what} at first: its first record is yours. Name yourself with --{flag} \
                 too, and step back afterwards: kluis person update {actor} --no-{flag} {name}"
            );
            return Err(Failure::usage(what));
        }
    }
    Ok(())
}

/// The founder's break-glass certificate (DESIGN 5): only where one issuer is enough for one.
fn plan_break_glass(
    session: &Session,
    wanted: &Wanted,
    config: &ClusterConfig,
    draft: &Draft,
    actor: &PersonName,
) -> Result<Option<MadeBreakGlass>, Failure> {
    let Some(reason) = &wanted.super_admin else { return Ok(None) };
    let needed = draft.epoch.threshold.break_glass;
    if needed > 1 {
        let what = format!(
            "a break-glass certificate takes {needed} issuers here, so --super-admin can't issue one along with the \
             cluster: leave it out, and ask for one afterwards"
        );
        let help = format!("request new -c {} --break-glass --reason TEXT", wanted.name);
        return Err(Failure::refused(what).help(Remedy::Kluis(help)));
    }
    let default = match config.distribution {
        Distribution::Kubeadm => format!("first kubeadm init of {}", wanted.name),
        _ => format!("first start of {}", wanted.name),
    };
    let reason = reason.clone().filter(|reason| !reason.is_empty()).unwrap_or(default);
    let life = bounded(config.lifetime.break_glass, draft.epoch.policy.max_break_glass);
    let not_after = session.now.plus(life);
    Ok(Some(MadeBreakGlass { person: actor.clone(), serial: None, not_after, key: None, reason }))
}

/// The shorter of two.
pub(super) fn bounded(wanted: Span, bound: Span) -> Span {
    if wanted > bound { bound } else { wanted }
}

fn planned(
    wanted: &Wanted,
    config: &ClusterConfig,
    cluster: &Cluster,
    break_glass: Option<MadeBreakGlass>,
) -> NewCluster {
    let keysets = config.distribution.keysets().iter().copied();
    let made = |keyset| MadeKey { keyset, generation: Generation::FIRST, sha256: None, not_after: None };
    let node = |node: &crate::model::Node| MadeNode {
        name: node.name.to_string(),
        roles: node.roles.iter().map(|role| role.as_str()).collect(),
        certificates: node.profiles(config.distribution).collect(),
    };
    NewCluster {
        cluster: wanted.name.clone(),
        id: None,
        endpoint: config.endpoint.as_str().to_owned(),
        distribution: config.distribution,
        kubernetes: config.kubernetes.to_string(),
        algorithm: config.algorithm.to_string(),
        keysets: keysets.map(made).collect(),
        nodes: config.nodes.iter().map(node).collect(),
        keyholders: cluster.keyholders.clone(),
        issuers: cluster.issuers.clone(),
        break_glass,
        written: Written::default(),
    }
}

/// The paths that would be written, as far as they are known before anything is made.
fn paths(name: &ClusterName, report: &NewCluster) -> Vec<String> {
    let mut places = vec![Place::Config(name.clone())];
    for made in &report.keysets {
        match made.keyset {
            Keyset::ServiceAccount => places.push(Place::ServiceAccount(name.clone(), made.generation)),
            keyset if keyset.is_ca() => places.push(Place::Ca(name.clone(), keyset, made.generation)),
            _ => {}
        }
        places.push(Place::Sealed(name.clone(), SealedName::Keyset(made.keyset, made.generation)));
    }
    for node in &report.nodes {
        let Ok(node_name) = crate::model::NodeName::parse(&node.name) else { continue };
        let certs = node.certificates.iter().map(|p| Place::NodeCert(name.clone(), node_name.clone(), *p));
        places.extend(certs);
        if !node.certificates.is_empty() {
            places.push(Place::Sealed(name.clone(), SealedName::Node(node_name)));
        }
    }
    if let Some(own) = &report.break_glass {
        places.push(Place::PersonCert(name.clone(), own.person.clone(), Profile::BreakGlass));
    }
    let mut paths: Vec<String> = places.iter().map(ToString::to_string).collect();
    paths.sort();
    paths
}

fn in_words(keyset: Keyset) -> &'static str {
    match keyset {
        Keyset::Encryption => "encryption at rest",
        Keyset::Tokens => "join tokens",
        keyset => keyset.as_str(),
    }
}

/// Shows what will be made, and asks.
fn ask(
    session: &mut Session,
    repository: &Repository,
    report: &NewCluster,
    config: &ClusterConfig,
) -> Result<(), Failure> {
    let question = format!("Make cluster {}?", report.cluster);
    if session.settings.yes || !session.terminal.is_interactive() {
        return session.confirm(&question);
    }
    let epoch = repository.epoch()?;
    let mut text = format!(
        "Cluster {} ({} {}, {}, {})\n",
        report.cluster, report.distribution, report.kubernetes, report.endpoint, report.algorithm
    );
    let life = config.lifetime.authority;
    let (authorities, keys): (Vec<Keyset>, Vec<Keyset>) =
        report.keysets.iter().map(|made| made.keyset).partition(|keyset| keyset.is_ca());
    let listed = |keysets: &[Keyset]| keysets.iter().map(|keyset| in_words(*keyset)).collect::<Vec<_>>().join(", ");
    let _ = writeln!(text, "  authorities   {}, for {life}", listed(&authorities));
    let _ = writeln!(text, "  keys          {}", listed(&keys));
    for node in &report.nodes {
        let (name, roles, count) = (&node.name, node.roles.join(", "), node.certificates.len());
        let _ =
            writeln!(text, "  node          {name} ({roles}): {count} certificates for {}", config.lifetime.component);
    }
    for person in &report.keyholders {
        let cert = epoch.persons.get(person).map(|found| found.cert.to_string()).unwrap_or_default();
        let _ = writeln!(text, "  sealed to     {person} ({cert})");
    }
    let _ = writeln!(text, "  issuers       {}", super::super::names(&report.issuers));
    if let Some(own) = &report.break_glass {
        let (person, end, why) = (&own.person, own.not_after, displayed(&own.reason));
        let _ = writeln!(text, "  BREAK-GLASS   {person} is system:masters until {end}: {why}");
    }
    session.confirm(&format!("{text}{question}"))
}
