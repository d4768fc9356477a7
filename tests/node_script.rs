//! `rotate script`: the script of each node in each phase runs against a folder that stands for the node's root, with
//! stand-ins for crictl, systemctl and curl that note how they were called; `rotate check` then says whether the files are
//! those of the phase. What it refuses, it refuses before it changes anything.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod ground;
mod seat;
mod tools;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ground::Ground;
use seat::*;
use serde_json::Value;

const NEW: &str = "cluster new prod --endpoint https://api.prod.example.org:6443 --kubernetes 1.36 \
    --node cp-1=10.0.0.11:control-plane,etcd --node cp-2=10.0.0.12:control-plane,etcd --node w-1=10.0.0.21:worker --yes";

/// A cluster, and one of its nodes: its root, and the programs that it finds.
struct Place {
    ground: Ground,
    exports: usize,
}

impl Place {
    fn new() -> Self {
        let ground = Ground::new(&["alice"], 1, 1);
        ground.run("alice", NEW).ends(0);
        let place = Self { ground, exports: 0 };
        let programs = place.path("bin");
        fs::create_dir(&programs).unwrap();
        for (name, does) in [
            ("crictl", "[ \"$1\" != ps ] || [ -e \"$NONE\" ] || echo \"id-of-${name##*=}\"".to_owned()),
            ("systemctl", String::new()),
            (
                "curl",
                r#"[ ! -e "$SICK" ] || ! grep -qF -- "$(cat "$SICK")" <<X
$*
X"#
                .to_owned(),
            ),
            ("sleep", String::new()),
            ("chown", String::new()),
        ] {
            let script = format!("#!/bin/sh\nfor name; do :; done\necho \"{name} $*\" >>\"$CALLS\"\n{does}\n");
            fs::write(programs.join(name), script).unwrap();
            fs::set_permissions(programs.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.ground.dir.path().join(name)
    }

    fn rotates(&self, words: &str) {
        self.ground.run("alice", &format!("rotate {words} -c prod --yes")).ends(0);
    }

    /// The node's export of now, in a folder of its own.
    fn export(&mut self, node: &str, more: &str) -> PathBuf {
        self.exports += 1;
        let out = self.path(&format!("export-{}", self.exports));
        let words = format!("export kubeadm -c prod --node {node} --out {} {more}", out.display());
        self.ground.run("alice", &words).ends(0);
        out
    }

    /// A root with the files of an export on it, as a node has them.
    fn root(&self, node: &str, export: &Path) -> PathBuf {
        let root = self.path(&format!("root-{node}"));
        let (kubernetes, kubelet) = (root.join("etc/kubernetes"), root.join("var/lib/kubelet/pki"));
        fs::create_dir_all(&kubernetes).unwrap();
        fs::create_dir_all(&kubelet).unwrap();
        shell(export, &format!("cp -R pki *.conf {}; cp kubelet/* {}", kubernetes.display(), kubelet.display()));
        root
    }

    /// What `rotate status` says of a node.
    fn status(&self, node: &str) -> Value {
        let report = data(&self.ground.run("alice", "rotate status -c prod -o json").ends(0), "rotate status");
        let nodes = report["clusters"][0]["nodes"].as_array().unwrap().clone();
        nodes.into_iter().find(|steps| steps["node"] == node).unwrap_or_default()
    }

    /// The script, in a file.
    fn script(&self, node: &str) -> PathBuf {
        let path = self.path(&format!("{node}.sh"));
        let answered = self.ground.run("alice", &format!("rotate script -c prod --node {node}")).ends(0);
        assert!(!answered.out.contains("-----BEGIN "));
        fs::write(&path, answered.out).unwrap();
        path
    }

    fn command(&self, script: &Path, args: &[&str]) -> Command {
        let mut path = self.path("bin").into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap());
        let mut sh = Command::new("sh");
        sh.env_clear()
            .env("PATH", path)
            .env("CALLS", self.path("calls"))
            .env("SICK", self.path("sick"))
            .env("NONE", self.path("none"));
        sh.arg(script).args(args).current_dir(self.ground.dir.path());
        sh
    }

    /// Runs the script below a root; returns how it ended, and the calls of the stand-ins.
    fn run(&self, script: &Path, root: &Path, args: &[&str]) -> (Output, Vec<String>) {
        let _ = fs::remove_file(self.path("calls"));
        let output = self.command(script, args).env("KLUIS_ROOT", root).output().unwrap();
        let calls = fs::read_to_string(self.path("calls")).unwrap_or_default();
        for stream in [&output.stdout, &output.stderr, &calls.clone().into_bytes()] {
            assert!(!String::from_utf8_lossy(stream).contains("-----BEGIN "), "no secret is said or passed");
        }
        (output, calls.lines().map(str::to_owned).collect())
    }

    #[track_caller]
    fn runs(&self, script: &Path, root: &Path, args: &[&str]) -> (String, Vec<String>) {
        let (output, calls) = self.run(script, root, args);
        assert!(output.status.success(), "{}", said(&output));
        (said(&output), calls)
    }

    /// Brings a node to the phase of now, by the script.
    #[track_caller]
    fn brings(&mut self, node: &str, root: &Path) -> (String, Vec<String>) {
        let (script, export) = (self.script(node), self.export(node, ""));
        let ran = self.runs(&script, root, &[export.to_str().unwrap()]);
        self.is_of_the_phase(node, root);
        ran
    }

    /// The script of now leaves a node as it is.
    #[track_caller]
    fn leaves(&mut self, node: &str, root: &Path, says: &[&str]) {
        let (script, export) = (self.script(node), self.export(node, ""));
        for says in says {
            self.refuses(&script, root, &[export.to_str().unwrap()], says);
        }
    }

    /// Runs the script, which must refuse, say so, and change nothing.
    #[track_caller]
    fn refuses(&self, script: &Path, root: &Path, args: &[&str], says: &str) {
        let before = picture(root);
        let (output, calls) = self.run(script, root, args);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains(says), "no {says:?} in {}", said(&output));
        assert!(calls.is_empty() && before == picture(root), "it changed something: {calls:?}");
    }

