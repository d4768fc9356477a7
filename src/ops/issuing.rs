//! Issuing: who may, what a node's certificates are to be, and making them. Shared by `cluster new`, `cluster
//! apply` and `cert issue`, so that a certificate comes about in one way. Writes nothing; fills a record and a plan.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::failure::Failure;
use super::plan::Plan;
use super::secrets::{self, Recipients};
use super::session::{Actor, Repository, Session};
use crate::env::Rng;
use crate::model::{
    Algorithm, ClusterConfig, ClusterName, Code, Distribution, Finding, Generation, Keyset, Node, PersonName, Place,
    Profile, Remedy, Role, SealedName, Span, Time,
};
use crate::pki::{self, Facts, LeafSpec, PrivateKey, Validity};
use crate::seal::{KeyBody, SealedKey};
use crate::trust::record::{Issued, Record, Sealed};
use crate::trust::{Cluster, Epoch, Verified, keyset_of, parallel, phases};

/// Certificates begin this long before now, for clocks that are late (kubernetes-pki A.0).
pub(super) const BACKDATE: Span = Span::minutes(5);

/// The attention codes that issuing goes past, for the record. An epoch that expired, or a log that went silent,
/// may hide a newer one that took the actor's powers away (T3): going on is the actor's decision, and on record.
pub(super) fn accepted(session: &Session, verified: &Verified) -> Result<Vec<String>, Failure> {
    let is_doubt = |finding: &&Finding| matches!(finding.code, Code::EpochExpired | Code::Stale);
    let mut doubts: Vec<Finding> = verified.findings.iter().filter(is_doubt).cloned().collect();
    // While a draft waits for signatures nothing is owed, but the epoch that rules may have expired all the same.
    if let (true, Some(latest)) = (doubts.is_empty(), verified.chain.latest())
        && latest.epoch.expires < session.now
    {
        let why = format!("epoch {} expired {}", latest.epoch.number, latest.epoch.expires);
        doubts.push(Finding::new(Code::EpochExpired, why).fix(Remedy::TrustExpires));
    }
    let codes: BTreeSet<Code> = doubts.iter().map(|finding| finding.code).collect();
    let codes: Vec<String> = codes.iter().map(ToString::to_string).collect();
    if codes.is_empty() || session.settings.accept_stale {
        return Ok(codes);
    }
    let what =
        format!("nothing is issued while this is so ({}), unless --accept-stale says to go on", codes.join(", "));
    let help = doubts.iter().find_map(|finding| finding.fix.clone());
    Err(Failure { findings: doubts, help, ..Failure::refused(what) })
}

/// Refuses who can't issue for a cluster: nobody for a retired one, else an issuer who is a keyholder too, since
/// issuing opens its CA keys.
pub(super) fn check_issuer(name: &ClusterName, cluster: &Cluster, actor: &PersonName) -> Result<(), Failure> {
    check_may_issue(name, cluster, actor)?;
    if cluster.keyholders.contains(actor) {
        return Ok(());
    }
    let help = Remedy::Kluis(format!("person update {actor} --keyholder {name}"));
    Err(Failure::refused(format!("{actor} is no keyholder of cluster {name}, and can't open its CA keys")).help(help))
}

/// Refuses whose record would not be allowed for a cluster: everybody's for a retired one, else all but issuers'.
pub(super) fn check_may_issue(name: &ClusterName, cluster: &Cluster, actor: &PersonName) -> Result<(), Failure> {
    if cluster.retired {
        return Err(Failure::refused(format!("cluster {name} is retired: nothing is issued for it any more")));
    }
    if cluster.issuers.contains(actor) {
        return Ok(());
    }
    let help = Remedy::Kluis(format!("person update {actor} --issuer {name}"));
    Err(Failure::refused(format!("{actor} is no issuer of cluster {name}")).help(help))
}

