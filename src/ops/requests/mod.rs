//! Requests of people for certificates: making one (`ask`), judging them (`grant`, `deny`), and what became of each
//! (here). What makes a request good is `trust`'s.

mod ask;
mod deny;
mod grant;
mod proposal;
mod urgent;

pub use ask::{Ask, Asked, ask};
pub(super) use ask::{groups, lifetime};
pub use deny::{Denied, deny};
pub use grant::{Approval, Approved, Chosen, Left, approve};
pub use proposal::{Outcome, Proposal, lines};
pub use urgent::{Urgent, urgent};

use std::collections::BTreeSet;

use serde::Serialize;

use super::failure::Failure;
use super::session::Repository;
use crate::model::{ClusterName, Code, Digest, Fingerprint, PersonName, Profile, Remedy, Span, Time};
use crate::trust::requests::{self, Filed};
use crate::trust::{Epoch, Uses, Verified, approvers};

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Standing {
    /// It waits for an issuer.
    Waiting {
        /// The issuers who approved it so far; break-glass alone needs more than one.
        approved_by: BTreeSet<PersonName>,
        /// How many it takes.
        needed: u32,
    },
    /// A certificate was issued for it.
    Granted {
        /// The record.
        record: Digest,
        /// Its actor.
        by: PersonName,
        /// The certificate: `X509SHA256` in audit logs.
        certificate: Digest,
        /// Its last second.
        not_after: Time,
    },
    /// It was refused for good.
    Denied {
        /// The record.
        record: Digest,
        /// Its actor.
        by: PersonName,
        /// Why.
        why: String,
    },
    /// Nobody granted it in time.
    Expired,
    /// It can't be granted any more.
    Dead {
        /// The rule that refuses it.
        code: Code,
        /// The reason.
        why: String,
    },
}

impl Standing {
    /// The word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Waiting { .. } => "waiting",
            Self::Granted { .. } => "granted",
            Self::Denied { .. } => "denied",
            Self::Expired => "expired",
            Self::Dead { .. } => "dead",
        }
    }

    /// Whether it can be granted still.
    pub fn is_waiting(&self) -> bool {
        matches!(self, Self::Waiting { .. })
    }
}

/// A request and what became of it.
#[derive(Debug, Clone, Serialize)]
pub struct RequestPage {
    /// The hash of its file.
    pub request: Digest,
    /// The cluster.
    pub cluster: ClusterName,
    /// Who asks.
    pub person: PersonName,
    /// `client` or `break-glass`.
    pub profile: Profile,
    /// The groups asked for.
    pub groups: BTreeSet<String>,
    /// The life asked for.
    pub lifetime: Span,
    /// When it was made, by its author's word.
    pub created: Time,
    /// Until when it can be granted.
    pub expires: Time,
    /// Why.
    pub reason: String,
    /// The hash of the public key (SPKI DER).
    pub key: Option<Digest>,
    /// The OpenPGP key that signed it.
    pub signed_by: Fingerprint,
    /// What became of it.
    #[serde(flatten)]
    pub standing: Standing,
}

/// What became of a request, as of `now`.
fn standing(verified: &Verified, uses: &Uses, epoch: &Epoch, filed: &Filed, now: Time) -> Standing {
    let log = &verified.log;
    let counted = |records: &[usize]| records.iter().rev().copied().find(|record| log.counts(*record));
    if let Some(index) = counted(uses.granted(&filed.sha256)) {
        let logged = &log.records[index];
        let issued = logged.record.issued.iter().find(|entry| entry.request == Some(filed.sha256));
        if let Some(entry) = issued {
            let (record, by) = (logged.sha256, logged.record.actor.clone());
            return Standing::Granted { record, by, certificate: entry.sha256, not_after: entry.not_after };
        }
    }
    if let Some(index) = counted(uses.denied(&filed.sha256)) {
        let logged = &log.records[index];
        let deny = logged.record.deny.iter().find(|deny| deny.request == filed.sha256);
        let (record, by) = (logged.sha256, logged.record.actor.clone());
        return Standing::Denied { record, by, why: deny.map(|deny| deny.reason.clone()).unwrap_or_default() };
    }
    match (&filed.request, requests::grantable(&verified.requests, (log, uses), filed, epoch)) {
        (_, Err(reason)) => Standing::Dead { code: reason.code, why: reason.why },
        (Ok(request), Ok(())) if request.expires <= now => Standing::Expired,
        (Ok(request), Ok(())) if request.profile != Profile::BreakGlass => {
            Standing::Waiting { approved_by: BTreeSet::new(), needed: 1 }
        }
        (Ok(_), Ok(())) => {
            let issuers = epoch.clusters.get(&filed.cluster).map(|cluster| &cluster.issuers);
            let mut approved_by = approvers(log, &filed.sha256, |_| true);
            approved_by.retain(|person| issuers.is_some_and(|issuers| issuers.contains(person)));
            Standing::Waiting { approved_by, needed: epoch.threshold.break_glass }
        }
        (Err(reason), Ok(())) => Standing::Dead { code: reason.code, why: reason.why.clone() },
    }
}

