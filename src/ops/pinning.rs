//! Anchoring on this machine: which pin holds for this run, the first use of an unknown repository, what is
//! remembered afterwards (FORMAT 11). With `--pin` or `KLUIS_PIN` the pins of this machine are neither read
//! nor written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::session::{Session, Settings};
use crate::env::Terminal;
use crate::model::{Code, Digest, Finding, HexId, PersonName, Place, Remedy};
use crate::repo::{self, Pins, RepoPin, WorkTree};
use crate::trust::anchor::{Anchor, PinLine};
use crate::trust::{Epoch, Tree, TrustRole, Verified};

/// What anchors this run.
pub struct Pinning {
    source: Source,
    repo: Option<HexId<32>>,
    worktree: String,
    remotes: Vec<String>,
}

enum Source {
    /// A line from the command line or the environment.
    Line(PinLine),
    /// This machine's pins.
    Machine { folder: PathBuf, pins: Pins },
    /// A machine without a place for pins, as a CI job without a home: nothing is pinned, and nothing can be.
    Nowhere,
}

impl Pinning {
    /// Finds the anchor: the given line, or what this machine has pinned for the repository of `work`.
    pub fn find(settings: &Settings, work: &WorkTree) -> Result<Self, Failure> {
        Self::of(settings, work.root(), work.remotes(), repo_id(work.root()))
    }

    /// As `find`, for a folder that may be no git repository: the root of an unpacked archive, or a work tree whose
    /// git is not looked at. `root` is absolute, with links resolved, as git names work trees.
    pub fn of_folder(settings: &Settings, root: &Path) -> Result<Self, Failure> {
        Self::of(settings, root, Vec::new(), repo_id(root))
    }

    /// As `find`, for a tree that was read from git's objects: `root` is a work tree or a bare repository.
    pub fn of_revision(settings: &Settings, root: &Path, tree: &Tree) -> Result<Self, Failure> {
        let first = tree.bytes(&Place::Epoch(1).to_string());
        let repo = first.and_then(|bytes| Epoch::parse(bytes).ok()).map(|epoch| epoch.repo);
        Self::of(settings, root, Vec::new(), repo)
    }

    fn of(settings: &Settings, root: &Path, remotes: Vec<String>, repo: Option<HexId<32>>) -> Result<Self, Failure> {
        let worktree = root.display().to_string();
        let source = match &settings.pin {
            Some(line) => Source::Line(line.clone()),
            None => match settings.state_dir() {
                Ok(folder) => {
                    let pins = Pins::load(&folder)?;
                    Source::Machine { folder, pins }
                }
                Err(_) => Source::Nowhere,
            },
        };
        Ok(Self { source, repo, worktree, remotes })
    }

    fn pin(&self) -> Option<&RepoPin> {
        match &self.source {
            Source::Machine { pins, .. } => pins.repos.get(self.repo.as_ref()?),
            Source::Line(_) | Source::Nowhere => None,
        }
    }

    /// What the tree must be. `None` if nothing is pinned.
    pub fn anchor(&self) -> Option<Anchor> {
        if let Source::Line(line) = &self.source {
            return Some(line.anchor());
        }
        let pin = self.pin()?;
        let epochs = vec![(1, pin.genesis), (pin.epoch, pin.epoch_sha256)];
        Some(Anchor { repo: self.repo?, epochs, heads: pin.heads.iter().copied().collect() })
    }

    /// Whether this machine has never seen the repository, nor another one in its place.
    pub fn is_first_use(&self) -> bool {
        matches!(self.source, Source::Machine { .. }) && self.pin().is_none() && self.strangers().is_empty()
    }

    /// Other repositories that were seen at this work tree or behind its remotes.
    fn strangers(&self) -> BTreeSet<HexId<32>> {
        let Source::Machine { pins, .. } = &self.source else { return BTreeSet::new() };
        let mut seen = pins.last_seen(&self.worktree, &self.remotes);
        if let Some(repo) = self.repo {
            seen.remove(&repo);
        }
        seen
    }

