//! `rotate check`: whether the files of a node are those of the phase. Looks at certificates, bundles and public keys in a
//! folder with the layout of /etc/kubernetes, wherever it was copied from, or in what commands on the node printed; opens
//! nothing, and keys are not looked at.

use std::path::Path;

use serde::Serialize;

use super::super::cert::node::kept_by_node;
use super::super::cert::{config, node};
use super::super::export::{authorities, service_account_public};
use super::super::failure::Failure;
use super::super::session::Repository;
use super::listing::{Conf, Listing};
use crate::export::ExportError;
use crate::export::kubeadm::{Part, public_parts};
use crate::export::kubeconfig::Kubeconfig;
use crate::model::{
    ClusterName, Code, Digest, Distribution, Finding, Keyset, NodeName, Place, Profile, Remedy, displayed,
};
use crate::pki;
use crate::secret::Secret;

/// The largest file that is read: no certificate file and no kubeconfig comes near it.
const LARGEST: u64 = 1 << 20;

/// Where a node's files are.
pub enum Files<'a> {
    /// In this folder.
    Folder(&'a Path),
    /// In this text, of the commands in the help of `rotate check`.
    Listing(&'a str),
}

/// One file of the node.
#[derive(Debug, Serialize)]
pub struct CheckedFile {
    /// Its path below the folder.
    pub path: String,
    /// `right`, `differs`, `missing` or `unreadable`.
    pub state: &'static str,
    /// In what it differs, as a clause.
    pub why: String,
    /// What of a new export to copy where it is not right: it, and the key that its certificate needs.
    pub copy: Vec<String>,
}

/// What was found; `data` of the report.
#[derive(Debug, Serialize)]
pub struct Checked {
    /// The cluster.
    pub cluster: ClusterName,
    /// The node.
    pub node: NodeName,
    /// The files.
    pub files: Vec<CheckedFile>,
}

/// Compares the files of `node` with what the phase expects.
pub fn check(
    repository: &Repository,
    cluster: &ClusterName,
    name: &NodeName,
    files: &Files<'_>,
) -> Result<(Checked, Vec<Finding>), Failure> {
    let config = config(repository, cluster)?;
    // The paths are those of kubeadm.
    if config.distribution != Distribution::Kubeadm {
        let distribution = config.distribution;
        return Err(ExportError::NotKubeadm { cluster: cluster.clone(), distribution }.into());
    }
    let node = &node::find(config, cluster, name)?;
    let found = match files {
        Files::Folder(dir) if !dir.is_dir() => {
            return Err(Failure::usage(format!("{} is no folder", displayed(&dir.display().to_string()))));
        }
        Files::Folder(dir) => Found::Folder(dir),
        Files::Listing(text) => Found::Listing(Listing::parse(text)),
    };
    let expected = Expected { repository, cluster, node: name };
    let mut checked = Checked { cluster: cluster.clone(), node: name.clone(), files: Vec::new() };
    let mut findings = Vec::new();
    let kept = kept_by_node(&repository.verified, cluster, name);
    // What `rotate status` lists is of this phase alone; what differs may be of one before, or a certificate that was renewed.
    let export = Remedy::Kluis(format!("export kubeadm -c {cluster} --node {name} --out DIR"));
    for (path, part) in public_parts(node) {
        let (state, why) = match expected.difference(&found, &path, part)? {
            None => ("missing", "it is not there".to_owned()),
            Some(Difference::None) => ("right", String::new()),
            Some(Difference::Differs(why)) => ("differs", why),
            Some(Difference::Unreadable(why)) => ("unreadable", why),
        };
        let mut copy = Vec::new();
        if state != "right" {
            copy.push(path.clone());
            let mut said = format!("{why}; copy it");
            if let (Part::Leaf(profile), Some(stem)) = (part, path.strip_suffix(".crt"))
                && !kept.contains_key(&profile)
            {
                copy.push(format!("{stem}.key"));
                said.push_str(" and its key");
            }
            said.push_str(" from a new export");
            findings.push(Finding::new(Code::NodeFile, said).at(&path).in_cluster(cluster).fix(export.clone()));
        }
        checked.files.push(CheckedFile { path, state, why, copy });
    }
    Ok((checked, findings))
}

/// What was brought.
enum Found<'a> {
    Folder(&'a Path),
    Listing(Listing),
}

impl Found<'_> {
    fn file(&self, path: &str) -> Result<Option<Vec<u8>>, Failure> {
        match self {
            Self::Folder(dir) => Ok(crate::disk::read_capped(&dir.join(path), LARGEST)?),
            Self::Listing(listing) => Ok(listing.file(path).map(<[u8]>::to_vec)),
        }
    }

    fn kubeconfig(&self, path: &str) -> Result<Conf, Failure> {
        match self {
            // It has a key.
            Self::Folder(_) => Ok(self.file(path)?.map(|bytes| Kubeconfig::read_public(&Secret::new(bytes)))),
            Self::Listing(listing) => Ok(listing.kubeconfig(path)),
        }
    }
}

