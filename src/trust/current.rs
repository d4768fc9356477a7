//! What is current: for each path the record that vouches for it, and for each generation its state; then
//! whether the files of the tree are exactly that (FORMAT 5, "What is current").

mod certificates;

use std::collections::{BTreeMap, BTreeSet};

use super::Authorities;
use super::chain::Chain;
use super::files::line_endings;
use super::log::Log;
use super::parallel;
use super::phases::{self, States, Steps};
use super::record::{Issued, Sealed};
use super::tree::{Entry, Tree};
use crate::model::{ClusterConfig, ClusterName, Code, Digest, Finding, Keyset, PersonName, Place, Remedy, SealedName};
use crate::{openpgp, pki};

/// What a record says of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vouch {
    /// A cluster.toml with this hash.
    Config(Digest),
    /// A sealed file.
    Sealed(Sealed),
    /// A leaf certificate.
    Issued(Issued),
    /// Nothing lies there any more.
    Removed,
}

impl Vouch {
    /// The hash that a file there must have: of its bytes, or of a certificate's DER.
    fn sha256(&self) -> Option<Digest> {
        match self {
            Self::Config(sha256) => Some(*sha256),
            Self::Sealed(entry) => Some(entry.sha256),
            Self::Issued(entry) => Some(entry.sha256),
            Self::Removed => None,
        }
    }
}

/// A path's vouching record.
#[derive(Debug, Clone)]
pub struct Vouched {
    /// The record's index in the log.
    pub record: usize,
    /// What it says.
    pub vouch: Vouch,
}

/// Everything that is current.
#[derive(Default)]
pub struct Current {
    /// By path, for paths without a conflict.
    pub paths: BTreeMap<Place, Vouched>,
    /// By path, everything that records which count ever said, in the order of the log.
    pub history: BTreeMap<Place, Vec<Vouched>>,
    /// The states of every keyset that has any.
    pub states: BTreeMap<(ClusterName, Keyset), States>,
    /// The desired states that parse, whatever vouches for them.
    pub configs: BTreeMap<ClusterName, ClusterConfig>,
    /// Facts of the current leaf certificates.
    pub leaves: BTreeMap<Place, pki::Facts>,
    /// Leaves that were found to be issued by their CA.
    pub links: Links,
}

impl Current {
    /// The paths of which records that did not see one another say different things, and none has decided.
    pub fn in_conflict(&self) -> impl Iterator<Item = &Place> {
        self.history.keys().filter(|place| !self.paths.contains_key(place))
    }

    /// What is said last of a path: one thing, or several in a conflict.
    pub fn last<'a>(&'a self, log: &Log, place: &Place) -> Vec<&'a Vouched> {
        let said = self.history.get(place).map_or(&[][..], Vec::as_slice);
        let indices: Vec<usize> = said.iter().map(|vouched| vouched.record).collect();
        let latest = log.dag.latest(&indices);
        said.iter().filter(|vouched| latest.contains(&vouched.record)).collect()
    }
}

/// Leaf certificates and the CAs whose key signed them, by the hashes of their DER. That is a fact about these bytes
/// for ever, so a tree that is verified again after a change need not look at it again.
pub type Links = BTreeSet<(Digest, Digest)>;

/// Reads the CA certificates of the tree, good or bad, by the hash of their DER.
pub fn authorities(tree: &Tree) -> Authorities {
    let ca = |(path, entry): (&String, &Entry)| match (Place::parse(path), entry) {
        (Ok(Place::Ca(..)), Entry::File { bytes, .. }) => {
            let facts = pki::parse_pem(bytes, "CERTIFICATE").and_then(|der| pki::Facts::read(&der)).ok()?;
            Some((facts.sha256, facts))
        }
        _ => None,
    };
    tree.in_clusters(&["ca"]).filter_map(ca).collect()
}

