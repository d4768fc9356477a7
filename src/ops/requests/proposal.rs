//! What granting a request would do, before any key is asked for: what was asked, what policy says, what would be
//! issued, and what differs.

use std::collections::BTreeSet;

use serde::Serialize;

use super::super::failure::Failure;
use super::super::issuing;
use super::super::session::{Repository, Session};
use super::{RequestPage, Standing};
use crate::model::{Generation, Keyset, PersonName, Profile, Remedy, Span, Time, displayed};
use crate::trust::keyset_of;

/// What approving a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It issues the certificate.
    Issue,
    /// It puts one more approval on record, and nothing is issued yet.
    Approve,
}

/// A request, and what approving it would do.
#[derive(Debug, Clone, Serialize)]
pub struct Proposal {
    /// The request.
    #[serde(flatten)]
    pub page: RequestPage,
    /// What happens.
    pub outcome: Outcome,
    /// Who stands behind it then, of whom it takes `needed`.
    pub behind: BTreeSet<PersonName>,
    /// How many it takes.
    pub needed: u32,
    /// The subject of the certificate.
    pub subject: String,
    /// The life that it gets.
    pub life: Span,
    /// Its last second, if it were issued now.
    pub not_after: Time,
    /// The keyset whose authority issues.
    pub keyset: Keyset,
    /// The generation that issues.
    pub generation: Generation,
    /// What the policy bounds, as clauses.
    pub policy: Vec<String>,
    /// In what it differs from what was asked, as clauses.
    pub differs: Vec<String>,
}

/// Judges `page` as `actor` would approve it. Refuses what can't be granted, with the reason.
pub(super) fn propose(
    session: &Session,
    repository: &Repository,
    actor: &PersonName,
    page: RequestPage,
    lifetime: Option<Span>,
) -> Result<Proposal, Failure> {
    let (approved_by, needed) = match &page.standing {
        Standing::Waiting { approved_by, needed } => (approved_by.clone(), *needed),
        other => return Err(refused(&page, other)),
    };
    let (epoch, cluster) = (repository.epoch()?, repository.cluster(&page.cluster)?);
    issuing::check_may_issue(&page.cluster, cluster, actor)?;
    let bound = match page.profile {
        Profile::BreakGlass => epoch.policy.max_break_glass,
        _ => epoch.policy.max_client,
    };
    let life = page.lifetime.shorter(bound).shorter(lifetime.unwrap_or(bound));
    let mut differs = Vec::new();
    if life < page.lifetime {
        differs.push(format!("{life} instead of {}", page.lifetime));
    }
    let keyset = keyset_of(cluster, page.profile);
    let generation = issuing::issuing(&repository.verified, &page.cluster, keyset)?;
    let authority = cluster.generations(keyset).find(|(listed, _)| *listed == generation);
    let authority = authority.and_then(|(_, sha256)| repository.verified.authorities.get(&sha256));
    let mut not_after = session.now.plus(life);
    if let Some(end) = authority.map(|facts| facts.not_after).filter(|end| *end < not_after) {
        differs.push(format!("it ends with its authority {keyset} {generation}"));
        not_after = end;
    }
    let mut behind = approved_by;
    behind.insert(actor.clone());
    if page.profile == Profile::BreakGlass && cluster.issuers.contains(&page.person) {
        behind.insert(page.person.clone());
    }
    let reached = behind.len() >= needed as usize;
    // Issuing opens the CA key. An issuer who can't open it still approves; a colleague who can issues then.
    let outcome = match reached && cluster.keyholders.contains(actor) {
        true => Outcome::Issue,
        false => Outcome::Approve,
    };
    if outcome == Outcome::Approve && page.profile == Profile::BreakGlass && lifetime.is_some() {
        // An approval has no place for it: whoever says "for half an hour" must not find a day granted by the next.
        let what = "an approval that issues nothing yet grants no lifetime: whoever issues says --lifetime";
        let help = format!("request approve -c {} {}", page.cluster, page.request.h16());
        return Err(Failure::usage(what).help(Remedy::Kluis(help)));
    }
    if outcome == Outcome::Approve && page.profile != Profile::BreakGlass {
        issuing::check_issuer(&page.cluster, cluster, actor)?;
    }
    let mut policy = vec![format!("{} certificates live at most {bound}", page.profile)];
    match page.profile {
        Profile::BreakGlass => policy.push(takes(needed, &behind)),
        _ => policy.push(format!("{} may have these groups", page.person)),
    }
    let subject = subject(&page);
    Ok(Proposal { page, outcome, behind, needed, subject, life, not_after, keyset, generation, policy, differs })
}

