//! Phases of a rotation: the state of every generation in the view of a record or of the whole log, and
//! which steps are steps (FORMAT 5, "Phases").

use std::collections::{BTreeMap, BTreeSet};

use super::log::Log;
use super::record::Record;
use crate::model::{ClusterName, Generation, Keyset, State};

/// The states that the last steps of each generation of one keyset leave: one, or several in a conflict.
pub type States = BTreeMap<Generation, BTreeSet<State>>;

/// The index of a record in the log, and the state to which it brings a generation.
type Step = (usize, Generation, State);

/// Steps by keyset: the record and what it sets.
#[derive(Default)]
pub struct Steps(BTreeMap<(ClusterName, Keyset), Vec<Step>>);

impl Steps {
    /// All steps of the records that `take` takes.
    pub fn of(log: &Log, take: impl Fn(usize) -> bool) -> Self {
        let mut steps = Self::default();
        for (index, logged) in log.records.iter().enumerate().filter(|(index, _)| take(*index)) {
            for entry in &logged.record.phase {
                let key = (entry.cluster.clone(), entry.keyset);
                steps.0.entry(key).or_default().push((index, entry.generation, entry.state));
            }
        }
        steps
    }

    /// The keysets that have steps.
    pub fn keysets(&self) -> impl Iterator<Item = &(ClusterName, Keyset)> {
        self.0.keys()
    }

    /// The states of a keyset after those of its steps that `see` sees.
    pub fn states(&self, log: &Log, cluster: &ClusterName, keyset: Keyset, see: impl Fn(usize) -> bool) -> States {
        let all = self.0.get(&(cluster.clone(), keyset)).map_or(&[][..], Vec::as_slice);
        let mut by_generation: BTreeMap<Generation, Vec<(usize, State)>> = BTreeMap::new();
        for (index, generation, state) in all.iter().filter(|(index, ..)| see(*index)) {
            by_generation.entry(*generation).or_default().push((*index, *state));
        }
        let last = |steps: Vec<(usize, State)>| {
            let indices: Vec<usize> = steps.iter().map(|(index, _)| *index).collect();
            let latest = log.dag.latest(&indices);
            steps.into_iter().filter(|(index, _)| latest.contains(index)).map(|(_, state)| state).collect()
        };
        by_generation.into_iter().map(|(generation, steps)| (generation, last(steps))).collect()
    }
}

/// The generations that issue.
pub fn issuing(states: &States) -> Vec<Generation> {
    let issues =
        |(generation, states): (&Generation, &BTreeSet<State>)| states.contains(&State::Issuing).then_some(*generation);
    states.iter().filter_map(issues).collect()
}

/// Checks the steps of one record for one keyset, from the states that its ancestors leave. Returns the
/// reason why one of them is no step.
pub fn check(record: &Record, cluster: &ClusterName, keyset: Keyset, before: &States) -> Result<(), String> {
    let mut steps: BTreeMap<Generation, State> = BTreeMap::new();
    for entry in record.phase.iter().filter(|entry| entry.cluster == *cluster && entry.keyset == keyset) {
        if steps.insert(entry.generation, entry.state).is_some() {
            return Err(format!("{cluster}/{keyset} {} has two steps in one record", entry.generation));
        }
    }
    let conflict = before.values().any(|states| states.len() > 1) || (!before.is_empty() && issuing(before).len() != 1);
    for (generation, to) in &steps {
        let from = before.get(generation);
        let whole = || format!("{cluster}/{keyset} {generation}");
        let fine = match from {
            None if before.is_empty() => matches!(to, State::Issuing | State::Staged),
            None => *to == State::Staged,
            Some(states) if conflict => states.contains(to) || settles(states, *to),
            Some(states) => states.iter().all(|from| is_step(*from, *to)),
        };
        if !fine {
            let from = from
                .map_or_else(|| "new".to_owned(), |s| s.iter().map(|s| s.as_str()).collect::<Vec<_>>().join(" and "));
            return Err(format!("{} can't go from {from} to {to}", whole()));
        }
    }
    if !conflict {
        check_exchange(&steps, before).map_err(|why| format!("{cluster}/{keyset}: {why}"))?;
    }
    let mut after = before.clone();
    after.extend(steps.iter().map(|(generation, state)| (*generation, BTreeSet::from([*state]))));
    match issuing(&after).len() {
        1 => Ok(()),
        count => Err(format!("{cluster}/{keyset} would have {count} issuing generations")),
    }
}

/// After a conflict: one of two that issue steps back, or the former one issues again.
fn settles(from: &BTreeSet<State>, to: State) -> bool {
    from.contains(&State::Issuing) && matches!(to, State::Trusted | State::Retiring | State::Issuing)
        || from.contains(&State::Retiring) && to == State::Issuing
        || from.iter().any(|from| is_step(*from, to))
}

fn is_step(from: State, to: State) -> bool {
    use State::{Distrusted, Issuing, Retiring, Staged, Trusted};
    matches!(
        (from, to),
        (Staged, Trusted)
            | (Trusted, Issuing | Staged)
            | (Issuing, Retiring | Trusted)
            | (Retiring, Distrusted | Issuing)
            | (Staged | Trusted, Distrusted)
    )
}

/// Forward, a trusted generation takes over and the former one retires; back, the former one takes over
/// again and the other is trusted again. Nothing else exchanges the issuing generation.
fn check_exchange(steps: &BTreeMap<Generation, State>, before: &States) -> Result<(), String> {
    let was = |generation: &Generation, state| before.get(generation).is_some_and(|states| states.contains(&state));
    let promoted = steps.iter().any(|(g, to)| *to == State::Issuing && was(g, State::Trusted));
    let restored = steps.iter().any(|(g, to)| *to == State::Issuing && was(g, State::Retiring));
    let retired = steps.iter().any(|(g, to)| *to == State::Retiring && was(g, State::Issuing));
    let demoted = steps.iter().any(|(g, to)| *to == State::Trusted && was(g, State::Issuing));
    if promoted == retired && restored == demoted {
        return Ok(());
    }
    Err("issuing passes from one generation to another in one record".to_owned())
}
