//! Encryption at rest: the API server uses the exported configuration, and etcd holds no plain secret.

use crate::control_plane::ControlPlane;

#[test]
fn a_secret_lies_in_etcd_under_secretbox_and_reads_back_through_the_api() {
    let plane = ControlPlane::start(1);
    plane
        .as_super_admin()
        .args(["create", "secret", "generic", "probe", "--namespace=default", "--from-literal=word=oesterschelp"])
        .succeeds();

    let key = "/registry/secrets/default/probe";
    // As JSON, whose values are base64: what is stored is no text.
    let stored = plane.etcd.as_health_check(0).args(["get", key, "--write-out=fields"]).succeeds();
    assert!(stored.contains(r#""Value" : "k8s:enc:secretbox:v1:"#), "{stored}");
    assert!(!stored.contains("oesterschelp"), "{stored}");

    let read = plane.as_super_admin().args(["get", "secret", "probe", "--namespace=default"]);
    let word = read.args(["--output=jsonpath={.data.word}"]).succeeds();
    assert_eq!(word, "b2VzdGVyc2NoZWxw"); // base64 of the word
}
