//! `trust compare`: whether this checkout and a colleague's line, or another checkout, tell the same story.
//! Needs no pin: it is what one does before pinning, and after a fork was seen.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Serialize;

use crate::model::{Code, Digest, Finding, HexId, Level, PersonName, Remedy};
use crate::ops::failure::Failure;
use crate::ops::pinning::names;
use crate::ops::session::{Gate, Session};
use crate::repo::{WorkTree, read_tree};
use crate::trust::anchor::PinLine;
use crate::trust::chain::ChainedEpoch;
use crate::trust::log::{self, Log};
use crate::trust::{self, Verified};

/// How this checkout stands to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Relation {
    /// The same epochs and the same records.
    Same,
    /// This one has more.
    Ahead,
    /// The other one has more.
    Behind,
    /// Each has records that the other lacks; they can be merged.
    Diverged,
    /// Two valid epochs have the same number: somebody signed both.
    Fork,
    /// Not the same repository at all.
    OtherRepository,
}

/// One of the two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Side {
    /// The repository's id.
    pub repo: HexId<32>,
    /// Its latest valid epoch.
    pub epoch: u32,
    /// The hash of that.
    pub sha256: Digest,
    /// The heads of its log.
    pub heads: Vec<Digest>,
}

/// The first number at which they part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fork {
    /// The number.
    pub epoch: u32,
    /// The hash here.
    pub here: Digest,
    /// Who signed it here.
    pub here_signed: BTreeSet<PersonName>,
    /// The hash there.
    pub there: Digest,
    /// Who signed it there; none where the other is a line.
    pub there_signed: Option<BTreeSet<PersonName>>,
}

/// The outcome.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// How this checkout stands to the other.
    pub relation: Relation,
    /// This checkout.
    pub here: Side,
    /// The other.
    pub there: Side,
    /// Where they part.
    pub fork: Option<Fork>,
    /// Whether both have a draft of the same number with different hashes.
    pub other_draft: bool,
}

impl Comparison {
    /// What is wrong: a fork, or another repository.
    pub fn findings(&self) -> Vec<Finding> {
        let ask = Remedy::Run("git log --format=fuller -- trust/epoch".to_owned());
        let parted = self.fork.as_ref().map(|fork| {
            let there = fork.there_signed.as_ref().map(|signed| format!(" (signed by {})", names(signed)));
            format!(
                "epoch {} is {} here (signed by {}) and {} there{}",
                fork.epoch,
                fork.here,
                names(&fork.here_signed),
                fork.there,
                there.unwrap_or_default()
            )
        });
        match self.relation {
            Relation::Fork => vec![Finding::new(Code::Fork, parted.unwrap_or_default()).fix(ask)],
            Relation::OtherRepository => {
                let ids = format!("this is repository {}, the other is {}", self.here.repo, self.there.repo);
                vec![Finding::new(Code::GenesisMismatch, parted.unwrap_or(ids)).fix(ask)]
            }
            Relation::Same | Relation::Ahead | Relation::Behind | Relation::Diverged => Vec::new(),
        }
    }
}

/// One checkout, read.
struct Checkout<'a> {
    verified: &'a Verified,
    latest: &'a ChainedEpoch,
    log: Log,
}

impl<'a> Checkout<'a> {
    fn of(verified: &'a Verified, which: &str) -> Result<Self, Failure> {
        if verified.is_invalid() && !verified.is_only_unsigned_draft() {
            let errors = verified.findings.iter().filter(|f| f.level == Level::Error && !f.code.is_anchor());
            return Err(Failure::findings(format!("{which} is invalid"), errors.cloned().collect()));
        }
        let latest = verified.chain.latest();
        let latest = latest.ok_or_else(|| Failure::refused(format!("{which} has no valid epoch")))?;
        let (log, _) = log::load(&verified.tree, &verified.chain);
        Ok(Self { verified, latest, log })
    }

    fn side(&self) -> Side {
        Side {
            repo: self.latest.epoch.repo,
            epoch: self.latest.epoch.number,
            sha256: self.latest.sha256,
            heads: self.log.heads(),
        }
    }
}

