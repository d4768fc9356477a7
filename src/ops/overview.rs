//! `report`: the whole repository at one glance, as values: who can read what and what changed, when things end, who
//! signed which epoch, every certificate, every break-glass, rotations under way. Joins what others find out and judges
//! nothing itself; how it reads, and what HTML is, belongs to the command line.
//!
//! Works on any tree, as `status` does. A page that is not written leaves yesterday's, which says that all is well; so
//! where nobody can say which records count, it says that and no more.

mod glass;
mod matrix;
mod timeline;

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Serialize;

pub use glass::{Deed, Event};
pub use matrix::{Access, Cell, Column, Matrix, Row, Rows, Turn};
pub use timeline::{Bar, Chart, Mark, Stretch, Timeline};

use super::cert::view::{self, CertLine};
use super::failure::Failure;
use super::pinning::pin_line;
use super::rotate::{self, ClusterRotation, KeysetRotation};
use super::session::{Gate, Repository, Session};
use super::status::{self, Status};
use super::trust::standing;
use super::verify::Waiting;
use crate::model::{ClusterName, Digest, Finding, Level, PersonName, Remedy, Time};
use crate::trust::chain::ChainedEpoch;
use crate::trust::difference::{Change, difference};
use crate::trust::{self, Verified};

/// Everything that the page shows, but for the findings; `data` of the report.
#[derive(Debug, Serialize)]
pub struct Overview {
    /// As of when.
    pub at: Time,
    /// The line that pins this state: the repository, its latest valid epoch, the heads of the log.
    pub pin: Option<String>,
    /// Whether anybody can say which records count; where not, the lists below that depend on it are empty.
    pub judged: bool,
    /// How many files the managed trees have.
    pub files: usize,
    /// The epoch since which changes are marked: what it closed is how things were before.
    pub since: Option<u32>,
    /// What the latest epoch changes against that one.
    pub changes: Vec<Change>,
    /// What there is, what waits and what ends next.
    pub status: Status,
    /// People and secrets.
    pub matrix: Matrix,
    /// Expiries and rotations over time.
    pub timeline: Timeline,
    /// Every epoch, the newest first, the draft included.
    pub epochs: Vec<EpochLine>,
    /// Every certificate that was ever issued.
    pub certificates: Vec<CertLine>,
    /// Break-glass certificates, and what was said of requests for them; the newest first.
    pub break_glass: Vec<Event>,
    /// Clusters of which a keyset is being rotated.
    pub rotations: Vec<ClusterRotation>,
}

/// An epoch in the chain.
#[derive(Debug, Serialize)]
pub struct EpochLine {
    /// Its number.
    pub number: u32,
    /// The hash of its file.
    pub sha256: Digest,
    /// `latest`, `earlier` or `draft`.
    pub state: &'static str,
    /// When it was drafted.
    pub created: Time,
    /// When it expires.
    pub expires: Time,
    /// Why.
    pub reason: String,
    /// Who has signed it.
    pub signed: BTreeSet<PersonName>,
    /// Whose signatures would help; nobody's unless it is a draft.
    pub missing: BTreeSet<PersonName>,
    /// How many records it closed.
    pub closed_records: u32,
    /// What it changes against the one before; nothing for the first.
    pub changes: Vec<Change>,
}

/// What was gathered.
pub struct Gathered {
    /// What the page shows.
    pub overview: Overview,
    /// What is wrong or owed.
    pub findings: Vec<Finding>,
    /// The folder that has the managed trees.
    pub root: PathBuf,
}

