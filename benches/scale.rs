//! How time and memory grow: `verify` of many clusters and records, of a thousand sealed files beside gpg and sq, and
//! `review` of a small change in a repository of 400,000 files. CPU seconds and the largest resident memory of whole
//! processes. `cargo bench --bench scale [-- CLUSTERS [RECORDS]]` builds and runs it.
//!
//! Wall time is not measured: the machines that this runs on are shared.

#![expect(clippy::unwrap_used, reason = "a benchmark stops where something is wrong")]

#[path = "../tests/repository/mod.rs"]
mod repository;

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kluis::model::{Digest, Keyset, Place, SealedName, Span, State};
use kluis::trust::Entry;
use kluis::trust::record::Config;
use repository::{Repository, cluster, generation, place};

const KLUIS: &str = env!("CARGO_BIN_EXE_kluis");

/// CPU seconds of all children that this process has waited for.
fn children() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    [13, 14].iter().map(|at| fields[*at].parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

/// Runs a command; CPU seconds, and the largest resident memory in MiB as far as it was seen.
fn measure(command: &mut Command, codes: &[i32]) -> (f64, f64) {
    let before = children();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0.0_f64;
    loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let kib = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = kib.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
        peak = peak.max(kib.unwrap_or(0.0) / 1024.0);
        if let Some(status) = child.try_wait().unwrap() {
            let code = status.code().unwrap_or(-1);
            if !codes.contains(&code) {
                let mut text = String::new();
                std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut text).unwrap();
                panic!("{command:?} ended {code}: {text}");
            }
            return (children() - before, peak);
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

fn report(work: &str, tool: &str, (seconds, memory): (f64, f64)) {
    println!("{work:<52} {tool:<18} {seconds:>8.3} s CPU {memory:>7.0} MiB");
}

fn write(repository: &Repository, dir: &Path) {
    for (path, entry) in &repository.tree.entries {
        let Entry::File { bytes, .. } = entry else { continue };
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

fn git(dir: &Path, args: &[&str]) -> String {
    let mut git = Command::new("git");
    git.arg("-C").arg(dir).args(["-c", "user.name=b", "-c", "user.email=b@b", "-c", "gc.auto=0"]).args(args);
    let output = git.output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A repository of `clusters` with about 40 files each, and `records` records in all. The builder's own way to find the
/// heads of the log costs the square of the records, so each record here follows the one before.
fn build(clusters: usize, records: usize) -> (Repository, String) {
    let mut made = Repository::of(&["alice", "bob"]);
    let names: Vec<String> = (0..clusters).map(|number| format!("c{number}")).collect();
    let mut draft = made.draft();
    for name in &names {
        made.add_cluster(&mut draft, name, &["alice"], &["alice"]);
    }
    made.publish(draft, &["alice"]);
    let mut last: Option<Digest> = None;
    let mut keys = Vec::new();
    for name in &names {
        let time = made.tick();
        let (epoch, sha256) = made.epochs.last().map(|(epoch, sha256)| (epoch.number, *sha256)).unwrap();
        let parents = last.into_iter().collect();
        let mut record =
            kluis::trust::Record::new(made.id, (epoch, sha256), repository::person("alice"), time, "bench", parents);
        let config = repository::config(&made.latest().clusters[&cluster(name)].api);
        record.config.push(Config { cluster: cluster(name), sha256: Digest::of(config.as_bytes()) });
        made.put_file(Place::Config(cluster(name)), config);
        for keyset in [Keyset::Kubernetes, Keyset::ServiceAccount] {
            made.seal_authority(&mut record, name, keyset, 1, 1);
            record.phase.push(made.phase(name, keyset, 1, State::Issuing));
        }
        let id = Digest::of(&made.rng.bytes::<32>());
        let encryption = SealedName::Keyset(Keyset::Encryption, generation(1));
        made.seal_in(&mut record, name, encryption, 1, &[("encryption", id)]);
        record.phase.push(made.phase(name, Keyset::Encryption, 1, State::Issuing));
        for node in 0..11 {
            let pair = [made.key(), made.key()];
            let Place::Sealed(_, sealed) = place(&format!("clusters/{name}/sealed/node.w-{node}.asc")) else {
                unreachable!("it is a sealed file's")
            };
            let ids = [("kubelet-client", pair[0].spki_id()), ("kubelet-serving", pair[1].spki_id())];
            made.seal_in(&mut record, name, sealed, 1, &ids);
            for (profile, key) in ["kubelet-client", "kubelet-serving"].iter().zip(&pair) {
                let at = place(&format!("clusters/{name}/certs/node/w-{node}/{profile}.crt"));
                let (entry, pem) = made.issue(&at, &key.spki(), &["system:nodes"], 1, Span::days(365));
                made.put_file(&at, pem);
                record.issued.push(entry);
            }
            if node == 0 {
                keys.push(pair[0].spki());
            }
        }
        last = Some(made.put(record));
    }
    for number in clusters..records {
        let (name, spki) = (&names[number % clusters], &keys[number % clusters]);
        let time = made.tick();
        let (epoch, sha256) = made.epochs.last().map(|(epoch, sha256)| (epoch.number, *sha256)).unwrap();
        let parents = last.into_iter().collect();
        let mut record =
            kluis::trust::Record::new(made.id, (epoch, sha256), repository::person("alice"), time, "bench", parents);
        let at = place(&format!("clusters/{name}/certs/node/w-0/kubelet-client.crt"));
        let (entry, pem) = made.issue(&at, spki, &["system:nodes"], 1, Span::days(365));
        made.put_file(&at, pem);
        record.issued.push(entry);
        last = Some(made.put(record));
    }
    let genesis = &made.epochs[0];
    let pin = format!("kluis-pin:{}:1:{}", made.id, genesis.1);
    (made, pin)
}

fn kluis(dir: &Path, pin: &str, words: &[&str]) -> Command {
    let mut command = Command::new(KLUIS);
    command.arg("-C").arg(dir).args(["--pin", pin]).args(words).env("XDG_STATE_HOME", dir.with_extension("state"));
    command
}

fn verify(clusters: usize, records: usize) {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("repo");
    let (made, pin) = build(clusters, records);
    write(&made, &dir);
    let at = made.now().plus(Span::minutes(1)).to_string();
    let files = made.tree.entries.len();
    if let Some(keep) = std::env::var_os("KLUIS_BENCH_KEEP") {
        // To look at it with a profiler.
        fs::rename(&dir, Path::new(&keep)).unwrap();
        return println!("kluis -C {} --pin {pin} verify --at {at}", Path::new(&keep).display());
    }
    let work = format!("verify {clusters} clusters, {records} records, {files} files");
    report(&work, "kluis", measure(&mut kluis(&dir, &pin, &["verify", "--at", &at]), &[0, 5]));
}

/// Who can read a thousand sealed files: kluis with every signature checked, gpg and sq listing packets alone.
fn recipients() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("repo");
    let mut made = Repository::of(&["alice", "bob"]);
    let mut draft = made.draft();
    made.add_cluster(&mut draft, "prod", &["alice", "bob"], &["alice"]);
    made.publish(draft, &["alice"]);
    made.populate("prod", "alice");
    made.commit("alice", |_| {});
    let mut record = made.blank("alice");
    for number in 0..1000 {
        let Place::Sealed(_, sealed) = place(&format!("clusters/prod/sealed/node.n-{number}.asc")) else {
            unreachable!("it is a sealed file's")
        };
        let id = Digest::of(&made.rng.bytes::<32>());
        made.seal_in(&mut record, "prod", sealed, 1, &[("kubelet-client", id)]);
    }
    made.put(record);
    write(&made, &dir);
    let pin = format!("kluis-pin:{}:1:{}", made.id, made.epochs[0].1);
    let at = made.now().plus(Span::minutes(1)).to_string();
    let mut sealed: Vec<PathBuf> =
        fs::read_dir(dir.join("clusters/prod/sealed")).unwrap().map(|entry| entry.unwrap().path()).collect();
    sealed.sort();
    let work = "who can read 1,000 sealed files";
    let ours = measure(&mut kluis(&dir, &pin, &["verify", "--at", &at]), &[0, 5]);
    report(work, "kluis verify", ours);
    let home = scratch.path().join("home");
    fs::create_dir(&home).unwrap();
    let mut gpg = Command::new("gpg");
    gpg.env("GNUPGHOME", &home).args(["--batch", "--no-keyring", "--list-only", "--list-packets"]);
    let list = |mut one: Command| {
        let script = "for f in \"$@\"; do \"$0\" $ARGS \"$f\" >/dev/null 2>&1; done; true";
        let args: Vec<String> = one.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect();
        let program = one.get_program().to_owned();
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).arg(program).args(&sealed).env("ARGS", args.join(" ")).env("GNUPGHOME", &home);
        one.arg("--version");
        one.output().ok().map(|_| measure(&mut shell, &[0]))
    };
    let mut sq = Command::new("sq");
    sq.args(["packet", "dump"]);
    for (name, command) in [("gpg, no signature", gpg), ("sq, no signature", sq)] {
        match list(command) {
            Some(figure) => {
                report(work, name, figure);
                println!("{:>52} {:.1} times", "", figure.0 / ours.0.max(0.001));
            }
            None => println!("{work:<52} {name}: not installed"),
        }
    }
}

/// A change of two files among 10,000 clusters with 40 files each, most of them nothing but weight.
fn review() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("repo");
    fs::create_dir(&dir).unwrap();
    let mut made = Repository::of(&["alice", "bob"]);
    let mut draft = made.draft();
    made.add_cluster(&mut draft, "prod", &["alice"], &["alice"]);
    made.publish(draft, &["alice"]);
    made.populate("prod", "alice");
    git(&dir, &["init", "-q", "-b", "main"]);
    let mut stream =
        String::from("blob\nmark :1\ndata 7\nfiller\n\ncommit refs/heads/main\ncommitter b <b@b> 1 +0000\ndata 1\nx\n");
    for (path, entry) in &made.tree.entries {
        let Entry::File { bytes, .. } = entry else { continue };
        let text = String::from_utf8(bytes.clone()).unwrap_or_default();
        if text.is_empty() {
            continue; // a signature in binary: written below
        }
        write!(stream, "M 644 inline {path}\ndata {}\n{text}\n", bytes.len()).unwrap();
    }
    for number in 0..10_000 {
        for file in 0..40 {
            writeln!(stream, "M 644 :1 clusters/filler-{number}/file-{file}").unwrap();
        }
    }
    let mut import = Command::new("git");
    let mut import = import.arg("-C").arg(&dir).args(["fast-import", "--quiet"]).stdin(Stdio::piped()).spawn().unwrap();
    import.stdin.take().unwrap().write_all(stream.as_bytes()).unwrap();
    assert!(import.wait().unwrap().success());
    // What differs: a sealed file and its certificate, and their record. The index alone is used, never a checkout.
    let before = made.tree.clone();
    let id = made.key();
    let mut record = made.blank("alice");
    let Place::Sealed(_, sealed) = place("clusters/prod/sealed/node.cp-1.asc") else { unreachable!("a sealed file's") };
    made.seal_in(&mut record, "prod", sealed, 2, &[("apiserver", id.spki_id())]);
    let at = place("clusters/prod/certs/node/cp-1/apiserver.crt");
    made.issue_in(&mut record, &at, &id.spki(), &[], 1);
    made.put(record);
    git(&dir, &["read-tree", "main"]);
    let add = |tree: &kluis::trust::Tree, but: Option<&kluis::trust::Tree>| {
        for (path, entry) in &tree.entries {
            let Entry::File { bytes, .. } = entry else { continue };
            if but.is_some_and(|but| but.entries.get(path) == Some(entry)) {
                continue;
            }
            let file = scratch.path().join("blob");
            fs::write(&file, bytes).unwrap();
            let id = git(&dir, &["hash-object", "-w", file.to_str().unwrap()]);
            git(&dir, &["update-index", "--add", "--cacheinfo", &format!("100644,{id},{path}")]);
        }
        let tree = git(&dir, &["write-tree"]);
        git(&dir, &["commit-tree", &tree, "-m", "x"])
    };
    let base = add(&before, None);
    let head = add(&made.tree, Some(&before));
    git(&dir, &["repack", "-adq"]);
    let pin = format!("kluis-pin:{}:1:{}", made.id, made.epochs[0].1);
    let (at, range) = (made.now().plus(Span::minutes(1)).to_string(), format!("{base}..{head}"));
    let work = "review of two files among 10,000 x 40";
    let runs: Vec<(f64, f64)> = (0..10)
        .map(|_| measure(&mut kluis(&dir, &pin, &["review", &range, "--at", &at, "-o", "json"]), &[0]))
        .collect();
    let mean = runs.iter().map(|run| run.0).sum::<f64>() / 10.0;
    report(work, "kluis review", (mean, runs.iter().map(|run| run.1).fold(0.0, f64::max)));
    let mut diff = Command::new("git");
    diff.arg("-C").arg(&dir).args(["diff", "--stat", &base, &head]);
    report(work, "git diff --stat", measure(&mut diff, &[0]));
}

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    if let [clusters, rest @ ..] = numbers.as_slice() {
        return verify(*clusters, rest.first().copied().unwrap_or(clusters * 20));
    }
    recipients();
    review();
    // An epoch has at most 256 KiB (FORMAT 1), which is about 500 clusters; half as many show how time grows.
    verify(250, 5_000);
    verify(500, 10_000);
}
