//! `review`: what a change does, for whoever has to approve it: who gains and loses which secrets, whether it has the
//! signatures that it needs, what was issued, what stays open to a leaver, what is wrong, and what nobody vouches for.
//! Reads git's objects; needs no key, changes nothing.
//!
//! What a change *is* comes from the files that differ, so its cost is that of the change. Whether the result is
//! *valid* is judged on the whole head where that is small or trust itself changes; else on what differs, and the
//! review says that `verify` has to judge the rest.

mod elsewhere;
mod material;
mod partly;
mod secrets;
mod statements;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

pub use elsewhere::{NotVouched, Risk};
pub use material::Side;
pub use secrets::{Access, Fate, Reader, SecretChange};
pub use statements::{CertificateChange, ConfigChange, IssuedView, RecordView, TrustChange};

use self::material::Material;
use super::failure::Failure;
use super::pinning::Pinning;
use super::session::Session;
use super::textconv::Names;
use crate::model::{Code, Finding, Level, PersonName, Place, Remedy, displayed};
use crate::trust::difference::{Change, Part};
use crate::trust::record::Sealed;
use crate::trust::{self, Verified, chain, exposure, log, range};

/// What is reviewed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// What it is compared with; the first parent where there is none.
    pub base: Option<String>,
    /// The revision; the work tree where there is none.
    pub head: Option<String>,
}

impl Asked {
    /// Parses `BASE..HEAD` (an empty side is `HEAD`; three dots mean the same), one revision, or nothing.
    pub fn parse(text: Option<&str>) -> Self {
        let Some(text) = text else { return Self::default() };
        let side = |text: &str| if text.is_empty() { "HEAD".to_owned() } else { text.to_owned() };
        match text.split_once("...").or_else(|| text.split_once("..")) {
            Some((base, head)) => Self { base: Some(side(base)), head: Some(side(head)) },
            None => Self { base: None, head: Some(side(text)) },
        }
    }
}

/// A secret that somebody who loses trust can open still.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Open {
    /// The person.
    pub person: PersonName,
    /// Secrets in use that were sealed to them at some time.
    pub live: Vec<String>,
    /// How many others were.
    pub rotated: usize,
}

/// A review; `data` of the report.
#[derive(Debug, Serialize)]
pub struct Review {
    /// What it is compared with.
    pub base: Side,
    /// What is reviewed.
    pub head: Side,
    /// Whether the whole head was judged, or only what differs.
    pub whole: bool,
    /// The change of trust.
    pub trust: Option<TrustChange>,
    /// What each person gains and loses, by name; keys that no epoch lists stand as `UNKNOWN-…`.
    pub access: BTreeMap<String, Access>,
    /// Sealed files that differ.
    pub secrets: Vec<SecretChange>,
    /// OpenPGP certificates that differ.
    pub certificates: Vec<CertificateChange>,
    /// Certificates that new records vouch for.
    pub issued: Vec<IssuedView>,
    /// New records.
    pub records: Vec<RecordView>,
    /// cluster.toml files that differ.
    pub configs: Vec<ConfigChange>,
    /// Other managed paths that differ: authorities, requests, certificates that no new record vouches for.
    pub others: Vec<String>,
    /// What people who lose trust can open still.
    pub exposed: Vec<Open>,
    /// Paths that nobody vouches for, and that matter.
    pub not_vouched: Vec<NotVouched>,
    /// How many other files outside the managed trees differ.
    pub other_files: usize,
    /// How many findings the base has already; they are left out.
    pub known: usize,
}

