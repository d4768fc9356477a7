//! The commands that read, on a repository made by stock gpg, openssl and git: `status`, `verify`, `doctor`, `open`,
//! `export`, `completions`, `man`; with a real gpg-agent and with key files. Each refusal leaves nothing behind.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod stock;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use stock::*;

/// What the binary said.
struct Said {
    exit: i32,
    out: String,
    err: String,
}

impl Said {
    fn of(output: Output) -> Self {
        Self {
            exit: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    #[track_caller]
    fn ends(self, exit: i32) -> Self {
        assert_eq!(self.exit, exit, "{}\n{}", self.out, self.err);
        self
    }

    fn data(&self) -> Value {
        let report: Value = serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}\n{}{}", self.out, self.err));
        assert_eq!(report["exit"], self.exit);
        report["data"].clone()
    }
}

/// The binary on this repository, as whoever's keys the gpg-agent of the story has, pinned, without a terminal.
fn kluis(stock: &Stock, args: &[&str]) -> Command {
    let mut kluis = Command::new(env!("CARGO_BIN_EXE_kluis"));
    kluis.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", stock.work("nobody"));
    kluis.env("XDG_STATE_HOME", stock.work("state")).env("GNUPGHOME", stock.home()).stdin(Stdio::null());
    kluis.arg("-C").arg(stock.repo()).args(["--pin", stock.pin.as_deref().unwrap()]).args(args);
    kluis
}

fn run_kluis(stock: &Stock, args: &[&str]) -> Said {
    Said::of(kluis(stock, args).output().unwrap())
}

/// A secret-key file of `name`.
fn identity(stock: &Stock, name: &str) -> String {
    let path = stock.work(&format!("{name}.key"));
    let key = &stock.person(name).primary;
    let secret = run(stock.gpg().args(["--armor", "--pinentry-mode", "loopback", "--export-secret-keys", key])).stdout;
    fs::write(&path, secret).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Every file below `dir`, with its permission bits.
fn listing(dir: &Path) -> Vec<(String, u32)> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let (path, mode) = (entry.path(), entry.metadata().unwrap().permissions().mode() & 0o777);
            if path.is_dir() {
                assert_eq!(mode, 0o700, "{}", path.display());
                folders.push(path);
            } else {
                found.push((path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned(), mode));
            }
        }
    }
    found.sort();
    found
}

/// A worker `w-1` on top of the valid repository: its description, two certificates, one sealed file.
fn with_worker() -> Stock {
    let mut stock = Stock::valid();
    let config = "clusters/prod/cluster.toml";
    let node = "\n[[node]]\nname = \"w-1\"\nroles = [\"worker\"]\naddresses = [\"10.0.0.21\"]\n";
    stock.write(config, stock.text(config) + node);
    let mut record = record_head(&stock, "alice", 1, &[stock.head()], &stock.now("now"));
    record += &format!("\n[[config]]\npath = \"{config}\"\nsha256 = \"{}\"\n", sha256(stock.read(config)));
    let mut plain = format!("kluis-secret: 1\nrepo: {REPO}\ncluster: {PROD}\nname: node.w-1\ngeneration: 1\n");
    let mut public = String::new();
    let mut entries = String::new();
    for (profile, usage, san) in
        [("kubelet-client", "clientAuth", ""), ("kubelet-serving", "serverAuth", "subjectAltName=IP:10.0.0.21\n")]
    {
        let extensions = format!(
            "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage={usage}\n\
             subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n{san}"
        );
        let name = format!("w-1-{profile}");
        let path = format!("clusters/prod/certs/node/w-1/{profile}.crt");
        let leaf = stock.make_leaf(&name, "prod-ca", "/O=system:nodes/CN=system:node:w-1", &extensions, 300);
        stock.write(&path, leaf);
        let spki = stock.spki(&name);
        plain += &format!("\nkey: {profile}\nid: {spki}\n{}", stock.pem_key(&name));
        public += &format!("    {{ name = \"{profile}\", id = \"{spki}\" }},\n");
        entries += &issued(&stock, &path, &name, "prod-ca", "CN=system:node:w-1,O=system:nodes");
    }
    let path = "clusters/prod/sealed/node.w-1.asc";
    let entry = seal(&stock, path, &plain, ("x", "x"), &["alice", "bob"], 1);
    record += &entry.replace("    { name = \"x\", id = \"x\" },\n", &public);
    record += &entries;
    let head = stock.record("alice", &record);
    stock.pin = Some(stock.pin_here(1, &[head]));
    stock.commit();
    stock
}