/// Computes what is current, and compares the tree with it. `known` are links that were seen to be good.
pub fn check(
    tree: &Tree,
    chain: &Chain,
    log: &Log,
    authorities: &Authorities,
    known: &Links,
) -> (Current, Vec<Finding>) {
    let mut findings = Vec::new();
    let mut current = Current { history: history(log), ..Current::default() };
    choose(log, &mut current, &mut findings);
    states(chain, log, &mut current, &mut findings);
    if let Some(latest) = chain.latest() {
        authorities_match(tree, &latest.epoch, &mut findings);
        let walk = Walk { tree, epoch: &latest.epoch, log, authorities, known };
        walk.files(&mut current, &mut findings);
        certificates::check(&walk, &mut current, &mut findings);
    }
    // Files that a void record vouches for are judged when somebody adopted it, or the record is gone.
    let void: BTreeSet<String> =
        (0..log.records.len()).filter(|index| !log.counts(*index)).flat_map(|index| touched(log, index)).collect();
    findings.retain(|finding| finding.path.as_ref().is_none_or(|path| !void.contains(path)));
    (current, findings)
}

fn touched(log: &Log, index: usize) -> Vec<String> {
    let record = &log.records[index].record;
    let config = record.config.iter().map(|e| e.place().to_string());
    let sealed = record.sealed.iter().map(|e| e.place().to_string());
    let issued = record.issued.iter().map(|e| e.place.to_string());
    let removed = record.removed.iter().map(ToString::to_string);
    let generation = |e: &super::record::Phase| Place::Ca(e.cluster.clone(), e.keyset, e.generation).to_string();
    config.chain(sealed).chain(issued).chain(removed).chain(record.phase.iter().map(generation)).collect()
}

fn history(log: &Log) -> BTreeMap<Place, Vec<Vouched>> {
    let mut history: BTreeMap<Place, Vec<Vouched>> = BTreeMap::new();
    for (record, logged) in log.counted() {
        let mut say = |place: Place, vouch| history.entry(place).or_default().push(Vouched { record, vouch });
        logged.record.config.iter().for_each(|e| say(e.place(), Vouch::Config(e.sha256)));
        logged.record.sealed.iter().for_each(|e| say(e.place(), Vouch::Sealed(e.clone())));
        logged.record.issued.iter().for_each(|e| say(e.place.clone(), Vouch::Issued(e.clone())));
        logged.record.removed.iter().for_each(|place| say(place.clone(), Vouch::Removed));
    }
    history
}

/// Of the records that speak of a path, the one that none of the others comes after.
fn choose(log: &Log, current: &mut Current, findings: &mut Vec<Finding>) {
    for place in current.history.keys() {
        let mut last = current.last(log, place).into_iter();
        let Some(first) = last.next() else { continue };
        let other = last.find(|other| !agree(&other.vouch, &first.vouch) || used_twice(&other.vouch, &first.vouch));
        if let Some(other) = other {
            let names = [first, other].map(|vouched| log.records[vouched.record].sha256.h16());
            let why = format!(
                "the records {} and {} say different things of it, and neither saw the other",
                names[0], names[1]
            );
            let fix = match (place, place.cluster()) {
                (Place::Config(cluster), _) => Remedy::ClusterApply(cluster.clone()),
                (_, Some(cluster)) if is_choice(&first.vouch, &other.vouch) => Remedy::Choose(cluster.clone()),
                (_, Some(cluster)) => Remedy::Settle(cluster.clone()),
                (_, None) => Remedy::Verify,
            };
            findings.push(Finding::new(Code::ConflictingGenerations, why).at(place.to_string()).fix(fix));
            continue;
        }
        current.paths.insert(place.clone(), first.clone());
    }
}

fn agree(a: &Vouch, b: &Vouch) -> bool {
    a.sha256() == b.sha256()
}

/// Whether either can stay as it is. Not where two keys were made for one generation, which has one for ever; nor where
/// the certificates are of two generations, of which one issues.
fn is_choice(a: &Vouch, b: &Vouch) -> bool {
    match (a, b) {
        (Vouch::Sealed(a), Vouch::Sealed(b)) => matches!(a.name, SealedName::Node(_)) || a.public == b.public,
        (Vouch::Issued(a), Vouch::Issued(b)) => a.issuer == b.issuer,
        _ => true,
    }
}

fn used_twice(a: &Vouch, b: &Vouch) -> bool {
    matches!((a, b), (Vouch::Issued(a), Vouch::Issued(b)) if a.request.is_some() && a.request == b.request && a.sha256 != b.sha256)
}

