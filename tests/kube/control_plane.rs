//! Real etcd members, API server, controller-manager and scheduler, started from an export alone.
//! Owns their flags (reference: the manifests that kubeadm 1.36 writes) and when they count as up. All of them listen on
//! loopback only.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::exports::{CONTROL_PLANES, Export, Exports};
use crate::process::{Run, Running, Scratch, free_port, wait_until};
use crate::programs;

/// Metadata of every request, once, when it has been answered.
const AUDIT_POLICY: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": [{"level": "Metadata"}]}"#;

/// Members of one etcd cluster.
pub struct Etcd {
    scratch: PathBuf,
    members: Vec<Member>,
    /// Every member with where its peers reach it, as each of them is told.
    everyone: String,
}

/// One member: its export, where it listens, and the process.
pub struct Member {
    name: &'static str,
    pub export: Export,
    pub client: String,
    pub peer: String,
    process: Running,
}

impl Member {
    pub fn log(&self) -> String {
        self.process.log()
    }
}

impl Etcd {
    /// Starts the first `count` control-plane nodes' members, and waits until all are healthy.
    pub fn start(scratch: &Path, exports: &Exports, count: usize) -> Etcd {
        Etcd::start_on(scratch, CONTROL_PLANES[..count].iter().map(|(name, ..)| exports.node(name)).collect())
    }

    /// Starts a member on each of these directories, which are those of the first control-plane nodes in their order.
    pub fn start_on(scratch: &Path, exports: Vec<Export>) -> Etcd {
        let mut everyone = Vec::new();
        let mut listen = Vec::new();
        for (name, address, _) in &CONTROL_PLANES[..exports.len()] {
            let (client, peer) = (format!("{address}:{}", free_port()), format!("{address}:{}", free_port()));
            everyone.push(format!("{name}=https://{peer}"));
            listen.push((*name, client, peer));
        }
        let everyone = everyone.join(",");
        let members = exports.into_iter().zip(listen).map(|(export, (name, client, peer))| {
            let process =
                member(scratch, &export, name, &client, &peer, &everyone).starts(&format!("etcd-{name}"), scratch);
            Member { name, export, client, peer, process }
        });
        let mut etcd = Etcd { members: members.collect(), scratch: scratch.to_path_buf(), everyone };
        (0..etcd.members.len()).for_each(|index| etcd.wait_for_health(index));
        etcd
    }

    /// Ends a member as a service manager does, starts it again on the files that lie in its directory now, and waits until
    /// it is healthy: it serves, and there is a quorum.
    pub fn restart(&mut self, index: usize, log: &str) {
        self.members[index].process.stop();
        self.start_again(index, log);
        self.wait_for_health(index);
    }

    /// Ends all members, runs `between`, and starts all again.
    pub fn restart_together(&mut self, log: &str, between: impl FnOnce()) {
        self.members.iter_mut().for_each(|member| member.process.stop());
        between();
        (0..self.members.len()).for_each(|index| self.start_again(index, &format!("{log}-{index}")));
        (0..self.members.len()).for_each(|index| self.wait_for_health(index));
    }

    fn start_again(&mut self, index: usize, log: &str) {
        let member = &mut self.members[index];
        let run =
            self::member(&self.scratch, &member.export, member.name, &member.client, &member.peer, &self.everyone);
        member.process = run.starts(log, &self.scratch);
    }

    fn wait_for_health(&mut self, index: usize) {
        wait_until("a healthy etcd member", || {
            self.members[index].process.must_be_alive();
            let health = self.as_health_check(index).args(["endpoint", "health"]).ends();
            if health.output.status.success() { Ok(()) } else { Err(health.to_string()) }
        });
    }

    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// `etcdctl` for one member, without a certificate.
    pub fn without_certificate(&self, member: usize) -> Run {
        let member = &self.members[member];
        Run::new(&programs::etcd("etcdctl"), &self.scratch)
            .flag("endpoints", &member.client)
            .flag("cacert", member.export.pki("etcd/ca.crt"))
            .args(["--command-timeout=5s", "--dial-timeout=5s"])
    }

    /// `etcdctl` for one member with a certificate: the path of it without `.crt`.
    pub fn with_certificate(&self, member: usize, pair: &Path) -> Run {
        self.without_certificate(member)
            .flag("cert", pair.with_extension("crt"))
            .flag("key", pair.with_extension("key"))
    }