#[test]
fn verify_says_in_one_line_what_it_saw() {
    let stock = Stock::valid();
    let said = run_kluis(&stock, &["verify"]).ends(0);
    assert_eq!(said.out, "valid: epoch 1, 2 records, 2 clusters, 19 files\n");
    let data = run_kluis(&stock, &["verify", "-o", "json"]).ends(0).data();
    assert_eq!((&data["epoch"], &data["records"], &data["draft"]), (&1.into(), &2.into(), &Value::Null));
    assert_eq!(data["heads"][0], stock.head());
}

#[test]
fn verify_works_on_an_unpacked_archive_and_anywhere_below_its_root() {
    let stock = Stock::valid();
    fs::remove_dir_all(stock.path(".git")).unwrap();
    run_kluis(&stock, &["verify"]).ends(0);
    let below = stock.path("clusters/prod");
    run_kluis(&stock, &["-C", below.to_str().unwrap(), "verify"]).ends(0);
    let nothing = run_kluis(&stock, &["-C", stock.work("x").to_str().unwrap(), "verify"]).ends(3);
    assert!(nothing.err.contains("no repository of kluis") && nothing.err.contains("help: kluis init"));
    run_kluis(&stock, &["-C", "/nowhere/at/all", "verify"]).ends(2);
}

#[test]
fn verify_without_a_pin_ends_4_and_pins_nothing() {
    let stock = Stock::valid();
    let mut kluis = Command::new(env!("CARGO_BIN_EXE_kluis"));
    kluis.env_clear().env("HOME", stock.work("x")).env("XDG_STATE_HOME", stock.work("state")).stdin(Stdio::null());
    let said = Said::of(kluis.arg("-C").arg(stock.repo()).arg("verify").output().unwrap()).ends(4);
    assert!(said.out.contains("[unpinned]"), "{}", said.out);
    assert!(said.out.ends_with("not known to be the right repository: epoch 1, 2 records, 2 clusters, 19 files\n"));
    assert!(!stock.work("state").exists());
}

#[test]
fn what_is_owed_is_5_and_an_error_when_strict() {
    let stock = Stock::valid();
    let late = stock.now("+350 days");
    let said = run_kluis(&stock, &["verify", "--at", &late]).ends(5);
    assert!(said.out.contains("attention[epoch-expired]") && said.out.contains("valid, and something is owed"));
    let said = run_kluis(&stock, &["verify", "--strict", "--at", &late]).ends(3);
    assert!(said.out.contains("error[epoch-expired]") && !said.out.contains("attention["), "{}", said.out);
    run_kluis(&stock, &["status", "--at", &late]).ends(5);
}

#[test]
fn the_gravest_finding_comes_first() {
    let stock = Stock::valid();
    fs::remove_file(stock.path("clusters/stage/cluster.toml")).unwrap();
    let said = run_kluis(&stock, &["verify", "--at", &stock.now("+350 days")]).ends(3);
    let levels: Vec<&str> = said.out.lines().filter_map(|line| line.split_once('[').map(|(level, _)| level)).collect();
    let first_other = levels.iter().position(|level| *level != "error").unwrap();
    assert!(levels[first_other..].iter().all(|level| *level != "error"), "{}", said.out);
    assert!(said.out.lines().last().unwrap().starts_with("invalid: epoch 1"));
}

#[test]
fn status_shows_clusters_and_what_ends_next() {
    let stock = with_worker();
    let said = run_kluis(&stock, &["status"]).ends(0);
    for part in ["epoch 1", "cluster prod", "nodes     1", "kubernetes g1, service-account g1", "ends next"] {
        assert!(said.out.contains(part), "{part}\n{}", said.out);
    }
    let data = run_kluis(&stock, &["status", "-o", "json"]).ends(0).data();
    assert_eq!(data["clusters"][0]["issuing"]["kubernetes"], "g1");
    let ends: Vec<&str> = data["next"].as_array().unwrap().iter().map(|end| end["at"].as_str().unwrap()).collect();
    assert!(ends.is_sorted() && !ends.is_empty());
}

