//! What to do on a node in each phase, where another distribution than kubeadm runs it. They take the files of an export as
//! one, by a command or at a restart of their service, and restart their components themselves; so there is no list of
//! files and processes as for kubeadm, and the whole export goes with each phase (kubernetes-pki B and C.2).

use super::Phase;
use super::steps::NodeSteps;
use crate::model::{Distribution, Keyset, Node, Role};

/// What to do on `node` for keysets that entered these phases; `first` is whether it is the first of the control plane, on
/// which what concerns the whole cluster is run.
pub(super) fn on_node(node: &Node, first: bool, distribution: Distribution, keysets: &[(Keyset, Phase)]) -> NodeSteps {
    let mut steps = NodeSteps::nothing(node.name.clone());
    let moves = |phase: &Phase| matches!(phase, Phase::Trusted | Phase::Promoted | Phase::Distrusted);
    let about: Vec<&(Keyset, Phase)> = keysets.iter().filter(|(_, phase)| moves(phase)).collect();
    if about.is_empty() {
        return steps;
    }
    let of = |wanted: fn(Keyset) -> bool, phase: Option<Phase>| {
        about.iter().any(|(keyset, at)| wanted(*keyset) && phase.is_none_or(|phase| phase == *at))
    };
    let control_plane = node.roles.contains(&Role::ControlPlane);
    let etcd = node.roles.contains(&Role::Etcd);
    let tokens = of(|keyset| keyset == Keyset::Tokens, Some(Phase::Promoted));
    let files = of(|keyset| keyset != Keyset::Tokens, None);
    let leaves = of(Keyset::is_ca, Some(Phase::Promoted));
    let distrusts = of(|keyset| keyset != Keyset::Tokens, Some(Phase::Distrusted));
    match distribution {
        Distribution::Kubeadm => {}
        Distribution::K3s | Distribution::Rke2 => {
            let k3s = distribution == Distribution::K3s;
            let (server, agent) = if k3s { ("k3s", "k3s-agent") } else { ("rke2-server", "rke2-agent") };
            let runs_server = control_plane || etcd;
            if runs_server && files && first {
                steps.copy.push("tls/");
                steps.run.push(match (k3s, distrusts) {
                    (true, false) => "k3s certificate rotate-ca --path=DIR",
                    (true, true) => "k3s certificate rotate-ca --path=DIR --force",
                    (false, false) => "rke2 certificate rotate-ca --path=DIR",
                    (false, true) => "rke2 certificate rotate-ca --path=DIR --force",
                });
            }
            if tokens {
                steps.copy.push("config.yaml.d/kluis.yaml");
            }
            if tokens && runs_server && first {
                steps.run.push(match k3s {
                    true => "k3s token rotate --token FORMER --new-token NEW",
                    false => "rke2 token rotate --token FORMER --new-token NEW",
                });
            }
            if leaves {
                // It goes on with a leaf as long as any CA of the bundle vouches for it.
                steps.run.push(match k3s {
                    true => "k3s certificate rotate, while its service is stopped",
                    false => "rke2 certificate rotate, while its service is stopped",
                });
            }
            if files || tokens {
                steps.restart.push(if runs_server { server } else { agent });
            }
        }
        Distribution::K0s => {
            if control_plane || etcd {
                steps.copy.push("pki/");
                steps.restart.push("k0scontroller");
            } else if of(|keyset| keyset == Keyset::Kubernetes, None) {
                steps.copy.extend(["kubelet.conf", "pki/ca.crt"]);
                steps.restart.push("k0sworker");
            }
        }
        Distribution::Talos => {
            let patch = if control_plane { "patch-controlplane.yaml" } else { "patch-worker.yaml" };
            steps.copy.push(patch);
            steps.run.push(match control_plane {
                true => "talosctl -n NODE patch machineconfig --patch @DIR/patch-controlplane.yaml",
                false => "talosctl -n NODE patch machineconfig --patch @DIR/patch-worker.yaml",
            });
        }
    }
    steps
}

/// What not to do while two generations are trusted.
pub(super) fn caution(distribution: Distribution, keyset: Keyset, phase: Phase) -> Option<&'static str> {
    let under_way = matches!(phase, Phase::Trusted | Phase::Promoted | Phase::Distrusted);
    match distribution {
        _ if !under_way => None,
        Distribution::K3s | Distribution::Rke2 if keyset == Keyset::Kubernetes => Some(
            "tokens of the form K10HASH::... have the hash of the server CA in them and are void from promoted on: let machines join \
             with the token of the export, which has none",
        ),
        Distribution::K3s | Distribution::Rke2 if keyset == Keyset::Tokens => Some(
            "FORMER and NEW are the server tokens of both generations (kluis open tokens.gN/server); every machine needs its new \
             config.yaml.d/kluis.yaml before its next start",
        ),
        Distribution::Talos if keyset == Keyset::Kubernetes => Some(
            "controller-managers of Talos hand out the CA that issues alone: kube-root-ca.crt goes from the former to the new one in \
             promoted and never holds both, so restart pods that call the API then",
        ),
        Distribution::K0s if keyset.is_ca() => Some(
            "k0s itself documents new CAs with a full stop of the cluster alone: take etcd snapshots before trust and distrust, and \
             one controller after the other",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NodeName;

    fn node(roles: &[Role]) -> Node {
        Node { name: NodeName::parse("n-1").unwrap(), roles: roles.to_vec(), addresses: Vec::new(), seal_to: None }
    }

    #[test]
    fn k3s_takes_new_cas_by_one_command_and_drops_one_only_by_force() {
        let server = node(&[Role::ControlPlane, Role::Etcd]);
        let of = |phase, first| on_node(&server, first, Distribution::K3s, &[(Keyset::Kubernetes, phase)]);
        assert_eq!(of(Phase::Trusted, true).run, ["k3s certificate rotate-ca --path=DIR"]);
        assert_eq!(of(Phase::Distrusted, true).run, ["k3s certificate rotate-ca --path=DIR --force"]);
        let others = of(Phase::Trusted, false);
        assert!(others.run.is_empty() && others.copy.is_empty());
        assert_eq!(others.restart, ["k3s"]);
        let promoted = of(Phase::Promoted, false);
        assert_eq!(promoted.run, ["k3s certificate rotate, while its service is stopped"]);
        let agent = on_node(&node(&[Role::Worker]), false, Distribution::Rke2, &[(Keyset::Etcd, Phase::Trusted)]);
        assert_eq!(agent.restart, ["rke2-agent"]);
    }

    #[test]
    fn tokens_change_when_they_are_promoted_and_at_no_other_time() {
        let server = node(&[Role::ControlPlane]);
        let of = |phase| on_node(&server, true, Distribution::K3s, &[(Keyset::Tokens, phase)]);
        assert!(of(Phase::Trusted).run.is_empty() && of(Phase::Trusted).restart.is_empty());
        assert!(of(Phase::Promoted).run[0].starts_with("k3s token rotate"));
        assert_eq!(of(Phase::Promoted).copy, ["config.yaml.d/kluis.yaml"]);
    }

    #[test]
    fn a_worker_of_k0s_has_nothing_of_etcd() {
        let worker = node(&[Role::Worker]);
        let of = |keyset| on_node(&worker, false, Distribution::K0s, &[(keyset, Phase::Trusted)]);
        assert!(of(Keyset::Etcd).restart.is_empty());
        assert_eq!(of(Keyset::Kubernetes).restart, ["k0sworker"]);
    }
}
