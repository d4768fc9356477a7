//! What was said: epochs with their signatures, records and what they issue and decide, what changed inside OpenPGP
//! certificates, and what edited cluster.toml files ask for.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::material::Material;
use crate::model::{ClusterConfig, ClusterName, Digest, Fingerprint, PersonName, Place, Time, displayed};
use crate::openpgp::{Certificate, KeyView};
use crate::trust::chain::{Chain, ChainedEpoch, Missing};
use crate::trust::difference::{Change, difference};
use crate::trust::log::Log;

/// What an epoch needs and has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TrustChange {
    /// The epoch before; none where there was none.
    pub from: Option<u32>,
    /// The epoch afterwards.
    pub to: u32,
    /// Why it was drafted.
    pub reason: String,
    /// Whether it lacks signatures, and so counts for nothing yet.
    pub draft: bool,
    /// What changes.
    pub changes: Vec<Change>,
    /// How many of the changes make trust weaker.
    pub weaker: usize,
    /// Who has signed it.
    pub signed: BTreeSet<PersonName>,
    /// What signatures are missing, in words.
    pub missing: Vec<String>,
    /// Records that the draft does not close.
    pub not_closed: Vec<String>,
    /// Of the records, those that would be void once it counts: why, by path.
    pub would_void: BTreeMap<String, String>,
}

/// A record that is new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecordView {
    /// Its hash.
    pub sha256: Digest,
    /// Who signed it.
    pub actor: PersonName,
    /// When, as they say.
    pub time: Time,
    /// What they ran.
    pub command: String,
    /// Why.
    pub reason: String,
    /// What it says beside files and certificates, in words: steps of rotations, approvals, keys revoked.
    pub says: Vec<String>,
}

/// A certificate that a new record vouches for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IssuedView {
    /// Its path.
    pub path: String,
    /// The cluster.
    pub cluster: ClusterName,
    /// The subject.
    pub subject: String,
    /// When it begins.
    pub not_before: Time,
    /// When it ends.
    pub not_after: Time,
    /// The serial number.
    pub serial: String,
    /// The hash of its DER: Kubernetes' `X509SHA256`.
    pub sha256: Digest,
    /// Who issued it.
    pub by: PersonName,
    /// The request behind it.
    pub request: Option<Digest>,
    /// Whether it gives everything on the cluster.
    pub break_glass: bool,
}

/// What changed inside the OpenPGP certificate of a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CertificateChange {
    /// The path.
    pub path: String,
    /// The person.
    pub person: PersonName,
    /// The changes, in words, hostile text escaped.
    pub changes: Vec<String>,
}

/// What changed in a cluster.toml.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigChange {
    /// The path.
    pub path: String,
    /// The cluster.
    pub cluster: ClusterName,
    /// The changes, in words.
    pub changes: Vec<String>,
    /// Whether a record of this change vouches for it: then it was applied.
    pub recorded: bool,
}

/// The change of trust, if there is one.
pub fn trust(material: &Material, before: &Chain, after: &Chain) -> Option<TrustChange> {
    if !material.epochs_differ() {
        return None;
    }
    let last = |chain: &Chain| chain.all().last().map(|epoch| epoch.sha256);
    let to: &ChainedEpoch = after.draft().or(after.latest())?;
    let from = before.latest();
    // A signature alone may be what is new: the draft's changes are shown against the epoch that it follows.
    let compared = match from {
        Some(from) if from.sha256 == to.sha256 => after.get(to.epoch.number.saturating_sub(1)).or(Some(from)),
        other => other,
    };
    let changes = compared.map(|from| difference(&from.epoch, &to.epoch)).unwrap_or_default();
    let same = last(before) == last(after) && before.draft().is_none();
    Some(TrustChange {
        from: compared.map(|from| from.epoch.number),
        to: to.epoch.number,
        reason: to.epoch.reason.clone(),
        draft: after.draft().is_some(),
        weaker: if same { 0 } else { changes.iter().filter(|change| change.is_weaker()).count() },
        changes: if same { Vec::new() } else { changes },
        signed: to.signers.clone(),
        missing: missing(&to.missing),
        not_closed: Vec::new(),
        would_void: BTreeMap::new(),
    })
}

fn missing(missing: &Missing) -> Vec<String> {
    let names = |people: &BTreeSet<PersonName>| people.iter().map(PersonName::as_str).collect::<Vec<_>>().join(", ");
    let mut words = Vec::new();
    if let Some((count, people)) = &missing.threshold {
        words.push(format!("{count} more of the epoch before: {}", names(people)));
    }
    if let Some((count, people)) = &missing.new_threshold {
        words.push(format!("{count} more of this epoch: {}", names(people)));
    }
    if !missing.newcomers.is_empty() {
        words.push(format!("everyone with a new key: {}", names(&missing.newcomers)));
    }
    words
}

