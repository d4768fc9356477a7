//! Clusters of every distribution, run in process: what each has, how it is rotated, and what can't be.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod ground;

use ground::Ground;
use kluis::model::{ClusterName, Keyset, Place};

const NODES: &str = "--node s-1=10.0.0.11:control-plane,etcd --node s-2=10.0.0.12:control-plane,etcd \
    --node a-1=10.0.0.21:worker";

/// A repository with the cluster `edge` of this distribution.
fn edge(distribution: &str) -> Ground {
    let ground = Ground::new(&["alice"], 1, 1);
    let words = format!(
        "cluster new edge --distribution {distribution} --endpoint https://edge.example.org:6443 --kubernetes 1.36 \
         {NODES} --yes"
    );
    ground.run("alice", &words).ends(0);
    assert_eq!(ground.errors(), [""; 0], "{distribution}");
    ground
}

fn cluster() -> ClusterName {
    ClusterName::parse("edge").unwrap()
}

fn keysets(ground: &Ground) -> Vec<Keyset> {
    let verified = ground.verified();
    verified.current.states.keys().filter(|(name, _)| *name == cluster()).map(|(_, keyset)| *keyset).collect()
}

#[test]
fn each_distribution_has_its_keysets_and_certificates_of_people_everywhere() {
    use Keyset::{Encryption, Etcd, EtcdPeer, FrontProxy, Kubernetes, KubernetesClient, ServiceAccount, Talos, Tokens};
    let three = vec![Kubernetes, Etcd, FrontProxy, ServiceAccount, Encryption];
    let five = vec![Kubernetes, KubernetesClient, Etcd, EtcdPeer, FrontProxy, ServiceAccount, Tokens];
    let talos = vec![Kubernetes, Etcd, FrontProxy, Talos, ServiceAccount, Encryption, Tokens];
    for (distribution, has, leaves) in [
        ("kubeadm", three.clone(), 26),
        ("k0s", three, 26),
        ("k3s", five.clone(), 0),
        ("rke2", five, 0),
        ("talos", talos, 0),
    ] {
        let ground = edge(distribution);
        assert_eq!(keysets(&ground), has, "{distribution}");
        let of_nodes = |place: &&Place| matches!(place, Place::NodeCert(..));
        assert_eq!(ground.verified().current.leaves.keys().filter(of_nodes).count(), leaves, "{distribution}");
        ground.run("alice", "cluster apply -c edge --yes").ends(0).says("nothing to do");
        ground.run("alice", "status").ends(0);
        ground.run("alice", "cluster show edge").ends(0).says(distribution);
        ground.run("alice", "cert renew -c edge --yes").ends(0);
        ground.run("alice", "cert issue client -c edge --group kluis:admins").ends(0);
        ground.run("alice", "cert issue break-glass -c edge --reason drill").ends(0);
        ground.run("alice", "kubeconfig -c edge").ends(0);
        ground.run("alice", "lint -c edge").ends(0);
        ground.run("alice", "exposure alice").ends(0);
        assert_eq!(ground.errors(), [""; 0], "{distribution}");
    }
}

#[test]
fn a_distribution_that_makes_its_leaves_gets_none_from_here() {
    let ground = edge("k3s");
    let before = ground.tree();
    ground
        .run("alice", "cert issue apiserver -c edge --node s-1 --yes")
        .ends(2)
        .says("makes the certificates of node s-1");
    ground
        .edit("clusters/edge/cluster.toml", |text| text.replace("name_constraints = false", "name_constraints = true"));
    ground.run("alice", "cluster apply -c edge --yes").ends(2).says("leave name_constraints out");
    ground
        .edit("clusters/edge/cluster.toml", |text| text.replace("name_constraints = true", "name_constraints = false"));
    assert!(ground.tree() == before);
}

#[test]
fn service_account_keys_are_rsa_where_the_distribution_wants_that() {
    for (distribution, rsa) in [("k3s", true), ("rke2", true), ("k0s", true), ("talos", false)] {
        let ground = edge(distribution);
        let length = ground.read("clusters/edge/sa/g1.pub").len();
        assert_eq!(length > 400, rsa, "{distribution}: {length}");
        ground.run("alice", "rotate start -c edge --yes").ends(0);
        if rsa {
            assert!(ground.read("clusters/edge/sa/g2.pub").len() > 400, "{distribution}");
        }
        assert_eq!(ground.errors(), [""; 0], "{distribution}");
    }
}

