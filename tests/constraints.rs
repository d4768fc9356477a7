//! Name constraints of CAs, held against openssl: what they allow, what they keep out, and what a cluster that grows has to do.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod ground;

use std::path::{Path, PathBuf};
use std::process::Command;

use ground::Ground;

const NEW: &str = "cluster new prod --endpoint https://api.prod.example.org:6443 --kubernetes 1.36 \
    --dns-domain prod.example.org --name-constraints --node cp-1=10.0.0.11:control-plane,etcd --node w-1=10.0.0.21:worker --yes";

fn ground() -> Ground {
    let ground = Ground::new(&["alice"], 1, 1);
    ground.run("alice", NEW).ends(0);
    ground
}

fn export(ground: &Ground, words: &str, name: &str) -> PathBuf {
    let out = ground.dir.path().join(name);
    ground.run("alice", &format!("export {words} -c prod --out {}", out.display())).ends(0);
    out
}

/// What `openssl verify` says of a leaf, for a purpose; empty where it is fine.
fn verdict(authority: &Path, leaf: &Path, purpose: &str) -> String {
    let mut openssl = Command::new("openssl");
    let output = openssl
        .args(["verify", "-x509_strict", "-no_check_time", "-purpose", purpose, "-CAfile"])
        .arg(authority)
        .arg(leaf)
        .output()
        .unwrap();
    match output.status.success() {
        true => String::new(),
        false => String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Adds a worker to cluster.toml.
fn grows(ground: &Ground) {
    ground.edit("clusters/prod/cluster.toml", |text| {
        format!("{text}\n[[node]]\nname = \"w-9\"\nroles = [\"worker\"]\naddresses = [\"10.0.0.99\"]\n")
    });
}

#[test]
fn every_certificate_of_the_cluster_is_good_under_them() {
    let ground = ground();
    let out = export(&ground, "kubeadm --node cp-1", "cp-1");
    for (authority, leaf, purpose) in [
        ("pki/ca.crt", "pki/apiserver.crt", "sslserver"),
        ("pki/ca.crt", "pki/apiserver-kubelet-client.crt", "sslclient"),
        ("pki/ca.crt", "kubelet/kubelet.crt", "sslserver"),
        ("pki/etcd/ca.crt", "pki/etcd/server.crt", "sslserver"),
        ("pki/etcd/ca.crt", "pki/etcd/peer.crt", "sslclient"),
        ("pki/etcd/ca.crt", "pki/etcd/healthcheck-client.crt", "sslclient"),
        ("pki/front-proxy-ca.crt", "pki/front-proxy-client.crt", "sslclient"),
    ] {
        assert_eq!(verdict(&out.join(authority), &out.join(leaf), purpose), "", "{leaf}");
    }
    ground.run("alice", "lint -c prod").ends(0);
}

#[test]
fn a_person_whose_name_looks_like_a_host_is_told_apart_from_one() {
    // OpenSSL takes a CN with a dot for a host name where there are no alternative names; Kubernetes does not.
    let ground = Ground::new(&["alice", "erin.smith"], 1, 1);
    ground.run("alice", NEW).ends(0);
    ground.run("alice", "person update erin.smith --keyholder prod --issuer prod").ends(0);
    ground.run("alice", "reseal").ends(0);
    ground.run("erin.smith", "cert issue client -c prod").ends(0);
    ground.run("alice", "cert issue client -c prod").ends(0);
    let (authority, certs) =
        (ground.repo().join("clusters/prod/ca/kubernetes.g1.crt"), ground.repo().join("clusters/prod/certs/person"));
    assert_eq!(verdict(&authority, &certs.join("alice/client.crt"), "sslclient"), "");
    let dotted = verdict(&authority, &certs.join("erin.smith/client.crt"), "sslclient");
    assert!(dotted.contains("permitted subtree violation"), "{dotted}");
}

#[test]
fn a_new_node_waits_for_a_new_generation() {
    let ground = ground();
    grows(&ground);
    let planned = ground.run("alice", "cluster apply -c prod --dry-run").ends(0);
    assert!(planned.out.contains("wait    certs/node/w-9/kubelet-serving.crt"), "{}", planned.out);
    let applied = ground.run("alice", "cluster apply -c prod --yes").ends(0).says("rotate start kubernetes -c prod");
    assert!(applied.out.contains("issue   certs/node/w-9/kubelet-client.crt"), "{}", applied.out);
    assert_eq!(ground.errors(), [""; 0]);
    // It says so again whenever it is asked, and names can't be had by another way.
    ground.run("alice", "cluster apply -c prod --yes").ends(0).says("not issued: ");
    ground
        .run("alice", "cert issue kubelet-serving -c prod --node w-9")
        .ends(3)
        .says("exclude w-9")
        .says("rotate start kubernetes");
    let before = ground.tree();
    ground.run("alice", "cert issue -c prod --node w-9").ends(3);
    assert!(ground.tree() == before);
    // What the refusal is good for: the certificate would pass nowhere.
    let ca = export(&ground, "pem --keyset kubernetes --with-ca-keys", "ca");
    let (key, certificate) = (ground.dir.path().join("key"), ground.dir.path().join("crt"));
    let mut forged = Command::new("bash");
    forged.args(["-euc", "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout \"$0\" -out \"$1\" -days 1 \
        -subj /CN=w-9 -addext subjectAltName=DNS:w-9 -addext extendedKeyUsage=serverAuth -addext basicConstraints=critical,CA:FALSE \
        -CA \"$2\" -CAkey \"$3\""]);
    let file = |name: &str| ca.join("ca").join(name);
    let output =
        forged.arg(&key).arg(&certificate).arg(file("kubernetes.crt")).arg(file("kubernetes.key")).output().unwrap();
    if output.status.success() {
        let said = verdict(&file("kubernetes.crt"), &certificate, "sslserver");
        assert!(said.contains("permitted subtree violation"), "{said}");
    } else {
        panic!("{}", String::from_utf8_lossy(&output.stderr));
    }
    ground.run("alice", "rotate start kubernetes -c prod --yes").ends(0);
    ground.run("alice", "rotate trust kubernetes -c prod --yes").ends(0);
    ground.run("alice", "rotate promote kubernetes -c prod --confirm nodes-have-bundle --yes").ends(0);
    ground.run("alice", "cluster apply -c prod --yes").ends(0);
    assert_eq!(ground.errors(), [""; 0]);
    let serving = ground.repo().join("clusters/prod/certs/node/w-9/kubelet-serving.crt");
    assert_eq!(verdict(&ground.repo().join("clusters/prod/ca/kubernetes.g2.crt"), &serving, "sslserver"), "");
}