/// Compares this checkout with a colleague's line.
pub fn with_line(session: &mut Session, line: &PinLine) -> Result<Comparison, Failure> {
    let repository = session.open_reading(&Gate::Anything)?;
    let here = Checkout::of(&repository.verified, "this checkout")?;
    let there = Side { repo: line.repo, epoch: line.epoch, sha256: line.sha256, heads: line.heads.clone() };
    let mut comparison =
        Comparison { relation: Relation::Same, here: here.side(), there, fork: None, other_draft: false };
    let ours = here.verified.chain.get(line.epoch);
    let is_valid = line.epoch <= comparison.here.epoch;
    if comparison.here.repo != line.repo {
        comparison.relation = Relation::OtherRepository;
    } else if let (Some(ours), true) = (ours.filter(|ours| ours.sha256 != line.sha256), is_valid) {
        comparison.fork = Some(Fork {
            epoch: line.epoch,
            here: ours.sha256,
            here_signed: ours.signers.clone(),
            there: line.sha256,
            there_signed: None,
        });
        comparison.relation = if line.epoch == 1 { Relation::OtherRepository } else { Relation::Fork };
    } else {
        comparison.other_draft = !is_valid && ours.is_some_and(|ours| ours.sha256 != line.sha256);
        let known: Vec<usize> = line.heads.iter().filter_map(|head| here.log.dag.find(head)).collect();
        let lacks = known.len() < line.heads.len();
        let reached = here.log.dag.reach(known);
        // Behind a head that is not here may lie anything, so nothing is known to be missing there.
        let more = !lacks && !line.heads.is_empty() && reached.count() < here.log.records.len();
        comparison.relation = relation(line.epoch < comparison.here.epoch || more, !is_valid || lacks);
    }
    Ok(comparison)
}

/// Compares this checkout with the one at `path`.
pub fn with_checkout(session: &mut Session, path: &Path) -> Result<Comparison, Failure> {
    let other = match read_tree(path)? {
        // A folder inside a checkout will do, as with -C.
        tree if tree.entries.is_empty() => read_tree(WorkTree::open(path)?.root())?,
        tree => tree,
    };
    let repository = session.open_reading(&Gate::Anything)?;
    let here = Checkout::of(&repository.verified, "this checkout")?;
    let other = trust::verify(other, None, session.now, false);
    let there = Checkout::of(&other, "the other checkout")?;
    let mut comparison =
        Comparison { relation: Relation::Same, here: here.side(), there: there.side(), fork: None, other_draft: false };
    let both = here.latest.epoch.number.min(there.latest.epoch.number);
    let pairs = here.verified.chain.all().iter().zip(other.chain.all());
    let parted =
        pairs.filter(|(ours, _)| ours.epoch.number <= both).find(|(ours, theirs)| ours.sha256 != theirs.sha256);
    comparison.fork = parted.map(|(ours, theirs)| Fork {
        epoch: ours.epoch.number,
        here: ours.sha256,
        here_signed: ours.signers.clone(),
        there: theirs.sha256,
        there_signed: Some(theirs.signers.clone()),
    });
    comparison.relation = match &comparison.fork {
        _ if comparison.here.repo != comparison.there.repo => Relation::OtherRepository,
        Some(fork) if fork.epoch == 1 => Relation::OtherRepository,
        Some(_) => Relation::Fork,
        None => {
            let lacks = |this: &Log, other: &Log| other.records.iter().any(|r| this.dag.find(&r.sha256).is_none());
            let (ours, theirs) = (comparison.here.epoch, comparison.there.epoch);
            let ahead = ours > theirs || lacks(&there.log, &here.log);
            relation(ahead, theirs > ours || lacks(&here.log, &there.log))
        }
    };
    let drafts = here.verified.chain.draft().zip(other.chain.draft());
    comparison.other_draft = comparison.relation != Relation::OtherRepository
        && drafts
            .is_some_and(|(ours, theirs)| ours.epoch.number == theirs.epoch.number && ours.sha256 != theirs.sha256);
    Ok(comparison)
}

fn relation(ahead: bool, behind: bool) -> Relation {
    match (ahead, behind) {
        (false, false) => Relation::Same,
        (true, false) => Relation::Ahead,
        (false, true) => Relation::Behind,
        (true, true) => Relation::Diverged,
    }
}
