//! A real controller-manager and scheduler on their exported kubeconfigs: what they do, not only what they say.

use std::path::Path;

use serde_json::json;

use crate::control_plane::{Component, ControlPlane};
use crate::process::{Run, wait_until};
use crate::programs;

#[test]
fn controller_manager_and_scheduler_work_on_their_kubeconfigs_and_stay_healthy() {
    let mut plane = ControlPlane::start(1);
    let mut manager = Component::controller_manager(&plane, &plane.export);
    let mut scheduler = Component::scheduler(&plane, &plane.export);

    plane.as_super_admin().args(["create", "namespace", "probe"]).succeeds();
    let root = wait_until("kube-root-ca.crt in a new namespace", || {
        let map = plane.as_super_admin().args(["get", "configmap", "kube-root-ca.crt", "--namespace=probe"]);
        let answer = map.args([r"--output=jsonpath={.data.ca\.crt}"]).ends();
        if answer.output.status.success() { Ok(answer.stdout()) } else { Err(answer.to_string()) }
    });
    let trusted = std::fs::read_to_string(plane.export.pki("ca.crt")).expect("an export can be read");
    assert_eq!(root.trim(), trusted.trim(), "pods are told to trust what the export says");

    // Each controller works as a service account of its own: its token is signed with sa.key and checked with sa.pub.
    wait_until("the default service account", || exists(&plane, &["serviceaccount", "default", "--namespace=probe"]));
    let controller = json!("system:serviceaccount:kube-system:service-account-controller");
    let made = plane.audit_events(|event| {
        event["user"]["username"] == controller && event["verb"] == "create" && event["responseStatus"]["code"] == 201
    });
    assert!(!made.is_empty(), "no request of {controller} was taken");

    // A kubelet's own words make the node; the node lifecycle controller then takes its taint off, and the pod is bound.
    let kubelet = plane.on_loopback(&plane.export, "kubelet.conf");
    plane.kubectl(&kubelet).args(["create", "--filename=-"]).input(&ready_node()).succeeds();
    plane.as_super_admin().args(["create", "--filename=-"]).input(&pod()).succeeds();
    wait_until("a scheduled pod", || {
        let place = plane.as_super_admin().args(["get", "pod", "probe", "--namespace=probe"]);
        let place = place.args(["--output=jsonpath={.spec.nodeName}"]).ends();
        if place.stdout() == "cp-1" { Ok(()) } else { Err(place.to_string()) }
    });

    plane.must_be_alive();
    for component in [&mut manager, &mut scheduler] {
        component.health().expect("a component stays healthy");
    }
    for user in ["system:kube-controller-manager", "system:kube-scheduler"] {
        let requests = plane.audit_events(|event| event["user"]["username"] == json!(user));
        assert!(!requests.is_empty(), "{user} was never seen");
        let refused = |code: &serde_json::Value| *code == json!(401) || *code == json!(403);
        let refusals: Vec<_> = requests.iter().filter(|event| refused(&event["responseStatus"]["code"])).collect();
        assert!(refusals.is_empty(), "{user} was refused: {refusals:#?}");
    }
}

#[test]
fn an_export_with_ca_keys_lets_the_controller_manager_sign_a_kubelets_request() {
    let plane = ControlPlane::start(1);
    let export = plane.exports.node_with_ca_keys("cp-1");
    let _manager = Component::controller_manager(&plane, &export);
    let kubelet = plane.on_loopback(&plane.export, "kubelet.conf");

    let home = plane.scratch().path();
    let key = home.join("kubelet-next.key");
    let openssl = |args: &[&str]| Run::new(&programs::system("openssl"), home).args(args);
    let csr = openssl(&["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-subj", "/O=system:nodes/CN=system:node:cp-1", "-keyout"])
        .args([&key])
        .succeeds();
    plane.kubectl(&kubelet).args(["create", "--filename=-"]).input(&signing_request(&csr)).succeeds();
    plane.as_super_admin().args(["certificate", "approve", "probe"]).succeeds();
    let issued = wait_until("a signed certificate", || {
        let answer =
            plane.as_super_admin().args(["get", "csr", "probe", "--output=jsonpath={.status.certificate}"]).ends();
        if answer.stdout().is_empty() { Err(answer.to_string()) } else { Ok(answer.stdout()) }
    });
    let encoded = plane.scratch().write("kubelet-next.b64", &issued);
    let certificate = home.join("kubelet-next.crt");
    openssl(&["base64", "-d", "-A", "-in"]).args([&encoded]).args([Path::new("-out"), &certificate]).succeeds();

    // The new certificate works, and chains to the CA that the export trusts.
    let who =
        plane.with_certificate(&certificate).args(["auth", "whoami", "--output=jsonpath={.status.userInfo.username}"]);
    assert_eq!(who.succeeds(), "system:node:cp-1");
    openssl(&["verify", "-x509_strict", "-purpose", "sslclient", "-CAfile"])
        .args([plane.export.pki("ca.crt"), certificate])
        .succeeds();
}

#[test]
fn an_export_without_ca_keys_leaves_the_controller_manager_nothing_to_sign_with() {
    let plane = ControlPlane::start(1);
    assert!(!plane.export.pki("ca.key").exists());
    let manager = Component::controller_manager(&plane, &plane.export);
    wait_until("word that no request will be signed", || {
        let said = manager.log().contains("Skipping CSR signer controller because no csr cert/key was specified");
        if said { Ok(()) } else { Err("nothing yet".to_owned()) }
    });
}

fn exists(plane: &ControlPlane, what: &[&str]) -> Result<(), String> {
    let answer = plane.as_super_admin().args(["get"]).args(what).ends();
    if answer.output.status.success() { Ok(()) } else { Err(answer.to_string()) }
}

/// A node as a kubelet reports it, ready and with room.
fn ready_node() -> String {
    let room = json!({"cpu": "4", "memory": "8Gi", "pods": "10", "ephemeral-storage": "10Gi"});
    let conditions = json!([{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "a stand-in"}]);
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": "cp-1"},
        "status": {"capacity": room, "allocatable": room, "conditions": conditions}
    })
    .to_string()
}

fn pod() -> String {
    let container = json!({"name": "probe", "image": "registry.invalid/probe"});
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe", "namespace": "probe"},
        "spec": {"containers": [container]}
    })
    .to_string()
}

fn signing_request(csr: &str) -> String {
    use base64::Engine as _;
    let request = base64::engine::general_purpose::STANDARD.encode(csr);
    json!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": "probe"},
        "spec": {
            "signerName": "kubernetes.io/kube-apiserver-client-kubelet", "request": request,
            "usages": ["digital signature", "client auth"]
        }
    })
    .to_string()
}
