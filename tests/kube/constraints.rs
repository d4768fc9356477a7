//! A cluster whose CAs have name constraints: everything in it works, and a server with another name is nobody's.

use std::fs;

use crate::control_plane::ControlPlane;
use crate::process::{Run, free_port, wait_until};
use crate::programs;

#[test]
fn a_constrained_cluster_works_and_its_ca_is_no_good_for_other_names() {
    let plane = ControlPlane::start_constrained(3);
    let text = Run::new(&programs::system("openssl"), plane.scratch().path())
        .args(["x509", "-noout", "-text", "-in"])
        .args([plane.export.pki("ca.crt")])
        .succeeds();
    assert!(text.contains("X509v3 Name Constraints: critical"), "{text}");
    for (node, name) in [
        ("cp-1", "admin.conf"),
        ("cp-1", "kubelet.conf"),
        ("cp-1", "controller-manager.conf"),
        ("cp-1", "scheduler.conf"),
        ("w-1", "kubelet.conf"),
    ] {
        let kubeconfig = plane.on_loopback(&plane.exports.node(node), name);
        plane.kubectl(&kubeconfig).args(["get", "--raw", "/version"]).succeeds();
    }
    // Whoever has the CA's key makes a server of an address that is none of the cluster's …
    let scratch = plane.scratch().path();
    let ca = plane.exports.node_with_ca_keys("cp-1");
    let openssl = |args: &[&str]| Run::new(&programs::system("openssl"), scratch).args(args.iter().copied()).succeeds();
    let (ca_crt, ca_key) = (ca.pki("ca.crt"), ca.pki("ca.key"));
    for (name, san) in [("own", "IP:127.0.0.1"), ("foreign", "IP:127.0.0.99")] {
        let (key, request, certificate) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.crt"));
        let at = |file: &str| scratch.join(file).to_str().expect("scratch paths are ASCII").to_owned();
        fs::write(scratch.join("ext"), format!("subjectAltName={san}\nextendedKeyUsage=serverAuth\n"))
            .expect("writable");
        openssl(&[
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=x",
            "-keyout",
            &at(&key),
            "-out",
            &at(&request),
        ]);
        let (ca_crt, ca_key) = (ca_crt.to_str().expect("ASCII"), ca_key.to_str().expect("ASCII"));
        openssl(&[
            "x509",
            "-req",
            "-in",
            &at(&request),
            "-CA",
            ca_crt,
            "-CAkey",
            ca_key,
            "-set_serial",
            "7",
            "-days",
            "1",
            "-extfile",
            &at("ext"),
            "-out",
            &at(&certificate),
        ]);
        // … and a client of Go's, which every component is, does not take it.
        let port = free_port();
        let address = san.trim_start_matches("IP:");
        let mut server = Run::new(&programs::system("openssl"), scratch)
            .args([
                "s_server",
                "-quiet",
                "-www",
                "-accept",
                &format!("{address}:{port}"),
                "-cert",
                &at(&certificate),
                "-key",
                &at(&key),
            ])
            .starts(&format!("s_server-{name}"), scratch);
        let mut answer = String::new();
        wait_until("an answer of the server", || {
            server.must_be_alive();
            let url = format!("https://{address}:{port}");
            let ended = plane
                .kubectl(std::path::Path::new("/dev/null"))
                .flag("server", url)
                .flag("certificate-authority", ca_crt)
                .flag("token", "none")
                .args(["get", "--raw", "/"])
                .ends();
            answer = ended.to_string();
            if answer.contains("was refused - did you") { Err(answer.clone()) } else { Ok(()) }
        });
        let refused = answer.contains("is not permitted by any constraint");
        assert_eq!(refused, name == "foreign", "{name}: {answer}");
    }
}
