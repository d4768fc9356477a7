//! Kills: the real program dies by SIGKILL at points of its writing, and the next command finishes what was begun or starts
//! over, whichever command it was. Where the points lie is the system's word: strace lists the calls of a whole run that
//! change something that lies on the disk, and then kills the same command on its way into one of them, so that all
//! before has happened and nothing after. Between two of these calls no kill can make a difference.
//!
//! There are hundreds of points in a command, so some are taken: a few spread over files staged, objects, journal and files
//! renamed; and of those from the index on, where git's own locks are, every one of two commands and each third of the
//! others, which write alike. `KLUIS_TEST_KILLS=all` takes every one. What a power cut loses is not here; the steps of a
//! change set, also cut short while they are undone, are `src/repo/apply/tests.rs`'s.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod ground;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use ground::{Answered, Ground};
use serde_json::Value;

/// The calls that change what lies on a disk; `?`: where the architecture has them. Files that are only opened to be made
/// are empty up to the first `write`.
const CALLS: &str = "trace=write,?pwrite64,writev,?rename,renameat,renameat2,?unlink,unlinkat,?mkdir,mkdirat,?rmdir,\
    ?link,linkat,?symlink,symlinkat,ftruncate";

/// How many points before the index is written are taken.
const SPREAD: usize = 6;

const NEW: &str = "cluster new prod --endpoint https://api.prod.example.org:6443 --kubernetes 1.36 --algorithm ecdsa-p256 \
    --node cp-1=10.0.0.11:control-plane,etcd --yes";

/// A command, and where it begins.
struct Case {
    /// What was done before.
    before: &'static [&'static str],
    command: &'static str,
    /// Each how many-th point from the index on is taken.
    stride: usize,
    /// How the command may end when it is run again where it is done already.
    again: &'static [u8],
}

/// A repository with the state folder of its one person, alice.
struct Place {
    dir: tempfile::TempDir,
    key: PathBuf,
}

/// One call of the program: its name, and the how many-th of that name it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Point {
    call: String,
    nth: usize,
    words: String,
}

impl Place {
    fn repo(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    /// Copied with all times, so that git's index fits the files.
    fn copy(&self) -> Self {
        let dir = scratch();
        let mut copy = Command::new("cp");
        copy.arg("-a").args([self.repo(), self.dir.path().join("state")]).arg(dir.path());
        assert!(copy.status().unwrap().success());
        Self { dir, key: self.key.clone() }
    }

    fn kluis(&self, words: &str) -> Vec<std::ffi::OsString> {
        let mut all = vec![env!("CARGO_BIN_EXE_kluis").into(), "-C".into(), self.repo().into()];
        all.extend(["--identity".into(), self.key.clone().into()]);
        all.extend(words.split_whitespace().map(Into::into));
        all
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", "/nonexistent");
        command.env("XDG_STATE_HOME", self.dir.path().join("state")).env("GIT_CONFIG_NOSYSTEM", "1");
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, words: &str) -> Answered {
        let words = self.kluis(words);
        let output = self.command(words[0].to_str().unwrap()).args(&words[1..]).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let exit = output.status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX);
        let answered = Answered { exit, out: text(output.stdout), err: text(output.stderr) };
        assert!(!answered.err.contains("panicked"), "{words:?}: {}", answered.err);
        answered
    }

    /// Runs a command under strace, which obeys `rule`; returns whether it lived to its end, and the calls.
    fn traced(&self, words: &str, rule: &[String]) -> (bool, Vec<Point>) {
        let log = self.dir.path().join("calls");
        let mut strace = self.command("strace");
        strace.args(["-qq", "-e", "signal=none", "-e", CALLS]).args(rule).arg("-o").arg(&log);
        let output = strace.args(self.kluis(words)).output().expect("strace is installed (tests/run packages)");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains("panicked") && !said.contains("strace: "), "{words}: {said}");
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        let text = std::fs::read_to_string(&log).unwrap();
        let mut points = Vec::new();
        for line in text.lines() {
            let Some((call, rest)) = line.split_once('(') else { continue };
            let nth = counts.entry(call).or_default();
            *nth += 1;
            // What failed has changed nothing, nor has what was said. Which folders of objects are new is a matter of hashes:
            // another one each time, and git asks nothing of them.
            let failed = rest.rsplit_once(" = ").is_some_and(|(_, result)| result.starts_with('-'));
            let folder = call.starts_with("mkdir") && rest.contains("/objects/");
            if !failed && !folder && !rest.starts_with("1,") && !rest.starts_with("2,") {
                points.push(Point { call: call.to_owned(), nth: *nth, words: line.to_owned() });
            }
        }
        (output.status.success(), points)
    }

    /// Kills a command on its way into this call; `false` if it never came there.
    fn killed(&self, words: &str, point: &Point) -> bool {
        let rule = format!("inject={}:signal=KILL:when={}", point.call, point.nth);
        !self.traced(words, &["-e".to_owned(), rule]).0
    }

    fn git(&self, words: &str) -> String {
        let output = self.command("git").arg("-C").arg(self.repo()).args(words.split(' ')).output().unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "git {words}: {text}");
        text
    }

    /// What came about: phases and generations, and how much there is of everything else.
    #[track_caller]
    fn outcome(&self) -> Value {
        let verify = self.run("verify -o json");
        assert!(matches!(verify.exit, 0 | 5), "{}", verify.out);
        let verify = verify.json()["data"].clone();
        let status = self.run("rotate status -c prod -o json").ends(0).json();
        let mut keysets = status["data"]["clusters"][0]["keysets"].clone();
        keysets.as_array_mut().unwrap().iter_mut().for_each(|one| drop(one["since"].take()));
        let of = |name: &str| verify[name].clone();
        serde_json::json!({
            "keysets": keysets, "epoch": of("epoch"), "draft": of("draft"), "records": of("records"), "files": of("files"),
            "codes": of("codes"), "commits": self.git("rev-list --count HEAD").trim(),
        })
    }

    /// No journal, no lock, nothing that git finds fault with.
    #[track_caller]
    fn assert_sound(&self) {
        assert_eq!(self.git("status --porcelain -uall"), "");
        assert_eq!(self.git("fsck --strict --no-dangling"), "");
        let own: Vec<_> =
            std::fs::read_dir(self.repo().join(".git/kluis")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(own, ["lock"]);
        let state = std::fs::read_dir(self.dir.path().join("state/kluis")).unwrap();
        let left = state.map(|entry| entry.unwrap().file_name()).find(|name| name.to_string_lossy().ends_with(".tmp"));
        assert_eq!(left, None);
        for lock in ["index.lock", "HEAD.lock", "refs/heads/main.lock", "packed-refs.lock"] {
            assert!(!self.repo().join(".git").join(lock).exists(), "{lock}");
        }
    }
}

