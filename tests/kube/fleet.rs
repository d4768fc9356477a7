//! A control plane of several nodes, each process on the directory of its node: three etcd members, two API servers, a
//! controller-manager. Owns that a node gets exactly the files, and has exactly the processes restarted, that
//! `kluis rotate status` names, one node at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::control_plane::{Component, Etcd, api_server};
use crate::emergency::the_configmap_is_made_anew;
use crate::exports::{CONTROL_PLANES, Export, Exports};
use crate::load::{Attempt, Credentials, Load, Question, Seat, Server};
use crate::process::{Run, Running, Scratch, free_port, wait_until};
use crate::programs;

pub struct Fleet {
    // Dropped in this order: what others need comes last.
    manager: Option<Component>,
    scheduler: Option<Component>,
    api_servers: Vec<Running>,
    pub etcd: Etcd,
    pub exports: Exports,
    port: u16,
    copies: usize,
    starts: usize,
    scratch: Scratch,
}

impl Fleet {
    /// Makes a cluster and starts its first members; the first two nodes have API servers, the first a controller-manager.
    pub fn start() -> (Fleet, Load) {
        let scratch = Scratch::new();
        let port = free_port();
        let exports = Exports::make(scratch.path(), "prod", port);
        Fleet::start_on(scratch, port, exports, |exports, name| exports.node(name))
    }

    /// Starts the same on copies of these folders, one a node, whoever made them. API servers are reached at `port`.
    pub fn start_on(
        scratch: Scratch,
        port: u16,
        exports: Exports,
        folder: impl Fn(&Exports, &str) -> Export,
    ) -> (Fleet, Load) {
        fs::create_dir(scratch.path().join("live")).expect("a writable scratch directory");
        let live = |name: &str| folder(&exports, name).copy_to(&scratch.path().join("live").join(name));
        live("w-1");
        let nodes: Vec<Export> = CONTROL_PLANES.iter().map(|(name, ..)| live(name)).collect();
        let etcd = Etcd::start_on(scratch.path(), nodes);
        let serving = |address| Server { address, port, serving: AtomicBool::new(false) };
        let load = Load::new(scratch.path(), vec![serving("127.0.0.1"), serving("127.0.0.2")]);
        let mut fleet = Fleet {
            manager: None,
            scheduler: None,
            api_servers: Vec::new(),
            etcd,
            exports,
            port,
            copies: 0,
            starts: 0,
            scratch,
        };
        for index in 0..load.servers.len() {
            let process = fleet.api_server(&load, index);
            fleet.api_servers.push(process);
        }
        (0..load.servers.len()).for_each(|index| fleet.wait_for_api_server(&load, index));
        // The first administrator's certificate is for the first start; the export says to delete it afterwards.
        let first = folder(&fleet.exports, "cp-1");
        let super_admin = first.file("super-admin.conf");
        let manifests = first.file("rbac");
        if manifests.exists() {
            fleet.kubectl_with(&super_admin).args(["apply", "--filename"]).args([manifests]).succeeds();
        } else {
            // What kubeadm does itself at the end of `init`.
            let binding = ["create", "clusterrolebinding", "kubeadm:cluster-admins", "--clusterrole=cluster-admin"];
            let group = "--group=kubeadm:cluster-admins";
            fleet.kubectl_with(&super_admin).args(binding).args([group]).succeeds();
        }
        fleet.start_manager();
        (fleet, load)
    }

    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// The directory that the node's processes run from.
    pub fn node(&self, name: &str) -> Export {
        let index = CONTROL_PLANES.iter().position(|(one, ..)| *one == name);
        self.etcd.members()[index.expect("a control-plane node")].export.clone()
    }

    /// `kubectl` as the administrator of the newest export, at the first API server.
    pub fn kubectl(&self) -> Run {
        self.kubectl_with(&self.node("cp-1").file("admin.conf"))
    }

    pub fn kubectl_with(&self, kubeconfig: &Path) -> Run {
        let run = Run::new(&programs::kubernetes("kubectl"), self.path());
        run.flag("kubeconfig", kubeconfig).args(["--request-timeout=30s"])
    }

