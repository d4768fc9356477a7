//! The latest valid epoch, without the log: for a command that runs at every call of kubectl and can't afford to judge a
//! repository of hundreds of clusters. Reads `trust/epoch/` and `pubkeys/` alone. Pure.

use std::collections::BTreeSet;

use super::anchor::{self, Anchor};
use super::chain::{self, Chain};
use super::epoch::{Epoch, Person};
use super::files;
use super::tree::Tree;
use super::verify::is_draft;
use crate::model::{ClusterName, Code, Digest, Finding, Level, PersonName, Place, Remedy};
use crate::openpgp::Certificate;

/// The latest valid epoch of `tree`, which holds at least all of `trust/epoch/` and `pubkeys/`. Fails with what is wrong
/// with the epochs, their signatures, the people's OpenPGP certificates or the anchor; a last epoch that lacks
/// signatures is passed over.
///
/// The heads of the log that are pinned are not looked for: there is no log here. Of an epoch that is pinned, clusters
/// other than `cluster` may be left out.
pub fn latest(tree: &Tree, anchor: Option<&Anchor>, cluster: Option<&ClusterName>) -> Result<Epoch, Vec<Finding>> {
    if let Some(epoch) = anchor.and_then(|anchor| known(tree, anchor, cluster)) {
        return Ok(epoch);
    }
    let anchor = anchor.map(|anchor| Anchor { heads: Vec::new(), ..anchor.clone() });
    let (chain, mut findings) = chain::read(tree);
    findings.extend(files::check(tree));
    findings.extend(anchor::check(tree, &chain, anchor.as_ref()));
    let passed_over = is_draft(&chain);
    findings.retain(|finding| finding.level == Level::Error && !(passed_over && finding.code.is_missing_signature()));
    match own_epoch(chain) {
        Some(epoch) if findings.is_empty() => Ok(epoch),
        _ if !findings.is_empty() => Err(findings),
        _ => Err(vec![Finding::new(Code::EpochNumber, "there is no valid epoch").at("trust/epoch/0001.toml")]),
    }
}

fn own_epoch(chain: Chain) -> Option<Epoch> {
    (!chain.is_cut()).then(|| chain.latest().map(|latest| latest.epoch.clone())).flatten()
}

/// The pinned epoch, where the tree has it and no later one that could be valid.
///
/// A pin moves only to an epoch that a whole verify found valid on this machine, or that a person compared over another
/// channel; its hash chains all epochs before it. So bytes with that hash need no second look at signatures, which in an
/// old and large repository would be most of the cost of a call. What could have come since is judged in full, unless it
/// can't have its signatures: fewer persons have signed it than the pinned epoch demands.
fn known(tree: &Tree, anchor: &Anchor, cluster: Option<&ClusterName>) -> Option<Epoch> {
    let (number, _) = *anchor.epochs.iter().max_by_key(|(number, _)| *number)?;
    let bytes = |number: u32| tree.bytes(&Place::Epoch(number).to_string());
    let pinned = |(number, sha256): &(u32, Digest)| bytes(*number).is_some_and(|bytes| Digest::of(bytes) == *sha256);
    if !anchor.epochs.iter().all(pinned) {
        return None;
    }
    let whole = bytes(number)?;
    let part = cluster.and_then(|cluster| Epoch::parse(&without_others(whole, cluster)).ok());
    let epoch = part.or_else(|| Epoch::parse(whole).ok())?;
    let mut later: BTreeSet<u32> = BTreeSet::new();
    let mut signers: BTreeSet<PersonName> = BTreeSet::new();
    for (path, _) in tree.below("trust/epoch/") {
        match Place::parse(path) {
            Ok(Place::Epoch(found)) => drop((found > number).then(|| later.insert(found))),
            Ok(Place::EpochSignature { number: found, person, .. }) if found == number + 1 => {
                signers.insert(person);
            }
            Ok(Place::EpochSignature { .. }) => {}
            // What doesn't belong there is said by the look at everything.
            _ => return None,
        }
    }
    let short = signers.len() < usize::try_from(epoch.threshold.trust).unwrap_or(usize::MAX);
    let is_last = later.is_empty() || (short && later.iter().eq([&(number + 1)]));
    (is_last && epoch.repo == anchor.repo && epoch.number == number).then_some(epoch)
}

/// A canonical epoch without the tables of other clusters, which is canonical too: nearly all of a large epoch, and nearly
/// all of the time that it takes to parse. Only for bytes whose hash was compared before.
fn without_others(bytes: &[u8], cluster: &ClusterName) -> Vec<u8> {
    let name = cluster.as_str();
    let key = if name.contains('.') { format!("[cluster.\"{name}\"") } else { format!("[cluster.{name}") };
    let is_own = |line: &[u8]| {
        line.strip_prefix(key.as_bytes()).is_some_and(|rest| rest.starts_with(b".") || rest.starts_with(b"]"))
    };
    let (mut part, mut left_out) = (Vec::new(), false);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b"[") {
            left_out = line.starts_with(b"[cluster.") && !is_own(line);
        }
        if !left_out {
            part.extend_from_slice(line);
        }
    }
    part
}

/// The OpenPGP certificate that the latest epoch pins for `name`. It lies aside where a draft pins another one. Fails where
/// other bytes, or none, lie at its places.
pub fn certificate(tree: &Tree, name: &PersonName, person: &Person) -> Result<Certificate, Vec<Finding>> {
    let places = [Place::PublicKey(name.clone()), Place::OldPublicKey(person.cert_sha256.h16())];
    let path = places[0].to_string();
    let restore = || Remedy::GitRestore(path.clone());
    let fault = |code, why: String| vec![Finding::new(code, why).at(&path).of(name).fix(restore())];
    let pinned = |bytes: &&[u8]| Digest::of(bytes) == person.cert_sha256;
    match places.iter().filter_map(|place| tree.bytes(&place.to_string())).find(pinned) {
        Some(bytes) => Certificate::parse_stored(bytes).map_err(|error| fault(error.code(), error.to_string())),
        None if tree.entries.contains_key(&path) => {
            Err(fault(Code::CertHash, "the bytes are not those that the latest epoch pins".to_owned()))
        }
        None => Err(fault(Code::MissingFile, "the latest epoch pins this certificate, and it is not there".to_owned())),
    }
}