/// Refuses what could be issued for and never be used: a control plane of kubeadm without an address, and name
/// constraints where the names in leaves are not ours to choose.
pub(super) fn check_config(config: &ClusterConfig) -> Result<(), Failure> {
    let distribution = config.distribution;
    if config.name_constraints && distribution.makes_leaves() {
        return Err(Failure::usage(format!(
            "{distribution} makes the certificates of its nodes itself, with names of its own choice, and one outside of \
             name constraints would be refused by every client: leave name_constraints out"
        )));
    }
    if distribution != Distribution::Kubeadm {
        return Ok(());
    }
    // Its scheduler and controller-manager reach their own API server by it: what is issued without could not be exported.
    let lost = |node: &&Node| node.roles.contains(&Role::ControlPlane) && node.advertise_address().is_none();
    match config.nodes.iter().find(lost) {
        None => Ok(()),
        Some(node) => Err(Failure::usage(format!(
            "node {} runs a control plane and has no IP address but loopback: add the one that others reach it by",
            node.name
        ))),
    }
}

/// An authority with its private key, opened or just made.
pub(super) struct Authority {
    /// The DER of its certificate.
    pub certificate: Vec<u8>,
    /// Its private key.
    pub key: PrivateKey,
}

/// The authorities at hand, by keyset.
pub(super) type Opened = BTreeMap<Keyset, Authority>;

/// The generation of a keyset that issues.
pub(super) fn issuing(verified: &Verified, cluster: &ClusterName, keyset: Keyset) -> Result<Generation, Failure> {
    let states = verified.current.states.get(&(cluster.clone(), keyset));
    let missing = || Failure::refused(format!("no generation of {keyset} issues in cluster {cluster}"));
    states.and_then(|states| phases::issuing(states).first().copied()).ok_or_else(missing)
}

/// Opens the issuing generation of each of `keysets`: one private-key operation each.
pub(super) fn open_authorities(
    repository: &Repository,
    actor: &mut Actor,
    cluster: &ClusterName,
    keysets: &BTreeSet<Keyset>,
) -> Result<Opened, Failure> {
    let mut opened = Opened::new();
    for keyset in keysets {
        let generation = issuing(&repository.verified, cluster, *keyset)?;
        opened.insert(*keyset, open_generation(repository, actor, cluster, (*keyset, generation))?);
    }
    Ok(opened)
}

/// Opens one generation of a CA: one private-key operation.
pub(super) fn open_generation(
    repository: &Repository,
    actor: &mut Actor,
    cluster: &ClusterName,
    (keyset, generation): (Keyset, Generation),
) -> Result<Authority, Failure> {
    let sealed = Place::Sealed(cluster.clone(), SealedName::Keyset(keyset, generation));
    let place = Place::Ca(cluster.clone(), keyset, generation);
    let bytes = repository.verified.tree.bytes(&place.to_string()).unwrap_or_default();
    let certificate = pki::parse_pem(bytes, "CERTIFICATE").map_err(|e| Failure::from(e).at(&place.to_string()))?;
    let missing = || Failure::refused(format!("there is no secret {sealed}"));
    let entry = secrets::entry_of_file(&repository.verified, &sealed).ok_or_else(missing)?;
    match secrets::open_entry(repository, actor, entry)?.into_iter().next().map(SealedKey::into_body) {
        Some(KeyBody::Pkcs8(der)) => Ok(Authority { certificate, key: PrivateKey::from_pkcs8(&der)? }),
        _ => Err(Failure::refused(format!("{sealed} holds no private key"))),
    }
}

/// Makes `count` keys, and says how far it is.
pub(super) fn keys(session: &mut Session, algorithm: Algorithm, count: usize) -> Vec<PrivateKey> {
    let progress = &mut session.progress;
    PrivateKey::generate_watched(algorithm, count, &mut |made| progress("making keys", made, count))
}

/// New keys, for clusters of several algorithms.
pub(super) struct Keys(BTreeMap<Algorithm, std::vec::IntoIter<PrivateKey>>);

impl Keys {
    /// Makes so many of each algorithm, and says how far it is.
    pub fn make(session: &mut Session, wanted: &BTreeMap<Algorithm, usize>) -> Self {
        Self(wanted.iter().map(|(of, count)| (*of, keys(session, *of, *count).into_iter())).collect())
    }

    /// The next `count`; fewer if they run out.
    pub fn take(&mut self, algorithm: Algorithm, count: usize) -> Vec<PrivateKey> {
        self.0.get_mut(&algorithm).into_iter().flatten().take(count).collect()
    }
}

/// What a certificate is to say, beside its key.
pub(super) struct Content<'a> {
    pub place: Place,
    pub organizations: &'a [String],
    pub sans: &'a [crate::model::Host],
    pub life: Span,
}

