//! The API server passes requests on to an aggregated API with the front-proxy certificate.

use serde_json::json;

use crate::control_plane::ControlPlane;
use crate::kubelet::serve;
use crate::process::{free_port, wait_until};

#[test]
fn the_api_server_calls_an_aggregated_api_as_front_proxy_client() {
    let plane = ControlPlane::start(1);
    let root = plane.scratch().path().join("aggregated");
    std::fs::create_dir_all(root.join("apis/probe.example/v1")).expect("a writable scratch directory");
    let answer = "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{\"answered\": true}";
    std::fs::write(root.join("apis/probe.example/v1/word"), answer).expect("a writable scratch directory");
    let port = free_port();
    // The server of an aggregated API brings a certificate of its own; what matters here is which client it believes.
    let server = serve(&plane, &root, port, "aggregated", |run| {
        run.args([
            "-cert".into(),
            plane.export.file("kubelet/kubelet.crt"),
            "-key".into(),
            plane.export.file("kubelet/kubelet.key"),
            "-CAfile".into(),
            plane.export.pki("front-proxy-ca.crt"),
        ])
    });

    for object in [service(port), api_service(port)] {
        plane.as_super_admin().args(["create", "--filename=-"]).input(&object).succeeds();
    }
    wait_until("an answer of the aggregated API", || {
        // A timeout would be part of the request, and of the file's name.
        let word = ["get", "--raw", "/apis/probe.example/v1/word", "--request-timeout=0"];
        let answer = plane.as_super_admin().args(word).ends();
        if answer.stdout().contains("answered") { Ok(()) } else { Err(answer.to_string()) }
    });
    let seen = server.log().replace(' ', ""); // openssl's versions space names differently
    assert!(seen.contains("CN=front-proxy-client"), "{seen}");
}

fn service(port: u16) -> String {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "probe", "namespace": "default"},
        "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]}
    })
    .to_string()
}

fn api_service(port: u16) -> String {
    json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": "v1.probe.example"},
        "spec": {
            "group": "probe.example", "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 10,
            "insecureSkipTLSVerify": true, "service": {"name": "probe", "namespace": "default", "port": port}
        }
    })
    .to_string()
}
