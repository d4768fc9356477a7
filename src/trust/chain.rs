//! The chain of epochs: parses each, checks its people's OpenPGP certificates, its signatures and its place
//! behind the one before (FORMAT 3 and 4). Knows nothing of records but their names in `[closes]`.

mod people;
mod signatures;

use std::collections::{BTreeMap, BTreeSet};

use super::epoch::{Epoch, FormerReason};
use super::files::line_endings_of_statement;
use super::tree::{Entry, Tree};
use crate::model::{
    ClusterName, Code, Digest, Finding, Fingerprint, Generation, HexId, Keyset, PersonName, Place, Remedy,
};
use crate::openpgp::Certificate;

/// An epoch of the tree, parsed.
#[derive(Debug)]
pub struct ChainedEpoch {
    /// What it says.
    pub epoch: Epoch,
    /// The hash of its file.
    pub sha256: Digest,
    /// Who has signed it well, under whichever of the two epochs.
    pub signers: BTreeSet<PersonName>,
    /// Signatures that are still missing.
    pub missing: Missing,
}

/// The signatures that an epoch lacks.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Missing {
    /// How many more persons of the epoch before, and who they may be.
    pub threshold: Option<(u32, BTreeSet<PersonName>)>,
    /// How many more persons of this epoch, and who they may be.
    pub new_threshold: Option<(u32, BTreeSet<PersonName>)>,
    /// Persons who are new or have other keys, and have not signed.
    pub newcomers: BTreeSet<PersonName>,
}

impl Missing {
    /// Whether nothing is missing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Everyone whose signature would help.
    pub fn people(&self) -> BTreeSet<PersonName> {
        let thresholds = [&self.threshold, &self.new_threshold];
        let named = thresholds.into_iter().flatten().flat_map(|(_, people)| people.iter());
        named.chain(&self.newcomers).cloned().collect()
    }
}

/// The epochs of a tree, as far as they follow one another.
#[derive(Debug, Default)]
pub struct Chain {
    epochs: Vec<ChainedEpoch>,
    valid: u32,
    certificates: BTreeMap<Digest, Certificate>,
    cut: bool,
}

impl Chain {
    /// The epoch of this number.
    pub fn get(&self, number: u32) -> Option<&ChainedEpoch> {
        self.epochs.get(usize::try_from(number.checked_sub(1)?).ok()?)
    }

    /// All epochs, the draft included, oldest first.
    pub fn all(&self) -> &[ChainedEpoch] {
        &self.epochs
    }

    /// The latest epoch that has its signatures, with all before it.
    pub fn latest(&self) -> Option<&ChainedEpoch> {
        self.get(self.valid)
    }

    /// The same chain once its draft has the signatures that it lacks: what would be.
    #[must_use]
    pub fn as_if_signed(mut self) -> Self {
        self.valid = count(self.epochs.len());
        self
    }

    /// The epoch behind it that lacks signatures.
    pub fn draft(&self) -> Option<&ChainedEpoch> {
        self.get(self.valid + 1)
    }

    /// Whether an epoch could not be read, so that nobody can say what is trusted.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// The OpenPGP certificate with these bytes, if a file of the tree has them and an epoch pins them.
    pub fn certificate(&self, sha256: &Digest) -> Option<&Certificate> {
        self.certificates.get(sha256)
    }

    /// Whether any epoch lists `key` for `person`, to sign or to seal to.
    pub fn ever_listed(&self, person: &PersonName, key: &Fingerprint) -> bool {
        let listed = |e: &ChainedEpoch| {
            e.epoch.persons.get(person).is_some_and(|p| p.sign.contains(key) || p.encrypt.contains(key))
        };
        self.epochs.iter().any(listed)
    }
}

