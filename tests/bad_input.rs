//! What can be wrong with what a command is given, or with the machine that it runs on. Each is refused with an error
//! that names file or value, reason and a command that helps, with its exit code, and nothing changes: no file, no
//! commit, no index, no pin.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod gnupg;
mod ground;
mod seat;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gnupg::Home;
use ground::{Answered, Ground};
use kluis::env::Terminal;
use kluis::model::{Digest, Span, Time};
use kluis::openpgp::Kind;
use seat::*;

const NEW: &str = "cluster new prod --endpoint https://api.prod.example.org:6443 --kubernetes 1.36 \
    --node cp-1=10.0.0.11:control-plane,etcd --node w-1=10.0.0.21:worker --yes";

/// A cluster of alice's, bob beside her, and a pin at alice's machine.
fn settled() -> Ground {
    settled_at(Time::parse("2026-11-24T12:00:00Z").unwrap())
}

fn settled_at(now: Time) -> Ground {
    let ground = Ground::at(now, &["alice", "bob"], 1, 1);
    ground.run("alice", NEW).ends(0);
    let _ = seat(&ground, "alice").pinned();
    ground
}

/// A command of each kind that writes, all of which could be carried out.
fn writers(ground: &Ground) -> Vec<String> {
    let add = format!("person add carol --pgp {}", ground.dir.path().join("carol.asc").display());
    let others = [
        "person update bob --role member",
        "trust set policy.max_client 30d",
        &NEW.replace("prod", "stage"),
        "cert issue -c prod --node w-1",
    ];
    [add].into_iter().chain(others.map(str::to_owned)).collect()
}

/// A settled ground and a certificate of carol's, who is to be added.
fn ready() -> Ground {
    let mut ground = settled();
    newcomer(&mut ground, "carol");
    ground
}

/// That every command that writes is refused so at `dir`, and leaves no trace.
#[track_caller]
fn nothing_is_written(ground: &Ground, dir: &Path, exit: u8, says: &[&str]) {
    for words in writers(ground) {
        seat(ground, "alice").in_dir(dir).refused(&words, exit, says);
    }
}

/// The built program, as alice, at her machine; without the user's configuration.
fn program(ground: &Ground) -> Command {
    let mut kluis = Command::new(env!("CARGO_BIN_EXE_kluis"));
    kluis.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", "/nonexistent");
    kluis.env("XDG_STATE_HOME", state_home(ground)).stdin(Stdio::null()).arg("-C").arg(ground.repo());
    kluis
}

/// The built program keeps its state in a folder `kluis` of this one.
fn state_home(ground: &Ground) -> PathBuf {
    ground.dir.path().join("state")
}

#[track_caller]
fn answer(command: &mut Command, input: &str) -> Answered {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Who does not read what is typed has closed the pipe.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let exit = u8::try_from(output.status.code().unwrap()).unwrap();
    Answered { exit, out: text(output.stdout), err: text(output.stderr) }
}

#[test]
fn an_error_reads_as_reason_and_help_and_stdout_stays_empty() {
    let ground = settled();
    for words in ["person add carol --pgp /nowhere", "cert issue --node x", "trust set policy.max_client x"] {
        let said = seat(&ground, "alice").run(words).ends(2);
        assert!(said.out.is_empty() && said.err.starts_with("error: "), "{}", said.err);
        assert!(said.err.contains("\n  help: "), "{}", said.err);
    }
}

// --- OpenPGP certificates -------------------------------------------------------------------------------------------

const THEN: [&str; 2] = ["--faked-system-time", "20240101T000000!"];
const SHA1: [&str; 4] = ["--digest-algo", "SHA1", "--cert-digest-algo", "SHA1"];

