//! Real kubeadm over an export: it finds everything, makes nothing, changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_yaml_ng::Value;

use crate::exports::{CONTROL_PLANES, Export, Exports};
use crate::process::{Ended, Run, Scratch, free_port};
use crate::programs;

/// Mounts an empty file system over /etc and /var/lib, the export at /etc/kubernetes, where kubeadm looks whatever it is told,
/// and a folder beside it at /var/lib/kubelet, in a mount namespace that ends with the program; and lets it find no systemctl:
/// nothing of the machine's own is touched.
const IN_PLACE: &str = r#"
mount -t tmpfs tmpfs /etc && mkdir /etc/kubernetes && mount --bind "$1" /etc/kubernetes &&
mkdir -p "$1.kubelet" && mount --bind "$1.kubelet" /mnt &&
mount -t tmpfs tmpfs /var/lib && mkdir /var/lib/kubelet && mount --bind /mnt /var/lib/kubelet &&
shift && export PATH=/nowhere && exec "$@""#;

fn kubeadm(scratch: &Scratch, export: &Export, node: usize, args: &[&str]) -> Ended {
    let (name, _, address) = CONTROL_PLANES[node];
    let configuration = configuration(name, address, &version(scratch));
    kubeadm_with(scratch, export, &configuration, args)
}

pub fn version(scratch: &Scratch) -> String {
    let version = Run::new(&programs::kubernetes("kubeadm"), scratch.path()).args(["version", "--output=short"]);
    version.succeeds().trim().to_owned()
}

pub fn kubeadm_with(scratch: &Scratch, export: &Export, configuration: &str, args: &[&str]) -> Ended {
    let config = scratch.write("kubeadm.yaml", configuration);
    Run::new(&programs::system("unshare"), scratch.path())
        .args(["--user", "--map-root-user", "--mount", "--", "sh", "-c", IN_PLACE, "sh"])
        .args([export.path(), &programs::kubernetes("kubeadm")])
        .args(args)
        .flag("config", config)
        .ends()
}

fn configuration(node: &str, address: &str, version: &str) -> String {
    format!(
        "apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint: {{advertiseAddress: {address}}}
nodeRegistration: {{name: {node}, criSocket: 'unix:///run/none.sock'}}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: {version}
certificatesDir: /etc/kubernetes/pki
controlPlaneEndpoint: 127.0.0.1:6443
apiServer: {{certSANs: ['127.0.0.1']}}
"
    )
}

const PHASES: [[&str; 4]; 2] = [["init", "phase", "certs", "all"], ["init", "phase", "kubeconfig", "all"]];

fn accepts_unchanged(scratch: &Scratch, export: &Export, node: usize) {
    let before = export.tree();
    for phase in PHASES {
        let ended = kubeadm(scratch, export, node, &phase);
        assert!(ended.output.status.success(), "{phase:?}: {ended}");
        assert_eq!(before, export.tree(), "{phase:?} changed the export: {ended}");
    }
}

#[test]
fn kubeadm_accepts_an_export_without_ca_keys_as_complete_and_changes_no_byte() {
    let scratch = Scratch::new();
    let exports = Exports::make(scratch.path(), "prod", free_port());
    for (index, (node, ..)) in CONTROL_PLANES.iter().enumerate() {
        let export = exports.node(node);
        for key in ["ca.key", "etcd/ca.key", "front-proxy-ca.key"] {
            assert!(!export.pki(key).exists(), "{key} must stay sealed");
        }
        accepts_unchanged(&scratch, &export, index);
    }
}

#[test]
fn kubeadm_accepts_an_export_with_ca_keys_and_changes_no_byte() {
    let scratch = Scratch::new();
    let export = Exports::make(scratch.path(), "prod", free_port()).node_with_ca_keys("cp-1");
    accepts_unchanged(&scratch, &export, 0);
}

#[test]
fn kubeadm_misses_any_file_that_is_taken_out_of_an_export() {
    let scratch = Scratch::new();
    let export = Exports::make(scratch.path(), "prod", free_port()).node("cp-1");
    // Without the CA's key kubeadm can make none of these itself: that it accepts the whole export is worth something.
    for (index, missing) in [
        "pki/apiserver.crt",
        "pki/apiserver-kubelet-client.crt",
        "pki/front-proxy-client.crt",
        "admin.conf",
        "scheduler.conf",
    ]
    .into_iter()
    .enumerate()
    {
        let copy = export.copy_to(&scratch.path().join(format!("copy-{index}")));
        std::fs::remove_file(copy.file(missing)).expect("a file of the export");
        let refused = PHASES.iter().any(|phase| !kubeadm(&scratch, &copy, 0, phase).output.status.success());
        assert!(refused, "kubeadm did not miss {missing}");
    }
}

