//! `verify`: a pure function of files, pin and time (FORMAT 1 to 11). No keyring, no secret, no network, no
//! git. Every other command runs it first and works on the bytes that it has checked.

use std::collections::BTreeMap;

use super::Authorities;
use super::anchor::{self, Anchor};
use super::chain::{self, Chain};
use super::current::{self, Current, Links};
use super::files;
use super::log::{self, Log};
use super::owed::Debts;
use super::requests;
use super::tree::{Entry, Tree};
use crate::model::{Digest, Finding, Level, PersonName, Place, Time};

/// A tree, and everything that verifying found out about it.
pub struct Verified {
    /// The bytes that were checked.
    pub tree: Tree,
    /// The epochs.
    pub chain: Chain,
    /// The log; judged only where no epoch is at fault or lacks signatures.
    pub log: Log,
    /// What is current; empty where the log was not judged.
    pub current: Current,
    /// The requests.
    pub requests: requests::Index,
    /// The CA certificates of the tree.
    pub authorities: Authorities,
    /// What is wrong or owed, sorted by path and code.
    pub findings: Vec<Finding>,
}

impl Verified {
    /// The exit code: 3 invalid, 4 anchor, 5 attention, else 0; 3 wins over 4, 4 over 5.
    pub fn exit(&self) -> u8 {
        exit_code(&self.findings)
    }

    /// The records that are void and that nobody adopted, with the reason, by path.
    pub fn void_records(&self) -> BTreeMap<String, String> {
        let log = &self.log;
        let void = log.records.iter().enumerate().filter(|(index, _)| !log.counts(*index));
        let reason = |index: usize| log.void[index].as_ref().map_or_else(String::new, |reason| reason.why.clone());
        void.map(|(index, logged)| (logged.path.clone(), reason(index))).collect()
    }

    /// Whether the tree is invalid, the anchor left aside.
    pub fn is_invalid(&self) -> bool {
        self.exit() == 3
    }

    /// Whether the only errors are that the draft lacks signatures, the anchor left aside. An epoch that others follow,
    /// and the first, are no drafts: they had their signatures, and somebody took them away.
    pub fn is_only_unsigned_draft(&self) -> bool {
        let mut errors = self.findings.iter().filter(|f| f.level == Level::Error && !f.code.is_anchor()).peekable();
        errors.peek().is_some() && errors.all(|f| f.code.is_missing_signature()) && is_draft(&self.chain)
    }
}

/// Whether the epoch that lacks signatures is the last, and not the first.
pub(super) fn is_draft(chain: &Chain) -> bool {
    let last = chain.all().last().map(|last| last.epoch.number);
    let draft = chain.draft().map(|draft| draft.epoch.number);
    draft.is_some() && draft == last && chain.latest().is_some()
}

/// The exit code for findings.
pub fn exit_code(findings: &[Finding]) -> u8 {
    let has = |level: Level, anchor: bool| findings.iter().any(|f| f.level == level && f.code.is_anchor() == anchor);
    match () {
        () if has(Level::Error, false) => 3,
        () if has(Level::Error, true) => 4,
        () if has(Level::Attention, false) => 5,
        () => 0,
    }
}

/// Verifies `tree`. `anchor` is what is pinned outside the repository; `now` serves expiry and silence alone:
/// nothing that it decides makes a tree invalid.
pub fn verify(tree: Tree, anchor: Option<&Anchor>, now: Time, strict: bool) -> Verified {
    verify_knowing(tree, anchor, now, strict, &Known::default())
}

/// Verifies the tree that `before` becomes by a change. The same as `verify`, sooner: that a certificate was signed by
/// its CA, and a request by its owner, is not computed again for those that `before` has.
pub fn verify_change(before: &Verified, tree: Tree, anchor: Option<&Anchor>, now: Time, strict: bool) -> Verified {
    let known = Known { links: Some(&before.current.links), requests: Some(&before.requests) };
    verify_knowing(tree, anchor, now, strict, &known)
}

/// What an earlier verify found out of hashes alone, which no change of the tree can make untrue.
#[derive(Default)]
struct Known<'a> {
    /// Leaves that were issued by their CA.
    links: Option<&'a Links>,
    /// Requests with their signatures and CSRs.
    requests: Option<&'a requests::Index>,
}

/// The tree as it is without the draft of an epoch, judged: that counts until the draft has its signatures. A tree
/// without a draft is judged as it is.
pub fn without_draft(tree: &Tree, chain: &Chain, now: Time) -> Verified {
    let mut tree = tree.clone();
    if let Some(number) = chain.draft().map(|draft| draft.epoch.number) {
        tree.entries.retain(|path, _| match Place::parse(path) {
            Ok(Place::Epoch(n) | Place::EpochSignature { number: n, .. }) => n != number,
            _ => true,
        });
        certificates_without_draft(&mut tree, chain);
    }
    verify(tree, None, now, false)
}

