//! What a call of kubectl costs more through `kluis credential` than with the key in its file: CPU seconds of whole processes,
//! gpgconf included and the agent's own time aside, in a small repository and in one of 200 clusters and 12 epochs.
//! `cargo bench --bench kubectl` builds and runs it.
//!
//! kubectl is pointed at a port where nobody listens: it asks its plugin before it connects, and ends there. Wall time is
//! not measured: the machines that this runs on are shared.

#![expect(clippy::unwrap_used, reason = "a benchmark stops where something is wrong")]

#[path = "../tests/programs/mod.rs"]
mod programs;
#[path = "../tests/repository/mod.rs"]
mod repository;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kluis::model::{Generation, Span};
use kluis::seal::{Header, KeyBody, SealedKey};
use kluis::trust::Entry;
use repository::{Repository, cluster, person, place};
use serde_json::Value;

const KLUIS: &str = env!("CARGO_BIN_EXE_kluis");
const ROUNDS: usize = 20;
const TURNS: usize = 4;

/// CPU seconds of all children that this process has waited for.
fn children() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    [13, 14].iter().map(|at| fields[*at].parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

/// The mean CPU of some runs of a command, in milliseconds; each ends with `code`.
fn measure(command: &mut Command, code: i32) -> f64 {
    let before = children();
    for _ in 0..ROUNDS {
        let output = command.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{command:?}: {said}");
    }
    (children() - before) * 1000.0 / ROUNDS as f64
}

fn report(work: &str, tool: &str, milliseconds: f64) {
    println!("{work:<46} {tool:<24} {milliseconds:>8.1} ms CPU");
}

/// A repository on disk, with alice's key file, her state folder, and a GnuPG home whose agent has her key.
struct Desk {
    dir: tempfile::TempDir,
}

impl Desk {
    fn new(clusters: usize, epochs: u32) -> Self {
        // Short: the agent's socket lies in it.
        let desk = Self { dir: tempfile::Builder::new().prefix("kg").tempdir_in("/tmp").unwrap() };
        let mut made = Repository::of(&["alice", "bob"]);
        // Each thing that is made takes a minute of the repository's own time, and all is to lie in the past.
        made.clock = made.clock.max(kluis::env::now().minus(Span::hours(12)));
        let mut draft = made.draft();
        for number in 0..clusters {
            made.add_cluster(&mut draft, &format!("c{number}"), &["alice"], &["alice"]);
        }
        made.publish(draft, &["alice"]);
        for number in 0..clusters {
            made.populate(&format!("c{number}"), "alice");
        }
        while made.latest().number < epochs {
            let draft = made.draft();
            made.publish(draft, &["alice"]);
        }
        made.clock = made.clock.max(kluis::env::now().minus(Span::minutes(10)));
        desk.own_certificate(&mut made);
        for (path, entry) in &made.tree.entries {
            let Entry::File { bytes, .. } = entry else { continue };
            let path = desk.path("repo").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        fs::write(desk.path("alice.key"), &made.identities["alice"].secret).unwrap();
        fs::create_dir(desk.path("g")).unwrap();
        fs::set_permissions(desk.path("g"), fs::Permissions::from_mode(0o700)).unwrap();
        let mut gpg = Command::new("gpg");
        gpg.args(["--batch", "--quiet", "--import"]).arg(desk.path("alice.key")).env("GNUPGHOME", desk.path("g"));
        assert!(gpg.status().unwrap().success());
        assert!(Command::new("git").args(["init", "-q"]).arg(desk.path("repo")).status().unwrap().success());
        let pin = format!("kluis-pin:{}:1:{}", made.id, made.epochs[0].1);
        for words in [format!("trust pin {pin}"), "verify".to_owned()] {
            let output = desk.kluis(&words).output().unwrap();
            let said = [output.stdout, output.stderr].concat();
            assert!(matches!(output.status.code(), Some(0 | 5)), "{words}: {}", String::from_utf8_lossy(&said));
        }
        desk
    }

    /// alice's certificate for the first cluster, and its key in her state folder.
    fn own_certificate(&self, made: &mut Repository) {
        let key = made.key();
        let at = place("clusters/c0/certs/person/alice/client.crt");
        let mut record = made.blank("alice");
        made.issue_in(&mut record, &at, &key.spki(), &["kluis:admins"], 1);
        made.put(record);
        let header = Header {
            repo: made.id,
            cluster: made.latest().clusters[&cluster("c0")].id,
            name: format!("person.{}", person("alice")),
            generation: Generation::FIRST,
        };
        let alice = &made.identities["alice"];
        let keys = [SealedKey::new("client", KeyBody::Pkcs8(key.to_pkcs8()))];
        let sealed = kluis::seal::seal(&header, &keys, &[(&alice.certificate, &alice.encrypt)]).unwrap();
        let folder = self.path("state/kluis/keys");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{}.asc", key.spki_id())), sealed).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn of_desk(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env("XDG_STATE_HOME", self.path("state"))
            .env("GNUPGHOME", self.path("g"))
            .env("HOME", self.path("home"));
        command
    }

    fn kluis(&self, words: &str) -> Command {
        let mut command = self.of_desk(Path::new(KLUIS));
        command.arg("-C").arg(self.path("repo")).args(words.split(' '));
        command
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf").env("GNUPGHOME", self.path("g")).args(["--kill", "all"]).status();
    }
}

/// kubectl with the key in its file, with a plugin that prints a file, and with kluis: in turn, so that what else the
/// machine does falls on all of them.
fn kubectl(desk: &Desk, name: &str, program: &Path) {
    let run = |words: &str| {
        let output = desk.kluis(words).output().unwrap();
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let path = |name: &str| desk.path(&format!("{name}.conf"));
    run(&format!("kubeconfig -c c0 --inline --out {}", path("inline").display()));
    run(&format!("kubeconfig -c c0 --as alice --out {}", path("kluis").display()));
    let answer = desk.path("answer.json");
    fs::write(&answer, run("credential -c c0 --as alice")).unwrap();
    let mut plugin: Value = serde_yaml_ng::from_slice(&fs::read(path("kluis")).unwrap()).unwrap();
    let exec = &mut plugin["users"][0]["user"]["exec"];
    exec["command"] = programs::system("cat").to_str().unwrap().into();
    exec["args"] = vec![answer.to_str().unwrap().to_owned()].into();
    fs::write(path("cat"), serde_json::to_vec(&plugin).unwrap()).unwrap();
    let call = |config: &Path| {
        let mut kubectl = desk.of_desk(program);
        // What is true of a closed port of this machine is true of no name that a resolver would be asked for.
        kubectl.args(["get", "--raw", "/version", "--server", "https://127.0.0.1:9"]).arg("--kubeconfig").arg(config);
        measure(&mut kubectl, 1)
    };
    let (mut inline, mut cat, mut kluis) = (0.0, 0.0, 0.0);
    for _ in 0..TURNS {
        inline += call(&path("inline")) / TURNS as f64;
        cat += call(&path("cat")) / TURNS as f64;
        kluis += call(&path("kluis")) / TURNS as f64;
    }
    let work = format!("kubectl, {name}");
    report(&work, "key in its file", inline);
    report(&work, "a plugin, cat FILE", cat);
    report(&work, "kluis credential", kluis);
    println!("{:>46} {:.1} ms more than the file, {:.1} than cat", "", kluis - inline, kluis - cat);
}

fn main() {
    let program = std::panic::catch_unwind(|| programs::kubernetes("kubectl")).ok();
    for (name, clusters, epochs) in [("1 cluster, 2 epochs", 1, 2), ("200 clusters, 12 epochs", 200, 12)] {
        let desk = Desk::new(clusters, epochs);
        let work = format!("credential, {name}");
        let words = "credential -c c0 --as alice";
        let key = desk.path("alice.key");
        report(&work, "--version, to compare", measure(desk.kluis("--version").arg("--color=never"), 0));
        report(&work, "with a key file", measure(desk.kluis(words).arg("--identity").arg(&key), 0));
        report(&work, "with gpg-agent", measure(&mut desk.kluis(words), 0));
        match &program {
            Some(program) => kubectl(&desk, name, program),
            None => println!("kubectl is not there: tests/run programs builds it"),
        }
    }
}
