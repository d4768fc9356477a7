//! `cert`: issues a node's certificates (`node`) and the actor's own (`own`), renews what ends soon (`renew`), and shows
//! what there is (`view`) and when it ends (`expiry`), for a monitoring system too (`metrics`). What a certificate issued reports is here.

pub mod expiry;
pub mod metrics;
pub mod node;
pub mod own;
pub mod renew;
pub mod view;

use serde::Serialize;

use super::failure::Failure;
use super::plan::Written;
use super::session::{Repository, Session};
use crate::model::{ClusterConfig, ClusterName, Digest, Place, Remedy, Time};
use crate::trust::record::Issued;

/// One certificate that was issued.
#[derive(Debug, Clone, Serialize)]
pub struct Made {
    /// Its path.
    pub path: String,
    /// Its serial number; none on a dry run, as what follows.
    pub serial: Option<String>,
    /// The SHA-256 of its DER: `X509SHA256` in audit logs.
    pub sha256: Option<Digest>,
    /// Its last second.
    pub not_after: Option<Time>,
}

impl Made {
    /// One that is to be issued.
    pub(super) fn planned(place: &Place) -> Self {
        Self { path: place.to_string(), serial: None, sha256: None, not_after: None }
    }

    /// What a record says of one.
    pub(super) fn of(entry: &Issued) -> Self {
        Self {
            path: entry.place.to_string(),
            serial: Some(entry.serial.clone()),
            sha256: Some(entry.sha256),
            not_after: Some(entry.not_after),
        }
    }
}

/// What was issued; `data` of the report.
#[derive(Debug, Serialize)]
pub struct IssueReport {
    /// The cluster.
    pub cluster: ClusterName,
    /// The certificates, by path.
    pub certificates: Vec<Made>,
    /// Sealed files that were opened.
    pub opened: Vec<String>,
    /// Where the key of a person's certificate lies, sealed to its owner.
    pub key: Option<String>,
    /// Why; break-glass always says it.
    pub reason: String,
    /// Whether it is `system:masters`.
    #[serde(skip)]
    pub break_glass: bool,
    /// What was written.
    #[serde(flatten)]
    pub written: Written,
}

impl IssueReport {
    fn new(cluster: &ClusterName, places: impl Iterator<Item = Place>, opened: Vec<String>, session: &Session) -> Self {
        let mut certificates: Vec<Made> = places.map(|place| Made::planned(&place)).collect();
        certificates.sort_by(|a, b| a.path.cmp(&b.path));
        let paths = certificates.iter().map(|made| made.path.clone()).collect();
        let written = Written { dry_run: session.settings.dry_run, paths, ..Written::default() };
        Self {
            cluster: cluster.clone(),
            certificates,
            opened,
            key: None,
            reason: String::new(),
            break_glass: false,
            written,
        }
    }

    fn fill(&mut self, issued: &[Issued]) {
        for made in &mut self.certificates {
            if let Some(entry) = issued.iter().find(|entry| entry.place.to_string() == made.path) {
                made.serial = Some(entry.serial.clone());
                made.sha256 = Some(entry.sha256);
                made.not_after = Some(entry.not_after);
            }
        }
    }
}

/// The description of a cluster.
pub(super) fn config<'a>(repository: &'a Repository, cluster: &ClusterName) -> Result<&'a ClusterConfig, Failure> {
    let missing = || Failure::refused(format!("cluster {cluster} has no cluster.toml")).help(Remedy::Verify);
    repository.verified.current.configs.get(cluster).ok_or_else(missing)
}
