//! Real kubeadm over an export: it finds everything, makes nothing, changes nothing.

use crate::exports::{CONTROL_PLANES, Export, Exports};
use crate::process::{Ended, Run, Scratch, free_port};
use crate::programs;

/// Mounts an empty file system over /etc and the export at /etc/kubernetes, where kubeadm looks whatever it is told, in a
/// mount namespace that ends with the program: nothing of the machine's own is touched.
const IN_PLACE: &str = r#"
mount -t tmpfs tmpfs /etc && mkdir /etc/kubernetes && mount --bind "$1" /etc/kubernetes && shift && exec "$@""#;

fn kubeadm(scratch: &Scratch, export: &Export, node: usize, args: &[&str]) -> Ended {
    let (name, _, address) = CONTROL_PLANES[node];
    let version = Run::new(&programs::kubernetes("kubeadm"), scratch.path()).args(["version", "--output=short"]);
    let configuration = configuration(name, address, version.succeeds().trim());
    let config = scratch.write(&format!("{name}.yaml"), &configuration);
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
