//! Break-glass as events: certificates for `system:masters`, and what issuers said of requests for them.

use serde::Serialize;

use super::super::audit::log::{self, Asked, Line, Standing, Wanted};
use crate::model::{ClusterName, Digest, PersonName, Time};
use crate::trust::Verified;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Deed {
    /// A certificate was issued.
    Issued,
    /// An issuer approved a request.
    Approved,
    /// A request was refused.
    Denied,
}

/// One event.
#[derive(Debug, Serialize)]
pub struct Event {
    /// When, by its signer's word.
    pub time: Time,
    /// What was done.
    pub deed: Deed,
    /// The cluster, where it is known.
    pub cluster: Option<ClusterName>,
    /// Whose certificate or request it is, where that is known.
    pub person: Option<String>,
    /// Who did it.
    pub by: PersonName,
    /// Of a certificate: the issuers who stood behind it, the one who issued it first.
    pub approved_by: Vec<PersonName>,
    /// Why.
    pub reason: String,
    /// Of a certificate: its last second.
    pub not_after: Option<Time>,
    /// Of a certificate: whether it has not ended.
    pub live: bool,
    /// Of a certificate: as Kubernetes' audit logs name it.
    pub credential_id: Option<String>,
    /// The record.
    pub record: Digest,
    /// Whether the record counts.
    pub counts: bool,
}

/// All events of these clusters (all, if there are none), the newest first.
pub fn events(verified: &Verified, clusters: &[ClusterName], now: Time) -> Vec<Event> {
    let wanted = Wanted { clusters: clusters.to_vec(), break_glass: true, ..Wanted::default() };
    let is_judged = super::is_judged(verified);
    let lines = log::lines(&verified.log, &verified.requests, is_judged, &wanted);
    let mut events: Vec<Event> = lines.iter().flat_map(|line| of_line(line, now)).collect();
    events.reverse();
    events
}

fn of_line(line: &Line, now: Time) -> Vec<Event> {
    let counts = matches!(line.standing, Standing::Counts | Standing::Adopted { .. });
    let event = |deed, reason: &str| Event {
        time: line.time,
        deed,
        cluster: None,
        person: None,
        by: line.actor.clone(),
        approved_by: Vec::new(),
        reason: reason.to_owned(),
        not_after: None,
        live: false,
        credential_id: None,
        record: line.record,
        counts,
    };
    let asked = |deed, asked: &Asked, reason: &str| {
        let person = asked.person.as_ref().map(ToString::to_string);
        Event { cluster: asked.cluster.clone(), person, ..event(deed, reason) }
    };
    let mut events = Vec::new();
    for entry in &line.approve {
        events.push(asked(Deed::Approved, &entry.asked, &entry.asked.reason));
    }
    for entry in &line.deny {
        events.push(asked(Deed::Denied, &entry.asked, entry.denied.as_deref().unwrap_or_default()));
    }
    for entry in &line.issued {
        let asked = entry.request.as_ref().map(|asked| asked.reason.as_str());
        events.push(Event {
            cluster: Some(entry.cluster.clone()),
            person: Some(entry.owner.clone()),
            approved_by: entry.approved_by.clone(),
            not_after: Some(entry.not_after),
            live: entry.not_after > now,
            credential_id: Some(entry.credential_id.clone()),
            ..event(Deed::Issued, asked.filter(|reason| !reason.is_empty()).unwrap_or(&line.reason))
        });
    }
    events
}
