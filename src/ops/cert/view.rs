//! `cert list` and `cert show`: certificates as records and files have them. Judges nothing.

use serde::Serialize;

use super::super::failure::Failure;
use super::super::session::Repository;
use crate::model::{ClusterName, Digest, NodeName, PersonName, Place, Profile, Remedy, Time};
use crate::pki::Facts;
use crate::trust::current::{Vouch, Vouched};
use crate::trust::record::Issued;

/// One certificate.
#[derive(Debug, Clone, Serialize)]
pub struct CertLine {
    /// The cluster.
    pub cluster: ClusterName,
    /// `node` or `person`.
    pub kind: &'static str,
    /// The node's or person's name.
    pub owner: String,
    /// The profile.
    pub profile: Profile,
    /// The subject.
    pub subject: String,
    /// The serial number.
    pub serial: String,
    /// The SHA-256 of the DER: `X509SHA256` in audit logs.
    pub sha256: Digest,
    /// The first second.
    pub not_before: Time,
    /// The last second.
    pub not_after: Time,
    /// `current`, `expired`, or `replaced`: by another at its place, or removed, and still good until it ends.
    pub state: &'static str,
}

/// Certificates by cluster, owner, profile and age; `data` of the report.
#[derive(Debug, Serialize)]
pub struct CertList {
    /// The certificates.
    pub certificates: Vec<CertLine>,
}

/// Everything about one certificate; `data` of the report.
#[derive(Debug, Serialize)]
pub struct CertPage {
    /// Its path.
    pub path: String,
    /// What the list says of it.
    #[serde(flatten)]
    pub line: CertLine,
    /// The issuer's subject.
    pub issuer: String,
    /// The SHA-256 of the CA certificate's DER.
    pub issuer_sha256: Digest,
    /// The SHA-256 of the public key (SPKI DER).
    pub spki: Digest,
    /// The organisations: groups, to Kubernetes.
    pub organizations: Vec<String>,
    /// The names and addresses that it is good for.
    pub sans: Vec<String>,
    /// Extended key usages, as object identifiers.
    pub extended_key_usages: Vec<String>,
    /// Extensions, as object identifiers.
    pub extensions: Vec<String>,
    /// The subject key identifier.
    pub ski: Option<String>,
    /// The authority key identifier.
    pub aki: Option<String>,
    /// The record that vouches for it.
    pub record: Digest,
    /// Who issued it.
    pub actor: PersonName,
    /// The request that it answers.
    pub request: Option<Digest>,
    /// Why it was issued, if the record says so.
    pub reason: String,
}

fn parts(place: &Place) -> Option<(&ClusterName, &'static str, String, Profile)> {
    match place {
        Place::NodeCert(cluster, node, profile) => Some((cluster, "node", node.to_string(), *profile)),
        Place::PersonCert(cluster, person, profile) => Some((cluster, "person", person.to_string(), *profile)),
        _ => None,
    }
}

fn line(entry: &Issued, is_current: bool, now: Time) -> Option<CertLine> {
    let (cluster, kind, owner, profile) = parts(&entry.place)?;
    let state = match (entry.not_after < now, is_current) {
        (true, _) => "expired",
        (false, true) => "current",
        (false, false) => "replaced",
    };
    Some(CertLine {
        cluster: cluster.clone(),
        kind,
        owner,
        profile,
        subject: entry.subject.clone(),
        serial: entry.serial.clone(),
        sha256: entry.sha256,
        not_before: entry.not_before,
        not_after: entry.not_after,
        state,
    })
}

/// The certificates of `clusters`: those at their places, or with `all` every one that was ever issued.
pub fn list(repository: &Repository, clusters: &[ClusterName], all: bool, now: Time) -> CertList {
    let current = &repository.verified.current;
    let mut certificates = Vec::new();
    for (place, said) in &current.history {
        if !place.cluster().is_some_and(|cluster| clusters.contains(cluster)) {
            continue;
        }
        let there = match current.paths.get(place) {
            Some(Vouched { vouch: Vouch::Issued(entry), .. }) => Some(entry.sha256),
            _ => None,
        };
        for vouched in said {
            let Vouch::Issued(entry) = &vouched.vouch else { continue };
            let is_current = Some(entry.sha256) == there;
            if all || is_current {
                certificates.extend(line(entry, is_current, now));
            }
        }
    }
    certificates.sort_by(|a, b| {
        let key =
            |line: &CertLine| (line.cluster.clone(), line.kind, line.owner.clone(), line.profile, line.not_before);
        key(a).cmp(&key(b))
    });
    CertList { certificates }
}

/// Finds the certificate that `what` names: a path, `NODE/PROFILE` or `PERSON/PROFILE` in one of `clusters`.
fn find(repository: &Repository, clusters: &[ClusterName], what: &str) -> Result<Place, Failure> {
    let leaves = &repository.verified.current.leaves;
    let unknown = || {
        let names = clusters.iter().map(ClusterName::as_str).collect::<Vec<_>>().join(", ");
        Failure::usage(format!("there is no current certificate {what:?} in {names}"))
            .help(Remedy::Kluis("cert list".to_owned()))
    };
    if let Ok(place) = Place::parse(what) {
        return if leaves.contains_key(&place) { Ok(place) } else { Err(unknown()) };
    }
    let (owner, profile) = what.rsplit_once('/').ok_or_else(unknown)?;
    let profile = Profile::parse(profile).ok_or_else(unknown)?;
    let place = |cluster: &ClusterName| match profile.is_person() {
        true => Some(Place::PersonCert(cluster.clone(), PersonName::parse(owner).ok()?, profile)),
        false => Some(Place::NodeCert(cluster.clone(), NodeName::parse(owner).ok()?, profile)),
    };
    let mut found = clusters.iter().filter_map(place).filter(|place| leaves.contains_key(place));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => {
            Err(Failure::usage(format!("several clusters have a certificate {what}: say which with -c NAME")))
        }
        _ => Err(unknown()),
    }
}

/// Everything about one certificate.
pub fn show(repository: &Repository, clusters: &[ClusterName], what: &str, now: Time) -> Result<CertPage, Failure> {
    let place = find(repository, clusters, what)?;
    let verified = &repository.verified;
    let missing = || Failure::refused(format!("no record vouches for {place}")).help(Remedy::Verify);
    let Some(Vouched { record, vouch: Vouch::Issued(entry) }) = verified.current.paths.get(&place) else {
        return Err(missing());
    };
    let facts: &Facts = verified.current.leaves.get(&place).ok_or_else(missing)?;
    let logged = &verified.log.records[*record];
    let hex = |bytes: &Vec<u8>| bytes.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
    Ok(CertPage {
        path: place.to_string(),
        line: line(entry, true, now).ok_or_else(missing)?,
        issuer: facts.issuer.clone(),
        issuer_sha256: entry.issuer,
        spki: entry.spki,
        organizations: facts.organizations.clone(),
        sans: facts.sans.iter().map(ToString::to_string).chain(facts.other_sans.iter().cloned()).collect(),
        extended_key_usages: facts.extended_key_usages.clone(),
        extensions: facts.extensions.iter().map(|extension| extension.oid.clone()).collect(),
        ski: facts.ski.as_ref().map(hex),
        aki: facts.aki.as_ref().map(hex),
        record: logged.sha256,
        actor: logged.record.actor.clone(),
        request: entry.request,
        reason: logged.record.reason.clone(),
    })
}
