//! Who the API server refuses, and which servers a kubeconfig refuses.

use crate::control_plane::ControlPlane;
use crate::exports::Exports;
use crate::process::free_port;

#[test]
fn the_api_server_refuses_clients_of_any_authority_but_the_clusters_own() {
    let plane = ControlPlane::start(1);
    let other = Exports::make(plane.scratch().path(), "other", free_port()).node("cp-1");
    let list = ["get", "namespaces"];

    plane.as_super_admin().args(list).succeeds();
    let nobody = plane.without_certificate("/api/v1/namespaces");
    assert!(nobody.contains("403 Forbidden") && nobody.contains("system:anonymous"), "{nobody}");

    for stranger in [
        plane.export.pki("etcd/healthcheck-client"), // of another CA of this cluster
        plane.export.pki("front-proxy-client"),
        plane.export.pki("apiserver"),         // of the right CA, for servers only
        other.pki("apiserver-kubelet-client"), // of another cluster
    ] {
        let refusal = plane.with_certificate(&stranger).args(list).refused();
        assert!(refusal.contains("Unauthorized") || refusal.contains("provide credentials"), "{refusal}");
    }

    // The highest rights of another cluster are worth nothing here.
    let super_admin = plane
        .kubectl(&other.file("super-admin.conf"))
        .flag("server", format!("https://127.0.0.1:{}", plane.port))
        .flag("certificate-authority", plane.export.pki("ca.crt"));
    let refusal = super_admin.args(list).refused();
    assert!(refusal.contains("Unauthorized") || refusal.contains("provide credentials"), "{refusal}");
}

#[test]
fn a_kubeconfig_refuses_the_api_server_of_another_cluster() {
    let plane = ControlPlane::start(1);
    let other = Exports::make(plane.scratch().path(), "other", free_port()).node("cp-1");
    let refusal = plane
        .kubectl(&other.file("admin.conf"))
        .flag("server", format!("https://127.0.0.1:{}", plane.port))
        .args(["get", "namespaces"])
        .refused();
    assert!(refusal.contains("certificate signed by unknown authority"), "{refusal}");
}