#[test]
fn join_tokens_are_sealed_by_their_names_and_replaced_where_that_can_be() {
    let ground = edge("k3s");
    let server = ground.run("alice", "open -c edge tokens/server --yes").ends(0).out;
    assert!(server.contains("KLUIS SYMMETRIC KEY"), "{server}");
    ground.run("alice", "open -c edge tokens/agent --yes").ends(0);
    ground.run("alice", "rotate start tokens -c edge --yes").ends(0).says("made edge/tokens g2");
    ground.run("alice", "rotate trust tokens -c edge --yes").ends(0);
    ground.run("alice", "rotate promote tokens -c edge --yes").ends(0);
    ground.run("alice", "rotate status -c edge").ends(0).says("k3s token rotate").says("nodes-have-token");
    assert_ne!(ground.run("alice", "open -c edge tokens/server --yes").ends(0).out, server);
    ground.run("alice", "rotate distrust tokens -c edge --yes --confirm nodes-have-token").ends(0);
    ground.run("alice", "rotate remove tokens -c edge --yes").ends(0);
    assert_eq!(ground.errors(), [""; 0]);
}

#[test]
fn what_talos_cant_trust_twice_is_refused_with_the_reason() {
    let ground = edge("talos");
    let before = ground.tree();
    for (keyset, why) in [
        ("etcd", "acceptedCAs"),
        ("front-proxy", "acceptedCAs"),
        ("service-account", "one service-account key"),
        ("encryption", "one encryption key"),
        ("tokens", "no command"),
    ] {
        ground.run("alice", &format!("rotate start {keyset} -c edge --yes")).ends(3).says(why);
    }
    assert!(ground.tree() == before);
    let started = ground.run("alice", "rotate start -c edge --yes").ends(0).says("made edge/talos g2");
    let started = started.says("made edge/kubernetes g2").says("edge/etcd: a Talos machine configuration");
    assert!(!started.out.contains("made edge/etcd"), "{}", started.out);
    ground.run("alice", "rotate trust -c edge --yes").ends(0);
    ground.run("alice", "rotate status -c edge").ends(0).says("talosctl").says("kube-root-ca.crt goes from");
}

#[test]
fn an_emergency_has_stages_for_kubeadm_alone() {
    for distribution in ["k3s", "talos", "k0s"] {
        let ground = edge(distribution);
        let before = ground.tree();
        ground.run("alice", "rotate start -c edge --emergency --yes").ends(3).says("kubeadm alone");
        ground.run("alice", "rotate status -c edge --emergency").ends(3).says("kubeadm alone");
        assert!(ground.tree() == before, "{distribution}");
    }
}

#[test]
fn every_phase_says_what_to_do_where() {
    for (distribution, trusted, distrusted) in [
        ("k3s", "k3s certificate rotate-ca --path=DIR", "--force"),
        ("rke2", "rke2 certificate rotate-ca --path=DIR", "--force"),
        ("k0s", "k0scontroller", "k0sworker"),
    ] {
        let ground = edge(distribution);
        ground.run("alice", "rotate start -c edge --yes").ends(0);
        ground.run("alice", "rotate trust -c edge --yes").ends(0);
        ground.run("alice", "rotate status -c edge").ends(0).says(trusted);
        ground.run("alice", "rotate promote -c edge --yes").ends(0);
        ground.run("alice", "rotate status -c edge").ends(0);
        let confirmed = "--confirm nodes-have-leaves --confirm clients-moved --confirm secrets-rewritten";
        ground.run("alice", &format!("rotate distrust -c edge --yes {confirmed}")).ends(0);
        ground.run("alice", "rotate status -c edge").ends(0).says(distrusted);
        ground.run("alice", "rotate remove -c edge --yes").ends(0);
        assert_eq!(ground.errors(), [""; 0], "{distribution}");
        ground.run("alice", "rotate script -c edge --node s-1").ends(3).says(distribution);
        ground.run("alice", "rotate check -c edge --node s-1 --files /").ends(3).says(distribution);
    }
}