/// Reads the epochs of `tree`. Returns the chain and what is wrong with it; where something is, epochs
/// behind the fault may be missing from the chain.
pub fn read(tree: &Tree) -> (Chain, Vec<Finding>) {
    let mut findings = Vec::new();
    let mut chain = Chain::default();
    let files = epoch_files(tree);
    for (index, (number, path)) in files.iter().enumerate() {
        let expected = u32::try_from(index + 1).unwrap_or(u32::MAX);
        if *number != expected {
            let why = format!("epoch {expected:04} is missing before {number:04}");
            findings.push(Finding::new(Code::EpochNumber, why).at(path));
            break;
        }
        let Some(Entry::File { bytes, .. }) = tree.entries.get(path) else { break };
        match Epoch::parse(bytes) {
            Ok(epoch) => {
                let sha256 = Digest::of(bytes);
                chain.epochs.push(ChainedEpoch {
                    epoch,
                    sha256,
                    signers: BTreeSet::new(),
                    missing: Missing::default(),
                });
            }
            Err(fault) => {
                let newer = fault.code == Code::NewerFormat;
                let remedy = if newer { Remedy::Upgrade } else { Remedy::GitRestore(path.clone()) };
                findings.push(Finding::new(fault.code, fault.why).at(path).fix(remedy));
                findings.extend(line_endings_of_statement(bytes, path, |text| Epoch::parse(text).is_ok()));
                break;
            }
        }
    }
    if files.is_empty() {
        let why = "there is no first epoch: this is no repository of kluis, or its trust is gone";
        findings.push(Finding::new(Code::EpochNumber, why).at("trust/epoch/0001.toml").fix(Remedy::Init));
    }
    let mut ties = Ties::default();
    for index in 0..chain.epochs.len() {
        check_link(&chain, index, &mut findings);
        check_content(&chain, index, &mut ties, &mut findings);
    }
    let mut places = Vec::new();
    people::check(tree, &mut chain, &mut places);
    chain.cut = chain.epochs.len() < files.len();
    if chain.cut {
        // The latest epoch can't be read, which is said: which certificate lies where it pins it can't be told.
        let of_latest = [Code::UnexpectedPath, Code::MissingFile, Code::CertHash, Code::CertFingerprint];
        places.retain(|finding| !of_latest.contains(&finding.code));
    }
    findings.extend(places);
    signatures::check(tree, &mut chain, &mut findings);
    chain.valid = count(chain.epochs.iter().take_while(|epoch| epoch.missing.is_empty()).count());
    (chain, findings)
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn epoch_files(tree: &Tree) -> Vec<(u32, String)> {
    let epoch = |(path, _): (&String, &Entry)| match Place::parse(path) {
        Ok(Place::Epoch(number)) => Some((number, path.clone())),
        _ => None,
    };
    let mut files: Vec<_> = tree.below("trust/epoch/").filter_map(epoch).collect();
    files.sort();
    files
}

pub(super) fn epoch_path(number: u32) -> String {
    Place::Epoch(number).to_string()
}

/// The place behind the epoch before: number, hash, repository, times.
fn check_link(chain: &Chain, index: usize, findings: &mut Vec<Finding>) {
    let this = &chain.epochs[index];
    let before = index.checked_sub(1).map(|before| &chain.epochs[before]);
    let number = count(index + 1);
    let mut fault = |code, why: String| findings.push(Finding::new(code, why).at(epoch_path(number)));
    if this.epoch.number != number {
        fault(Code::EpochNumber, format!("it calls itself number {}", this.epoch.number));
    }
    if this.epoch.previous != before.map(|before| before.sha256) {
        let why = match before {
            Some(before) => format!("`previous` is not {}, the hash of epoch {}", before.sha256, before.epoch.number),
            None => "the first epoch follows none".to_owned(),
        };
        fault(Code::EpochChain, why);
    }
    if let Some(before) = before {
        if this.epoch.repo != before.epoch.repo {
            fault(Code::WrongRepo, format!("it is an epoch of repository {}", this.epoch.repo));
        }
        if this.epoch.created < before.epoch.created {
            fault(Code::EpochTime, format!("it was created before epoch {}", before.epoch.number));
        }
    }
    if this.epoch.expires <= this.epoch.created {
        fault(Code::EpochTime, "it expires before it was created".to_owned());
    }
    if this.epoch.closes.is_some() == before.is_none() {
        let why =
            if before.is_none() { "the first epoch has nothing to close" } else { "it does not say what it closes" };
        fault(Code::BadClosing, why.to_owned());
    }
}

/// What the epochs so far have tied together for ever. Carried along from one epoch to the next: to gather it anew for each
/// would cost the cube of a fleet whose clusters came one by one.
#[derive(Default)]
struct Ties<'a> {
    /// Every name of a cluster with its id, in the order in which they came.
    clusters: Vec<(&'a ClusterName, HexId<16>)>,
    /// Where they stand in `clusters`.
    names: BTreeMap<&'a ClusterName, Vec<usize>>,
    ids: BTreeMap<HexId<16>, Vec<usize>>,
    /// Where each hash stood first, and which hash stood first in each place.
    places: BTreeMap<Digest, Listed<'a>>,
    hashes: BTreeMap<Listed<'a>, Digest>,
}

/// One generation of a keyset of a cluster.
type Listed<'a> = (&'a ClusterName, Keyset, Generation);

/// What an epoch says, by itself and against all before it.
fn check_content<'a>(chain: &'a Chain, index: usize, ties: &mut Ties<'a>, findings: &mut Vec<Finding>) {
    let path = epoch_path(count(index + 1));
    let epoch = &chain.epochs[index].epoch;
    let earlier = &chain.epochs[..index];
    let mut fault = |code, why: String| findings.push(Finding::new(code, why).at(&path));
    let voters = epoch.persons.values().filter(|person| person.role.votes()).count();
    if count(voters) < epoch.threshold.trust {
        let why = format!("{} signatures are needed and {voters} persons could sign", epoch.threshold.trust);
        fault(Code::ThresholdUnreachable, why);
    }
    check_powers(epoch, &mut fault);
    check_ids(epoch, ties, &mut fault);
    check_generations(epoch, ties, &mut fault);
    check_former(epoch, earlier.last().map(|before| &before.epoch), &mut fault);
    check_returns(epoch, chain, &mut fault);
}

