//! A person at their own machine: commands that use the pins of a state folder, where `Ground::run` has a pin on the
//! command line; newcomers with their certificates in files; and pictures of all that a refused command leaves alone.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(dead_code, missing_docs, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use kluis::cli::Machine;
use kluis::env::Terminal;
use kluis::model::{PersonName, Span};
use kluis::openpgp;
use kluis::repo::WorkTree;
use serde_json::Value;

use crate::ground::{Answered, Ground, Somebody};

/// Where a person sits: which state folder, which secret keys, which repository.
pub struct Seat<'a> {
    ground: &'a Ground,
    dir: PathBuf,
    state: PathBuf,
    keys: PathBuf,
}

/// The seat of `person`, at the repository of the ground.
pub fn seat<'a>(ground: &'a Ground, person: &str) -> Seat<'a> {
    let keys = ground.person(person).key.clone();
    Seat { ground, dir: ground.repo(), state: ground.state(person), keys }
}

impl Seat<'_> {
    /// At another folder.
    pub fn in_dir(self, dir: &Path) -> Self {
        Self { dir: dir.to_owned(), ..self }
    }

    /// With another file of secret keys.
    pub fn with_keys(self, keys: &Path) -> Self {
        Self { keys: keys.to_owned(), ..self }
    }

    /// Runs a command line without a terminal: words split at spaces, `~` for a space inside a word.
    pub fn run(&self, words: &str) -> Answered {
        self.run_on(Terminal::nobody(), words)
    }

    /// Runs a command line on this terminal.
    pub fn run_on(&self, terminal: Terminal, words: &str) -> Answered {
        let mut args: Vec<OsString> = vec!["-C".into(), self.dir.clone().into()];
        args.extend(["--identity".into(), self.keys.clone().into()]);
        args.extend(words.split(' ').filter(|word| !word.is_empty()).map(|word| word.replace('~', " ").into()));
        let machine = Machine { now: self.ground.now, terminal, state: Some(self.state.clone()) };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let exit = kluis::cli::run(args, machine, &mut out, &mut err);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Answered { exit, out: text(out), err: text(err) }
    }

    /// Pins the repository by the line of its first epoch.
    #[track_caller]
    pub fn pinned(self) -> Self {
        self.run(&format!("trust pin {}", self.ground.pin)).ends(0);
        self
    }

    /// Runs a command that must end so, say all of this, name a command that helps, and leave no trace.
    #[track_caller]
    pub fn refused(&self, words: &str, exit: u8, says: &[&str]) -> Value {
        let before = Picture::of(&self.dir, self.ground);
        let report = refusal(&self.run(&format!("{words} -o json")), exit, says);
        before.assert_same();
        report
    }
}

/// Reads the report of a refused command: this exit code, all of these words, and a command that helps.
#[track_caller]
pub fn refusal(answered: &Answered, exit: u8, says: &[&str]) -> Value {
    let report = answered.json();
    assert_eq!((report["exit"].as_u64(), answered.exit), (Some(u64::from(exit)), exit), "{report:#}");
    let findings = report["findings"].to_string();
    let all = format!("{}\n{findings}", report["data"]["error"].as_str().unwrap_or_default());
    for part in says {
        assert!(all.contains(part), "no {part:?} in\n{report:#}");
    }
    let help = report["data"]["help"].as_str().is_some_and(|help| !help.is_empty());
    assert!(help || findings.contains("\"fix\":\""), "no help in\n{report:#}");
    report
}

/// The codes of the findings in a report.
pub fn codes(report: &Value) -> Vec<&str> {
    report["findings"].as_array().unwrap().iter().map(|finding| finding["code"].as_str().unwrap()).collect()
}

/// The command's own part of a report, whose envelope is looked at on the way.
#[track_caller]
pub fn data(answered: &Answered, command: &str) -> Value {
    let report = answered.json();
    assert_eq!((report["kluis"].as_str(), report["command"].as_str()), (Some("report/1"), Some(command)));
    assert_eq!(report["exit"], answered.exit);
    assert!(report["findings"].is_array() && report["data"].is_object(), "{report:#}");
    report["data"].clone()
}

/// Somebody whom no epoch lists, with a key made on the spot. Returns the file of their certificate.
pub fn newcomer(ground: &mut Ground, name: &str) -> String {
    let made = ground.now.minus(Span::hours(1));
    let (certificate, secret) = openpgp::generate(name, made, Some(Span::days(730))).unwrap();
    let key = ground.dir.path().join(format!("{name}.key"));
    std::fs::write(&key, secret.expose()).unwrap();
    ground.people.push(Somebody { name: PersonName::parse(name).unwrap(), certificate, key });
    certificate_file(ground, name)
}

/// The certificate of `name` in a file.
pub fn certificate_file(ground: &Ground, name: &str) -> String {
    let path = ground.dir.path().join(format!("{name}.asc"));
    std::fs::write(&path, ground.person(name).certificate.to_stored()).unwrap();
    path.to_str().unwrap().to_owned()
}

/// An empty git repository beside that of the ground.
pub fn empty_repository(ground: &Ground) -> PathBuf {
    let dir = ground.dir.path().join("empty");
    std::fs::create_dir(&dir).unwrap();
    WorkTree::create(&dir, "test", "test@example.org").unwrap();
    dir
}

/// The git program, with no configuration of the machine; what it prints, even if it fails.
pub fn git(dir: &Path, args: &[&str]) -> String {
    let mut git = Command::new("git");
    git.arg("-C").arg(dir).args(args).env("HOME", "/nonexistent").env("GIT_CONFIG_NOSYSTEM", "1");
    let output = git.output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// Runs a shell script that must succeed in a folder, with no configuration of the machine.
#[track_caller]
pub fn shell(dir: &Path, script: &str) {
    let mut shell = Command::new("sh");
    shell.args(["-euc", script]).current_dir(dir).env("HOME", "/nonexistent").env("GIT_CONFIG_NOSYSTEM", "1");
    let output = shell.output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Every file of a folder and of all state folders, HEAD, and what git says of the folder.
pub struct Picture {
    folders: [PathBuf; 2],
    files: BTreeMap<PathBuf, Vec<u8>>,
    git: Vec<String>,
}

impl Picture {
    pub fn of(dir: &Path, ground: &Ground) -> Self {
        Self::of_folders([dir.to_owned(), ground.dir.path().join("state")])
    }

    fn of_folders(folders: [PathBuf; 2]) -> Self {
        let mut files = BTreeMap::new();
        folders.iter().for_each(|folder| collect(folder, &mut files));
        let commands = [&["rev-parse", "HEAD"][..], &["status", "--porcelain", "-uall"], &["for-each-ref"]];
        let git = commands.iter().map(|args| git(&folders[0], args)).collect();
        Self { folders, files, git }
    }

    /// That nothing has changed since.
    #[track_caller]
    pub fn assert_same(&self) {
        let now = Self::of_folders(self.folders.clone());
        let paths = self.files.keys().chain(now.files.keys());
        let changed: Vec<_> = paths.filter(|path| self.files.get(*path) != now.files.get(*path)).collect();
        assert!(changed.is_empty(), "{changed:?}");
        assert_eq!(self.git, now.git);
    }
}

fn collect(folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let entry = entry.unwrap();
        let path = entry.path();
        if entry.file_name() == ".git" {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            collect(&path, files);
        } else {
            files.insert(path.clone(), std::fs::read(&path).unwrap_or_default());
        }
    }
}