/// One generation issues in every keyset that the epoch lists and in every symmetric one that is sealed.
fn states(chain: &Chain, log: &Log, current: &mut Current, findings: &mut Vec<Finding>) {
    let steps = Steps::of(log, |index| log.counts(index));
    for (cluster, keyset) in steps.keysets() {
        let states = steps.states(log, cluster, *keyset, |_| true);
        current.states.insert((cluster.clone(), *keyset), states);
    }
    let Some(latest) = chain.latest() else { return };
    let listed = latest
        .epoch
        .clusters
        .iter()
        .flat_map(|(name, cluster)| cluster.keysets.keys().map(move |k| (name.clone(), *k)));
    let sealed = current.paths.iter().filter_map(|(place, vouched)| match (place, &vouched.vouch) {
        (Place::Sealed(cluster, SealedName::Keyset(keyset, _)), Vouch::Sealed(_)) if keyset.is_symmetric() => {
            Some((cluster.clone(), *keyset))
        }
        _ => None,
    });
    let due: BTreeSet<_> = listed.chain(sealed).filter(|(name, _)| latest.epoch.clusters.contains_key(name)).collect();
    let void = (0..log.records.len()).filter(|index| !log.counts(*index));
    let void = void.flat_map(|index| &log.records[index].record.phase);
    let touched_by_void: BTreeSet<(&ClusterName, Keyset)> = void.map(|e| (&e.cluster, e.keyset)).collect();
    for (cluster, keyset) in due {
        if touched_by_void.contains(&(&cluster, keyset)) {
            continue;
        }
        let empty = States::new();
        let states = current.states.get(&(cluster.clone(), keyset)).unwrap_or(&empty);
        let conflict = states.iter().find(|(_, states)| states.len() > 1);
        let issuing = phases::issuing(states).len();
        let finding = match conflict {
            Some((generation, _)) => {
                let why =
                    format!("two records set {keyset} {generation} to different states, and neither saw the other");
                Finding::new(Code::ConflictingGenerations, why)
            }
            None if issuing != 1 => Finding::new(Code::BadPhase, format!("{keyset} has {issuing} issuing generations")),
            None => continue,
        };
        // Files can't be chosen before it is clear which generation issues them.
        let of_cluster = |found: &&mut Finding| found.fix == Some(Remedy::Choose(cluster.clone()));
        findings.iter_mut().filter(of_cluster).for_each(|found| found.fix = Some(Remedy::Settle(cluster.clone())));
        findings.push(finding.in_cluster(&cluster).fix(Remedy::Settle(cluster)));
    }
}

/// CA certificates and service-account keys are exactly those that the epoch lists.
fn authorities_match(tree: &Tree, epoch: &super::Epoch, findings: &mut Vec<Finding>) {
    for (path, entry) in tree.in_clusters(&["ca", "sa"]) {
        let Entry::File { bytes, .. } = entry else { continue };
        let (cluster, keyset, generation) = match Place::parse(path) {
            Ok(Place::Ca(cluster, keyset, generation)) => (cluster, keyset, generation),
            Ok(Place::ServiceAccount(cluster, generation)) => (cluster, Keyset::ServiceAccount, generation),
            _ => continue,
        };
        let Some(listed) = epoch.clusters.get(&cluster) else { continue }; // `unexpected-path` says it
        let expected = listed.generations(keyset).find(|(g, _)| *g == generation).map(|(_, digest)| digest);
        let mut fault = |code, why: String| {
            findings.push(Finding::new(code, why).at(path).fix(Remedy::GitRestore(path.clone())));
        };
        let label = if keyset.is_ca() { "CERTIFICATE" } else { "PUBLIC KEY" };
        if expected.is_none() || pki::count_pem_blocks(bytes, label) > 1 {
            fault(Code::CaSet, "more or other certificates than the latest epoch lists".to_owned());
            continue;
        }
        let content = if keyset.is_ca() {
            pki::parse_pem(bytes, label).and_then(|der| pki::Facts::read(&der).map(|facts| facts.sha256))
        } else {
            pki::service_account_public(bytes).map(|der| Digest::of(&der))
        };
        match content {
            Ok(digest) if Some(digest) == expected => {}
            Ok(digest) => fault(Code::CaHash, format!("its hash is {digest}, and the latest epoch lists another")),
            Err(error) => {
                fault(Code::CertFormat, error.to_string());
                findings.extend(crlf(bytes, path));
            }
        }
    }
    for (name, cluster) in &epoch.clusters {
        for (keyset, generations) in &cluster.keysets {
            for generation in generations.keys() {
                let place = match keyset {
                    Keyset::ServiceAccount => Place::ServiceAccount(name.clone(), *generation),
                    keyset => Place::Ca(name.clone(), *keyset, *generation),
                };
                missing(tree, &place, "the latest epoch lists it", findings);
            }
        }
    }
}

