//! What a rotation costs: staging all five keysets of one cluster beside bootstrapping it, and every phase of a fleet in one
//! command each. Beside it, in the same run, what one would use without it: `openssl` making as many keys and CA
//! certificates, and `gpg --encrypt` of each key to the same five people, who check, sign and commit nothing.
//! `cargo bench --bench rotation [-- CLUSTERS]` builds and runs it; a fleet of 100 if none are given.
//!
//! CPU seconds of whole processes, since the machines that this runs on are shared; and seconds of a clock, which is what
//! people wait, and shows how many cores are at work.

#![expect(clippy::unwrap_used, reason = "a benchmark stops where something is wrong")]

#[path = "../tests/ground/mod.rs"]
mod ground;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Instant, SystemTime};

use ground::Ground;
use kluis::model::{Span, Time};

const KLUIS: &str = env!("CARGO_BIN_EXE_kluis");
const PEOPLE: [&str; 5] = ["alice", "bob", "carol", "dave", "erin"];
/// What is made for one cluster is made so many times, each in a repository of its own: finding primes takes luck, and a
/// process's seconds are counted in hundredths.
const RUNS: usize = 20;
/// So many clusters of a fleet are made with openssl and gpg, and the rest is reckoned.
const THEIRS: usize = 10;

/// Seconds of all cores, and of the clock.
#[derive(Clone, Copy, Default)]
struct Cost {
    cpu: f64,
    clock: f64,
}

impl Cost {
    fn plus(self, other: Self) -> Self {
        Self { cpu: self.cpu + other.cpu, clock: self.clock + other.clock }
    }

    fn times(self, factor: f64) -> Self {
        Self { cpu: self.cpu * factor, clock: self.clock * factor }
    }
}

