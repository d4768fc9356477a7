//! What two branches decided apart in a rotation: who did what, and which phases one record can bring a keyset to. Reads
//! records; asks nobody and writes nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::super::super::session::Repository;
use super::super::{Phase, phase};
use crate::model::{ClusterName, Digest, Generation, Keyset, PersonName, Place, SealedName, State, Time};
use crate::trust::current::Vouch;
use crate::trust::phases::{self, States, Steps};
use crate::trust::record::{self, Record};

/// One state for each generation.
pub(super) type Single = BTreeMap<Generation, State>;

/// A record that brought a keyset somewhere and did not see the others.
#[derive(Debug, Clone, Serialize)]
pub struct Side {
    /// The record.
    pub record: Digest,
    /// Who signed it.
    pub actor: PersonName,
    /// When, by its own word.
    pub time: Time,
    /// What they ran.
    pub command: String,
    /// The phase that it led to.
    pub phase: Phase,
    /// The state of each generation in its view.
    pub states: Vec<(Generation, State)>,
    #[serde(skip)]
    single: Single,
}

/// A phase that one record can bring the keyset to.
#[derive(Debug, Clone, Serialize)]
pub struct Choice {
    /// Its word, for `--to`; with the generation that issues where two have one word.
    pub name: String,
    /// The generation that issues.
    pub issues: Generation,
    /// The states that the record sets.
    pub sets: Vec<(Generation, State)>,
    /// Generations that are trusted no more, though they issued by one side's word: nothing may be of them.
    pub unused: Vec<Generation>,
    /// Whether it cuts nobody off, whichever side's files nodes have: each side trusts what issues then, and nothing that
    /// one of them used is dropped.
    #[serde(skip)]
    pub(super) mild: bool,
    #[serde(skip)]
    phase: Phase,
    #[serde(skip)]
    pub(super) states: Single,
}

/// A keyset of which it is not clear where it stands.
#[derive(Debug, Clone, Serialize)]
pub struct Conflict {
    /// The cluster.
    pub cluster: ClusterName,
    /// The keyset.
    pub keyset: Keyset,
    /// Who did what, by time.
    pub sides: Vec<Side>,
    /// Generations for which two keys were made: they are given up.
    pub given_up: Vec<Generation>,
    /// Where one record can bring it.
    pub choices: Vec<Choice>,
}

/// The keysets of a cluster that are in conflict.
pub fn find(repository: &Repository, cluster: &ClusterName) -> Vec<Conflict> {
    let verified = &repository.verified;
    let steps = Steps::of(&verified.log, |index| verified.log.counts(index));
    let here = verified.current.states.iter().filter(|((name, _), _)| name == cluster);
    let found = here.filter_map(|((_, keyset), states)| {
        let given_up = given_up(repository, cluster, *keyset);
        if given_up.is_empty() && is_clear(states) {
            return None;
        }
        let mut sides = sides(repository, &steps, (cluster, *keyset), None);
        sides.sort_by(|a, b| (a.time, &a.actor, a.record).cmp(&(b.time, &b.actor, b.record)));
        let at = At { repository, cluster, keyset: *keyset, states, given_up: &given_up };
        let choices = at.choices(&sides);
        Some(Conflict { cluster: cluster.clone(), keyset: *keyset, sides, given_up, choices })
    });
    found.collect()
}

/// Whether each generation has one state, and one issues.
fn is_clear(states: &States) -> bool {
    states.values().all(|states| states.len() == 1) && phases::issuing(states).len() == 1
}

/// The generations of a keyset of which two keys are current. A generation has one key for ever, so no record can keep
/// either. Only symmetric ones come here: of the others the epoch lists one.
fn given_up(repository: &Repository, cluster: &ClusterName, keyset: Keyset) -> Vec<Generation> {
    let verified = &repository.verified;
    let torn = verified.current.in_conflict().filter_map(|place| {
        let Place::Sealed(at, SealedName::Keyset(of, generation)) = place else { return None };
        let said = verified.current.last(&verified.log, place);
        let mut keys = said.iter().filter_map(|vouched| match &vouched.vouch {
            Vouch::Sealed(entry) => Some(&entry.public),
            _ => None,
        });
        let first = keys.next()?;
        (at == cluster && *of == keyset && keys.any(|other| other != first)).then_some(*generation)
    });
    torn.collect()
}