fn takes(needed: u32, behind: &BTreeSet<PersonName>) -> String {
    let names = super::super::names(behind);
    match needed {
        1 => format!("one issuer is enough here (threshold.break_glass is 1): {names}"),
        _ => format!("it takes {needed} issuers; with you these stand behind it: {names}"),
    }
}

/// The subject as RFC 4514 has it: CN first, then the groups from the last to the first.
fn subject(page: &RequestPage) -> String {
    let groups = page.groups.iter().rev().map(|group| format!("O={group}"));
    let parts: Vec<String> = [format!("CN={}", page.person)].into_iter().chain(groups).collect();
    parts.join(",")
}

fn refused(page: &RequestPage, standing: &Standing) -> Failure {
    let h16 = page.request.h16();
    let show = Remedy::Kluis(format!("request show {h16}"));
    let anew = Remedy::Kluis(match page.profile {
        Profile::BreakGlass => format!("request new -c {} --break-glass --reason TEXT", page.cluster),
        _ => format!("request new -c {}", page.cluster),
    });
    match standing {
        Standing::Granted { by, .. } => {
            Failure::refused(format!("{by} granted the request {h16} already, and it is good for one certificate"))
                .help(show)
        }
        Standing::Denied { by, why, .. } => {
            Failure::refused(format!("{by} denied the request {h16}: {}", displayed(why))).help(show)
        }
        Standing::Expired => {
            let what = format!("the request {h16} expired {}: {} asks again", page.expires, page.person);
            Failure::refused(what).help(anew)
        }
        Standing::Dead { code, why } => {
            let what = format!("the request {h16} can't be granted any more ({code}): {}", displayed(why));
            Failure::refused(what).help(anew)
        }
        Standing::Waiting { .. } => Failure::refused(format!("the request {h16} waits")).help(show),
    }
}

/// How many requests are shown at length before a person is asked; more get a line each.
const AT_LENGTH: usize = 10;

/// The proposals for people: who asks for what, what policy says, what happens and what differs.
pub fn lines(proposals: &[Proposal]) -> Vec<String> {
    proposals.iter().flat_map(|one| at_length(one, proposals.len() <= AT_LENGTH)).collect()
}

fn at_length(one: &Proposal, all: bool) -> Vec<String> {
    let page = &one.page;
    let groups = page.groups.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let (h16, person, cluster) = (page.request.h16(), &page.person, &page.cluster);
    let mut lines = Vec::new();
    if page.profile == Profile::BreakGlass {
        lines.push(format!("BREAK-GLASS  {h16}  {person} asks for {groups} on {cluster} for {}", page.lifetime));
    } else {
        lines.push(format!("request  {h16}  {person} asks for {groups} on {cluster} for {}", page.lifetime));
    }
    let is_long = all || page.profile == Profile::BreakGlass;
    if !page.reason.is_empty() && is_long {
        lines.push(format!("  because  {}", displayed(&page.reason)));
    }
    if is_long {
        lines.push(format!("  signed   {} by {}", page.created, page.signed_by));
        lines.push(format!("  policy   {}", one.policy.join("; ")));
        let (keyset, generation) = (one.keyset, one.generation);
        lines.push(match one.outcome {
            Outcome::Issue => format!("  issues   {} until {}, by {keyset} {generation}", one.subject, one.not_after),
            Outcome::Approve => {
                format!("  approves {} of {} issuers; nothing is issued yet", one.behind.len(), one.needed)
            }
        });
    }
    if !one.differs.is_empty() {
        lines.push(format!("  differs  {}", one.differs.join("; ")));
    }
    lines
}
