//! What a person could ever open, from the log: every generation and every node's bundle of which any record that
//! counts says that it was sealed to them, and what has become of what was inside (FORMAT 10). Pure. What lay in git's
//! history without a record is looked for by whoever has the history.

use std::collections::{BTreeMap, BTreeSet};

use super::current::Vouch;
use super::epoch::Cluster;
use super::owed::Debts;
use super::record::Sealed;
use super::verify::Verified;
use crate::model::{ClusterName, Digest, PersonName, Place, SealedName, State, Time};

/// What has become of a secret that somebody could open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It is in use: sealing it to others takes nothing back, and only a new key does.
    Live,
    /// It is in use, and the quorum decided to live with that until then.
    Waived(Time),
    /// Nothing uses it any more, and what took its place was sealed to them too.
    Followed,
    /// Nothing uses it any more, and what took its place was never sealed to them.
    Rotated,
    /// Its cluster is retired, or no epoch lists it any more: nothing is owed, whatever still runs there.
    Retired,
}

impl Standing {
    /// The word in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Waived(_) => "waived",
            Self::Followed => "followed",
            Self::Rotated => "rotated",
            Self::Retired => "retired",
        }
    }

    /// Whether what is inside is in use, waived or not.
    pub fn is_in_use(self) -> bool {
        matches!(self, Self::Live | Self::Waived(_))
    }
}

/// One secret that a person could open at some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposure {
    /// Where it lies.
    pub place: Place,
    /// What has become of it.
    pub standing: Standing,
    /// When a record first said that it was sealed to them.
    pub since: Time,
    /// That record.
    pub record: Digest,
    /// Of a node's keys that were replaced: when the last certificate ends that the cluster accepts for one of them.
    pub accepted_until: Option<Time>,
}

/// Everything that was ever sealed to `person`, by path.
pub fn of(verified: &Verified, person: &PersonName, now: Time) -> Vec<Exposure> {
    let looker = Looker { verified, person, debts: Debts::of(verified, now, false) };
    let mut alive: Alive = BTreeMap::new();
    let issued = verified.log.counted().flat_map(|(_, logged)| &logged.record.issued);
    for entry in issued.filter(|entry| entry.not_after > now) {
        alive.entry(entry.spki).or_default().push((entry.not_after, entry.issuer));
    }
    let mut exposed: Vec<Exposure> = Vec::new();
    for (place, said) in &verified.current.history {
        let Place::Sealed(cluster, sealed) = place else { continue };
        let theirs = said.iter().filter_map(|vouched| match &vouched.vouch {
            Vouch::Sealed(entry) if entry.recipients.iter().any(|r| r.person == *person) => {
                let logged = &verified.log.records[vouched.record];
                Some((logged.record.time, logged.sha256, entry))
            }
            _ => None,
        });
        let theirs: Vec<_> = theirs.collect();
        let Some((since, record, _)) = theirs.iter().min_by_key(|(time, sha256, _)| (*time, *sha256)) else { continue };
        let holds = theirs.iter().any(|(.., entry)| looker.debts.holds_current_key(entry));
        let standing = looker.standing(cluster, sealed, holds);
        let accepted_until = match standing {
            Standing::Rotated => looker.accepted_until(cluster, &alive, theirs.iter().map(|(.., entry)| *entry)),
            _ => None,
        };
        exposed.push(Exposure { place: place.clone(), standing, since: *since, record: *record, accepted_until });
    }
    follow(&mut exposed);
    exposed
}

/// What a sealed file that lay at `place` without a record is to `person`, who could open it: which key is inside can't be
/// told, so the one in use is assumed. `None` where no record ever named the place.
pub fn unrecorded(verified: &Verified, place: &Place, person: &PersonName, now: Time) -> Option<Standing> {
    let Place::Sealed(cluster, sealed) = place else { return None };
    verified.current.history.contains_key(place).then(|| {
        let looker = Looker { verified, person, debts: Debts::of(verified, now, false) };
        looker.standing(cluster, sealed, verified.current.paths.get(place).is_some_and(|v| v.vouch != Vouch::Removed))
    })
}

/// A generation that is out of use is rotated only if none that is in use was sealed to the person.
fn follow(exposed: &mut [Exposure]) {
    let keyset = |place: &Place| match place {
        Place::Sealed(cluster, SealedName::Keyset(keyset, _)) => Some((cluster.clone(), *keyset)),
        _ => None,
    };
    let in_use = exposed.iter().filter(|one| one.standing.is_in_use());
    let in_use: BTreeSet<_> = in_use.filter_map(|one| keyset(&one.place)).collect();
    for one in exposed.iter_mut().filter(|one| one.standing == Standing::Rotated) {
        if keyset(&one.place).is_some_and(|keyset| in_use.contains(&keyset)) {
            one.standing = Standing::Followed;
        }
    }
}

/// Certificates that have not ended, by the hash of their key: the end and the CA.
type Alive = BTreeMap<Digest, Vec<(Time, Digest)>>;

struct Looker<'a> {
    verified: &'a Verified,
    person: &'a PersonName,
    debts: Debts<'a>,
}

impl Looker<'_> {
    fn cluster(&self, name: &ClusterName) -> Option<&Cluster> {
        self.verified.chain.latest()?.epoch.clusters.get(name)
    }

    fn standing(&self, name: &ClusterName, sealed: &SealedName, holds_current: bool) -> Standing {
        let Some(cluster) = self.cluster(name).filter(|cluster| !cluster.retired) else { return Standing::Retired };
        if !holds_current || !self.debts.in_use(name, cluster, sealed) {
            return Standing::Rotated;
        }
        let latest = self.verified.chain.latest().map(|latest| &latest.epoch);
        let until = latest.and_then(|latest| self.debts.waived_until(name, self.person, latest));
        until.map_or(Standing::Live, Standing::Waived)
    }

    /// A certificate can't be called back: until it ends, or its CA is distrusted, its key is as good as a new one.
    fn accepted_until<'a>(
        &self,
        name: &ClusterName,
        alive: &Alive,
        entries: impl Iterator<Item = &'a Sealed>,
    ) -> Option<Time> {
        let cluster = self.cluster(name)?;
        let trusted = |issuer: &Digest| {
            cluster.keysets.keys().any(|keyset| {
                cluster.generations(*keyset).any(|(generation, digest)| {
                    digest == *issuer && self.debts.state(name, *keyset, generation) != Some(State::Distrusted)
                })
            })
        };
        let keys = entries.flat_map(|entry| &entry.public).filter_map(|key| alive.get(&key.id)).flatten();
        keys.filter(|(_, issuer)| trusted(issuer)).map(|(end, _)| *end).max()
    }
}