#[test]
fn kubeadm_certs_check_expiration_reads_every_certificate_of_an_export() {
    let scratch = Scratch::new();
    let export = Exports::make(scratch.path(), "prod", free_port()).node("cp-1");
    let before = export.tree();
    let ended = kubeadm(&scratch, &export, 0, &["certs", "check-expiration"]);
    assert!(ended.output.status.success(), "{ended}");
    assert_eq!(before, export.tree());
    let table = ended.stdout();
    for name in [
        "admin.conf",
        "apiserver",
        "apiserver-etcd-client",
        "apiserver-kubelet-client",
        "controller-manager.conf",
        "etcd-healthcheck-client",
        "etcd-peer",
        "etcd-server",
        "front-proxy-client",
        "scheduler.conf",
        "super-admin.conf",
        "ca",
        "etcd-ca",
        "front-proxy-ca",
    ] {
        let row = table.lines().find(|line| line.split_whitespace().next() == Some(name));
        let row = row.unwrap_or_else(|| panic!("{name} is not in the table: {ended}"));
        assert!(row.contains("UTC"), "kubeadm could not read {name}: {ended}");
    }
}

/// kluis's configuration, of the version that kubeadm has: without a network it can't ask which is the newest.
fn configured(scratch: &Scratch, exports: &Exports, cluster: &str, more: &[&str]) -> String {
    let print = ["export", "kubeadm-config", "-c", cluster];
    let text = exports.kluis_run().args(print).args(more).succeeds();
    let label = text.lines().find_map(|line| line.strip_prefix("kubernetesVersion: ")).expect("a version").to_owned();
    assert!(label.starts_with("stable-1."), "{text}");
    text.replace(&label, &version(scratch))
}

/// A static pod: its flags, and which files of the node it sees.
struct Pod {
    flags: BTreeMap<String, String>,
    mounts: Vec<String>,
}

impl Pod {
    fn read(export: &Export, name: &str) -> Pod {
        let text = fs::read_to_string(export.file(&format!("manifests/{name}.yaml"))).expect("a manifest");
        let pod: Value = serde_yaml_ng::from_str(&text).expect("YAML");
        let list = |value: &Value| value.as_sequence().expect("a list").clone();
        let container = &pod["spec"]["containers"][0];
        let flags = list(&container["command"]).into_iter().skip(1).map(|flag| {
            let flag = flag.as_str().expect("text").to_owned();
            let (name, value) = flag.split_once('=').expect("a flag with a value");
            (name.trim_start_matches("--").to_owned(), value.to_owned())
        });
        let mounts = list(&container["volumeMounts"]).into_iter();
        let mounts = mounts.map(|mount| mount["mountPath"].as_str().expect("a path").to_owned());
        Pod { flags: flags.collect(), mounts: mounts.collect() }
    }

    /// Each of these flags has this value; a path without a beginning is below /etc/kubernetes/pki.
    #[track_caller]
    fn has(&self, flags: &[(&str, &str)]) {
        for (name, expected) in flags {
            let is_path = expected.ends_with(".crt") || expected.ends_with(".key") || *expected == "sa.pub";
            let expected = if is_path { format!("/etc/kubernetes/pki/{expected}") } else { (*expected).to_owned() };
            assert_eq!(self.flags.get(*name), Some(&expected), "{name}: {:#?}", self.flags);
        }
    }

    /// Every file that a flag names is one of the export, and the container sees it.
    #[track_caller]
    fn finds_all(&self, export: &Export) -> usize {
        let named = self.flags.iter().filter(|(_, value)| value.starts_with("/etc/kubernetes/"));
        for (flag, path) in named.clone() {
            let below = path.strip_prefix("/etc/kubernetes/").expect("a path on the node");
            assert!(export.file(below).is_file(), "--{flag}={path} is not in the export");
            assert!(self.mounts.iter().any(|mount| Path::new(path).starts_with(mount)), "{path}: {:?}", self.mounts);
        }
        named.count()
    }
}

/// What is the export's own: all but what kubeadm wrote beside it, and the patches.
fn exported(export: &Export) -> BTreeMap<std::path::PathBuf, (u32, String)> {
    let mut tree = export.tree();
    tree.retain(|path, _| {
        let below = path.strip_prefix(export.path()).expect("a path of the export");
        !below.starts_with("manifests") && !below.starts_with("patches")
    });
    tree
}