    /// Credentials of a kubeconfig, in files of this moment.
    pub fn credentials(&mut self, kubeconfig: &Path) -> Credentials {
        self.starts += 1;
        Credentials::of_kubeconfig(kubeconfig, &self.path().join(format!("client-{}", self.starts)))
    }

    /// What `kluis rotate status` says.
    pub fn status(&self) -> Value {
        self.status_with(&[])
    }

    fn status_with(&self, flags: &[&str]) -> Value {
        let words = ["rotate", "status", "-c", "prod", "-o", "json"];
        let report = self.exports.kluis(words.into_iter().chain(flags.iter().copied()));
        let report: Value = serde_json::from_str(&report).expect("a report");
        report["data"]["clusters"][0].clone()
    }

    /// Does on each node what `rotate status` says, one node after the other; `then` sees each moment: the node, and
    /// `copied` or the process that was restarted.
    pub fn roll(&mut self, load: &Load, kubelet: &Seat, mut then: impl FnMut(&Fleet, &str, &str)) {
        let nodes = self.status()["nodes"].as_array().expect("nodes").clone();
        for steps in &nodes {
            let name = steps["node"].as_str().expect("a name");
            let export = self.copy(name, &words(&steps["copy"]).collect::<Vec<_>>());
            must_be_alike(&export, &self.path().join("live").join(name));
            then(self, name, "copied");
            for process in words(&steps["restart"]) {
                if self.restart(name, process, load, kubelet) {
                    then(self, name, process);
                }
            }
        }
    }

    /// Does what `rotate status --emergency` says, each stage everywhere before the next; `then` sees what each stage ends.
    pub fn follow_the_emergency(&mut self, load: &Load, kubelet: &Seat, mut then: impl FnMut(&Fleet, &str)) {
        let stages = self.status_with(&["--emergency"])["emergency"].as_array().expect("stages").clone();
        self.copies += 1;
        let nodes = CONTROL_PLANES.iter().map(|(name, ..)| *name).chain(["w-1"]);
        let exports: BTreeMap<&str, Export> =
            nodes.map(|name| (name, self.exports.node_now(name, &format!("{name}-{}", self.copies)))).collect();
        for stage in &stages {
            let nodes = stage["nodes"].as_array().expect("nodes");
            let copy = |steps: &Value, live: &Path| {
                let name = steps["node"].as_str().expect("a name");
                let (export, live) = (exports[name].path(), live.join(name));
                words(&steps["copy"]).for_each(|file| rename_over(&export.join(file), &live.join(file)));
            };
            let live = self.path().join("live");
            if stage["together"] == true {
                self.starts += 1;
                let log = format!("etcd-{}", self.starts);
                self.etcd.restart_together(&log, || nodes.iter().for_each(|steps| copy(steps, &live)));
            } else {
                for steps in nodes {
                    copy(steps, &live);
                    let name = steps["node"].as_str().expect("a name");
                    words(&steps["restart"]).for_each(|process| {
                        self.restart(name, process, load, kubelet);
                    });
                }
            }
            if stage["run"].as_str().is_some_and(|run| run.contains("delete configmap")) {
                the_configmap_is_made_anew(self, &exports["cp-1"].file("admin.conf"));
            }
            then(self, stage["ends"].as_str().unwrap_or_default());
        }
        for (name, export) in &exports {
            must_be_alike(export, &self.path().join("live").join(name));
        }
    }

    /// Copies files of the node's export as it is now.
    pub fn copy(&mut self, node: &str, files: &[&str]) -> Export {
        self.copies += 1;
        let export = self.exports.node_now(node, &format!("{node}-{}", self.copies));
        let live = self.path().join("live").join(node);
        files.iter().for_each(|file| rename_over(&export.path().join(file), &live.join(file)));
        export
    }

