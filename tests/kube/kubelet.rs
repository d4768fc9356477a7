//! The API server calls kubelets with its own certificate, and believes only a kubelet of the cluster's CA.

use serde_json::json;

use crate::control_plane::ControlPlane;
use crate::exports::{Export, Exports};
use crate::process::{Run, Running, free_port, wait_until};
use crate::programs;

const LOG_LINE: &str = "a line that the pod wrote";

#[test]
fn the_api_server_fetches_logs_from_a_kubelet_with_its_client_certificate() {
    let plane = ControlPlane::start(1);
    let port = free_port();
    let kubelet = stand_in(&plane, &plane.export, port, "kubelet");
    add_pod(&plane, port);

    let logs = plane.as_super_admin().args(["get", "--raw", "/api/v1/namespaces/default/pods/probe/log"]).succeeds();
    assert_eq!(logs, LOG_LINE);
    let seen = kubelet.log().replace(' ', ""); // openssl's versions space names differently
    assert!(seen.contains("CN=kube-apiserver-kubelet-client"), "{seen}");
}

#[test]
fn the_api_server_refuses_a_kubelet_of_another_cluster() {
    let plane = ControlPlane::start(1);
    let other = Exports::make(plane.scratch().path(), "other", free_port()).node("cp-1");
    let port = free_port();
    let _kubelet = stand_in(&plane, &other, port, "false-kubelet");
    add_pod(&plane, port);

    let refusal = plane.as_super_admin().args(["get", "--raw", "/api/v1/namespaces/default/pods/probe/log"]).refused();
    assert!(refusal.contains("certificate signed by unknown authority"), "{refusal}");
}

/// A server that answers as a kubelet would, with the serving certificate of `export`, to clients of this cluster's CA.
fn stand_in(plane: &ControlPlane, export: &Export, port: u16, name: &str) -> Running {
    let root = plane.scratch().path().join(name);
    let directory = root.join("containerLogs/default/probe");
    std::fs::create_dir_all(&directory).expect("a writable scratch directory");
    let answer = format!("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n{LOG_LINE}");
    std::fs::write(directory.join("probe"), answer).expect("a writable scratch directory");
    serve(plane, &root, port, name, |run| {
        run.args([
            "-cert".into(),
            export.file("kubelet/kubelet.crt"),
            "-key".into(),
            export.file("kubelet/kubelet.key"),
            "-CAfile".into(),
            plane.export.pki("ca.crt"),
        ])
    })
}

/// openssl's small web server over the files of `root`; it asks for a client certificate and refuses any that does not verify.
pub fn serve(
    plane: &ControlPlane,
    root: &std::path::Path,
    port: u16,
    name: &str,
    trust: impl FnOnce(Run) -> Run,
) -> Running {
    let address = format!("127.0.0.1:{port}");
    let run = Run::new(&programs::system("openssl"), plane.scratch().path()).current_dir(root).args([
        "s_server",
        "-accept",
        &address,
        "-HTTP",
        "-Verify",
        "3",
        "-verify_return_error",
    ]);
    let mut server = trust(run).starts(name, plane.scratch().path());
    wait_until("a listening server", || {
        server.must_be_alive();
        if server.log().contains("ACCEPT") { Ok(()) } else { Err(server.log()) }
    });
    server
}

fn add_pod(plane: &ControlPlane, port: u16) {
    let node = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": "cp-1"},
        "status": {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}
        }
    });
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "default"}});
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe", "namespace": "default"},
        "spec": {"nodeName": "cp-1", "containers": [{"name": "probe", "image": "registry.invalid/probe"}]}
    });
    let kubelet = plane.on_loopback(&plane.export, "kubelet.conf");
    plane.kubectl(&kubelet).args(["create", "--filename=-"]).input(&node.to_string()).succeeds();
    for object in [account, pod] {
        plane.as_super_admin().args(["create", "--filename=-"]).input(&object.to_string()).succeeds();
    }
}
