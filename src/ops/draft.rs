//! Drafting the next epoch: a copy of the one that rules, or of the draft that is there, changed and closed
//! over the log; with the places of OpenPGP certificates that it brings about.

use std::collections::{BTreeMap, BTreeSet};

use super::failure::Failure;
use crate::model::{ClusterName, Digest, PersonName, Place, Remedy, Time};
use crate::repo::ChangeSet;
use crate::trust::{self, Closes, Epoch, Former, FormerReason, Verified};

/// An epoch in the making.
pub struct Draft {
    /// What it will say.
    pub epoch: Epoch,
    /// Certificates that it pins and the tree does not have yet, in the form that is stored.
    pub certificates: BTreeMap<Digest, Vec<u8>>,
}

/// Refuses to build on a draft that `actor` has not signed.
///
/// Attack: whoever gets files merged puts a draft into the tree that makes them a root, and waits until a root runs a
/// command that changes something small. That command goes on from the draft and signs it, so the root would sign what
/// they never saw. To ask here would be a question that people learn to say yes to; so what is there is looked at and
/// signed first, by the command that shows it against the latest epoch.
pub fn check_signed(verified: &Verified, actor: &PersonName) -> Result<(), Failure> {
    match verified.chain.draft().filter(|draft| !draft.signers.contains(actor)) {
        None => Ok(()),
        Some(draft) => {
            let what = format!(
                "epoch {} is drafted already, and you have not signed what it changes: look at it and sign it first, or \
                 take it out of the repository",
                draft.epoch.number
            );
            Err(Failure::refused(what).help(Remedy::TrustSign))
        }
    }
}

impl Draft {
    /// Starts from the draft of the tree, if there is one, or else from the latest epoch. It closes the log as
    /// it is. `None` if the tree has no epoch.
    pub fn start(verified: &Verified, now: Time, reason: &str) -> Option<Self> {
        let latest = verified.chain.latest()?;
        let base = &verified.chain.draft().unwrap_or(latest).epoch;
        let (log, _) = trust::log::load(&verified.tree, &verified.chain);
        let heads = log.heads();
        let count = log.dag.reach(log.dag.heads().iter().copied()).count();
        let created = now.max(latest.epoch.created);
        let life = base.expires.since(base.created).max(1);
        let mut epoch = base.clone();
        epoch.number = latest.epoch.number + 1;
        epoch.previous = Some(latest.sha256);
        epoch.created = created;
        epoch.expires = Time::from_unix(created.unix() + life);
        epoch.reason = joined(verified.chain.draft().map(|draft| draft.epoch.reason.as_str()), reason);
        epoch.closes = Some(Closes { heads, count: u32::try_from(count).unwrap_or(u32::MAX) });
        Some(Self { epoch, certificates: BTreeMap::new() })
    }

    /// Writes `former` anew: what the latest epoch has, and everyone whose certificate is gone or another in
    /// this one. `why` is the reason for whoever has none in the draft so far.
    pub fn note_former(&mut self, latest: &Epoch, why: impl Fn(&PersonName) -> FormerReason) {
        let drafted: BTreeMap<_, _> = self
            .epoch
            .former
            .iter()
            .skip(latest.former.len())
            .map(|former| (former.person.clone(), former.reason))
            .collect();
        let gone = latest
            .persons
            .iter()
            .filter(|(name, then)| self.epoch.persons.get(*name).is_none_or(|now| now.cert != then.cert));
        let number = self.epoch.number;
        let new = gone.map(|(name, then)| Former {
            person: name.clone(),
            cert: then.cert.clone(),
            epoch: number,
            reason: drafted.get(name).copied().unwrap_or_else(|| why(name)),
        });
        self.epoch.former = latest.former.iter().cloned().chain(new).collect();
    }

    /// The text of the epoch.
    pub fn text(&self) -> String {
        self.epoch.write()
    }

