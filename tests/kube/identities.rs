//! Who the API server takes each exported kubeconfig for, and what that identity may do.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::path::Path;

use crate::control_plane::ControlPlane;
use crate::exports::hex;

/// Each kubeconfig: the node, the file, the user and the groups that its certificate must mean.
const KUBECONFIGS: [(&str, &str, &str, &[&str]); 6] = [
    ("cp-1", "admin.conf", "kubernetes-admin", &["kubeadm:cluster-admins"]),
    // The exporter's own break-glass certificate: never a nameless one.
    ("cp-1", "super-admin.conf", "alice", &["system:masters"]),
    ("cp-1", "kubelet.conf", "system:node:cp-1", &["system:nodes"]),
    ("cp-1", "controller-manager.conf", "system:kube-controller-manager", &[]),
    ("cp-1", "scheduler.conf", "system:kube-scheduler", &[]),
    ("w-1", "kubelet.conf", "system:node:w-1", &["system:nodes"]),
];

#[test]
fn an_api_server_on_three_etcd_members_knows_each_exported_kubeconfig_as_who_it_should_be() {
    let plane = ControlPlane::start(3);
    for (node, name, user, groups) in KUBECONFIGS {
        let kubeconfig = plane.on_loopback(&plane.exports.node(node), name);
        let mark = format!("probe={node}-{name}");
        plane.kubectl(&kubeconfig).args(["get", "--raw", &format!("/version?{mark}")]).succeeds();

        let events = plane.audited(&mark);
        let seen = &events[0]["user"];
        let mut expected: Vec<&str> = groups.to_vec();
        expected.push("system:authenticated");
        assert_eq!(seen["username"], json!(user), "{name}");
        assert_eq!(seen["groups"], json!(expected), "{name}");
        // The audit log leads to the one certificate: its hash is what kluis records.
        let credential = &seen["extra"]["authentication.kubernetes.io/credential-id"];
        assert_eq!(*credential, json!([format!("X509SHA256={}", certificate_hash(&kubeconfig))]), "{name}");
    }
}

/// The SHA-256 of the client certificate in a kubeconfig.
fn certificate_hash(kubeconfig: &Path) -> String {
    let text = std::fs::read_to_string(kubeconfig).expect("a kubeconfig can be read");
    let config: serde_json::Value = serde_yaml_ng::from_str(&text).expect("a kubeconfig is YAML");
    let data = config["users"][0]["user"]["client-certificate-data"].as_str().expect("an embedded certificate");
    let pem = String::from_utf8(STANDARD.decode(data).expect("base64")).expect("PEM is text");
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    hex(&Sha256::digest(STANDARD.decode(body).expect("base64")))
}

#[test]
fn components_may_do_their_own_work_and_nothing_more() {
    let plane = ControlPlane::start(1);
    let manager = plane.on_loopback(&plane.export, "controller-manager.conf");
    let scheduler = plane.on_loopback(&plane.export, "scheduler.conf");
    let kubelet = plane.on_loopback(&plane.export, "kubelet.conf");
    let table: [(&Path, &[&str], bool); 13] = [
        (&manager, &["create", "serviceaccounts"], true),
        (&manager, &["list", "secrets"], true), // it watches every kind
        (&manager, &["delete", "nodes"], false),
        (&manager, &["create", "clusterrolebindings"], false),
        (&scheduler, &["create", "pods", "--subresource=binding"], true),
        (&scheduler, &["list", "nodes"], true),
        (&scheduler, &["create", "pods"], false),
        (&scheduler, &["get", "secrets"], false),
        (&kubelet, &["create", "nodes"], true),
        (&kubelet, &["list", "services"], true),
        (&kubelet, &["delete", "nodes"], false),
        (&kubelet, &["list", "secrets"], false),
        (&kubelet, &["create", "clusterrolebindings"], false),
    ];
    for (kubeconfig, question, answer) in table {
        assert_eq!(may(&plane, kubeconfig, question), answer, "{} {question:?}", kubeconfig.display());
    }

    // A kubelet speaks for its own node alone, which RBAC can't say and the certificate's name decides.
    plane.kubectl(&kubelet).args(["create", "--filename=-"]).input(&node("cp-1")).succeeds();
    let refusal = plane.kubectl(&kubelet).args(["create", "--filename=-"]).input(&node("cp-2")).refused();
    assert!(refusal.contains(r#"node "cp-1" is not allowed to modify node "cp-2""#), "{refusal}");
}

#[test]
fn the_exported_manifests_make_administrators_and_deleting_the_binding_ends_that() {
    let plane = ControlPlane::start(1);
    let admin = plane.export.file("admin.conf");
    assert!(may(&plane, &plane.export.file("super-admin.conf"), &["*", "*"]));
    assert!(!may(&plane, &admin, &["list", "secrets"]), "admin.conf has no rights of its own");
    assert!(!may_call_kubelets(&plane), "apiserver-kubelet-client has no rights of its own");

    plane.apply_rbac();
    assert!(may(&plane, &admin, &["*", "*"]));
    plane.kubectl(&admin).args(["create", "namespace", "made-by-admin"]).succeeds();
    assert!(may_call_kubelets(&plane));

    plane.as_super_admin().args(["delete", "clusterrolebinding", "kubeadm:cluster-admins"]).succeeds();
    assert!(!may(&plane, &admin, &["list", "secrets"]), "access is taken back without touching a certificate");
}

fn may_call_kubelets(plane: &ControlPlane) -> bool {
    let user = "--as=kube-apiserver-kubelet-client";
    may(plane, &plane.export.file("super-admin.conf"), &["get", "nodes", "--subresource=log", user])
}

/// Asks the server, as kubectl does, whether the identity may do this in all namespaces.
fn may(plane: &ControlPlane, kubeconfig: &Path, question: &[&str]) -> bool {
    let answer = plane.kubectl(kubeconfig).args(["auth", "can-i", "--all-namespaces"]).args(question).ends();
    match answer.stdout().split_whitespace().next() {
        Some("yes") => true,
        Some("no") => false, // a reason may follow
        _ => panic!("no answer: {answer}"),
    }
}

fn node(name: &str) -> String {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}).to_string()
}