/// Files that hold no certificate for kluis, each with exit code and reason; most of them made by stock gpg.
fn unusable(home: &Home) -> Vec<(String, u8, &'static str)> {
    let key = |name: &str, options: &[&str], usage: &str, until: &str| {
        home.gpg(&[options, &["--quick-gen-key", name, "ed25519", usage, until]].concat());
        home.listed(name, "fpr", 9)[0].clone()
    };
    let subkey = |print: &str, options: &[&str], until: &str| {
        home.gpg(&[options, &["--quick-add-key", print, "cv25519", "encr", until]].concat());
    };
    subkey(&key("late", &THEN, "sign,cert", "30d"), &THEN, "never");
    subkey(&key("half", &THEN, "sign,cert", "never"), &THEN, "2024-02-01");
    key("signer", &[], "sign,cert", "never");
    subkey(&key("mute", &[], "cert", "never"), &[], "never");
    subkey(&key("old", &SHA1, "sign,cert", "never"), &SHA1, "never");
    subkey(&key("mixed", &[], "sign,cert", "never"), &SHA1, "never");
    home.person("early", &["--faked-system-time", "20990101T000000!"]);
    home.person("gone", &[]);
    let revocation = home.path().join(format!("openpgp-revocs.d/{}.rev", home.listed("gone", "fpr", 9)[0]));
    let revocation = std::fs::read_to_string(revocation).unwrap().replace(":-----BEGIN", "-----BEGIN");
    home.gpg(&["--import", &home.file("gone.rev", revocation.as_bytes())]);
    home.gpg(&["--quick-gen-key", "weak", "rsa1024", "sign,cert", "never"]);
    home.person("good", &[]);
    home.person("good-too", &[]);
    let export = |name: &str| home.export("--export", &[name]);
    vec![
        (export("late"), 3, "expired on 2024-01-31"),
        (export("half"), 3, "its only encryption key"),
        (export("signer"), 3, "no encryption key"),
        (export("mute"), 3, "no signing key"),
        (export("old"), 3, "SHA-1"),
        (export("mixed"), 3, "is bound by SHA-1 or weaker only"),
        (export("early"), 3, "not valid before 2099-01-01"),
        (export("gone"), 3, "was revoked on"),
        (export("weak"), 3, "RSA with 1024 bits"),
        (home.export("--export-secret-keys", &["good"]), 3, "holds a secret key"),
        (home.export("--export", &["=good", "good-too"]), 3, "exactly one certificate"),
        (home.file("letter", b"Dear Alice,\n"), 3, "no OpenPGP certificate"),
        (home.file("nothing", b""), 2, "is empty"),
        (home.path().join("absent").display().to_string(), 2, "is not there"),
    ]
}

#[test]
fn certificates_that_can_not_be_used_are_refused_by_name_and_reason() {
    let mut ground = settled_at(kluis::env::now().minus(Span::days(1)));
    let (home, dir) = (Home::new(), empty_repository(&ground));
    let unusable = unusable(&home);
    ground.now = kluis::env::now();
    let (alice, founder) = (seat(&ground, "alice"), seat(&ground, "alice").in_dir(&dir));
    for (file, exit, why) in unusable {
        let name = file.rsplit('/').next().unwrap();
        alice.refused(&format!("person add carol --pgp {file}"), exit, &[name, why]);
        alice.refused(&format!("person update bob --pgp {file}"), exit, &[name, why]);
        founder.refused(&format!("init --as alice --pgp {file}"), exit, &[name, why]);
    }
    let good = home.export("--export", &["=good"]);
    alice.run(&format!("person add carol --pgp {good}")).ends(0);
}

#[test]
fn no_two_persons_share_a_key_or_subkey() {
    let mut ground = settled_at(kluis::env::now().minus(Span::days(1)));
    let alice = seat(&ground, "alice");
    let own = certificate_file(&ground, "alice");
    for words in [format!("person add carol --pgp {own}"), format!("person update bob --pgp {own}")] {
        alice.refused(&words, 3, &["alice has this key already"]);
    }
    // Alice's subkey under mallory's primary: with another date it has another fingerprint, with the same one not.
    let home = Home::new();
    home.gpg(&["--import", ground.person("alice").key.to_str().unwrap()]);
    let grip = home.listed("alice", "grp", 9).pop().unwrap();
    let made: i64 = home.listed("alice", "sub", 5)[0].parse().unwrap();
    let same_date = Time::from_unix(made).to_string().replace(['-', ':', 'Z'], "") + "!";
    let strangers = [("mallory", &[][..]), ("eve", &["--faked-system-time", &same_date])];
    let files = strangers.map(|(name, options)| {
        home.gpg(&[options, &["--quick-gen-key", name, "ed25519", "sign,cert", "never"]].concat());
        home.edit(
            &[options, &["--expert", "--command-fd", "0", "--edit-key", name]].concat(),
            &format!("addkey\n13\n{grip}\nQ\n0\nsave\n"),
        );
        home.export("--export", &[name])
    });
    ground.now = kluis::env::now();
    for file in files {
        let add = format!("person add mallory --pgp {file}");
        seat(&ground, "alice").refused(&add, 3, &["alice has", "no two persons share a key"]);
    }
}

#[test]
fn two_persons_of_one_draft_share_no_key_either() {
    let ground = ready();
    let alice = seat(&ground, "alice");
    let carols = certificate_file(&ground, "carol");
    alice.run(&format!("person add carol --pgp {carols}")).ends(0);
    alice.refused(&format!("person add dave --pgp {carols}"), 3, &["carol has this key already"]);
}

// --- words ----------------------------------------------------------------------------------------------------------

#[test]
fn names_that_are_none_are_refused() {
    let mut ground = settled();
    let pgp = newcomer(&mut ground, "carol");
    let alice = seat(&ground, "alice");
    let long = "a".repeat(64);
    for name in ["Carol", "ca/rol", "../carol", "c..d", "carol.", "con", "c_d", "c\u{e4}rol", &long] {
        alice.refused(&format!("person add {name} --pgp {pgp}"), 2, &[name]);
        alice.refused(&NEW.replace("prod", name), 2, &[name]);
        alice.refused(&format!("person list --as {name}"), 2, &[name]);
        alice.refused(&format!("person update bob --keyholder {name}"), 2, &[name]);
    }
    for name in ["root", "admin", "kubernetes-admin", "kube-apiserver"] {
        alice.refused(&format!("person add {name} --pgp {pgp}"), 2, &[name, "persons have their own"]);
    }
    for node in ["W-1", "w_1", "../w", "-w"] {
        let words = NEW.replace("prod", "stage").replace("w-1=", &format!("{node}="));
        alice.refused(&words, 2, &[node]);
    }
}