    /// `rotate check` of a root.
    #[track_caller]
    fn is_of_the_phase(&self, node: &str, root: &Path) {
        let view = self.path("view");
        let _ = fs::remove_dir_all(&view);
        let (kubernetes, kubelet) = (root.join("etc/kubernetes"), root.join("var/lib/kubelet/pki"));
        shell(
            self.ground.dir.path(),
            &format!("cp -R {} view; cp -R {} view/kubelet", kubernetes.display(), kubelet.display()),
        );
        self.ground.run("alice", &format!("rotate check -c prod --node {node} --files {}", view.display())).ends(0);
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn words(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// Every file below a folder, with its mode and bytes.
fn picture(folder: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut files = BTreeMap::new();
    let mut left = vec![folder.to_owned()];
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                left.push(path);
            } else {
                files
                    .insert(path.clone(), (metadata.permissions().mode() & 0o777, fs::read(&path).unwrap_or_default()));
            }
        }
    }
    files
}

/// The processes that were restarted, in order, and that each was asked how it is before the next.
#[track_caller]
fn restarted(calls: &[String]) -> Vec<String> {
    let mut restarted: Vec<String> = Vec::new();
    let mut well = true;
    for call in calls.iter().filter(|call| !call.starts_with("chown") && !call.starts_with("crictl ps")) {
        match call.strip_prefix("crictl stop --timeout 60 id-of-").or(call.strip_prefix("systemctl restart ")) {
            Some(process) => {
                assert!(well, "{process} before the one before it was well: {calls:#?}");
                restarted.push(process.to_owned());
                well = false;
            }
            None => {
                assert!(call.starts_with("curl --silent --fail "), "{call}");
                let port = match restarted.last().map(String::as_str) {
                    Some("etcd") => "http://127.0.0.1:2381/",
                    Some("kube-apiserver") => "https://127.0.0.1:6443/readyz",
                    Some("kube-controller-manager") => "https://127.0.0.1:10257/",
                    Some("kube-scheduler") => "https://127.0.0.1:10259/",
                    Some("kubelet") => "http://127.0.0.1:10248/",
                    other => panic!("{other:?}"),
                };
                assert!(call.contains(port), "{call}");
                well = true;
            }
        }
    }
    assert!(well, "the last one is well");
    restarted
}

