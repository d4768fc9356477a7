//! `verify`: judges a whole tree by its files, the pin and the time. Opens no git repository (an unpacked archive
//! will do) unless a revision or history is asked for, needs no key and no network, and changes nothing but this
//! machine's own pins.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::failure::Failure;
use super::pinning::Pinning;
use super::session::Session;
use crate::model::{Code, Digest, Finding, HexId, Level, PersonName, Place, Remedy, displayed};
use crate::repo::{Blob, History};
use crate::trust::{self, Verified, range};

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

/// What is verified, beside the work tree.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// A revision instead of the work tree, read from git's objects.
    pub rev: Option<String>,
    /// A revision of which everything that was signed must still be there.
    pub base: Option<String>,
    /// Whether all history is searched for private keys.
    pub history: bool,
}

/// Verifies the tree at or above the session's folder, or a revision. Offers the first use on a terminal. With
/// `strict`, what is owed counts as an error. Fails only where there is no tree or no such revision, or the first use
/// was refused.
///
/// git is opened only where a revision or history is asked for. A revision moves no pin: what nobody merged yet need
/// not come about, and a pin on it would then call the repository rolled back.
pub fn verify(session: &mut Session, scope: &Scope) -> Result<(Verification, Vec<Finding>), Failure> {
    let strict = session.settings.strict;
    let mut verified = match &scope.rev {
        Some(rev) => verify_revision(session, rev)?,
        None => verify_folder(session)?,
    };
    if let Some(base) = &scope.base {
        let history = History::open(&session.settings.dir)?;
        let before = history.read(&history.resolve(base)?, &range::is_compared)?;
        if before.bytes(&Place::Epoch(1).to_string()).is_none() {
            session.notes.push(format!("{base} has no first epoch: there is nothing that must be unchanged"));
        }
        let found = range::check(&before, base, &verified.tree, &verified.chain);
        verified.findings.extend(found);
    }
    if scope.history {
        let found = search_history(session)?;
        verified.findings.extend(found);
    }
    if strict {
        for finding in verified.findings.iter_mut().filter(|finding| finding.level == Level::Attention) {
            finding.level = Level::Error;
        }
    }
    Ok((Verification::of(&verified), verified.findings))
}

fn verify_folder(session: &mut Session) -> Result<Verified, Failure> {
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
    if matches!(verified.exit(), 0 | 5) {
        pinning.advance(&verified)?;
    } else if crate::repo::is_half_written(&root) {
        let what = "a command is writing here, or was interrupted while it wrote; if none is at work, finish what it began \
                    before anything else: kluis status";
        session.notes.push(what.to_owned());
    }
    Ok(verified)
}

fn verify_revision(session: &mut Session, rev: &str) -> Result<Verified, Failure> {
    let history = History::open(&session.settings.dir)?;
    let revision = history.resolve(rev)?;
    let tree = history.read(&revision, &|_| true)?;
    let pinning = Pinning::of_revision(&session.settings, history.root(), &tree)?;
    let mut verified = trust::verify(tree, pinning.anchor().as_ref(), session.now, session.settings.strict);
    pinning.check_place(&mut verified);
    Ok(verified)
}

/// Searches every blob that this clone has for private keys in the clear (T26): taking a key out of the tree leaves it
/// in history, and in every clone.
fn search_history(session: &mut Session) -> Result<Vec<Finding>, Failure> {
    let history = History::open(&session.settings.dir)?;
    let mut findings = Vec::new();
    let mut look = |blob: &Blob<'_>| {
        if trust::holds_whole_secret(blob.bytes) {
            let commit = &blob.commit[..12];
            let why =
                format!("commit {commit} has a private key in the clear here: whoever has this history has the key");
            let look = Remedy::Run(format!("git log --all --oneline -- {}", displayed(blob.path)));
            findings.push(Finding::new(Code::SecretMaterial, why).at(displayed(blob.path)).fix(look));
        }
    };
    let progress = &mut session.progress;
    history.each_blob(&|_| true, &mut look, &mut |done, all| progress("searching history", done, all))?;
    if history.is_shallow() {
        findings.push(shallow("keys that were committed before its first commit are not seen"));
    }
    findings.sort_by(|a, b| (&a.path, &a.why).cmp(&(&b.path, &b.why)));
    Ok(findings)
}

/// A shallow clone has a part of history: what it leaves open is said, never taken for nothing (T9).
pub(super) fn shallow(what: &str) -> Finding {
    let why = format!("this clone is shallow: {what}");
    Finding::new(Code::HistoryIncomplete, why).fix(Remedy::Run("git fetch --unshallow".to_owned()))
}

/// What `verify --staged` looked at; `data` of its report.
#[derive(Debug, Serialize)]
pub struct Staged {
    /// How many staged files differ from the last commit.
    pub staged: usize,
}

/// Looks for private keys in what is staged, anywhere in the repository: what a pre-commit hook asks. Judges nothing
/// else, so that an unfinished change can be committed.
pub fn staged(session: &Session) -> Result<(Staged, Vec<Finding>), Failure> {
    let files = History::open(&session.settings.dir)?.staged(crate::env::git_index().as_deref())?;
    let secret = |(path, bytes): &(String, Vec<u8>)| {
        let shown = displayed(path);
        let why = "a private key in the clear is staged: once committed, it stays in history";
        let unstage = Remedy::Run(format!("git rm --cached -- {shown}"));
        trust::holds_whole_secret(bytes)
            .then(|| Finding::new(Code::SecretMaterial, why).at(shown.as_str()).fix(unstage))
    };
    Ok((Staged { staged: files.len() }, files.iter().filter_map(secret).collect()))
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
pub fn find_root(dir: &Path) -> Result<PathBuf, Failure> {
    let real = dir.canonicalize().map_err(|error| Failure::usage(format!("{}: {error}", dir.display())))?;
    let root = real.ancestors().find(|folder| folder.join("trust").symlink_metadata().is_ok());
    root.map(Path::to_owned).ok_or_else(|| {
        let what = format!("there is no trust/ in {} or above it: this is no repository of kluis", real.display());
        Failure::refused(what).help(Remedy::Init)
    })
}
