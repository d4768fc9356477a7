//! `trust show`: an epoch as values, the difference between two, the draft with who signed it. Read only.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::Proposal;
use crate::model::{ClusterName, Digest, Fingerprint, Generation, HexId, Keyset, PersonName, Remedy, Span, Time};
use crate::ops::failure::Failure;
use crate::ops::people::{self, PersonView};
use crate::ops::session::Repository;
use crate::trust::chain::{Chain, ChainedEpoch};
use crate::trust::difference::{Change, difference};
use crate::trust::{Cluster, FormerReason, Tree, Verified};

/// A record that a draft does not close.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unclosed {
    /// Its hash.
    pub record: Digest,
    /// Who made it.
    pub actor: PersonName,
    /// When, by their own word.
    pub time: Time,
    /// What they ran.
    pub command: String,
}

/// A cluster of an epoch.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the keys of FORMAT 4")]
pub struct ClusterView {
    pub name: ClusterName,
    pub id: HexId<16>,
    pub api: String,
    pub keyholders: BTreeSet<PersonName>,
    pub issuers: BTreeSet<PersonName>,
    pub retired: bool,
    pub groups: BTreeMap<PersonName, BTreeSet<String>>,
    pub keysets: BTreeMap<String, BTreeMap<String, Digest>>,
}

/// Somebody whose certificate is gone or another.
#[derive(Debug, Serialize)]
pub struct FormerView {
    pub person: PersonName,
    pub cert: Fingerprint,
    pub epoch: u32,
    pub reason: FormerReason,
}

/// What the quorum decided to live with.
#[derive(Debug, Serialize)]
pub struct WaivedView {
    pub cluster: ClusterName,
    pub what: String,
    pub until: Time,
    pub reason: String,
}

/// Thresholds and limits.
#[derive(Debug, Serialize)]
pub struct RulesView {
    pub trust: u32,
    pub break_glass: u32,
    pub max_client: Span,
    pub max_break_glass: Span,
    pub max_quiet: Span,
}

/// An epoch.
#[derive(Debug, Serialize)]
pub struct EpochView {
    /// Its number.
    pub number: u32,
    /// The hash of its file.
    pub sha256: Digest,
    /// `latest`, `earlier` or `draft`.
    pub state: &'static str,
    /// The hash of the epoch before.
    pub previous: Option<Digest>,
    /// When it was drafted.
    pub created: Time,
    /// When it expires.
    pub expires: Time,
    /// Why.
    pub reason: String,
    /// Thresholds and limits.
    pub rules: RulesView,
    /// Persons by name.
    pub persons: Vec<PersonView>,
    /// Clusters by name.
    pub clusters: Vec<ClusterView>,
    /// Everyone whose certificate is gone or another.
    pub former: Vec<FormerView>,
    /// What the quorum decided to live with.
    pub waived: Vec<WaivedView>,
    /// Heads of the log that it closed.
    pub closed_heads: Vec<Digest>,
    /// The number of records that it closed.
    pub closed_records: u32,
    /// Who has signed it.
    pub signed: BTreeSet<PersonName>,
    /// Whose signatures would help; nobody's unless it is a draft.
    pub missing: BTreeSet<PersonName>,
}

/// What `trust show` says.
#[derive(Debug, Serialize)]
pub struct Shown {
    /// The repository's id.
    pub repo: HexId<32>,
    /// The epoch.
    pub epoch: EpochView,
    /// The number of the epoch that it is compared with.
    pub from: Option<u32>,
    /// What it changes against that.
    pub changes: Option<Vec<Change>>,
    /// The draft, where the latest epoch is shown.
    pub draft: Option<Proposal>,
}

