//! `kubeconfig` and `credential` as kubectl runs them: the real binary, a real gpg-agent, and the environment.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod gnupg;
mod ground;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use gnupg::Home;
use ground::Ground;
use serde_json::Value;

/// alice with a cluster and a break-glass certificate; her key is in an agent that logs what it is asked.
struct Desk {
    ground: Ground,
    home: Home,
}

impl Desk {
    fn new() -> Self {
        let ground = Ground::at(kluis::env::now(), &["alice", "bob"], 1, 1);
        let home = Home::new();
        let log = home.path().join("agent.log");
        let config = home.path().join("gpg-agent.conf");
        let more = format!("log-file {}\ndebug ipc\n", log.display());
        fs::write(&config, fs::read_to_string(&config).unwrap() + &more).unwrap();
        home.gpg(&["--import", ground.person("alice").key.to_str().unwrap()]);
        let desk = Self { ground, home };
        let new = "cluster new prod --endpoint https://api.example.org:6443 --kubernetes 1.36 --node cp-1=10.0.0.11:control-plane,etcd";
        let pin = desk.ground.pin.clone();
        for words in [&format!("trust pin {pin}"), &format!("{new} --super-admin --yes")] {
            let output = desk.kluis(words).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.ground.dir.path().join(name)
    }

    fn kluis(&self, words: &str) -> Command {
        let mut kluis = Command::new(env!("CARGO_BIN_EXE_kluis"));
        kluis.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", self.path("home"));
        kluis.env("GNUPGHOME", self.home.path()).env("XDG_STATE_HOME", self.path("state"));
        kluis.arg("-C").arg(self.ground.repo()).args(words.split(' ')).stdin(Stdio::null());
        kluis
    }

    /// How often the agent was asked to open, and to sign.
    fn operations(&self) -> (usize, usize) {
        // The agent also logs what it was asked to open: bytes that are no text.
        let log = fs::read(self.home.path().join("agent.log")).unwrap();
        let log = String::from_utf8_lossy(&log);
        let count = |command: &str| log.lines().filter(|line| line.ends_with(&format!("<- {command}"))).count();
        (count("PKDECRYPT"), count("PKSIGN"))
    }
}

#[track_caller]
fn ends(output: &Output, code: i32) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{out}{err}");
    (out, err)
}

#[test]
fn a_kubeconfig_takes_no_operation_and_a_call_takes_one() {
    let desk = Desk::new();
    let before = desk.operations();
    assert!(before.1 > 0, "the log is one of this agent");
    ends(&desk.kluis("kubeconfig -c prod --break-glass").output().unwrap(), 0);
    assert_eq!(desk.operations(), before);
    for words in ["credential -c prod --break-glass --as alice", "credential --break-glass"] {
        let before = desk.operations();
        let (out, err) = ends(&desk.kluis(words).output().unwrap(), 0);
        assert!(out.contains("BEGIN PRIVATE KEY") && !err.contains("PRIVATE"), "{err}");
        assert_eq!(desk.operations(), (before.0 + 1, before.1), "{words}");
    }
    let before = desk.operations();
    let inline = format!("kubeconfig -c prod --break-glass --inline --out {}", desk.path("inline.conf").display());
    ends(&desk.kluis(&inline).output().unwrap(), 0);
    assert_eq!(desk.operations(), (before.0 + 1, before.1));
    // What can't be written is refused before the key is opened.
    fs::write(desk.path("inline.conf"), "users:\n- name: alice-break-glass@prod\n  user: {token: t}\n").unwrap();
    let before = desk.operations();
    ends(&desk.kluis(&inline).output().unwrap(), 2);
    assert_eq!(desk.operations(), before);
}

#[test]
fn the_file_is_the_one_that_kubectl_would_write_to() {
    let desk = Desk::new();
    let words = "kubeconfig -c prod --break-glass --as alice";
    ends(&desk.kluis(words).output().unwrap(), 0);
    assert!(desk.path("home/.kube/config").is_file());
    let list = std::env::join_paths([PathBuf::new(), desk.path("first"), desk.path("second")]).unwrap();
    ends(&desk.kluis(words).env("KUBECONFIG", list).output().unwrap(), 0);
    assert!(desk.path("first").is_file() && !desk.path("second").exists());
    let (_, err) = ends(&desk.kluis(words).env_remove("HOME").output().unwrap(), 2);
    assert!(err.contains("--out FILE"), "{err}");
    // The program is named by its path unless the PATH leads to it, and nothing that only has its name is.
    let command = |path: PathBuf| {
        let file = desk.path("config");
        let words = format!("{words} --out {}", file.display());
        ends(&desk.kluis(&words).env("PATH", path).output().unwrap(), 0);
        let config: Value = serde_yaml_ng::from_slice(&fs::read(file).unwrap()).unwrap();
        config["users"][0]["user"]["exec"]["command"].as_str().unwrap().to_owned()
    };
    let own = PathBuf::from(env!("CARGO_BIN_EXE_kluis"));
    let real = own.canonicalize().unwrap();
    assert_eq!(command(own.parent().unwrap().to_owned()), "kluis");
    fs::create_dir(desk.path("bin")).unwrap();
    fs::write(desk.path("bin/kluis"), "#!/bin/sh\n").unwrap();
    assert_eq!(PathBuf::from(command(desk.path("bin"))).canonicalize().unwrap(), real);
}

#[test]
fn kubectl_of_another_version_and_an_agent_without_the_key_get_nothing() {
    let desk = Desk::new();
    let words = "credential -c prod --break-glass --as alice";
    let info = |version: &str| {
        format!(
            r#"{{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/{version}","spec":{{"interactive":false}}}}"#
        )
    };
    ends(&desk.kluis(words).env("KUBERNETES_EXEC_INFO", info("v1")).output().unwrap(), 0);
    for bad in [info("v1beta1"), "{".to_owned()] {
        let (out, err) = ends(&desk.kluis(words).env("KUBERNETES_EXEC_INFO", &bad).output().unwrap(), 2);
        assert!(out.is_empty() && err.contains("KUBERNETES_EXEC_INFO"), "{err}");
    }
    let stranger = Home::new();
    let output = desk.kluis(words).env("GNUPGHOME", stranger.path()).output().unwrap();
    let (out, err) = ends(&output, 6);
    assert!(out.is_empty() && err.contains("the secret key is not here"), "{err}");
}
