//! An emergency: somebody forges with keys that leaked. What nodes get in one round after `distrust`, in the order that
//! cuts a forger off first, with each process restarted once, and what stops working by it (kubernetes-pki C.4).
//!
//! Whom API servers let in follows one file, without a restart; so that file goes first, everywhere. What is presented to
//! clients follows where they trust it already (a generation kept for an emergency), and else with the restarts.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::super::cert::config;
use super::super::failure::Failure;
use super::super::session::Repository;
use super::steps::{self, NodeSteps};
use super::{Phase, Position, keysets, leave_what_stays};
use crate::model::{ClusterName, Distribution, Keyset, Node, Remedy};

/// One stage: it is done on every node before the next begins.
#[derive(Debug, Clone, Serialize)]
pub struct Stage {
    /// What is done, as an order.
    pub what: &'static str,
    /// On these nodes.
    pub nodes: Vec<NodeSteps>,
    /// Whether the processes are stopped on all of these nodes, and started again when all have their files.
    pub together: bool,
    /// What is run once.
    pub run: Option<&'static str>,
    /// What a forger can't do any more.
    pub ends: Option<&'static str>,
    /// What stops working, for whom and until when.
    pub breaks: Vec<&'static str>,
}

/// Whether somebody can forge with a key of this keyset. Whoever has an encryption key can read a stolen copy of etcd.
pub fn forges(keyset: Keyset) -> bool {
    !keyset.is_symmetric()
}

const CONFIGMAP: &str = "kubectl --kubeconfig DIR/admin.conf -n kube-system delete configmap \
                         extension-apiserver-authentication";
const PODS: &str =
    "kubectl --kubeconfig DIR/admin.conf rollout restart deployments,daemonsets,statefulsets -n NAMESPACE";

/// Files that API servers and kubelets follow without a restart, and that nobody has to trust first.
const SHUT: [&str; 4] =
    ["pki/ca.crt", "pki/front-proxy-ca.crt", "pki/front-proxy-client.crt", "pki/front-proxy-client.key"];
/// What API servers present: clients and kubelets have to trust its CA.
const PRESENTED: [&str; 4] =
    ["pki/apiserver.crt", "pki/apiserver.key", "pki/apiserver-kubelet-client.crt", "pki/apiserver-kubelet-client.key"];
const ETCD_CLIENT: [&str; 2] = ["pki/apiserver-etcd-client.crt", "pki/apiserver-etcd-client.key"];
const ETCD_TRUST: &str = "pki/etcd/ca.crt";

/// Refuses an emergency where the stages are not known: they are those of processes and files that kubeadm has. A
/// distribution that takes its files as one has no order in which a forger could be shut out first.
pub fn check(repository: &Repository, name: &ClusterName) -> Result<(), Failure> {
    let distribution = config(repository, name)?.distribution;
    if distribution == Distribution::Kubeadm {
        return Ok(());
    }
    let what = format!(
        "the stages of an emergency are known for kubeadm alone, and cluster {name} runs on {distribution}: take the ordinary \
         steps at once, and bring every node the files of the last one"
    );
    Err(Failure::refused(what).help(Remedy::Kluis(format!("rotate start -c {name}"))))
}

/// The stages for a cluster: for the keysets whose rotation is under way and that can be used to forge.
pub fn stages(repository: &Repository, name: &ClusterName) -> Result<Vec<Stage>, Failure> {
    check(repository, name)?;
    let mut positions = BTreeMap::new();
    for keyset in keysets(repository, name).into_iter().filter(|keyset| forges(*keyset)) {
        let position = Position::of(repository, name, keyset)?;
        if position.phase() != Phase::Steady {
            positions.insert(keyset, position);
        }
    }
    // What somebody distrusted before the emergency, step by step, is done on nodes in its own time.
    let is_over = |position: &Position| position.phase() == Phase::Distrusted && !position.is_emergency();
    let all_over = positions.values().all(is_over);
    let about = positions.into_iter().filter(|(_, position)| all_over || !is_over(position));
    let about = about.map(|(keyset, position)| (keyset, position.trusted_before)).collect();
    let mut stages = of(&config(repository, name)?.nodes, &about);
    let nodes = stages.iter_mut().flat_map(|stage| &mut stage.nodes);
    nodes.for_each(|steps| leave_what_stays(repository, name, steps));
    Ok(stages)
}

/// What stops working where these keysets go through an emergency that nothing was prepared for.
pub fn breaks(keysets: &BTreeSet<Keyset>) -> Vec<&'static str> {
    let stages = of(&[], &keysets.iter().map(|keyset| (*keyset, false)).collect());
    stages.into_iter().flat_map(|stage| stage.breaks).collect()
}

