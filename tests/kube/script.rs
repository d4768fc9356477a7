//! What a node's script asks is answered by the real programs: its own lines run, with the ports of the test in the place
//! of kubeadm's. Copying and restarting are `tests/node_script.rs`'s.

use crate::control_plane::{Component, ControlPlane};
use crate::process::{Ended, Run};
use crate::programs;

/// Runs `well PROCESS` of the script of cp-1, on this node's files.
fn well(plane: &ControlPlane, process: &str, ports: &[(&str, u16)]) -> Ended {
    let mut script = plane.exports.kluis_run().args(["rotate", "script", "-c", "prod", "--node", "cp-1"]).succeeds();
    for (usual, port) in ports {
        assert!(script.contains(&format!(":{usual}/")), "{usual}");
        script = script.replace(&format!(":{usual}/"), &format!(":{port}/"));
    }
    let main = "main \"$@\"\n";
    let ask = format!("root={}\nwell {process}\n", plane.scratch().path().join("node").display());
    let script = script.strip_suffix(main).expect("it ends with its call").to_owned() + &ask;
    Run::new(&programs::system("sh"), plane.scratch().path()).args(["-c", &script]).ends()
}

#[test]
fn the_real_programs_answer_what_a_nodes_script_asks() {
    let plane = ControlPlane::start(1);
    let etc = plane.scratch().path().join("node/etc");
    std::fs::create_dir_all(&etc).expect("a writable scratch directory");
    plane.export.copy_to(&etc.join("kubernetes"));
    plane.apply_rbac();
    let manager = Component::controller_manager(&plane, &plane.export);
    let scheduler = Component::scheduler(&plane, &plane.export);
    for step in ["start", "trust"] {
        plane.exports.kluis(["rotate", step, "-c", "prod", "--yes"]);
    }
    let ports = [("6443", plane.port), ("10257", manager.port()), ("10259", scheduler.port())];
    for process in ["kube-apiserver", "kube-controller-manager", "kube-scheduler"] {
        let ended = well(&plane, process, &ports);
        assert!(ended.output.status.success(), "{process}: {ended}");
    }
    // An answer is not enough: it comes from the API server that the node's CA vouches for.
    let other = plane.exports.node("cp-2").pki("etcd/ca.crt");
    std::fs::copy(other, etc.join("kubernetes/pki/ca.crt")).expect("a file");
    assert!(!well(&plane, "kube-apiserver", &ports).output.status.success());
    drop(scheduler);
    assert!(!well(&plane, "kube-scheduler", &ports).output.status.success());
}