/// Reviews what `asked` names. Returns the findings too: errors are what is wrong with the result; gains, losses and
/// what is weaker are notes and attention. Fails where there is no such revision, or no repository of kluis in it.
pub fn review(session: &mut Session, asked: &Asked, full: bool) -> Result<(Review, Vec<Finding>), Failure> {
    let mut material = Material::read(session, asked, full)?;
    session.notes.extend(material.note.take());
    let (before, _) = chain::read(&material.before);
    let (after, chain_findings) = chain::read(&material.after);
    if after.all().is_empty() && before.all().is_empty() {
        let what = format!(
            "neither {} nor {} has an epoch: this is no repository of kluis",
            material.base.name, material.head.name
        );
        return Err(Failure::refused(what).help(Remedy::Init));
    }
    let whole = material.whole.take();
    let judged = whole.as_ref().map(|(old, new)| judge(session, &material, old, new)).transpose()?;
    let (loaded, faults) = log::load(&material.after, &after);
    let (mut findings, known) = match &judged {
        Some(judged) => (judged.findings.clone(), judged.known),
        None => (partly::judge(&material, (&after, chain_findings), (&loaded, faults)), 0),
    };
    let new: BTreeSet<&String> = material.changed.iter().filter(|path| is_record(path)).collect();
    let vouched: Vec<Sealed> = loaded.records.iter().flat_map(|logged| logged.record.sealed.clone()).collect();
    let names = names(&before, &after);
    let secrets = secrets::changes(&material, &names, &vouched);
    let (not_vouched, other_files) = elsewhere::not_vouched(&material);
    let mut trust = statements::trust(&material, &before, &after);
    let mut exposed = Vec::new();
    if let (Some(change), Some(judged)) = (&mut trust, &judged) {
        exposed = left_open(&judged.verified, change, session);
        if change.draft {
            let open = super::trust::not_closed(&judged.verified.tree, &after);
            change.not_closed = open.iter().map(|record| record.record.h16()).collect();
            change.would_void = judged.verified.void_records();
        }
    }
    let issued = statements::issued(&loaded, &new);
    let review = Review {
        others: others(&material, &issued),
        base: material.base.clone(),
        head: material.head.clone(),
        whole: judged.is_some(),
        access: secrets::access(&secrets),
        secrets,
        certificates: statements::certificates(&material),
        issued,
        records: statements::records(&loaded, &new),
        configs: statements::configs(&material, &loaded, &new),
        trust,
        exposed,
        not_vouched,
        other_files,
        known,
    };
    // What a leaver can open is said once of each, and not of every file.
    let leavers: Vec<&PersonName> = review.exposed.iter().map(|open| &open.person).collect();
    let is_said = |f: &Finding| f.code == Code::ExposureOpen && f.person.as_ref().is_some_and(|p| leavers.contains(&p));
    findings.retain(|finding| !is_said(finding));
    findings.extend(said(&review, &material));
    findings.sort_by(|a, b| (a.level, &a.path, a.code, &a.why).cmp(&(b.level, &b.path, b.code, &b.why)));
    findings.dedup();
    Ok((review, findings))
}

/// Whose keys are whose.
///
/// Attack: a pull request brings a draft in which a stranger's key stands under a colleague's name, and a file that is
/// sealed to it: the review would say that the colleague can open it. So only epochs that have their signatures name
/// keys; those of the head only if they go on from the base, since whoever founds a repository anew signs for everybody;
/// and what the base says of a key wins over what the head says.
fn names(before: &chain::Chain, after: &chain::Chain) -> Names {
    let goes_on = match before.latest() {
        Some(base) => after.get(base.epoch.number).is_some_and(|epoch| epoch.sha256 == base.sha256),
        None => true,
    };
    let signed = |chain: &chain::Chain| chain.latest().map_or(0, |latest| latest.epoch.number);
    let (old, new) = (signed(before), if goes_on { signed(after) } else { 0 });
    let new = after.all().iter().filter(|epoch| epoch.epoch.number <= new);
    let old = before.all().iter().filter(|epoch| epoch.epoch.number <= old);
    Names::of(new.chain(old).map(|epoch| &epoch.epoch))
}

/// Managed paths that nothing else in a review shows: nothing that differs goes unsaid.
fn others(material: &Material, issued: &[IssuedView]) -> Vec<String> {
    let is_shown = |path: &&String| {
        let gone = !material.after.entries.contains_key(*path);
        match Place::parse(path) {
            Ok(Place::Epoch(_) | Place::EpochSignature { .. } | Place::PublicKey(_)) => true,
            Ok(Place::Config(_) | Place::Sealed(..)) => true,
            Ok(Place::Record { .. } | Place::RecordSignature { .. }) => !gone,
            _ => issued.iter().any(|issued| issued.path == **path),
        }
    };
    material.changed.iter().filter(|path| !is_shown(path)).map(|path| displayed(path)).collect()
}

fn is_record(path: &str) -> bool {
    matches!(Place::parse(path), Ok(Place::Record { .. }))
}

/// The whole head, judged.
struct Judged {
    findings: Vec<Finding>,
    known: usize,
    verified: Verified,
}

/// Judges the head like `verify --base` does, and leaves out what the base has too: that is not this change's. A head
/// with a draft is judged as it will be once the draft is signed: that is what its reviewers decide about. Signatures
/// that are missing are what a proposal has, and no fault of it; what it would make void is said of each record.
fn judge(session: &Session, material: &Material, old: &trust::Tree, new: &trust::Tree) -> Result<Judged, Failure> {
    let anchor = Pinning::of_revision(&session.settings, &material.root, new)?.anchor();
    let before = trust::verify(old.clone(), anchor.as_ref(), session.now, false);
    let mut after = trust::verify(new.clone(), anchor.as_ref(), session.now, false);
    let mut findings = range::check(old, material.base.revision(), &after.tree, &after.chain);
    let is_draft = after.is_only_unsigned_draft();
    if is_draft {
        let unsigned = after.findings.iter().filter(|f| f.code.is_missing_signature());
        findings.extend(unsigned.cloned().map(|finding| finding.level(Level::Note).fix(Remedy::TrustSign)));
        after = trust::verify_as_if_signed(after.tree, anchor.as_ref(), session.now);
    }
    let void = after.void_records();
    let mut known = 0;
    for finding in &after.findings {
        let is_void = is_draft && finding.path.as_ref().is_some_and(|path| void.contains_key(path));
        match () {
            // Without a pin a review still says what changes; whether this is the right repository is verify's to say.
            () if finding.code == Code::Unpinned || is_void => {}
            () if before.findings.contains(finding) => known += 1,
            () => findings.push(finding.clone()),
        }
    }
    Ok(Judged { findings, known, verified: after })
}