    /// Restarts a process and waits until it is healthy; false where this fleet runs none on that node.
    pub fn restart(&mut self, node: &str, process: &str, load: &Load, kubelet: &Seat) -> bool {
        self.starts += 1;
        let index = CONTROL_PLANES.iter().position(|(one, ..)| *one == node);
        match (process, index) {
            ("etcd", Some(index)) => self.etcd.restart(index, &format!("etcd-{node}-{}", self.starts)),
            ("kube-apiserver", Some(index)) if index < load.servers.len() => {
                self.api_servers[index].stop();
                self.api_servers[index] = self.api_server(load, index);
                self.wait_for_api_server(load, index);
            }
            ("kube-controller-manager", Some(0)) => self.start_manager(),
            ("kube-scheduler", Some(0)) if self.scheduler.is_some() => self.start_scheduler(),
            ("kubelet", None) => {
                let kubeconfig = self.path().join("live").join(node).join("kubelet.conf");
                kubelet.moves_to(self.credentials(&kubeconfig));
            }
            ("kube-apiserver" | "kube-controller-manager" | "kube-scheduler" | "kubelet", _) => return false,
            other => panic!("{node}: no such process: {other:?}"),
        }
        true
    }

    fn api_server(&self, load: &Load, index: usize) -> Running {
        let server = &load.servers[index];
        server.serving.store(false, Ordering::SeqCst);
        let name = CONTROL_PLANES[index].0;
        let run = api_server(
            self.path(),
            &self.node(name),
            &self.etcd,
            (server.address, self.port),
            &self.path().join(format!("audit-{name}.log")),
        );
        run.starts(&format!("kube-apiserver-{name}-{}", self.starts), self.path())
    }

