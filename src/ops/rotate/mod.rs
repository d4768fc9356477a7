//! `rotate`: new generations of keysets, one phase a command, for as many clusters as wanted: staged, trusted, issuing,
//! distrusted, removed (kubernetes-pki C.4). Where each keyset stands is here; `start` makes generations, `step` moves
//! them, `remove` drops them, and `steps` says what to do on which node in between.

mod check;
mod elsewhere;
mod emergency;
mod listing;
mod remove;
mod script;
mod settle;
mod start;
mod status;
mod step;
mod steps;

pub use check::{Checked, Files, check};
pub use emergency::Stage;
pub use remove::{Removed, remove};
pub use script::{Script, script};
pub use settle::{Conflict, Settle, Settled, Target, check_settled, settle, stated};
pub use start::{Start, Started, start};
pub use status::{ClusterRotation, KeysetRotation, Rotations, status};
pub use step::{Stepped, Verb, Wanted, step};
pub use steps::{Gate, NodeSteps};

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::cert::node::kept_by_node;
use super::failure::Failure;
use super::session::Repository;
use crate::model::{ClusterName, Generation, Keyset, Place, Profile, Remedy, SealedName, State, Time};
use crate::trust::current::Vouch;
use crate::trust::phases::{self, States};
use crate::trust::record;

/// Where the rotation of a keyset stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// One generation issues, and there is no other.
    Steady,
    /// A new generation is made; nothing trusts it.
    Staged,
    /// Both are trusted; the former one issues.
    Trusted,
    /// Both are trusted; the new one issues.
    Promoted,
    /// The former one is distrusted and not removed yet.
    Distrusted,
}

impl Phase {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Staged => "staged",
            Self::Trusted => "trusted",
            Self::Promoted => "promoted",
            Self::Distrusted => "distrusted",
        }
    }
}

/// What stands in `gates` of a generation that is kept for an emergency: whoever staged it said so (`start --standby`).
const STANDBY: &str = "standby";

/// One keyset of one cluster, with the one state of each generation.
#[derive(Debug, Clone)]
pub struct Position {
    /// The generation that issues.
    pub issuing: Generation,
    /// The state of every generation, but for distrusted ones that were removed.
    pub states: BTreeMap<Generation, State>,
    /// The newest generation that there ever was.
    pub newest: Generation,
    /// Whether a generation that is trusted now has issued, or one that is staged was trusted: an `undo` came in between,
    /// and nodes may still have what it took back.
    pub went_back: bool,
    /// Whether the next generation is one that is kept for an emergency.
    pub standby: bool,
    /// Whether somebody confirmed that nodes trusted the generation that issues before it did. Otherwise they may learn of it
    /// only together with its leaves.
    pub trusted_before: bool,
    /// Its last step: when, by the record's word, and by which command; none where it never took one.
    pub last: Option<(Time, String)>,
    /// Whether a generation is distrusted and not removed that was trusted once: nodes may trust it still.
    pub leaves_trust: bool,
}

impl Position {
    /// Where `keyset` of `cluster` stands. Refuses where two branches set different states: a person decides first.
    pub fn of(repository: &Repository, cluster: &ClusterName, keyset: Keyset) -> Result<Self, Failure> {
        let none = States::new();
        let states = repository.verified.current.states.get(&(cluster.clone(), keyset)).unwrap_or(&none);
        let unclear = || {
            Failure::refused(format!("it is not clear which generation of {keyset} issues in cluster {cluster}"))
                .help(Remedy::Settle(cluster.clone()))
        };
        let [issuing] = phases::issuing(states)[..] else { return Err(unclear()) };
        let mut single = BTreeMap::new();
        for (generation, states) in states {
            match (states.first(), states.len()) {
                (Some(state), 1) => single.insert(*generation, *state),
                _ => return Err(unclear()),
            };
        }
        let newest = single.keys().last().copied().unwrap_or(issuing);
        single.retain(|generation, state| {
            *state != State::Distrusted || is_there(repository, cluster, keyset, *generation)
        });
        let records = repository.verified.log.counted().map(|(_, logged)| &logged.record);
        let said: Vec<(Time, &str, &record::Phase)> = records
            .flat_map(|record| record.phase.iter().map(move |one| (record.time, record.command.as_str(), one)))
            .filter(|(.., one)| one.cluster == *cluster && one.keyset == keyset)
            .collect();
        let was = |generation: Generation, states: &[State]| {
            said.iter().any(|(.., one)| one.generation == generation && states.contains(&one.state))
        };
        let went_back = single.iter().any(|(generation, state)| match state {
            State::Trusted => was(*generation, &[State::Issuing]),
            State::Staged => was(*generation, &[State::Trusted]),
            _ => false,
        });
        let leaves_trust = single.iter().any(|(generation, state)| {
            *state == State::Distrusted && was(*generation, &[State::Trusted, State::Issuing])
        });
        let promoted = said.iter().filter(|(.., one)| one.generation == issuing && one.state == State::Issuing);
        let promoted = promoted.max_by_key(|(time, ..)| *time);
        let trusted_before = promoted.is_some_and(|(.., one)| one.gates.iter().any(|gate| gate == steps::BUNDLE.name));
        let last = said.iter().map(|(time, command, _)| (*time, (*command).to_owned())).max();
        let mut position =
            Self { issuing, states: single, newest, went_back, standby: false, trusted_before, last, leaves_trust };
        if let Some(next) = position.next() {
            let mut gates = said.iter().filter(|(.., one)| one.generation == next).flat_map(|(.., one)| &one.gates);
            position.standby = gates.any(|gate| gate == STANDBY);
            position.trusted_before = false;
        }
        Ok(position)
    }