const DISTRUST: &str = "distrust --confirm nodes-have-leaves --confirm clients-moved --confirm tokens-renewed \
    --confirm secrets-rewritten";

#[test]
fn each_node_has_the_files_of_each_phase_after_its_script() {
    let mut place = Place::new();
    let mut roots = BTreeMap::new();
    for node in ["cp-1", "w-1"] {
        let export = place.export(node, "");
        roots.insert(node, place.root(node, &export));
    }
    place.rotates("start");
    for step in ["trust", "undo", "trust", "promote", "undo", "promote", DISTRUST] {
        place.rotates(step);
        for (node, root) in &roots {
            let (script, export) = (place.script(node), place.export(node, ""));
            let (folder, steps) = (export.to_str().unwrap().to_owned(), place.status(node));
            let before = picture(root);
            let (dry, calls) = place.runs(&script, root, &["--dry-run", &folder]);
            assert!(calls.is_empty() && before == picture(root), "a dry run changes nothing: {dry}");
            let (said, calls) = place.runs(&script, root, &[&folder]);
            assert_eq!(restarted(&calls), words(&steps["restart"]), "{node} {step}");
            let mut copied: Vec<PathBuf> = words(&steps["copy"]).iter().map(|file| on_node(root, file)).collect();
            copied.sort();
            let after = picture(&root.join("etc")).into_iter().chain(picture(&root.join("var")));
            let mut changed: Vec<PathBuf> = Vec::new();
            for (path, (mode, bytes)) in after {
                let public = path.extension().is_some_and(|ending| ending == "crt");
                if before.get(&path).is_none_or(|(_, old)| *old != bytes) {
                    assert_eq!(mode, if public { 0o644 } else { 0o600 }, "{}", path.display());
                    changed.push(path);
                }
            }
            changed.sort();
            assert!(
                changed.iter().all(|path| copied.contains(path)),
                "{node} {step}: more than {copied:?} in {changed:?}"
            );
            for file in words(&steps["copy"]) {
                let (new, there) = (fs::read(export.join(&file)).unwrap(), fs::read(on_node(root, &file)).unwrap());
                assert!(new == there, "{file}");
                assert!(said.contains(&format!("copied    {file}\n")) || said.contains(&format!("is there  {file}\n")));
                let would = dry.contains(&format!("would copy {file}\n"));
                assert_eq!(would, said.contains(&format!("copied    {file}\n")), "{dry}");
            }
            place.is_of_the_phase(node, root);
            let (again, calls) = place.runs(&script, root, &[&folder]);
            assert!(calls.is_empty() && !again.contains("copied"), "a second run has nothing to do: {again}");
        }
    }
    place.rotates("remove");
    let (said, calls) = place.runs(&place.script("cp-1"), &roots["cp-1"], &["nowhere"]);
    assert!(
        said.starts_with("nothing is to be done on node cp-1 of cluster prod in this phase;\n") && calls.is_empty()
    );
    assert!(said.contains("kluis rotate check -c prod --node cp-1\n"), "{said}");
}

fn on_node(root: &Path, file: &str) -> PathBuf {
    match file.strip_prefix("kubelet/") {
        Some(name) => root.join("var/lib/kubelet/pki").join(name),
        None => root.join("etc/kubernetes").join(file),
    }
}

