//! `request approve`: grants requests. However many there are, they are one record, one signature and one opening of
//! each CA key. The approval that reaches the threshold of break-glass issues, so nothing exists before.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::super::cert::{Made, config};
use super::super::failure::Failure;
use super::super::issuing::{self, Content, Opened};
use super::super::plan::{Plan, Written, new_record};
use super::super::session::{Actor, Repository, Session};
use super::proposal::{self, Outcome, Proposal, propose};
use super::{RequestPage, Standing, check_reason};
use crate::model::{ClusterName, Digest, Keyset, PersonName, Place, Profile, Remedy, SealedName, Span};
use crate::pki;
use crate::trust::keyset_of;
use crate::trust::record::Record;

/// Which requests are approved, and how.
#[derive(Default)]
pub struct Chosen {
    /// The requests.
    pub requests: Vec<RequestPage>,
    /// Whether they were not named one by one: then break-glass is left out, and what can't be granted is passed over.
    pub all: bool,
    /// A shorter life than asked for.
    pub lifetime: Option<Span>,
    /// Why, for the record; the requests' own reasons if left out.
    pub reason: String,
}

/// A request that a batch left alone.
#[derive(Debug, Serialize)]
pub struct Left {
    /// Its hash.
    pub request: Digest,
    /// Why, as a clause.
    pub why: String,
}

/// One request that was approved.
#[derive(Debug, Serialize)]
pub struct Approval {
    /// The request and what approving it does.
    #[serde(flatten)]
    pub proposal: Proposal,
    /// The certificate, if one was issued.
    pub certificate: Option<Made>,
}

/// What was approved; `data` of the report.
#[derive(Debug, Serialize)]
pub struct Approved {
    /// The requests, the oldest first.
    pub approved: Vec<Approval>,
    /// Those that were left alone.
    pub left: Vec<Left>,
    /// Sealed files that were opened, with their clusters.
    pub opened: Vec<String>,
    /// What was written.
    #[serde(flatten)]
    pub written: Written,
}

/// Approves what `chosen` names.
pub fn approve(session: &mut Session, repository: &mut Repository, chosen: Chosen) -> Result<Approved, Failure> {
    if !chosen.reason.is_empty() {
        check_reason(&chosen.reason)?;
    }
    let mut actor = session.actor(&repository.verified)?;
    let (proposals, left) = choose(session, repository, &actor.name, chosen.requests, (chosen.all, chosen.lifetime))?;
    let needed = keysets(repository, &proposals)?;
    let mut report =
        Approved { approved: Vec::new(), left, opened: opens(repository, &needed)?, written: Written::default() };
    report.written.dry_run = session.settings.dry_run;
    if proposals.is_empty() {
        return Ok(report);
    }
    let mut record = new_record(&repository.verified, &actor.name, session.now, "request approve")?;
    record.accepted = issuing::accepted(session, &repository.verified)?;
    record.reason = if chosen.reason.is_empty() { reasons(&proposals) } else { chosen.reason };
    ask(session, &proposals)?;
    if session.settings.dry_run {
        report.approved = proposals.into_iter().map(|proposal| Approval { proposal, certificate: None }).collect();
        return Ok(report);
    }
    let mut plan = Plan::default();
    // carry_out looks again; here, so that no touch or passphrase is for nothing.
    repository.work()?.check_writable(&plan.edited)?;
    let opened = open(repository, &mut actor, &needed)?;
    for (done, proposal) in proposals.iter().enumerate() {
        match proposal.outcome {
            Outcome::Approve => record.approve.push(proposal.page.request),
            Outcome::Issue => issue(session, repository, proposal, &opened, (&mut record, &mut plan))?,
        }
        (session.progress)("issuing", done + 1, proposals.len());
    }
    let made = |proposal: &Proposal| {
        record.issued.iter().find(|entry| entry.request == Some(proposal.page.request)).map(Made::of)
    };
    report.approved =
        proposals.into_iter().map(|proposal| Approval { certificate: made(&proposal), proposal }).collect();
    let (title, why) = (title(&report.approved), record.reason.clone());
    plan.record(record);
    report.written = plan.carry_out(session, repository, &mut actor, &title, &why)?;
    Ok(report)
}

/// Judges what was chosen. Requests that were named one by one are all granted or none; of a batch, what can't be
/// granted is left alone. Break-glass is never part of a batch: nobody should give `system:masters` unseen.
fn choose(
    session: &Session,
    repository: &Repository,
    actor: &PersonName,
    requests: Vec<RequestPage>,
    (all, lifetime): (bool, Option<Span>),
) -> Result<(Vec<Proposal>, Vec<Left>), Failure> {
    let (mut proposals, mut left): (Vec<Proposal>, Vec<Left>) = (Vec::new(), Vec::new());
    let mut seen: BTreeMap<(ClusterName, PersonName, Profile), Digest> = BTreeMap::new();
    // The newest of several of one person is the one that they want.
    for page in requests.into_iter().rev() {
        let (request, h16) = (page.request, page.request.h16());
        let mut leave = |why: String| left.push(Left { request, why });
        if all && page.profile == Profile::BreakGlass {
            leave("break-glass is approved by its hash, not in a batch".to_owned());
            continue;
        }
        let place = (page.cluster.clone(), page.person.clone(), page.profile);
        if let Some(newer) = seen.get(&place) {
            let why = format!("{} has a newer request, {}", page.person, newer.h16());
            if all {
                leave(why);
                continue;
            }
            let what = format!("the request {h16} is one of two for the same certificate: {why}");
            return Err(Failure::usage(what).help(Remedy::Kluis(format!("request show {h16}"))));
        }
        let again = matches!(&page.standing, Standing::Waiting { approved_by, .. } if approved_by.contains(actor));
        match propose(session, repository, actor, page, lifetime) {
            Ok(proposal) if again && proposal.outcome == Outcome::Approve => {
                leave(format!("you approved it already: {} of {} issuers", proposal.behind.len(), proposal.needed));
            }
            Ok(proposal) => {
                seen.insert(place, request);
                proposals.push(proposal);
            }
            Err(failure) if all => leave(failure.what),
            Err(failure) => return Err(failure),
        }
    }
    proposals.reverse();
    left.reverse();
    Ok((proposals, left))
}

