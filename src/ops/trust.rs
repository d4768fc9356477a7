//! `trust`: epochs shown, drafted with other limits, signed, pinned and compared. What an epoch changes is
//! `trust::difference`'s; what a valid one is, `trust::chain`'s.

mod compare;
mod pin;
mod raise;
mod view;
mod waive;

use std::collections::BTreeSet;

use serde::Serialize;

pub use compare::{Comparison, Fork, Relation, Side, with_checkout, with_line};
pub use pin::{PinSet, Pinned, print, set_pin};
pub use raise::{Raised, raise};
pub(super) use view::standing;
pub use view::{ClusterView, EpochView, Shown, Unclosed, not_closed, show};
pub use waive::waive;

use super::draft::Draft;
use super::failure::Failure;
use super::person::{check_thresholds, note_dropped};
use super::pinning::names;
use super::plan::{Plan, Written};
use super::session::{Gate, Repository, Session};
use crate::model::{Digest, PersonName, Remedy, Span};
use crate::trust::TrustRole;
use crate::trust::difference::{Change, difference};

/// One thing that `trust set` changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// Persons who must sign the next epoch.
    Trust(u32),
    /// Issuers who must approve a break-glass certificate.
    BreakGlass(u32),
    /// Longest life of a person's certificate.
    MaxClient(Span),
    /// Longest life of a break-glass certificate.
    MaxBreakGlass(Span),
    /// How old the newest record may be.
    MaxQuiet(Span),
    /// How long the next epoch lives.
    Expires(Span),
}

impl Setting {
    /// The keys of `trust set`.
    pub const KEYS: [&str; 6] = [
        "threshold.trust",
        "threshold.break_glass",
        "policy.max_client",
        "policy.max_break_glass",
        "policy.max_quiet",
        "expires",
    ];

    /// Parses a key and its value. Fails with the rule that they break.
    pub fn parse(key: &str, value: &str) -> Result<Self, String> {
        let number = || match value.parse::<u32>() {
            Ok(number) if number >= 1 && number.to_string() == value => Ok(number),
            _ => Err(format!("{key} is a whole number of at least 1, and not {value:?}")),
        };
        let span = || value.parse::<Span>().map_err(|why| format!("{key}: {why}"));
        Ok(match key {
            "threshold.trust" => Self::Trust(number()?),
            "threshold.break_glass" => Self::BreakGlass(number()?),
            "policy.max_client" => Self::MaxClient(span()?),
            "policy.max_break_glass" => Self::MaxBreakGlass(span()?),
            "policy.max_quiet" => Self::MaxQuiet(span()?),
            "expires" => Self::Expires(span()?),
            _ => return Err(format!("{key:?} can't be set; there are {}", Self::KEYS.join(", "))),
        })
    }

    fn apply(self, epoch: &mut crate::trust::Epoch) {
        match self {
            Self::Trust(number) => epoch.threshold.trust = number,
            Self::BreakGlass(number) => epoch.threshold.break_glass = number,
            Self::MaxClient(span) => epoch.policy.max_client = span,
            Self::MaxBreakGlass(span) => epoch.policy.max_break_glass = span,
            Self::MaxQuiet(span) => epoch.policy.max_quiet = span,
            Self::Expires(span) => epoch.expires = epoch.created.plus(span),
        }
    }
}

/// What `trust set` drafted.
#[derive(Debug, Serialize)]
pub struct Drafted {
    /// What the draft changes against the latest epoch: all that its signers sign. Empty where nothing was written.
    pub changes: Vec<Change>,
    /// What was written.
    #[serde(flatten)]
    pub written: Written,
}

/// Drafts the next epoch with other thresholds or limits. Writes nothing if nothing changes.
pub fn set(session: &mut Session, settings: &[Setting], what: &str) -> Result<Drafted, Failure> {
    let mut repository = session.open(&Gate::Draft)?;
    let what = format!("set {what}");
    let mut draft = start(session, &repository, &what)?;
    let renewed = settings.iter().any(|setting| matches!(setting, Setting::Expires(_)));
    for setting in settings {
        setting.apply(&mut draft.epoch);
    }
    check_thresholds(&draft.epoch)?;
    carry_out(session, &mut repository, draft, (&what, renewed))
}

/// The draft to change, from the one that is there or the latest epoch, for the reason `what`.
pub(super) fn start(session: &Session, repository: &Repository, what: &str) -> Result<Draft, Failure> {
    let draft = Draft::start(&repository.verified, session.now, what);
    draft.ok_or_else(|| Failure::refused("there is no valid epoch").help(Remedy::Verify))
}

/// Signs and writes the draft, if it changes anything. `renewed` says whether another end alone is a change.
pub(super) fn carry_out(
    session: &mut Session,
    repository: &mut Repository,
    mut draft: Draft,
    (what, renewed): (&str, bool),
) -> Result<Drafted, Failure> {
    let verified = &repository.verified;
    let latest = repository.epoch()?.clone();
    let base = verified.chain.draft().map_or(&latest, |draft| &draft.epoch).clone();
    let changes = |from| {
        let all = difference(from, &draft.epoch).into_iter();
        all.filter(|change| renewed || !matches!(change, Change::Expires { .. })).collect::<Vec<Change>>()
    };
    if changes(&base).is_empty() {
        let written = Written { dry_run: session.settings.dry_run, ..Written::default() };
        return Ok(Drafted { changes: Vec::new(), written });
    }
    let changes = changes(&latest);
    let needed = draft.epoch.threshold.break_glass;
    for (name, cluster) in draft.epoch.clusters.iter().filter(|(_, cluster)| !cluster.retired) {
        if usize::try_from(needed).is_ok_and(|needed| needed > cluster.issuers.len()) {
            let issuers = cluster.issuers.len();
            session.notes.push(format!(
                "cluster {name} has {issuers} of the {needed} issuers that a break-glass certificate needs"
            ));
        }
    }
    note_dropped(session, verified);
    let mut actor = session.actor(verified)?;
    let (title, why) = (format!("Draft epoch {}: {what}", draft.epoch.number), draft.epoch.reason.clone());
    draft.note_former(&latest, |_| crate::trust::FormerReason::Replaced);
    let mut plan = Plan::default();
    plan.draft(draft);
    let written = plan.carry_out(session, repository, &mut actor, &title, &why)?;
    Ok(Drafted { changes, written })
}