    /// Writes the epoch's file, drops the signatures that an earlier draft had, and puts OpenPGP certificates
    /// where they belong: the bytes that this epoch pins under their person's name, others under `old`.
    pub fn changes(&self, verified: &Verified, changes: &mut ChangeSet) {
        let number = self.epoch.number;
        changes.writes.insert(Place::Epoch(number).to_string(), self.text().into_bytes());
        for path in verified.tree.entries.keys() {
            if matches!(Place::parse(path), Ok(Place::EpochSignature { number: n, .. }) if n == number) {
                changes.removes.insert(path.clone());
            }
        }
        let stored = stored(verified);
        let bytes = |digest: &Digest| self.certificates.get(digest).or_else(|| stored.get(digest).copied());
        let mut places: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut today = BTreeSet::new();
        for (name, person) in &self.epoch.persons {
            if let Some(bytes) = bytes(&person.cert_sha256) {
                today.insert(person.cert_sha256);
                places.insert(Place::PublicKey(name.clone()).to_string(), bytes.clone());
            }
        }
        let valid = verified.chain.latest().map_or(0, |latest| latest.epoch.number);
        for epoch in verified.chain.all().iter().filter(|epoch| epoch.epoch.number <= valid) {
            for digest in epoch.epoch.persons.values().map(|person| person.cert_sha256) {
                if let (false, Some(bytes)) = (today.contains(&digest), bytes(&digest)) {
                    places.insert(Place::OldPublicKey(digest.h16()).to_string(), bytes.clone());
                }
            }
        }
        for path in verified.tree.entries.keys() {
            let key = matches!(Place::parse(path), Ok(Place::PublicKey(_) | Place::OldPublicKey(_)));
            if key && !places.contains_key(path) {
                changes.removes.insert(path.clone());
            }
        }
        for (path, bytes) in places {
            if verified.tree.bytes(&path) != Some(&bytes) {
                changes.writes.insert(path, bytes);
            }
        }
    }
}

/// The clusters that a reason or the first line of a commit is about; many are counted. A reason has at most 500 bytes
/// (FORMAT 1), and the epoch and record that it stands in say which they are.
pub fn clusters_in_words<'a>(clusters: impl IntoIterator<Item = &'a ClusterName>) -> String {
    let names: BTreeSet<&str> = clusters.into_iter().map(ClusterName::as_str).collect();
    let count = names.len();
    let all = names.into_iter().collect::<Vec<_>>().join(", ");
    if all.len() <= 250 { all } else { format!("{count} clusters") }
}

fn joined(before: Option<&str>, reason: &str) -> String {
    match before {
        Some(before) if !before.is_empty() && !reason.is_empty() && before != reason => {
            let both = format!("{before}; {reason}");
            if both.len() <= 500 { both } else { reason.to_owned() }
        }
        Some(before) if reason.is_empty() => before.to_owned(),
        _ => reason.to_owned(),
    }
}

/// The OpenPGP certificates of the tree, by the hash of their bytes.
fn stored(verified: &Verified) -> BTreeMap<Digest, &Vec<u8>> {
    let mut stored = BTreeMap::new();
    for (path, entry) in &verified.tree.entries {
        let key = matches!(Place::parse(path), Ok(Place::PublicKey(_) | Place::OldPublicKey(_)));
        if let (true, trust::Entry::File { bytes, .. }) = (key, entry) {
            stored.insert(Digest::of(bytes), bytes);
        }
    }
    stored
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_clusters_are_named_and_many_are_counted_so_that_every_reason_fits() {
        let named = |count: usize, long: usize| -> String {
            let name = |number: usize| ClusterName::parse(&format!("{}{number}", "c".repeat(long))).unwrap();
            let names: Vec<ClusterName> = (0..count).map(name).collect();
            clusters_in_words(names.iter().chain(&names))
        };
        assert_eq!(named(2, 1), "c0, c1");
        assert_eq!(named(100, 1), "100 clusters");
        assert!((1..500).all(|count| [1, 20, 40].iter().all(|long| named(count, *long).len() <= 250)));
    }
}