    /// `etcdctl` for one member as its node's health check.
    pub fn as_health_check(&self, member: usize) -> Run {
        self.with_certificate(member, &self.members[member].export.pki("etcd/healthcheck-client"))
    }
}

fn member(scratch: &Path, export: &Export, name: &str, client: &str, peer: &str, everyone: &str) -> Run {
    Run::new(&programs::etcd("etcd"), scratch)
        .flag("name", name)
        .flag("data-dir", scratch.join(format!("data-{name}")))
        .flag("listen-client-urls", format!("https://{client}"))
        .flag("advertise-client-urls", format!("https://{client}"))
        .flag("listen-peer-urls", format!("https://{peer}"))
        .flag("initial-advertise-peer-urls", format!("https://{peer}"))
        .flag("initial-cluster", everyone)
        .flag("cert-file", export.pki("etcd/server.crt"))
        .flag("key-file", export.pki("etcd/server.key"))
        .flag("trusted-ca-file", export.pki("etcd/ca.crt"))
        .flag("peer-cert-file", export.pki("etcd/peer.crt"))
        .flag("peer-key-file", export.pki("etcd/peer.key"))
        .flag("peer-trusted-ca-file", export.pki("etcd/ca.crt"))
        .args(["--client-cert-auth", "--peer-client-cert-auth", "--initial-cluster-state=new", "--logger=zap"])
        .args(["--unsafe-no-fsync"]) // nothing here has to survive a power cut
}

/// An API server on its etcd, of node cp-1.
pub struct ControlPlane {
    // Dropped in this order: the API server before what it needs.
    api_server: Running,
    pub etcd: Etcd,
    pub exports: Exports,
    pub export: Export,
    pub port: u16,
    audit: PathBuf,
    scratch: Scratch,
}

impl ControlPlane {
    /// Makes a cluster, starts `members` etcd members and an API server, and waits until it says that it is ready.
    pub fn start(members: usize) -> ControlPlane {
        ControlPlane::start_with(members, &[])
    }

    /// The same, and the API server gets these flags as well.
    pub fn start_with(members: usize, flags: &[&str]) -> ControlPlane {
        ControlPlane::make(members, flags, &[])
    }

    /// The same, of a cluster whose CAs have name constraints.
    pub fn start_constrained(members: usize) -> ControlPlane {
        ControlPlane::make(members, &[], &["--name-constraints"])
    }

    fn make(members: usize, flags: &[&str], cluster: &[&str]) -> ControlPlane {
        let scratch = Scratch::new();
        let port = free_port();
        let exports = Exports::make_with(scratch.path(), "prod", port, cluster);
        let export = exports.node("cp-1");
        let etcd = Etcd::start(scratch.path(), &exports, members);
        let audit = scratch.path().join("audit.log");
        let api_server = api_server(scratch.path(), &export, &etcd, ("127.0.0.1", port), &audit)
            .args(flags)
            .starts("kube-apiserver", scratch.path());
        let mut plane = ControlPlane { api_server, etcd, exports, export, port, audit, scratch };
        let super_admin = plane.export.file("super-admin.conf");
        wait_until("an API server that is ready", || {
            plane.api_server.must_be_alive();
            let ready = plane.kubectl(&super_admin).args(["get", "--raw", "/readyz"]).ends();
            if ready.output.status.success() { Ok(()) } else { Err(ready.to_string()) }
        });
        plane
    }

    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// `kubectl` with a kubeconfig that names this API server.
    pub fn kubectl(&self, kubeconfig: &Path) -> Run {
        Run::new(&programs::kubernetes("kubectl"), self.scratch.path())
            .flag("kubeconfig", kubeconfig)
            .args(["--request-timeout=30s"])
    }

    /// `kubectl` as the export's super-admin.
    pub fn as_super_admin(&self) -> Run {
        self.kubectl(&self.export.file("super-admin.conf"))
    }

    /// What the API server answers to a client without a certificate, status line first.
    pub fn without_certificate(&self, path: &str) -> String {
        let trust = ["-verify_return_error".into(), "-CAfile".into(), self.export.pki("ca.crt")];
        get_without_certificate(self.scratch.path(), self.port, path, &trust)
    }