/// The stages for these nodes and keysets, each with whether nodes and clients trust its new generation already.
fn of(nodes: &[Node], about: &BTreeMap<Keyset, bool>) -> Vec<Stage> {
    let has = |wanted: &[Keyset]| about.keys().any(|keyset| wanted.contains(keyset));
    let (main, etcd) = (has(&[Keyset::Kubernetes, Keyset::KubernetesClient]), has(&[Keyset::Etcd, Keyset::EtcdPeer]));
    let tokens = has(&[Keyset::ServiceAccount]);
    let trusted = |wanted: &[Keyset]| about.iter().all(|(keyset, before)| *before || !wanted.contains(keyset));
    let main_trusted = trusted(&[Keyset::Kubernetes, Keyset::KubernetesClient]);
    let etcd_trusted = trusted(&[Keyset::Etcd, Keyset::EtcdPeer]);
    let mut left = Left::of(nodes, about);
    let mut stages = Vec::new();

    let shut = |file: &str| SHUT.contains(&file) || main_trusted && PRESENTED.contains(&file);
    let mut stage =
        Stage::new("let API servers, controller-managers and kubelets of control planes trust the new CA alone");
    stage.nodes = left.take(true, shut, None);
    if main {
        stage.ends = Some("forged certificates at API servers and controller-managers");
        stage.breaks.push(
            "kubelets, controller-managers, schedulers and people with certificates of the former CA are refused until they \
             have new ones; running pods go on, and nothing new is scheduled",
        );
    }
    stages.push(stage);

    let mut configmap =
        Stage::new("once every API server has those files, make the ConfigMap anew that the scheduler believes");
    configmap.run = (main || has(&[Keyset::FrontProxy])).then_some(CONFIGMAP);
    // Its watch, begun before, tells the scheduler. Where API servers were restarted it is refused, and hears no more.
    let scheduler = main.then_some("forged certificates at schedulers");
    configmap.ends = scheduler.filter(|_| main_trusted);
    let late = if main_trusted {
        stages.push(configmap);
        None
    } else {
        Some(configmap)
    };

    // Where etcd's CA stays as it is, both are empty.
    if etcd_trusted {
        let mut stage = Stage::new("give etcd and its clients their new certificates");
        stage.nodes = left.take(false, |file| is_etcd(file) && file != ETCD_TRUST, None);
        stages.push(stage);
        let mut stage =
            Stage::new("let etcd trust the new CA alone, one member after the other, each healthy before the next");
        stage.nodes = left.take(false, |file| file == ETCD_TRUST, Some("etcd"));
        stage.ends = etcd.then_some("forged certificates at etcd");
        stages.push(stage);
    } else {
        let mut stage = Stage::new(
            "stop etcd on all of these (kubeadm: move etcd.yaml out of manifests), give each its files, and start all again",
        );
        stage.nodes = left.take(false, is_etcd, Some("etcd"));
        stage.together = true;
        stage.ends = Some("forged certificates at etcd");
        stage.breaks.push("the API answers nothing from when etcd is stopped until API servers were restarted");
        stages.push(stage);
    }

    let mut stage = Stage::new("restart API servers, one after the other");
    stage.nodes = left.take(true, |file| file.starts_with("pki/") && !is_ca_key(file), Some("kube-apiserver"));
    stage.ends = tokens.then_some("forged service-account tokens");
    if tokens {
        stage
            .breaks
            .push("every service-account token is void: pods that call the API are refused until they are restarted, and those in \
             Secrets until these are made anew");
    }
    if main && !main_trusted {
        stage.breaks.push(
            "who trusts the former CA alone can't reach the API: pods, people and nodes until they have the new one",
        );
    }
    stages.push(stage);
    stages.extend(late);

    let mut stage =
        Stage::new("restart kubelets, so that nodes report again: within five minutes their pods are left alone");
    stage.nodes = left.take(
        false,
        |file| !file.starts_with("pki/") && !steps::CONFS.contains(&file) || file == "pki/ca.crt",
        Some("kubelet"),
    );
    stage.ends = main.then_some("forged certificates at kubelets");
    stages.push(stage);

    let mut stage = Stage::new("restart controller-managers and schedulers");
    stage.nodes = left.rest();
    stage.ends = scheduler.filter(|_| !main_trusted);
    stages.push(stage);

    let mut pods = Stage::new("restart pods that call the API, or that read their CA once");
    pods.run = (main || tokens).then_some(PODS);
    stages.push(pods);
    stages.retain(|stage| nodes.is_empty() || !stage.nodes.is_empty() || stage.run.is_some());
    stages
}

fn is_etcd(file: &str) -> bool {
    file.starts_with("pki/etcd/") || ETCD_CLIENT.contains(&file)
}

fn is_ca_key(file: &str) -> bool {
    file.ends_with("ca.key") || file == "pki/ca-signing.crt"
}

impl Stage {
    fn new(what: &'static str) -> Self {
        Self { what, nodes: Vec::new(), together: false, run: None, ends: None, breaks: Vec::new() }
    }
}

/// What is left to do on each node.
struct Left<'a> {
    nodes: Vec<(&'a Node, NodeSteps)>,
}

impl<'a> Left<'a> {
    /// All that promoting and distrusting take, at once.
    fn of(nodes: &'a [Node], about: &BTreeMap<Keyset, bool>) -> Self {
        let both = about.keys().flat_map(|keyset| [(*keyset, Phase::Promoted), (*keyset, Phase::Distrusted)]);
        let both: Vec<_> = both.collect();
        Self { nodes: nodes.iter().map(|node| (node, steps::on_node(node, &both))).collect() }
    }

    /// Takes the files of a stage, and its process where there is one, on every node, or on control planes alone.
    fn take(&mut self, control_planes: bool, files: impl Fn(&str) -> bool, process: Option<&str>) -> Vec<NodeSteps> {
        let mut taken = Vec::new();
        for (node, left) in &mut self.nodes {
            if control_planes && !steps::is_control_plane(node) {
                continue;
            }
            let (copy, rest) = left.copy.drain(..).partition(|file| files(file));
            left.copy = rest;
            let (restart, rest) = left.restart.drain(..).partition(|one| Some(*one) == process);
            left.restart = rest;
            taken.push(NodeSteps { copy, restart, ..NodeSteps::nothing(left.node.clone()) });
        }
        taken.retain(|steps| !steps.copy.is_empty() || !steps.restart.is_empty());
        taken
    }

    fn rest(self) -> Vec<NodeSteps> {
        let left = self.nodes.into_iter().map(|(_, steps)| steps);
        left.filter(|steps| !steps.copy.is_empty() || !steps.restart.is_empty() || !steps.copy_ca_keys.is_empty())
            .collect()
    }
}