/// Shows epoch `number`, or the latest and the draft; with `from`, what `number` changes against it.
pub fn show(repository: &Repository, number: Option<u32>, from: Option<u32>) -> Result<Shown, Failure> {
    let verified = &repository.verified;
    let latest = verified.chain.latest();
    let latest = latest.ok_or_else(|| Failure::refused("there is no valid epoch").help(Remedy::Verify))?;
    let find = |number: u32| {
        let unknown = || {
            let what = format!("there is no epoch {number}; the last one is {}", verified.chain.all().len());
            Failure::usage(what).help(Remedy::Kluis("trust show".to_owned()))
        };
        verified.chain.get(number).ok_or_else(unknown)
    };
    let this = match number {
        Some(number) => find(number)?,
        None if from.is_some() => verified.chain.draft().unwrap_or(latest),
        None => latest,
    };
    let changes = match from {
        Some(from) => Some(difference(&find(from)?.epoch, &this.epoch)),
        None => None,
    };
    let draft = match (number, from) {
        (None, None) => super::proposal(repository)?,
        _ => None,
    };
    Ok(Shown { repo: latest.epoch.repo, epoch: view(verified, this), from, changes, draft })
}

/// `earlier`, `latest` or `draft`.
pub(in crate::ops) fn standing(verified: &Verified, number: u32) -> &'static str {
    let latest = verified.chain.latest().map_or(0, |latest| latest.epoch.number);
    match number.cmp(&latest) {
        std::cmp::Ordering::Less => "earlier",
        std::cmp::Ordering::Equal => "latest",
        std::cmp::Ordering::Greater => "draft",
    }
}

fn view(verified: &Verified, this: &ChainedEpoch) -> EpochView {
    let epoch = &this.epoch;
    let closes = epoch.closes.clone().unwrap_or_default();
    EpochView {
        number: epoch.number,
        sha256: this.sha256,
        state: standing(verified, epoch.number),
        previous: epoch.previous,
        created: epoch.created,
        expires: epoch.expires,
        reason: epoch.reason.clone(),
        rules: RulesView {
            trust: epoch.threshold.trust,
            break_glass: epoch.threshold.break_glass,
            max_client: epoch.policy.max_client,
            max_break_glass: epoch.policy.max_break_glass,
            max_quiet: epoch.policy.max_quiet,
        },
        persons: people::listing(verified, epoch).persons,
        clusters: epoch.clusters.iter().map(|(name, cluster)| cluster_view(name, cluster)).collect(),
        former: epoch
            .former
            .iter()
            .map(|f| FormerView { person: f.person.clone(), cert: f.cert.clone(), epoch: f.epoch, reason: f.reason })
            .collect(),
        waived: epoch
            .waived
            .iter()
            .map(|w| WaivedView {
                cluster: w.cluster.clone(),
                what: w.what.clone(),
                until: w.until,
                reason: w.reason.clone(),
            })
            .collect(),
        closed_heads: closes.heads,
        closed_records: closes.count,
        signed: this.signers.clone(),
        missing: this.missing.people(),
    }
}

fn cluster_view(name: &ClusterName, cluster: &Cluster) -> ClusterView {
    let generations = |listed: &BTreeMap<Generation, Digest>| {
        listed.iter().map(|(generation, sha256)| (generation.to_string(), *sha256)).collect()
    };
    let keysets = cluster.keysets.iter();
    ClusterView {
        name: name.clone(),
        id: cluster.id,
        api: cluster.api.clone(),
        keyholders: cluster.keyholders.clone(),
        issuers: cluster.issuers.clone(),
        retired: cluster.retired,
        groups: cluster.groups.clone(),
        keysets: keysets.map(|(keyset, listed): (&Keyset, _)| (keyset.to_string(), generations(listed))).collect(),
    }
}

/// The records that the draft does not close, oldest first. A proposer who leaves a colleague's record out
/// could let it drop unseen (T83).
pub fn not_closed(tree: &Tree, chain: &Chain) -> Vec<Unclosed> {
    let Some(draft) = chain.draft() else { return Vec::new() };
    let (log, _) = crate::trust::log::load(tree, chain);
    let at = usize::try_from(draft.epoch.number - 1).unwrap_or(usize::MAX);
    let closed = log.closed.get(at);
    let open = log.records.iter().enumerate().filter(|(index, _)| !closed.is_some_and(|set| set.contains(*index)));
    open.map(|(_, logged)| Unclosed {
        record: logged.sha256,
        actor: logged.record.actor.clone(),
        time: logged.record.time,
        command: logged.record.command.clone(),
    })
    .collect()
}
