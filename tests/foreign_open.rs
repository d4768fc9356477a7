//! What kluis seals and signs, programs that are not kluis read: gpg and sq open every sealed file with each keyholder's key
//! and with nobody else's, gpg lists exactly the recorded recipients, and accepts every signature.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod gnupg;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use gnupg::Home;
use kluis::model::Place;
use kluis::trust::Record;

/// A keyholder with a GnuPG home, a state folder, and their certificate and secret key in files.
struct Keyholder {
    name: &'static str,
    home: Home,
    certificate: String,
    secret: String,
}

struct Team {
    dir: tempfile::TempDir,
    people: Vec<Keyholder>,
    outsider: Keyholder,
}

fn keyholder(name: &'static str, make: impl FnOnce(&Home)) -> Keyholder {
    let home = Home::new();
    make(&home);
    Keyholder {
        name,
        certificate: home.export("--export", &[name]),
        secret: home.export("--export-secret-keys", &[name]),
        home,
    }
}

impl Team {
    /// alice with Curve25519, bob with RSA, carol with two encryption subkeys; all keyholders of a cluster that alice made.
    fn new() -> Self {
        let rsa = |home: &Home| {
            home.gpg(&["--quick-gen-key", "bob", "rsa3072", "sign,cert", "never"]);
            let print = home.listed("bob", "fpr", 9)[0].clone();
            home.gpg(&["--quick-add-key", &print, "rsa3072", "encr", "never"]);
        };
        let two = |home: &Home| {
            home.person("carol", &[]);
            let print = home.listed("carol", "fpr", 9)[0].clone();
            home.gpg(&["--quick-add-key", &print, "rsa2048", "encr", "never"]);
        };
        let people =
            vec![keyholder("alice", |home| home.person("alice", &[])), keyholder("bob", rsa), keyholder("carol", two)];
        let outsider = keyholder("mallory", |home| home.person("mallory", &[]));
        let team = Self { dir: tempfile::tempdir().unwrap(), people, outsider };
        team.git(&["init", "-q", "-b", "main"]);
        team.git(&["config", "user.name", "team"]);
        team.git(&["config", "user.email", "team@example.org"]);
        let [alice, bob, carol] = team.people.as_slice() else { unreachable!("there are three") };
        team.kluis(alice, &format!("init --as alice --pgp {}", alice.certificate));
        team.kluis(alice, &format!("person add bob --role root --pgp {}", bob.certificate));
        team.kluis(alice, &format!("person add carol --pgp {}", carol.certificate));
        let line = String::from_utf8(team.run(alice, "trust pin").stdout).unwrap();
        for one in [bob, carol] {
            team.kluis(one, &format!("trust pin {}", line.trim()));
            team.kluis(one, "trust sign --yes");
        }
        let new = "cluster new prod --endpoint https://api.example.org:6443 --kubernetes 1.36 --yes";
        let nodes = "--node cp-1=10.0.0.11:control-plane,etcd --node w-1=10.0.0.21:worker";
        team.kluis(alice, &format!("{new} {nodes} --keyholder alice --keyholder bob --issuer alice"));
        team.kluis(alice, "person update carol --keyholder prod");
        team.kluis(alice, "reseal");
        team.kluis(alice, "verify");
        team
    }