#[test]
fn status_shows_who_must_sign_a_draft() {
    let stock = Stock::valid();
    stock.put_epoch(&stock.second_epoch(), &["alice"]);
    let said = run_kluis(&stock, &["status"]).ends(3);
    assert!(said.out.contains("draft    epoch 2 waits for a signature of bob: kluis trust sign"), "{}", said.out);
    assert!(run_kluis(&stock, &["verify"]).ends(3).out.contains("epoch 2 is a draft that lacks signatures"));
}

#[test]
fn a_live_break_glass_certificate_is_loud() {
    let stock = Stock::valid();
    let extensions = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n\
        extendedKeyUsage=clientAuth\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n";
    let leaf = stock.make_leaf("alice-bg", "prod-ca", "/O=system:masters/CN=alice", extensions, 1);
    let path = "clusters/prod/certs/person/alice/break-glass.crt";
    stock.write(path, leaf);
    stock.add_record("alice", &issued(&stock, path, "alice-bg", "prod-ca", "CN=alice,O=system:masters"));
    // One issuer, a day long: the record is void, and still status says what it is asked.
    run_kluis(&stock, &["status"]).ends(3);
}

#[test]
fn doctor_knows_who_you_are_and_what_you_can_open() {
    let stock = Stock::valid();
    let alice = identity(&stock, "alice");
    run(Command::new("git").current_dir(stock.repo()).args(["config", "user.name", "alice"]));
    run(Command::new("git").current_dir(stock.repo()).args(["config", "user.email", "alice@example.org"]));
    let said = run_kluis(&stock, &["--identity", &alice, "doctor"]).ends(0);
    for part in ["alice <alice@example.org>", "holds a signing key of alice", "open 3 of 3 in cluster prod"] {
        assert!(said.out.contains(part), "{part}\n{}", said.out);
    }
    // The agent of the story has everybody's keys: who is meant has to be said.
    run_kluis(&stock, &["doctor"]).ends(1);
    let data = run_kluis(&stock, &["--as", "bob", "doctor", "-o", "json"]).ends(0).data();
    assert_eq!((&data["person"], &data["secrets"][0]["openable"]), (&"bob".into(), &3.into()));
    let mallory = identity(&stock, "mallory");
    let said = run_kluis(&stock, &["--identity", &mallory, "doctor"]).ends(6);
    assert!(said.out.contains("FAIL  keys"), "{}", said.out);
}

#[test]
fn doctor_names_what_fails_where_there_is_no_repository() {
    let stock = Stock::valid();
    let said = run_kluis(&stock, &["-C", stock.work("x").to_str().unwrap(), "--as", "alice", "doctor"]).ends(1);
    assert!(said.out.contains("FAIL  git") && said.out.contains("help: git init"), "{}", said.out);
}

#[test]
fn open_prints_pem_that_openssl_reads_and_asks_first() {
    let stock = Stock::valid();
    let asked = run_kluis(&stock, &["--as", "alice", "open", "-c", "prod", "ca.kubernetes"]).ends(2);
    assert!(asked.out.is_empty() && asked.err.contains("whoever") | asked.err.contains("Whoever"), "{}", asked.err);
    for name in ["ca.kubernetes", "ca.kubernetes.g1", "sa", "node.cp-1/apiserver", "node.cp-1"] {
        let said = run_kluis(&stock, &["--as", "alice", "open", "-c", "prod", name, "--yes"]).ends(0);
        assert!(said.out.starts_with("-----BEGIN PRIVATE KEY-----\n") && said.err.is_empty(), "{name}{}", said.err);
        fs::write(stock.work("opened"), &said.out).unwrap();
        stock.openssl("pkey -in opened -noout");
    }
    let opened = run_kluis(&stock, &["--as", "bob", "open", "-c", "prod", "ca.kubernetes", "--yes"]).ends(0).out;
    assert_eq!(opened, stock.pem_key("prod-ca"));
}

