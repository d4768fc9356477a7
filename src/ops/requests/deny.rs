//! `request deny`: refuses requests for good, by an issuer or by whoever asked.

use serde::Serialize;

use super::super::failure::Failure;
use super::super::plan::{Plan, Written, new_record};
use super::super::session::{Repository, Session};
use super::{RequestPage, Standing, check_reason};
use crate::model::Remedy;
use crate::trust::record::Deny;

/// What was denied; `data` of the report.
#[derive(Debug, Serialize)]
pub struct Denied {
    /// The requests, as they stood.
    pub denied: Vec<RequestPage>,
    /// Why.
    pub reason: String,
    /// What was written.
    #[serde(flatten)]
    pub written: Written,
}

/// Denies `requests`: one record.
pub fn deny(
    session: &mut Session,
    repository: &mut Repository,
    requests: Vec<RequestPage>,
    reason: &str,
) -> Result<Denied, Failure> {
    check_reason(reason)?;
    let mut actor = session.actor(&repository.verified)?;
    for page in &requests {
        let h16 = page.request.h16();
        match &page.standing {
            Standing::Granted { by, .. } => {
                let what = format!("{by} granted the request {h16}: what was issued is not taken back by a denial");
                let help = format!("trust raise GROUP -c {}", page.cluster);
                return Err(Failure::refused(what).help(Remedy::Kluis(help)));
            }
            Standing::Denied { by, .. } => {
                let what = format!("{by} denied the request {h16} already");
                return Err(Failure::refused(what).help(Remedy::Kluis(format!("request show {h16}"))));
            }
            _ => {}
        }
        let cluster = repository.cluster(&page.cluster)?;
        if !cluster.issuers.contains(&actor.name) && page.person != actor.name {
            let what = format!(
                "{} is no issuer of cluster {}, and the request {h16} is {}'s",
                actor.name, page.cluster, page.person
            );
            let help = format!("person update {} --issuer {}", actor.name, page.cluster);
            return Err(Failure::refused(what).help(Remedy::Kluis(help)));
        }
        if cluster.retired {
            let what = format!("cluster {} is retired: its requests need no answer", page.cluster);
            return Err(Failure::refused(what));
        }
    }
    let mut record = new_record(&repository.verified, &actor.name, session.now, "request deny")?;
    record.reason = reason.to_owned();
    record.deny = requests.iter().map(|page| Deny { request: page.request, reason: reason.to_owned() }).collect();
    let names = requests.iter().map(|page| page.request.h16()).collect::<Vec<_>>().join(", ");
    let mut plan = Plan::default();
    plan.record(record);
    let written = plan.carry_out(session, repository, &mut actor, &format!("Deny {names}"), reason)?;
    Ok(Denied { denied: requests, reason: reason.to_owned(), written })
}
