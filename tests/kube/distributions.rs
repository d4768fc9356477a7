//! The files of k3s and k0s on a real etcd and API server, as far as flags of components go: leaves made by openssl from the
//! exported CA keys, as k3s makes them; and the leaves that k0s finds. What the distributions do around it is not run.

use std::path::{Path, PathBuf};

use crate::exports::Exports;
use crate::process::{Run, Running, Scratch, free_port, wait_until};
use crate::programs;

/// A leaf as a distribution makes it: the key of the CA, who it is, what for.
fn leaf(scratch: &Path, (name, ca): (&str, &Path), subject: &str, extensions: &str) -> PathBuf {
    let pair = scratch.join(name);
    std::fs::create_dir_all(pair.parent().expect("a path in the scratch directory")).expect("a writable directory");
    std::fs::write(pair.with_extension("ext"), format!("basicConstraints=critical,CA:FALSE\n{extensions}\n"))
        .expect("a writable directory");
    let openssl = || Run::new(&programs::system("openssl"), scratch);
    openssl()
        .args(["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", subject])
        .args([Path::new("-keyout"), &pair.with_extension("key"), Path::new("-out"), &pair.with_extension("csr")])
        .succeeds();
    openssl()
        .args(["x509", "-req", "-days", "1", "-in"])
        .args([pair.with_extension("csr")])
        .args(["-CA".into(), ca.with_extension("crt"), "-CAkey".into(), ca.with_extension("key")])
        .args(["-extfile".into(), pair.with_extension("ext"), "-out".into(), pair.with_extension("crt")])
        .succeeds();
    pair
}

const CLIENT: &str = "extendedKeyUsage=clientAuth";
const BOTH: &str = "extendedKeyUsage=clientAuth,serverAuth\nsubjectAltName=DNS:localhost,IP:127.0.0.1";
const SERVER: &str =
    "extendedKeyUsage=serverAuth\nsubjectAltName=DNS:localhost,DNS:kubernetes,IP:127.0.0.1,IP:10.43.0.1";

/// An etcd member on these files.
fn etcd(scratch: &Path, server: &Path, peer: &Path, (ca, peer_ca): (&Path, &Path)) -> (Running, String) {
    let (client, peers) = (format!("https://127.0.0.1:{}", free_port()), format!("https://127.0.0.1:{}", free_port()));
    let run = Run::new(&programs::etcd("etcd"), scratch)
        .flag("name", "s-1")
        .flag("data-dir", scratch.join("data"))
        .flag("listen-client-urls", &client)
        .flag("advertise-client-urls", &client)
        .flag("listen-peer-urls", &peers)
        .flag("initial-advertise-peer-urls", &peers)
        .flag("initial-cluster", format!("s-1={peers}"))
        .flag("cert-file", server.with_extension("crt"))
        .flag("key-file", server.with_extension("key"))
        .flag("trusted-ca-file", ca)
        .flag("peer-cert-file", peer.with_extension("crt"))
        .flag("peer-key-file", peer.with_extension("key"))
        .flag("peer-trusted-ca-file", peer_ca)
        .args(["--client-cert-auth", "--peer-client-cert-auth", "--initial-cluster-state=new", "--unsafe-no-fsync"]);
    (run.starts("etcd", scratch), client)
}

/// An API server: each flag that takes a file, and the file.
fn api_server(scratch: &Path, name: &str, port: u16, etcd: &str, files: &[(&str, PathBuf)], names: &str) -> Running {
    let mut run = Run::new(&programs::kubernetes("kube-apiserver"), scratch)
        .flag("secure-port", port.to_string())
        .flag("etcd-servers", etcd)
        .flag("requestheader-allowed-names", names)
        .flag("cert-dir", scratch.join("api-server"))
        .args([
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=10.43.0.0/16",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            "--authorization-mode=Node,RBAC",
            "--requestheader-username-headers=X-Remote-User",
        ]);
    for (flag, file) in files {
        run = run.flag(flag, file);
    }
    run.starts(name, scratch)
}

/// `kubectl` with a certificate.
fn kubectl(scratch: &Path, port: u16, ca: &Path, pair: &Path) -> Run {
    Run::new(&programs::kubernetes("kubectl"), scratch)
        .flag("kubeconfig", "/dev/null")
        .flag("server", format!("https://127.0.0.1:{port}"))
        .flag("certificate-authority", ca)
        .flag("client-certificate", pair.with_extension("crt"))
        .flag("client-key", pair.with_extension("key"))
        .args(["--request-timeout=30s"])
}

fn wait(server: &mut Running, ask: impl Fn() -> Run) {
    wait_until("an API server that is ready", || {
        server.must_be_alive();
        let ready = ask().args(["get", "--raw", "/readyz"]).ends();
        if ready.output.status.success() { Ok(()) } else { Err(ready.to_string()) }
    });
}