/// In memory where the system has it: a program dies alike on every disk, and these are waited for thousands of times.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// A cluster of alice and bob after these commands, pinned on alice's machine.
fn place(before: &[&str]) -> (Ground, Place) {
    let ground = Ground::at(kluis::env::now(), &["alice", "bob"], 1, 1);
    ground.git("branch -M main");
    ground.run("alice", NEW).ends(0);
    let dir = scratch();
    let moved = Command::new("mv").args([ground.repo(), dir.path().to_owned()]).status();
    assert!(moved.unwrap().success());
    std::fs::create_dir(dir.path().join("state")).unwrap();
    let place = Place { dir, key: ground.person("alice").key.clone() };
    place.run(&format!("trust pin {}", ground.pin)).ends(0);
    for words in before {
        let answered = place.run(words);
        assert!(matches!(answered.exit, 0 | 5), "{words}: {}{}", answered.out, answered.err);
    }
    (ground, place)
}

/// Some of the points: each `stride`-th from the index on, and some spread over those before.
fn chosen(points: Vec<Point>, stride: usize) -> Vec<Point> {
    if std::env::var("KLUIS_TEST_KILLS").is_ok_and(|all| all == "all") {
        return points;
    }
    let index = points.iter().position(|point| point.words.contains("index.lock")).unwrap();
    // The writes of the lock come before the call that names it.
    let (spread, tail) = (index.div_ceil(SPREAD), index - 2);
    let taken = |at: usize| if at >= tail { (at - tail).is_multiple_of(stride) } else { at % spread == spread / 2 };
    points.into_iter().enumerate().filter(|(at, _)| taken(*at)).map(|(_, point)| point).collect()
}

/// Kills the command at its points; each time the same command goes on, and what comes about is what an uninterrupted one
/// leaves.
fn dies_anywhere(case: &Case) {
    let (_ground, start) = place(case.before);
    let whole = start.copy();
    let (lived, points) = whole.traced(case.command, &[]);
    assert!(lived, "{}", case.command);
    let expected = whole.outcome();
    assert_ne!(expected, start.outcome());
    whole.assert_sound();
    let (mut before, mut after) = (0, 0);
    for (at, point) in chosen(points, case.stride).into_iter().enumerate() {
        let words = format!("{} killed at {}", case.command, point.words);
        let place = start.copy();
        assert!(place.killed(case.command, &point), "{words}");
        let journal = place.repo().join(".git/kluis/journal").exists();
        // Whoever reads now, without writing, gets an answer, or hears what to do.
        let verify = place.run("verify");
        match verify.exit {
            0 | 5 => {}
            3 => assert!(journal && verify.err.contains("kluis status"), "{words}: {}{}", verify.out, verify.err),
            other => panic!("{words}: verify ends {other}: {}{}", verify.out, verify.err),
        }
        if journal && at % 4 == 0 {
            let copy = place.copy();
            copy.run("rotate status -c prod").ends(0);
            copy.assert_sound();
        }
        let again = place.run(case.command);
        let (done, said) = (again.exit, format!("{}{}", again.out, again.err));
        assert_eq!(said.contains("interrupted command"), journal, "{words}: {said}");
        assert!(matches!(done, 0 | 5) || case.again.contains(&done), "{words}: {done} {said}");
        assert_eq!(place.outcome(), expected, "{words}: {said}");
        place.assert_sound();
        if journal { after += 1 } else { before += 1 }
    }
    assert!(before >= 3 && after >= 3, "{before} {after}");
}