/// Puts OpenPGP certificates where they lie without the draft: it has laid those of who leaves among the old ones, and
/// brought those of who comes.
fn certificates_without_draft(tree: &mut Tree, chain: &Chain) {
    let Some(latest) = chain.latest() else { return };
    let is_key = |path: &str| matches!(Place::parse(path), Ok(Place::PublicKey(_) | Place::OldPublicKey(_)));
    let is_pinned = |digest: &Digest| chain.certificate(digest).is_some();
    let mut moved: BTreeMap<Digest, Entry> = BTreeMap::new();
    tree.entries.retain(|path, entry| match entry {
        Entry::File { bytes, .. } if is_key(path) => {
            // What no epoch pins stays where it is, to be found fault with.
            let digest = Digest::of(bytes);
            let pinned = is_pinned(&digest);
            if pinned {
                moved.insert(digest, entry.clone());
            }
            !pinned
        }
        _ => true,
    });
    let counted = chain.all().iter().filter(|epoch| epoch.epoch.number <= latest.epoch.number);
    let today: BTreeMap<&PersonName, Digest> =
        latest.epoch.persons.iter().map(|(name, person)| (name, person.cert_sha256)).collect();
    for (name, digest) in &today {
        tree.entries
            .extend(moved.get(digest).map(|entry| (Place::PublicKey((*name).clone()).to_string(), entry.clone())));
    }
    for digest in counted.flat_map(|epoch| epoch.epoch.persons.values()).map(|person| person.cert_sha256) {
        if let (false, Some(entry)) = (today.values().any(|one| *one == digest), moved.get(&digest)) {
            tree.entries.insert(Place::OldPublicKey(digest.h16()).to_string(), entry.clone());
        }
    }
}

/// Verifies what `tree` will be once its draft has the signatures that it lacks; without a draft, as `verify`.
pub fn verify_as_if_signed(tree: Tree, anchor: Option<&Anchor>, now: Time) -> Verified {
    let (chain, mut findings) = chain::read(&tree);
    findings.retain(|finding| !finding.code.is_missing_signature());
    verify_under(tree, (chain.as_if_signed(), findings), anchor, (now, false), &Known::default())
}

fn verify_knowing(tree: Tree, anchor: Option<&Anchor>, now: Time, strict: bool, known: &Known<'_>) -> Verified {
    let chain = chain::read(&tree);
    verify_under(tree, chain, anchor, (now, strict), known)
}

fn verify_under(
    tree: Tree,
    (chain, epoch_findings): (Chain, Vec<Finding>),
    anchor: Option<&Anchor>,
    (now, strict): (Time, bool),
    known: &Known<'_>,
) -> Verified {
    let mut findings = files::check(&tree);
    let epochs_fine = epoch_findings.is_empty() && chain.latest().is_some() && !chain.is_cut();
    findings.extend(epoch_findings);
    findings.extend(anchor::check(&tree, &chain, anchor));
    let authorities = current::authorities(&tree);
    let mut verified = Verified {
        log: Log::default(),
        current: Current::default(),
        requests: requests::Index::default(),
        authorities,
        findings,
        chain,
        tree,
    };
    if epochs_fine {
        judge(&mut verified, now, strict, known);
    }
    let key = |f: &Finding| (f.path.clone(), f.code, f.person.clone(), f.why.clone());
    verified.findings.sort_by_key(key);
    verified.findings.dedup();
    verified
}

fn judge(verified: &mut Verified, now: Time, strict: bool, known: &Known<'_>) {
    verified.requests = requests::Index::read(&verified.tree, &verified.chain, known.requests);
    let (log, log_findings) = log::read(&verified.tree, &verified.chain, &verified.requests, &verified.authorities);
    verified.findings.extend(log_findings);
    verified.log = log;
    verified.findings.extend(requests::check(&verified.requests, &verified.tree, &verified.chain, &verified.log));
    if verified.log.incomplete {
        return; // a record is missing or unreadable: nobody can say what it vouched for
    }
    let none = Links::new();
    let links = known.links.unwrap_or(&none);
    let (current, findings) =
        current::check(&verified.tree, &verified.chain, &verified.log, &verified.authorities, links);
    verified.findings.extend(findings);
    verified.current = current;
    let debts = Debts::of(verified, now, strict).findings();
    verified.findings.extend(debts);
}
