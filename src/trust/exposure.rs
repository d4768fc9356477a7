//! What a person could ever open, from the log: every generation and every node's bundle of which any record that
//! counts says that it was sealed to them, and whether what was inside is still in use (FORMAT 10). Pure. What lay in
//! git's history without a record is looked for by whoever has the history.

use super::current::Vouch;
use super::owed::Debts;
use super::verify::Verified;
use crate::model::{PersonName, Place, Time};

/// One secret that a person could open at some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposure {
    /// Where it lies.
    pub place: Place,
    /// Whether a key that they could open is still in use: then sealing it to others takes nothing back, and only a new
    /// key does.
    pub live: bool,
    /// When a record first said that it was sealed to them.
    pub since: Time,
}

/// Everything that was ever sealed to `person` in clusters that the latest epoch lists, by path. A waiver ends a debt,
/// and not what somebody can open, so none is looked at.
pub fn of(verified: &Verified, person: &PersonName, now: Time) -> Vec<Exposure> {
    let Some(latest) = verified.chain.latest().map(|latest| &latest.epoch) else { return Vec::new() };
    let debts = Debts::of(verified, now, false);
    let mut exposed = Vec::new();
    for (place, said) in &verified.current.history {
        let Place::Sealed(name, sealed) = place else { continue };
        let Some(cluster) = latest.clusters.get(name) else { continue };
        let theirs = said.iter().filter_map(|vouched| match &vouched.vouch {
            Vouch::Sealed(entry) if entry.recipients.iter().any(|r| r.person == *person) => {
                Some((entry, verified.log.records[vouched.record].record.time))
            }
            _ => None,
        });
        let theirs: Vec<_> = theirs.collect();
        let Some(since) = theirs.iter().map(|(_, time)| *time).min() else { continue };
        let in_use = !cluster.retired && debts.in_use(name, cluster, sealed);
        let live = in_use && theirs.iter().any(|(entry, _)| debts.holds_current_key(entry));
        exposed.push(Exposure { place: place.clone(), live, since });
    }
    exposed
}
