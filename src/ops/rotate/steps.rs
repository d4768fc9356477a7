//! What to do on which node in each phase, and what to check before the next: from what was measured on real control
//! planes (kubernetes-pki C.3 and C.4). Pure: knows keysets, phases and roles, and no file of any node.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{Phase, elsewhere};
use crate::model::{Distribution, Keyset, Node, NodeName, Role};

/// What has to be true before a rotation goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gate {
    /// Its name, for `--confirm` and the record.
    pub name: &'static str,
    /// What whoever confirms it has seen, as a clause.
    pub what: &'static str,
}

/// What to do on one node, in this order: copy, then restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeSteps {
    /// The node.
    pub node: NodeName,
    /// Files of its export, below /etc/kubernetes (of `kubelet/` below /var/lib/kubelet/pki).
    pub copy: Vec<&'static str>,
    /// Files of an export with `--with-ca-keys`, for a node that has them: the controller-manager goes on signing with the
    /// former CA otherwise.
    pub copy_ca_keys: Vec<&'static str>,
    /// What is run on it, before it restarts, where files alone are not what its distribution takes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub run: Vec<&'static str>,
    /// Processes to restart, one after the other.
    pub restart: Vec<&'static str>,
}

impl NodeSteps {
    /// Nothing to do there.
    pub fn nothing(node: NodeName) -> Self {
        Self { node, copy: Vec::new(), copy_ca_keys: Vec::new(), run: Vec::new(), restart: Vec::new() }
    }

    /// Whether there is nothing to do.
    pub fn is_nothing(&self) -> bool {
        self.copy.is_empty() && self.copy_ca_keys.is_empty() && self.run.is_empty() && self.restart.is_empty()
    }
}

pub(super) const BUNDLE: Gate = Gate {
    name: "nodes-have-bundle",
    what: "every node has the files of this phase, and what is to be restarted was restarted",
};
const LEAVES: Gate = Gate {
    name: "nodes-have-leaves",
    what: "every node has the files of this phase, and serves and calls with the new certificates",
};
// API servers show the next CA's leaves a second after the files arrive: who trusts the former CA alone is out then.
const CLIENTS_TRUST: Gate = Gate {
    name: "clients-have-bundle",
    what: "people and other clients have kubeconfigs with both CAs; so do pods (kube-root-ca.crt in every namespace; \
           programs that read it once were restarted) and cluster-info in kube-public",
};
const VERIFIERS: Gate = Gate {
    name: "verifiers-have-key",
    what: "whoever verifies tokens besides the API servers has read the new key: they may cache keys for an hour",
};
const CLIENTS: Gate = Gate {
    name: "clients-moved",
    what: "people, pods and other clients have kubeconfigs with both CAs, and certificates of the one that issues",
};
const TOKENS: Gate = Gate {
    name: "tokens-renewed",
    what: "no token of the key that signs no more is in use: bound tokens live an hour, those of old client libraries a \
           year, and those in secrets until the secret is made anew",
};
// The EncryptionConfiguration of the exports covers both kinds.
pub(super) const REWRITTEN: Gate = Gate {
    name: "secrets-rewritten",
    what: "all secrets and config maps were written again: kubectl get secrets,configmaps -A -o json | kubectl replace -f - \
           (again, where one was changed in between)",
};
const NEW_ONLY: Gate = Gate {
    name: "nodes-have-new-only",
    what: "every node has the files of this phase, and no other trusts the former one",
};
const CONFIGMAP: Gate = Gate {
    name: "configmap-renewed",
    what: "every API server has the new CA alone, and then the ConfigMap extension-apiserver-authentication in kube-system was \
           deleted: it never drops a CA by itself",
};
const JOINS: Gate = Gate {
    name: "nodes-have-token",
    what: "every machine has the new join token in its configuration, and was restarted with it",
};
const BACKUPS: Gate =
    Gate { name: "backups-readable", what: "no backup of etcd that is still wanted needs the former key" };

/// What has to be left alone while two generations of a CA are trusted (kubernetes-pki A.2, C.3).
const FREEZE: &str = "until it is over, leave kubeadm certs renew, kubeadm upgrade and kubeadm join alone on nodes that have a CA key: \
                      they take the first certificate of a bundle and drop the rest";