/// A request with what became of it; `None` for one that can't be read, which verifying reports.
fn page(verified: &Verified, uses: &Uses, epoch: &Epoch, filed: &Filed, now: Time) -> Option<RequestPage> {
    let request = filed.request.as_ref().ok()?;
    let (_, signed_by) = filed.signer()?;
    Some(RequestPage {
        request: filed.sha256,
        cluster: filed.cluster.clone(),
        person: request.person.clone(),
        profile: request.profile,
        groups: request.groups.clone(),
        lifetime: request.lifetime,
        created: request.created,
        expires: request.expires,
        reason: request.reason.clone(),
        key: filed.key,
        signed_by: signed_by.clone(),
        standing: standing(verified, uses, epoch, filed, now),
    })
}

/// The requests for `clusters`, the oldest first.
pub fn pages(verified: &Verified, epoch: &Epoch, clusters: &[ClusterName], now: Time) -> Vec<RequestPage> {
    let filed = verified.requests.all().filter(|filed| clusters.contains(&filed.cluster));
    let uses = Uses::of(&verified.log);
    let mut pages: Vec<RequestPage> = filed.filter_map(|filed| page(verified, &uses, epoch, filed, now)).collect();
    pages.sort_by(|a, b| (&a.cluster, a.created, a.request).cmp(&(&b.cluster, b.created, b.request)));
    pages
}

/// Finds the request whose hash, or the beginning of it, a person gave; the path of its file will do.
pub fn find(repository: &Repository, clusters: &[ClusterName], text: &str, now: Time) -> Result<RequestPage, Failure> {
    let list = || Remedy::Kluis("request list".to_owned());
    let name = text.rsplit('/').next().unwrap_or_default().trim_end_matches(".toml");
    let hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    if name.len() < 4 || name.len() > 64 || !name.bytes().all(hex) {
        let what = format!("{text:?} is no request: give its hash, or at least its first 4 digits");
        return Err(Failure::usage(what).help(list()));
    }
    let epoch = repository.epoch()?;
    let all = repository.verified.requests.all().filter(|filed| clusters.contains(&filed.cluster));
    let found: Vec<&Filed> = all.filter(|filed| filed.sha256.to_string().starts_with(name)).collect();
    match found.as_slice() {
        [one] => {
            let unreadable = || Failure::refused(format!("the request {name} can't be read")).help(Remedy::Verify);
            let uses = Uses::of(&repository.verified.log);
            page(&repository.verified, &uses, epoch, one, now).ok_or_else(unreadable)
        }
        [] => {
            let names = clusters.iter().map(ClusterName::as_str).collect::<Vec<_>>().join(", ");
            Err(Failure::usage(format!("there is no request {name} in {names}")).help(list()))
        }
        several => {
            let several = several.iter().map(|filed| filed.sha256.h16()).collect::<Vec<_>>().join(", ");
            Err(Failure::usage(format!("{name} begins the names of several requests: {several}")).help(list()))
        }
    }
}

/// Checks a reason that colleagues and auditors will read: 1 to 500 bytes of plain text.
pub(in crate::ops) fn check_reason(reason: &str) -> Result<(), Failure> {
    if reason.trim().is_empty() || reason.len() > 500 || !crate::model::check_text(reason) {
        return Err(Failure::usage("--reason is 1 to 500 bytes of plain text: colleagues and auditors read it"));
    }
    Ok(())
}
