//! The commands of README.md and of the guides run, in order, with the real program, gpg, git and openssl. In a block
//! ```` ```console ````, a line that begins with `alice$ `, `bob$ ` or `$ ` (alice) is a command; other lines are output, and not
//! compared. What can't run in a test (a node's kubeadm) stands in a ```` ```text ```` block.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A folder with two people who each have a GnuPG home, a state folder and a working directory.
struct Desk {
    dir: tempfile::TempDir,
    /// Where each person's shell is.
    at: BTreeMap<&'static str, PathBuf>,
}

impl Desk {
    fn new() -> Self {
        // Short: the agent's socket lies in it.
        let dir = tempfile::Builder::new().prefix("kg").tempdir_in("/tmp").unwrap();
        let desk = Self { at: ["alice", "bob"].map(|who| (who, dir.path().to_owned())).into(), dir };
        for who in ["alice", "bob"] {
            let config =
                format!("[user]\n\tname = {who}\n\temail = {who}@example.org\n[init]\n\tdefaultBranch = main\n");
            fs::create_dir(desk.dir.path().join(format!("h-{who}"))).unwrap();
            fs::write(desk.dir.path().join(format!("h-{who}/.gitconfig")), config).unwrap();
            let home = desk.home(who);
            fs::create_dir(&home).unwrap();
            fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
            let gpg = "gpg -q --batch --passphrase ''";
            let uid = format!("{who}@example.org");
            desk.run(who, &format!("{gpg} --quick-generate-key {uid} ed25519 default never 2>/dev/null"));
            let print = format!("$(gpg --with-colons --list-keys {uid} | awk -F: '$1==\"fpr\"{{print $10; exit}}')");
            desk.run(who, &format!("{gpg} --quick-add-key {print} cv25519 encr never"));
        }
        desk
    }

    fn home(&self, who: &str) -> PathBuf {
        self.dir.path().join(format!("g-{who}"))
    }

    fn shell(&self, who: &str, line: &str) -> Command {
        let program = Path::new(env!("CARGO_BIN_EXE_kluis")).parent().unwrap();
        let path = std::env::join_paths(
            [program.to_owned()].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
        );
        let mut bash = Command::new("bash");
        bash.env_clear().env("PATH", path.unwrap()).env("HOME", self.dir.path().join(format!("h-{who}")));
        bash.env("GNUPGHOME", self.home(who)).env("XDG_STATE_HOME", self.dir.path().join(format!("s-{who}")));
        bash.env("GIT_CONFIG_NOSYSTEM", "1");
        bash.args(["-eu", "-o", "pipefail", "-c", line]).current_dir(&self.at[who]).stdin(Stdio::null());
        bash
    }

    #[track_caller]
    fn run(&self, who: &str, line: &str) -> String {
        let output = self.shell(who, line).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{who}$ {line}\n{out}\n{err}\n{}", output.status);
        out.into_owned()
    }

    /// Runs a line, and stays in the folder where it ends.
    #[track_caller]
    fn step(&mut self, who: &'static str, line: &str) -> String {
        let out = self.run(who, &format!("{line}\npwd > {}", self.dir.path().join("pwd").display()));
        let now = fs::read_to_string(self.dir.path().join("pwd")).unwrap();
        self.at.insert(who, PathBuf::from(now.trim_end()));
        out
    }