/// A PEM file with CRLF is `cert-format`; the note says how it came about.
fn crlf(bytes: &[u8], path: &str) -> Option<Finding> {
    bytes
        .windows(2)
        .any(|pair| pair == b"\r\n")
        .then(|| Finding::new(Code::LineEndings, "with LF line endings the bytes may fit").at(path))
}

fn missing(tree: &Tree, place: &Place, why: &str, findings: &mut Vec<Finding>) {
    let path = place.to_string();
    if !tree.entries.contains_key(&path) {
        let finding = Finding::new(Code::MissingFile, format!("{why}, and it is not there")).at(&path);
        findings.push(finding.fix(Remedy::GitRestore(path)));
    }
}

/// What judging files looks at.
struct Walk<'a> {
    tree: &'a Tree,
    epoch: &'a super::Epoch,
    log: &'a Log,
    authorities: &'a Authorities,
    known: &'a Links,
}

impl Walk<'_> {
    fn files(&self, current: &mut Current, findings: &mut Vec<Finding>) {
        let mut configs = BTreeMap::new();
        let entries: Vec<_> = self.tree.entries.iter().collect();
        let read = parallel::map(&entries, |(path, entry)| {
            let (Ok(place), Entry::File { bytes, .. }) = (Place::parse(path), entry) else { return None };
            let content = match place {
                Place::NodeCert(..) | Place::PersonCert(..) => {
                    let facts = pki::parse_pem(bytes, "CERTIFICATE").and_then(|der| pki::Facts::read(&der));
                    Content::Leaf(facts.map(Box::new))
                }
                Place::Sealed(..) => Content::Sealed(Digest::of(bytes), openpgp::read_envelope(bytes)),
                _ => Content::Other,
            };
            Some((place, content))
        });
        for ((path, entry), read) in entries.into_iter().zip(read) {
            let (Some((place, content)), Entry::File { bytes, .. }) = (read, entry) else { continue };
            let Some(cluster) = place.cluster() else { continue };
            let Some(listed) = self.epoch.clusters.get(cluster) else {
                let why = format!("the latest epoch lists no cluster {cluster}");
                findings.push(Finding::new(Code::UnexpectedPath, why).at(path));
                continue;
            };
            match (&place, content) {
                (Place::Config(cluster), _) => {
                    self.vouched(&place, path, bytes, Digest::of(bytes), current, findings);
                    if let Some(config) = self.config(path, bytes, &listed.api, findings) {
                        configs.insert(cluster.clone(), config);
                    }
                }
                (_, Content::Sealed(sha256, envelope)) => {
                    if self.vouched(&place, path, bytes, sha256, current, findings)
                        && let Some(Vouched { vouch: Vouch::Sealed(entry), .. }) = current.paths.get(&place)
                    {
                        findings.extend(container(path, envelope, entry));
                    }
                }
                (_, Content::Leaf(Ok(facts))) => {
                    if self.vouched(&place, path, bytes, facts.sha256, current, findings) {
                        current.leaves.insert(place, *facts);
                    }
                }
                (_, Content::Leaf(Err(error))) => {
                    findings.push(Finding::new(Code::CertFormat, error.to_string()).at(path));
                    findings.extend(crlf(bytes, path));
                }
                (_, Content::Other) => {}
            }
        }
        current.configs = configs;
        for (place, vouched) in &current.paths {
            let listed = place.cluster().is_some_and(|cluster| self.epoch.clusters.contains_key(cluster));
            let path = place.to_string();
            match vouched.vouch {
                Vouch::Removed if self.tree.entries.contains_key(&path) => {
                    let why = format!("{} removed it", self.log.records[vouched.record].sha256.h16());
                    findings.push(
                        Finding::new(Code::RemovedFile, why).at(&path).fix(Remedy::Run(format!("git rm -- {path}"))),
                    );
                }
                Vouch::Removed => {}
                _ if listed => missing(self.tree, place, "a record vouches for it", findings),
                _ => {}
            }
        }
    }

    /// Whether the file is the current one; a finding if not.
    fn vouched(
        &self,
        place: &Place,
        path: &str,
        bytes: &[u8],
        digest: Digest,
        current: &Current,
        findings: &mut Vec<Finding>,
    ) -> bool {
        let restore = Remedy::GitRestore(path.to_owned());
        let Some(said) = current.history.get(place) else {
            let (code, why) = match place {
                Place::NodeCert(..) | Place::PersonCert(..) => {
                    (Code::UnloggedCert, "no record vouches for this certificate")
                }
                _ => (Code::UnexpectedPath, "no record vouches for this file"),
            };
            findings.push(Finding::new(code, why).at(path));
            return false;
        };
        let Some(now) = current.paths.get(place) else { return false }; // in conflict: said elsewhere
        match now.vouch.sha256() {
            None => return false, // `removed-file` says it
            Some(expected) if expected == digest => return true,
            Some(expected) => {
                let older = said.iter().find(|vouched| vouched.vouch.sha256() == Some(digest));
                let code = match (older, &now.vouch) {
                    (Some(_), _) => Code::Superseded,
                    (None, Vouch::Sealed(_)) => Code::CiphertextHash,
                    (None, Vouch::Issued(_)) => Code::LeafHash,
                    (None, _) => Code::ConfigHash,
                };
                let vouches = self.log.records[now.record].sha256.h16();
                let why = match older {
                    Some(_) => format!("it is an older version; the record {vouches} replaced it"),
                    None => format!("it is not what the record {vouches} vouches for"),
                };
                let fix = match (place, code) {
                    (Place::Config(cluster), Code::ConfigHash) => Remedy::ClusterApply(cluster.clone()),
                    _ => restore,
                };
                findings.push(Finding::new(code, why).at(path).fix(fix));
                findings.extend(line_endings(bytes, &expected, path));
            }
        }
        false
    }

    fn config(&self, path: &str, bytes: &[u8], api: &str, findings: &mut Vec<Finding>) -> Option<ClusterConfig> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned());
        let config = match text.and_then(|text| ClusterConfig::parse(text).map_err(|error| error.to_string())) {
            Ok(config) => config,
            Err(why) => {
                findings.push(Finding::new(Code::BadConfig, why).at(path));
                return None;
            }
        };
        if config.endpoint.as_str() != api {
            let why = format!("its endpoint is {}, and the latest epoch says {api}", config.endpoint.as_str());
            findings.push(Finding::new(Code::ApiMismatch, why).at(path));
        }
        Some(config)
    }
}

/// The container has exactly the recorded recipients, in their order.
fn container(
    path: &str,
    envelope: Result<openpgp::Envelope, openpgp::EnvelopeFault>,
    entry: &Sealed,
) -> Option<Finding> {
    let envelope = match envelope {
        Ok(envelope) => envelope,
        Err(fault) => return Some(Finding::new(fault.code(), fault.to_string()).at(path)),
    };
    let recorded: Vec<_> = entry.recipients.iter().map(|recipient| recipient.key.key_id()).collect();
    (envelope.recipients != recorded).then(|| {
        let ids = |ids: &[crate::model::KeyId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let why = format!("it is encrypted to {}, and recorded for {}", ids(&envelope.recipients), ids(&recorded));
        Finding::new(Code::RecipientSet, why).at(path)
    })
}

/// What a file of a cluster holds, read by itself.
enum Content {
    Leaf(Result<Box<pki::Facts>, pki::PkiError>),
    Sealed(Digest, Result<openpgp::Envelope, openpgp::EnvelopeFault>),
    Other,
}

/// The person a certificate of this place belongs to.
pub fn owner(place: &Place) -> Option<&PersonName> {
    match place {
        Place::PersonCert(_, person, _) => Some(person),
        _ => None,
    }
}