    /// The generation that is to issue next: the newest that is staged or trusted, where it is newer than the one that issues.
    pub fn next(&self) -> Option<Generation> {
        next(self.issuing, &self.states)
    }

    /// What is over and not distrusted yet: what retires, and what was passed over, such as one for an emergency.
    pub fn former(&self) -> impl Iterator<Item = Generation> + '_ {
        former(self.issuing, &self.states)
    }

    /// The generations in a state, by number.
    pub fn with(&self, state: State) -> impl Iterator<Item = Generation> + '_ {
        self.states.iter().filter(move |(_, is)| **is == state).map(|(generation, _)| *generation)
    }

    /// Whether its last step was one of an emergency.
    pub fn is_emergency(&self) -> bool {
        self.last.as_ref().is_some_and(|(_, command)| command.ends_with(" --emergency"))
    }

    /// The phase by which nodes get their files: that of the last step that they may not have followed yet.
    pub fn on_nodes(&self) -> Phase {
        match self.phase() {
            Phase::Staged | Phase::Distrusted if !self.leaves_trust && !self.went_back => Phase::Steady,
            Phase::Staged if self.leaves_trust => Phase::Distrusted,
            phase => steps::on_nodes(phase, self.went_back),
        }
    }

    /// The phase.
    pub fn phase(&self) -> Phase {
        phase(self.issuing, &self.states)
    }
}

fn next(issuing: Generation, states: &BTreeMap<Generation, State>) -> Option<Generation> {
    let waits = states.iter().filter(|(_, state)| matches!(state, State::Staged | State::Trusted));
    waits.map(|(generation, _)| *generation).max().filter(|next| *next > issuing)
}

fn former(issuing: Generation, states: &BTreeMap<Generation, State>) -> impl Iterator<Item = Generation> + '_ {
    let over = states.iter().filter(move |(generation, state)| match state {
        State::Retiring => true,
        State::Staged | State::Trusted => **generation < issuing,
        State::Issuing | State::Distrusted => false,
    });
    over.map(|(generation, _)| *generation)
}

/// The phase of these states: what is farthest on the way decides, so that nothing that is half done is passed over.
fn phase(issuing: Generation, states: &BTreeMap<Generation, State>) -> Phase {
    match next(issuing, states).and_then(|next| states.get(&next)) {
        _ if former(issuing, states).next().is_some() => Phase::Promoted,
        Some(State::Trusted) => Phase::Trusted,
        Some(_) => Phase::Staged,
        None if states.values().any(|state| *state == State::Distrusted) => Phase::Distrusted,
        None => Phase::Steady,
    }
}

/// Whether the key of a generation lies in the repository.
fn is_there(repository: &Repository, name: &ClusterName, keyset: Keyset, generation: Generation) -> bool {
    let sealed = Place::Sealed(name.clone(), SealedName::Keyset(keyset, generation));
    let current = repository.verified.current.paths.get(&sealed);
    current.is_some_and(|vouched| matches!(vouched.vouch, Vouch::Sealed(_)))
}

/// Leaves out a key that never left its node: no export has it, and its next certificate fits it.
fn leave_what_stays(repository: &Repository, cluster: &ClusterName, steps: &mut NodeSteps) {
    if kept_by_node(&repository.verified, cluster, &steps.node).contains_key(&Profile::KubeletServing) {
        steps.copy.retain(|file| *file != "kubelet/kubelet.key");
    }
}

/// The keysets of a cluster that have generations: what a rotation is about where none is named.
fn keysets(repository: &Repository, cluster: &ClusterName) -> Vec<Keyset> {
    let states = repository.verified.current.states.keys();
    states.filter(|(name, _)| name == cluster).map(|(_, keyset)| *keyset).collect()
}

/// The keysets that a command is about: those named, which the cluster has to have, or all.
fn chosen(repository: &Repository, cluster: &ClusterName, named: &[Keyset]) -> Result<Vec<Keyset>, Failure> {
    let all = keysets(repository, cluster);
    if let Some(unknown) = named.iter().find(|keyset| !all.contains(keyset)) {
        let known = all.iter().map(|keyset| keyset.as_str()).collect::<Vec<_>>().join(", ");
        let what = format!("cluster {cluster} has no keyset {unknown} to rotate; it has: {known}");
        return Err(Failure::usage(what).help(Remedy::Kluis(format!("cluster show {cluster}"))));
    }
    let named: BTreeSet<Keyset> = named.iter().copied().collect();
    Ok(if named.is_empty() { all } else { named.into_iter().collect() })
}