const CONFIRMED: &str = "rotate distrust -c prod --yes --confirm clients-moved --confirm secrets-rewritten";

#[test]
fn a_start_that_is_killed_is_finished_or_begun_anew() {
    dies_anywhere(&Case { before: &[], command: "rotate start -c prod --yes", stride: 3, again: &[] });
}

#[test]
fn a_trust_that_is_killed_is_finished_or_begun_anew() {
    dies_anywhere(&Case {
        before: &["rotate start -c prod --yes"],
        command: "rotate trust -c prod --yes",
        stride: 1,
        again: &[],
    });
}

#[test]
fn a_promote_that_is_killed_is_finished_or_begun_anew() {
    dies_anywhere(&Case {
        before: &["rotate start -c prod --yes", "rotate trust -c prod --yes"],
        command: "rotate promote -c prod --yes",
        stride: 3,
        again: &[],
    });
}

#[test]
fn a_distrust_that_is_killed_is_finished_or_begun_anew() {
    dies_anywhere(&Case {
        before: &["rotate start -c prod --yes", "rotate trust -c prod --yes", "rotate promote -c prod --yes"],
        command: CONFIRMED,
        stride: 3,
        again: &[],
    });
}

#[test]
fn a_removal_that_is_killed_is_finished_or_begun_anew() {
    dies_anywhere(&Case {
        before: &[
            "rotate start -c prod --yes",
            "rotate trust -c prod --yes",
            "rotate promote -c prod --yes",
            CONFIRMED,
        ],
        command: "rotate remove -c prod --yes",
        stride: 3,
        again: &[],
    });
}

#[test]
fn a_person_whose_removal_is_killed_is_gone_after_the_next() {
    dies_anywhere(&Case { before: &[], command: "person remove bob --reason left --yes", stride: 3, again: &[2] });
}

/// Whoever repeats what was killed wants it once. These two go on from wherever the keysets stand, so that a repetition would
/// be a second step where the first was finished on the way.
#[test]
fn an_undo_that_is_killed_and_repeated_goes_back_one_phase() {
    let before = ["rotate start -c prod --yes", "rotate trust -c prod --yes", "rotate promote -c prod --yes"];
    let (_ground, start) = place(&before);
    let undo = "rotate undo -c prod --yes";
    let whole = start.copy();
    let (_, points) = whole.traced(undo, &[]);
    let expected = whole.outcome();
    let ends = points.iter().position(|point| point.words.contains("\"journal\", 0)")).unwrap();
    let (mut anew, mut finished) = (0, 0);
    for point in chosen(points[..=ends].to_vec(), 1) {
        let place = start.copy();
        assert!(place.killed(undo, &point), "{point:?}");
        let again = place.run(undo);
        match again.exit {
            0 => anew += 1,
            _ => {
                finished += 1;
                again
                    .ends(3)
                    .says("interrupted command")
                    .says("that may have been this step")
                    .says("kluis rotate status");
            }
        }
        assert_eq!(place.outcome(), expected, "{point:?}");
        place.assert_sound();
    }
    assert!(anew >= 4 && finished >= 8, "{anew} {finished}");
}

#[test]
fn a_next_that_is_killed_and_repeated_takes_one_step() {
    let (_ground, start) = place(&["rotate start etcd -c prod --yes"]);
    let next = "rotate next -c prod --yes --confirm nodes-have-bundle --confirm nodes-have-leaves";
    let whole = start.copy();
    let (_, points) = whole.traced(next, &[]);
    let place = start.copy();
    let placed = points.iter().find(|point| point.words.contains("index.lock")).unwrap();
    assert!(place.killed(next, placed));
    place.run(next).ends(3).says("interrupted command");
    assert_eq!(place.outcome(), whole.outcome());
    // The next one is one step more, as its author wants by now.
    place.run(next).ends(0).says("goes from trusted to promoted");
}

#[test]
fn whoever_goes_on_after_a_kill_may_be_killed_too() {
    let (_ground, start) = place(&["rotate start -c prod --yes"]);
    let trust = "rotate trust -c prod --yes";
    let whole = start.copy();
    let (_, points) = whole.traced(trust, &[]);
    let expected = whole.outcome();
    // When half of the files are in their places; within the index; within the branch.
    for (nth, name) in ["\"new.1\"", "index.lock", "main.lock"].into_iter().enumerate() {
        let first = points.iter().find(|point| point.words.contains(name)).unwrap();
        let half = start.copy();
        assert!(half.killed(trust, first), "{first:?}");
        assert!(half.repo().join(".git/kluis/journal").exists(), "{first:?}");
        let (_, points) = half.copy().traced("rotate status -c prod", &[]);
        // One of each kind in turn, over the three.
        for second in points.iter().skip(nth % 3).step_by(3) {
            let place = half.copy();
            assert!(place.killed("rotate status -c prod", second), "{first:?} {second:?}");
            place.run(trust).ends(0);
            assert_eq!(place.outcome(), expected, "{first:?} {second:?}");
            place.assert_sound();
        }
    }
}
