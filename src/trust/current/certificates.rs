//! Current leaf certificates: what the DER says against its record, its profile, its CA and its node's
//! sealed bundle (FORMAT 6 and 9).

use std::collections::BTreeMap;

use super::{Current, Links, Vouch, Vouched, Walk};
use crate::model::{Code, Digest, Finding, Keyset, Place, Profile, SealedName};
use crate::pki;
use crate::trust::allowed::keyset_of;
use crate::trust::parallel;
use crate::trust::record::Issued;

/// Judges every current leaf, the keys of CAs and bundles, and serial numbers.
pub(super) fn check(walk: &Walk<'_>, current: &mut Current, findings: &mut Vec<Finding>) {
    let mut links = Links::new();
    let entry_of = |place: &Place| match current.paths.get(place) {
        Some(Vouched { vouch: Vouch::Issued(entry), .. }) => Some(entry),
        _ => None,
    };
    let leaves: Vec<_> =
        current.leaves.iter().filter_map(|(place, facts)| Some((place, facts, entry_of(place)?))).collect();
    let judged = parallel::map(&leaves, |(place, facts, entry)| leaf(walk, place, facts, entry));
    for ((place, facts, _), judged) in leaves.into_iter().zip(judged) {
        match judged {
            Ok(link) => links.extend(link),
            Err((code, why)) => {
                let finding = Finding::new(code, why).at(place.to_string());
                findings.push(super::owner(place).map_or(finding.clone(), |person| finding.of(person)));
            }
        }
        if let Place::NodeCert(cluster, node, profile) = place {
            let bundle = Place::Sealed(cluster.clone(), SealedName::Node(node.clone()));
            if let Some(Vouched { vouch: Vouch::Sealed(sealed), .. }) = current.paths.get(&bundle) {
                // Without one, the key never left its node: the certificate was issued for a CSR.
                let key = sealed.public.iter().find(|key| key.name == profile.as_str());
                if key.is_some_and(|key| key.id != facts.spki_id) {
                    let why = format!("the key {profile} in {bundle} is not this certificate's");
                    findings.push(Finding::new(Code::SpkiMismatch, why).at(place.to_string()));
                }
            }
        }
    }
    current.links = links;
    serials(walk, current, findings);
    authorities(walk, current, findings);
}

fn leaf(
    walk: &Walk<'_>,
    place: &Place,
    facts: &pki::Facts,
    entry: &Issued,
) -> Result<Option<(Digest, Digest)>, (Code, String)> {
    let (cluster, owner, profile) = match place {
        Place::NodeCert(cluster, node, profile) => (cluster, node.as_str(), *profile),
        Place::PersonCert(cluster, person, profile) => (cluster, person.as_str(), *profile),
        _ => return Ok(None),
    };
    if facts.subject != entry.subject {
        return Err((Code::BadSubject, format!("its subject is {}, and recorded {}", facts.subject, entry.subject)));
    }
    pki::check_leaf(facts, profile, owner)?;
    recorded(facts, entry).map_err(|what| (Code::LeafFacts, format!("its {what} is not the recorded one")))?;
    issuer(walk, cluster, profile, facts, entry)
}

fn recorded(facts: &pki::Facts, entry: &Issued) -> Result<(), &'static str> {
    let same = [
        (facts.serial == entry.serial, "serial number"),
        (facts.spki_id == entry.spki, "key"),
        (facts.not_before == entry.not_before, "notBefore"),
        (facts.not_after == entry.not_after, "notAfter"),
    ];
    same.iter().find(|(same, _)| !same).map_or(Ok(()), |(_, what)| Err(*what))
}

fn issuer(
    walk: &Walk<'_>,
    cluster: &crate::model::ClusterName,
    profile: Profile,
    facts: &pki::Facts,
    entry: &Issued,
) -> Result<Option<(Digest, Digest)>, (Code, String)> {
    let Some(listed) = walk.epoch.clusters.get(cluster) else { return Ok(None) };
    let keyset = keyset_of(listed, profile);
    if listed.authority(&entry.issuer).is_none_or(|(found, _)| found != keyset) {
        return Err((Code::UnknownIssuer, format!("the latest epoch lists no {keyset} CA {}", entry.issuer.h16())));
    }
    let Some(ca) = walk.authorities.get(&entry.issuer) else { return Ok(None) }; // the CA's file is at fault itself
    let link = (facts.sha256, ca.sha256);
    if !walk.known.contains(&link) {
        pki::check_issued_by(facts, ca).map_err(|why| (Code::BadChain, why))?;
    }
    if facts.not_after > ca.not_after {
        return Err((Code::Lifetime, "it outlives its CA".to_owned()));
    }
    Ok(Some(link))
}

/// No CA gives one serial number to two certificates.
fn serials(walk: &Walk<'_>, current: &Current, findings: &mut Vec<Finding>) {
    let mut seen: BTreeMap<(Digest, &str), (&Place, Digest)> = BTreeMap::new();
    for (place, said) in &current.history {
        for entry in said.iter().filter_map(|vouched| match &vouched.vouch {
            Vouch::Issued(entry) => Some((vouched.record, entry)),
            _ => None,
        }) {
            let (record, entry) = entry;
            let first = *seen.entry((entry.issuer, &entry.serial)).or_insert((place, entry.sha256));
            if first.1 != entry.sha256 {
                let actor = &walk.log.records[record].record.actor;
                let why = format!("{} has the same serial number from the same CA", first.0);
                findings.push(Finding::new(Code::SerialReuse, why).at(place.to_string()).of(actor));
            }
        }
    }
}

/// No CA key belongs to two generations, keysets or clusters; the sealed key of a CA is its certificate's.
fn authorities(walk: &Walk<'_>, current: &Current, findings: &mut Vec<Finding>) {
    let mut keys: BTreeMap<Digest, Place> = BTreeMap::new();
    for (name, cluster) in &walk.epoch.clusters {
        for (keyset, generations) in &cluster.keysets {
            for (generation, digest) in generations {
                let (place, key) = match keyset {
                    Keyset::ServiceAccount => (Place::ServiceAccount(name.clone(), *generation), Some(*digest)),
                    _ => {
                        let ca = walk.authorities.get(digest);
                        (Place::Ca(name.clone(), *keyset, *generation), ca.map(|ca| ca.spki_id))
                    }
                };
                let Some(key) = key else { continue };
                let first = keys.entry(key).or_insert_with(|| place.clone());
                if *first != place {
                    findings
                        .push(Finding::new(Code::KeyReuse, format!("{first} has the same key")).at(place.to_string()));
                }
                let sealed = Place::Sealed(name.clone(), SealedName::Keyset(*keyset, *generation));
                let mismatch = matches!(current.paths.get(&sealed), Some(Vouched { vouch: Vouch::Sealed(entry), .. })
                    if entry.public.iter().any(|held| held.id != key));
                if mismatch {
                    let why = format!("the key in {sealed} is not this one's");
                    findings.push(Finding::new(Code::SpkiMismatch, why).at(place.to_string()));
                }
            }
        }
    }
}