#[test]
fn open_refuses_what_is_not_there_or_not_yours() {
    let stock = Stock::valid();
    let said = run_kluis(&stock, &["open", "-c", "prod", "ca.etcd", "--yes"]).ends(2);
    assert!(said.err.contains("there are: ca.kubernetes.g1, node.cp-1, sa.g1"), "{}", said.err);
    let said = run_kluis(&stock, &["open", "-c", "prod", "node.cp-1/nothing", "--yes"]).ends(2);
    assert!(said.err.contains("there are: apiserver"), "{}", said.err);
    let said = run_kluis(&stock, &["open", "-c", "prod", "sa", "--yes", "-o", "json"]).ends(2);
    assert!(!said.out.contains("PRIVATE") && said.data()["error"].is_string());
    let carol = identity(&stock, "carol");
    run_kluis(&stock, &["--identity", &carol, "open", "-c", "prod", "sa", "--yes"]).ends(6);
    stock.remove("clusters/prod/sealed/sa.g1.asc");
    let said = run_kluis(&stock, &["open", "-c", "prod", "ca.kubernetes", "--yes"]).ends(3);
    assert!(said.out.is_empty() && said.err.contains("[missing-file]"));
}

#[test]
fn a_workers_export_has_its_own_keys_alone() {
    let stock = with_worker();
    let out = stock.work("export");
    let to = out.to_str().unwrap();
    let alice = identity(&stock, "alice");
    let dry =
        run_kluis(&stock, &["--dry-run", "export", "kubeadm", "-c", "prod", "--node", "w-1", "--out", to]).ends(0);
    assert!(dry.out.contains("would open node.w-1") && !out.exists(), "{}", dry.out);
    let said =
        run_kluis(&stock, &["--identity", &alice, "export", "kubeadm", "-c", "prod", "--node", "w-1", "--out", to]);
    assert!(said.ends(0).out.contains("opened: node.w-1"));
    let expected = [
        ("SHA256SUMS", 0o600),
        ("kubelet.conf", 0o600),
        ("kubelet/kubelet.crt", 0o644),
        ("kubelet/kubelet.key", 0o600),
        ("pki/ca.crt", 0o644),
    ];
    assert_eq!(listing(&out), expected.map(|(path, mode)| (path.to_owned(), mode)));
    // Again, over what is there; then among other files, which are left alone.
    let again = ["--identity", &alice, "export", "kubeadm", "-c", "prod", "--all-nodes", "--out", to];
    run_kluis(&stock, &again).ends(2);
    assert_eq!(listing(&out).len(), expected.len());
    fs::remove_dir_all(&out).unwrap();
    run_kluis(&stock, &again).ends(0);
    assert!(listing(&out).iter().all(|(path, _)| path.starts_with("w-1/")));
}

#[test]
fn an_export_never_lands_in_git_and_no_worker_gets_ca_keys() {
    let stock = with_worker();
    let inside = stock.path("export");
    let to = inside.to_str().unwrap();
    let said = run_kluis(&stock, &["export", "pem", "-c", "prod", "--node", "w-1", "--out", to]).ends(2);
    assert!(said.err.contains("inside the git repository") && !inside.exists(), "{}", said.err);
    let out = stock.work("export");
    let to = out.to_str().unwrap();
    let node = ["--as", "alice", "export", "pem", "-c", "prod", "--node", "w-1", "--out", to, "--with-ca-keys"];
    let said = run_kluis(&stock, &node).ends(3);
    assert!(said.err.contains("runs no control plane"), "{}", said.err);
    let said = run_kluis(&stock, &["export", "pem", "-c", "prod", "--node", "w-2", "--out", to]).ends(2);
    assert!(said.err.contains("there are: w-1"), "{}", said.err);
    run_kluis(&stock, &["export", "k3s", "-c", "prod", "--node", "w-1", "--out", to]).ends(3);
    assert!(!out.exists());
}

#[test]
fn a_keyset_is_exported_with_its_key_only_on_request() {
    let stock = Stock::valid();
    let out = stock.work("ca");
    let to = out.to_str().unwrap();
    let keyset = ["--as", "alice", "export", "pem", "-c", "prod", "--keyset", "kubernetes", "--out", to];
    assert!(run_kluis(&stock, &keyset).ends(0).out.contains("opened: nothing"));
    assert_eq!(listing(&out), [("ca/kubernetes.crt".to_owned(), 0o644)]);
    fs::remove_dir_all(&out).unwrap();
    let said = run_kluis(&stock, &[&keyset[..], &["--with-ca-keys"]].concat()).ends(0);
    assert!(said.out.contains("CA KEYS ARE AMONG THESE FILES"), "{}", said.out);
    assert_eq!(fs::read_to_string(out.join("ca/kubernetes.key")).unwrap(), stock.pem_key("prod-ca"));
}