/// CPU seconds of all children that this process has waited for.
fn children() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    [13, 14].iter().map(|at| fields[*at].parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

fn measure(command: &mut Command) -> Cost {
    let (before, began) = (children(), Instant::now());
    let output = command.stdin(Stdio::null()).output().unwrap();
    let cost = Cost { cpu: children() - before, clock: began.elapsed().as_secs_f64() };
    // 5: fine, and something is owed.
    let code = output.status.code().unwrap_or(-1);
    assert!([0, 5].contains(&code), "{command:?} ended {code}: {}", String::from_utf8_lossy(&output.stderr));
    cost
}

fn report(work: &str, tool: &str, cost: Cost) {
    println!("{work:<40} {tool:<24} {:>8.3} s CPU {:>8.3} s", cost.cpu, cost.clock);
}

fn founded() -> Ground {
    let now = Time::from_system(SystemTime::now());
    let ground = Ground::at(now.minus(Span::minutes(2)), &PEOPLE, 1, 1);
    for person in PEOPLE {
        fs::write(ground.dir.path().join(format!("{person}.asc")), ground.person(person).certificate.to_stored())
            .unwrap();
    }
    ground
}

fn new(name: &str, algorithm: &str) -> String {
    let people = PEOPLE.map(|person| format!("--keyholder {person}")).join(" ");
    format!(
        "cluster new {name} --endpoint https://{name}.example.org:6443 --kubernetes 1.36 --algorithm {algorithm} {people} \
         --issuer alice --node cp-1=10.0.0.1:control-plane,etcd --node w-1=10.0.0.2:worker --yes"
    )
}

/// The program itself, as alice, in a repository that may be a copy of the ground's.
fn kluis(ground: &Ground, repo: &Path, words: &str) -> Cost {
    let mut kluis = Command::new(KLUIS);
    kluis.arg("-C").arg(repo).args(["--pin", &ground.pin]).arg("--identity").arg(&ground.person("alice").key);
    kluis.env("XDG_STATE_HOME", repo.with_extension("state")).args(words.split_whitespace());
    measure(&mut kluis)
}

/// How many signatures of records and epochs a repository has.
fn signatures(repo: &Path) -> usize {
    signatures_below(&repo.join("trust"))
}

fn signatures_below(folder: &Path) -> usize {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let signatures = |path: std::path::PathBuf| match path.is_dir() {
        true => signatures_below(&path),
        false => usize::from(path.extension().is_some_and(|end| end == "sig")),
    };
    paths.map(signatures).sum()
}

/// Runs a command that signs so many times.
fn signs(ground: &Ground, repo: &Path, words: &str, expected: usize) -> Cost {
    let before = signatures(repo);
    let cost = kluis(ground, repo, words);
    assert_eq!(signatures(repo) - before, expected, "{words}");
    cost
}

/// Three CAs, a service-account key and an encryption key, each encrypted to five people.
fn theirs(ground: &Ground, algorithm: &str) -> Cost {
    let (dir, home) = (ground.dir.path().join("theirs"), ground.dir.path().join("gnupg"));
    fs::create_dir_all(&dir).unwrap();
    let run = |program: &str, words: &str| {
        let mut command = Command::new(program);
        measure(command.current_dir(&dir).env("GNUPGHOME", &home).args(words.split_whitespace()))
    };
    if !home.exists() {
        fs::create_dir(&home).unwrap();
        for person in PEOPLE {
            run("gpg", &format!("--batch --quiet --import ../{person}.asc"));
        }
    }
    let key = match algorithm {
        "rsa-2048" => "RSA -pkeyopt rsa_keygen_bits:2048",
        _ => "EC -pkeyopt ec_paramgen_curve:P-256",
    };
    let people: String =
        PEOPLE.map(|person| format!(" --recipient {}", ground.person(person).certificate.fingerprint())).concat();
    let mut cost = Cost::default();
    for name in ["kubernetes", "etcd", "front-proxy", "service-account"] {
        cost = cost.plus(run("openssl", &format!("genpkey -algorithm {key} -out {name}.key")));
        if name != "service-account" {
            let words = format!("req -x509 -new -key {name}.key -subj /CN={name}-ca-g2 -days 3650 -out {name}.crt");
            cost = cost.plus(run("openssl", &words));
        }
    }
    cost = cost.plus(run("openssl", "rand -out encryption.key 32"));
    for name in ["kubernetes", "etcd", "front-proxy", "service-account", "encryption"] {
        let words = format!("--batch --quiet --yes --armor --trust-model always{people} --encrypt {name}.key");
        cost = cost.plus(run("gpg", &words));
    }
    cost
}

fn copied(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

/// One cluster: staging all of it, beside bootstrapping it.
fn one(algorithm: &str) {
    let ground = founded();
    let (mut made, mut staged, mut peers) = (Cost::default(), Cost::default(), Cost::default());
    for run in 0..RUNS {
        let repo = ground.dir.path().join(format!("repo-{run}"));
        copied(&ground.repo(), &repo);
        made = made.plus(signs(&ground, &repo, &new("prod", algorithm), 2));
        staged = staged.plus(signs(&ground, &repo, "rotate start -c prod --yes", 2));
        peers = peers.plus(theirs(&ground, algorithm));
    }
    let mean = 1.0 / RUNS as f64;
    report(&format!("bootstrap a cluster, {algorithm}"), "kluis cluster new", made.times(mean));
    report(&format!("stage all of it, {algorithm}"), "kluis rotate start", staged.times(mean));
    report("", "openssl and gpg", peers.times(mean));
    println!(
        "{:>40} {:.2} times cluster new, {:.2} times openssl and gpg",
        "",
        staged.cpu / made.cpu,
        staged.cpu / peers.cpu
    );
}

/// Every phase of a fleet, one command each.
fn fleet(clusters: usize) {
    let ground = founded();
    for number in 0..clusters {
        ground.run("alice", &new(&format!("c{number}"), "ecdsa-p256")).ends(0);
    }
    let repo = ground.repo();
    if let Some(keep) = std::env::var_os("KLUIS_BENCH_KEEP") {
        // To look at it with a profiler.
        copied(ground.dir.path(), Path::new(&keep));
        return println!(
            "kluis -C {} --pin {} --identity …/alice.key",
            Path::new(&keep).join("repo").display(),
            ground.pin
        );
    }
    let work = |what: &str| format!("{what} {clusters} clusters");
    report(&work("check"), "kluis verify", kluis(&ground, &repo, "verify"));
    // One record and, where CAs and keys are listed or taken from the list, one epoch.
    let started = signs(&ground, &repo, "rotate start --all-clusters --yes", 2);
    report(&work("stage"), "kluis rotate start", started);
    for verb in ["trust", "promote", "distrust"] {
        let cost = signs(&ground, &repo, &format!("rotate {verb} --all-clusters --yes"), 1);
        report(&work(verb), &format!("kluis rotate {verb}"), cost);
    }
    report(&work("remove"), "kluis rotate remove", signs(&ground, &repo, "rotate remove --all-clusters --yes", 2));
    report(&work("check"), "kluis verify", kluis(&ground, &repo, "verify"));
    let measured = THEIRS.min(clusters);
    let peers = (0..measured).fold(Cost::default(), |sum, _| sum.plus(theirs(&ground, "ecdsa-p256")));
    let peers = peers.times(clusters as f64 / measured as f64);
    report(&work("stage"), &format!("openssl and gpg ({measured})"), peers);
    println!("{:>40} {:.2} times openssl and gpg", "", started.cpu / peers.cpu);
}

fn main() {
    let clusters = std::env::args().find_map(|arg| arg.parse::<usize>().ok()).unwrap_or(100);
    one("ecdsa-p256");
    one("rsa-2048");
    fleet(clusters);
}