    /// `kubectl` with a certificate: the path of it without `.crt`.
    pub fn with_certificate(&self, pair: &Path) -> Run {
        self.kubectl(Path::new("/dev/null"))
            .flag("server", format!("https://127.0.0.1:{}", self.port))
            .flag("certificate-authority", self.export.pki("ca.crt"))
            .flag("client-certificate", pair.with_extension("crt"))
            .flag("client-key", pair.with_extension("key"))
    }

    /// The path of a copy of an export's kubeconfig in which only the server's URL is another: that of this API server,
    /// instead of the node's advertised address, which is not this machine's.
    pub fn on_loopback(&self, export: &Export, name: &str) -> PathBuf {
        let node = export.path().file_name().expect("an export is a directory").to_string_lossy().into_owned();
        let copy = self.scratch.path().join(format!("{node}-{name}"));
        if copy.exists() {
            return copy;
        }
        std::fs::copy(export.file(name), &copy).expect("an export can be read");
        let cluster = self.kubectl(&copy).args(["config", "view", "--output=jsonpath={.clusters[0].name}"]).succeeds();
        self.kubectl(&copy)
            .args(["config", "set-cluster", &cluster])
            .flag("server", format!("https://127.0.0.1:{}", self.port))
            .succeeds();
        copy
    }

    /// Applies the RBAC manifests of the export, as a first administrator has to.
    pub fn apply_rbac(&self) {
        self.as_super_admin().args(["apply", "--filename"]).args([self.export.file("rbac")]).succeeds();
    }

    /// The API server's audit events whose request URI contains `mark`; waits for the first.
    pub fn audited(&self, mark: &str) -> Vec<Value> {
        wait_until("an audit event", || {
            let events = self.audit_events(|event| event["requestURI"].as_str().is_some_and(|uri| uri.contains(mark)));
            if events.is_empty() { Err(format!("no request with {mark}")) } else { Ok(events) }
        })
    }

    /// The file of the API server's audit log.
    pub fn audit_log(&self) -> &Path {
        &self.audit
    }

    /// All audit events so far that `wanted` chooses.
    pub fn audit_events(&self, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let log = std::fs::read_to_string(&self.audit).unwrap_or_default();
        // The last line may be half written.
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).filter(|event| wanted(event)).collect()
    }

    pub fn must_be_alive(&mut self) {
        self.api_server.must_be_alive();
    }
}