/// The draft, as whoever signs it must see it.
#[derive(Debug, Serialize)]
pub struct Proposal {
    /// Its number.
    pub number: u32,
    /// The hash of its file: what is signed.
    pub sha256: Digest,
    /// Why it was drafted.
    pub reason: String,
    /// What it changes against the latest epoch.
    pub changes: Vec<Change>,
    /// Records that it does not close: they count on only if it allows what they say.
    pub not_closed: Vec<Unclosed>,
    /// Who has signed it.
    pub signed: BTreeSet<PersonName>,
    /// Whose signatures would help.
    pub missing: BTreeSet<PersonName>,
    /// Other drafts of this number that this person signed, as this machine remembers.
    pub signed_before: Vec<Digest>,
}

/// The draft of the tree, if there is one. Fails where another epoch of its number was seen valid here.
pub fn proposal(repository: &Repository) -> Result<Option<Proposal>, Failure> {
    let verified = &repository.verified;
    let Some(draft) = verified.chain.draft() else { return Ok(None) };
    Ok(Some(Proposal {
        number: draft.epoch.number,
        sha256: draft.sha256,
        reason: draft.epoch.reason.clone(),
        changes: match verified.chain.latest() {
            Some(latest) => difference(&latest.epoch, &draft.epoch),
            None => Vec::new(),
        },
        not_closed: not_closed(&verified.tree, &verified.chain),
        signed: draft.signers.clone(),
        missing: draft.missing.people(),
        signed_before: repository.pinning.signed_before(draft.epoch.number, draft.sha256)?,
    }))
}

/// What `trust sign` did.
#[derive(Debug, Serialize)]
pub struct Signed {
    /// The person who signs.
    pub person: Option<PersonName>,
    /// The draft; none where there is nothing to sign.
    pub proposal: Option<Proposal>,
    /// Whether a signature was added by this run.
    pub signed_now: bool,
    /// What was written.
    #[serde(flatten)]
    pub written: Written,
}

/// Signs the draft, after asking with what `render` makes of it. Writes the signature and nothing else.
pub fn sign(session: &mut Session, render: &dyn Fn(&Proposal) -> String) -> Result<Signed, Failure> {
    let mut repository = session.open(&Gate::Draft)?;
    let nothing = |proposal, person| Signed { person, proposal, signed_now: false, written: Written::default() };
    let Some(proposal) = proposal(&repository)? else { return Ok(nothing(None, None)) };
    let mut actor = session.actor(&repository.verified)?;
    if proposal.signed.contains(&actor.name) && !proposal.missing.contains(&actor.name) {
        let mut signed = nothing(Some(proposal), Some(actor.name));
        signed.written.missing_signatures = super::missing_signatures(&repository.verified);
        return Ok(signed);
    }
    check_vote(&repository, &proposal, &actor.name)?;
    if !session.settings.yes && !session.settings.dry_run {
        if !session.terminal.is_interactive() {
            let what = "trust sign asks before it signs, and there is no terminal to ask on: look at what the draft \
                        changes, then repeat with --yes";
            return Err(Failure::usage(what).help(Remedy::Kluis("trust show".to_owned())));
        }
        session.confirm(&format!("{}Sign it as {}?", render(&proposal), actor.name))?;
    }
    let mut plan = Plan::default();
    plan.sign_draft();
    let title = format!("Sign epoch {} as {}", proposal.number, actor.name);
    let written = plan.carry_out(session, &mut repository, &mut actor, &title, &proposal.reason)?;
    Ok(Signed { person: Some(actor.name), proposal: Some(proposal), signed_now: !written.dry_run, written })
}

/// Refuses a signature that nobody asks for: of a member who is not new.
fn check_vote(repository: &Repository, proposal: &Proposal, name: &PersonName) -> Result<(), Failure> {
    let epochs = repository.verified.chain.latest().into_iter().chain(repository.verified.chain.draft());
    let roles: Vec<TrustRole> = epochs.filter_map(|e| e.epoch.persons.get(name)).map(|person| person.role).collect();
    if proposal.missing.contains(name) || roles.iter().any(|role| role.votes()) {
        return Ok(());
    }
    let what = format!(
        "{name} is a member, whose signature epoch {} does not need; it waits for {}",
        proposal.number,
        names(&proposal.missing)
    );
    Err(Failure::refused(what).help(Remedy::Kluis("trust show".to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_parse_with_their_own_kind_of_value_alone() {
        assert_eq!(Setting::parse("threshold.trust", "2"), Ok(Setting::Trust(2)));
        assert_eq!(Setting::parse("expires", "365d"), Ok(Setting::Expires(Span::days(365))));
        for (key, value) in [
            ("threshold.trust", "0"),
            ("threshold.trust", "02"),
            ("threshold.break_glass", "2d"),
            ("policy.max_client", "90"),
            ("policy.max_client", "0d"),
            ("expires", "forever"),
            ("threshold", "2"),
        ] {
            assert!(Setting::parse(key, value).is_err(), "{key} {value}");
        }
        for key in Setting::KEYS {
            assert!(Setting::parse(key, "1").is_ok() || Setting::parse(key, "1d").is_ok(), "{key}");
        }
    }
}