/// Flags of `cluster new`, the line of cluster.toml that says the same, and why it is refused.
const DESCRIPTIONS: &[(&str, &str, &str)] = &[
    ("--endpoint http://api.example.org", "endpoint = 'http://api.example.org'", "http://api.example.org"),
    ("--endpoint api.example.org:6443", "endpoint = 'api.example.org:6443'", "it looks like https://"),
    ("--endpoint https://api.example.org/x", "endpoint = 'https://api.example.org/x'", "api.example.org/x"),
    ("--endpoint https://api:65536", "endpoint = 'https://api:65536'", "65536"),
    ("--endpoint https://me@api.example.org", "endpoint = 'https://me@api.example.org'", "me@api"),
    ("--kubernetes v1.36", "kubernetes = 'v1.36'", "1.36.3"),
    ("--kubernetes 2.0", "kubernetes = '2.0'", "1.36.3"),
    ("--service-cidr 10.96.0.0", "service_cidrs = ['10.96.0.0']", "is no CIDR"),
    ("--service-cidr 10.96.0.0/33", "service_cidrs = ['10.96.0.0/33']", "is no CIDR"),
    ("--service-cidr 10.96.0.1/12", "service_cidrs = ['10.96.0.1/12']", "bits set behind its prefix"),
    ("--service-cidr 10.96.0.0/30", "service_cidrs = ['10.96.0.0/30']", "too small"),
    ("--service-cidr fd00::/126", "service_cidrs = ['fd00::/126']", "too small"),
    ("--service-cidr 10.0.0.0/8", "service_cidrs = ['10.0.0.0/8']", "too large"),
    (
        "--service-cidr 10.96.0.0/12 --service-cidr 10.100.0.0/16",
        "service_cidrs = ['10.96.0.0/12', '10.100.0.0/16']",
        "overlap",
    ),
    (
        "--service-cidr 10.96.0.0/16 --service-cidr 10.97.0.0/16",
        "service_cidrs = ['10.96.0.0/16', '10.97.0.0/16']",
        "of one family",
    ),
    ("--extra-san api_1", "extra_sans = ['api_1']", "api_1"),
    ("--extra-san 10.0.0.256", "extra_sans = ['10.0.0.256']", "10.0.0.256"),
    ("--extra-san 0.0.0.0", "extra_sans = ['0.0.0.0']", "0.0.0.0"),
    ("--extra-san API.internal", "extra_sans = ['API.internal']", "lower case"),
    ("--extra-san a.b --extra-san a.b", "extra_sans = ['a.b', 'a.b']", "stands twice"),
    ("--dns-domain *.local", "dns_domain = '*.local'", "*.local"),
    ("--algorithm ed25519", "algorithm = 'ed25519'", "ed25519"),
    ("--algorithm rsa-1024", "algorithm = 'rsa-1024'", "rsa-1024"),
    (
        "--algorithm ecdsa-p384 --kubernetes 1.33",
        "algorithm = 'ecdsa-p384'\nkubernetes = '1.33'",
        "it does from 1.34 on",
    ),
    (
        "--node w-1=10.0.0.1:worker --node w-1=10.0.0.2:worker",
        "[[node]]\nname = 'w-1'\nroles = ['worker']\n[[node]]\nname = 'w-1'\nroles = ['worker']",
        "w-1 stands twice",
    ),
    (
        "--node w-1=10.0.0.300:worker",
        "[[node]]\nname = 'w-1'\nroles = ['worker']\naddresses = ['10.0.0.300']",
        "10.0.0.300",
    ),
    ("--node w-1=10.0.0.1:king", "[[node]]\nname = 'w-1'\nroles = ['king']", "king"),
    (
        "--node w-1=10.0.0.1:worker,worker",
        "[[node]]\nname = 'w-1'\nroles = ['worker', 'worker']",
        "worker stands twice",
    ),
    ("--node W-1=10.0.0.1:worker", "[[node]]\nname = 'W-1'\nroles = ['worker']", "W-1"),
];