/// Issues one certificate for the public key `spki` (DER). Returns the record's entry, with the dates of the result: they are clamped to the
/// authority's, and the PEM.
pub(super) fn leaf(
    authority: &Authority,
    spki: &[u8],
    content: Content<'_>,
    now: Time,
    rng: &mut Rng,
) -> Result<(Issued, Vec<u8>), Failure> {
    let (owner, profile) = match &content.place {
        Place::NodeCert(_, node, profile) => (node.as_str(), *profile),
        Place::PersonCert(_, person, profile) => (person.as_str(), *profile),
        other => return Err(Failure::refused(format!("{other} is no place of a certificate"))),
    };
    let validity = Validity { not_before: now.minus(BACKDATE), not_after: now.plus(content.life) };
    let Content { organizations, sans, .. } = content;
    let spec = LeafSpec { profile, owner, organizations, sans, validity };
    let der = pki::issue_leaf(spki, &spec, &authority.certificate, &authority.key, rng)
        .map_err(|error| Failure::from(error).at(&content.place.to_string()))?;
    let issued = entry(content.place, &der, crate::model::Digest::of(&authority.certificate))?;
    Ok((issued, pki::certificate_pem(&der)))
}

/// The record's entry for a certificate (DER) by the CA whose certificate hashes to `issuer`.
pub(super) fn entry(place: Place, certificate: &[u8], issuer: crate::model::Digest) -> Result<Issued, Failure> {
    let facts = Facts::read(certificate)?;
    Ok(Issued {
        place,
        subject: facts.subject,
        serial: facts.serial,
        sha256: facts.sha256,
        spki: facts.spki_id,
        issuer,
        not_before: facts.not_before,
        not_after: facts.not_after,
        request: None,
    })
}

/// What happens to one certificate, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Its path.
    pub path: String,
    /// Why, as a clause.
    pub why: String,
}

/// What is to become of one node's certificates and bundle.
pub(super) struct NodeWork {
    pub node: Node,
    /// Certificates to issue with new keys.
    pub fresh: Vec<(Profile, String)>,
    /// Certificates to remove.
    pub gone: Vec<(Place, String)>,
    /// What happens to its sealed bundle.
    pub bundle: BundleWork,
    /// The public keys (SPKI DER) of those of `fresh` whose keys stay on the node: they get no new key.
    pub public: BTreeMap<Profile, Vec<u8>>,
}

/// What happens to a node's sealed bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BundleWork {
    /// It is made of new keys alone.
    New,
    /// Keys in it stay: it is opened, once.
    Open,
    /// It stays as it is.
    Keep,
}

impl NodeWork {
    /// How many keys are made for it.
    pub fn new_keys(&self) -> usize {
        self.fresh.iter().filter(|(profile, _)| !self.public.contains_key(profile)).count()
    }

    /// Whether anything happens.
    pub fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.gone.is_empty()
    }

    /// The keysets whose authorities it needs.
    pub fn keysets(&self, cluster: &Cluster) -> BTreeSet<Keyset> {
        self.fresh.iter().map(|(profile, _)| keyset_of(cluster, *profile)).collect()
    }
}

/// The cluster that certificates are issued for.
pub(super) struct Target<'a> {
    /// The epoch that rules, or the draft that brings the cluster.
    pub epoch: &'a Epoch,
    pub name: &'a ClusterName,
    pub cluster: &'a Cluster,
    pub config: &'a ClusterConfig,
    pub recipients: &'a Recipients<'a>,
}

