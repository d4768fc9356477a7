//! `audit`: who did what (`log`), which certificates must not be accepted (`deny`), and which requests to an API server
//! were made with a certificate that nobody recorded (`k8s`). Reads alone, and needs no key.
//!
//! An auditor comes when something is wrong, so nothing that is wrong with the repository keeps them from reading: it is
//! shown beside the answer, and decides the exit code.

pub mod deny;
pub mod event;
pub mod join;
pub mod k8s;
pub mod log;

use std::path::PathBuf;

use super::failure::Failure;
use super::session::{Gate, Session};
use crate::model::{ClusterName, Finding, Level, Remedy};
use crate::trust::{self, Verified};
use deny::Denied;
use k8s::K8sAudit;
use log::{Line, Wanted};

/// The repository as far as it counts.
struct Opened {
    verified: Verified,
    /// What is wrong with it.
    findings: Vec<Finding>,
    /// Whether the log was judged.
    is_judged: bool,
}

/// Opens the repository in any state. Beside a draft that lacks signatures, what counts is what counts without it.
fn open(session: &mut Session, clusters: &[ClusterName]) -> Result<Opened, Failure> {
    let repository = session.open_reading(&Gate::Anything)?;
    let mut verified = repository.verified;
    let findings = verified.findings.iter().filter(|finding| finding.level == Level::Error).cloned().collect();
    // A log that was read has an entry for each epoch there; none is read where an epoch is at fault or lacks signatures.
    if verified.log.closed.is_empty() && verified.chain.draft().is_some() {
        verified = trust::without_draft(&verified.tree, &verified.chain, session.now);
        session
            .notes
            .push("the draft of the next epoch does not count yet: this is how things are without it".to_owned());
    }
    let is_judged = !verified.log.closed.is_empty();
    let named =
        |name: &&ClusterName| !verified.chain.all().iter().any(|epoch| epoch.epoch.clusters.contains_key(*name));
    if let (Some(unknown), true) = (clusters.iter().find(named), is_judged) {
        return Err(Failure::usage(format!("no epoch ever listed a cluster {unknown}")).help(Remedy::ClusterList));
    }
    Ok(Opened { verified, findings, is_judged })
}

impl Opened {
    /// Fails where the log was not judged, so that nobody knows which records count.
    fn judged(self) -> Result<Self, Failure> {
        if self.is_judged {
            return Ok(self);
        }
        let what = "the epochs are at fault, so nobody can say which records count";
        Err(Failure::findings(what, self.findings))
    }
}

/// The records that are wanted, and what is wrong with the repository.
pub fn log(session: &mut Session, wanted: &Wanted) -> Result<(Vec<Line>, Vec<Finding>), Failure> {
    let Opened { verified, mut findings, is_judged } = open(session, &wanted.clusters)?;
    if is_judged {
        return Ok((log::lines(&verified.log, &verified.requests, true, wanted), findings));
    }
    let (unjudged, more) = trust::log::load(&verified.tree, &verified.chain);
    findings.extend(more);
    let requests = trust::requests::Index::read(&verified.tree, &verified.chain, None);
    Ok((log::lines(&unjudged, &requests, false, wanted), findings))
}

/// The certificates that live and must not be accepted, and what is wrong with the repository.
pub fn deny_list(session: &mut Session, clusters: &[ClusterName]) -> Result<(Vec<Denied>, Vec<Finding>), Failure> {
    let Opened { verified, findings, .. } = open(session, clusters)?.judged()?;
    Ok((deny::list(&verified, clusters, session.now), findings))
}

/// Joins audit logs of an API server with the records; what is wrong with either.
pub fn k8s_audit(
    session: &mut Session,
    files: &[PathBuf],
    clusters: &[ClusterName],
) -> Result<(K8sAudit, Vec<Finding>), Failure> {
    let Opened { verified, mut findings, .. } = open(session, clusters)?.judged()?;
    let (audit, found) = k8s::join(session, &verified, files, clusters)?;
    findings.extend(found);
    Ok((audit, findings))
}