#[test]
fn what_does_not_fit_is_refused_before_anything_changes() {
    let mut place = Place::new();
    let steady = place.export("cp-1", "");
    let root = place.root("cp-1", &steady);
    let other_node = place.root("cp-2", &place.path("export-1"));
    place.rotates("start");
    place.rotates("trust");
    let (script, export, other) = (place.script("cp-1"), place.export("cp-1", ""), place.export("cp-2", ""));
    let folder = |path: &Path| path.to_str().unwrap().to_owned();
    place.refuses(&script, &root, &[], "call it with the folder");
    place.refuses(&script, &root, &["--dry", &folder(&export)], "call it with the folder");
    place.refuses(&script, &root, &[&folder(&export), "more"], "call it with the folder");
    place.refuses(&script, &root, &["/nowhere"], "/nowhere is no folder");
    place.refuses(&script, &root, &[&folder(&other)], "is not the export of cp-1, cluster prod, in this phase");
    place.refuses(&script, &root, &[&folder(&steady)], "is another");

    shell(&other_node, "sed -i 's/node:cp-1/node:cp-2/' etc/kubernetes/kubelet.conf");
    place.refuses(&script, &other_node, &[&folder(&export)], "this is node cp-2");
    shell(&other_node, "rm etc/kubernetes/kubelet.conf");
    place.refuses(&script, &other_node, &[&folder(&export)], "this is no node of a cluster");

    // What is of another phase is found even where somebody made the list of checksums anew.
    let mixed = place.path("mixed");
    let mix = |line: &str| {
        let _ = fs::remove_dir_all(&mixed);
        shell(
            place.ground.dir.path(),
            &format!(
                "cp -R {} mixed; {line}; cd mixed; rm SHA256SUMS; find . -type f | sed 's:./::' | xargs sha256sum >../sums
                mv ../sums SHA256SUMS",
                export.display()
            ),
        );
    };
    mix("cp export-1/admin.conf mixed/admin.conf");
    place.refuses(&script, &root, &["mixed"], "admin.conf is another");
    mix("rm mixed/pki/encryption-config.yaml");
    place.refuses(&script, &root, &["mixed"], "pki/encryption-config.yaml is no file with something in it");
    mix("cp export-1/pki/encryption-config.yaml mixed/pki");
    place.refuses(&script, &root, &["mixed"], "pki/encryption-config.yaml is another");
    mix("rm mixed/pki/sa.pub");
    place.refuses(&script, &root, &["mixed"], "pki/sa.pub is missing");

    shell(&root, "cd etc/kubernetes/pki; mv sa.pub elsewhere; ln -s elsewhere sa.pub");
    place.refuses(&script, &root, &[&folder(&export)], "pki/sa.pub is a link or no file");
    shell(&root, "cd etc/kubernetes/pki; mv elsewhere sa.pub; mv etcd away");
    place.refuses(&script, &root, &[&folder(&export)], "pki/etcd is no folder");
    shell(&root, "cd etc/kubernetes/pki; mv away etcd");
    place.runs(&script, &root, &[&folder(&export)]);
}