    /// Runs every command of a page; returns how many there were, and what they printed.
    #[track_caller]
    fn follow(&mut self, page: &str) -> (usize, String) {
        let text = fs::read_to_string(root().join(page)).unwrap();
        let mut printed = String::new();
        let commands: Vec<(&'static str, String)> = blocks(&text, "console").iter().flat_map(|b| commands(b)).collect();
        for (who, line) in &commands {
            printed += &self.step(who, line);
        }
        (commands.len(), printed)
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        for who in ["alice", "bob"] {
            let _ = Command::new("gpgconf").env("GNUPGHOME", self.home(who)).args(["--kill", "all"]).status();
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The fenced blocks of a page that have this word behind their fence.
fn blocks(text: &str, kind: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<(bool, String)> = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(word), None) => open = Some((word == kind, String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take().filter(|(wanted, _)| *wanted).map(|(_, block)| block)),
            (None, Some((_, block))) => *block += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    blocks
}

fn commands(block: &str) -> Vec<(&'static str, String)> {
    let prompts = [("alice$ ", "alice"), ("bob$ ", "bob"), ("$ ", "alice")];
    let command =
        |line: &str| prompts.iter().find_map(|(prompt, who)| Some((*who, line.strip_prefix(prompt)?.to_owned())));
    block.lines().filter_map(command).collect()
}

#[test]
fn the_readme_runs() {
    let mut desk = Desk::new();
    let (commands, printed) = desk.follow("README.md");
    assert!(commands >= 15, "{commands}");
    assert!(printed.contains("valid: epoch 2, 1 record, 1 cluster, 34 files"), "{printed}");
    assert!(printed.contains("clusters/prod/sealed/ca.kubernetes.g1.asc"), "{printed}");
}

#[test]
fn the_guide_for_the_first_cluster_runs() {
    let mut desk = Desk::new();
    let (commands, printed) = desk.follow("docs/FIRST-CLUSTER.md");
    assert!(commands >= 36, "{commands}");
    assert!(printed.contains("\"kluis\": \"report/1\""), "the last command is CI's: {printed}");
    for file in ["cp-1/pki/apiserver.key", "cp-1/super-admin.conf", "w-1/kubelet.conf", "w-2/kubelet.conf"] {
        assert!(desk.dir.path().join(file).is_file(), "{file}");
    }
    assert!(!desk.dir.path().join("cp-1/pki/ca.key").exists());
}

#[test]
fn everything_is_recovered_without_kluis() {
    let mut desk = Desk::new();
    desk.step("alice", "git init -q pki && cd pki");
    desk.step("alice", "gpg --export alice@example.org | kluis init --as alice --pgp -");
    let nodes = "--node cp-1=10.0.0.11:control-plane,etcd --node w-1=10.0.0.21:worker";
    let new = "kluis cluster new prod --endpoint https://api.example.org:6443 --kubernetes 1.36";
    desk.step("alice", &format!("{new} {nodes} --yes"));
    let text = fs::read_to_string(root().join("docs/RECOVERY.md")).unwrap();
    assert!(blocks(&text, "console").iter().all(|block| !block.contains("kluis ")), "it does without kluis");
    let (commands, _) = desk.follow("docs/RECOVERY.md");
    assert!(commands >= 22, "{commands}");
    let made = desk.run("alice", "openssl verify -CAfile clusters/prod/ca/kubernetes.g1.crt ../x.crt");
    assert!(made.contains("OK"), "{made}");
    desk.run(
        "alice",
        "openssl pkey -in ../cp-1/pki/apiserver.key -noout && openssl pkey -in ../cp-1/pki/sa.key -noout",
    );
    desk.run("alice", "kluis verify");
}

/// Every line of any page that calls kluis is one that the grammar takes.
#[test]
fn every_command_of_kluis_on_any_page_is_a_command_that_there_is() {
    let mut pages = vec![root().join("README.md")];
    pages.extend(fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path()));
    let mut found = 0;
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        let lines = ["console", "text", "sh", ""].iter().flat_map(|kind| blocks(&text, kind));
        for line in lines.flat_map(|block| block.replace("\\\n", " ").lines().map(str::to_owned).collect::<Vec<_>>()) {
            for words in calls(&line) {
                let parsed = kluis::cli::grammar().try_get_matches_from(&words);
                let refused = parsed.err().filter(clap::Error::use_stderr);
                assert!(refused.is_none(), "{}: {line}\n{}", page.display(), refused.unwrap());
                found += 1;
            }
        }
    }
    assert!(found > 60, "{found}");
}

/// The calls of kluis in a shell line, as words. Quotes keep words together; placeholders become something that fits.
fn calls(line: &str) -> Vec<Vec<String>> {
    let line = line.trim_start().trim_start_matches("alice$ ").trim_start_matches("bob$ ").trim_start_matches("$ ");
    let (mut calls, mut words, mut word, mut quote) = (Vec::new(), Vec::new(), String::new(), None);
    for c in line.chars().chain([' ', '|']) {
        match (c, quote) {
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            (' ', None) if word.is_empty() => {}
            (' ', None) => words.push(std::mem::take(&mut word)),
            ('|' | '>' | ';' | '#', None) => calls.push(std::mem::take(&mut words)),
            _ => word.push(c),
        }
    }
    calls.retain(|call: &Vec<String>| call.first().is_some_and(|first| first == "kluis") && call.len() > 1);
    calls.retain(|call| !call.iter().any(|word| word.starts_with(['[', '<']) || word == "…"));
    let fit = |word: String| match word.as_str() {
        "NAME" | "PERSON" => "alice".to_owned(),
        other if other.starts_with("$(") => {
            format!("kluis-pin:{}:1:{}", "a".repeat(64), "b".repeat(64))
        }
        "LINE" => format!("kluis-pin:{}:1:{}", "a".repeat(64), "b".repeat(64)),
        _ => word,
    };
    calls.into_iter().map(|call| call.into_iter().map(fit).collect()).collect()
}

#[test]
fn the_two_first_commands_of_the_readme_exist() {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    let first = blocks(&text, "text").remove(0);
    assert!(first.contains("cargo run --release -- demo") && first.contains("tests/run"), "{first}");
    assert!(fs::metadata(root().join("tests/run")).unwrap().permissions().mode() & 0o111 != 0);
    let scratch = tempfile::tempdir().unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_kluis"));
    demo.env_clear().env("TMPDIR", scratch.path()).args(["demo", "-o", "json"]);
    let output = demo.output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &report["exit"]), (Some(0), &0.into()), "{report:#}");
    let steps = report["data"]["steps"].as_array().unwrap();
    assert!(steps.len() >= 10 && steps.iter().all(|step| step["exit"] == step["expected"]), "{report:#}");
}