/// Gathers everything, of these clusters alone if any are named; changes are marked since the epoch `since`, or since the
/// one before the latest. Needs no key. Fails where a cluster or the epoch is unknown.
pub fn overview(session: &mut Session, clusters: &[ClusterName], since: Option<u32>) -> Result<Gathered, Failure> {
    let mut repository = session.open_reading(&Gate::Anything)?;
    for name in clusters {
        repository.cluster(name)?;
    }
    let now = session.now;
    // The draft does not count yet, and stands in the chain.
    let epochs = epochs(&repository.verified);
    let draft = Waiting::of(&repository.verified);
    let findings = leave_draft_aside(&mut repository, now);
    let verified = &repository.verified;
    let since = baseline(verified, since)?;
    let latest = verified.chain.latest().map(|latest| &latest.epoch);
    let listed = latest.into_iter().flat_map(|latest| latest.clusters.keys());
    let wanted: Vec<ClusterName> =
        listed.filter(|name| clusters.is_empty() || clusters.contains(name)).cloned().collect();
    let before = since.and_then(|since| verified.chain.get(since));
    let overview = Overview {
        at: now,
        pin: pin_line(verified).map(|line| line.to_string()),
        judged: is_judged(verified),
        files: verified.tree.entries.len(),
        since,
        changes: before.zip(latest).map(|(before, latest)| difference(&before.epoch, latest)).unwrap_or_default(),
        status: Status { draft, ..status::of(verified, clusters, now) },
        matrix: matrix::of(verified, &wanted, since, now),
        timeline: timeline::of(verified, &wanted, now),
        epochs,
        certificates: view::list(&repository, &wanted, true, now).certificates,
        break_glass: glass::events(verified, clusters, now),
        rotations: wanted.iter().filter_map(|name| rotation(&repository, name)).collect(),
    };
    Ok(Gathered { overview, findings, root: repository.root().to_owned() })
}

/// Judges the repository without a draft that lacks signatures, and returns what is wrong and owed then.
fn leave_draft_aside(repository: &mut Repository, now: Time) -> Vec<Finding> {
    let verified = &repository.verified;
    if !verified.is_only_unsigned_draft() {
        return verified.findings.clone();
    }
    let judged = trust::without_draft(&verified.tree, &verified.chain, now);
    // It was judged without a pin: what the pin says against the tree is known from before.
    let anchor = verified.findings.iter().filter(|finding| finding.code.is_anchor());
    let owed = judged.findings.iter().filter(|finding| !finding.code.is_anchor());
    let findings = anchor.chain(owed).cloned().collect();
    repository.verified = judged;
    findings
}

/// A log that was read has an entry for each epoch there; none is read where an epoch is at fault.
fn is_judged(verified: &Verified) -> bool {
    !verified.log.closed.is_empty() && !verified.log.incomplete
}

/// The epoch since which changes are marked.
fn baseline(verified: &Verified, since: Option<u32>) -> Result<Option<u32>, Failure> {
    let latest = verified.chain.latest().map_or(0, |latest| latest.epoch.number);
    match since {
        None => Ok(latest.checked_sub(1).filter(|number| *number > 0)),
        Some(number) if (1..=latest).contains(&number) => Ok(Some(number)),
        Some(number) => {
            let what = format!("there is no epoch {number} that counts; the last one is {latest}");
            Err(Failure::usage(what).help(Remedy::Kluis("trust show".to_owned())))
        }
    }
}

/// The chain, the newest first.
fn epochs(verified: &Verified) -> Vec<EpochLine> {
    let all = verified.chain.all();
    let line = |(index, this): (usize, &ChainedEpoch)| {
        let before = index.checked_sub(1).and_then(|before| all.get(before));
        let epoch = &this.epoch;
        EpochLine {
            number: epoch.number,
            sha256: this.sha256,
            state: standing(verified, epoch.number),
            created: epoch.created,
            expires: epoch.expires,
            reason: epoch.reason.clone(),
            signed: this.signers.clone(),
            missing: this.missing.people(),
            closed_records: epoch.closes.as_ref().map_or(0, |closes| closes.count),
            changes: before.map(|before| difference(&before.epoch, epoch)).unwrap_or_default(),
        }
    };
    all.iter().enumerate().rev().map(line).collect()
}

/// Where the rotation of a cluster stands, if one is under way. Where the cluster's files are at fault nobody can say, and
/// the findings say that.
fn rotation(repository: &Repository, name: &ClusterName) -> Option<ClusterRotation> {
    let rotations = rotate::status(repository, std::slice::from_ref(name), false).ok()?;
    rotations.clusters.into_iter().find(|one| one.keysets.iter().any(KeysetRotation::is_under_way))
}

/// How many findings there are of a level.
pub fn count(findings: &[Finding], level: Level) -> usize {
    findings.iter().filter(|finding| finding.level == level).count()
}