/// What not to do in this phase of a keyset.
pub fn caution(distribution: Distribution, keyset: Keyset, phase: Phase) -> Option<&'static str> {
    if distribution != Distribution::Kubeadm {
        return elsewhere::caution(distribution, keyset, phase);
    }
    (keyset.is_ca() && matches!(phase, Phase::Trusted | Phase::Promoted)).then_some(FREEZE)
}

/// The gates between `phase` and the next one, for a keyset.
pub fn gates(keyset: Keyset, phase: Phase) -> Vec<Gate> {
    let main = matches!(keyset, Keyset::Kubernetes | Keyset::KubernetesClient);
    match (phase, keyset) {
        // Nothing can be shown two tokens to choose from: before, nodes have the former ones.
        (Phase::Promoted, Keyset::Tokens) => vec![JOINS],
        (_, Keyset::Tokens) => Vec::new(),
        (Phase::Trusted, Keyset::ServiceAccount) => vec![BUNDLE, VERIFIERS],
        (Phase::Trusted, _) if main => vec![BUNDLE, CLIENTS_TRUST],
        (Phase::Trusted, _) => vec![BUNDLE],
        (Phase::Promoted, Keyset::ServiceAccount) => vec![LEAVES, TOKENS],
        (Phase::Promoted, Keyset::Encryption) => vec![LEAVES, REWRITTEN],
        (Phase::Promoted, _) if main => vec![LEAVES, CLIENTS],
        (Phase::Promoted, _) => vec![LEAVES],
        (Phase::Distrusted, Keyset::Encryption) => vec![NEW_ONLY, BACKUPS],
        (Phase::Distrusted, Keyset::FrontProxy) => vec![NEW_ONLY, CONFIGMAP],
        (Phase::Distrusted, _) if main => vec![NEW_ONLY, CONFIGMAP],
        (Phase::Distrusted, _) => vec![NEW_ONLY],
        _ => Vec::new(),
    }
}

/// Every gate that there is.
pub const ALL: [Gate; 11] =
    [BUNDLE, CLIENTS_TRUST, VERIFIERS, LEAVES, CLIENTS, TOKENS, REWRITTEN, NEW_ONLY, CONFIGMAP, BACKUPS, JOINS];

/// The gates before an `undo` of `phase`. A generation that has issued and is to be trusted no more is left as any other
/// that retires: what was signed, issued or encrypted with it would be worth nothing.
pub fn gates_back(keyset: Keyset, phase: Phase, has_issued: bool) -> Vec<Gate> {
    if phase == Phase::Trusted && has_issued { gates(keyset, Phase::Promoted) } else { Vec::new() }
}

/// The phase by which nodes get their files: back from issuing, leaves and signing keys change again; back from trust, the
/// bundles shrink again.
pub fn on_nodes(phase: Phase, went_back: bool) -> Phase {
    match phase {
        Phase::Trusted if went_back => Phase::Promoted,
        Phase::Staged if went_back => Phase::Distrusted,
        phase => phase,
    }
}

/// Processes in the order in which they are restarted: what others need comes first.
const ORDER: [&str; 5] = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet"];

pub(super) const CONFS: [&str; 3] = ["admin.conf", "controller-manager.conf", "scheduler.conf"];