impl Target<'_> {
    /// Issues what `work` asks for with `new_keys`, in its order, and seals them and `kept` together.
    pub fn node(
        &self,
        opened: &Opened,
        work: &NodeWork,
        new_keys: Vec<PrivateKey>,
        kept: Bundle,
        (now, rng): (Time, &mut Rng),
    ) -> Result<NodeMade, Failure> {
        let mut made = NodeMade::default();
        let mut bundle = kept.keys;
        let mut new_keys = new_keys.into_iter();
        for (profile, _) in &work.fresh {
            let (spki, key) = match work.public.get(profile) {
                Some(spki) => (spki.clone(), None),
                None => {
                    let key = new_keys.next().ok_or_else(too_few_keys)?;
                    (key.spki(), Some(key))
                }
            };
            let keyset = keyset_of(self.cluster, *profile);
            let missing = || Failure::refused(format!("the authority {keyset} of cluster {} is not open", self.name));
            let authority = opened.get(&keyset).ok_or_else(missing)?;
            let content = Content {
                place: Place::NodeCert(self.name.clone(), work.node.name.clone(), *profile),
                organizations: &pki::organizations(*profile, self.config),
                sans: &pki::subject_alt_names(*profile, &work.node, self.config),
                life: self.config.lifetime.component,
            };
            let later = |failure: Failure| match failure.help {
                Some(_) => failure,
                None => failure.help(Remedy::Kluis(format!("rotate start {keyset} -c {}", self.name))),
            };
            made.issued.push(leaf(authority, &spki, content, now, rng).map_err(later)?);
            bundle.extend(key.map(|key| SealedKey::new(profile.to_string(), KeyBody::Pkcs8(key.to_pkcs8()))));
        }
        made.removed.extend(work.gone.iter().map(|(place, _)| place.clone()));
        let name = SealedName::Node(work.node.name.clone());
        if work.bundle == BundleWork::Keep {
            return Ok(made);
        }
        if !bundle.is_empty() {
            made.sealed = Some(self.seal(&name, &bundle, (kept.revision, kept.imported))?);
        } else if kept.revision > 1 {
            // Its last key is on the node now. A bundle that nobody sealed before is not there to be removed.
            made.removed.push(Place::Sealed(self.name.clone(), name));
        }
        Ok(made)
    }

    /// Seals `keys` to the cluster's keyholders. Returns the record's entry and the bytes of the file.
    pub fn seal(
        &self,
        name: &SealedName,
        keys: &[SealedKey],
        (revision, imported): (u32, bool),
    ) -> Result<(Sealed, Vec<u8>), Failure> {
        let header = secrets::header(self.epoch, self.cluster, name);
        let (mut entry, bytes) = secrets::seal(&header, (self.name, name), keys, self.recipients, revision)?;
        entry.imported = imported;
        Ok((entry, bytes))
    }
}

/// Only where what was counted and what was made differ.
pub(super) fn too_few_keys() -> Failure {
    Failure::failed("too few keys were made")
}

/// What was made for one node.
#[derive(Default)]
pub(super) struct NodeMade {
    issued: Vec<(Issued, Vec<u8>)>,
    removed: Vec<Place>,
    sealed: Option<(Sealed, Vec<u8>)>,
}

impl NodeMade {
    /// Fills the record and the plan.
    pub fn add_to(self, record: &mut Record, plan: &mut Plan) {
        for (entry, pem) in self.issued {
            plan.write(&entry.place, pem);
            record.issued.push(entry);
        }
        for place in self.removed {
            plan.changes.removes.insert(place.to_string());
            record.removed.push(place);
        }
        if let Some((entry, bytes)) = self.sealed {
            plan.write(&entry.place(), bytes);
            record.sealed.push(entry);
        }
    }
}

/// What a node's new bundle takes over from the one that it replaces.
pub(super) struct Bundle {
    pub keys: Vec<SealedKey>,
    pub revision: u32,
    /// Whether a key in it existed in plaintext before.
    pub imported: bool,
}

impl Bundle {
    /// The bundle of a node that has none.
    pub fn new() -> Self {
        Self { keys: Vec::new(), revision: 1, imported: false }
    }

    /// Takes over the keys that stay, opening the existing bundle once if there are any.
    pub fn take_over(
        repository: &Repository,
        actor: &mut Actor,
        cluster: &ClusterName,
        work: &NodeWork,
        revisions: &BTreeMap<Place, u32>,
    ) -> Result<Self, Failure> {
        let place = Place::Sealed(cluster.clone(), SealedName::Node(work.node.name.clone()));
        let revision = revisions.get(&place).copied().unwrap_or(0).saturating_add(1);
        if work.bundle != BundleWork::Open {
            return Ok(Self { revision, ..Self::new() });
        }
        let imported = secrets::entry(repository, &place)?.imported;
        let mut keys = secrets::open(repository, actor, &place)?;
        let leaves = |name: &str| {
            let profile = Profile::parse(name);
            work.fresh.iter().any(|(fresh, _)| Some(*fresh) == profile)
                || work.gone.iter().any(|(place, _)| matches!(place, Place::NodeCert(_, _, p) if Some(*p) == profile))
        };
        keys.retain(|key| !leaves(&key.name));
        Ok(Self { keys, revision, imported })
    }
}

