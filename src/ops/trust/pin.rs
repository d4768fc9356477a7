//! `trust pin`: the line that pins this repository, and pinning by a colleague's line.

use serde::Serialize;

use crate::model::{Code, Finding, Level, Remedy};
use crate::ops::failure::Failure;
use crate::ops::pinning::{Pinning, pin_line};
use crate::ops::session::{Gate, Repository, Session};
use crate::trust::anchor::{self, PinLine};

/// The line.
#[derive(Debug, Serialize)]
pub struct Pinned {
    /// The line that pins the latest valid epoch and the log's heads.
    pub pin: String,
    /// Whether something outside the repository agreed with it.
    pub pinned: bool,
}

/// What `trust pin LINE` did.
#[derive(Debug, Serialize)]
pub struct PinSet {
    /// The line that now says what this machine has pinned.
    pub pin: String,
    /// Whether this machine had a pin before.
    pub was_pinned: bool,
    /// Whether the pin was written by this run.
    pub written: bool,
}

/// Refuses a tree that nothing may be pinned to: invalid other than by a draft's missing signatures.
fn check_tree(repository: &Repository) -> Result<(), Failure> {
    let verified = &repository.verified;
    if !verified.is_invalid() || verified.is_only_unsigned_draft() {
        return Ok(());
    }
    let errors = verified.findings.iter().filter(|f| f.level == Level::Error && !f.code.is_anchor());
    Err(Failure::findings("this repository is invalid, so it is not pinned", errors.cloned().collect()))
}

/// The line for colleagues and for CI. Where nothing pins this repository here, the line only says what the
/// repository says of itself: it is returned with the finding `unpinned`.
pub fn print(session: &mut Session) -> Result<(Pinned, Vec<Finding>), Failure> {
    let repository = session.open_reading(&Gate::Anything)?;
    check_tree(&repository)?;
    let verified = &repository.verified;
    let anchors: Vec<Finding> = verified.findings.iter().filter(|f| f.code.is_anchor()).cloned().collect();
    if anchors.iter().any(|finding| finding.code != Code::Unpinned) {
        return Err(Failure::findings("this repository is not the one that is pinned", anchors));
    }
    let line = pin_line(verified).ok_or_else(|| Failure::refused("there is no valid epoch").help(Remedy::Verify))?;
    if line.epoch == 1 && line.heads.is_empty() {
        session.notes.push("this line pins the first epoch alone: it tells another repository, and no rollback".into());
    }
    if verified.chain.draft().is_some() {
        session.notes.push("beside a draft the log is not judged, and its heads are left out of the line".into());
    }
    Ok((Pinned { pin: line.to_string(), pinned: anchors.is_empty() }, anchors))
}

/// Pins what `line` says on this machine, if the tree agrees with it. A pin that the tree contradicts is
/// replaced only with `replace`.
///
/// Attack: a colleague's address sends an old line together with an old state of the repository. The line fits
/// the tree, and setting it would forget that a newer state was seen. So a contradicted pin stays unless the
/// person says in so many words that it shall go.
pub fn set_pin(session: &mut Session, line: &PinLine, replace: bool) -> Result<PinSet, Failure> {
    if session.settings.pin.is_some() {
        let what = "with --pin or KLUIS_PIN the pins of this machine are neither read nor written";
        return Err(Failure::usage(what).help(Remedy::Run("unset KLUIS_PIN".to_owned())));
    }
    let mut repository = session.open(&Gate::Anything)?;
    check_tree(&repository)?;
    let verified = &repository.verified;
    let disagrees = anchor::check(&verified.tree, &verified.chain, Some(&line.anchor()));
    if !disagrees.is_empty() {
        return Err(Failure::findings("this repository is not the one of the line", disagrees));
    }
    let was_pinned = repository.pinning.is_pinned();
    let contradicted = contradictions(&repository.pinning, &repository);
    if !contradicted.is_empty() && !replace {
        let what = "this machine has another pin for this repository: compare with colleagues over another channel, \
                    and only then repeat with --replace";
        return Err(Failure::findings(what, contradicted));
    }
    // A pin that agrees has moved as far as the tree allows already, and may know heads that a line does not.
    let written = !session.settings.dry_run && (!was_pinned || !contradicted.is_empty());
    if written {
        repository.pinning.pin_line(verified, line)?;
    }
    let pin = pin_line(verified).map_or_else(|| line.to_string(), |line| line.to_string());
    Ok(PinSet { pin, was_pinned, written })
}

/// What this machine's own pin says against the tree.
fn contradictions(pinning: &Pinning, repository: &Repository) -> Vec<Finding> {
    let Some(own) = pinning.anchor() else { return Vec::new() };
    anchor::check(&repository.verified.tree, &repository.verified.chain, Some(&own))
}
