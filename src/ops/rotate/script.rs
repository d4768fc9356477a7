//! `rotate script`: what `rotate status` says of one node, as a shell script for it. Opens nothing; how the script reads is
//! `export::script`'s.

use serde::Serialize;

use super::super::cert::{config, node};
use super::super::export::{bundle, public_material};
use super::super::failure::Failure;
use super::super::session::Repository;
use super::steps::{self, NodeSteps};
use super::{ClusterRotation, Phase, Position, keysets, status};
use crate::export::ExportError;
use crate::export::kubeadm::{Part, public_content, public_parts};
use crate::export::script::{Work, script as render};
use crate::model::{ClusterName, Distribution, Generation, Keyset, Node, NodeName, Remedy, State};

/// The script of one node; `data` of the report.
#[derive(Debug, Serialize)]
pub struct Script {
    /// The cluster.
    pub cluster: ClusterName,
    /// What it does; nothing where nothing is to be done.
    #[serde(flatten)]
    pub steps: NodeSteps,
    /// The script.
    pub content: String,
}

/// The script that brings node `name` of `cluster` to the phase that it is in.
pub fn script(repository: &Repository, cluster: &ClusterName, name: &NodeName) -> Result<Script, Failure> {
    let config = config(repository, cluster)?;
    let node = node::find(config, cluster, name)?;
    // The paths, and how processes are restarted, are those of kubeadm.
    if config.distribution != Distribution::Kubeadm {
        let distribution = config.distribution;
        return Err(ExportError::NotKubeadm { cluster: cluster.clone(), distribution }.into());
    }
    refuse_emergency(repository, cluster)?;
    let rotations = status(repository, std::slice::from_ref(cluster), false)?;
    let rotation = rotations.clusters.into_iter().next();
    let phases = rotation.as_ref().map(phases).unwrap_or_default();
    let steps = rotation.into_iter().flat_map(|rotation| rotation.nodes).find(|steps| steps.node == *name);
    let steps = steps.unwrap_or_else(|| NodeSteps::nothing(name.clone()));
    let material = public_material(repository, cluster, node)?;
    let public = if steps.copy.is_empty() { Vec::new() } else { public_content(&material)? };
    let bundles_of_before = bundles_of_before(repository, cluster, &material.node)?;
    let content = render(&Work {
        cluster,
        node: &material.node,
        phases: &phases,
        copy: &steps.copy,
        copy_ca_keys: &steps.copy_ca_keys,
        bundles_of_before: &bundles_of_before,
        restart: &steps.restart,
        public: &public,
        encryption: &bundle(repository, cluster, Keyset::Encryption),
    });
    Ok(Script { cluster: cluster.clone(), steps, content })
}

/// Where each keyset under way stands, with its generations: two rotations of one keyset have different ones.
fn phases(rotation: &ClusterRotation) -> Vec<String> {
    let about = rotation.keysets.iter().filter(|one| one.phase != Phase::Steady);
    let line = |one: &super::KeysetRotation| {
        let states: Vec<String> =
            one.states.iter().map(|(generation, state)| format!("{generation} {state}")).collect();
        format!("{} {} ({})", one.keyset, one.phase.as_str(), states.join(", "))
    };
    about.map(line).collect()
}

/// In an emergency nodes get what promoting and distrusting take at once, stage by stage over all nodes. What a script brings
/// of it, the last phase on one node, would leave that node with the new trust and the old leaves.
fn refuse_emergency(repository: &Repository, cluster: &ClusterName) -> Result<(), Failure> {
    for keyset in keysets(repository, cluster) {
        let position = Position::of(repository, cluster, keyset)?;
        // Records come after what they saw, and the last word counts: what was promoted in an emergency may have been undone,
        // and promoted again in peace.
        let in_emergency = |generation: Generation, state: State| {
            let records = repository.verified.log.counted().map(|(_, logged)| &logged.record);
            let set = records.filter(|record| {
                record.phase.iter().any(|one| {
                    (&one.cluster, one.keyset, one.generation, one.state) == (cluster, keyset, generation, state)
                })
            });
            set.last().is_some_and(|record| record.command.ends_with("--emergency"))
        };
        let promoted = || in_emergency(position.issuing, State::Issuing);
        let distrusted = || position.with(State::Distrusted).max();
        let phase = position.phase();
        if match phase {
            Phase::Promoted => promoted(),
            Phase::Distrusted => promoted() || distrusted().is_some_and(|one| in_emergency(one, State::Distrusted)),
            Phase::Steady | Phase::Staged | Phase::Trusted => false,
        } {
            let what = format!(
                "{cluster}/{keyset} was {} in an emergency: what nodes get then comes in stages, each on all of them before \
                 the next, and a script for one node would do half of it",
                phase.as_str()
            );
            return Err(Failure::refused(what).help(Remedy::Kluis(format!("rotate status --emergency -c {cluster}"))));
        }
    }
    Ok(())
}

/// The bundles that a node has to have before this phase begins, as sets: those of CAs whose leaves go in.
fn bundles_of_before(repository: &Repository, cluster: &ClusterName, node: &Node) -> Result<Vec<String>, Failure> {
    let mut bundles = Vec::new();
    for (path, part) in public_parts(node) {
        let Part::Bundle(keyset) = part else { continue };
        let position = Position::of(repository, cluster, keyset)?;
        if steps::on_nodes(position.phase(), position.went_back) == Phase::Promoted {
            bundles.push(path);
        }
    }
    Ok(bundles)
}
