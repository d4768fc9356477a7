//! The Secrets of `kluis export capi` on a real API server, as the management cluster of Cluster API is one. Cluster API itself
//! is not run: it makes machines.

use serde_json::Value;

use crate::control_plane::ControlPlane;
use crate::exports::Export;
use crate::process::Run;

const NAMES: [&str; 4] = ["prod-ca", "prod-etcd", "prod-proxy", "prod-sa"];

fn apply(plane: &ControlPlane, export: &Export) -> Run {
    let run = plane.as_super_admin().args(["apply", "--server-side", "--namespace=fleet"]);
    run.flag("filename", export.file("secrets.yaml"))
}

fn secret(plane: &ControlPlane, name: &str) -> Value {
    let run = plane.as_super_admin().args(["get", "secret", name, "--namespace=fleet", "--output=json"]);
    serde_json::from_str(&run.succeeds()).expect("JSON")
}

/// What kubectl makes of the file without an API server: the objects as they are to be.
fn wanted(plane: &ControlPlane, export: &Export) -> Vec<Value> {
    let run = plane.as_super_admin().args(["create", "--dry-run=client", "--namespace=fleet", "--output=json"]);
    let text = run.flag("filename", export.file("secrets.yaml")).succeeds();
    let objects = serde_json::Deserializer::from_str(&text).into_iter::<Value>().map(|one| one.expect("JSON"));
    let objects = objects.flat_map(|one| match one["items"].as_array() {
        Some(items) => items.clone(),
        None => vec![one],
    });
    objects.collect()
}

#[test]
fn an_api_server_takes_the_secrets_of_cluster_api_and_gives_them_back() {
    let plane = ControlPlane::start(1);
    plane.as_super_admin().args(["create", "namespace", "fleet"]).succeeds();
    let steady = plane.exports.whole("capi", "steady");
    let said = apply(&plane, &steady).succeeds();
    for name in NAMES {
        assert!(said.contains(&format!("secret/{name} serverside-applied")), "{said}");
    }
    let compare = |export: &Export| {
        let wanted = wanted(&plane, export);
        assert_eq!(wanted.len(), NAMES.len());
        for (name, wanted) in NAMES.iter().zip(&wanted) {
            let got = secret(&plane, name);
            assert_eq!(got["metadata"]["name"], wanted["metadata"]["name"]);
            assert_eq!(got["metadata"]["labels"]["cluster.x-k8s.io/cluster-name"], "prod");
            assert_eq!(got["type"], "cluster.x-k8s.io/secret");
            assert!(got["data"] == wanted["data"], "{name} came back as something else");
        }
    };
    compare(&steady);
    let before = secret(&plane, "prod-ca");
    for step in ["start", "trust"] {
        plane.exports.kluis(["rotate", step, "kubernetes", "-c", "prod", "--yes"]);
    }
    let both = plane.exports.whole("capi", "trusted");
    apply(&plane, &both).succeeds();
    compare(&both);
    let after = secret(&plane, "prod-ca");
    assert!(
        after["data"]["tls.key"] == before["data"]["tls.key"] && after["data"]["tls.crt"] != before["data"]["tls.crt"]
    );
}
