//! The ClusterTrustBundle of an export on a real API server that has such objects switched on.

use serde_json::Value;

use crate::control_plane::ControlPlane;
use crate::process::Run;

/// What the manifest's own comments say.
const ON: [&str; 2] = [
    "--feature-gates=ClusterTrustBundle=true",
    "--runtime-config=certificates.k8s.io/v1beta1/clustertrustbundles=true",
];

fn manifest(plane: &ControlPlane) -> String {
    let text = plane.exports.kluis_run().args(["export", "trust-bundle", "-c", "prod"]).succeeds();
    assert!(ON.iter().all(|flag| text.contains(flag)), "{text}");
    text
}

fn apply(plane: &ControlPlane, manifest: &str) -> Run {
    plane.as_super_admin().args(["apply", "--filename=-"]).input(manifest)
}

fn certificates(plane: &ControlPlane) -> usize {
    let name = "clustertrustbundles.certificates.k8s.io/kluis-prod-kubernetes";
    let object = plane.as_super_admin().args(["get", name, "--output=json"]).succeeds();
    let object: Value = serde_json::from_str(&object).expect("JSON");
    object["spec"]["trustBundle"].as_str().expect("a bundle").matches("BEGIN CERTIFICATE").count()
}

#[test]
fn an_api_server_takes_the_trust_bundle_of_each_phase() {
    let plane = ControlPlane::start_with(1, &ON);
    let steady = manifest(&plane);
    apply(&plane, &steady).succeeds();
    assert_eq!(certificates(&plane), 1);
    let rotate = |step: &str| plane.exports.kluis(["rotate", step, "kubernetes", "-c", "prod", "--yes"]);
    rotate("start");
    assert_eq!(manifest(&plane), steady, "nothing trusts what is staged");
    rotate("trust");
    let both = manifest(&plane);
    apply(&plane, &both).succeeds();
    assert_eq!(certificates(&plane), 2);
    rotate("promote");
    assert_eq!(manifest(&plane), both, "who is trusted is the same, and so is the object");
    // What the API server demands of it is not vacuous.
    let twice = both.replace("-----END CERTIFICATE-----\n", "-----END CERTIFICATE-----\n    \n");
    let (head, bundle) = twice.split_once("trustBundle: |\n").expect("a literal block");
    let said = apply(&plane, &format!("{head}trustBundle: |\n{bundle}{bundle}")).refused();
    assert!(said.contains("duplicate"), "{said}");
    let said = apply(&plane, &both.replace("name: kluis-prod-kubernetes", "name: kluis:prod")).refused();
    assert!(said.contains("must not have"), "{said}");
}