/// What a node gets in this phase of one keyset.
fn of_keyset(keyset: Keyset, phase: Phase, control_plane: bool, etcd: bool) -> (Vec<&'static str>, Vec<&'static str>) {
    let leaves = phase == Phase::Promoted;
    let (mut copy, mut restart) = (Vec::new(), Vec::new());
    match keyset {
        Keyset::Kubernetes | Keyset::KubernetesClient => {
            copy.extend(["pki/ca.crt", "kubelet.conf"]);
            restart.push("kubelet");
            if leaves {
                copy.extend(["kubelet/kubelet.crt", "kubelet/kubelet.key"]);
            }
            if control_plane {
                copy.extend(CONFS);
                // kubeadm mounts both files by themselves: a new one is seen by a new container alone.
                restart.extend(["kube-controller-manager", "kube-scheduler"]);
                if !leaves {
                    // It verifies kubelets by what it read at its start, up to 1.35, and from 1.36 on by what it read up to
                    // five minutes ago. Whom it lets in follows the file at once.
                    restart.push("kube-apiserver");
                }
            }
            if control_plane && leaves {
                copy.extend([
                    "pki/apiserver.crt",
                    "pki/apiserver.key",
                    "pki/apiserver-kubelet-client.crt",
                    "pki/apiserver-kubelet-client.key",
                ]);
            }
        }
        Keyset::Etcd | Keyset::EtcdPeer if leaves => {
            if control_plane {
                copy.extend(["pki/apiserver-etcd-client.crt", "pki/apiserver-etcd-client.key"]);
            }
            if control_plane || etcd {
                // Only the order is new: kubeadm holds leaves against the first.
                copy.push("pki/etcd/ca.crt");
            }
            if etcd {
                copy.extend([
                    "pki/etcd/server.crt",
                    "pki/etcd/server.key",
                    "pki/etcd/peer.crt",
                    "pki/etcd/peer.key",
                    "pki/etcd/healthcheck-client.crt",
                    "pki/etcd/healthcheck-client.key",
                ]);
            }
        }
        Keyset::Etcd | Keyset::EtcdPeer if control_plane || etcd => {
            // Neither etcd nor the API server reads this file again.
            copy.push("pki/etcd/ca.crt");
            if etcd {
                restart.push("etcd");
            }
            if control_plane {
                restart.push("kube-apiserver");
            }
        }
        Keyset::FrontProxy if control_plane && leaves => {
            copy.extend(["pki/front-proxy-ca.crt", "pki/front-proxy-client.crt", "pki/front-proxy-client.key"]);
        }
        Keyset::FrontProxy if control_plane => copy.push("pki/front-proxy-ca.crt"),
        Keyset::ServiceAccount if control_plane => {
            copy.push("pki/sa.pub");
            restart.push("kube-apiserver");
            if leaves {
                copy.push("pki/sa.key");
                restart.push("kube-controller-manager");
            }
        }
        Keyset::Encryption if control_plane => {
            copy.push("pki/encryption-config.yaml");
            restart.push("kube-apiserver");
        }
        _ => {}
    }
    (copy, restart)
}

/// What a node with CA keys gets besides, where another CA issues from now on.
fn ca_keys(keyset: Keyset, phase: Phase, control_plane: bool, etcd: bool) -> &'static [&'static str] {
    match keyset {
        _ if phase != Phase::Promoted => &[],
        Keyset::Kubernetes if control_plane => &["pki/ca-signing.crt", "pki/ca.key"],
        Keyset::Etcd if control_plane && etcd => &["pki/etcd/ca.key"],
        Keyset::FrontProxy if control_plane => &["pki/front-proxy-ca.key"],
        _ => &[],
    }
}

/// Whether a node runs an API server.
pub(super) fn is_control_plane(node: &Node) -> bool {
    node.roles.contains(&Role::ControlPlane)
}

/// What to do on `node` of kubeadm, for keysets that entered these phases.
pub fn on_node(node: &Node, keysets: &[(Keyset, Phase)]) -> NodeSteps {
    let (control_plane, etcd) = (is_control_plane(node), node.roles.contains(&Role::Etcd));
    let (mut copy, mut keys, mut restart): (BTreeSet<&str>, BTreeSet<&str>, BTreeSet<&str>) = Default::default();
    let about =
        keysets.iter().filter(|(_, phase)| matches!(phase, Phase::Trusted | Phase::Promoted | Phase::Distrusted));
    for (keyset, phase) in about {
        let (files, processes) = of_keyset(*keyset, *phase, control_plane, etcd);
        copy.extend(files);
        keys.extend(ca_keys(*keyset, *phase, control_plane, etcd));
        restart.extend(processes);
    }
    let restart = ORDER.into_iter().filter(|process| restart.contains(process)).collect();
    let mut steps = NodeSteps::nothing(node.name.clone());
    steps.copy.extend(copy);
    steps.copy_ca_keys.extend(keys);
    steps.restart = restart;
    steps
}