fn check_powers(epoch: &Epoch, fault: &mut impl FnMut(Code, String)) {
    for (name, cluster) in &epoch.clusters {
        let named: BTreeSet<_> =
            cluster.keyholders.iter().chain(&cluster.issuers).chain(cluster.groups.keys()).collect();
        for person in named {
            match epoch.persons.get(person) {
                None => fault(Code::UnknownPerson, format!("cluster {name} names {person}, who is no person of it")),
                Some(found) if found.role == super::TrustRole::Recovery => {
                    fault(Code::RecoveryPower, format!("{person} has the role recovery and a part in cluster {name}"));
                }
                Some(_) => {}
            }
        }
    }
}

/// A name and an id belong together for ever.
fn check_ids<'a>(epoch: &'a Epoch, ties: &mut Ties<'a>, fault: &mut impl FnMut(Code, String)) {
    let Ties { clusters, names, ids, .. } = ties;
    for (name, cluster) in &epoch.clusters {
        let of_name = names.entry(name).or_default();
        if !of_name.iter().any(|at| clusters[*at].1 == cluster.id) {
            of_name.push(clusters.len());
            ids.entry(cluster.id).or_default().push(clusters.len());
            clusters.push((name, cluster.id));
        }
    }
    for (name, cluster) in &epoch.clusters {
        let others = names[name].iter().filter(|at| clusters[**at].1 != cluster.id);
        let clash = others.chain(ids[&cluster.id].iter().filter(|at| clusters[**at].0 != name)).min();
        if let Some((other, id)) = clash.map(|at| clusters[*at]) {
            fault(Code::ClusterId, format!("cluster {name} has the id {}, and {other} {id}", cluster.id));
        }
    }
}

/// A generation's hash never changes, and no hash stands in two places.
fn check_generations<'a>(epoch: &'a Epoch, ties: &mut Ties<'a>, fault: &mut impl FnMut(Code, String)) {
    for (name, keyset, generation, digest) in listed(epoch) {
        let place = (name, keyset, generation);
        let first = *ties.places.entry(digest).or_insert(place);
        if first != place {
            let (name, keyset, generation) = first;
            fault(Code::KeyReuse, format!("{}/{} {} is also {name}/{keyset} {generation}", place.0, place.1, place.2));
        }
        let first = *ties.hashes.entry(place).or_insert(digest);
        if first != digest {
            fault(Code::GenerationChanged, format!("{name}/{keyset} {generation} had the hash {first} before"));
        }
    }
}

fn listed(epoch: &Epoch) -> impl Iterator<Item = (&ClusterName, Keyset, Generation, Digest)> {
    epoch.clusters.iter().flat_map(|(name, cluster)| {
        cluster.keysets.iter().flat_map(move |(keyset, generations)| {
            generations.iter().map(move |(generation, digest)| (name, *keyset, *generation, *digest))
        })
    })
}

/// `former` grows by exactly those whose certificate is gone or another, and is never rewritten.
fn check_former(epoch: &Epoch, before: Option<&Epoch>, fault: &mut impl FnMut(Code, String)) {
    let old = before.map_or(&[][..], |before| &before.former);
    let mut due: BTreeMap<_, _> = before
        .into_iter()
        .flat_map(|before| &before.persons)
        .filter(|(name, person)| epoch.persons.get(*name).is_none_or(|now| now.cert != person.cert))
        .map(|(name, person)| (name, &person.cert))
        .collect();
    if !epoch.former.starts_with(old) {
        return fault(Code::FormerMissing, "`former` was rewritten".to_owned());
    }
    for former in &epoch.former[old.len()..] {
        if due.remove(&former.person) != Some(&former.cert) || former.epoch != epoch.number {
            fault(
                Code::FormerMissing,
                format!("`former` names {} with {}, who did not leave here", former.person, former.cert),
            );
        }
    }
    for (name, cert) in due {
        fault(Code::FormerMissing, format!("{name} had {cert} in the epoch before, and `former` does not say why"));
    }
}

/// Names that left come back only as FORMAT 4 allows; compromised certificates never.
fn check_returns(epoch: &Epoch, chain: &Chain, fault: &mut impl FnMut(Code, String)) {
    for former in epoch.former.iter().filter(|former| former.epoch <= epoch.number) {
        if former.reason == FormerReason::Compromised {
            for (name, _) in epoch.persons.iter().filter(|(_, person)| person.cert == former.cert) {
                fault(Code::KeyReuse, format!("{name} has {}, which was called compromised", former.cert));
            }
        }
        let left = chain.get(former.epoch).is_some_and(|then| !then.epoch.persons.contains_key(&former.person));
        let Some(person) = epoch.persons.get(&former.person).filter(|_| left) else { continue };
        let refused = match former.reason {
            FormerReason::Left => person.cert != former.cert,
            FormerReason::Compromised => true,
            FormerReason::Replaced | FormerReason::Lost => false,
        };
        if refused {
            let why = format!("the name {} left with reason {}", former.person, former.reason.as_str());
            fault(Code::NameReuse, why);
        }
    }
}
