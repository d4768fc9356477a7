//! `cluster new`: makes a cluster's authorities, keys and certificates, seals them, and drafts the epoch that
//! lists them, all in one change set: two signatures, and nothing is opened.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Serialize;
use zeroize::Zeroizing;

use super::super::draft::Draft;
use super::super::failure::Failure;
use super::super::issuing::{self, Authority, BACKDATE, Bundle, Content, NodeWork, Opened, Target};
use super::super::own_keys;
use super::super::plan::{Plan, Written, new_record};
use super::super::secrets::Recipients;
use super::super::session::{Actor, Gate, Repository, Session};
use crate::model::{
    ClusterConfig, ClusterName, Digest, Generation, HexId, Host, KeyUse, Keyset, PersonName, Place, Profile, Remedy,
    SealedName, Span, State, Time, displayed,
};
use crate::pki::{self, CaSpec, Facts, NameConstraints, PrivateKey, Validity};
use crate::seal::{KeyBody, SealedKey};
use crate::secret::Secret;
use crate::trust::record::{Config, Phase, Record};
use crate::trust::{Cluster, TrustRole};

/// The authorities of a kubeadm cluster.
const AUTHORITIES: [Keyset; 3] = [Keyset::Kubernetes, Keyset::Etcd, Keyset::FrontProxy];
/// The group that issuers may ask for; an export binds it to `cluster-admin`.
const ADMINS: &str = "kluis:admins";

/// What the command line asks for.
pub struct Wanted {
    /// The name.
    pub name: ClusterName,
    /// The text of its cluster.toml.
    pub text: String,
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
    let config = ClusterConfig::parse(&wanted.text)
        .map_err(|error| Failure::usage(format!("cluster.toml of {}: {error}", wanted.name)))?;
    issuing::check_distribution(config.distribution)?;
    let mut repository = session.open(&Gate::Draft)?;
    let mut actor = session.actor(&repository.verified)?;
    check_name(&repository, &wanted.name)?;
    let accepted = issuing::accepted(session, &repository.verified)?;
    let reason = format!("cluster {}", wanted.name);
    let missing = || Failure::refused("there is no valid epoch").help(Remedy::Init);
    let mut draft = Draft::start(&repository.verified, session.now, &reason).ok_or_else(missing)?;
    let mut cluster = describe(wanted, &config, &actor.name, session);
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
    report.id = repository.verified.chain.all().last().and_then(|e| e.epoch.clusters.get(&wanted.name)).map(|c| c.id);
    Ok(report)
}

/// A name belongs to one id for ever, so a name that any epoch had is taken.
fn check_name(repository: &Repository, name: &ClusterName) -> Result<(), Failure> {
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

fn describe(wanted: &Wanted, config: &ClusterConfig, actor: &PersonName, session: &mut Session) -> Cluster {
    let or_actor = |named: &BTreeSet<PersonName>| match named.is_empty() {
        true => BTreeSet::from([actor.clone()]),
        false => named.clone(),
    };
    let issuers = or_actor(&wanted.issuers);
    let admins = || BTreeSet::from([ADMINS.to_owned()]);
    Cluster {
        id: HexId(session.rng.bytes()),
        api: config.endpoint.as_str().to_owned(),
        keyholders: or_actor(&wanted.keyholders),
        groups: issuers.iter().map(|person| (person.clone(), admins())).collect(),
        issuers,
        retired: false,
        keysets: BTreeMap::new(),
    }
}

/// Everyone named is a person of the latest valid epoch and stays the same in the draft, since nothing is sealed
/// to a person before an epoch that lists them is valid. The actor is among them: the record that brings the
/// cluster is theirs, and who made its keys could have kept them anyway.
fn check_people(
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
             cluster. Leave it out; afterwards ask for one with a request, which {needed} issuers approve"
        );
        return Err(Failure::refused(what).help(Remedy::Kluis("trust show".to_owned())));
    }
    let default = format!("first kubeadm init of {}", wanted.name);
    let reason = reason.clone().filter(|reason| !reason.is_empty()).unwrap_or(default);
    let life = bounded(config.lifetime.break_glass, draft.epoch.policy.max_break_glass);
    let not_after = session.now.plus(life);
    Ok(Some(MadeBreakGlass { person: actor.clone(), serial: None, not_after, key: None, reason }))
}

/// The shorter of two.
fn bounded(wanted: Span, bound: Span) -> Span {
    if wanted > bound { bound } else { wanted }
}