#[test]
fn it_stops_at_the_first_process_that_is_not_well_and_goes_on_there() {
    let mut place = Place::new();
    let root = {
        let export = place.export("cp-1", "");
        place.root("cp-1", &export)
    };
    place.rotates("start");
    place.rotates("trust");
    let (script, export) = (place.script("cp-1"), place.export("cp-1", ""));
    let folder = export.to_str().unwrap();
    fs::write(place.path("sick"), ":6443/").unwrap();
    let (output, calls) = place.run(&script, &root, &[folder]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("kube-apiserver is not well after 300 s"), "{}", said(&output));
    let stops = |calls: &[String]| calls.iter().filter(|call| call.contains(" stop ")).cloned().collect::<Vec<_>>();
    assert_eq!(stops(&calls).len(), 2, "etcd, the API server, and nothing behind it");
    fs::remove_file(place.path("sick")).unwrap();
    let (printed, calls) = place.runs(&script, &root, &[folder]);
    assert!(printed.contains("was restarted etcd"), "{printed}");
    assert_eq!(restarted(&calls), ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet"]);
    // What runs in another way is not called restarted because it is well; what is down is waited for.
    place.rotates("undo");
    let (script, export) = (place.script("cp-1"), place.export("cp-1", ""));
    let folder = export.to_str().unwrap();
    fs::write(place.path("none"), "").unwrap();
    let (output, calls) = place.run(&script, &root, &[folder]);
    assert!(said(&output).contains("etcd is well, and no container of it runs"), "{}", said(&output));
    assert!(!calls.iter().any(|call| call.contains(" stop ") || call.contains("10257")), "{calls:#?}");
    fs::remove_file(place.path("none")).unwrap();
    let (_, calls) = place.runs(&script, &root, &[folder]);
    assert_eq!(restarted(&calls).len(), 5);
    // Whoever changes a file behind its back has it restart everything.
    fs::copy(place.path("export-2/pki/ca.crt"), root.join("etc/kubernetes/pki/ca.crt")).unwrap();
    let (printed, calls) = place.runs(&script, &root, &[folder]);
    assert!(printed.contains("copied    pki/ca.crt") && printed.matches("copied").count() == 1, "{printed}");
    assert_eq!(restarted(&calls).len(), 5);
}

#[test]
fn a_node_with_ca_keys_gets_the_next_ones_and_no_other_node_does() {
    let mut place = Place::new();
    let with = place.export("cp-1", "--with-ca-keys");
    let root = place.root("cp-1", &with);
    place.rotates("start");
    place.rotates("trust");
    let plain = place.root("plain", &with);
    shell(&plain, "cd etc/kubernetes/pki; rm ca.key ca-signing.crt etcd/ca.key front-proxy-ca.key");
    for root in [&root, &plain] {
        place.brings("cp-1", root);
    }
    place.rotates("promote");
    let (script, without, with) =
        (place.script("cp-1"), place.export("cp-1", ""), place.export("cp-1", "--with-ca-keys"));
    place.refuses(&script, &root, &[without.to_str().unwrap()], "--with-ca-keys --out DIR");
    place.runs(&script, &root, &[with.to_str().unwrap()]);
    for file in ["pki/ca.key", "pki/ca-signing.crt", "pki/etcd/ca.key", "pki/front-proxy-ca.key"] {
        assert_eq!(
            fs::read(root.join("etc/kubernetes").join(file)).unwrap(),
            fs::read(with.join(file)).unwrap(),
            "{file}"
        );
    }
    place.runs(&script, &plain, &[with.to_str().unwrap()]);
    assert!(!plain.join("etc/kubernetes/pki/ca.key").exists(), "a key that was not there does not arrive");
}

#[test]
fn a_key_that_never_left_the_node_stays_there() {
    let mut place = Place::new();
    let dir = place.ground.dir.path().to_owned();
    shell(
        &dir,
        "openssl ecparam -name prime256v1 -genkey -noout -out own.key
        openssl req -new -key own.key -subj '/O=system:nodes/CN=system:node:w-1' -addext subjectAltName=IP:10.0.0.21 -out own.csr",
    );
    let csr = dir.join("own.csr");
    let words = format!("cert issue kubelet-serving -c prod --node w-1 --csr {}", csr.display());
    place.ground.run("alice", &words).ends(0);
    let export = place.export("w-1", "");
    assert!(!export.join("kubelet/kubelet.key").exists());
    let root = place.root("w-1", &export);
    fs::copy(dir.join("own.key"), root.join("var/lib/kubelet/pki/kubelet.key")).unwrap();
    place.rotates("start kubernetes");
    for step in ["trust", "promote"] {
        place.rotates(step);
        place.brings("w-1", &root);
    }
    assert_eq!(fs::read(root.join("var/lib/kubelet/pki/kubelet.key")).unwrap(), fs::read(dir.join("own.key")).unwrap());
}

const MISSED: &str = "did not get the phase before";

#[test]
fn a_node_that_missed_trust_gets_no_leaves() {
    let mut place = Place::new();
    let steady = place.export("cp-1", "");
    let (root, worker) = (place.root("cp-1", &steady), place.export("w-1", ""));
    let worker = place.root("w-1", &worker);
    for step in ["start", "trust", "promote"] {
        place.rotates(step);
    }
    let named = "when this phase begins: pki/ca.crt pki/etcd/ca.crt pki/front-proxy-ca.crt - how";
    place.leaves("cp-1", &root, &[&format!("cp-1 {MISSED}"), named, "Nothing was changed"]);
    place.leaves("w-1", &worker, &["when this phase begins: pki/ca.crt - how"]);
    // An undo goes back to trust, which is no help to who never had it.
    place.rotates("undo");
    place.leaves("cp-1", &root, &[named]);
    place.rotates("promote");
    // It catches up with the bundles alone, and a restart of what reads them; their order does not matter.
    let export = place.export("cp-1", "");
    for file in ["pki/ca.crt", "pki/etcd/ca.crt", "pki/front-proxy-ca.crt"] {
        let text = fs::read_to_string(export.join(file)).unwrap();
        let mut blocks: Vec<&str> = text.split_inclusive("-----END CERTIFICATE-----\n").collect();
        blocks.reverse();
        fs::write(on_node(&root, file), format!("# by hand\n{}", blocks.concat())).unwrap();
    }
    place.brings("cp-1", &root);
}

#[test]
fn a_node_that_missed_promote_keeps_the_trust_that_its_leaves_need() {
    let mut place = Place::new();
    let steady = place.export("cp-1", "");
    let (root, behind) = (place.root("cp-1", &steady), place.root("behind", &steady));
    place.rotates("start");
    place.rotates("trust");
    place.brings("cp-1", &root);
    place.rotates("promote");
    place.rotates(DISTRUST);
    // etcd and the API server would trust the new CA alone and show leaves of the old one; tokens would be signed with a key
    // that nothing verifies.
    place.leaves(
        "cp-1",
        &root,
        &[&format!("cp-1 {MISSED}"), " pki/apiserver.crt ", " pki/etcd/server.crt ", " pki/sa.key "],
    );
    place.leaves("cp-1", &behind, &["has no CA certificate that cluster prod trusts in this phase", MISSED]);
    // All of the export, as for a new node, is right.
    let export = place.export("cp-1", "");
    let root = place.root("cp-1", &export);
    place.brings("cp-1", &root);
}

#[test]
fn only_the_key_for_tokens_tells_that_a_node_missed_promote() {
    let mut place = Place::new();
    let export = place.export("cp-1", "");
    let root = place.root("cp-1", &export);
    place.rotates("start service-account");
    place.rotates("trust");
    place.brings("cp-1", &root);
    place.rotates("promote");
    place.rotates("distrust --confirm nodes-have-leaves --confirm tokens-renewed");
    place.leaves("cp-1", &root, &["when this phase begins: pki/sa.key - how"]);
}

#[test]
fn a_node_that_missed_the_first_of_two_undos_keeps_what_it_has() {
    let mut place = Place::new();
    let export = place.export("cp-1", "");
    let root = place.root("cp-1", &export);
    place.rotates("start");
    for step in ["trust", "promote"] {
        place.rotates(step);
        place.brings("cp-1", &root);
    }
    place.rotates("undo");
    place.rotates("undo --confirm secrets-rewritten");
    place.leaves("cp-1", &root, &[&format!("cp-1 {MISSED}"), " pki/apiserver.crt "]);
    for step in ["trust", "undo --confirm secrets-rewritten"] {
        place.rotates(step);
        place.brings("cp-1", &root);
    }
}

#[test]
fn a_certificate_that_was_renewed_and_not_brought_is_found() {
    let mut place = Place::new();
    let export = place.export("cp-1", "");
    let root = place.root("cp-1", &export);
    place.ground.run("alice", "cert issue apiserver -c prod --node cp-1 --yes").ends(0);
    place.rotates("start etcd");
    place.rotates("trust");
    place.leaves("cp-1", &root, &["when this phase begins: pki/apiserver.crt - how"]);
    let export = place.export("cp-1", "");
    for file in ["pki/apiserver.crt", "pki/apiserver.key"] {
        fs::copy(export.join(file), on_node(&root, file)).unwrap();
    }
    // What is not kluis's: an admin.conf that somebody took away, a kubelet with certificates of its own.
    shell(
        &root,
        "cd etc/kubernetes; rm admin.conf; sed -i 's/client-certificate-data: .*/client-certificate: own.pem/' kubelet.conf",
    );
    let (script, export) = (place.script("cp-1"), place.export("cp-1", ""));
    place.runs(&script, &root, &[export.to_str().unwrap()]);
}

#[test]
fn in_an_emergency_no_script_does_half_of_it() {
    let mut place = Place::new();
    let export = place.export("cp-1", "");
    let root = place.root("cp-1", &export);
    place.rotates("start --emergency");
    place.rotates("trust --emergency");
    place.brings("cp-1", &root);
    let refused = |place: &Place, phase: &str| {
        let answered = place.ground.run("alice", "rotate script -c prod --node cp-1 -o json");
        let report = refusal(&answered, 3, &[&format!("was {phase} in an emergency")]);
        assert_eq!(report["data"]["help"], "kluis rotate status --emergency -c prod");
    };
    place.rotates("promote --emergency");
    refused(&place, "promoted");
    place.rotates("undo");
    place.brings("cp-1", &root);
    // In peace again, and then half of it is not.
    place.rotates("promote");
    place.brings("cp-1", &root);
    place.rotates("distrust --emergency");
    refused(&place, "distrusted");
    place.rotates("remove");
    let script = place.script("cp-1");
    assert!(place.runs(&script, &root, &["x"]).0.contains("nothing is to be done"));
}

#[test]
fn a_secret_that_is_cut_or_of_another_export_is_refused() {
    let mut place = Place::new();
    let steady = place.export("cp-1", "");
    let root = place.root("cp-1", &steady);
    place.rotates("start");
    place.rotates("trust");
    place.brings("cp-1", &root);
    place.rotates("promote");
    let (script, export) = (place.script("cp-1"), place.export("cp-1", ""));
    let mixed = place.path("mixed");
    for (line, says) in [
        ("cp export-1/pki/apiserver.key mixed/pki", "pki/apiserver.key not as in its SHA256SUMS"),
        ("cp export-1/pki/sa.key mixed/pki", "pki/sa.key not as in its SHA256SUMS"),
        (
            "cp export-1/pki/etcd/peer.key mixed/pki/etcd; : >mixed/kubelet.conf",
            "kubelet.conf pki/etcd/peer.key not as",
        ),
        ("truncate -s 200 mixed/pki/encryption-config.yaml", "pki/encryption-config.yaml not as in its SHA256SUMS"),
        ("truncate -s 150 mixed/pki/apiserver.key", "pki/apiserver.key not as in its SHA256SUMS"),
        (
            "sed -i 's/^\\( *client-key-data: .\\{40\\}\\).*/\\1/' mixed/scheduler.conf",
            "scheduler.conf not as in its SHA256SUMS",
        ),
        ("rm mixed/pki/sa.key", "pki/sa.key not as in its SHA256SUMS"),
        ("rm mixed/SHA256SUMS", "SHA256SUMS is missing"),
        (": >mixed/SHA256SUMS", "not as in its SHA256SUMS"),
        ("sed -i '/sa.key/,$d' mixed/SHA256SUMS", "its SHA256SUMS does not have pki/sa.key"),
        ("cp export-1/SHA256SUMS mixed", "not as in its SHA256SUMS"),
        ("cp -R export-1/* mixed", "is another"),
    ] {
        let _ = fs::remove_dir_all(&mixed);
        shell(place.ground.dir.path(), &format!("cp -R {} mixed; {line}", export.display()));
        place.refuses(&script, &root, &["mixed"], says);
    }
    place.runs(&script, &root, &[export.to_str().unwrap()]);
}

#[test]
fn a_node_of_another_cluster_with_the_same_name_is_refused() {
    let mut place = Place::new();
    place.ground.run("alice", &NEW.replace(" prod ", " test ")).ends(0);
    let out = place.path("of-test");
    place.ground.run("alice", &format!("export kubeadm -c test --node cp-1 --out {}", out.display())).ends(0);
    let root = place.root("cp-1", &out);
    place.rotates("start");
    place.rotates("trust");
    place.leaves("cp-1", &root, &["this is a node of another cluster"]);
}

#[test]
fn two_runs_on_one_node_are_not_under_way_at_once() {
    use std::io::{BufRead as _, BufReader};
    let mut place = Place::new();
    let export = place.export("w-1", "");
    let root = place.root("w-1", &export);
    place.rotates("start");
    place.rotates("trust");
    let (script, export) = (place.script("w-1"), place.export("w-1", ""));
    let folder = export.to_str().unwrap();
    let before = picture(&root);
    // A run that waits for its kubelet.
    fs::write(place.path("bin/systemctl"), "#!/bin/sh\necho restarted >&2; read line <\"$FIFO\"\n").unwrap();
    shell(place.ground.dir.path(), "mkfifo fifo");
    let mut first = place.command(&script, &[folder]);
    first.env("KLUIS_ROOT", &root).env("FIFO", place.path("fifo")).stderr(std::process::Stdio::piped());
    let mut first = first.stdout(std::process::Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(first.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "restarted\n");
    place.refuses(&script, &root, &[folder], "another run of such a script is at work on this node");
    place.refuses(&script, &root, &["--dry-run", folder], "another run of such a script is at work on this node");
    fs::write(place.path("fifo"), "go on\n").unwrap();
    assert!(first.wait().unwrap().success());
    let left: Vec<PathBuf> = picture(&root).into_keys().filter(|path| !before.contains_key(path)).collect();
    assert_eq!(left, [root.join("run/kluis/kubelet")], "the lock leaves nothing");
    place.runs(&script, &root, &[folder]);
}

#[test]
fn a_finding_of_rotate_check_names_what_to_copy() {
    let mut place = Place::new();
    let export = place.export("cp-1", "");
    let root = place.root("cp-1", &export);
    place.rotates("start etcd");
    for step in ["trust", "promote"] {
        place.rotates(step);
        place.brings("cp-1", &root);
    }
    shell(&export, "cd pki/etcd; rm peer.crt peer.key");
    place.rotates("distrust --confirm nodes-have-leaves");
    // Leaves of the phase before, which `rotate status` lists no more.
    assert!(!words(&place.status("cp-1")["copy"]).contains(&"pki/etcd/server.crt".to_owned()));
    let words = format!("rotate check -c prod --node cp-1 --files {}", export.display());
    place
        .ground
        .run("alice", &words)
        .ends(3)
        .says("pki/etcd/peer.crt: it is not there; copy it and its key from a new export")
        .says("; copy it and its key from a new export\nerror[node-file]: pki/etcd/server.crt")
        .says("are not of this phase; copy it from a new export")
        .says("help: kluis export kubeadm -c prod --node cp-1 --out DIR");
}

#[test]
fn nobody_but_root_runs_it() {
    let mut place = Place::new();
    place.rotates("start");
    place.rotates("trust");
    let (script, export) = (place.script("w-1"), place.export("w-1", ""));
    fs::write(place.path("bin/id"), "#!/bin/sh\necho 1000\n").unwrap();
    fs::set_permissions(place.path("bin/id"), fs::Permissions::from_mode(0o755)).unwrap();
    let output = place.command(&script, &["--dry-run", export.to_str().unwrap()]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("this is for root"), "{}", said(&output));
}

/// Whatever shells and shellcheck are here.
#[test]
fn every_shell_parses_it_and_shellcheck_finds_nothing() {
    let place = Place::new();
    place.rotates("start");
    let idle = place.script("cp-1");
    let idle = {
        let to = place.path("idle.sh");
        fs::rename(idle, &to).unwrap();
        to
    };
    place.rotates("trust");
    let scripts = [idle, place.script("cp-1"), place.script("w-1")];
    let found = |program: &str| {
        let path = std::env::var_os("PATH").unwrap();
        std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file())
    };
    for script in &scripts {
        for shell in [&["sh"][..], &["dash"], &["bash", "--posix"], &["busybox", "sh"], &["ksh"], &["mksh"]] {
            let Some(program) = found(shell[0]) else { continue };
            let output = Command::new(program).args(&shell[1..]).arg("-n").arg(script).output().unwrap();
            assert!(output.status.success() && output.stderr.is_empty(), "{shell:?}: {}", said(&output));
        }
        if let Some(shellcheck) = found("shellcheck") {
            let output =
                Command::new(shellcheck).args(["--shell=sh", "--severity=style"]).arg(script).output().unwrap();
            assert!(output.status.success(), "{}", said(&output));
        }
    }
}

#[test]
fn the_report_has_the_script_and_what_it_does() {
    let place = Place::new();
    place.rotates("start etcd");
    place.rotates("trust");
    let report = place.ground.run("alice", "rotate script -c prod --node cp-1 -o json").ends(0);
    let report = data(&report, "rotate script");
    assert_eq!(report["copy"], place.status("cp-1")["copy"]);
    assert_eq!(report["restart"], serde_json::json!(["etcd", "kube-apiserver"]));
    assert_eq!(report["content"], fs::read_to_string(place.script("cp-1")).unwrap());
    refusal(&place.ground.run("alice", "rotate script -c prod --node cp-9 -o json"), 2, &["no node cp-9"]);
}
