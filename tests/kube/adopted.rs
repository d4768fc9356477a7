//! A cluster that kubeadm made is adopted while it runs, and rotated away from the keys that lay in plaintext on its nodes,
//! under load and with no request refused.

use std::fs;
use std::path::Path;
use std::time::Instant;

use crate::emergency::{EVERYWHERE, Forger};
use crate::exports::{CONTROL_PLANES, Export, Exports};
use crate::fleet::{Fleet, rename_over};
use crate::kubeadm::{kubeadm_with, version};
use crate::load::Load;
use crate::process::{Scratch, free_port};
use crate::rotation::{Clients, nobody_was_refused, settle, step};

/// What kubeadm copies to a further control-plane node (`--upload-certs`).
const SHARED: [&str; 8] =
    ["ca.crt", "ca.key", "etcd/ca.crt", "etcd/ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "sa.key", "sa.pub"];

#[test]
fn a_cluster_of_kubeadms_is_adopted_while_it_runs_and_rotated_away_from_its_plaintext_keys() {
    let scratch = Scratch::new();
    let port = free_port();
    let nodes = scratch.path().join("kubeadm");
    made_by_kubeadm(&scratch, &nodes, port);
    let exports = Exports::found(scratch.path(), "prod");
    let (mut fleet, load) = Fleet::start_on(scratch, port, exports, |_, name| Export::of(nodes.join(name)));
    let began = Instant::now();
    let clients = settle(&mut fleet, &load);
    clients.ask_while(&load, || {
        adopt(&mut fleet, &load, &clients, &nodes, port);
        rotate_away(&mut fleet, &load, &clients);
    });
    nobody_was_refused(&fleet, &load, began);
}

/// Folders as real kubeadm makes them: three control-plane nodes with the CA keys on each, and a kubelet's kubeconfig.
fn made_by_kubeadm(scratch: &Scratch, nodes: &Path, port: u16) {
    let version = version(scratch);
    for (index, (name, loopback, address)) in CONTROL_PLANES.iter().enumerate() {
        let folder = nodes.join(name);
        fs::create_dir_all(folder.join("pki/etcd")).expect("a writable scratch directory");
        if index > 0 {
            let first = nodes.join(CONTROL_PLANES[0].0);
            for file in SHARED {
                fs::copy(first.join("pki").join(file), folder.join("pki").join(file)).expect("kubeadm made it");
            }
        }
        let configuration = format!(
            "apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint: {{advertiseAddress: {address}}}
nodeRegistration: {{name: {name}, criSocket: 'unix:///run/none.sock'}}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: {version}
certificatesDir: /etc/kubernetes/pki
controlPlaneEndpoint: 127.0.0.1:{port}
apiServer: {{certSANs: ['{loopback}', '127.0.0.1']}}
etcd: {{local: {{serverCertSANs: ['{loopback}'], peerCertSANs: ['{loopback}']}}}}
"
        );
        let folder = Export::of(folder);
        for phase in [["init", "phase", "certs", "all"], ["init", "phase", "kubeconfig", "all"]] {
            let ended = kubeadm_with(scratch, &folder, &configuration, &phase);
            assert!(ended.output.status.success(), "{phase:?}: {ended}");
        }
        if index == 0 {
            let user = ["kubeconfig", "user", "--client-name=system:node:w-1", "--org=system:nodes"];
            let ended = kubeadm_with(scratch, &folder, &configuration, &user);
            assert!(ended.output.status.success(), "{ended}");
            fs::create_dir(nodes.join("w-1")).expect("a writable scratch directory");
            fs::write(nodes.join("w-1/kubelet.conf"), ended.stdout()).expect("a writable scratch directory");
        }
    }
}

/// The keys come into the repository, nothing on the nodes changes; then every node gets certificates that are on record,
/// still of the same CAs, and the CA keys leave the nodes.
fn adopt(fleet: &mut Fleet, load: &Load, clients: &Clients, nodes: &Path, port: u16) {
    let endpoint = format!("https://127.0.0.1:{port}");
    let from = nodes.join("cp-1");
    let from = from.to_str().expect("scratch paths are ASCII");
    let mut import = vec!["cluster", "import", "prod", "--from", from, "--distribution", "kubeadm"];
    import.extend(["--endpoint", &endpoint, "--kubernetes", "1.36"]);
    let described: Vec<String> = CONTROL_PLANES
        .iter()
        .map(|(name, loopback, address)| format!("{name}={loopback},{address}:control-plane,etcd"))
        .chain(["w-1=127.0.0.1,192.0.2.21:worker".to_owned()])
        .collect();
    described.iter().for_each(|node| import.extend(["--node", node]));
    import.push("--yes");
    fleet.exports.kluis(import);
    fleet.exports.kluis(["verify"]);
    clients.all_go_on();
    fleet.exports.kluis(["cluster", "apply", "-c", "prod", "--yes"]);
    for (name, ..) in CONTROL_PLANES {
        put_on_node(fleet, name);
        for process in ["etcd", "kube-apiserver", "kube-controller-manager", "kubelet"] {
            fleet.restart(name, process, load, &clients.kubelet);
        }
    }
    put_on_node(fleet, "w-1");
    fleet.restart("w-1", "kubelet", load, &clients.kubelet);
    let rbac = fleet.exports.node("cp-1").file("rbac");
    fleet.kubectl().args(["apply", "--filename"]).args([rbac]).succeeds();
    clients.all_go_on();
    load.nobody_was_distrusted("while it was adopted");
}

/// All of a node's export in the place of what is there; the keys that could issue go.
fn put_on_node(fleet: &mut Fleet, name: &str) {
    let export = fleet.exports.node(name);
    let live = fleet.path().join("live").join(name);
    for (path, (_, hash)) in export.tree() {
        let file = path.strip_prefix(export.path()).expect("a path of the export");
        if hash == "directory" {
            fs::create_dir_all(live.join(file)).expect("a writable scratch directory");
        } else if live.join(file).exists() {
            rename_over(&path, &live.join(file));
        } else {
            fs::copy(&path, live.join(file)).expect("a writable scratch directory");
        }
    }
    for key in ["ca.key", "etcd/ca.key", "front-proxy-ca.key"] {
        let path = live.join("pki").join(key);
        if path.exists() {
            fs::remove_file(path).expect("a file of the node");
        }
    }
}

/// Every keyset gets a generation whose keys were never in plaintext.
fn rotate_away(fleet: &mut Fleet, load: &Load, clients: &Clients) {
    let forger = Forger::with_leaked_keys(fleet);
    fleet.start_scheduler();
    forger.is_let_in(fleet, load, &EVERYWHERE);
    step(fleet, load, clients, &["start"]);
    step(fleet, load, clients, &["trust"]);
    moves_everybody(fleet, clients);
    let gates = ["nodes-have-bundle", "clients-have-bundle", "verifiers-have-key"];
    step(fleet, load, clients, &confirmed("promote", &gates));
    moves_everybody(fleet, clients);
    step(fleet, load, clients, &confirmed("distrust", &["nodes-have-leaves", "clients-moved", "tokens-renewed"]));
    crate::emergency::the_configmap_is_made_anew(fleet, &fleet.node("cp-1").file("admin.conf"));
    forger.is_let_in(fleet, load, &[]);
    fleet.exports.kluis(["rotate", "remove", "-c", "prod", "--yes"]);
    let phases = fleet.status()["keysets"].clone();
    assert!(phases.as_array().expect("keysets").iter().all(|one| one["phase"] == "steady"), "{phases}");
    fleet.exports.kluis(["verify"]);
}

fn confirmed<'a>(step: &'a str, gates: &[&'a str]) -> Vec<&'a str> {
    std::iter::once(step).chain(gates.iter().flat_map(|gate| ["--confirm", *gate])).collect()
}

fn moves_everybody(fleet: &mut Fleet, clients: &Clients) {
    let admin = fleet.node("cp-1").file("admin.conf");
    clients.person.moves_to(fleet.credentials(&admin));
    clients.writer.moves_to(fleet.credentials(&admin));
    clients.all_go_on();
}