    fn wait_for_api_server(&mut self, load: &Load, index: usize) {
        let server = &load.servers[index];
        let authority = self.node(CONTROL_PLANES[index].0).pki("ca.crt");
        let anybody = Credentials { authority, pair: None, token: None };
        wait_until("an API server that is ready", || {
            self.api_servers[index].must_be_alive();
            match load.attempt(server, &anybody, &Question::get("/readyz")) {
                Attempt::Answered(200, _) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        server.serving.store(true, Ordering::SeqCst);
    }

    fn start_manager(&mut self) {
        self.manager = None;
        let kubeconfig = self.on_loopback("controller-manager.conf");
        let (export, log) = (self.node("cp-1"), format!("kube-controller-manager-{}", self.starts));
        self.manager = Some(Component::controller_manager_on(self.path(), &export, &kubeconfig, &log));
    }

    /// Starts the scheduler of the first node; from then on it is restarted as well.
    pub fn start_scheduler(&mut self) {
        self.scheduler = None;
        let kubeconfig = self.on_loopback("scheduler.conf");
        let log = format!("kube-scheduler-{}", self.starts);
        self.scheduler = Some(Component::scheduler_on(self.path(), &kubeconfig, &log));
    }

    /// A copy of the first node's kubeconfig in which only the server is another: the node's address is not this machine's.
    fn on_loopback(&self, name: &str) -> PathBuf {
        let text = fs::read_to_string(self.node("cp-1").file(name)).expect("a kubeconfig can be read");
        let local = format!("https://{}:6443", CONTROL_PLANES[0].2);
        assert!(text.contains(&local), "{name} speaks with the API server beside it");
        self.scratch.write(name, &text.replace(&local, &format!("https://127.0.0.1:{}", self.port)))
    }

    /// The ports of controller-manager and scheduler themselves, each with the certificate that it made for itself.
    pub fn components(&self) -> Vec<(&'static str, Server, PathBuf)> {
        let running = [("kube-controller-manager", &self.manager), ("kube-scheduler", &self.scheduler)];
        let of = |(name, component): (&'static str, &Option<Component>)| {
            let port = component.as_ref()?.port();
            let server = Server { address: "127.0.0.1", port, serving: AtomicBool::new(true) };
            Some((name, server, self.path().join(name).join(name).with_extension("crt")))
        };
        running.into_iter().filter_map(of).collect()
    }

    /// Everybody is there still, having ended by themselves never.
    pub fn must_be_alive(&mut self) {
        self.api_servers.iter_mut().for_each(Running::must_be_alive);
        self.manager.as_mut().expect("a controller-manager").health().expect("a healthy controller-manager");
    }

    /// Which encryption keys the stored objects of this kind lie under, and how many under each: read from etcd.
    pub fn stored_under(&self, kind: &str) -> BTreeMap<String, usize> {
        let get = ["get", &format!("/registry/{kind}/"), "--prefix", "--write-out=json"];
        let answer: Value = serde_json::from_str(&self.etcd.as_health_check(2).args(get).succeeds()).expect("JSON");
        let mut under = BTreeMap::new();
        for object in answer["kvs"].as_array().into_iter().flatten() {
            let value = STANDARD.decode(object["value"].as_str().expect("a value")).expect("base64");
            let head = String::from_utf8_lossy(&value[..value.len().min(60)]).into_owned();
            let key = match head.strip_prefix("k8s:enc:secretbox:v1:").and_then(|rest| rest.split_once(':')) {
                Some((key, _)) => key.to_owned(),
                None => format!("none: {head}"),
            };
            *under.entry(key).or_default() += 1;
        }
        under
    }

    /// Writes everything that is encrypted again, as the gate says, until all of it lies under this key.
    pub fn write_all_again(&self, key: &str) {
        wait_until("everything under the new encryption key", || {
            // What somebody changes in between is refused as a conflict: again.
            let all =
                self.kubectl().args(["get", "secrets,configmaps", "--all-namespaces", "--output=json"]).succeeds();
            let replaced = self.kubectl().args(["replace", "--filename=-"]).input(&all).ends();
            let left = ["secrets", "configmaps"].map(|kind| self.stored_under(kind));
            let done = left.iter().all(|under| under.keys().all(|one| one == key));
            if done { Ok(()) } else { Err(format!("{left:?} {replaced}")) }
        });
    }

    /// Requests whose sender API servers did not know, by their audit logs, but for those that carry `mark`. A 403 to
    /// somebody whom they know is no matter of trust: one that starts gives it until it has read its roles.
    pub fn unknown_senders(&self, mark: &str) -> BTreeSet<String> {
        let logs = CONTROL_PLANES.iter().map(|(name, ..)| self.path().join(format!("audit-{name}.log")));
        let text = logs.map(|log| fs::read_to_string(log).unwrap_or_default()).collect::<String>();
        assert!(!text.is_empty(), "API servers wrote audit logs");
        let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let unknown = events.filter(|event| {
            let (code, uri) = (&event["responseStatus"]["code"], event["requestURI"].as_str().unwrap_or_default());
            let anonymous = event["user"]["username"] == "system:anonymous" && uri != "/readyz";
            (*code == 401 || *code == 403 && anonymous) && !uri.contains(mark)
        });
        let line =
            |event: Value| format!("{} {} {}", event["responseStatus"]["code"], event["verb"], event["requestURI"]);
        unknown.map(line).collect()
    }

    /// Lines of all logs so far that speak of certificates that were not believed.
    pub fn complaints(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for entry in fs::read_dir(self.path()).expect("a scratch directory").flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "log") {
                let log = String::from_utf8_lossy(&fs::read(entry.path()).unwrap_or_default()).into_owned();
                let name = entry.file_name().to_string_lossy().into_owned();
                let of_trust = |line: &&str| {
                    ["x509:", "unknown authority", "bad certificate", "unknown certificate", "Unauthorized"]
                        .iter()
                        .any(|word| line.contains(word))
                };
                if !name.starts_with("audit") {
                    lines.extend(log.lines().filter(of_trust).map(|line| format!("{name}: {line:.300}")));
                }
            }
        }
        lines
    }
}

fn words(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().expect("a list").iter().map(|word| word.as_str().expect("a word"))
}

/// Puts a new file in the place of the old one in one step, as the operator has to.
pub fn rename_over(new: &Path, old: &Path) {
    let beside: PathBuf = old.with_extension("new");
    fs::copy(new, &beside).unwrap_or_else(|error| panic!("{} is named and can't be copied: {error}", new.display()));
    fs::rename(&beside, old).expect("a file can be renamed");
}

/// What was named is all that is new: the node's directory is its export of this phase, but for what stays off nodes.
fn must_be_alike(export: &Export, live: &Path) {
    for (path, (_, hash)) in export.tree() {
        let name = path.strip_prefix(export.path()).expect("a path of the export");
        let stays_off =
            name.starts_with("rbac") || ["super-admin.conf", "SHA256SUMS"].iter().any(|file| name == Path::new(file));
        if hash != "directory" && !stays_off {
            let (new, old) = (fs::read(&path).expect("a file"), fs::read(live.join(name)).expect("a file"));
            assert!(new == old, "{} is new in this phase and nobody said to copy it", path.display());
        }
    }
}