/// The last records that stepped a keyset, of those that `within` saw; of one that left it unclear, those before it.
fn sides(
    repository: &Repository,
    steps: &Steps,
    (cluster, keyset): (&ClusterName, Keyset),
    within: Option<usize>,
) -> Vec<Side> {
    let log = &repository.verified.log;
    let about = |record: &Record| record.phase.iter().any(|one| one.cluster == *cluster && one.keyset == keyset);
    let seen = |index: usize| within.is_none_or(|within| log.dag.is_before(index, within));
    let stepped = log.counted().filter(|(index, logged)| about(&logged.record) && seen(*index));
    let stepped: Vec<usize> = stepped.map(|(index, _)| index).collect();
    let mut found: Vec<Side> = Vec::new();
    for at in log.dag.latest(&stepped) {
        let view = steps.states(log, cluster, keyset, |index| index == at || log.dag.is_before(index, at));
        if !is_clear(&view) {
            let before = sides(repository, steps, (cluster, keyset), Some(at));
            let known: Vec<Digest> = found.iter().map(|side| side.record).collect();
            found.extend(before.into_iter().filter(|side| !known.contains(&side.record)));
            continue;
        }
        let single: Single = view.into_iter().filter_map(|(g, states)| Some((g, states.into_iter().next()?))).collect();
        let Some(issues) = issuing(&single) else { continue };
        let logged = &log.records[at];
        found.push(Side {
            record: logged.sha256,
            actor: logged.record.actor.clone(),
            time: logged.record.time,
            command: logged.record.command.clone(),
            phase: phase(issues, &single),
            states: single.iter().map(|(generation, state)| (*generation, *state)).collect(),
            single,
        });
    }
    found
}

fn issuing(states: &Single) -> Option<Generation> {
    states.iter().find(|(_, state)| **state == State::Issuing).map(|(generation, _)| *generation)
}

/// What the choices are made of.
struct At<'a> {
    repository: &'a Repository,
    cluster: &'a ClusterName,
    keyset: Keyset,
    states: &'a States,
    given_up: &'a [Generation],
}