    /// Another repository than the one last seen here is `genesis-mismatch`, not a first use (T7): nobody is
    /// asked whether to go on.
    pub fn check_place(&self, verified: &mut Verified) {
        if let Some(finding) = self.misplaced() {
            verified.findings.retain(|finding| finding.code != Code::Unpinned);
            verified.findings.push(finding);
        }
    }

    /// That another repository was here before, if one was.
    pub fn misplaced(&self) -> Option<Finding> {
        self.repo?; // else its first epoch can't be read, which is said: who it is can't be told
        let other = self.strangers().into_iter().next()?;
        if self.pin().is_some() && self.anchor().is_some_and(|anchor| Some(anchor.repo) == self.repo) {
            return None; // pinned by hand: it may lie where another lay
        }
        let why = format!("the repository {other} was here before, and this is another");
        Some(Finding::new(Code::GenesisMismatch, why).fix(Remedy::TrustCompare))
    }

    /// Shows what to compare over another channel, and pins when the last 24 digits, or a colleague's line, are
    /// entered. Only a tree that is valid, or lacks a draft's signatures, can be pinned.
    pub fn first_use(&mut self, verified: &Verified, terminal: &mut Terminal) -> Result<(), Failure> {
        let fine = !verified.is_invalid() || verified.is_only_unsigned_draft();
        let (Some(first), true) = (verified.chain.all().first(), fine) else { return Ok(()) };
        let genesis = first.sha256.to_string();
        let end = &genesis[genesis.len() - 24..];
        let groups: Vec<&str> = (0..end.len()).step_by(4).map(|at| &end[at..at + 4]).collect();
        let latest = verified.chain.latest().map_or(first, |latest| latest);
        let roots = latest.epoch.persons.iter().filter(|(_, person)| person.role == TrustRole::Root);
        let roots: Vec<String> = roots.map(|(name, person)| format!("{name} ({})", person.cert)).collect();
        let text = format!(
            "This machine sees this repository for the first time.\n  id       {}\n  roots    {}\n  genesis  …{}\n\
             Ask a colleague for these 24 digits over another channel than this repository came by\n\
             (`kluis trust pin` prints their line), and type the digits or the line: ",
            first.epoch.repo,
            roots.join(", "),
            groups.join(" "),
        );
        let answer = terminal.read_line(&text).unwrap_or_default();
        let typed: String = answer.split_whitespace().collect();
        if typed == end {
            return self.pin_tree(verified);
        }
        match PinLine::parse(answer.trim()) {
            Some(line) => self.pin_line(verified, &line),
            None => Err(Failure {
                exit: 4,
                findings: vec![Finding::new(Code::Unpinned, "what was typed is not what is shown")],
                ..Failure::failed("this repository is not pinned: what was typed is not the end of its genesis hash")
            }),
        }
    }

    /// Pins what a line says, if the tree agrees with it.
    pub fn pin_line(&mut self, verified: &Verified, line: &PinLine) -> Result<(), Failure> {
        let findings = crate::trust::anchor::check(&verified.tree, &verified.chain, Some(&line.anchor()));
        if !findings.is_empty() {
            return Err(Failure::findings("this repository is not the one of the line", findings));
        }
        self.pin_heads(verified, &line.heads)
    }

    /// Pins the highest valid epoch, and the heads where the log was judged.
    pub fn pin_tree(&mut self, verified: &Verified) -> Result<(), Failure> {
        self.pin_heads(verified, &[])
    }

    /// Beside a draft the log is not judged; the heads of a colleague's line are then all that is known of it.
    fn pin_heads(&mut self, verified: &Verified, heads: &[Digest]) -> Result<(), Failure> {
        let Source::Machine { folder, pins } = &mut self.source else { return Ok(()) };
        let Some((repo, mut seen)) = seen(verified) else { return Ok(()) };
        seen.heads.extend(heads);
        let (worktree, remotes) = (&self.worktree, &self.remotes);
        *pins = Pins::update(folder, |pins| {
            pins.replace(repo, &seen);
            pins.place(repo, worktree, remotes);
            pins.clone()
        })?;
        self.repo = Some(repo);
        Ok(())
    }