/// What those who leave, or hold a cluster's keys no more, can open still.
fn left_open(verified: &Verified, change: &TrustChange, session: &Session) -> Vec<Open> {
    let mut people: BTreeSet<&PersonName> = BTreeSet::new();
    for change in &change.changes {
        match change {
            Change::PersonRemoved { person, .. } | Change::Rekeyed { person, .. } => drop(people.insert(person)),
            Change::Withdrawn { person, part: Part::Keyholder, .. } => drop(people.insert(person)),
            _ => {}
        }
    }
    let open = people.into_iter().map(|person| {
        let all = exposure::of(verified, person, session.now);
        let live = all.iter().filter(|one| one.standing.is_in_use());
        let live: Vec<String> = live.map(|one| one.place.to_string()).collect();
        Open { person: person.clone(), rotated: all.len() - live.len(), live }
    });
    open.filter(|open| !open.live.is_empty() || open.rotated > 0).collect()
}

/// What a review finds beside what `verify` does.
fn said(review: &Review, material: &Material) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut say = |code, why: String, path: Option<&String>, person: Option<&PersonName>, fix: Option<Remedy>| {
        let mut finding = Finding::new(code, why);
        finding = path.map_or(finding.clone(), |path| finding.at(path));
        finding = person.map_or(finding.clone(), |person| finding.of(person));
        findings.push(fix.map_or(finding.clone(), |fix| finding.fix(fix)));
    };
    if material.overflow {
        say(Code::Limit, "more files differ than a review looks at: not all was judged".to_owned(), None, None, None);
    }
    for file in material.elsewhere.iter().filter(|file| file.secret) {
        let (path, why) = (displayed(&file.path), "a private key in the clear: once merged, it stays in history");
        let fix = Remedy::Run(format!("git rm --cached -- {path}"));
        say(Code::SecretMaterial, why.to_owned(), Some(&path), None, Some(fix));
    }
    for (label, access) in &review.access {
        let person = PersonName::parse(label).ok();
        let count = |side: &BTreeMap<_, BTreeSet<String>>| side.values().map(BTreeSet::len).sum::<usize>();
        let clusters = |side: &BTreeMap<crate::model::ClusterName, BTreeSet<String>>| {
            side.keys().map(|name| name.as_str()).collect::<Vec<_>>().join(", ")
        };
        if !access.gains.is_empty() {
            let why = format!("{label} can open {} more secrets of {}", count(&access.gains), clusters(&access.gains));
            say(Code::AccessGained, why, None, person.as_ref(), None);
        }
        if !access.loses.is_empty() {
            let (count, clusters) = (count(&access.loses), clusters(&access.loses));
            let why = format!("{count} secrets of {clusters} are sealed to {label} no more, who may have kept them");
            say(Code::AccessLost, why, None, person.as_ref(), None);
        }
    }
    for secret in review.secrets.iter().filter(|secret| !secret.recorded && !review.whole) {
        let why = "no record of this change vouches for it with these recipients".to_owned();
        say(Code::CiphertextHash, why, Some(&secret.path), None, None);
    }
    if let Some(trust) = review.trust.as_ref().filter(|trust| trust.weaker > 0) {
        let path = Place::Epoch(trust.to).to_string();
        let why = format!("{} of its changes make trust weaker", trust.weaker);
        say(Code::Weaker, why, Some(&path), None, Some(Remedy::Kluis("trust show".to_owned())));
    }
    if let Some(trust) = &review.trust {
        for (path, why) in &trust.would_void {
            let why = format!("it would be void once epoch {} counts: {why}", trust.to);
            let h16 = path.rsplit('/').next().and_then(|name| name.strip_suffix(".toml")).unwrap_or_default();
            say(Code::WouldVoid, why, Some(path), None, Some(Remedy::Adopt(h16.to_owned())));
        }
    }
    for issued in review.issued.iter().filter(|issued| issued.break_glass) {
        let why = format!("break-glass: {} until {}", displayed(&issued.subject), issued.not_after);
        say(Code::BreakGlass, why, Some(&issued.path), None, None);
    }
    for open in review.exposed.iter().filter(|open| !open.live.is_empty()) {
        let why =
            format!("{} can open {} secrets in use still: sealing again takes none back", open.person, open.live.len());
        say(Code::ExposureOpen, why, None, Some(&open.person), Some(Remedy::Kluis("status".to_owned())));
    }
    for file in &review.not_vouched {
        let path = displayed(&file.path);
        say(
            Code::NotVouched,
            format!("nobody vouches for it here, and {}", file.risk.words()),
            Some(&path),
            None,
            None,
        );
    }
    findings
}