enum Difference {
    None,
    Differs(String),
    Unreadable(String),
}

struct Expected<'a> {
    repository: &'a Repository,
    cluster: &'a ClusterName,
    node: &'a NodeName,
}

impl Expected<'_> {
    /// `None` where the file is not there.
    fn difference(&self, found: &Found<'_>, path: &str, part: Part) -> Result<Option<Difference>, Failure> {
        if let Part::Conf(profile) = part {
            return Ok(match found.kubeconfig(path)? {
                None => None,
                Some(Err(error)) => Some(Difference::Unreadable(error.to_string())),
                Some(Ok((authorities, certificate))) => Some(match self.bundle(Keyset::Kubernetes, &authorities)? {
                    Difference::None => self.leaf(profile, &certificate),
                    other => other,
                }),
            });
        }
        let Some(bytes) = found.file(path)? else { return Ok(None) };
        Ok(Some(match part {
            Part::Bundle(keyset) => self.bundle(keyset, &bytes)?,
            Part::Leaf(profile) | Part::Conf(profile) => self.leaf(profile, &bytes),
            Part::ServiceAccount => {
                let expected = service_account_public(self.repository, self.cluster)?;
                compare("public keys", &pki::pem_blocks(&bytes, "PUBLIC KEY"), &expected)
            }
        }))
    }

    fn bundle(&self, keyset: Keyset, pem: &[u8]) -> Result<Difference, Failure> {
        let expected = authorities(self.repository, self.cluster, keyset)?;
        Ok(compare("CA certificates", &pki::pem_blocks(pem, "CERTIFICATE"), &expected))
    }

    fn leaf(&self, profile: Profile, pem: &[u8]) -> Difference {
        let place = Place::NodeCert(self.cluster.clone(), self.node.clone(), profile);
        let bytes = self.repository.verified.tree.bytes(&place.to_string()).unwrap_or_default();
        let Ok(expected) = pki::parse_pem(bytes, "CERTIFICATE") else {
            return Difference::Unreadable(format!("the repository has no {place}"));
        };
        let found = pki::pem_blocks(pem, "CERTIFICATE");
        let Some(first) = found.first() else { return Difference::Unreadable("it holds no certificate".to_owned()) };
        if *first == expected {
            return Difference::None;
        }
        let sha256 = Digest::of(first);
        let issued = self.repository.verified.log.records.iter().flat_map(|logged| &logged.record.issued);
        Difference::Differs(match issued.into_iter().find(|entry| entry.sha256 == sha256) {
            Some(entry) => format!("it is an earlier certificate, of {}", entry.not_before),
            None => format!("no record has its certificate {}", sha256.h16()),
        })
    }
}

fn compare(what: &str, found: &[Vec<u8>], expected: &[Vec<u8>]) -> Difference {
    if found == expected {
        return Difference::None;
    }
    if found.is_empty() {
        return Difference::Unreadable(format!("it holds no {what}"));
    }
    let missing = expected.iter().filter(|one| !found.contains(one)).count();
    let foreign = found.iter().filter(|one| !expected.contains(one)).count();
    Difference::Differs(match (missing, foreign) {
        (0, 0) => format!("its {what} are in another order: the one that issues comes first"),
        (missing, 0) => format!("{missing} of the {} {what} of this phase are missing", expected.len()),
        (0, foreign) => format!("it has {foreign} {what} that this phase does not trust"),
        (missing, foreign) => format!("{missing} {what} are missing, and {foreign} are not of this phase"),
    })
}