/// The files of a k3s server in one phase, with leaves that openssl makes of its issuing CAs.
struct Server {
    tls: PathBuf,
    leaves: PathBuf,
}

impl Server {
    fn of(exports: &Exports, scratch: &Path, phase: &str) -> Server {
        let tls = exports.node_of("k3s", "cp-1", phase, &[]).file("tls");
        let server = Server { tls, leaves: scratch.join("leaves").join(phase) };
        for (name, ca, subject, extensions) in [
            ("serving", "server-ca", "/CN=kube-apiserver", SERVER),
            ("admin", "client-ca", "/O=system:masters/CN=system:admin", CLIENT),
            ("kubelet-client", "client-ca", "/CN=kube-apiserver", CLIENT),
            ("auth-proxy", "request-header-ca", "/CN=system:auth-proxy", CLIENT),
            ("etcd-client", "etcd/server-ca", "/CN=etcd-client", CLIENT),
            ("etcd-server", "etcd/server-ca", "/CN=etcd-server", BOTH),
            ("etcd-peer", "etcd/peer-ca", "/CN=etcd-peer", BOTH),
        ] {
            leaf(&server.leaves, (name, &server.tls.join(ca)), subject, extensions);
        }
        // k3s writes the first key into a file of its own.
        let keys = std::fs::read_to_string(server.tls.join("service.key")).expect("an export can be read");
        let end = keys.find("-----END RSA PRIVATE KEY-----\n").expect("a PKCS#1 key") + 30;
        std::fs::write(server.leaves.join("service.current.key"), &keys[..end]).expect("a writable directory");
        server
    }

    fn tls(&self, name: &str) -> PathBuf {
        self.tls.join(name)
    }

    fn leaf(&self, name: &str) -> PathBuf {
        self.leaves.join(name)
    }

    fn start(&self, scratch: &Path, name: &str, port: u16, etcd: &str) -> Running {
        let files = [
            ("client-ca-file", self.tls("client-ca.crt")),
            ("tls-cert-file", self.leaf("serving.crt")),
            ("tls-private-key-file", self.leaf("serving.key")),
            ("kubelet-client-certificate", self.leaf("kubelet-client.crt")),
            ("kubelet-client-key", self.leaf("kubelet-client.key")),
            ("kubelet-certificate-authority", self.tls("server-ca.crt")),
            ("requestheader-client-ca-file", self.tls("request-header-ca.crt")),
            ("proxy-client-cert-file", self.leaf("auth-proxy.crt")),
            ("proxy-client-key-file", self.leaf("auth-proxy.key")),
            ("etcd-cafile", self.tls("etcd/server-ca.crt")),
            ("etcd-certfile", self.leaf("etcd-client.crt")),
            ("etcd-keyfile", self.leaf("etcd-client.key")),
            ("service-account-key-file", self.tls("service.key")),
            ("service-account-signing-key-file", self.leaf("service.current.key")),
        ];
        api_server(scratch, name, port, etcd, &files, "system:auth-proxy")
    }
}

fn who(kubectl: Run) -> String {
    kubectl.args(["auth", "whoami", "--output=jsonpath={.status.userInfo.username}"]).succeeds()
}

#[test]
fn an_api_server_takes_what_a_k3s_server_gets_in_a_rotation() {
    let scratch = Scratch::new();
    let (path, port) = (scratch.path(), free_port());
    let exports = Exports::make_of(path, "edge", port, "k3s");
    let steady = Server::of(&exports, path, "steady");
    let rotate =
        |words: &[&str]| exports.kluis(["rotate"].iter().chain(words).chain(&["-c", "edge", "--yes"]).copied());
    rotate(&["start"]);
    rotate(&["trust"]);
    let trusted = Server::of(&exports, path, "trusted");
    rotate(&["promote"]);
    let promoted = Server::of(&exports, path, "promoted");

    // etcd on the bundle of both, with leaves of the former CA: the state between `trust` and `promote`.
    let cas = (trusted.tls("etcd/server-ca.crt"), trusted.tls("etcd/peer-ca.crt"));
    let (mut member, etcd) = etcd(path, &trusted.leaf("etcd-server"), &trusted.leaf("etcd-peer"), (&cas.0, &cas.1));
    let mut server = trusted.start(path, "api-trusted", port, &etcd);
    let both = trusted.tls("server-ca.crt");
    wait(&mut server, || kubectl(path, port, &both, &steady.leaf("admin")));
    member.must_be_alive();
    for admin in [&steady, &promoted] {
        assert_eq!(who(kubectl(path, port, &both, &admin.leaf("admin"))), "system:admin");
    }
    // The other CAs vouch for no client here.
    kubectl(path, port, &both, &steady.leaf("etcd-client")).args(["get", "namespaces"]).refused();
    let make = ["create", "token", "default", "--namespace=kube-system"];
    let admin = steady.leaf("admin");
    let account = ["create", "serviceaccount", "default", "--namespace=kube-system"];
    kubectl(path, port, &both, &admin).args(account).succeeds();
    let former = kubectl(path, port, &both, &admin).args(make).succeeds();
    server.stop();

    let mut server = promoted.start(path, "api-promoted", port, &etcd);
    let former_ca = steady.tls("server-ca.crt");
    wait(&mut server, || kubectl(path, port, &both, &promoted.leaf("admin")));
    // Who has the former CA alone is out, and who has both sees either leaf.
    kubectl(path, port, &former_ca, &admin).args(["get", "namespaces"]).refused();
    assert_eq!(who(kubectl(path, port, &both, &admin)), "system:admin");
    let new = kubectl(path, port, &both, &admin).args(make).succeeds();
    let by_token = |token: &str| {
        let run = Run::new(&programs::kubernetes("kubectl"), path)
            .flag("kubeconfig", "/dev/null")
            .flag("server", format!("https://127.0.0.1:{port}"))
            .flag("certificate-authority", &both)
            .flag("token", token.trim());
        who(run)
    };
    // service.key has two keys: the first signs, both verify.
    for token in [&former, &new] {
        assert_eq!(by_token(token), "system:serviceaccount:kube-system:default");
    }
    let header = |token: &str| token.split('.').next().unwrap_or_default().to_owned();
    assert_ne!(header(&former), header(&new), "another key signs");
}

