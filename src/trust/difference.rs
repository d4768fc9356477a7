//! What an epoch changes against another: values, for whoever signs or reviews it. Says of each change
//! whether it makes trust weaker; words and colours belong to the command line. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::epoch::{Cluster, Epoch, FormerReason, Person, TrustRole};
use crate::model::{ClusterName, Digest, Fingerprint, Generation, HexId, Keyset, PersonName, Span, Time};

/// A limit of `[policy]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the keys of FORMAT 4")]
pub enum Limit {
    MaxClient,
    MaxBreakGlass,
    MaxQuiet,
}

impl Limit {
    /// The key in epochs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MaxClient => "max_client",
            Self::MaxBreakGlass => "max_break_glass",
            Self::MaxQuiet => "max_quiet",
        }
    }
}

/// A part in a cluster that a person has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Its secrets are sealed to them.
    Keyholder,
    /// Their records may issue for it.
    Issuer,
    /// They may ask for this group.
    Group(String),
}

/// One difference between two epochs.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "`from` is what the earlier epoch says, `to` what the later one does")]
pub enum Change {
    /// How many persons must sign the next epoch.
    ThresholdTrust { from: u32, to: u32 },
    /// How many issuers must approve a break-glass certificate.
    ThresholdBreakGlass { from: u32, to: u32 },
    /// A limit of the policy.
    Policy { limit: Limit, from: Span, to: Span },
    /// When it expires.
    Expires { from: Time, to: Time },
    /// A person who was not there.
    PersonAdded { person: PersonName, role: TrustRole, cert: Fingerprint },
    /// A person who is gone.
    PersonRemoved { person: PersonName, role: TrustRole, cert: Fingerprint, reason: Option<FormerReason> },
    /// Another role.
    Role { person: PersonName, from: TrustRole, to: TrustRole },
    /// Another OpenPGP certificate under the same name.
    Rekeyed { person: PersonName, from: Fingerprint, to: Fingerprint, reason: Option<FormerReason> },
    /// A key of a person counts now.
    KeyAdded { person: PersonName, purpose: &'static str, key: Fingerprint },
    /// A key of a person counts no more.
    KeyRemoved { person: PersonName, purpose: &'static str, key: Fingerprint },
    /// The bytes of a certificate with the same keys: expiry, user ids.
    Refreshed { person: PersonName, from: Digest, to: Digest },
    /// A cluster that was not there; its people and keys follow as changes of their own.
    ClusterAdded { cluster: ClusterName, id: HexId<16>, api: String },
    /// A cluster that is gone.
    ClusterRemoved { cluster: ClusterName, id: HexId<16> },
    /// Nothing is issued for it any more.
    ClusterRetired { cluster: ClusterName },
    /// It was retired, and is in use again.
    ClusterRevived { cluster: ClusterName },
    /// Another API endpoint.
    Api { cluster: ClusterName, from: String, to: String },
    /// A person gets a part in a cluster.
    Granted { cluster: ClusterName, person: PersonName, part: Part },
    /// A person loses a part in a cluster.
    Withdrawn { cluster: ClusterName, person: PersonName, part: Part },
    /// A CA certificate or service-account key that is trusted now.
    GenerationAdded { cluster: ClusterName, keyset: Keyset, generation: Generation, sha256: Digest },
    /// One that is trusted no more.
    GenerationRemoved { cluster: ClusterName, keyset: Keyset, generation: Generation, sha256: Digest },
    /// An exposure or finding that the quorum decides to live with.
    WaivedAdded { cluster: ClusterName, finding: String, until: Time, reason: String },
    /// One that it no longer lives with.
    WaivedRemoved { cluster: ClusterName, finding: String, until: Time },
}

impl Change {
    /// Whether trust is weaker afterwards: somebody can do more, something lasts longer, fewer must agree
    /// (FORMAT 4, "Widening"), or what is owed is owed no more.
    ///
    /// A second key or certificate for somebody who is there counts too: it is how a lone attacker would get a
    /// vote that looks like a colleague's (T10, T27). A new member with no part in anything does not.
    pub fn is_weaker(&self) -> bool {
        match self {
            Self::ThresholdTrust { from, to } | Self::ThresholdBreakGlass { from, to } => to < from,
            Self::Policy { from, to, .. } => to > from,
            Self::PersonAdded { role, .. } => role.votes(),
            // Recovery persons only sign epochs; a root may also revoke keys and have a part in clusters.
            Self::Role { from, to, .. } => *to == TrustRole::Root || to.votes() && !from.votes(),
            Self::Rekeyed { .. }
            | Self::KeyAdded { .. }
            | Self::ClusterRevived { .. }
            | Self::Granted { .. }
            | Self::GenerationAdded { .. }
            // What is owed there is owed no more, paid or not.
            | Self::ClusterRetired { .. }
            | Self::ClusterRemoved { .. }
            | Self::WaivedAdded { .. } => true,
            Self::Expires { .. }
            | Self::PersonRemoved { .. }
            | Self::KeyRemoved { .. }
            | Self::Refreshed { .. }
            | Self::ClusterAdded { .. }
            | Self::Api { .. }
            | Self::Withdrawn { .. }
            | Self::GenerationRemoved { .. }
            | Self::WaivedRemoved { .. } => false,
        }
    }
}

impl Change {
    /// The person whom it concerns, where it concerns one.
    pub fn person(&self) -> Option<&PersonName> {
        match self {
            Self::PersonAdded { person, .. }
            | Self::PersonRemoved { person, .. }
            | Self::Role { person, .. }
            | Self::Rekeyed { person, .. }
            | Self::KeyAdded { person, .. }
            | Self::KeyRemoved { person, .. }
            | Self::Refreshed { person, .. }
            | Self::Granted { person, .. }
            | Self::Withdrawn { person, .. } => Some(person),
            _ => None,
        }
    }
}

/// Everything that `to` changes against `from`, in the order of an epoch's tables. Numbers, hashes, times of
/// drafting, reasons and what was closed are no changes of trust and left out.
pub fn difference(from: &Epoch, to: &Epoch) -> Vec<Change> {
    let mut changes = Vec::new();
    limits(from, to, &mut changes);
    persons(from, to, &mut changes);
    clusters(from, to, &mut changes);
    for waived in to.waived.iter().filter(|waived| !from.waived.contains(waived)) {
        changes.push(Change::WaivedAdded {
            cluster: waived.cluster.clone(),
            finding: waived.what.clone(),
            until: waived.until,
            reason: waived.reason.clone(),
        });
    }
    for waived in from.waived.iter().filter(|waived| !to.waived.contains(waived)) {
        changes.push(Change::WaivedRemoved {
            cluster: waived.cluster.clone(),
            finding: waived.what.clone(),
            until: waived.until,
        });
    }
    changes
}

fn limits(from: &Epoch, to: &Epoch, changes: &mut Vec<Change>) {
    let (old, new) = (from.threshold, to.threshold);
    if old.trust != new.trust {
        changes.push(Change::ThresholdTrust { from: old.trust, to: new.trust });
    }
    if old.break_glass != new.break_glass {
        changes.push(Change::ThresholdBreakGlass { from: old.break_glass, to: new.break_glass });
    }
    let (old, new) = (from.policy, to.policy);
    for (limit, from, to) in [
        (Limit::MaxClient, old.max_client, new.max_client),
        (Limit::MaxBreakGlass, old.max_break_glass, new.max_break_glass),
        (Limit::MaxQuiet, old.max_quiet, new.max_quiet),
    ] {
        if from != to {
            changes.push(Change::Policy { limit, from, to });
        }
    }
    if from.expires != to.expires {
        changes.push(Change::Expires { from: from.expires, to: to.expires });
    }
}

/// Why somebody's certificate changed after `from`, as `to` says.
fn reason(from: &Epoch, to: &Epoch, person: &PersonName) -> Option<FormerReason> {
    let new = to.former.iter().filter(|former| former.epoch > from.number && former.person == *person);
    new.map(|former| former.reason).next_back()
}

fn persons(from: &Epoch, to: &Epoch, changes: &mut Vec<Change>) {
    let names: BTreeSet<&PersonName> = from.persons.keys().chain(to.persons.keys()).collect();
    for name in names {
        match (from.persons.get(name), to.persons.get(name)) {
            (None, Some(new)) => {
                changes.push(Change::PersonAdded { person: name.clone(), role: new.role, cert: new.cert.clone() });
            }
            (Some(old), None) => changes.push(Change::PersonRemoved {
                person: name.clone(),
                role: old.role,
                cert: old.cert.clone(),
                reason: reason(from, to, name),
            }),
            (Some(old), Some(new)) => {
                if old.role != new.role {
                    changes.push(Change::Role { person: name.clone(), from: old.role, to: new.role });
                }
                if old.cert == new.cert {
                    same_certificate(name, old, new, changes);
                } else {
                    changes.push(Change::Rekeyed {
                        person: name.clone(),
                        from: old.cert.clone(),
                        to: new.cert.clone(),
                        reason: reason(from, to, name),
                    });
                }
            }
            (None, None) => {}
        }
    }
}

fn same_certificate(name: &PersonName, old: &Person, new: &Person, changes: &mut Vec<Change>) {
    let before = changes.len();
    for (purpose, old, new) in [("sign", &old.sign, &new.sign), ("encrypt", &old.encrypt, &new.encrypt)] {
        for key in new.iter().filter(|key| !old.contains(key)) {
            changes.push(Change::KeyAdded { person: name.clone(), purpose, key: key.clone() });
        }
        for key in old.iter().filter(|key| !new.contains(key)) {
            changes.push(Change::KeyRemoved { person: name.clone(), purpose, key: key.clone() });
        }
    }
    if changes.len() == before && old.cert_sha256 != new.cert_sha256 {
        changes.push(Change::Refreshed { person: name.clone(), from: old.cert_sha256, to: new.cert_sha256 });
    }
}

fn clusters(from: &Epoch, to: &Epoch, changes: &mut Vec<Change>) {
    let names: BTreeSet<&ClusterName> = from.clusters.keys().chain(to.clusters.keys()).collect();
    for name in names {
        let (old, new) = (from.clusters.get(name), to.clusters.get(name));
        match (old, new) {
            (None, Some(new)) => {
                changes.push(Change::ClusterAdded { cluster: name.clone(), id: new.id, api: new.api.clone() })
            }
            (Some(old), None) => changes.push(Change::ClusterRemoved { cluster: name.clone(), id: old.id }),
            (Some(old), Some(new)) => {
                if old.api != new.api {
                    let (from, to) = (old.api.clone(), new.api.clone());
                    changes.push(Change::Api { cluster: name.clone(), from, to });
                }
                match (old.retired, new.retired) {
                    (false, true) => changes.push(Change::ClusterRetired { cluster: name.clone() }),
                    (true, false) => changes.push(Change::ClusterRevived { cluster: name.clone() }),
                    _ => {}
                }
            }
            (None, None) => {}
        }
        // What goes with a dropped cluster is said by `ClusterRemoved`.
        if let Some(new) = new {
            parts_and_keys(name, old, new, changes);
        }
    }
}

fn parts_and_keys(name: &ClusterName, old: Option<&Cluster>, new: &Cluster, changes: &mut Vec<Change>) {
    let (before, after) = (old.map(parts).unwrap_or_default(), parts(new));
    for (person, part) in after.difference(&before).cloned() {
        changes.push(Change::Granted { cluster: name.clone(), person, part });
    }
    for (person, part) in before.difference(&after).cloned() {
        changes.push(Change::Withdrawn { cluster: name.clone(), person, part });
    }
    let (before, after) = (old.map(generations).unwrap_or_default(), generations(new));
    for ((keyset, generation), sha256) in &after {
        if before.get(&(*keyset, *generation)) != Some(sha256) {
            let (keyset, generation, sha256) = (*keyset, *generation, *sha256);
            changes.push(Change::GenerationAdded { cluster: name.clone(), keyset, generation, sha256 });
        }
    }
    for ((keyset, generation), sha256) in before {
        if after.get(&(keyset, generation)) != Some(&sha256) {
            changes.push(Change::GenerationRemoved { cluster: name.clone(), keyset, generation, sha256 });
        }
    }
}

fn parts(cluster: &Cluster) -> BTreeSet<(PersonName, Part)> {
    let keyholders = cluster.keyholders.iter().map(|name| (name.clone(), Part::Keyholder));
    let issuers = cluster.issuers.iter().map(|name| (name.clone(), Part::Issuer));
    let groups = cluster
        .groups
        .iter()
        .flat_map(|(name, groups)| groups.iter().map(move |group| (name.clone(), Part::Group(group.clone()))));
    keyholders.chain(issuers).chain(groups).collect()
}

fn generations(cluster: &Cluster) -> BTreeMap<(Keyset, Generation), Digest> {
    let all = cluster.keysets.iter();
    all.flat_map(|(keyset, listed)| listed.iter().map(|(generation, sha256)| ((*keyset, *generation), *sha256)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::epoch::{Former, Policy, Thresholds};

    fn name(text: &str) -> PersonName {
        PersonName::parse(text).unwrap()
    }

    fn key(digit: char) -> Fingerprint {
        Fingerprint::parse(&digit.to_string().repeat(40)).unwrap()
    }

    fn person(role: TrustRole, digit: char) -> Person {
        Person {
            role,
            cert: key(digit),
            cert_sha256: Digest::of(digit.to_string().as_bytes()),
            sign: vec![key(digit)],
            encrypt: vec![key(digit)],
        }
    }

    fn epoch() -> Epoch {
        let created = Time::parse("2026-01-02T03:04:05Z").unwrap();
        Epoch {
            repo: HexId([1; 32]),
            number: 1,
            previous: None,
            created,
            expires: created.plus(Span::days(365)),
            reason: String::new(),
            threshold: Thresholds { trust: 2, break_glass: 2 },
            policy: Policy::default(),
            persons: [(name("alice"), person(TrustRole::Root, 'A')), (name("bob"), person(TrustRole::Member, 'B'))]
                .into(),
            clusters: BTreeMap::new(),
            former: Vec::new(),
            waived: Vec::new(),
            closes: None,
        }
    }

    fn cluster() -> Cluster {
        Cluster {
            id: HexId([2; 16]),
            api: "https://api.example.org:6443".to_owned(),
            keyholders: [name("alice")].into(),
            issuers: BTreeSet::new(),
            retired: false,
            groups: BTreeMap::new(),
            keysets: [(Keyset::Kubernetes, [(Generation::parse("g1").unwrap(), Digest::of(b"ca"))].into())].into(),
        }
    }

    fn weaker(changes: &[Change]) -> Vec<bool> {
        changes.iter().map(Change::is_weaker).collect()
    }

    #[test]
    fn an_epoch_does_not_differ_from_itself_however_it_is_numbered() {
        let from = epoch();
        let to = Epoch { number: 2, reason: "again".to_owned(), ..epoch() };
        assert_eq!(difference(&from, &to), []);
    }

    #[test]
    fn fewer_who_must_agree_and_longer_lives_are_weaker_and_the_reverse_is_not() {
        let from = epoch();
        let mut to = epoch();
        to.threshold.trust = 1;
        to.policy.max_client = Span::days(365);
        to.policy.max_quiet = Span::hours(24);
        assert_eq!(weaker(&difference(&from, &to)), [true, true, false]);
        assert_eq!(weaker(&difference(&to, &from)), [false, false, true]);
    }

    #[test]
    fn the_same_length_in_another_unit_is_not_weaker() {
        let mut to = epoch();
        to.policy.max_break_glass = Span::minutes(480);
        assert_eq!(weaker(&difference(&epoch(), &to)), [false]);
    }

    #[test]
    fn a_second_key_and_another_certificate_under_the_same_name_are_weaker() {
        let mut to = epoch();
        to.persons.get_mut(&name("alice")).unwrap().sign.push(key('C'));
        *to.persons.get_mut(&name("bob")).unwrap() = person(TrustRole::Member, 'D');
        to.former.push(Former { person: name("bob"), cert: key('B'), epoch: 2, reason: FormerReason::Lost });
        let changes = difference(&epoch(), &to);
        assert_eq!(changes[0], Change::KeyAdded { person: name("alice"), purpose: "sign", key: key('C') });
        assert!(matches!(&changes[1], Change::Rekeyed { reason: Some(FormerReason::Lost), .. }), "{changes:?}");
        assert_eq!(weaker(&changes), [true, true]);
    }

    #[test]
    fn a_new_root_is_weaker_and_a_new_member_with_no_part_is_not() {
        let mut to = epoch();
        to.persons.insert(name("carol"), person(TrustRole::Root, 'C'));
        to.persons.insert(name("dave"), person(TrustRole::Member, 'D'));
        assert_eq!(weaker(&difference(&epoch(), &to)), [true, false]);
        assert_eq!(weaker(&difference(&to, &epoch())), [false, false]);
    }

    #[test]
    fn who_may_do_what_in_a_cluster_and_its_authorities_are_told_one_by_one() {
        let mut from = epoch();
        from.clusters.insert(ClusterName::parse("prod").unwrap(), cluster());
        let mut to = from.clone();
        let prod = to.clusters.values_mut().next().unwrap();
        prod.keyholders = [name("bob")].into();
        prod.groups.insert(name("bob"), ["developers".to_owned()].into());
        prod.keysets.get_mut(&Keyset::Kubernetes).unwrap().insert(Generation::parse("g2").unwrap(), Digest::of(b"2"));
        let changes = difference(&from, &to);
        assert_eq!(weaker(&changes), [true, true, false, true], "{changes:?}");
        assert_eq!(difference(&epoch(), &from).len(), 3);
        assert!(serde_json::to_string(&changes).unwrap().contains("generation-added"));
    }
}