type Needed = BTreeMap<ClusterName, BTreeSet<Keyset>>;

/// The authorities that issuing takes, by cluster.
fn keysets(repository: &Repository, proposals: &[Proposal]) -> Result<Needed, Failure> {
    let mut needed = Needed::new();
    for proposal in proposals.iter().filter(|proposal| proposal.outcome == Outcome::Issue) {
        let cluster = repository.cluster(&proposal.page.cluster)?;
        let keyset = keyset_of(cluster, proposal.page.profile);
        needed.entry(proposal.page.cluster.clone()).or_default().insert(keyset);
    }
    Ok(needed)
}

fn opens(repository: &Repository, needed: &Needed) -> Result<Vec<String>, Failure> {
    let mut names = Vec::new();
    for (cluster, keysets) in needed {
        for keyset in keysets {
            let generation = issuing::issuing(&repository.verified, cluster, *keyset)?;
            names.push(format!("{cluster}/{}", SealedName::Keyset(*keyset, generation)));
        }
    }
    Ok(names)
}

fn open(repository: &Repository, actor: &mut Actor, needed: &Needed) -> Result<BTreeMap<ClusterName, Opened>, Failure> {
    let open = |(cluster, keysets): (&ClusterName, &BTreeSet<Keyset>)| {
        issuing::open_authorities(repository, actor, cluster, keysets).map(|opened| (cluster.clone(), opened))
    };
    needed.iter().map(open).collect()
}

/// Builds the certificate from the epoch and policy; of the request only its public key is copied.
fn issue(
    session: &mut Session,
    repository: &Repository,
    proposal: &Proposal,
    opened: &BTreeMap<ClusterName, Opened>,
    (record, plan): (&mut Record, &mut Plan),
) -> Result<(), Failure> {
    let page = &proposal.page;
    let gone = || Failure::refused(format!("the request {} is not there any more", page.request.h16()));
    let filed = repository.verified.requests.get(&page.request).ok_or_else(gone)?;
    let csr = filed.request.as_ref().map(|request| &request.csr).map_err(|reason| Failure::from(reason.clone()))?;
    let spki = pki::read_csr(csr)?.spki;
    let authority = opened.get(&page.cluster).and_then(|opened| opened.get(&proposal.keyset));
    let closed =
        || Failure::refused(format!("the authority {} of cluster {} is not open", proposal.keyset, page.cluster));
    let organizations: Vec<String> = match page.profile {
        Profile::BreakGlass => pki::organizations(page.profile, config(repository, &page.cluster)?),
        _ => page.groups.iter().cloned().collect(),
    };
    let content = Content {
        place: Place::PersonCert(page.cluster.clone(), page.person.clone(), page.profile),
        organizations: &organizations,
        sans: &[],
        life: proposal.life,
    };
    let (mut issued, pem) =
        issuing::leaf(authority.ok_or_else(closed)?, &spki, content, session.now, &mut session.rng)?;
    issued.request = Some(page.request);
    plan.write(&issued.place, pem);
    record.issued.push(issued);
    Ok(())
}

/// The reasons of what needs one, joined; a record's is at most 500 bytes (FORMAT 2).
fn reasons(proposals: &[Proposal]) -> String {
    let wanted = proposals.iter().filter(|proposal| proposal.page.profile == Profile::BreakGlass);
    let mut parts: Vec<&str> = wanted.map(|proposal| proposal.page.reason.as_str()).collect();
    parts.dedup();
    let mut joined = parts.join("; ");
    let end = (0..=joined.len().min(500)).rev().find(|at| joined.is_char_boundary(*at)).unwrap_or(0);
    joined.truncate(end);
    joined
}

fn title(approved: &[Approval]) -> String {
    match approved {
        [one] => {
            let page = &one.proposal.page;
            let verb = if one.certificate.is_some() { "Issue" } else { "Approve" };
            format!("{verb} {} of {} for {}", page.profile, page.person, page.cluster)
        }
        several => format!("Approve {} requests", several.len()),
    }
}

/// Shows what will happen, and asks.
fn ask(session: &mut Session, proposals: &[Proposal]) -> Result<(), Failure> {
    let question = match proposals {
        [one] if one.outcome == Outcome::Issue => format!("Issue {}?", one.subject),
        [one] => format!("Approve {} for {}?", one.page.profile, one.page.person),
        several => format!("Approve these {} requests?", several.len()),
    };
    if session.settings.yes || session.settings.dry_run || !session.terminal.is_interactive() {
        return session.confirm(&question);
    }
    let text = proposal::lines(proposals).join("\n");
    session.confirm(&format!("{text}\n{question}"))
}