    /// Moves the pin after a verify that ended 0 or 5.
    pub fn advance(&mut self, verified: &Verified) -> Result<(), Failure> {
        if self.pin().is_none() {
            return Ok(());
        }
        let base = self.pin().cloned();
        let Source::Machine { folder, pins } = &mut self.source else { return Ok(()) };
        let Some((repo, seen)) = seen(verified) else { return Ok(()) };
        let (worktree, remotes) = (&self.worktree, &self.remotes);
        *pins = Pins::update(folder, |pins| {
            pins.advance(repo, &seen, base.as_ref());
            pins.place(repo, worktree, remotes);
            pins.clone()
        })?;
        Ok(())
    }

    /// Refuses to sign a second epoch of a number of which one was seen valid here (T3). Returns the other drafts
    /// of the number that this person signed: another one is signed after both were shown.
    pub fn signed_before(&self, number: u32, sha256: Digest) -> Result<Vec<Digest>, Failure> {
        let Some(pin) = self.pin() else { return Ok(Vec::new()) };
        let others = |seen: &BTreeMap<u32, BTreeSet<Digest>>| -> Vec<Digest> {
            seen.get(&number).into_iter().flatten().copied().filter(|digest| *digest != sha256).collect()
        };
        if let Some(valid) = others(&pin.seen).first() {
            let what =
                format!("epoch {number} was seen valid here as {valid}; signing {sha256} too would fork the chain");
            return Err(Failure { exit: 4, ..Failure::failed(what) }.help(Remedy::TrustCompare));
        }
        Ok(others(&pin.signed))
    }

    /// The same for an epoch that is about to be signed; says which earlier draft it replaces.
    pub fn check_signing(&self, session: &mut Session, epoch: &Epoch, bytes: &[u8]) -> Result<(), Failure> {
        let sha256 = Digest::of(bytes);
        let earlier = self.signed_before(epoch.number, sha256)?;
        if !earlier.is_empty() {
            let earlier = earlier.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let number = epoch.number;
            session.notes.push(format!("you signed another draft of epoch {number} before: {earlier}; now {sha256}"));
        }
        Ok(())
    }

    /// Remembers what was signed.
    pub fn note_signed(&mut self, epoch: &Epoch, sha256: &Digest) -> Result<(), Failure> {
        let Source::Machine { folder, pins } = &mut self.source else { return Ok(()) };
        *pins = Pins::update(folder, |pins| {
            pins.sign(epoch.repo, epoch.number, *sha256);
            pins.clone()
        })?;
        Ok(())
    }

    /// Whether this machine has a pin for the repository.
    pub fn is_pinned(&self) -> bool {
        self.pin().is_some()
    }

    /// Whether the anchor was given for this run, so that the pins of this machine are left alone.
    pub fn is_given(&self) -> bool {
        matches!(self.source, Source::Line(_))
    }
}

/// The line that pins what was verified: the latest valid epoch and the log's heads.
pub fn pin_line(verified: &Verified) -> Option<PinLine> {
    let latest = verified.chain.latest()?;
    Some(PinLine {
        repo: latest.epoch.repo,
        epoch: latest.epoch.number,
        sha256: latest.sha256,
        heads: verified.log.heads(),
    })
}

fn seen(verified: &Verified) -> Option<(HexId<32>, repo::Verified)> {
    let first = verified.chain.all().first()?;
    let latest = verified.chain.latest()?;
    let seen = repo::Verified {
        genesis: first.sha256,
        epoch: latest.epoch.number,
        epoch_sha256: latest.sha256,
        heads: verified.log.heads().into_iter().collect(),
    };
    Some((first.epoch.repo, seen))
}

/// The id that the tree claims, to find its pin; whether it is true is what the pin decides.
fn repo_id(root: &Path) -> Option<HexId<32>> {
    let path = root.join(Place::Epoch(1).to_string());
    let bytes = crate::disk::read_capped(&path, 256 << 10).ok().flatten()?;
    Epoch::parse(&bytes).ok().map(|epoch| epoch.repo)
}

/// Names of persons, for sentences.
pub fn names<'a>(people: impl IntoIterator<Item = &'a PersonName>) -> String {
    people.into_iter().map(PersonName::as_str).collect::<Vec<_>>().join(", ")
}