fn planned(
    wanted: &Wanted,
    config: &ClusterConfig,
    cluster: &Cluster,
    break_glass: Option<MadeBreakGlass>,
) -> NewCluster {
    let keysets = AUTHORITIES.into_iter().chain([Keyset::ServiceAccount, Keyset::Encryption]);
    let made = |keyset| MadeKey { keyset, generation: Generation::FIRST, sha256: None, not_after: None };
    let node = |node: &crate::model::Node| MadeNode {
        name: node.name.to_string(),
        roles: node.roles.iter().map(|role| role.as_str()).collect(),
        certificates: node.profiles().collect(),
    };
    NewCluster {
        cluster: wanted.name.clone(),
        id: None,
        endpoint: config.endpoint.as_str().to_owned(),
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
        places.push(Place::Sealed(name.clone(), SealedName::Node(node_name)));
    }
    if let Some(own) = &report.break_glass {
        places.push(Place::PersonCert(name.clone(), own.person.clone(), Profile::BreakGlass));
    }
    let mut paths: Vec<String> = places.iter().map(ToString::to_string).collect();
    paths.sort();
    paths
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
        "Cluster {} (kubeadm {}, {}, {})\n",
        report.cluster, report.kubernetes, report.endpoint, report.algorithm
    );
    let life = config.lifetime.authority;
    let _ = writeln!(text, "  authorities   kubernetes, etcd, front-proxy, for {life}");
    let _ = writeln!(text, "  keys          service-account, encryption at rest");
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

/// Making: keys, authorities, certificates, sealed files, into one record and one plan.
struct Making<'a> {
    wanted: &'a Wanted,
    config: &'a ClusterConfig,
    record: &'a mut Record,
    plan: &'a mut Plan,
    report: &'a mut NewCluster,
}

impl Making<'_> {
    fn everything(
        &mut self,
        session: &mut Session,
        repository: &Repository,
        (draft, cluster): (&mut Draft, &mut Cluster),
        actor: &Actor,
    ) -> Result<Option<own_keys::OwnKey>, Failure> {
        let name = &self.wanted.name;
        let works: Vec<NodeWork> = self.config.nodes.iter().map(all_of).collect();
        let leaves: usize = works.iter().map(|work| work.fresh.len()).sum();
        let mut keys = issuing::keys(session, self.config.algorithm, AUTHORITIES.len() + 1 + leaves).into_iter();
        let text = self.wanted.text.clone().into_bytes();
        self.record.config.push(Config { cluster: name.clone(), sha256: Digest::of(&text) });
        self.plan.write(&Place::Config(name.clone()), text);
        let mut opened = Opened::new();
        for (keyset, key) in AUTHORITIES.into_iter().zip(keys.by_ref()) {
            let certificate = self.authority(keyset, &key, session)?;
            cluster.keysets.insert(keyset, BTreeMap::from([(Generation::FIRST, Digest::of(&certificate))]));
            opened.insert(keyset, Authority { certificate, key });
        }
        let service_account = keys.next().ok_or_else(|| Failure::failed("too few keys were made"))?;
        self.service_account(&service_account, cluster);
        let recipients = Recipients::of(&repository.verified, repository.epoch()?, cluster, session)?;
        let epoch = draft.epoch.clone();
        let target = Target { epoch: &epoch, name, cluster, config: self.config, recipients: &recipients };
        self.seal_keysets(session, &target, &opened, service_account)?;
        for work in &works {
            let own = keys.by_ref().take(work.fresh.len()).collect();
            target.node(&opened, work, own, Bundle::new(), (session, self.record, self.plan))?;
        }
        let own_key = self.break_glass(session, repository, &target, &opened, actor)?;
        draft.epoch.clusters.insert(name.clone(), cluster.clone());
        Ok(own_key)
    }

    /// One authority. Its subject names its generation, so that no two of one cluster look alike (H.4).
    fn authority(&mut self, keyset: Keyset, key: &PrivateKey, session: &mut Session) -> Result<Vec<u8>, Failure> {
        let common_name = format!("{keyset}-ca-{}", Generation::FIRST);
        let validity = Validity {
            not_before: session.now.minus(BACKDATE),
            not_after: session.now.plus(self.config.lifetime.authority),
        };
        let hosts = constrained(keyset, self.config);
        let networks = if keyset == Keyset::Kubernetes { self.config.service_cidrs.as_slice() } else { &[] };
        let name_constraints = hosts.as_ref().map(|hosts| NameConstraints { hosts, networks });
        let spec = CaSpec { common_name: &common_name, validity, name_constraints };
        let der = pki::issue_ca(key, &spec, &mut session.rng);
        let facts = Facts::read(&der)?;
        self.plan.write(&Place::Ca(self.wanted.name.clone(), keyset, Generation::FIRST), pki::certificate_pem(&der));
        self.made(keyset, Some(facts.sha256), Some(facts.not_after));
        Ok(der)
    }

    fn service_account(&mut self, key: &PrivateKey, cluster: &mut Cluster) {
        let keyset = Keyset::ServiceAccount;
        cluster.keysets.insert(keyset, BTreeMap::from([(Generation::FIRST, key.spki_id())]));
        let place = Place::ServiceAccount(self.wanted.name.clone(), Generation::FIRST);
        self.plan.write(&place, pki::public_pem(&key.spki()));
        self.made(keyset, Some(key.spki_id()), None);
    }

    fn made(&mut self, keyset: Keyset, sha256: Option<Digest>, not_after: Option<Time>) {
        if let Some(made) = self.report.keysets.iter_mut().find(|made| made.keyset == keyset) {
            (made.sha256, made.not_after) = (sha256, not_after);
        }
    }

    /// Seals every keyset's first generation, one to a file, and lets it issue.
    fn seal_keysets(
        &mut self,
        session: &mut Session,
        target: &Target<'_>,
        opened: &Opened,
        service_account: PrivateKey,
    ) -> Result<(), Failure> {
        let mut bodies: Vec<(Keyset, KeyBody)> = Vec::new();
        for (keyset, authority) in opened {
            bodies.push((*keyset, KeyBody::Pkcs8(authority.key.to_pkcs8())));
        }
        bodies.push((Keyset::ServiceAccount, KeyBody::Pkcs8(service_account.to_pkcs8())));
        let bytes = Zeroizing::new(session.rng.bytes::<32>());
        let (salt, bytes) = (session.rng.bytes(), Secret::new(bytes.to_vec()));
        bodies.push((Keyset::Encryption, KeyBody::Symmetric { salt, bytes }));
        for (keyset, body) in bodies {
            let name = SealedName::Keyset(keyset, Generation::FIRST);
            let key = SealedKey { name: name.header_name(), body };
            target.seal(&name, &[key], (1, false), self.record, self.plan)?;
            self.record.phase.push(Phase {
                cluster: self.wanted.name.clone(),
                keyset,
                generation: Generation::FIRST,
                state: State::Issuing,
                gates: Vec::new(),
            });
        }
        Ok(())
    }

    /// The founder's own `system:masters`, named, short-lived and on record. Its key is sealed to them alone and
    /// never enters the repository, where every keyholder could open it.
    fn break_glass(
        &mut self,
        session: &mut Session,
        repository: &Repository,
        target: &Target<'_>,
        opened: &Opened,
        actor: &Actor,
    ) -> Result<Option<own_keys::OwnKey>, Failure> {
        let Some(own) = &mut self.report.break_glass else { return Ok(None) };
        self.record.reason = own.reason.clone();
        let life = bounded(self.config.lifetime.break_glass, target.epoch.policy.max_break_glass);
        let (issued, pem, own_key) = own_break_glass(session, repository, target, opened, (&actor.name, life))?;
        own.serial = Some(issued.serial.clone());
        own.not_after = issued.not_after;
        own.key = Some(own_key.path.display().to_string());
        self.plan.write(&issued.place, pem);
        self.record.issued.push(issued);
        Ok(Some(own_key))
    }
}

