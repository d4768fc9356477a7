//! Files of git's history that a key of a person opens and of which no record says so.

use std::collections::BTreeSet;
use std::path::Path;

use super::super::failure::Failure;
use super::super::session::Session;
use crate::model::{Code, Digest, Finding, HexId, KeyId, PersonName, Remedy, displayed};
use crate::openpgp;
use crate::repo::{History, Message, Remembered};
use crate::trust::Verified;

/// What is made of what this machine saw of history before (`repo/remembered.rs` says why it may be believed).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// It is neither read nor kept.
    Unused,
    /// It is read, and left as it is: a command that may yet be refused leaves no trace.
    Asked,
    /// It is read, and brought up to date.
    Kept,
    /// It is not believed: history is searched whole, and what is there is remembered anew.
    Renewed,
}

impl Memory {
    /// Where the pin came from elsewhere, what lies beside this machine's own pins has no say.
    pub(super) fn unless(self, pin_is_given: bool) -> Self {
        if pin_is_given { Self::Unused } else { self }
    }
}

/// What a search found.
pub(super) struct Found {
    /// How many commits there are.
    pub commits: usize,
    /// Messages that the person can open and no record that counts says so, by path, the newest of each path last.
    pub messages: Vec<Message>,
    /// `history-incomplete`.
    pub findings: Vec<Finding>,
}

/// Looks for messages that one of `keys`, which are `person`'s, opens. Which generation such a message holds can't be told
/// without opening it; its path is believed, since whoever wrote it wanted it to be used.
///
/// A record excuses a file only if it says itself that the file is sealed to this person: one that lists fewer readers than
/// the file has makes the tree invalid while it is current, and is forgotten once it is not.
pub(super) fn search(
    session: &mut Session,
    verified: &Verified,
    root: &Path,
    (person, keys): (&PersonName, &BTreeSet<KeyId>),
    memory: Memory,
) -> Result<Found, Failure> {
    let history = History::open(root)?;
    let state = session.settings.state_dir().ok().filter(|_| memory != Memory::Unused);
    let repo: Option<HexId<32>> = verified.chain.all().first().map(|first| first.epoch.repo);
    let file = state.zip(repo);
    let mut remembered = match (&file, memory) {
        (Some((state, repo)), Memory::Asked | Memory::Kept) => Remembered::load(state, repo),
        _ => Remembered::default(),
    };
    let progress = &mut session.progress;
    let searched = history.messages(&mut remembered, &openpgp::readers, &mut |done, all| {
        progress("searching history", done, all);
    })?;
    if let (Some((state, repo)), Memory::Kept | Memory::Renewed) = (&file, memory)
        && let Err(error) = remembered.keep(state, repo)
    {
        session
            .notes
            .push(format!("what was seen of history is not remembered, and is searched again next time: {error}"));
    }
    let mut findings = Vec::new();
    if history.is_shallow() {
        let what = format!("files that were sealed to {person} before its first commit are not seen");
        findings.push(super::super::verify::shallow(&what).of(person));
    } else if searched.unseen > 0 {
        let why = format!(
            "{} objects of history are not in this clone or can't be looked at: a file that was sealed to {person} may be among them",
            searched.unseen
        );
        let fix = Remedy::Run("git fetch --refetch --all".to_owned());
        findings.push(Finding::new(Code::HistoryIncomplete, why).of(person).fix(fix));
    }
    let sealed: Vec<_> = verified.log.counted().flat_map(|(_, logged)| &logged.record.sealed).collect();
    let recorded: BTreeSet<Digest> = sealed.iter().map(|entry| entry.sha256).collect();
    let theirs = sealed.iter().filter(|entry| entry.recipients.iter().any(|recipient| recipient.person == *person));
    let theirs: BTreeSet<Digest> = theirs.map(|entry| entry.sha256).collect();
    let hidden =
        searched.messages.iter().filter(|one| one.readers.contains(&KeyId(0)) && !recorded.contains(&one.sha256));
    findings.extend(hidden.map(|one| {
        let why = format!(
            "commit {} has a message here that hides whom it is for: nobody can say that {person} can't open it",
            &one.commit[..12]
        );
        let path = displayed(&one.path);
        let look = Remedy::Run(format!("git log --all --oneline -- {path}"));
        Finding::new(Code::HistoryIncomplete, why).at(path).of(person).fix(look)
    }));
    let mut messages = searched.messages;
    messages.retain(|one| one.readers.iter().any(|key| keys.contains(key)) && !theirs.contains(&one.sha256));
    // The newest of each path is the one to tell of.
    messages.reverse();
    let mut seen = BTreeSet::new();
    messages.retain(|one| seen.insert(one.path.clone()));
    messages.reverse();
    Ok(Found { commits: searched.commits, messages, findings })
}
