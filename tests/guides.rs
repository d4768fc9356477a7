//! The commands of README.md, of the guide for the first cluster and of the page on recovery run, in order, with the
//! real program, gpg, git and openssl.
//!
//! In a block ```` ```console ````, a line that begins with `alice$ ` or `bob$ ` is a command, and goes on while it ends
//! with a backslash; each other line is output, and must be a line of what the command above it printed (up to `…`). A
//! block ```` ```sh ```` is one command of alice's. What can't run in a test (a node's kubeadm) stands in a block of the
//! kinds in `SHOWN`. A block of any other kind is a mistake, so nothing is left out silently.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const PEOPLE: [&str; 4] = ["alice", "bob", "carol", "dave"];

/// Kinds of blocks that are read by people alone.
const SHOWN: [&str; 2] = ["text", "yaml"];

/// A few people, each with a home, a GnuPG home, a state folder and a working directory.
struct Desk {
    dir: tempfile::TempDir,
    /// Where each person's shell is.
    at: BTreeMap<&'static str, PathBuf>,
}

impl Desk {
    /// People who have no key yet. Their gpg asks nothing, and takes the empty passphrase.
    fn without_keys() -> Self {
        // Short: the agent's socket lies in it.
        let dir = tempfile::Builder::new().prefix("kg").tempdir_in("/tmp").unwrap();
        let desk = Self { at: PEOPLE.map(|who| (who, dir.path().to_owned())).into(), dir };
        for who in PEOPLE {
            let config =
                format!("[user]\n\tname = {who}\n\temail = {who}@example.org\n[init]\n\tdefaultBranch = main\n");
            fs::create_dir(desk.home(who)).unwrap();
            fs::write(desk.home(who).join(".gitconfig"), config).unwrap();
            fs::create_dir(desk.gnupg(who)).unwrap();
            fs::set_permissions(desk.gnupg(who), fs::Permissions::from_mode(0o700)).unwrap();
            fs::write(desk.gnupg(who).join("gpg.conf"), "batch\npinentry-mode loopback\npassphrase \"\"\n").unwrap();
        }
        desk
    }

    fn new() -> Self {
        Self::of(&["alice", "bob"])
    }