/// Carries out the work on the nodes of one cluster: opens each authority once, and each bundle that changes once.
pub(super) fn carry_out(
    session: &mut Session,
    repository: &Repository,
    actor: &mut Actor,
    (name, config): (&ClusterName, &ClusterConfig),
    works: &[NodeWork],
    (record, plan): (&mut Record, &mut Plan),
) -> Result<(), Failure> {
    let (epoch, cluster) = (repository.epoch()?, repository.cluster(name)?);
    // Before anything is opened: a person's touch or passphrase should not be for nothing.
    Recipients::of(&repository.verified, epoch, cluster, session)?;
    let keysets = works.iter().flat_map(|work| work.keysets(cluster)).collect();
    let opened = open_authorities(repository, actor, name, &keysets)?;
    let count = works.iter().map(NodeWork::new_keys).sum();
    let mut keys = Keys::make(session, &BTreeMap::from([(config.algorithm, count)]));
    let open = [OpenCluster { name, config, nodes: works, opened }];
    carry_out_with(session, repository, actor, (&open, &mut keys), (0, works.len()), (record, plan))
}

/// The work on the nodes of one cluster, with the authorities that issue once the record counts.
pub(super) struct OpenCluster<'a> {
    pub name: &'a ClusterName,
    pub config: &'a ClusterConfig,
    pub nodes: &'a [NodeWork],
    pub opened: Opened,
}

/// As `carry_out`, with authorities that are open already, for several clusters at once: what needs no key of a person is
/// done with every core. `keys` are enough for all nodes; `done` of `total` nodes are done before.
pub(super) fn carry_out_with(
    session: &mut Session,
    repository: &Repository,
    actor: &mut Actor,
    (works, keys): (&[OpenCluster<'_>], &mut Keys),
    (done, total): (usize, usize),
    (record, plan): (&mut Record, &mut Plan),
) -> Result<(), Failure> {
    let epoch = repository.epoch()?;
    let mut recipients = Vec::with_capacity(works.len());
    for work in works {
        let cluster = repository.cluster(work.name)?;
        recipients.push((cluster, Recipients::of(&repository.verified, epoch, cluster, session)?));
    }
    let revisions = secrets::revisions(&repository.verified);
    let mut jobs = Vec::new();
    for (work, (cluster, recipients)) in works.iter().zip(&recipients) {
        let (name, config) = (work.name, work.config);
        for node in work.nodes {
            let kept = Bundle::take_over(repository, actor, name, node, &revisions)?;
            if kept.imported {
                record.reason = format!("new keys beside imported ones of node {}", node.node.name);
            }
            let own = keys.take(config.algorithm, node.new_keys());
            jobs.push((Target { epoch, name, cluster, config, recipients }, &work.opened, node, own, kept));
        }
    }
    let (now, progress) = (session.now, &mut session.progress);
    let issue = |(target, opened, node, own, kept): (Target<'_>, &Opened, &NodeWork, Vec<PrivateKey>, Bundle)| {
        target.node(opened, node, own, kept, (now, &mut Rng::system()))
    };
    for made in parallel::each(jobs, issue, &mut |more| progress("issuing for nodes", done + more, total)) {
        made?.add_to(record, plan);
    }
    Ok(())
}

/// The sealed files that work on nodes opens, for plans and reports.
pub(super) fn opens(
    repository: &Repository,
    (name, cluster): (&ClusterName, &Cluster),
    works: &[NodeWork],
) -> Result<Vec<String>, Failure> {
    let mut names = Vec::new();
    for keyset in works.iter().flat_map(|work| work.keysets(cluster)).collect::<BTreeSet<_>>() {
        let generation = issuing(&repository.verified, name, keyset)?;
        names.push(SealedName::Keyset(keyset, generation).to_string());
    }
    let bundles = works.iter().filter(|work| work.bundle == BundleWork::Open);
    names.extend(bundles.map(|work| SealedName::Node(work.node.name.clone()).to_string()));
    Ok(names)
}
