//! `cert expiry`: when certificates end, the first first. With `--quick` it only reads the certificates that lie in the
//! work tree and verifies nothing: for a look at tens of thousands, or a timer that asks every minute.

use serde::Serialize;

use super::super::failure::Failure;
use super::super::session::{Repository, Session};
use super::super::verify::find_root;
use crate::model::{ClusterName, Place, Remedy, Span, State, Time};
use crate::pki;
use crate::trust::Entry;

/// When one certificate ends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct End {
    /// Its last second.
    pub not_after: Time,
    /// Its path.
    pub path: String,
    /// `ended`, `soon` (within 30 days) or `later`.
    pub state: &'static str,
}

/// When certificates end; `data` of the report.
#[derive(Debug, Serialize)]
pub struct Expiry {
    /// The certificates, the first to end first.
    pub certificates: Vec<End>,
    /// How many were looked at.
    pub total: usize,
    /// How many of all have ended.
    pub ended: usize,
    /// How many of all end within 30 days.
    pub soon: usize,
    /// Files that hold no certificate; they are named by `kluis verify`.
    pub unreadable: Vec<String>,
    /// Whether everything was verified before.
    pub verified: bool,
}

/// Which certificates are listed.
pub struct Wanted {
    /// Those of these clusters; of all if empty.
    pub clusters: Vec<ClusterName>,
    /// Those that end within this time; all if there is none.
    pub within: Option<Span>,
    /// Those of people too, which are short-lived on purpose.
    pub people: bool,
}

impl Wanted {
    fn takes(&self, place: &Place) -> bool {
        let kind = matches!(place, Place::Ca(..) | Place::NodeCert(..))
            || self.people && matches!(place, Place::PersonCert(..));
        kind && (self.clusters.is_empty() || place.cluster().is_some_and(|cluster| self.clusters.contains(cluster)))
    }

    fn sum_up(&self, mut ends: Vec<(Time, String)>, unreadable: Vec<String>, now: Time) -> Expiry {
        ends.sort();
        let soon = now.plus(crate::trust::owed::SOON);
        let state = |end: Time| match end {
            end if end <= now => "ended",
            end if end <= soon => "soon",
            _ => "later",
        };
        let count = |word: &str| ends.iter().filter(|(end, _)| state(*end) == word).count();
        let (total, ended, soon) = (ends.len(), count("ended"), count("soon"));
        let last = self.within.map(|within| now.plus(within));
        let listed = ends.into_iter().filter(|(end, _)| last.is_none_or(|last| *end <= last));
        let certificates = listed.map(|(not_after, path)| End { not_after, path, state: state(not_after) }).collect();
        Expiry { certificates, total, ended, soon, unreadable, verified: false }
    }
}

/// When the certificates of a verified repository end. A CA that nothing trusts any more is none of them.
pub fn expiry(repository: &Repository, wanted: &Wanted, now: Time) -> Result<Expiry, Failure> {
    let verified = &repository.verified;
    let mut ends = Vec::new();
    for (place, facts) in verified.current.leaves.iter().filter(|(place, _)| wanted.takes(place)) {
        ends.push((facts.not_after, place.to_string()));
    }
    for (name, cluster) in &repository.epoch()?.clusters {
        for keyset in cluster.keysets.keys().filter(|keyset| keyset.is_ca()) {
            for (generation, sha256) in cluster.generations(*keyset) {
                let place = Place::Ca(name.clone(), *keyset, generation);
                let states = verified.current.states.get(&(name.clone(), *keyset)).and_then(|all| all.get(&generation));
                let distrusted = states.is_some_and(|states| states.contains(&State::Distrusted));
                if let (Some(facts), true, false) =
                    (verified.authorities.get(&sha256), wanted.takes(&place), distrusted)
                {
                    ends.push((facts.not_after, place.to_string()));
                }
            }
        }
    }
    Ok(Expiry { verified: true, ..wanted.sum_up(ends, Vec::new(), now) })
}

/// When the certificates that lie in the work tree end, whoever put them there.
pub fn quick(session: &Session, wanted: &Wanted) -> Result<Expiry, Failure> {
    let root = find_root(&session.settings.dir)?;
    let is_certificate = |path: &str| {
        let mut parts = path.split('/');
        matches!((parts.next(), parts.nth(1)), (Some("clusters"), None | Some("ca" | "certs")))
    };
    let tree = crate::repo::read_chosen(&root, &is_certificate)?;
    // A timer with a misspelt name must not hear for ever that nothing ends.
    let is_there = |name: &ClusterName| {
        let places = tree.entries.keys().filter_map(|path| Place::parse(path).ok());
        places.into_iter().any(|place| place.cluster() == Some(name))
    };
    if let Some(unknown) = wanted.clusters.iter().find(|name| !is_there(name)) {
        return Err(Failure::usage(format!("there is no cluster {unknown}")).help(Remedy::ClusterList));
    }
    let (mut ends, mut unreadable) = (Vec::new(), Vec::new());
    for (path, entry) in &tree.entries {
        let Some(place) = Place::parse(path).ok().filter(|place| wanted.takes(place)) else { continue };
        let end = match entry {
            Entry::File { bytes, .. } => pki::not_after(bytes),
            _ => None,
        };
        match end {
            Some(end) => ends.push((end, place.to_string())),
            None => unreadable.push(path.clone()),
        }
    }
    Ok(wanted.sum_up(ends, unreadable, session.now))
}
