//! Making a cluster, issuing and sealing again with the real binary and a real gpg-agent: keys never leave it.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod ground;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use ground::Ground;

/// A GnuPG home with a short path (a socket's path has at most 108 octets), whose agent ends with it.
struct Home(tempfile::TempDir);

impl Home {
    fn with_key(key: &Path) -> Self {
        let dir = tempfile::Builder::new().prefix("kg").tempdir_in("/tmp").unwrap();
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let home = Self(dir);
        let mut gpg = Command::new("gpg");
        gpg.args(["--batch", "--quiet", "--import"]).arg(key).env("GNUPGHOME", home.0.path());
        assert!(gpg.status().unwrap().success());
        home
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let mut kill = Command::new("gpgconf");
        let _ = kill.args(["--kill", "all"]).env("GNUPGHOME", self.0.path()).status();
    }
}

fn kluis(ground: &Ground, home: &Home, words: &[&str]) -> Output {
    let mut kluis = Command::new(env!("CARGO_BIN_EXE_kluis"));
    kluis.arg("-C").arg(ground.repo()).args(["--pin", &ground.pin]).args(words).stdin(Stdio::null());
    kluis.env("GNUPGHOME", home.0.path()).env("XDG_STATE_HOME", ground.dir.path().join("state"));
    kluis.output().unwrap()
}

#[track_caller]
fn fine(output: &Output) -> String {
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
    text
}

#[test]
fn the_agent_signs_a_new_cluster_and_opens_what_issuing_needs() {
    let ground = Ground::at(kluis::env::now(), &["alice", "bob"], 1, 1);
    let home = Home::with_key(&ground.person("alice").key);
    let new = ["cluster", "new", "prod", "--endpoint", "https://api.example.org:6443", "--kubernetes", "1.36"];
    let node = ["--node", "cp-1=10.0.0.11:control-plane,etcd", "--yes", "--super-admin"];
    fine(&kluis(&ground, &home, &[new.as_slice(), &node].concat()));
    assert_eq!(ground.errors(), [""; 0]);
    fine(&kluis(&ground, &home, &["cert", "issue", "apiserver", "--node", "cp-1"]));
    ground.epoch(&["alice"], |epoch| {
        epoch.clusters.values_mut().next().unwrap().keyholders.insert(ground.person("bob").name.clone());
    });
    let text = fine(&kluis(&ground, &home, &["reseal"]));
    assert!(text.contains("Sealed 6 files again"), "{text}");
    assert_eq!((ground.errors(), ground.owed()), (Vec::new(), Vec::new()));
    // What was sealed, stock gpg opens.
    let mut gpg = Command::new("gpg");
    gpg.args(["--batch", "--quiet", "-d"]).arg(ground.repo().join("clusters/prod/sealed/ca.kubernetes.g1.asc"));
    let plain = fine(&gpg.env("GNUPGHOME", home.0.path()).output().unwrap());
    assert!(plain.contains("name: ca.kubernetes\n") && plain.contains("BEGIN PRIVATE KEY"));
}

#[test]
fn an_agent_without_a_listed_key_changes_nothing() {
    let ground = Ground::at(kluis::env::now(), &["alice"], 1, 1);
    let stranger = Ground::at(kluis::env::now(), &["mallory"], 1, 1);
    let home = Home::with_key(&stranger.person("mallory").key);
    let before = ground.tree();
    let new = ["cluster", "new", "prod", "--endpoint", "https://a.example.org", "--kubernetes", "1.36", "--yes"];
    assert_eq!(kluis(&ground, &home, &new).status.code(), Some(6));
    assert!(ground.tree() == before);
}
