//! `rotate status`: the phase of each keyset, what to do on which node now, and what to confirm before the next step.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::super::cert::config;
use super::super::failure::Failure;
use super::super::session::Repository;
use super::steps::{self, NodeSteps};
use super::{Phase, Position, Stage, emergency, keysets, leave_what_stays};
use crate::export;
use crate::model::{ClusterName, Keyset, State, Time};

/// Where one keyset stands.
#[derive(Debug, Serialize)]
pub struct KeysetRotation {
    /// The keyset.
    pub keyset: Keyset,
    /// The phase.
    pub phase: Phase,
    /// The state of each generation, but for those that were removed.
    pub states: BTreeMap<String, State>,
    /// Since when it stands there, by the record's word.
    pub since: Option<Time>,
    /// The next generation, where it is kept for an emergency.
    pub standby: Option<String>,
}

impl KeysetRotation {
    /// Whether its rotation waits for somebody: one that is ready for an emergency does not.
    pub fn is_under_way(&self) -> bool {
        self.phase != Phase::Steady && !(self.standby.is_some() && self.phase == Phase::Trusted)
    }
}

/// Where one cluster stands.
#[derive(Debug, Serialize)]
pub struct ClusterRotation {
    /// The cluster.
    pub cluster: ClusterName,
    /// Whether it is retired: nothing is done there.
    pub retired: bool,
    /// Its keysets.
    pub keysets: Vec<KeysetRotation>,
    /// The command that brings the files, without the leading `kluis`.
    pub export: String,
    /// What to do on each node in this phase.
    pub nodes: Vec<NodeSteps>,
    /// What not to do meanwhile.
    pub cautions: BTreeSet<&'static str>,
    /// What has to be so before the next step: name and clause.
    pub gates: BTreeMap<&'static str, &'static str>,
    /// In an emergency, where that was asked for: what is done instead, stage by stage, after `distrust`.
    pub emergency: Vec<Stage>,
    /// The next command, without the leading `kluis`.
    pub next: Option<String>,
}

/// Where rotations stand; `data` of the report.
#[derive(Debug, Serialize)]
pub struct Rotations {
    /// The clusters, by name.
    pub clusters: Vec<ClusterRotation>,
}

/// Where the rotations of `clusters` stand; with `emergency`, what to do where somebody forges.
pub fn status(repository: &Repository, clusters: &[ClusterName], emergency: bool) -> Result<Rotations, Failure> {
    let clusters = clusters.iter().map(|name| match emergency {
        true => of_emergency(repository, name),
        false => of_cluster(repository, name),
    });
    Ok(Rotations { clusters: clusters.collect::<Result<_, _>>()? })
}

fn of_emergency(repository: &Repository, name: &ClusterName) -> Result<ClusterRotation, Failure> {
    let mut rotation = of_cluster(repository, name)?;
    if rotation.retired {
        return Ok(rotation);
    }
    rotation.nodes.clear();
    rotation.gates.clear();
    rotation.emergency = emergency::stages(repository, name)?;
    let about = rotation.keysets.iter().filter(|one| emergency::forges(one.keyset) && one.phase != Phase::Steady);
    rotation.next = match about.map(|one| one.phase).min() {
        None => Some(format!("rotate start --emergency -c {name}")),
        Some(Phase::Distrusted) => None,
        Some(phase) => Some(format!("rotate {} --emergency -c {name}", verb(phase))),
    };
    Ok(rotation)
}

fn of_cluster(repository: &Repository, name: &ClusterName) -> Result<ClusterRotation, Failure> {
    let mut rotation = ClusterRotation {
        cluster: name.clone(),
        retired: repository.cluster(name)?.retired,
        keysets: Vec::new(),
        export: String::new(),
        nodes: Vec::new(),
        cautions: BTreeSet::new(),
        gates: BTreeMap::new(),
        emergency: Vec::new(),
        next: None,
    };
    if rotation.retired {
        return Ok(rotation);
    }
    let described = config(repository, name)?;
    let (nodes, distribution) = (&described.nodes, described.distribution);
    let layout = export::Layout::of(distribution);
    let part = if layout.node.is_some() { " --node NAME" } else { "" };
    rotation.export = format!("export {} -c {name}{part} --out DIR", layout.name);
    let mut phases: Vec<(Keyset, Phase)> = Vec::new();
    let (mut on_nodes, mut kept) = (Vec::new(), Vec::new());
    for keyset in keysets(repository, name) {
        let position = Position::of(repository, name, keyset)?;
        let phase = position.phase();
        rotation.cautions.extend(steps::caution(distribution, keyset, phase));
        let standby = position.next().filter(|_| position.standby).map(|next| next.to_string());
        let here = (keyset, position.on_nodes());
        let since = position.last.as_ref().map(|(time, _)| *time).filter(|_| phase != Phase::Steady);
        let states = position.states.into_iter().map(|(generation, state)| (generation.to_string(), state)).collect();
        let rotates = KeysetRotation { keyset, phase, states, since, standby };
        if !rotates.is_under_way() {
            kept.push((since, here));
        } else {
            on_nodes.push(here);
            phases.push((keyset, phase));
            rotation.gates.extend(steps::gates(keyset, phase).into_iter().map(|gate| (gate.name, gate.what)));
        }
        rotation.keysets.push(rotates);
    }
    // What is kept for an emergency went to the nodes long ago, unless it came with this step.
    let newest = rotation.keysets.iter().filter(|one| one.is_under_way()).filter_map(|one| one.since).min();
    on_nodes.extend(kept.into_iter().filter(|(since, _)| newest.is_none() || *since >= newest).map(|(_, here)| here));
    rotation.nodes = steps::on_nodes_of(nodes, distribution, &on_nodes);
    rotation.nodes.iter_mut().for_each(|steps| leave_what_stays(repository, name, steps));
    rotation.next = next(name, &phases, &rotation.gates);
    Ok(rotation)
}

/// The step that begins in a phase.
fn verb(phase: Phase) -> &'static str {
    match phase {
        Phase::Steady => "start",
        Phase::Staged => "trust",
        Phase::Trusted => "promote",
        Phase::Promoted => "distrust",
        Phase::Distrusted => "remove",
    }
}

/// The command that moves what is least far on. Keysets in different phases are named, so that one command is one step.
fn next(
    name: &ClusterName,
    phases: &[(Keyset, Phase)],
    gates: &BTreeMap<&'static str, &'static str>,
) -> Option<String> {
    let first = phases.iter().map(|(_, phase)| *phase).min()?;
    let distinct: BTreeSet<Phase> = phases.iter().map(|(_, phase)| *phase).collect();
    let verb = verb(first);
    let mut line = format!("rotate {verb}");
    if distinct.len() > 1 {
        phases.iter().filter(|(_, phase)| *phase == first).for_each(|(keyset, _)| line.push_str(&format!(" {keyset}")));
    }
    line.push_str(&format!(" -c {name}"));
    if verb != "remove" {
        let wanted: BTreeSet<&str> = phases
            .iter()
            .filter(|(_, phase)| *phase == first)
            .flat_map(|(keyset, phase)| steps::gates(*keyset, *phase))
            .map(|gate| gate.name)
            .collect();
        gates
            .keys()
            .filter(|gate| wanted.contains(*gate))
            .for_each(|gate| line.push_str(&format!(" --confirm {gate}")));
    }
    Some(line)
}
