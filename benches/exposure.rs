//! How long `exposure` takes in a repository with many commits, the first time and again, beside what one would use without
//! it in the same run: `git log --raw` over the sealed files, and `gpg --list-packets` for each version of one.
//! `cargo bench --bench exposure [-- COMMITS]` builds and runs it; 5,000 commits if none are given, each with a record.
//!
//! CPU seconds of whole processes, since the machines that this runs on are shared; and seconds of a clock, which is what
//! people wait.

#![expect(clippy::unwrap_used, reason = "a benchmark stops where something is wrong")]

#[path = "../tests/repository/mod.rs"]
mod repository;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use kluis::model::{Digest, Place, Span};
use kluis::trust::{FormerReason, Record};
use repository::{Repository, place};

const NODES: usize = 20;
/// Every so many commits, a node's keys are sealed anew.
const SEALED: usize = 5;
/// So many runs of gpg are measured, and the rest is reckoned.
const GPG: usize = 40;

/// CPU seconds of all children that this process has waited for.
fn children() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    [13, 14].iter().map(|at| fields[*at].parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

/// Runs a command to its end; its answer, CPU seconds and seconds of the clock.
fn measure(command: &mut Command, codes: &[i32]) -> (String, f64, f64) {
    let (before, began) = (children(), Instant::now());
    let output = command.stdin(Stdio::null()).output().unwrap();
    let (clock, cpu) = (began.elapsed().as_secs_f64(), children() - before);
    let code = output.status.code().unwrap_or(-1);
    assert!(codes.contains(&code), "{command:?} ended {code}: {}", String::from_utf8_lossy(&output.stderr));
    (String::from_utf8_lossy(&output.stdout).into_owned(), cpu, clock)
}

fn report(what: &str, cpu: f64, clock: f64) {
    println!("{what:<62} {cpu:>8.2} s CPU {clock:>8.2} s");
}

/// What `git fast-import` reads: one commit after the other, each with the files that it changes.
struct Import {
    stream: Vec<u8>,
    number: usize,
}

impl Import {
    fn commit(&mut self, made: &Repository, paths: &BTreeSet<String>) {
        self.number += 1;
        let time = 1_790_000_000 + self.number * 600;
        write!(self.stream, "commit refs/heads/main\ncommitter b <b@b> {time} +0000\ndata 1\nx\n").unwrap();
        for path in paths {
            match made.tree.bytes(path) {
                Some(bytes) => {
                    write!(self.stream, "M 100644 inline {path}\ndata {}\n", bytes.len()).unwrap();
                    self.stream.extend(bytes);
                    self.stream.push(b'\n');
                }
                None => writeln!(self.stream, "D {path}").unwrap(),
            }
        }
    }
}

/// The record that follows `last`; the builder's own way to find the heads costs the square of the records.
fn next(made: &mut Repository, last: Digest) -> Record {
    let time = made.tick();
    let (epoch, sha256) = made.epochs.last().map(|(epoch, sha256)| (epoch.number, *sha256)).unwrap();
    Record::new(made.id, (epoch, sha256), repository::person("alice"), time, "bench", vec![last])
}

fn build(commits: usize) -> (Repository, Import) {
    let mut made = Repository::demo();
    let mut import = Import { stream: Vec::new(), number: 0 };
    import.commit(&made, &made.tree.entries.keys().cloned().collect());
    let mut last = *made.records.keys().next().unwrap();
    let mut revisions = [0; NODES];
    let keys: Vec<_> = (0..NODES).map(|_| made.key()).collect();
    while import.number + 1 < commits {
        let mut record = next(&mut made, last);
        let node = import.number % NODES;
        let mut paths = BTreeSet::new();
        if import.number.is_multiple_of(SEALED) || revisions[node] == 0 {
            let at = place(&format!("clusters/prod/sealed/node.w-{node}.asc"));
            let Place::Sealed(_, sealed) = &at else { unreachable!("it is a sealed file's") };
            revisions[node] += 1;
            let ids = [("kubelet-client", keys[node].spki_id())];
            made.seal_in(&mut record, "prod", sealed.clone(), revisions[node], &ids);
            paths.insert(at.to_string());
        }
        let at = place(&format!("clusters/prod/certs/node/w-{node}/kubelet-client.crt"));
        let (entry, pem) = made.issue(&at, &keys[node].spki(), &["system:nodes"], 1, Span::days(365));
        made.put_file(&at, pem);
        record.issued.push(entry);
        paths.insert(at.to_string());
        last = made.put(record);
        let file = made.path(&last);
        paths.insert(file.replace(".toml", ".alice.sig"));
        paths.insert(file);
        import.commit(&made, &paths);
    }
    let before: BTreeSet<String> = made.tree.entries.keys().cloned().collect();
    let mut epoch = made.draft();
    (epoch.threshold.trust, epoch.threshold.break_glass) = (1, 1);
    made.leave(&mut epoch, "bob", FormerReason::Left);
    let number = epoch.number;
    made.publish(epoch, &["alice", "bob"]);
    made.sign_epoch(number, "bob", "bob", false);
    let after: BTreeSet<String> = made.tree.entries.keys().cloned().collect();
    import.commit(&made, &before.symmetric_difference(&after).cloned().collect());
    (made, import)
}

fn git(dir: &Path, words: &str) -> Command {
    let mut git = Command::new("git");
    git.arg("-C").arg(dir).args(["-c", "user.name=b", "-c", "user.email=b@b"]).args(words.split(' '));
    git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    git
}

fn main() {
    let commits = std::env::args().find_map(|arg| arg.parse::<usize>().ok()).unwrap_or(5000);
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("repo");
    std::fs::create_dir(&dir).unwrap();
    let (made, import) = build(commits);
    measure(&mut git(&dir, "init -q -b main"), &[0]);
    let mut importer = git(&dir, "fast-import --quiet").stdin(Stdio::piped()).spawn().unwrap();
    importer.stdin.take().unwrap().write_all(&import.stream).unwrap();
    assert!(importer.wait().unwrap().success());
    measure(&mut git(&dir, "reset -q --hard main"), &[0]);
    println!("{} commits, {} records, {} files", import.number, made.records.len(), made.tree.entries.len());

    let kluis = |words: &[&str], codes: &[i32]| {
        let mut kluis = Command::new(env!("CARGO_BIN_EXE_kluis"));
        kluis.env_clear().env("HOME", scratch.path()).arg("-C").arg(&dir).args(words);
        measure(&mut kluis, codes)
    };
    kluis(&["trust", "pin", &format!("kluis-pin:{}:1:{}", made.id, made.epochs[0].1)], &[0]);
    let (_, cpu, clock) = kluis(&["verify"], &[5]);
    report("kluis verify", cpu, clock);
    let first = kluis(&["exposure", "bob", "-o", "json"], &[5]);
    report("kluis exposure, the first time", first.1, first.2);
    for _ in 0..3 {
        let again = kluis(&["exposure", "bob", "-o", "json"], &[5]);
        report("kluis exposure, again", again.1, again.2);
        assert_eq!(again.0, first.0);
    }
    let remembered = std::fs::metadata(scratch.path().join(format!(".local/state/kluis/history/{}.json", made.id)));
    println!("{:<62} {:>8} KiB", "what is remembered", remembered.unwrap().len() / 1024);

    let (log, cpu, clock) =
        measure(&mut git(&dir, "log --all --raw --no-abbrev --no-renames --format=%H -- clusters"), &[0]);
    report("git log --raw", cpu, clock);
    let sealed: BTreeSet<&str> =
        log.lines().filter(|line| line.contains("/sealed/")).filter_map(|line| line.split(' ').nth(3)).collect();
    let file = scratch.path().join("sealed.asc");
    let (mut cpu, mut clock) = (0.0, 0.0);
    for blob in sealed.iter().take(GPG) {
        let (text, ..) = measure(&mut git(&dir, &format!("cat-file blob {blob}")), &[0]);
        std::fs::write(&file, text).unwrap();
        let mut gpg = Command::new("gpg");
        gpg.env("GNUPGHOME", scratch.path()).args(["--batch", "--list-packets", "--list-only"]).arg(&file);
        let (_, one, wall) = measure(&mut gpg, &[0, 2]);
        (cpu, clock) = (cpu + one, clock + wall);
    }
    let times = sealed.len() as f64 / sealed.len().min(GPG) as f64;
    let what = format!("gpg --list-packets of {} versions ({} measured)", sealed.len(), sealed.len().min(GPG));
    report(&what, cpu * times, clock * times);
}
