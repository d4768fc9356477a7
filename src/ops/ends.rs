//! What ends when: epochs, people's OpenPGP keys, CA certificates and nodes' certificates, and the same month by month.
//! Reads what verifying found; whether an end is owed is `trust::owed`'s.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::model::{ClusterName, Generation, Keyset, Place, State, Time};
use crate::trust::{Cluster, Epoch, Verified};

/// Something that ends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct End {
    /// When.
    pub at: Time,
    /// What: a path, or a person's key.
    pub what: String,
    /// Of which kind it is.
    #[serde(skip)]
    pub kind: EndKind,
}

/// What kind of thing ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndKind {
    /// The latest epoch.
    Epoch,
    /// An OpenPGP key that the epoch lists.
    Key,
    /// A CA certificate.
    Authority,
    /// A node's certificate.
    Certificate,
}

/// When the epoch and its persons' keys end.
pub fn of_trust(verified: &Verified, epoch: &Epoch) -> Vec<End> {
    let what = format!("epoch {}", epoch.number);
    let mut ends = vec![End { at: epoch.expires, what, kind: EndKind::Epoch }];
    for (name, person) in &epoch.persons {
        let Some(certificate) = verified.chain.certificate(&person.cert_sha256) else { continue };
        let keys: BTreeSet<_> = person.sign.iter().chain(&person.encrypt).collect();
        let lives = keys.into_iter().filter_map(|key| Some((key, certificate.life(key)?.1?)));
        let end = |(key, at): (&crate::model::Fingerprint, Time)| End {
            at,
            what: format!("{name}'s OpenPGP key {}", key.key_id()),
            kind: EndKind::Key,
        };
        ends.extend(lives.map(end));
    }
    ends
}

/// When the CA certificates and the nodes' leaf certificates end. People's are short-lived on purpose.
pub fn of_cluster(verified: &Verified, name: &ClusterName, cluster: &Cluster) -> Vec<End> {
    if cluster.retired {
        return Vec::new();
    }
    let mut ends = Vec::new();
    for (place, facts) in &verified.current.leaves {
        if matches!(place, Place::NodeCert(at, ..) if at == name) {
            ends.push(End { at: facts.not_after, what: place.to_string(), kind: EndKind::Certificate });
        }
    }
    for keyset in cluster.keysets.keys().filter(|keyset| keyset.is_ca()) {
        for (generation, sha256) in cluster.generations(*keyset) {
            if let (Some(facts), false) =
                (verified.authorities.get(&sha256), is_distrusted(verified, name, *keyset, generation))
            {
                let place = Place::Ca(name.clone(), *keyset, generation);
                ends.push(End { at: facts.not_after, what: place.to_string(), kind: EndKind::Authority });
            }
        }
    }
    ends
}

fn is_distrusted(verified: &Verified, name: &ClusterName, keyset: Keyset, generation: Generation) -> bool {
    let states = verified.current.states.get(&(name.clone(), keyset)).and_then(|states| states.get(&generation));
    states.is_some_and(|states| states.contains(&State::Distrusted))
}

/// The ends of trust, or of one cluster, in the months to come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lane {
    /// The cluster; none for trust: the epoch and people's keys.
    pub cluster: Option<ClusterName>,
    /// What has ended already.
    pub ended: BTreeMap<EndKind, usize>,
    /// By month (`2026-11`), how many things of each kind end; months without one are left out.
    pub months: BTreeMap<String, BTreeMap<EndKind, usize>>,
}

impl Lane {
    /// Counts what ends in the months `among`, and what has ended; none where that is nothing.
    pub fn of(cluster: Option<&ClusterName>, ends: &[End], among: &[String], now: Time) -> Option<Self> {
        let mut lane = Self { cluster: cluster.cloned(), ended: BTreeMap::new(), months: BTreeMap::new() };
        for end in ends {
            let month = end.at.month();
            let counts = match end.at <= now {
                true => &mut lane.ended,
                false if among.contains(&month) => lane.months.entry(month).or_default(),
                false => continue,
            };
            *counts.entry(end.kind).or_default() += 1;
        }
        (!lane.ended.is_empty() || !lane.months.is_empty()).then_some(lane)
    }

    /// The first month in which something ends; the empty text where something has ended already.
    pub fn first(&self) -> &str {
        match self.ended.is_empty() {
            true => self.months.keys().next().map_or("", String::as_str),
            false => "",
        }
    }
}

/// This month and the twelve that follow, as `2026-11`: a year from now is in the last one.
pub fn months(now: Time) -> Vec<String> {
    let calendar = now.calendar();
    let first = calendar.year() * 12 + i32::from(u8::from(calendar.month())) - 1;
    (first..=first + 12).map(|month| format!("{:04}-{:02}", month.div_euclid(12), month.rem_euclid(12) + 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_year_from_now_is_in_the_last_month() {
        let now = Time::parse("2026-11-24T12:00:00Z").unwrap();
        let months = months(now);
        assert_eq!((months.len(), months[0].as_str(), months[2].as_str()), (13, "2026-11", "2027-01"));
        assert_eq!(now.plus(crate::model::Span::days(365)).month(), months[12]);
    }

    #[test]
    fn what_has_ended_comes_first_and_what_is_far_away_is_left_out() {
        let now = Time::parse("2026-11-24T12:00:00Z").unwrap();
        let end = |at: &str, kind| End { at: Time::parse(at).unwrap(), what: String::new(), kind };
        let soon = end("2026-12-01T00:00:00Z", EndKind::Key);
        let (ended, far) =
            (end("2026-11-24T12:00:00Z", EndKind::Certificate), end("2036-11-24T12:00:00Z", EndKind::Authority));
        let lane = Lane::of(None, &[far.clone(), soon.clone()], &months(now), now).unwrap();
        assert_eq!((lane.first(), lane.months.len()), ("2026-12", 1));
        assert_eq!(Lane::of(None, &[soon, ended], &months(now), now).unwrap().first(), "");
        assert_eq!(Lane::of(None, &[far], &months(now), now), None);
    }
}
