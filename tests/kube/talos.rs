//! Real talosctl on what `kluis export talos` writes: it makes machine configurations of it and gives the same file back, in
//! each phase of a rotation. What no machine that runs Talos is here for (`talosctl patch mc`, restarts) is not tried.
//! Owns the runs of talosctl; other tests take its own files from here.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize as _;
use serde_yaml_ng::Value;

use crate::exports::{Export, Exports};
use crate::process::{Run, Scratch};
use crate::programs;

const ENDPOINT: &str = "https://192.0.2.10:6443";

/// talosctl, which sees and leaves nothing outside `directory`.
fn talosctl(directory: &Path) -> Run {
    Run::new(&programs::talosctl(), directory).current_dir(directory)
}

/// A `secrets.yaml` that talosctl made itself.
pub fn own_secrets(directory: &Path) -> PathBuf {
    talosctl(directory).args(["gen", "secrets", "--output-file", "secrets.yaml"]).succeeds();
    directory.join("secrets.yaml")
}

/// The configurations that talosctl makes of a `secrets.yaml`: `controlplane.yaml`, `worker.yaml` and `talosconfig` in
/// `directory`, which has to exist.
pub fn configurations(directory: &Path, secrets: &Path) -> PathBuf {
    let run = talosctl(directory).args(["gen", "config", "edge", ENDPOINT]).flag("with-secrets", secrets);
    run.args(["--with-docs=false", "--with-examples=false"]).succeeds();
    directory.to_path_buf()
}

/// The machine configuration in a file: the first document, which is what talosctl calls v1alpha1.
fn machine(path: &Path) -> Value {
    let text = fs::read_to_string(path).expect("a machine configuration");
    let documents = serde_yaml_ng::Deserializer::from_str(&text).map(|one| Value::deserialize(one).expect("YAML"));
    documents.into_iter().find(|one| one["version"] == "v1alpha1").expect("a v1alpha1 document")
}

fn decoded(value: &Value) -> String {
    let text = value.as_str().unwrap_or_else(|| panic!("no text: {value:?}"));
    String::from_utf8(STANDARD.decode(text).expect("base64")).expect("PEM")
}

/// The certificates that a list of accepted CAs has.
fn accepted(machine: &Value, section: &str) -> Vec<String> {
    let listed = machine[section]["acceptedCAs"].as_sequence();
    listed.into_iter().flatten().map(|one| decoded(&one["crt"])).collect()
}

fn valid(directory: &Path, config: &str) {
    for mode in ["metal", "cloud", "container"] {
        let said = talosctl(directory).args(["validate", "--strict", "--mode", mode, "--config", config]).succeeds();
        assert!(said.contains("is valid"), "{said}");
    }
}

/// A Talos cluster of kluis, and where its machine configurations are.
struct Edge {
    exports: Exports,
    machines: PathBuf,
    _scratch: Scratch,
}

impl Edge {
    fn make() -> Edge {
        let scratch = Scratch::new();
        let exports = Exports::found(scratch.path(), "edge");
        exports.kluis(
            ["cluster", "new", "edge", "--distribution", "talos", "--kubernetes", "1.36", "--endpoint", ENDPOINT]
                .into_iter()
                .chain(["--node", "cp-1=192.0.2.11:control-plane,etcd", "--node", "w-1=192.0.2.21:worker", "--yes"]),
        );
        let machines = scratch.path().join("machines");
        fs::create_dir(&machines).expect("a writable scratch directory");
        Edge { exports, machines, _scratch: scratch }
    }

    fn rotate(&self, step: &[&str]) {
        let words = ["rotate"].iter().chain(step).chain(&["kubernetes", "talos", "-c", "edge", "--yes"]).copied();
        self.exports.kluis(words);
    }

    /// Applies a phase's patches to the configurations of the machines, twice, and looks at what they are then.
    fn apply(&self, export: &Export, issuing: u32, accepts: &[u32]) {
        for (config, patch) in [("controlplane.yaml", "patch-controlplane.yaml"), ("worker.yaml", "patch-worker.yaml")]
        {
            let patched = |from: &str, to: &str| {
                let patch = format!("@{}", export.file(patch).display());
                let run =
                    talosctl(&self.machines).args(["machineconfig", "patch", from, "--patch", &patch, "--output", to]);
                run.succeeds();
            };
            patched(config, "once.yaml");
            patched("once.yaml", config);
            let same = |name: &str| fs::read_to_string(self.machines.join(name)).expect("a machine configuration");
            assert_eq!(same("once.yaml"), same(config), "applied again, it changes nothing");
            valid(&self.machines, config);
            let machine = machine(&self.machines.join(config));
            for (section, keyset) in [("cluster", "kubernetes"), ("machine", "talos")] {
                assert_eq!(
                    decoded(&machine[section]["ca"]["crt"]),
                    self.exports.authority(keyset, issuing),
                    "{config}"
                );
                let key = machine[section]["ca"]["key"].as_str().unwrap_or_default();
                assert_eq!(!key.is_empty(), config == "controlplane.yaml", "{config} {section}");
                let wanted: Vec<String> =
                    accepts.iter().map(|number| self.exports.authority(keyset, *number)).collect();
                assert_eq!(accepted(&machine, section), wanted, "{config} {section}");
            }
        }
    }
}

