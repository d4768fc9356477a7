//! Break-glass in one step, for whoever needs it at 3 a.m.: what is there already is used, what waits is waited for,
//! and only else is anything asked or issued.

use super::super::access::Access;
use super::super::cert::IssueReport;
use super::super::cert::own::{self, Own};
use super::super::failure::Failure;
use super::super::own_keys;
use super::super::session::{Repository, Session};
use super::ask::{Ask, Asked, ask};
use super::{RequestPage, pages};
use crate::model::{ClusterName, Digest, Place, Profile, Span};

/// How far a break-glass certificate is.
pub enum Urgent {
    /// It lives, not near its end, and its key is on this machine.
    Live,
    /// It was issued now: one issuer is enough here, and the actor is one.
    Issued(Box<IssueReport>),
    /// It was asked for now.
    Asked(Box<Asked>),
    /// It was asked for before, and waits.
    Waiting(Box<RequestPage>),
}

/// Brings the actor's break-glass certificate for `cluster` as far as they can bring it alone. `wait` is how long issuers
/// may take.
pub fn urgent(
    session: &mut Session,
    repository: &mut Repository,
    cluster: &ClusterName,
    (reason, lifetime, wait): (&str, Option<Span>, Span),
) -> Result<Urgent, Failure> {
    let profile = Profile::BreakGlass;
    let actor = session.actor(&repository.verified)?;
    let place = Place::PersonCert(cluster.clone(), actor.name.clone(), profile);
    let access = Access { cluster, person: &actor.name, profile };
    // A certificate, or a request, whose key lies on another machine is of no use here.
    let is_here = |session: &Session, key: &Digest| own_keys::find(session, key).map(|sealed| sealed.is_some());
    if let Some(facts) = repository.verified.current.leaves.get(&place)
        && session.now < facts.not_after
        && !access.is_near_end(facts, session.now)
        && is_here(session, &facts.spki_id)?
    {
        return Ok(Urgent::Live);
    }
    let epoch = repository.epoch()?;
    let all = pages(&repository.verified, epoch, std::slice::from_ref(cluster), session.now);
    for page in all {
        let own = page.person == actor.name && page.profile == profile && page.standing.is_waiting();
        let is_usable = match page.key.filter(|_| own) {
            Some(key) => is_here(session, &key)?,
            None => false,
        };
        if is_usable {
            return Ok(Urgent::Waiting(Box::new(page)));
        }
    }
    let of = repository.cluster(cluster)?;
    let alone =
        epoch.threshold.break_glass == 1 && of.issuers.contains(&actor.name) && of.keyholders.contains(&actor.name);
    if alone {
        let issued = own::issue(session, repository, cluster, &Own { profile, groups: &[], reason, lifetime })?;
        return Ok(Urgent::Issued(Box::new(issued)));
    }
    let wanted = Ask { groups: &[], profile, lifetime, reason, wait, csr: None };
    Ok(Urgent::Asked(Box::new(ask(session, repository, cluster, &wanted)?)))
}