/// The records of the log that lie at one of these paths.
pub fn records(log: &Log, paths: &BTreeSet<&String>) -> Vec<RecordView> {
    let new = log.records.iter().filter(|logged| paths.contains(&logged.path));
    new.map(|logged| RecordView {
        sha256: logged.sha256,
        actor: logged.record.actor.clone(),
        time: logged.record.time,
        command: logged.record.command.clone(),
        reason: logged.record.reason.clone(),
        says: says(&logged.record),
    })
    .collect()
}

fn says(record: &crate::trust::Record) -> Vec<String> {
    let phases = record.phase.iter().map(|phase| {
        let gates = if phase.gates.is_empty() { String::new() } else { format!(" ({})", phase.gates.join(", ")) };
        format!("{}: {} {} is {}{gates}", phase.cluster, phase.keyset, phase.generation, phase.state)
    });
    let approved = record.approve.iter().map(|request| format!("approves the break-glass request {}", request.h16()));
    let denied = record.deny.iter().map(|deny| format!("refuses the request {}: {}", deny.request.h16(), deny.reason));
    let revoked =
        record.revoke_key.iter().map(|entry| format!("REVOKES {} of {}: {}", entry.key, entry.person, entry.reason));
    let adopted = record.adopt.iter().map(|target| format!("vouches for the record {}", target.h16()));
    let removed = record.removed.iter().map(|place| format!("takes {place} away"));
    let confirmed = (!record.confirm.is_empty()).then(|| format!("opened {} sealed files", record.confirm.len()));
    let accepted = record.accepted.iter().map(|code| format!("goes past {code}"));
    let imported = record.sealed.iter().filter(|entry| entry.imported).count();
    let imported = (imported > 0).then(|| format!("{imported} of its keys existed in plaintext before"));
    phases
        .chain(approved)
        .chain(denied)
        .chain(revoked)
        .chain(adopted)
        .chain(removed)
        .chain(confirmed)
        .chain(accepted)
        .chain(imported)
        .collect()
}

/// The certificates that these records vouch for.
pub fn issued(log: &Log, paths: &BTreeSet<&String>) -> Vec<IssuedView> {
    let mut issued = Vec::new();
    for logged in log.records.iter().filter(|logged| paths.contains(&logged.path)) {
        for entry in &logged.record.issued {
            let Some(cluster) = entry.place.cluster() else { continue };
            issued.push(IssuedView {
                path: entry.place.to_string(),
                cluster: cluster.clone(),
                subject: entry.subject.clone(),
                not_before: entry.not_before,
                not_after: entry.not_after,
                serial: entry.serial.clone(),
                sha256: entry.sha256,
                by: logged.record.actor.clone(),
                request: entry.request,
                break_glass: entry.is_break_glass(),
            });
        }
    }
    issued
}

/// What changed inside OpenPGP certificates.
pub fn certificates(material: &Material) -> Vec<CertificateChange> {
    let mut found = Vec::new();
    for path in &material.changed {
        let Ok(Place::PublicKey(person)) = Place::parse(path) else { continue };
        let read = |bytes: Option<&[u8]>| bytes.map(Certificate::parse_stored);
        let changes = match (read(material.before.bytes(path)), read(material.after.bytes(path))) {
            (_, Some(Err(fault))) => vec![format!("is no certificate: {}", displayed(&fault.to_string()))],
            (Some(Ok(old)), Some(Ok(new))) => inside(&old, &new),
            (_, Some(Ok(new))) => {
                let keys = new.view();
                keys.iter().map(|key| format!("+ {} {}, {}", key.fingerprint, key.algorithm, key.words())).collect()
            }
            (_, None) => vec!["is gone".to_owned()],
        };
        if !changes.is_empty() {
            found.push(CertificateChange { path: path.clone(), person, changes });
        }
    }
    found
}

fn inside(old: &Certificate, new: &Certificate) -> Vec<String> {
    let mut changes = Vec::new();
    if old.fingerprint() != new.fingerprint() {
        changes.push(format!("ANOTHER certificate: {} instead of {}", new.fingerprint(), old.fingerprint()));
    }
    let by_name = |certificate: &Certificate| -> BTreeMap<Fingerprint, KeyView> {
        certificate.view().into_iter().map(|key| (key.fingerprint.clone(), key)).collect()
    };
    let (before, after) = (by_name(old), by_name(new));
    for (name, key) in &after {
        match before.get(name) {
            None => changes.push(format!("+ {name} {}, {}", key.algorithm, key.words())),
            Some(then) if then.words() != key.words() => {
                changes.push(format!("~ {name} {} -> {}", then.words(), key.words()));
            }
            Some(_) => {}
        }
    }
    changes.extend(before.keys().filter(|name| !after.contains_key(name)).map(|name| format!("- {name}")));
    // What a user id says is whatever its maker typed: it is shown, and decides nothing (F12).
    let users = |certificate: &Certificate| certificate.user_ids().into_iter().collect::<BTreeSet<_>>();
    let (then, now) = (users(old), users(new));
    changes.extend(now.difference(&then).map(|user| format!("+ says \"{}\"", displayed(user))));
    changes.extend(then.difference(&now).map(|user| format!("- says \"{}\"", displayed(user))));
    if changes.is_empty() {
        changes.push("has other signatures, with the same keys and dates".to_owned());
    }
    changes
}