/// Issues `person`'s break-glass certificate with a new key, and seals the key to them alone.
pub(in super::super) fn own_break_glass(
    session: &mut Session,
    repository: &Repository,
    target: &Target<'_>,
    opened: &Opened,
    (person, life): (&PersonName, Span),
) -> Result<(crate::trust::record::Issued, Vec<u8>, own_keys::OwnKey), Failure> {
    let profile = Profile::BreakGlass;
    let keyset = crate::trust::keyset_of(target.cluster, profile);
    let missing = || Failure::refused(format!("the authority {keyset} of cluster {} is not open", target.name));
    let authority = opened.get(&keyset).ok_or_else(missing)?;
    let key = PrivateKey::generate(target.config.algorithm, &mut session.rng);
    let content = Content {
        place: Place::PersonCert(target.name.clone(), person.clone(), profile),
        organizations: &pki::organizations(profile, target.config),
        sans: &[],
        life,
    };
    let (issued, pem) = issuing::leaf(authority, &key, content, session.now, &mut session.rng)?;
    let place = (target.epoch, target.cluster);
    let own_key = own_keys::seal(session, &repository.verified, place, person, (profile, &key))?;
    Ok((issued, pem, own_key))
}

/// Every certificate of a new node.
fn all_of(node: &crate::model::Node) -> NodeWork {
    let fresh = node.profiles().map(|profile| (profile, "new".to_owned())).collect();
    NodeWork { node: node.clone(), fresh, gone: Vec::new(), opens_bundle: false }
}

/// The names that an authority is good for, where name constraints are asked for: those of every server that it
/// vouches for today, and everything below the cluster's domain. An authority of clients alone has none.
fn constrained(keyset: Keyset, config: &ClusterConfig) -> Option<Vec<Host>> {
    if !config.name_constraints {
        return None;
    }
    let mut hosts: Vec<Host> = Vec::new();
    for node in &config.nodes {
        let servers = node
            .profiles()
            .filter(|profile| profile.fallback_keyset() == keyset && !matches!(profile.key_use(), KeyUse::Client));
        for profile in servers {
            hosts.extend(pki::subject_alt_names(profile, node, config));
        }
    }
    if keyset == Keyset::Kubernetes {
        hosts.extend(Host::parse(&config.dns_domain));
        hosts.push(config.endpoint.host.clone());
        hosts.extend(config.extra_sans.iter().cloned());
    }
    hosts.sort();
    hosts.dedup();
    (!hosts.is_empty()).then_some(hosts)
}