    /// These have keys.
    fn of(people: &[&'static str]) -> Self {
        let mut desk = Self::without_keys();
        for who in people.iter().copied() {
            let uid = format!("{who}@example.org");
            desk.step(who, &format!("gpg -q --quick-generate-key {uid} ed25519 default never"));
            let print = format!("$(gpg --with-colons --list-keys {uid} | awk -F: '$1==\"fpr\"{{print $10; exit}}')");
            desk.step(who, &format!("gpg -q --quick-add-key {print} cv25519 encr never"));
        }
        desk
    }

    /// With a cluster of two nodes, made, worked on and signed by alice alone.
    fn with_a_cluster() -> Self {
        let mut desk = Self::new();
        desk.step("alice", "git init -q pki && cd pki");
        desk.step("alice", "gpg --export alice@example.org | kluis init --as alice --pgp -");
        let nodes = "--node cp-1=10.0.0.11:control-plane,etcd --node w-1=10.0.0.21:worker";
        let new = "kluis cluster new prod --endpoint https://api.prod.example.org:6443 --kubernetes 1.36";
        desk.step("alice", &format!("{new} {nodes} --yes"));
        desk.step("alice", "kluis cert issue scheduler -c prod --node cp-1");
        desk
    }

    /// The cluster of alice's; these are let in beside her, each with these options of `person add`, and sign; `threshold`
    /// people have to sign the next epoch. Everybody has a clone.
    fn with_a_team(people: &[(&'static str, &str)], threshold: u32) -> Self {
        let everybody: Vec<&'static str> = ["alice"].into_iter().chain(people.iter().map(|(who, _)| *who)).collect();
        let mut desk = Self::of(&everybody);
        desk.step("alice", "git init -q --bare pki.git && git clone -q pki.git pki 2>&1 && cd pki");
        desk.step("alice", "gpg --export alice@example.org | kluis init --as alice --pgp -");
        let nodes = "--node cp-1=10.0.0.11:control-plane,etcd --node w-1=10.0.0.21:worker";
        let new = "kluis cluster new prod --endpoint https://api.prod.example.org:6443 --kubernetes 1.36";
        desk.step("alice", &format!("{new} {nodes} --yes"));
        for (who, options) in people {
            desk.step(who, &format!("gpg --export {who}@example.org > {who}.pgp"));
            desk.step("alice", &format!("kluis person add {who} --pgp ../{who}.pgp {options}"));
        }
        if threshold > 1 {
            desk.step("alice", &format!("kluis trust set threshold.trust {threshold}"));
        }
        desk.step("alice", "git push -q && kluis trust pin > ../pin");
        for (who, _) in people {
            let pin = "kluis trust pin \"$(cat ../pin)\" && kluis trust sign --yes && git push -q";
            desk.step(who, &format!("git clone -q pki.git {who} && cd {who} && {pin}"));
        }
        desk.step("alice", "git pull -q && kluis reseal && git push -q");
        for (who, _) in people {
            desk.step(who, "git pull -q");
        }
        desk
    }

    /// Somebody's keys are gone, and so is what their machine knew.
    fn loses_everything(&mut self, who: &'static str) {
        self.step(
            who,
            "gpgconf --kill all && cd \"$GNUPGHOME\" && rm -rf private-keys-v1.d pubring.kbx* trustdb.gpg && cd -",
        );
        fs::remove_dir_all(self.path(&format!("s-{who}"))).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn home(&self, who: &str) -> PathBuf {
        self.path(&format!("h-{who}"))
    }

    fn gnupg(&self, who: &str) -> PathBuf {
        self.path(&format!("g-{who}"))
    }

    fn output(&self, who: &str, line: &str) -> Output {
        let program = Path::new(env!("CARGO_BIN_EXE_kluis")).parent().unwrap();
        let path = std::env::join_paths(
            [program.to_owned()].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
        );
        let mut bash = Command::new("bash");
        bash.env_clear().env("PATH", path.unwrap()).env("HOME", self.home(who)).env("LC_ALL", "C");
        bash.env("GNUPGHOME", self.gnupg(who)).env("XDG_STATE_HOME", self.path(&format!("s-{who}")));
        bash.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", self.home(who).join(".gitconfig"));
        bash.args(["-eu", "-o", "pipefail", "-c", line]).current_dir(&self.at[who]).stdin(Stdio::null());
        bash.output().unwrap()
    }

    /// Runs a command, stays in the folder where it ends, and returns what it printed.
    #[track_caller]
    fn step(&mut self, who: &'static str, line: &str) -> String {
        let place = self.path("pwd");
        let output = self.output(who, &format!("{line}\npwd > {}", place.display()));
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{who}$ {line}\n{out}\n{err}\n{}", output.status);
        self.at.insert(who, PathBuf::from(fs::read_to_string(place).unwrap().trim_end()));
        out
    }

    /// Runs every command of a page; returns how many there were, and what they printed.
    #[track_caller]
    fn follow(&mut self, page: &str) -> (usize, String) {
        self.take(page, &steps(&read(page)))
    }

    /// Runs every command under one heading of a page.
    #[track_caller]
    fn follow_part(&mut self, page: &str, heading: &str) -> String {
        let text = read(page);
        let part = text.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("{page}: {heading}")).1;
        let part = part.split_once("\n## ").map_or(part, |(part, _)| part);
        self.take(page, &steps(part)).1
    }

    #[track_caller]
    fn take(&mut self, page: &str, steps: &[Step]) -> (usize, String) {
        let mut all = String::new();
        for step in steps {
            let printed = self.step(step.who, &step.line);
            for line in &step.output {
                let there = printed.lines().any(|printed| fits(printed.trim_end(), line.trim_end()));
                assert!(there, "{page}: {}$ {}\nprints no line\n{line}\nbut\n{printed}", step.who, step.line);
            }
            all += &printed;
        }
        (steps.len(), all)
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        for who in PEOPLE {
            let _ = Command::new("gpgconf").env("GNUPGHOME", self.gnupg(who)).args(["--kill", "all"]).status();
        }
        // The keyring that the page on recovery makes has an agent of its own.
        let keyring = self.path("keyring");
        let _ = Command::new("gpgconf").env("GNUPGHOME", keyring).args(["--kill", "all"]).status();
    }
}

struct Block {
    /// The last heading above it.
    heading: String,
    kind: String,
    text: String,
}

struct Step {
    who: &'static str,
    line: String,
    output: Vec<String>,
}

/// Whether a line that was printed is the one on the page, where `…` at the end stands for the rest of it.
fn fits(printed: &str, line: &str) -> bool {
    line.strip_suffix('…').map_or(printed == line, |beginning| printed.starts_with(beginning))
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(page: &str) -> String {
    fs::read_to_string(root().join(page)).unwrap()
}

/// The fenced blocks of a page, in order.
fn blocks(text: &str) -> Vec<Block> {
    let (mut blocks, mut heading, mut open) = (Vec::new(), String::new(), None::<Block>);
    for line in text.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(kind), None) => {
                open = Some(Block { heading: heading.clone(), kind: kind.to_owned(), text: String::new() });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => block.text += &format!("{line}\n"),
            (None, None) => {
                if let Some(words) = line.strip_prefix('#') {
                    words.trim_start_matches('#').trim().clone_into(&mut heading);
                }
            }
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

/// The commands of a page, in order.
#[track_caller]
fn steps(text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for block in blocks(text) {
        match block.kind.as_str() {
            "console" => steps.extend(console(&block.text)),
            "sh" => steps.push(Step { who: "alice", line: block.text, output: Vec::new() }),
            kind => assert!(SHOWN.contains(&kind), "{}: nobody knows what a block of {kind:?} is", block.heading),
        }
    }
    steps
}

#[track_caller]
fn console(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in text.lines() {
        let begins = PEOPLE.iter().find_map(|who| Some((*who, line.strip_prefix(who)?.strip_prefix("$ ")?)));
        match (begins, steps.last_mut()) {
            (Some((who, line)), _) => steps.push(Step { who, line: line.to_owned(), output: Vec::new() }),
            (None, Some(step)) if step.line.ends_with('\\') => step.line += &format!("\n{line}"),
            (None, Some(step)) => step.output.push(line.to_owned()),
            (None, None) => panic!("output before any command: {line}"),
        }
    }
    steps
}

#[test]
fn the_readme_runs() {
    let mut desk = Desk::new();
    let (commands, printed) = desk.follow("README.md");
    assert!(commands >= 17, "{commands}");
    assert!(printed.contains("valid: epoch 2, 1 record, 1 cluster, 34 files"), "{printed}");
    assert!(printed.contains("clusters/prod/sealed/ca.kubernetes.g1.asc"), "{printed}");
    assert!(printed.contains("Sealed 7 files again"), "{printed}");
    assert!(desk.path("cp-1/pki/apiserver.key").is_file());
}

#[test]
fn the_guide_for_the_first_cluster_runs() {
    let mut desk = Desk::without_keys();
    let (commands, printed) = desk.follow("docs/FIRST-CLUSTER.md");
    assert!(commands >= 46, "{commands}");
    assert!(printed.contains("\"kluis\": \"report/1\""), "the CI job's report: {printed}");
    for file in ["cp-1/pki/apiserver.key", "cp-1/super-admin.conf", "w-1/kubelet.conf", "w-2/kubelet.conf"] {
        assert!(desk.path(file).is_file(), "{file}");
    }
    assert!(!desk.path("cp-1/pki/ca.key").exists(), "CA keys stay sealed");
    let subject = "sed -n 's/^ *client-certificate-data: //p' ../rescue/super-admin.conf | base64 -d \
        | openssl x509 -noout -subject -nameopt RFC2253";
    assert_eq!(desk.step("alice", subject), "subject=CN=alice,O=system:masters\n", "break-glass is in the export");
}

#[test]
fn the_page_on_access_runs() {
    let mut desk = Desk::with_a_cluster();
    desk.step("bob", "gpg --export bob@example.org > bob.pgp");
    desk.step("alice", "kluis person add bob --pgp ../bob.pgp --group prod=developers && kluis trust pin > ../pin");
    desk.step("bob", "git clone -q pki desk && cd desk && kluis trust pin \"$(cat ../pin)\" && kluis trust sign --yes");
    desk.step("alice", "git pull -q ../desk HEAD");
    let (commands, _) = desk.follow("docs/ACCESS.md");
    assert!(commands >= 12, "{commands}");
    let subject = "sed -n 's/^ *client-certificate-data: //p' ../prod.conf | base64 -d \
        | openssl x509 -noout -subject -nameopt RFC2253";
    assert_eq!(desk.step("alice", subject), "subject=CN=alice,O=system:masters\n");
    assert!(desk.home("alice").join(".kube/config").is_file());
}

#[test]
fn the_page_on_adopting_runs() {
    let mut desk = Desk::with_a_cluster();
    let (commands, printed) = desk.follow("docs/ADOPTING.md");
    assert!(commands >= 7, "{commands}");
    assert!(printed.contains("Nothing that runs was changed"), "{printed}");
    assert!(desk.path("pki/clusters/old/ca/kubernetes.g2.crt").exists());
}

#[test]
fn the_page_on_rotation_runs() {
    let mut desk = Desk::with_a_cluster();
    let (commands, printed) = desk.follow("docs/ROTATION.md");
    assert!(commands >= 10, "{commands}");
    assert!(printed.contains("files of cp-1 are those of the phase"), "{printed}");
    assert!(!desk.path("pki/clusters/prod/ca/kubernetes.g1.crt").exists());
}

#[test]
fn the_page_for_3_am_runs() {
    let mut desk = Desk::with_a_cluster();
    desk.step("bob", "gpg --export bob@example.org > bob.pgp");
    desk.step("alice", "kluis person add bob --pgp ../bob.pgp --role root --keyholder prod --issuer prod");
    desk.step("alice", "kluis trust pin > ../pin");
    desk.step("bob", "git clone -q pki desk && cd desk && kluis trust pin \"$(cat ../pin)\" && kluis trust sign --yes");
    desk.step("alice", "git pull -q ../desk HEAD && kluis trust set threshold.break_glass 2 && kluis reseal");
    desk.step("alice", "kluis trust pin > ../pin");
    // A machine that bob never sat at: nothing is pinned, no state is there.
    fs::remove_dir_all(desk.path("s-bob")).unwrap();
    desk.step("bob", "cd ..");
    let (commands, _) = desk.follow("docs/BREAK-GLASS.md");
    assert!(commands >= 10, "{commands}");
    let credential = desk.step("bob", "kluis credential -c prod --break-glass --as bob");
    assert!(credential.contains("\"kind\":\"ExecCredential\""), "the key is opened where it was made");
    desk.step("alice", "kluis verify");
    let status = desk.step("alice", "kluis status");
    assert!(status.starts_with("BREAK-GLASS  bob is system:masters on prod until"), "{status}");
}

#[test]
fn everything_is_recovered_without_kluis() {
    let mut desk = Desk::with_a_cluster();
    let steps = steps(&read("docs/RECOVERY.md"));
    assert!(steps.iter().all(|step| !step.line.contains("kluis ")), "it does without kluis");
    let (commands, printed) = desk.follow("docs/RECOVERY.md");
    assert!(commands >= 11, "{commands}");
    assert!(!printed.contains("BAD"), "{printed}");
    for fine in ["clusters/prod/sealed/node.cp-1.asc: OK", "../rescue.crt: OK"] {
        assert!(printed.lines().any(|line| line == fine), "{fine}: {printed}");
    }
    desk.step("alice", "kluis export kubeadm -c prod --node cp-1 --out ../cp-1");
    // By hand as kluis does it, to the byte. The first has no RBAC manifests and no super-admin.conf.
    desk.step("alice", "diff -r --exclude=rbac --exclude=super-admin.conf --exclude=SHA256SUMS ../cp-1 ../by-hand");
    desk.step("alice", "kluis verify");
}

const LOST: &str = "docs/LOST-KEYS.md";
const ROOT: &str = "--role root --keyholder prod --issuer prod";

#[test]
fn one_of_several_keys_is_lost_and_its_owner_comes_back() {
    let mut desk = Desk::with_a_team(&[("bob", ROOT), ("carol", ROOT)], 2);
    desk.loses_everything("bob");
    desk.follow_part(LOST, "One of several keys is lost");
    desk.step("bob", "git pull -q && kluis open ca.kubernetes -c prod --yes | openssl pkey -noout");
}

#[test]
fn a_laptop_is_stolen_and_what_was_on_it_is_owed() {
    let mut desk = Desk::with_a_team(&[("bob", ROOT), ("carol", ROOT)], 2);
    // The thief has all of it; bob has nothing.
    desk.step("bob", "cp -a \"$GNUPGHOME\" ../thief");
    desk.loses_everything("bob");
    let printed = desk.follow_part(LOST, "A laptop is stolen");
    assert!(printed.contains("bob could open 7 secrets: 7 live, 0 out of use."), "{printed}");
    let opened =
        desk.step("alice", "gpg --homedir ../thief -q -d clusters/prod/sealed/ca.kubernetes.g1.asc 2>&1 || echo no");
    assert!(opened.ends_with("no\n"), "{opened}");
    let _ = Command::new("gpgconf").env("GNUPGHOME", desk.path("thief")).args(["--kill", "all"]).status();
    desk.step("alice", "test $(kluis verify -o json | grep -c exposure-open) -ge 7");
}

#[test]
fn a_recovery_person_signs_where_too_few_are_left() {
    let mut desk = Desk::with_a_team(&[("bob", ROOT), ("carol", "--role recovery")], 2);
    desk.loses_everything("bob");
    fs::remove_dir_all(desk.path("s-carol")).unwrap();
    desk.step("dave", "gpg -q --quick-generate-key dave@example.org ed25519 default never");
    let print = "$(gpg --with-colons --list-keys dave@example.org | awk -F: '$1==\"fpr\"{print $10; exit}')";
    desk.step("dave", &format!("gpg -q --quick-add-key {print} cv25519 encr never"));
    desk.follow_part(LOST, "Too few are left, and one is a recovery person");
    desk.step("dave", "git pull -q && kluis open ca.kubernetes -c prod --yes | openssl pkey -noout");
}

#[test]
fn where_too_few_are_left_another_repository_is_founded() {
    let mut desk = Desk::with_a_team(&[("bob", ROOT), ("carol", "--role member")], 2);
    desk.loses_everything("bob");
    let (stuck, before) = (desk.path("pki"), desk.step("alice", "ls trust/epoch"));
    desk.follow_part(LOST, "Too few are left");
    let after = desk.step("alice", &format!("ls {}/trust/epoch", stuck.display()));
    assert_eq!(before, after, "no epoch more");
    // The old line is no pin of the new repository.
    let output = desk.output(
        "carol",
        "git -C ../carol pull -q && kluis -C ../carol-2 verify --pin \"$(kluis -C ../carol trust pin)\"",
    );
    assert_eq!(output.status.code(), Some(4), "{output:?}");
}

#[test]
fn where_no_keyholder_is_left_the_cluster_gets_new_authorities() {
    let mut desk = Desk::with_a_team(&[("bob", ROOT), ("carol", "--role root")], 2);
    let only_bob = "kluis person update alice --no-keyholder prod && git push -q";
    desk.step("alice", only_bob);
    desk.step("carol", "git pull -q && kluis trust sign --yes && git push -q");
    desk.step("bob", "git pull -q && kluis reseal && git push -q");
    desk.loses_everything("bob");
    desk.step("alice", "git pull -q");
    assert!(!desk.output("alice", "kluis open ca.kubernetes -c prod --yes").status.success());
    desk.follow_part(LOST, "No keyholder is left");
}

#[test]
fn a_wrong_epoch_is_undone_by_another_one() {
    let mut desk = Desk::with_a_team(&[("bob", ROOT), ("dave", ROOT)], 2);
    let printed = desk.follow_part(LOST, "A wrong epoch was signed");
    assert!(printed.contains("dave is gone since epoch 4 (compromised)"), "{printed}");
    desk.step("bob", "git pull -q");
    desk.step("dave", "git pull -q");
    let output = desk.output("dave", "kluis cert issue -c prod --node w-1");
    assert_eq!(output.status.code(), Some(6), "{output:?}");
}

#[test]
fn every_case_on_the_page_about_lost_keys_is_staged() {
    let text = read(LOST);
    let cases: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let source = fs::read_to_string(root().join("tests/guides.rs")).unwrap();
    for case in &cases {
        assert!(source.contains(&format!("follow_part(LOST, \"{case}\")")), "{case}");
    }
    assert_eq!(cases.len(), 6);
    let before = text.split_once("\n## ").unwrap().0;
    assert!(steps(before).is_empty(), "what stands before the cases is not run");
}

#[test]
fn the_page_on_monitoring_runs() {
    let mut desk = Desk::with_a_cluster();
    let (commands, _) = desk.follow("docs/MONITORING.md");
    assert_eq!(commands, 6);
}

#[test]
fn the_page_on_delivery_runs() {
    let mut desk = Desk::with_a_cluster();
    let (commands, _) = desk.follow("docs/DELIVERY.md");
    assert_eq!(commands, 10);
}

#[test]
fn the_page_on_name_constraints_runs() {
    let mut desk = Desk::with_a_cluster();
    let (commands, _) = desk.follow("docs/NAME-CONSTRAINTS.md");
    assert_eq!(commands, 8);
}

#[test]
fn the_page_on_distributions_runs() {
    let mut desk = Desk::with_a_cluster();
    let (commands, printed) = desk.follow("docs/DISTRIBUTIONS.md");
    assert!(commands >= 25, "{commands}");
    assert!(printed.contains("k3s certificate rotate-ca --path=DIR --force"), "{printed}");
}

#[test]
fn the_page_on_auditing_runs() {
    let mut desk = Desk::with_a_cluster();
    let shown = desk.step("alice", "kluis cert show cp-1/admin -c prod -o json");
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let id = format!("X509SHA256={}", shown["data"]["sha256"].as_str().unwrap());
    let extra = serde_json::json!({ "authentication.kubernetes.io/credential-id": [id] });
    let event = serde_json::json!({ "kind": "Event", "apiVersion": "audit.k8s.io/v1", "stage": "ResponseComplete",
        "user": { "username": "kubernetes-admin", "extra": extra } });
    fs::write(desk.path("audit.log"), event.to_string()).unwrap();
    let (commands, printed) = desk.follow("docs/AUDIT.md");
    assert!(commands >= 8, "{commands}");
    assert!(printed.contains("node     cp-1 of prod: 1 event, 1 certificate"), "{printed}");
    assert!(fs::read_to_string(desk.path("report.html")).unwrap().contains("Chain of epochs"));
}

/// The blocks under one heading of the page on recovery.
fn recovery(heading: &str) -> String {
    let found: Vec<Block> =
        blocks(&read("docs/RECOVERY.md")).into_iter().filter(|block| block.heading == heading).collect();
    assert!(!found.is_empty() && found.iter().all(|block| block.kind == "sh"), "{heading}");
    found.into_iter().map(|block| block.text).collect()
}

#[test]
fn what_is_not_the_current_file_is_noticed_by_hand() {
    let mut desk = Desk::with_a_cluster();
    let check = recovery("Is it the current file?");
    desk.step("alice", &check);
    desk.step("alice", "git show HEAD~1:clusters/prod/sealed/node.cp-1.asc > clusters/prod/sealed/node.cp-1.asc");
    let output = desk.output("alice", &check);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("clusters/prod/sealed/node.cp-1.asc: FAILED"), "an older version, put back: {printed}");

    desk.step(
        "alice",
        "git checkout -q clusters && cp clusters/prod/ca/etcd.g1.crt clusters/prod/ca/kubernetes.g1.crt",
    );
    let printed = desk.step("alice", &recovery("Are the certificates the recorded ones?"));
    assert_eq!(printed, "BAD clusters/prod/ca/kubernetes.g1.crt\n");
    let old =
        "git show HEAD~1:clusters/prod/certs/node/cp-1/scheduler.crt > clusters/prod/certs/node/cp-1/scheduler.crt";
    desk.step("alice", &format!("git checkout -q clusters && {old}"));
    let printed = desk.step("alice", &recovery("Are the certificates the recorded ones?"));
    assert_eq!(printed, "BAD clusters/prod/certs/node/cp-1/scheduler.crt\n");
}

#[test]
fn signatures_that_gpg_alone_accepts_are_noticed_by_hand() {
    let mut desk = Desk::with_a_cluster();
    let check = recovery("Who signed it?");
    assert_eq!(desk.step("alice", &check), "");
    let again = check.replace("mkdir -m 0700 ../keyring\n", "");
    let sign = "cp ../weak trust/epoch/0002.alice.sig && gpg --verify trust/epoch/0002.alice.sig trust/epoch/0002.toml";
    desk.step("bob", "gpg --export bob@example.org > bob.pgp");
    desk.step("alice", "gpg --homedir ../keyring -q --import ../bob.pgp");
    for how in ["--digest-algo SHA1 -b", "--textmode -b", "-b"] {
        let who = if how == "-b" { "bob" } else { "alice" };
        let pki = desk.at["alice"].clone();
        desk.at.insert(who, pki);
        desk.step(who, &format!("gpg -q --yes -o ../weak {how} trust/epoch/0002.toml"));
        // gpg calls it good, which is why the page looks closer.
        desk.step(who, sign);
        assert_eq!(desk.step("alice", &again), "BAD trust/epoch/0002.alice.sig\n", "{who}: {how}");
    }
    desk.step("alice", "git checkout -q trust && printf '\\n' >> \"$(ls trust/log/*/*.toml | head -n 1)\"");
    let printed = desk.step("alice", &again);
    assert!(
        printed.lines().count() == 2 && printed.lines().all(|line| line.starts_with("BAD trust/log/")),
        "{printed}"
    );
}

#[test]
fn a_broken_chain_of_epochs_is_noticed_by_hand() {
    let mut desk = Desk::with_a_cluster();
    let check = recovery("Is the chain of epochs whole?");
    assert!(!desk.step("alice", &check).contains("BAD"));
    desk.step("alice", "printf '\\n' >> trust/epoch/0001.toml");
    assert!(desk.step("alice", &check).starts_with("BAD trust/epoch/0002.toml\n"));
    desk.step("alice", "git checkout -q trust && mv trust/epoch/0001.toml trust/epoch/0003.toml");
    let output = desk.output("alice", &check);
    assert!(String::from_utf8_lossy(&output.stdout).contains("BAD"), "the first is gone, another is at its end");
}

/// Whatever any page tells people to type at kluis is a line that the grammar takes: whole in a block, and in a sentence
/// perhaps without what the reader would have to add.
#[test]
fn every_command_of_kluis_on_any_page_is_a_command_that_there_is() {
    use clap::error::ErrorKind::{
        DisplayHelpOnMissingArgumentOrSubcommand, MissingRequiredArgument, MissingSubcommand, TooFewValues,
    };
    let mentioned =
        [DisplayHelpOnMissingArgumentOrSubcommand, MissingRequiredArgument, MissingSubcommand, TooFewValues];
    let mut pages = vec![root().join("README.md"), root().join("CHANGELOG.md")];
    pages.extend(fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path()));
    let (mut whole, mut parts) = (0, 0);
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        let refused =
            |call: &[String]| kluis::cli::grammar().try_get_matches_from(call).err().filter(clap::Error::use_stderr);
        let blocks = blocks(&text).into_iter().filter(|block| block.kind != "json" && block.kind != "toml");
        let shell: String = blocks.map(|block| block.text.replace("\\\n", " ")).collect();
        for call in shell.lines().flat_map(calls) {
            let refused = refused(&call);
            assert!(refused.is_none(), "{}: {call:?}\n{}", page.display(), refused.unwrap());
            whole += 1;
        }
        for call in sentences(&text).split('`').skip(1).step_by(2).flat_map(calls) {
            let refused = refused(&call).filter(|refused| !mentioned.contains(&refused.kind()));
            assert!(refused.is_none(), "{}: {call:?}\n{refused:?}", page.display());
            parts += 1;
        }
    }
    assert!(whole > 120 && parts > 50, "{whole} {parts}");
}

/// A page without its blocks, on one line.
fn sentences(text: &str) -> String {
    text.split("\n```").step_by(2).map(|part| part.replace('\n', " ")).collect::<Vec<_>>().join(" ")
}

/// The calls of kluis in a line of shell, as words. A synopsis (`[OPTIONS]`, `<NAME>`) is none.
fn calls(line: &str) -> Vec<Vec<String>> {
    let mut calls = Vec::new();
    for (at, _) in line.match_indices("kluis ") {
        let before = line[..at].trim_end();
        // `KLUIS_PIN="…" kluis verify`
        let assigned = before.ends_with('"') && before.contains("=\"");
        let begins = before.is_empty() || before.ends_with(['$', '|', '&', ';', '(', '{']) || assigned;
        let call = words(&line[at..]);
        if begins && call.len() > 1 && !call.iter().any(|word| word.starts_with(['[', '<']) || word == "…") {
            calls.push(call.into_iter().map(|word| filled(&word)).collect());
        }
    }
    calls
}

/// The words of a command up to where the shell ends it. Quotes keep words together.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in command.chars().chain([' ']) {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => quote = Some(c),
            ('|' | '>' | ';' | '#' | '&' | ')', None) => break,
            (' ', None) if word.is_empty() => {}
            (' ', None) => words.push(std::mem::take(&mut word)),
            _ => word.push(c),
        }
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

/// What fits where a page leaves something to the reader or to the shell.
fn filled(word: &str) -> String {
    match word {
        "NAME" | "PERSON" => "alice".to_owned(),
        "CLUSTER" => "prod".to_owned(),
        "CLUSTER=GROUP" => "prod=developers".to_owned(),
        word if word.starts_with("$(") || word == "LINE" => {
            format!("kluis-pin:{}:1:{}", "a".repeat(64), "b".repeat(64))
        }
        word => word.to_owned(),
    }
}

#[test]
fn calls_of_kluis_are_found_wherever_a_shell_runs_them() {
    let found = |line| calls(line).into_iter().map(|call| call[1..].join(" ")).collect::<Vec<_>>();
    assert_eq!(found("alice$ gpg --export x | kluis init --pgp - && kluis verify"), ["init --pgp -", "verify"]);
    assert_eq!(found("KLUIS_PIN=\"$(kluis trust pin)\" kluis verify -o json"), ["trust pin", "verify -o json"]);
    assert_eq!(found("kluis adopt 01ab --reason \"a b\"  # why"), ["adopt 01ab --reason a b"]);
    assert_eq!(found("the format of kluis is one line"), Vec::<String>::new());
}

#[test]
fn the_two_first_commands_of_the_readme_exist() {
    let first = blocks(&read("README.md")).remove(0);
    assert_eq!(first.kind, "text");
    let commands: Vec<&str> =
        first.text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()).collect();
    assert_eq!(commands, ["cargo run --release -- demo", "tests/run"]);
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