/// A good description with other lines for some of its keys.
fn description(lines: &str) -> String {
    let keys: Vec<&str> = lines.lines().filter_map(|line| line.split_once(" = ")).map(|(key, _)| key).collect();
    let good = ["distribution = 'kubeadm'", "kubernetes = '1.36'", "endpoint = 'https://api.prod.example.org:6443'"];
    let kept = good.iter().filter(|line| lines.starts_with('[') || !keys.contains(&line.split_once(" = ").unwrap().0));
    kept.copied().chain([lines]).map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_description_of_a_cluster_that_makes_no_sense_is_refused_by_its_value() {
    let ground = settled();
    let alice = seat(&ground, "alice");
    for (flags, _, why) in DESCRIPTIONS {
        let mut words = format!("cluster new stage {flags} --yes");
        for (flag, value) in [("--endpoint", "https://10.0.0.1:6443"), ("--kubernetes", "1.36")] {
            if !flags.contains(flag) {
                words += &format!(" {flag} {value}");
            }
        }
        alice.refused(&words, 2, &[why]);
    }
    alice.refused(&NEW.replace("prod", "stage").replace("w-1=10.0.0.21:worker", "w-1"), 2, &["cp-1=10.0.0.11"]);
}

#[test]
fn a_file_that_describes_a_cluster_is_judged_alike() {
    let ground = settled();
    let alice = seat(&ground, "alice");
    let file = ground.dir.path().join("stage.toml");
    let from = format!("cluster new stage --yes --from {}", file.display());
    for (_, lines, why) in DESCRIPTIONS {
        std::fs::write(&file, description(lines)).unwrap();
        let key = lines.trim_start_matches("[[").split([' ', ']']).next().unwrap();
        alice.refused(&from, 2, &[why, key]);
    }
    for (text, why) in [("kubernetes =", "cluster.toml"), ("", "distribution"), ("\u{0}", "cluster.toml")] {
        std::fs::write(&file, text).unwrap();
        alice.refused(&from, 2, &[why]);
    }
    std::fs::write(&file, description("kubernets = '1.36'")).unwrap();
    alice.refused(&from, 2, &["did you mean kubernetes"]);
    std::fs::write(&file, b"\xff\xfe").unwrap();
    alice.refused(&from, 2, &["stage.toml", "not UTF-8"]);
    std::fs::remove_file(&file).unwrap();
    alice.refused(&from, 2, &["stage.toml", "is not there"]);
}

#[test]
fn an_edited_description_is_judged_alike_and_stays_as_it_was_edited() {
    let ground = settled();
    let alice = seat(&ground, "alice");
    for (_, lines, why) in DESCRIPTIONS {
        ground.edit("clusters/prod/cluster.toml", |_| description(lines));
        let report = alice.refused("cluster apply -c prod --yes", 3, &[why, "clusters/prod/cluster.toml"]);
        assert!(codes(&report).contains(&"bad-config"), "{report:#}");
    }
}

// --- keys at hand ---------------------------------------------------------------------------------------------------

#[test]
fn without_an_agent_nothing_is_signed() {
    let ground = settled_at(kluis::env::now());
    let home = Home::new();
    let before = Picture::of(&ground.repo(), &ground);
    let mut kluis = program(&ground);
    kluis.env("PATH", "/nonexistent").env("GNUPGHOME", home.path()).args(["--pin", &ground.pin]);
    let said = answer(kluis.args(["trust", "set", "policy.max_client", "30d", "-o", "json"]), "");
    refusal(&said, 6, &["gpg-agent does not answer and could not be started"]);
    before.assert_same();
}

/// A gpg home with a key of alice's that asks for a passphrase, and the file of her certificate.
fn locked() -> (Home, String) {
    let home = Home::new();
    home.person("alice", &["--passphrase", "right one"]);
    // The agent remembers passphrases that it was told.
    let reload = Command::new("gpgconf").arg("--homedir").arg(home.path()).args(["--reload", "gpg-agent"]).status();
    assert!(reload.unwrap().success());
    let certificate = home.export("--export", &["alice"]);
    (home, certificate)
}

#[test]
fn a_wrong_passphrase_signs_nothing() {
    let mut ground = settled_at(kluis::env::now().minus(Span::days(1)));
    let (home, certificate) = locked();
    ground.now = kluis::env::now();
    let key = home.file("alice.key", &home.gpg(&["--passphrase", "right one", "--export-secret-keys", "alice"]));
    let dir = empty_repository(&ground);
    let before = Picture::of(&dir, &ground);
    let init = |more: &[&str], input: &str| {
        let mut kluis = program(&ground);
        kluis.current_dir(&dir).env("GNUPGHOME", home.path()).args(["init", "--as", "alice", "--pgp", &certificate]);
        answer(kluis.args(["-C", dir.to_str().unwrap(), "-o", "json"]).args(more), input)
    };
    let (from_input, from_file) = (["--passphrase-fd", "0"], ["--identity", &key, "--passphrase-fd", "0"]);
    for more in [&from_input[..], &from_file] {
        refusal(&init(more, "wrong one\n"), 6, &["the passphrase is wrong"]);
        refusal(&init(more, ""), 6, &["passphrase"]);
    }
    refusal(&init(&[], ""), 6, &["passphrase"]);
    refusal(&init(&["--passphrase-fd", "77"], ""), 2, &["file descriptor 77"]);
    let alice = seat(&ground, "alice").in_dir(&dir).with_keys(Path::new(&key));
    let words = format!("init --as alice --pgp {certificate} -o json");
    refusal(&alice.run_on(Terminal::scripted(["wrong one"]), &words), 6, &["the passphrase is wrong"]);
    refusal(&alice.run_on(Terminal::scripted([""; 0]), &words), 6, &["cancelled"]);
    before.assert_same();
    init(&from_input, "right one\n").ends(0);
}

#[test]
fn a_key_file_that_is_of_no_use_is_refused_by_name() {
    let mut ground = ready();
    let certificate = certificate_file(&ground, "alice");
    let path = |name: &str| ground.dir.path().join(name);
    std::fs::write(path("letter"), "Dear Alice,\n").unwrap();
    std::fs::write(path("nothing"), "").unwrap();
    let files = [
        (path("carol.key"), "holds no signing key that the epoch lists"),
        (PathBuf::from(certificate), "no secret key"),
        (path("letter"), "not an OpenPGP secret key"),
        (path("nothing"), "secret key"),
        (path("absent"), "is not there"),
    ];
    for (file, why) in &files {
        let name = file.file_name().unwrap().to_str().unwrap();
        for words in writers(&ground) {
            seat(&ground, "alice").with_keys(file).refused(&words, 6, &[name, why]);
        }
    }
    seat(&ground, "alice").refused("trust set policy.max_client 30d --as bob", 6, &["lists for bob"]);
    // Her own key, when it has expired.
    ground.now = ground.now.plus(Span::days(900));
    let late = "trust set policy.max_client 30d --accept-stale";
    seat(&ground, "alice").run("verify").ends(5);
    seat(&ground, "alice").refused(late, 6, &["of alice has expired"]);
}

#[test]
fn the_keys_of_several_persons_want_a_name() {
    let ground = settled_at(kluis::env::now());
    let both = ground.dir.path().join("both.key");
    let keys = ["alice", "bob"].map(|name| std::fs::read(&ground.person(name).key).unwrap());
    std::fs::write(&both, keys.concat()).unwrap();
    let words = "trust set policy.max_client 30d";
    seat(&ground, "alice").with_keys(&both).refused(words, 2, &["both.key", "alice, bob", "--as"]);
    let home = Home::new();
    home.gpg(&["--import", both.to_str().unwrap()]);
    let before = Picture::of(&ground.repo(), &ground);
    let run = |more: &[&str]| {
        let mut kluis = program(&ground);
        kluis.env("GNUPGHOME", home.path()).args(["--pin", &ground.pin, "-o", "json"]);
        answer(kluis.args(words.split(' ')).args(more), "")
    };
    refusal(&run(&[]), 2, &["gpg-agent", "alice, bob", "--as"]);
    refusal(&run(&["--as", "carol"]), 6, &["lists for carol"]);
    before.assert_same();
    run(&["--as", "bob"]).ends(0);
}

// --- the tree -------------------------------------------------------------------------------------------------------

#[test]
fn what_is_staged_and_not_committed_is_not_mixed_with_a_command_s_own() {
    let ground = ready();
    seat(&ground, "alice").run("person update bob --role recovery --no-commit").ends(0);
    nothing_is_written(&ground, &ground.repo(), 1, &["differs from the last commit"]);
    let ground = ready();
    ground.git("rm -q --cached clusters/prod/sa/g1.pub");
    nothing_is_written(&ground, &ground.repo(), 1, &["clusters/prod/sa/g1.pub differs from the last commit"]);
}

#[test]
fn managed_files_that_nobody_vouches_for_stop_every_command() {
    let path = "clusters/prod/cluster.toml";
    for (change, says) in [
        ("echo '# mine' >> $0", ["config-hash", path]),
        ("rm $0", ["missing-file", path]),
        ("echo x > clusters/prod/notes", ["unexpected-path", "clusters/prod/notes"]),
        ("ln -sf /etc/passwd $0", ["not-regular", path]),
    ] {
        let ground = ready();
        shell(&ground.repo(), &change.replace("$0", path));
        nothing_is_written(&ground, &ground.repo(), 3, &says);
    }
}

#[test]
fn what_lies_outside_the_managed_trees_disturbs_nobody() {
    let ground = ready();
    std::fs::write(ground.repo().join("README"), "mine\n").unwrap();
    std::fs::write(ground.repo().join("staged"), "mine\n").unwrap();
    ground.git("add staged");
    for words in writers(&ground).iter().skip(1) {
        seat(&ground, "alice").run(words).ends(0);
    }
    assert_eq!(ground.git("status --porcelain"), "A  staged\n?? README\n");
}

#[test]
fn beside_a_draft_that_lacks_signatures_nothing_else_is_done() {
    let ground = settled();
    ground.epoch(&["alice"], |epoch| epoch.threshold.trust = 2);
    let out = ground.dir.path().join("out");
    for words in [
        "cert issue --node w-1",
        "cert issue break-glass -c prod --reason fire",
        "cluster apply -c prod --yes",
        "reseal",
        &format!("export kubeadm -c prod --node w-1 --out {}", out.display()),
        "adopt abcd --reason x",
    ] {
        let report = seat(&ground, "alice").refused(words, 3, &["lacks signatures", "bob", "kluis trust sign"]);
        assert_eq!(codes(&report), ["new-threshold"], "{words}");
    }
    assert!(!out.exists());
    seat(&ground, "alice").run("open -c prod ca.etcd --yes").ends(3).says("kluis trust sign");
}

#[test]
fn an_epoch_that_nobody_or_a_stranger_signed_is_no_epoch() {
    let ground = ready();
    ground.epoch(&[], |epoch| epoch.threshold.break_glass = 2);
    let report = seat(&ground, "alice").refused("cert issue --node w-1", 3, &["trust/epoch/0003.toml"]);
    assert_eq!(codes(&report), ["threshold", "new-threshold"]);
    let ground = ready();
    ground.epoch(&["carol"], |epoch| epoch.threshold.break_glass = 2);
    let report = seat(&ground, "alice").refused("trust set policy.max_client 30d", 3, &["0003.carol.sig"]);
    assert!(codes(&report).contains(&"unlisted-signer"), "{report:#}");
    // An epoch that lost its signature is no draft to be signed: the first, or one that others follow.
    let ground = ready();
    ground.git("rm -q trust/epoch/0001.alice.sig");
    ground.git("commit -qm unsigned");
    nothing_is_written(&ground, &ground.repo(), 3, &["new-admin-must-sign", "trust/epoch/0001.toml"]);
    seat(&ground, "bob").refused(&format!("trust pin {}", ground.pin), 3, &["new-admin-must-sign"]);
    let ground = ready();
    ground.epoch(&["alice"], |epoch| epoch.threshold.break_glass = 2);
    ground.git("rm -q trust/epoch/0002.alice.sig");
    ground.git("commit -qm unsigned");
    nothing_is_written(&ground, &ground.repo(), 3, &["threshold", "trust/epoch/0002.toml"]);
    seat(&ground, "alice").refused("trust sign --yes", 3, &["trust/epoch/0002.toml"]);
}

#[test]
fn what_a_newer_kluis_wrote_is_left_alone() {
    let upgrade = "cargo install --locked kluis";
    let ground = ready();
    let newer = ground.read("trust/epoch/0002.toml").replace("kluis/epoch/1", "kluis/epoch/2");
    std::fs::write(ground.repo().join("trust/epoch/0003.toml"), newer).unwrap();
    ground.git("add -A");
    ground.git("commit -qm newer");
    nothing_is_written(&ground, &ground.repo(), 3, &["newer-format", "trust/epoch/0003.toml", upgrade]);
    let ground = ready();
    let alice = ground.person("alice");
    let record = ground.git("ls-files trust/log/*.toml");
    let text = ground.read(record.trim()).replace("kluis/record/1", "kluis/record/2");
    let name = format!("trust/log/2026-11/{}", Digest::of(text.as_bytes()).h16());
    let key = &alice.certificate.usable(ground.now).unwrap().sign[0];
    let signature = alice.keys().sign(text.as_bytes(), Kind::Record, &alice.certificate, key, ground.now).unwrap();
    std::fs::write(ground.repo().join(format!("{name}.toml")), text).unwrap();
    std::fs::write(ground.repo().join(format!("{name}.alice.sig")), signature).unwrap();
    ground.git("add -A");
    ground.git("commit -qm newer");
    nothing_is_written(&ground, &ground.repo(), 3, &["newer-format", &name, upgrade]);
}

#[test]
fn pins_that_can_not_be_read_stop_every_command_and_stay() {
    let ground = ready();
    let pins = ground.state("alice").join("pins.toml");
    for text in ["format = \"kluis/pins/2\"\n", "nonsense"] {
        std::fs::write(&pins, text).unwrap();
        nothing_is_written(&ground, &ground.repo(), 1, &["pins.toml is malformed"]);
        seat(&ground, "alice").refused("verify", 1, &["pins.toml is malformed"]);
        seat(&ground, "alice").refused(&format!("trust pin {}", ground.pin), 1, &["pins.toml"]);
    }
}

// --- git ------------------------------------------------------------------------------------------------------------

#[test]
fn a_git_that_is_in_the_middle_of_something_is_left_alone() {
    let merging = "git checkout -qb other && git commit -q --allow-empty -m x && git checkout -q main && \
        git merge -q --no-ff --no-commit other";
    let picking = "git checkout -qb other && echo a > x && git add x && git commit -qm x && git checkout -q main && \
        echo b > x && git add x && git commit -qm y && ! git cherry-pick other >/dev/null 2>&1";
    let rebasing = "git checkout -qb other && echo a > x && git add x && git commit -qm x && git checkout -q main && \
        echo b > x && git add x && git commit -qm y && ! git rebase -q other >/dev/null 2>&1";
    for (change, says) in [
        ("git checkout -q --detach", "detached HEAD"),
        (merging, "in the middle of a merge"),
        (picking, "in the middle of a cherry-pick"),
        (rebasing, "in the middle of a rebase"),
        ("git bisect start >/dev/null", "in the middle of a bisection"),
        ("touch .git/index.lock", ".git/index.lock exists"),
        ("git config user.name ''", "no user.name and user.email"),
    ] {
        let ground = ready();
        shell(&ground.repo(), change);
        nothing_is_written(&ground, &ground.repo(), 1, &[says]);
        seat(&ground, "alice").run("verify").ends(0);
    }
}

#[test]
fn a_folder_that_is_no_repository_for_kluis_is_refused_by_its_kind() {
    let kind = "of a kind that kluis can't write";
    for (change, says) in [
        ("rm -rf .git", "is in no git repository"),
        ("git config core.repositoryformatversion 1 && git config extensions.worldpeace true", kind),
        ("git config core.repositoryformatversion 1 && git config extensions.refstorage reftable", kind),
        ("rm -rf .git && git init -q --object-format=sha256", kind),
        ("git update-index --split-index", kind),
        ("echo '[' >> .git/config", kind),
    ] {
        let ground = ready();
        shell(&ground.repo(), change);
        nothing_is_written(&ground, &ground.repo(), 1, &[ground.repo().to_str().unwrap(), says]);
        seat(&ground, "alice").run("verify").ends(0);
    }
    let ground = ready();
    let bare = ground.dir.path().join("bare.git");
    git(&ground.repo(), &["clone", "-q", "--bare", ".", bare.to_str().unwrap()]);
    nothing_is_written(&ground, &bare, 1, &["bare.git", "is a bare git repository"]);
    nothing_is_written(&ground, Path::new("/nowhere/at/all"), 1, &["/nowhere/at/all is in no git repository"]);
}

#[test]
fn init_needs_a_work_tree_that_a_commit_can_go_to() {
    for (change, says) in [
        ("git commit -q --allow-empty -m x && git checkout -q --detach", "detached HEAD"),
        ("git config user.email ''", "no user.name and user.email"),
        ("rm -rf .git", "is in no git repository"),
        ("rm -rf .git && git init -q --object-format=sha256", "can't write"),
        ("rm -rf .git && git init -q --bare .", "bare git repository"),
        ("touch .git/index.lock", "index.lock exists"),
        ("mkdir trust && echo x > trust/notes", "there already"),
        ("ln -s /etc trust", "trust"),
        ("mkdir pubkeys && echo x > pubkeys/alice.asc", "pubkeys/alice.asc"),
    ] {
        let ground = Ground::new(&["alice"], 1, 1);
        let dir = empty_repository(&ground);
        shell(&dir, change);
        let exit = if change.contains("trust") || change.contains("pubkeys") { 3 } else { 1 };
        let init = format!("init --as alice --pgp {}", certificate_file(&ground, "alice"));
        seat(&ground, "alice").in_dir(&dir).refused(&init, exit, &[says]);
    }
}

#[test]
fn who_git_does_not_know_is_told_what_to_set() {
    let ground = settled_at(kluis::env::now());
    ground.git("config --unset user.name");
    let before = Picture::of(&ground.repo(), &ground);
    let mut kluis = program(&ground);
    kluis.args(["--pin", &ground.pin, "-o", "json", "--identity"]).arg(&ground.person("alice").key);
    let report = refusal(&answer(kluis.args(["trust", "set", "policy.max_client", "30d"]), ""), 1, &["user.name"]);
    assert!(report["data"]["help"].as_str().unwrap().starts_with("git config user.name"), "{report:#}");
    before.assert_same();
}

// --- disks ----------------------------------------------------------------------------------------------------------

/// Runs a shell script as alice in a mount namespace of its own, where `/mnt` is an empty tmpfs and `$kluis` sets a
/// policy; `look DIR` prints all that must not change of a work tree. Returns what it printed.
fn in_namespace(ground: &Ground, script: &str) -> String {
    let functions = r#"set -eu
        look() { (cd "$1" && git rev-parse HEAD && git status --porcelain -uall &&
            find . -path ./.git -prune -o -type f -print0 | sort -z | xargs -0 sha256sum); }
        set_policy() { code=0; "$kluis" -C "$1" --identity "$key" -o json trust set policy.max_client 30d || code=$?; }
        fill() { head -c 64M /dev/zero > "$1/fill" 2>/dev/null || true; truncate -s "-$2" "$1/fill"; }
        "#;
    let mut shell = Command::new("unshare");
    shell.args(["-rm", "sh", "-c", &format!("{functions}{script}")]).stdin(Stdio::null());
    shell.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", "/nonexistent");
    // Git would write its index only to look.
    shell.env("GIT_OPTIONAL_LOCKS", "0");
    shell.env("kluis", env!("CARGO_BIN_EXE_kluis")).env("key", &ground.person("alice").key);
    shell.env("repo", ground.repo()).env("XDG_STATE_HOME", state_home(ground)).env("pin", &ground.pin);
    let output = shell.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// A ground that the built program has pinned as alice.
fn pinned_by_program() -> Ground {
    let ground = settled_at(kluis::env::now());
    let pin = answer(program(&ground).args(["trust", "pin", &ground.pin]), "");
    pin.ends(0);
    ground
}

/// The reports in a text, one after the other.
fn reports(text: &str) -> Vec<Answered> {
    let reports = serde_json::Deserializer::from_str(text).into_iter::<serde_json::Value>();
    let answered = |report: serde_json::Value| Answered {
        exit: u8::try_from(report["exit"].as_u64().unwrap()).unwrap(),
        out: report.to_string(),
        err: String::new(),
    };
    reports.map(|report| answered(report.unwrap())).collect()
}

#[test]
fn a_full_disk_is_named_and_nothing_is_half_written() {
    let ground = pinned_by_program();
    for room in ["0", "4K", "16K", "32K", "64K"] {
        let script = format!(
            r#"mount -t tmpfs -o size=8M tmpfs /mnt && cp -a "$repo" /mnt/repo && export XDG_STATE_HOME="$repo/../{room}"
            "$kluis" -C /mnt/repo trust pin "$pin" >/dev/null
            before=$(look /mnt/repo); fill /mnt {room}
            set_policy /mnt/repo
            if [ $code = 1 ]; then [ "$before" = "$(look /mnt/repo)" ]; [ ! -e /mnt/repo/.git/kluis/journal ]; fi
            rm /mnt/fill; "$kluis" -C /mnt/repo verify >/dev/null
            if [ $code = 1 ]; then set_policy /mnt/repo; [ $code = 0 ]; fi"#
        );
        let said = reports(&in_namespace(&ground, &script));
        if room == "0" || said.len() == 2 {
            let report = refusal(&said[0], 1, &["/mnt/repo", "No space left on device"]);
            assert!(report["data"]["help"].as_str().unwrap().starts_with("df -h /mnt/repo"), "{report:#}");
            assert_eq!(said[1].exit, 0);
        } else {
            assert_eq!(said[0].exit, 0);
        }
    }
}

#[test]
fn a_read_only_folder_is_named_and_nothing_is_half_written() {
    let ground = pinned_by_program();
    for folder in ["", "/trust", "/trust/epoch", "/.git", "/.git/objects", "/.git/refs/heads"] {
        let script = format!(
            r#"before=$(look "$repo"); at="$repo{folder}"
            mount --bind "$at" "$at" && mount -o remount,bind,ro "$at"
            set_policy "$repo"; [ $code = 1 ]
            "$kluis" -C "$repo" verify >/dev/null; umount "$at"
            [ "$before" = "$(look "$repo")" ]; [ ! -e "$repo/.git/kluis/journal" ]"#
        );
        let said = reports(&in_namespace(&ground, &script));
        let report = refusal(&said[0], 1, &[&format!("{}{folder}", ground.repo().display())]);
        let help = report["data"]["help"].as_str().unwrap().to_owned();
        assert!(help.starts_with("ls -ld "), "{folder}: {report:#}");
    }
}

#[test]
fn a_state_folder_that_can_not_be_written_is_named() {
    let ground = pinned_by_program();
    let script = r#"before=$(look "$repo"); at="$XDG_STATE_HOME"
        mount --bind "$at" "$at" && mount -o remount,bind,ro "$at"
        set_policy "$repo"; [ $code = 1 ]; [ "$before" = "$(look "$repo")" ]"#;
    let said = reports(&in_namespace(&ground, script));
    refusal(&said[0], 1, &[state_home(&ground).to_str().unwrap()]);
    // A full one is noticed when the change is made already: that is said, and the command has not failed.
    let dir = empty_repository(&ground);
    let script = format!(
        r#"mount -t tmpfs -o size=1M tmpfs /mnt && cp -a "$XDG_STATE_HOME" /mnt/state && fill /mnt 0
        export XDG_STATE_HOME=/mnt/state; set_policy "$repo"; [ $code = 0 ]
        "$kluis" -C "{}" --identity "$key" -o json init --as alice --pgp "{}"
        rm /mnt/fill; "$kluis" -C "$repo" verify >/dev/null"#,
        dir.display(),
        certificate_file(&ground, "alice")
    );
    let said = reports(&in_namespace(&ground, &script));
    for (answered, command) in said.iter().zip(["trust set", "init"]) {
        let notes = data(answered, command)["notes"].to_string();
        assert!(notes.contains("could not note it in its pins") && notes.contains("/mnt/state"), "{notes}");
    }
    assert_eq!((said.len(), &data(&said[1], "init")["pinned"]), (2, &false.into()));
    assert_eq!(ground.errors(), [""; 0]);
}
