//! A large head, judged by what differs: each changed file must be what the epoch or a record of the change says. What
//! that leaves open, such as a record that its epoch does not allow, is `verify`'s, which judges the whole.

use super::material::Material;
use crate::model::{Code, Digest, Finding, Place};
use crate::pki;
use crate::trust::chain::Chain;
use crate::trust::log::Log;
use crate::trust::{self, range};

/// What is wrong with the files that differ. `log` has the records of the change, `faults` what reading them said.
pub fn judge(material: &Material, chain: (&Chain, Vec<Finding>), (log, faults): (&Log, Vec<Finding>)) -> Vec<Finding> {
    let (chain, chain_findings) = chain;
    let mut changed = trust::Tree::default();
    for path in &material.changed {
        if let Some(entry) = material.after.entries.get(path) {
            changed.entries.insert(path.clone(), entry.clone());
        }
    }
    let mut findings = trust::check_files(&changed);
    findings.extend(chain_findings);
    // Parents that are there and were not read: only new records are.
    findings.extend(faults.into_iter().filter(|fault| fault.code != Code::DanglingParent));
    for logged in &log.records {
        for parent in &logged.record.parents {
            let name = format!("/{}.toml", parent.h16());
            let known = log.dag.find(parent).is_some() || material.records.iter().any(|path| path.ends_with(&name));
            if !known {
                let why = format!("it names {}, which is not there", parent.h16());
                findings.push(Finding::new(Code::DanglingParent, why).at(&logged.path));
            }
        }
    }
    findings.extend(range::check(&material.before, material.base.revision(), &material.after, chain));
    findings.extend(material.changed.iter().filter_map(|path| vouched(material, chain, log, path)));
    findings
}

/// Whether the epoch or a record of this change says that this lies there, or is gone; a finding if not. Sealed files
/// are judged with their recipients, and statements by themselves.
fn vouched(material: &Material, chain: &Chain, log: &Log, path: &str) -> Option<Finding> {
    let place = Place::parse(path).ok()?;
    let listed = chain.latest().and_then(|latest| latest.epoch.clusters.get(place.cluster()?));
    let bytes = material.after.bytes(path);
    let fault = |code, why: &str| Some(Finding::new(code, why).at(path));
    let der = |bytes, label| pki::parse_pem(bytes, label).ok().map(|der| Digest::of(&der));
    let (digest, expected) = match &place {
        Place::Ca(_, keyset, generation) => {
            let expected = listed.and_then(|cluster| cluster.generations(*keyset).find(|(g, _)| g == generation));
            (bytes.and_then(|bytes| der(bytes, "CERTIFICATE")), expected.map(|(_, digest)| digest))
        }
        Place::ServiceAccount(_, generation) => {
            let keyset = crate::model::Keyset::ServiceAccount;
            let expected = listed.and_then(|cluster| cluster.generations(keyset).find(|(g, _)| g == generation));
            (bytes.and_then(|bytes| der(bytes, "PUBLIC KEY")), expected.map(|(_, digest)| digest))
        }
        Place::Config(_) | Place::NodeCert(..) | Place::PersonCert(..) => {
            let digest = match place {
                Place::Config(_) => bytes.map(Digest::of),
                _ => bytes.and_then(|bytes| der(bytes, "CERTIFICATE")),
            };
            let records = || log.records.iter().map(|logged| &logged.record);
            let configs = records().flat_map(|record| record.config.iter().map(|entry| (entry.place(), entry.sha256)));
            let issued = records().flat_map(|record| record.issued.iter().map(|e| (e.place.clone(), e.sha256)));
            let says = configs.chain(issued).any(|(at, sha256)| at == place && Some(sha256) == digest);
            let removed =
                bytes.is_none() && (listed.is_none() || records().any(|record| record.removed.contains(&place)));
            if says || removed {
                return None;
            }
            (digest, None)
        }
        _ => return None,
    };
    match (&place, bytes) {
        (Place::Ca(..) | Place::ServiceAccount(..), Some(_)) if expected.is_some() && digest == expected => None,
        (Place::Ca(..) | Place::ServiceAccount(..), None) if expected.is_none() => None,
        (Place::Ca(..) | Place::ServiceAccount(..), Some(_)) => {
            fault(Code::CaHash, "it is not what the latest epoch lists")
        }
        (_, None) => fault(Code::MissingFile, "it is gone, and nothing in this change says that it should be"),
        (Place::Config(_), _) => fault(Code::ConfigHash, "no record of this change vouches for it"),
        (_, _) if material.before.entries.contains_key(path) => {
            fault(Code::LeafHash, "no record of this change vouches for it")
        }
        _ => fault(Code::UnloggedCert, "no record of this change vouches for this certificate"),
    }
}
