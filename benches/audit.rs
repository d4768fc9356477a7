//! How fast an API server's audit log is joined with what is recorded, beside what is used for looking through one: `wc`,
//! `grep` for the one id, `jq` for the field. One core each. `cargo bench --bench audit [-- MEGABYTES]` builds and runs it;
//! 300 MB if none are given.
//!
//! CPU seconds of whole processes: the machines that this runs on are shared.

#![expect(clippy::unwrap_used, reason = "a benchmark stops where something is wrong")]

#[path = "../tests/repository/mod.rs"]
mod repository;

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use kluis::model::{Place, Span};
use kluis::trust::Entry;
use repository::{Repository, place};
use serde_json::{Value, json};

/// CPU seconds of all children that this process has waited for.
fn children() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    [13, 14].iter().map(|at| fields[*at].parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

/// Runs a command; CPU seconds, and the largest resident memory in MiB as far as it was seen. `None` if it is not there.
///
/// The answer goes to a file: grep reads no further than the first hit where nobody wants to know.
fn measure(command: &mut Command) -> Option<(f64, f64, i32)> {
    let before = children();
    let answer = tempfile::tempfile().unwrap();
    let spawned = command.stdin(Stdio::null()).stdout(answer).stderr(Stdio::null()).spawn();
    let mut child = spawned.ok()?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0.0_f64;
    loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let kib = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = kib.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
        peak = peak.max(kib.unwrap_or(0.0) / 1024.0);
        if let Some(status) = child.try_wait().unwrap() {
            return Some((children() - before, peak, status.code().unwrap_or(-1)));
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

fn report(tool: &str, megabytes: f64, measured: Option<(f64, f64, i32)>) {
    match measured {
        Some((seconds, memory, _)) => {
            let speed = megabytes / seconds.max(0.01);
            println!("{tool:<42} {seconds:>8.2} s CPU {speed:>8.0} MB/s {memory:>7.0} MiB");
        }
        None => println!("{tool:<42} not installed"),
    }
}

/// A repository with a cluster of `nodes` nodes; the credential ids of their kubelets.
fn build(nodes: usize, dir: &Path) -> (Repository, Vec<String>) {
    let mut made = Repository::demo();
    let key = made.key().spki();
    let mut ids = Vec::new();
    let mut record = made.blank("alice");
    for node in 0..nodes {
        let at: Place = place(&format!("clusters/prod/certs/node/w-{node}/kubelet-client.crt"));
        let (entry, pem) = made.issue(&at, &key, &["system:nodes"], 1, Span::days(90));
        ids.push(format!("X509SHA256={}", entry.sha256));
        made.put_file(&at, pem);
        record.issued.push(entry);
    }
    made.put(record);
    for (path, entry) in &made.tree.entries {
        let Entry::File { bytes, .. } = entry else { continue };
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    (made, ids)
}

/// The events of a busy cluster, in the order of fields of an API server: kubelets that renew leases, controllers with
/// tokens, and one in ten with request and answer.
fn event(number: usize, ids: &[String]) -> String {
    let node = number % ids.len();
    let (user, credential, uri, object) = if number.is_multiple_of(2) {
        let uri = format!("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/w-{node}?timeout=10s");
        let object = json!({ "resource": "leases", "namespace": "kube-node-lease", "name": format!("w-{node}"),
            "uid": "0b1f0a0e-5d0b-4c39-8d1d-6f0d9b4c7d11", "apiGroup": "coordination.k8s.io", "apiVersion": "v1" });
        (format!("system:node:w-{node}"), ids[node].clone(), uri, object)
    } else {
        let object = json!({ "resource": "replicasets", "namespace": "default", "name": format!("web-{node}"),
            "apiGroup": "apps", "apiVersion": "v1" });
        let user = "system:serviceaccount:kube-system:replicaset-controller".to_owned();
        (user, "JTI=1c0f5a53-6d2c-4e5b-8d62-5c4b3a291807".to_owned(), "/apis/apps/v1/replicasets".to_owned(), object)
    };
    let body = |text: Value| {
        if number % 10 == 7 { format!(",\"requestObject\":{text},\"responseObject\":{text}") } else { String::new() }
    };
    let containers: Vec<Value> = (0..6)
        .map(|at| {
            json!({ "name": format!("c{at}"), "image": "registry.example.org/web@sha256:0123456789abcdef",
            "env": [{ "name": "A", "value": "b" }, { "name": "C", "value": "d<e" }], "args": ["--flag=x", "--other"] })
        })
        .collect();
    let object_text = json!({ "kind": "Pod", "apiVersion": "v1", "metadata": { "name": "web", "annotations": {
        "kubectl.kubernetes.io/last-applied-configuration": json!(containers).to_string() } },
        "spec": { "containers": containers } });
    format!(
        "{{\"kind\":\"Event\",\"apiVersion\":\"audit.k8s.io/v1\",\"level\":\"Metadata\",\"auditID\":\"{number:08x}-1c2d-4e5f-8a9b-0c1d2e3f4a5b\",\
         \"stage\":\"ResponseComplete\",\"requestURI\":{uri},\"verb\":\"update\",\"user\":{{\"username\":\"{user}\",\
         \"groups\":[\"system:nodes\",\"system:authenticated\"],\"extra\":{{\"authentication.kubernetes.io/credential-id\":[\"{credential}\"]}}}},\
         \"sourceIPs\":[\"10.0.0.21\"],\"userAgent\":\"kubelet/v1.36.3 (linux/amd64) kubernetes/0fc5e2c\",\"objectRef\":{object},\
         \"responseStatus\":{{\"metadata\":{{}},\"code\":200}}{body},\"requestReceivedTimestamp\":\"2026-11-24T12:00:00.{number:06}Z\",\
         \"stageTimestamp\":\"2026-11-24T12:00:00.999999Z\",\"annotations\":{{\"authorization.k8s.io/decision\":\"allow\",\
         \"authorization.k8s.io/reason\":\"RBAC: allowed by ClusterRoleBinding \\\"x\\\" of ClusterRole \\\"x\\\" to Group \\\"system:nodes\\\"\"}}}}\n",
        uri = json!(uri),
        body = body(object_text),
    )
}

fn main() {
    let megabytes = std::env::args().find_map(|arg| arg.parse::<usize>().ok()).unwrap_or(300);
    let scratch = tempfile::tempdir().unwrap();
    let (made, ids) = build(200, &scratch.path().join("repo"));
    let log = scratch.path().join("audit.log");
    let mut file = BufWriter::new(File::create(&log).unwrap());
    let block: Vec<String> = (0..20_000).map(|number| event(number, &ids)).collect();
    let (mut written, mut events) = (0, 0);
    for line in block.iter().cycle() {
        if written >= megabytes * 1_000_000 {
            break;
        }
        file.write_all(line.as_bytes()).unwrap();
        (written, events) = (written + line.len(), events + 1);
    }
    file.into_inner().unwrap().sync_all().unwrap();
    let size = written as f64 / 1e6;
    println!("{size:.0} MB, {events} events, {} certificates recorded", ids.len());

    let pin = format!("kluis-pin:{}:1:{}", made.id, made.epochs[0].1);
    let mut kluis = Command::new(env!("CARGO_BIN_EXE_kluis"));
    kluis.env_clear().env("HOME", scratch.path()).arg("-C").arg(scratch.path().join("repo"));
    kluis.args(["--pin", &pin, "audit", "-o", "json", "--k8s-audit"]).arg(&log);
    let ours = measure(&mut kluis);
    assert!(ours.is_some_and(|(_, _, code)| code == 0), "kluis audit: {ours:?}");
    report("kluis audit --k8s-audit", size, ours);
    report("wc -l", size, measure(Command::new("wc").arg("-l").arg(&log)));
    report("grep -c of one id", size, measure(Command::new("grep").args(["-cF", &ids[0]]).arg(&log)));
    let field = ".user.extra[\"authentication.kubernetes.io/credential-id\"][]?";
    report("jq of the field", size, measure(Command::new("jq").args(["-r", field]).arg(&log)));
}