/// What changed in cluster.toml files, and what `cluster apply` would make of it.
pub fn configs(material: &Material, log: &Log, paths: &BTreeSet<&String>) -> Vec<ConfigChange> {
    let mut found = Vec::new();
    for path in &material.changed {
        let Ok(Place::Config(cluster)) = Place::parse(path) else { continue };
        let parse = |bytes: Option<&[u8]>| bytes.map(|bytes| ClusterConfig::parse(&String::from_utf8_lossy(bytes)));
        let sha256 = material.after.bytes(path).map(Digest::of);
        let entries = log.records.iter().filter(|logged| paths.contains(&logged.path));
        let mut entries = entries.flat_map(|logged| &logged.record.config);
        let recorded = entries.any(|entry| entry.cluster == cluster && Some(entry.sha256) == sha256);
        let changes = match (parse(material.before.bytes(path)), parse(material.after.bytes(path))) {
            (_, None) => vec!["is gone".to_owned()],
            (_, Some(Err(fault))) => vec![format!("does not parse: {}", displayed(&fault.to_string()))],
            (Some(Ok(old)), Some(Ok(new))) => config(&old, &new),
            (_, Some(Ok(new))) => {
                let nodes = new.nodes.len();
                let leaves: usize = new.nodes.iter().map(|node| node.profiles(new.distribution).count()).sum();
                vec![format!("new: {nodes} nodes with {leaves} certificates")]
            }
        };
        found.push(ConfigChange { path: path.clone(), cluster, changes, recorded });
    }
    found
}

fn config(old: &ClusterConfig, new: &ClusterConfig) -> Vec<String> {
    let mut changes = Vec::new();
    let mut say = |what: &str, from: String, to: String| {
        if from != to {
            changes.push(format!("{what} {} -> {}", displayed(&from), displayed(&to)));
        }
    };
    say("distribution", old.distribution.to_string(), new.distribution.to_string());
    say("kubernetes", old.kubernetes.to_string(), new.kubernetes.to_string());
    say("endpoint", old.endpoint.as_str().to_owned(), new.endpoint.as_str().to_owned());
    say("dns_domain", old.dns_domain.clone(), new.dns_domain.clone());
    say("algorithm", old.algorithm.to_string(), new.algorithm.to_string());
    say("name_constraints", old.name_constraints.to_string(), new.name_constraints.to_string());
    let list = |hosts: &[crate::model::Host]| hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let cidrs =
        |config: &ClusterConfig| config.service_cidrs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    say("service_cidrs", cidrs(old), cidrs(new));
    say("extra_sans", list(&old.extra_sans), list(&new.extra_sans));
    for (what, from, to) in [
        ("lifetime.authority", old.lifetime.authority, new.lifetime.authority),
        ("lifetime.component", old.lifetime.component, new.lifetime.component),
        ("lifetime.client", old.lifetime.client, new.lifetime.client),
        ("lifetime.break_glass", old.lifetime.break_glass, new.lifetime.break_glass),
    ] {
        say(what, from.to_string(), to.to_string());
    }
    let roles = |node: &crate::model::Node| node.roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(",");
    for node in &new.nodes {
        match old.nodes.iter().find(|other| other.name == node.name) {
            None => changes.push(format!(
                "node {} joins as {} at {}: {} certificates",
                node.name,
                roles(node),
                displayed(&list(&node.addresses)),
                node.profiles(new.distribution).count()
            )),
            Some(then) => {
                let mut words = Vec::new();
                if roles(then) != roles(node) {
                    words.push(format!("{} -> {}", roles(then), roles(node)));
                }
                if then.addresses != node.addresses {
                    words.push(format!("at {} -> {}", list(&then.addresses), list(&node.addresses)));
                }
                if then.seal_to != node.seal_to {
                    words.push("ANOTHER seal_to: its exports are sealed to another key".to_owned());
                }
                if !words.is_empty() {
                    changes.push(format!("node {} {}", node.name, displayed(&words.join("; "))));
                }
            }
        }
    }
    let gone = old.nodes.iter().filter(|node| !new.nodes.iter().any(|other| other.name == node.name));
    changes.extend(gone.map(|node| format!("node {} leaves: its certificates and keys go", node.name)));
    if changes.is_empty() {
        changes.push("comments or order alone".to_owned());
    }
    changes
}