#[test]
fn completions_and_man_pages_come_from_the_grammar() {
    let stock = Stock::valid();
    assert!(run_kluis(&stock, &["completions", "bash"]).ends(0).out.contains("complete -F _kluis"));
    assert!(run_kluis(&stock, &["man", "verify"]).ends(0).out.contains("strict"));
    let dir: PathBuf = stock.work("man1");
    run_kluis(&stock, &["man", "--out", dir.to_str().unwrap()]).ends(0);
    for page in ["kluis.1", "kluis-verify.1", "kluis-export.1"] {
        assert!(dir.join(page).is_file(), "{page}");
    }
    run_kluis(&stock, &["man", "nothing"]).ends(2);
}

/// A real Ctrl-C, while the program waits for a passphrase that does not come.
#[test]
fn ctrl_c_ends_130_and_changes_nothing() {
    let stock = Stock::valid();
    let alice = identity(&stock, "alice");
    let fifo = stock.work("never");
    run(Command::new("mkfifo").arg(&fifo));
    let mut command =
        kluis(&stock, &["--identity", &alice, "--passphrase-fd", "0", "open", "-c", "prod", "sa", "--yes"]);
    let waits = fs::OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
    let child = command.stdin(waits).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = child.id().to_string();
    // It waits in `read` once the handler is there: /proc says when it sleeps on the pipe.
    let waiting = || fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
    for _ in 0..500 {
        if waiting().contains("pipe") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    run(Command::new("kill").args(["-INT", &pid]));
    let said = Said::of(child.wait_with_output().unwrap()).ends(130);
    assert!(said.out.is_empty() && said.err.contains("stopped before anything was changed"), "{}", said.err);
    let status = run(Command::new("git").current_dir(stock.repo()).args(["status", "--porcelain"])).stdout;
    assert!(status.is_empty());
}

/// `verify` has never needed git; nor do the others that read.
#[test]
fn an_unpacked_archive_can_be_read_and_opened_and_not_written() {
    let stock = Stock::valid();
    fs::remove_dir_all(stock.path(".git")).unwrap();
    for words in [&["status"][..], &["cluster", "list"], &["cert", "list"], &["person", "list"], &["trust", "show"]] {
        run_kluis(&stock, words).ends(0);
    }
    let said = run_kluis(&stock, &["reseal"]);
    assert!(said.exit == 1 && said.err.contains("is in no git repository"), "{}", said.err);
}

#[test]
fn errors_of_the_grammar_name_the_command_and_its_help() {
    let stock = Stock::valid();
    let said = run_kluis(&stock, &["cluster", "new"]).ends(2);
    assert!(said.err.contains("help: kluis cluster new --help") && !said.err.contains("For more"), "{}", said.err);
    let said = run_kluis(&stock, &["verify", "--nonsense", "-o", "json"]).ends(2);
    let report: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&report["command"], &report["data"]["help"]), (&"verify".into(), &"kluis verify --help".into()));
}

#[test]
fn clusters_are_named_where_they_are_looked_at() {
    let stock = Stock::valid();
    run_kluis(&stock, &["status", "-c", "nowhere"]).ends(2);
    assert!(run_kluis(&stock, &["verify", "-c", "prod"]).ends(0).err.contains("-c and --all-clusters are left aside"));
}

#[test]
fn the_demo_wants_a_folder_outside_git_and_no_dry_run() {
    let stock = Stock::valid();
    let inside = stock.path("story");
    let said = run_kluis(&stock, &["demo", inside.to_str().unwrap()]).ends(2);
    assert!(said.err.contains("inside the git repository") && !inside.exists(), "{}", said.err);
    let outside = stock.work("story");
    run_kluis(&stock, &["demo", outside.to_str().unwrap(), "--dry-run"]).ends(2);
    assert!(!outside.exists());
}