#[test]
fn kubeadm_takes_the_configuration_and_runs_everything_on_the_files_of_the_export() {
    let scratch = Scratch::new();
    let exports = Exports::make(scratch.path(), "prod", free_port());
    for with_ca_keys in [false, true] {
        let (whole, more) = match with_ca_keys {
            false => (exports.node("cp-1"), &["--node", "cp-1"][..]),
            true => (exports.node_with_ca_keys("cp-1"), &["--node", "cp-1", "--with-ca-keys"][..]),
        };
        let export = whole.copy_to(&scratch.path().join(format!("with-{with_ca_keys}")));
        let configuration = configured(&scratch, &exports, "prod", more);
        fs::create_dir(export.file("patches")).expect("a writable scratch directory");
        fs::write(export.file("patches/kubeletconfiguration.yaml"), "rotateCertificates: false\n").expect("a file");
        let before = exported(&export);
        for args in [
            &["config", "validate"][..],
            &["init", "phase", "certs", "all"],
            &["init", "phase", "kubeconfig", "all"],
            &["init", "phase", "control-plane", "all"],
            &["init", "phase", "etcd", "local"],
            &["init", "phase", "kubelet-start"],
        ] {
            let ended = kubeadm_with(&scratch, &export, &configuration, args);
            assert!(ended.output.status.success(), "{args:?}: {ended}");
            assert_eq!(before, exported(&export), "{args:?} changed the export: {ended}");
        }

        let kubelet = fs::read_to_string(export.path().with_extension("kubelet").join("config.yaml")).expect("a file");
        let kubelet: Value = serde_yaml_ng::from_str(&kubelet).expect("YAML");
        assert_eq!(kubelet["rotateCertificates"], false, "{kubelet:#?}");
        assert_eq!(kubelet["authentication"]["x509"]["clientCAFile"], "/etc/kubernetes/pki/ca.crt");
        assert_eq!(kubelet["tlsCertFile"], "/var/lib/kubelet/pki/kubelet.crt");
        assert_eq!(kubelet["tlsPrivateKeyFile"], "/var/lib/kubelet/pki/kubelet.key");

        let pod = |name| Pod::read(&export, name);
        let (api_server, manager) = (pod("kube-apiserver"), pod("kube-controller-manager"));
        api_server.has(&[
            ("advertise-address", CONTROL_PLANES[0].2),
            ("client-ca-file", "ca.crt"),
            ("kubelet-certificate-authority", "ca.crt"),
            ("kubelet-client-certificate", "apiserver-kubelet-client.crt"),
            ("tls-cert-file", "apiserver.crt"),
            ("tls-private-key-file", "apiserver.key"),
            ("requestheader-client-ca-file", "front-proxy-ca.crt"),
            ("proxy-client-cert-file", "front-proxy-client.crt"),
            ("etcd-cafile", "etcd/ca.crt"),
            ("etcd-certfile", "apiserver-etcd-client.crt"),
            ("service-account-key-file", "sa.pub"),
            ("service-account-signing-key-file", "sa.key"),
            ("service-account-issuer", "https://kubernetes.default.svc.cluster.local"),
            ("service-cluster-ip-range", "10.96.0.0/12"),
            ("encryption-provider-config", "/etc/kubernetes/pki/encryption-config.yaml"),
            ("encryption-provider-config-automatic-reload", "true"),
        ]);
        let (signing, key) = if with_ca_keys { ("ca-signing.crt", "ca.key") } else { ("", "") };
        manager.has(&[
            ("cluster-name", "prod"),
            ("root-ca-file", "ca.crt"),
            ("client-ca-file", "ca.crt"),
            ("cluster-signing-cert-file", signing),
            ("cluster-signing-key-file", key),
            ("service-account-private-key-file", "sa.key"),
            ("kubeconfig", "/etc/kubernetes/controller-manager.conf"),
        ]);
        pod("etcd").has(&[
            ("name", "cp-1"),
            ("cert-file", "etcd/server.crt"),
            ("key-file", "etcd/server.key"),
            ("trusted-ca-file", "etcd/ca.crt"),
            ("peer-cert-file", "etcd/peer.crt"),
            ("peer-trusted-ca-file", "etcd/ca.crt"),
            ("client-cert-auth", "true"),
            ("peer-client-cert-auth", "true"),
        ]);
        for (pod, files) in [
            (api_server, 15),
            (manager, if with_ca_keys { 9 } else { 7 }),
            (pod("kube-scheduler"), 3),
            (pod("etcd"), 6),
        ] {
            assert_eq!(pod.finds_all(&export), files, "{:#?}", pod.flags);
        }
    }
}

#[test]
fn kubeadm_takes_the_configuration_of_an_older_version() {
    let scratch = Scratch::new();
    let exports = Exports::make(scratch.path(), "prod", free_port());
    let endpoint = "https://api.old.example.org:6443";
    let new = ["cluster", "new", "old", "--endpoint", endpoint, "--kubernetes", "1.30", "--yes"];
    exports.kluis(new.into_iter().chain(["--node", "o-1=192.0.2.31:control-plane", "--node", "o-2=192.0.2.32:etcd"]));
    for more in [&["--node", "o-1"][..], &["--with-ca-keys"]] {
        let configuration = configured(&scratch, &exports, "old", more);
        assert!(configuration.contains("kubeadm.k8s.io/v1beta3"), "{configuration}");
        let export = exports.node("cp-1");
        let ended = kubeadm_with(&scratch, &export, &configuration, &["config", "validate"]);
        assert!(ended.output.status.success(), "{ended}");
        // It reads every field: one that it does not know is an error.
        let wrong = configuration.replace("extraArgs:", "extraArgz:");
        let ended = kubeadm_with(&scratch, &export, &wrong, &["config", "validate"]);
        assert!(!ended.output.status.success(), "{ended}");
    }
}