#[test]
fn talosctl_makes_machines_of_an_export_and_gives_the_same_secrets_back() {
    let edge = Edge::make();
    let export = edge.exports.whole("talos", "steady");
    configurations(&edge.machines, &export.file("secrets.yaml"));
    for config in ["controlplane.yaml", "worker.yaml"] {
        valid(&edge.machines, config);
        let machine = machine(&edge.machines.join(config));
        assert_eq!(decoded(&machine["cluster"]["ca"]["crt"]), edge.exports.authority("kubernetes", 1), "{config}");
        assert_eq!(decoded(&machine["machine"]["ca"]["crt"]), edge.exports.authority("talos", 1), "{config}");
    }
    let control_plane = machine(&edge.machines.join("controlplane.yaml"));
    assert_eq!(decoded(&control_plane["cluster"]["aggregatorCA"]["crt"]), edge.exports.authority("front-proxy", 1));
    assert_eq!(decoded(&control_plane["cluster"]["etcd"]["ca"]["crt"]), edge.exports.authority("etcd", 1));
    // Byte for byte what talosctl writes of the same secrets.
    let again = ["gen", "secrets", "--from-controlplane-config", "controlplane.yaml", "--output-file", "again.yaml"];
    talosctl(&edge.machines).args(again).succeeds();
    let again = fs::read_to_string(edge.machines.join("again.yaml")).expect("what talosctl wrote");
    assert!(again == fs::read_to_string(export.file("secrets.yaml")).expect("an export"), "another secrets.yaml");
}

#[test]
fn each_phase_of_a_rotation_is_a_patch_that_machines_take() {
    let edge = Edge::make();
    let export = |name: &str| edge.exports.whole("talos", name);
    let steady = export("steady");
    configurations(&edge.machines, &steady.file("secrets.yaml"));
    edge.apply(&steady, 1, &[]);
    edge.rotate(&["start"]);
    edge.rotate(&["trust"]);
    edge.apply(&export("trusted"), 1, &[2]);
    edge.rotate(&["promote", "--confirm", "nodes-have-bundle", "--confirm", "clients-have-bundle"]);
    let promoted = export("promoted");
    edge.apply(&promoted, 2, &[1]);
    edge.rotate(&["undo"]);
    edge.apply(&export("undone"), 1, &[2]);
    edge.rotate(&["promote", "--confirm", "nodes-have-bundle", "--confirm", "clients-have-bundle"]);
    edge.apply(&promoted, 2, &[1]);
    edge.rotate(&["distrust", "--confirm", "nodes-have-leaves", "--confirm", "clients-moved"]);
    let distrusted = export("distrusted");
    edge.apply(&distrusted, 2, &[]);
    // A machine that is made now is like those that were patched.
    let fresh = edge.machines.join("fresh");
    fs::create_dir(&fresh).expect("a writable scratch directory");
    configurations(&fresh, &distrusted.file("secrets.yaml"));
    let (fresh, patched) = (machine(&fresh.join("worker.yaml")), machine(&edge.machines.join("worker.yaml")));
    assert_eq!(
        (&fresh["cluster"]["ca"], &fresh["machine"]["ca"]),
        (&patched["cluster"]["ca"], &patched["machine"]["ca"])
    );
}

#[test]
fn secrets_have_the_shape_of_those_that_talosctl_makes() {
    let edge = Edge::make();
    let keys = |path: &Path| -> Vec<String> {
        let text = fs::read_to_string(path).expect("secrets");
        text.lines().map(|line| line.split_once(':').map_or(line, |(key, _)| key).to_owned()).collect()
    };
    let own = own_secrets(&edge.machines);
    assert_eq!(keys(&edge.exports.whole("talos", "steady").file("secrets.yaml")), keys(&own));
}
