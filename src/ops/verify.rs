//! `verify`: judges a whole tree by its files, the pin and the time. Opens no git repository (an unpacked archive
//! will do), needs no key and no network, and changes nothing but this machine's own pins.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::failure::Failure;
use super::pinning::Pinning;
use super::session::Session;
use crate::model::{Digest, Finding, HexId, Level, PersonName, Remedy};
use crate::trust::{self, Verified};

/// What was verified; `data` of the report.
#[derive(Debug, Serialize)]
pub struct Verification {
    /// The repository's id; none where no epoch can be read.
    pub repo: Option<HexId<32>>,
    /// The number of the latest valid epoch.
    pub epoch: Option<u32>,
    /// The epoch that lacks signatures, if there is one.
    pub draft: Option<Waiting>,
    /// How many records the log has.
    pub records: usize,
    /// How many clusters the latest epoch lists.
    pub clusters: usize,
    /// How many files the managed trees have.
    pub files: usize,
    /// The heads of the log.
    pub heads: Vec<Digest>,
    /// How many findings there are of each code.
    pub codes: BTreeMap<&'static str, usize>,
}

/// An epoch that waits for signatures.
#[derive(Debug, Serialize)]
pub struct Waiting {
    /// Its number.
    pub number: u32,
    /// Who of these still has to sign; a threshold may need only some of them.
    pub missing: Vec<PersonName>,
}

impl Waiting {
    /// The draft of a tree.
    pub fn of(verified: &Verified) -> Option<Self> {
        let draft = verified.chain.draft()?;
        Some(Self { number: draft.epoch.number, missing: draft.missing.people().into_iter().collect() })
    }
}

/// Verifies the tree at or above the session's folder. Offers the first use on a terminal. With `strict`, what is
/// owed counts as an error. Fails only where there is no tree, or the first use was refused.
pub fn verify(session: &mut Session) -> Result<(Verification, Vec<Finding>), Failure> {
    let root = find_root(&session.settings.dir)?;
    let strict = session.settings.strict;
    let tree = crate::repo::read_tree(&root)?;
    let mut pinning = Pinning::of_folder(&session.settings, &root)?;
    let mut verified = trust::verify(tree, pinning.anchor().as_ref(), session.now, strict);
    if pinning.is_first_use() && session.terminal.is_interactive() {
        pinning.first_use(&verified, &mut session.terminal)?;
        verified = trust::verify(verified.tree, pinning.anchor().as_ref(), session.now, strict);
    }
    pinning.check_place(&mut verified);
    if strict {
        for finding in verified.findings.iter_mut().filter(|finding| finding.level == Level::Attention) {
            finding.level = Level::Error;
        }
    }
    if matches!(verified.exit(), 0 | 5) {
        pinning.advance(&verified)?;
    }
    Ok((Verification::of(&verified), verified.findings))
}

impl Verification {
    fn of(verified: &Verified) -> Self {
        let latest = verified.chain.latest().map(|latest| &latest.epoch);
        let mut codes = BTreeMap::new();
        for finding in &verified.findings {
            *codes.entry(finding.code.as_str()).or_default() += 1;
        }
        Self {
            repo: verified.chain.all().first().map(|first| first.epoch.repo),
            epoch: latest.map(|latest| latest.number),
            draft: Waiting::of(verified),
            records: verified.log.records.len(),
            clusters: latest.map_or(0, |latest| latest.clusters.len()),
            files: verified.tree.entries.len(),
            heads: verified.log.heads(),
            codes,
        }
    }
}

/// The nearest folder at or above `dir` that has a `trust/`: a command may be given anywhere in a repository, and
/// git, which would know its root, is not asked. A tree planted in between is an unknown repository: exit 4.
pub(super) fn find_root(dir: &Path) -> Result<PathBuf, Failure> {
    let real = dir.canonicalize().map_err(|error| Failure::usage(format!("{}: {error}", dir.display())))?;
    let root = real.ancestors().find(|folder| folder.join("trust").symlink_metadata().is_ok());
    root.map(Path::to_owned).ok_or_else(|| {
        let what = format!("there is no trust/ in {} or above it: this is no repository of kluis", real.display());
        Failure::refused(what).help(Remedy::Init)
    })
}