/// One HTTP request over openssl: kubectl asks for a user name when it has no certificate.
fn get_without_certificate(home: &Path, port: u16, path: &str, trust: &[PathBuf]) -> String {
    let address = format!("127.0.0.1:{port}");
    let ended = Run::new(&programs::system("openssl"), home)
        .args(["s_client", "-quiet", "-connect", &address])
        .args(trust)
        .input(&format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n"))
        .ends();
    if ended.stdout().is_empty() { ended.to_string() } else { ended.stdout() }
}

/// The API server of one node's directory, listening at an address of loopback.
pub fn api_server(scratch: &Path, export: &Export, etcd: &Etcd, (address, port): (&str, u16), audit: &Path) -> Run {
    let servers: Vec<String> = etcd.members().iter().map(|member| format!("https://{}", member.client)).collect();
    let mut run = Run::new(&programs::kubernetes("kube-apiserver"), scratch);
    // Whether a cluster encrypts at rest is its own matter: one that was adopted need not.
    let encryption = export.pki("encryption-config.yaml");
    if encryption.exists() {
        run = run.flag("encryption-provider-config", encryption);
    }
    run.flag("bind-address", address)
        .flag("secure-port", port.to_string())
        .flag("etcd-servers", servers.join(","))
        .flag("client-ca-file", export.pki("ca.crt"))
        .flag("tls-cert-file", export.pki("apiserver.crt"))
        .flag("tls-private-key-file", export.pki("apiserver.key"))
        .flag("kubelet-client-certificate", export.pki("apiserver-kubelet-client.crt"))
        .flag("kubelet-client-key", export.pki("apiserver-kubelet-client.key"))
        .flag("kubelet-certificate-authority", export.pki("ca.crt"))
        .flag("requestheader-client-ca-file", export.pki("front-proxy-ca.crt"))
        .flag("proxy-client-cert-file", export.pki("front-proxy-client.crt"))
        .flag("proxy-client-key-file", export.pki("front-proxy-client.key"))
        .flag("etcd-cafile", export.pki("etcd/ca.crt"))
        .flag("etcd-certfile", export.pki("apiserver-etcd-client.crt"))
        .flag("etcd-keyfile", export.pki("apiserver-etcd-client.key"))
        .flag("service-account-key-file", export.pki("sa.pub"))
        .flag("service-account-signing-key-file", export.pki("sa.key"))
        .flag("cert-dir", scratch.join(format!("api-server-{address}")))
        .flag("audit-policy-file", audit_policy(scratch))
        .flag("audit-log-path", audit)
        .args([
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none", // a loopback address may not be an endpoint
            "--service-cluster-ip-range=10.96.0.0/12",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            "--enable-aggregator-routing=false",
        ])
}

fn audit_policy(scratch: &Path) -> PathBuf {
    let path = scratch.join("audit-policy.json");
    std::fs::write(&path, AUDIT_POLICY).expect("a writable scratch directory");
    path
}

/// A controller-manager or scheduler.
pub struct Component {
    process: Running,
    port: u16,
    scratch: PathBuf,
}

impl Component {
    /// Starts the export's controller-manager; with the CA's key where the export has one, as kubeadm runs it.
    pub fn controller_manager(plane: &ControlPlane, export: &Export) -> Component {
        let kubeconfig = plane.on_loopback(export, "controller-manager.conf");
        Component::controller_manager_on(plane.scratch().path(), export, &kubeconfig, "kube-controller-manager")
    }

    /// Starts the export's controller-manager on a kubeconfig that names an API server on loopback.
    pub fn controller_manager_on(scratch: &Path, export: &Export, kubeconfig: &Path, log: &str) -> Component {
        let (certificate, key) = match export.pki("ca.key") {
            // kubeadm's own folder has the CA's certificate once.
            key if key.exists() && !export.pki("ca-signing.crt").exists() => (export.pki("ca.crt"), key),
            key if key.exists() => (export.pki("ca-signing.crt"), key),
            _ => (PathBuf::new(), PathBuf::new()),
        };
        Component::start(scratch, "kube-controller-manager", kubeconfig, log, |run| {
            run.flag("client-ca-file", export.pki("ca.crt"))
                .flag("root-ca-file", export.pki("ca.crt"))
                .flag("service-account-private-key-file", export.pki("sa.key"))
                .flag("requestheader-client-ca-file", export.pki("front-proxy-ca.crt"))
                .flag("cluster-signing-cert-file", certificate)
                .flag("cluster-signing-key-file", key)
                .args(["--use-service-account-credentials=true"])
        })
    }

    /// Starts the export's scheduler.
    pub fn scheduler(plane: &ControlPlane, export: &Export) -> Component {
        let kubeconfig = plane.on_loopback(export, "scheduler.conf");
        Component::scheduler_on(plane.scratch().path(), &kubeconfig, "kube-scheduler")
    }

    /// Starts a scheduler on a kubeconfig that names an API server on loopback.
    pub fn scheduler_on(scratch: &Path, kubeconfig: &Path, log: &str) -> Component {
        Component::start(scratch, "kube-scheduler", kubeconfig, log, |run| run)
    }

    fn start(scratch: &Path, program: &str, kubeconfig: &Path, log: &str, more: impl FnOnce(Run) -> Run) -> Component {
        let port = free_port();
        let run = Run::new(&programs::kubernetes(program), scratch)
            .flag("kubeconfig", kubeconfig)
            .flag("authentication-kubeconfig", kubeconfig)
            .flag("authorization-kubeconfig", kubeconfig)
            .flag("secure-port", port.to_string())
            .flag("cert-dir", scratch.join(program))
            .args(["--bind-address=127.0.0.1", "--leader-elect=false"]);
        let process = more(run).starts(log, scratch);
        let mut component = Component { process, port, scratch: scratch.to_path_buf() };
        wait_until(&format!("a healthy {program}"), || component.health());
        component
    }

    pub fn log(&self) -> String {
        self.process.log()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Asks `/healthz`; the answer's refusal as text.
    pub fn health(&mut self) -> Result<(), String> {
        self.process.must_be_alive();
        // It serves with a certificate that it made itself: only its answer counts here.
        let answer = get_without_certificate(&self.scratch, self.port, "/healthz", &[]);
        if answer.contains("200 OK") && answer.ends_with("ok") { Ok(()) } else { Err(answer) }
    }
}
