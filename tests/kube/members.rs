//! Three real etcd members on the exports of three nodes: they form one cluster, and speak with nobody else.

use std::path::Path;

use crate::control_plane::Etcd;
use crate::exports::{Export, Exports};
use crate::process::{Run, Scratch, free_port};
use crate::programs;

#[test]
fn three_members_form_one_etcd_and_each_serves_what_another_took() {
    let scratch = Scratch::new();
    let exports = Exports::make(scratch.path(), "prod", free_port());
    let etcd = Etcd::start(scratch.path(), &exports, 3);

    let members = etcd.as_health_check(0).args(["member", "list"]).succeeds();
    assert_eq!(members.lines().filter(|line| line.contains("started")).count(), 3, "{members}");

    let api_server = etcd.members()[0].export.pki("apiserver-etcd-client");
    etcd.with_certificate(0, &api_server).args(["put", "/probe", "written through the first"]).succeeds();
    let read = etcd.as_health_check(2).args(["get", "/probe", "--print-value-only"]).succeeds();
    assert_eq!(read.trim(), "written through the first");
}

#[test]
fn etcd_refuses_clients_and_peers_of_any_authority_but_its_own() {
    let scratch = Scratch::new();
    let exports = Exports::make(scratch.path(), "prod", free_port());
    let etcd = Etcd::start(scratch.path(), &exports, 1);
    let other = Exports::make(scratch.path(), "other", free_port()).node("cp-1");
    let own = &etcd.members()[0].export;
    let get = ["get", "/probe"];

    etcd.as_health_check(0).args(get).succeeds();
    etcd.without_certificate(0).args(get).refused();
    for stranger in [
        own.pki("apiserver-kubelet-client"), // of the cluster's main CA
        own.pki("front-proxy-client"),
        other.pki("etcd/healthcheck-client"), // of another cluster's etcd CA
        other.pki("apiserver-etcd-client"),
    ] {
        etcd.with_certificate(0, &stranger).args(get).refused();
    }
    let log = etcd.members()[0].log();
    for reason in ["client didn't provide a certificate", "certificate signed by unknown authority"] {
        assert!(log.contains(reason), "etcd refused for another reason than {reason}: {log}");
    }
    // A client of this cluster does not speak with an etcd of another one either.
    etcd.as_health_check(0).flag("cacert", other.pki("etcd/ca.crt")).args(get).refused();

    let peer = &etcd.members()[0].peer;
    assert!(shakes_hands(&scratch, peer, own, Some(&own.pki("etcd/peer"))), "a peer's own certificate is taken");
    assert!(!shakes_hands(&scratch, peer, own, None), "a peer without a certificate is refused");
    assert!(!shakes_hands(&scratch, peer, own, Some(&other.pki("etcd/peer"))), "another cluster's peer is refused");
    assert!(!shakes_hands(&scratch, peer, own, Some(&own.pki("apiserver"))), "another CA's server is refused");
    assert!(
        !shakes_hands(&scratch, peer, own, Some(&own.pki("apiserver-kubelet-client"))),
        "another CA's client is refused"
    );
}

/// Whether the server at `address` finishes a handshake with this certificate. TLS 1.2, where the server's refusal is part
/// of the handshake; in 1.3 it would come after it.
pub fn shakes_hands(scratch: &Scratch, address: &str, trust: &Export, pair: Option<&Path>) -> bool {
    let mut run = Run::new(&programs::system("openssl"), scratch.path())
        .args(["s_client", "-tls1_2", "-verify_return_error", "-connect", address, "-CAfile"])
        .args([trust.pki("etcd/ca.crt")]);
    if let Some(pair) = pair {
        run = run.args(["-cert".into(), pair.with_extension("crt"), "-key".into(), pair.with_extension("key")]);
    }
    run.ends().output.status.success()
}