#[test]
fn an_api_server_takes_the_leaves_that_k0s_finds() {
    let scratch = Scratch::new();
    let (path, port) = (scratch.path(), free_port());
    let exports = Exports::make_of(path, "edge", port, "k0s");
    let export = exports.node_of("k0s", "cp-1", "cp-1", &[]);
    let cas = (export.pki("etcd/ca.crt"), export.pki("etcd/ca.crt"));
    let (mut member, etcd) = etcd(path, &export.pki("etcd/server"), &export.pki("etcd/peer"), (&cas.0, &cas.1));
    let files = [
        ("client-ca-file", export.pki("ca.crt")),
        ("tls-cert-file", export.pki("server.crt")),
        ("tls-private-key-file", export.pki("server.key")),
        ("kubelet-client-certificate", export.pki("apiserver-kubelet-client.crt")),
        ("kubelet-client-key", export.pki("apiserver-kubelet-client.key")),
        ("kubelet-certificate-authority", export.pki("ca.crt")),
        ("requestheader-client-ca-file", export.pki("front-proxy-ca.crt")),
        ("proxy-client-cert-file", export.pki("front-proxy-client.crt")),
        ("proxy-client-key-file", export.pki("front-proxy-client.key")),
        ("etcd-cafile", export.pki("etcd/ca.crt")),
        ("etcd-certfile", export.pki("apiserver-etcd-client.crt")),
        ("etcd-keyfile", export.pki("apiserver-etcd-client.key")),
        ("service-account-key-file", export.pki("sa.pub")),
        ("service-account-signing-key-file", export.pki("sa.key")),
        ("encryption-provider-config", export.pki("encryption-config.yaml")),
    ];
    let mut server = api_server(path, "api-server", port, &etcd, &files, "front-proxy-client");
    let ca = export.pki("ca.crt");
    let by = |name: &str| kubectl(path, port, &ca, &export.pki(name));
    wait(&mut server, || by("admin"));
    member.must_be_alive();
    for (pair, user) in [
        ("admin", "kubernetes-admin"),
        ("ccm", "system:kube-controller-manager"),
        ("scheduler", "system:kube-scheduler"),
        ("konnectivity", "kube-apiserver-kubelet-client"),
    ] {
        assert_eq!(who(by(pair)), user, "{pair}");
    }
    // Nothing of it is system:masters: before the manifests are applied, admin can do nothing.
    by("admin").args(["get", "secrets", "--all-namespaces"]).refused();
    let keys = exports.node_of("k0s", "cp-1", "keys", &["--with-ca-keys"]);
    let glass = leaf(path, ("glass", &keys.pki("ca")), "/O=system:masters/CN=glass", CLIENT);
    kubectl(path, port, &ca, &glass).args(["apply", "--filename"]).args([export.file("rbac")]).succeeds();
    wait_until("an administrator", || {
        let ended = by("admin").args(["get", "secrets", "--all-namespaces"]).ends();
        if ended.output.status.success() { Ok(()) } else { Err(ended.to_string()) }
    });
    by("konnectivity").args(["auth", "can-i", "create", "tokenreviews.authentication.k8s.io"]).succeeds();
    by("konnectivity").args(["auth", "can-i", "get", "secrets"]).refused();
}