/// What to do on each of `nodes` in their order, for keysets that entered these phases.
pub fn on_nodes_of(nodes: &[Node], distribution: Distribution, keysets: &[(Keyset, Phase)]) -> Vec<NodeSteps> {
    let first = nodes.iter().find(|node| is_control_plane(node)).map(|node| &node.name);
    let steps = nodes.iter().map(|node| match distribution {
        Distribution::Kubeadm => on_node(node, keysets),
        _ => elsewhere::on_node(node, first == Some(&node.name), distribution, keysets),
    });
    steps.filter(|steps| !steps.is_nothing()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(roles: Vec<Role>) -> Node {
        let name = NodeName::parse("cp-1").unwrap();
        let text = "10.0.0.1";
        let addresses = vec![crate::model::Host::parse(text).unwrap()];
        Node { name, roles, addresses, seal_to: None }
    }

    #[test]
    fn trust_never_comes_with_leaves() {
        let node = node(vec![Role::ControlPlane, Role::Etcd]);
        for keyset in [Keyset::Kubernetes, Keyset::Etcd, Keyset::FrontProxy] {
            for phase in [Phase::Trusted, Phase::Distrusted] {
                let steps = on_node(&node, &[(keyset, phase)]);
                assert!(steps.copy.iter().all(|file| !file.ends_with(".key")), "{keyset} {phase:?}: {:?}", steps.copy);
            }
            let steps = on_node(&node, &[(keyset, Phase::Promoted)]);
            assert!(steps.copy.iter().any(|file| file.ends_with(".key")), "{keyset}");
        }
    }

    #[test]
    fn etcd_is_restarted_before_the_api_server_and_only_for_trust() {
        let node = node(vec![Role::ControlPlane, Role::Etcd]);
        let steps = on_node(&node, &[(Keyset::Etcd, Phase::Trusted), (Keyset::Kubernetes, Phase::Trusted)]);
        assert_eq!(steps.restart, ORDER);
        // It verifies kubelets by the main CA as of its start.
        let steps = on_node(&node, &[(Keyset::Kubernetes, Phase::Trusted)]);
        assert!(steps.restart.contains(&"kube-apiserver"), "{:?}", steps.restart);
        assert!(on_node(&node, &[(Keyset::Etcd, Phase::Promoted)]).restart.is_empty());
        let worker = on_node(&self::node(vec![Role::Worker]), &[(Keyset::Etcd, Phase::Trusted)]);
        assert!(worker.copy.is_empty() && worker.restart.is_empty());
    }

    #[test]
    fn what_an_undo_took_back_is_taken_back_on_nodes() {
        let node = node(vec![Role::ControlPlane, Role::Etcd]);
        for keyset in [Keyset::Kubernetes, Keyset::Etcd, Keyset::FrontProxy, Keyset::ServiceAccount] {
            let back = |phase| on_node(&node, &[(keyset, on_nodes(phase, true))]);
            assert!(back(Phase::Trusted).copy.iter().any(|file| file.ends_with(".key")), "{keyset}: leaves again");
            assert!(!back(Phase::Staged).copy.is_empty(), "{keyset}: bundles again");
            assert!(on_node(&node, &[(keyset, on_nodes(Phase::Staged, false))]).copy.is_empty(), "{keyset}");
        }
        assert!(gates_back(Keyset::Encryption, Phase::Trusted, true).contains(&REWRITTEN));
        assert!(gates_back(Keyset::Encryption, Phase::Trusted, false).is_empty());
        assert!(gates_back(Keyset::Encryption, Phase::Promoted, true).is_empty());
    }

    #[test]
    fn clients_trust_both_before_any_server_shows_a_new_leaf() {
        assert!(gates(Keyset::Kubernetes, Phase::Trusted).contains(&CLIENTS_TRUST));
        assert!(gates(Keyset::ServiceAccount, Phase::Trusted).contains(&VERIFIERS));
    }

    #[test]
    fn ca_keys_follow_the_generation_that_issues() {
        let node = node(vec![Role::ControlPlane]);
        let keys = |phase| on_node(&node, &[(Keyset::Kubernetes, phase), (Keyset::Etcd, phase)]).copy_ca_keys;
        assert_eq!(keys(Phase::Promoted), ["pki/ca-signing.crt", "pki/ca.key"]);
        assert!(keys(Phase::Trusted).is_empty() && keys(Phase::Distrusted).is_empty());
    }

    #[test]
    fn gates_have_names_of_their_own() {
        let names: BTreeSet<&str> = ALL.iter().map(|gate| gate.name).collect();
        assert_eq!(names.len(), ALL.len());
        for keyset in Keyset::ALL {
            for phase in [Phase::Trusted, Phase::Promoted, Phase::Distrusted] {
                assert!(gates(*keyset, phase).iter().all(|gate| ALL.contains(gate)));
            }
        }
    }
}