    fn repo(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    fn git(&self, args: &[&str]) {
        fs::create_dir_all(self.repo()).unwrap();
        assert!(Command::new("git").arg("-C").arg(self.repo()).args(args).status().unwrap().success());
    }

    fn run(&self, who: &Keyholder, words: &str) -> Output {
        let mut kluis = Command::new(env!("CARGO_BIN_EXE_kluis"));
        kluis.arg("-C").arg(self.repo()).args(words.split(' ')).stdin(Stdio::null());
        kluis.env("GNUPGHOME", who.home.path()).env("HOME", self.dir.path());
        kluis.env("XDG_STATE_HOME", self.dir.path().join(who.name)).output().unwrap()
    }

    #[track_caller]
    fn kluis(&self, who: &Keyholder, words: &str) {
        let output = self.run(who, words);
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{} {words}: {text}", who.name);
    }

    fn sealed(&self) -> Vec<PathBuf> {
        let folder = fs::read_dir(self.repo().join("clusters/prod/sealed")).unwrap();
        let mut files: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    /// The newest record that seals a path.
    fn recorded(&self, path: &Path) -> Vec<String> {
        let path = path.strip_prefix(self.repo()).unwrap().to_str().unwrap();
        let tree = kluis::repo::read_tree(&self.repo()).unwrap();
        let records = tree.entries.keys().filter(|path| matches!(Place::parse(path), Ok(Place::Record { .. })));
        let records = records.map(|path| Record::parse(tree.bytes(path).unwrap()).unwrap());
        let entries = records.flat_map(|record| record.sealed).filter(|entry| entry.place().to_string() == path);
        let newest = entries.max_by_key(|entry| entry.revision).unwrap();
        newest.recipients.iter().map(|recipient| recipient.key.key_id().to_string()).collect()
    }
}

fn gpg_opens(home: &Home, path: &Path) -> Output {
    let mut gpg = Command::new("gpg");
    gpg.arg("--homedir").arg(home.path()).args(["--batch", "--quiet", "--decrypt"]).arg(path).output().unwrap()
}

#[test]
fn gpg_and_sq_open_every_sealed_file_with_each_keyholders_key_and_with_nobody_elses() {
    let team = Team::new();
    let files = team.sealed();
    assert_eq!(files.len(), 7, "{files:?}");
    for path in &files {
        for one in &team.people {
            let opened = gpg_opens(&one.home, path);
            assert!(opened.status.success(), "{} {}: {opened:?}", one.name, path.display());
            assert!(opened.stdout.starts_with(b"kluis-secret: 1\nrepo: "), "{}", path.display());
            let mut sq = Command::new("sq");
            let plain = sq.args(["decrypt", "--recipient-key", &one.secret]).arg(path).output().unwrap();
            assert!(plain.status.success() && plain.stdout == opened.stdout, "sq {} {plain:?}", one.name);
        }
        let refused = gpg_opens(&team.outsider.home, path);
        assert!(!refused.status.success() && refused.stdout.is_empty(), "{}", path.display());
        let mut sq = Command::new("sq");
        let refused = sq.args(["decrypt", "--recipient-key", &team.outsider.secret]).arg(path).output().unwrap();
        assert!(!refused.status.success() && refused.stdout.is_empty(), "sq {}", path.display());
    }
}

#[test]
fn gpg_lists_exactly_the_recorded_recipients_and_openssl_reads_what_comes_out() {
    let team = Team::new();
    let nobody = Home::new();
    for path in team.sealed() {
        let mut gpg = Command::new("gpg");
        gpg.arg("--homedir").arg(nobody.path()).args(["--batch", "--list-packets", "--list-only"]).arg(&path);
        let text = String::from_utf8(gpg.env("LC_ALL", "C").output().unwrap().stdout).unwrap();
        let packets = text.lines().filter(|line| line.starts_with(":pubkey enc packet: version 3"));
        let listed: Vec<String> = packets.map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect();
        assert_eq!(listed, team.recorded(&path), "{text}");
        assert_eq!(listed.len(), 4, "alice, bob, and both keys of carol");
        assert!(text.contains("mdc_method: 2") && !text.contains("compressed"), "{text}");
        if path.to_str().unwrap().contains("encryption") {
            continue; // a symmetric key, which openssl has no form for
        }
        let plain = gpg_opens(&team.people[0].home, &path).stdout;
        let file = team.people[0].home.file("plain", &plain);
        let pkey = Command::new("openssl").args(["pkey", "-noout", "-in", &file]).output().unwrap();
        assert!(pkey.status.success(), "{}: {pkey:?}", path.display());
    }
}

#[test]
fn gpg_accepts_every_signature_that_kluis_writes() {
    let team = Team::new();
    let home = Home::new();
    for one in &team.people {
        home.gpg(&["--import", &one.certificate]);
    }
    let tree = kluis::repo::read_tree(&team.repo()).unwrap();
    let mut checked = 0;
    for path in tree.entries.keys().filter(|path| path.ends_with(".sig")) {
        let statement = match Place::parse(path).unwrap() {
            Place::EpochSignature { number, .. } => Place::Epoch(number),
            Place::RecordSignature { month, h16, .. } => Place::Record { month, h16 },
            other => panic!("{other} is no signature"),
        };
        let at = |path: &str| team.repo().join(path).to_str().unwrap().to_owned();
        home.gpg(&["--verify", &at(path), &at(&statement.to_string())]);
        checked += 1;
    }
    assert!(checked >= 8, "{checked}");
}