impl At<'_> {
    /// What each side decided; and where they disagree about who issues, both trusted and one of them issuing, which cuts
    /// nobody off whichever files nodes have got.
    fn choices(&self, sides: &[Side]) -> Vec<Choice> {
        let mut wanted: Vec<Single> = sides.iter().map(|side| self.target(&side.single)).collect();
        for side in sides {
            let Some(issues) = issuing(&side.single) else { continue };
            for other in sides.iter().filter_map(|side| issuing(&side.single)).filter(|other| *other != issues) {
                let mut both = self.target(&side.single);
                both.insert(other, if other > issues { State::Trusted } else { State::Retiring });
                wanted.push(both);
            }
        }
        let mut choices: Vec<Choice> = Vec::new();
        for states in wanted.into_iter().filter_map(|states| self.without_given_up(states)) {
            if let (false, Some(choice)) =
                (choices.iter().any(|other| other.states == states), self.choice(states, sides))
            {
                choices.push(choice);
            }
        }
        choices.sort_by_key(|choice| (choice.phase, choice.issues));
        let words: Vec<Phase> = choices.iter().map(|choice| choice.phase).collect();
        for choice in &mut choices {
            if words.iter().filter(|word| **word == choice.phase).count() > 1 {
                choice.name = format!("{}:{}", choice.name, choice.issues);
            }
        }
        choices
    }

    /// The states as a side has them, for what is in conflict or would issue, or issue no more; the others stay.
    fn target(&self, side: &Single) -> Single {
        let of = |(generation, now): (&Generation, &BTreeSet<State>)| {
            let wanted = side.get(generation).copied();
            let exchanged = now.contains(&State::Issuing) || wanted == Some(State::Issuing);
            let state = match wanted {
                Some(wanted) if now.len() > 1 || exchanged => wanted,
                // The side never knew of it.
                None if exchanged => State::Trusted,
                _ => *now.first()?,
            };
            Some((*generation, state))
        };
        self.states.iter().filter_map(of).collect()
    }

    /// Without generations that are given up: where one of them issued, the former one does again.
    fn without_given_up(&self, mut states: Single) -> Option<Single> {
        for generation in self.given_up {
            states.insert(*generation, State::Distrusted);
        }
        if issuing(&states).is_none() {
            let (former, _) = states.iter().rev().find(|(_, state)| **state == State::Retiring)?;
            states.insert(*former, State::Issuing);
        }
        Some(states)
    }

    /// The choice, where the rules of steps allow it and every generation that it trusts is there.
    fn choice(&self, states: Single, sides: &[Side]) -> Option<Choice> {
        let issues = issuing(&states)?;
        let changed = |(generation, state): &(&Generation, &State)| {
            self.states.get(generation).is_none_or(|now| *now != BTreeSet::from([**state]))
        };
        let sets: Vec<(Generation, State)> = states.iter().filter(changed).map(|(g, state)| (*g, *state)).collect();
        let mut trial = self.repository.verified.log.records.first()?.record.clone();
        trial.phase = entries(self.cluster, self.keyset, &sets);
        phases::check(&trial, self.cluster, self.keyset, self.states).ok()?;
        if states.iter().any(|(generation, state)| *state != State::Distrusted && !self.has_key(*generation)) {
            return None;
        }
        let dropped = |state: State| matches!(state, State::Staged | State::Distrusted);
        let unused = states.iter().filter(|(generation, state)| dropped(**state) && self.issued(**generation, sides));
        let unused: Vec<Generation> = unused.map(|(generation, _)| *generation).collect();
        let trusts = |side: &Side| {
            side.single.get(&issues).is_some_and(|state| !matches!(state, State::Staged | State::Distrusted))
        };
        let mild = unused.is_empty() && sides.iter().all(trusts);
        let mut shown = states.clone();
        shown.retain(|generation, state| *state != State::Distrusted || self.has_key(*generation));
        let phase = phase(issues, &shown);
        Some(Choice { name: phase.as_str().to_owned(), issues, sets, unused, mild, phase, states })
    }

    /// Whether the key of a generation is there and stays.
    fn has_key(&self, generation: Generation) -> bool {
        let place = Place::Sealed(self.cluster.clone(), SealedName::Keyset(self.keyset, generation));
        let verified = &self.repository.verified;
        let mut said = verified.current.last(&verified.log, &place).into_iter();
        !self.given_up.contains(&generation) && said.any(|vouched| matches!(vouched.vouch, Vouch::Sealed(_)))
    }

    /// Whether something may be of a generation: a side has it issuing, or retiring; of one that is given up, any record.
    fn issued(&self, generation: Generation, sides: &[Side]) -> bool {
        let by_side = sides.iter().filter_map(|side| side.single.get(&generation));
        let mut said = self.repository.verified.log.counted().flat_map(|(_, logged)| &logged.record.phase);
        by_side.into_iter().any(|state| matches!(state, State::Issuing | State::Retiring))
            || self.given_up.contains(&generation)
                && said.any(|one| {
                    (&one.cluster, one.keyset, one.generation, one.state)
                        == (self.cluster, self.keyset, generation, State::Issuing)
                })
    }
}

/// The entries of a record that sets these states.
pub(super) fn entries(cluster: &ClusterName, keyset: Keyset, sets: &[(Generation, State)]) -> Vec<record::Phase> {
    let entry = |(generation, state): &(Generation, State)| record::Phase {
        cluster: cluster.clone(),
        keyset,
        generation: *generation,
        state: *state,
        gates: Vec::new(),
    };
    sets.iter().map(entry).collect()
}
