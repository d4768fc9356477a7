//! What `init --ci` and `init --hook` write, run step by step as the hosts would, in an empty environment without a home,
//! against good and bad pull requests.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod ground;
mod seat;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ground::Ground;
use seat::*;
use serde_yaml_ng::Value;

const NEW: &str = "cluster new prod --endpoint https://api.prod.example.org:6443 --kubernetes 1.36 \
    --node w-1=10.0.0.21:worker --yes";
const CA: &str = "clusters/prod/sealed/ca.kubernetes.g1.asc";

/// A repository whose CI is that of `host`, and pull requests on branches of their own.
struct Pipeline {
    ground: Ground,
    host: &'static str,
    bin: PathBuf,
    runner: PathBuf,
}

/// What a job left.
struct Job {
    /// The exit codes of its steps, in order.
    codes: Vec<i32>,
    text: String,
    review: String,
}

impl Pipeline {
    fn of(host: &'static str) -> Self {
        let ground = Ground::new(&["alice", "bob"], 1, 1);
        ground.run("alice", NEW).ends(0);
        ground.git("branch -M main");
        ground.run("alice", &format!("init --ci {host} --owners @example/platform")).ends(0);
        let bin = ground.dir.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_kluis"), bin.join("kluis")).unwrap();
        let runner = ground.dir.path().join("runner");
        Self { ground, host, bin, runner }
    }

    /// A pull request from main: `change` makes it. Ends on main again.
    fn proposes(&self, name: &str, change: impl FnOnce(&Ground)) {
        self.ground.git(&format!("checkout -q -b {name} main"));
        change(&self.ground);
        self.ground.git("add -A");
        self.ground.git(&format!("-c user.name=t -c user.email=t@t commit -q --allow-empty -m {name}"));
        self.ground.git("checkout -q main");
        self.ground.git(&format!("update-ref refs/pull/7/head {name}"));
    }

    fn file(&self) -> PathBuf {
        let path = match self.host {
            "github" => ".github/workflows/kluis.yml",
            "gitlab" => ".gitlab/ci/kluis.yml",
            _ => ".forgejo/workflows/kluis.yml",
        };
        self.ground.repo().join(path)
    }

    /// The scripts of a job, each with whether it runs after a failure too.
    fn scripts(&self, job: &str) -> Vec<(String, bool)> {
        let workflow: Value = serde_yaml_ng::from_str(&std::fs::read_to_string(self.file()).unwrap()).unwrap();
        if self.host == "gitlab" {
            let lines = workflow[format!("kluis-{job}")]["script"].as_sequence().unwrap().iter();
            // One shell for all lines, which share their variables.
            let script = lines.map(|line| line.as_str().unwrap()).collect::<Vec<_>>().join("\n");
            return vec![(script, false)];
        }
        let jobs = &workflow["jobs"];
        let steps = match &jobs[job]["steps"] {
            Value::Sequence(steps) => steps,
            _ => jobs["verify"]["steps"].as_sequence().unwrap(),
        };
        let is_comment = |step: &&Value| step["name"].as_str().is_some_and(|name| name.starts_with("Comment"));
        let wanted = steps.iter().filter(|step| is_comment(step) == (job == "comment"));
        wanted
            .filter_map(|step| {
                let always = step["if"].as_str().is_some_and(|when| when.contains("always()"));
                Some((step["run"].as_str()?.to_owned(), always))
            })
            .collect()
    }

    /// Runs a script as a runner does: bash, in the checkout, with nothing in the environment but this.
    fn shell(&self, script: &str, env: &[(&str, &str)]) -> Output {
        let path = format!("{}:/usr/bin:/bin", self.bin.display());
        let mut bash = Command::new("bash");
        bash.args(["-e", "-o", "pipefail", "-c", script]).current_dir(&self.runner);
        bash.env_clear().env("PATH", path).envs(env.iter().copied()).env("GIT_CONFIG_NOSYSTEM", "1");
        bash.output().unwrap()
    }

    /// Judges the pull request 7 whose branch is `name`.
    fn judges(&self, name: &str, pin: &str) -> Job {
        let _ = std::fs::remove_dir_all(&self.runner);
        // The host's checkout: the base branch, whole. GitLab's is the change, whose code it does not run.
        let branch = if self.host == "gitlab" { name } else { "main" };
        git(self.ground.dir.path(), &["clone", "-q", "-b", branch, "repo", "runner"]);
        let id = |rev: &str| self.ground.git(&format!("rev-parse {rev}")).trim().to_owned();
        let (base, head) = (id("main"), id(name));
        let summary = self.ground.dir.path().join("summary");
        let env = [
            ("KLUIS_PIN", pin),
            ("NUMBER", "7"),
            ("BASE", base.as_str()),
            ("HEAD", head.as_str()),
            ("GITHUB_STEP_SUMMARY", summary.to_str().unwrap()),
            ("CI_COMMIT_SHA", head.as_str()),
            ("CI_MERGE_REQUEST_DIFF_BASE_SHA", base.as_str()),
            ("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "main"),
        ];
        let mut job = Job { codes: Vec::new(), text: String::new(), review: String::new() };
        for (script, always) in self.scripts("verify") {
            if job.codes.iter().any(|code| *code != 0) && !always {
                continue;
            }
            let output = self.shell(&script, &env);
            job.codes.push(output.status.code().unwrap());
            job.text.push_str(&String::from_utf8_lossy(&output.stdout));
            job.text.push_str(&String::from_utf8_lossy(&output.stderr));
        }
        job.review = std::fs::read_to_string(self.runner.join("kluis-review.md")).unwrap_or_default();
        job
    }
}

impl Job {
    #[track_caller]
    fn is(&self, exit: i32) -> &Self {
        let worst = self.codes.iter().copied().find(|code| *code != 0).unwrap_or(0);
        assert_eq!(worst, exit, "{:?}\n{}", self.codes, self.text);
        self
    }
}

fn good_and_bad_changes_are_told_apart(host: &'static str) {
    let pipeline = Pipeline::of(host);
    let pin = pipeline.ground.pin.clone();
    pipeline.proposes("good", |ground| {
        ground.run("alice", "cert issue -c prod --node w-1 --yes").ends(0);
    });
    let good = pipeline.judges("good", &pin);
    good.is(0);
    assert!(
        good.review.starts_with("<!-- kluis review -->") && good.review.contains("nothing is wrong"),
        "{}",
        good.text
    );
    // Without the pin nobody can say that this is the right repository.
    pipeline.judges("good", "").is(4);
    pipeline.proposes("swapped", |ground| {
        let other = ground.read("clusters/prod/sealed/ca.etcd.g1.asc");
        ground.edit(CA, |_| other);
        ground.edit(".gitattributes", |text| format!("{text}* text=auto\n"));
    });
    let swapped = pipeline.judges("swapped", &pin);
    swapped.is(3);
    assert!(swapped.text.contains("ciphertext-hash"), "{}", swapped.text);
    assert!(
        swapped.review.contains("`ciphertext-hash`") && swapped.review.contains("`not-vouched`"),
        "{}",
        swapped.review
    );
    pipeline.proposes("forgets", |ground| {
        let log = ground.git("ls-files trust/log");
        log.lines().for_each(|path| std::fs::remove_file(ground.repo().join(path)).unwrap());
    });
    let forgets = pipeline.judges("forgets", &pin);
    forgets.is(3);
    assert!(forgets.text.contains("removed-in-range"), "{}", forgets.text);
    // One that takes verifying out of the workflow is judged by the base branch's all the same.
    pipeline.proposes("lies", |ground| {
        let path = pipeline.file();
        let path = path.strip_prefix(ground.repo()).unwrap().to_str().unwrap();
        ground.edit(path, |text| text.replace("kluis verify", "true kluis"));
        ground.edit(CA, |text| text.replacen('A', "B", 1));
    });
    let lies = pipeline.judges("lies", &pin);
    lies.is(3);
    assert!(lies.review.contains("`not-vouched`"), "{}", lies.review);
    // Two changes of one file do not merge, and nobody guesses.
    pipeline.proposes("conflict", |ground| {
        ground.run("alice", "cert issue -c prod --node w-1 --yes").ends(0);
    });
    pipeline.ground.run("alice", "cert issue -c prod --node w-1 --yes").ends(0);
    let conflict = pipeline.judges("conflict", &pin);
    conflict.is(1);
    assert!(conflict.text.contains("does not merge without conflicts"), "{}", conflict.text);
    // A pull request that is behind and does not conflict is judged merged.
    pipeline.judges("good", &pin).is(1);
}

#[test]
fn github_tells_good_from_bad() {
    good_and_bad_changes_are_told_apart("github");
}

#[test]
fn forgejo_tells_good_from_bad() {
    good_and_bad_changes_are_told_apart("forgejo");
}

#[test]
fn gitlab_tells_good_from_bad() {
    good_and_bad_changes_are_told_apart("gitlab");
}

/// A program on the runner that writes down how it is called, and answers a list with the comments that there are.
fn fake(pipeline: &Pipeline, name: &str, answer: &Path, calls: &Path) {
    let script = format!(
        "#!/bin/bash\nargs=\"$*\"\nprintf '%s\\n' \"$args\" >> {calls}\n\
         case \"$args\" in *PATCH*|*PUT*|*POST*|*--data*) ;; */user) echo '{{\"id\": 9}}' ;; *--jq*) jq \"${{@: -1}}\" {answer} ;; *) cat {answer} ;; esac\n",
        calls = calls.display(),
        answer = answer.display(),
    );
    let path = pipeline.bin.join(name);
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn the_comment_is_made_once_and_then_updated(host: &'static str, program: &str, made: &str, updated: &str) {
    let pipeline = Pipeline::of(host);
    let pin = pipeline.ground.pin.clone();
    pipeline.proposes("good", |ground| {
        ground.run("alice", "cert issue -c prod --node w-1 --yes").ends(0);
    });
    pipeline.judges("good", &pin).is(0);
    let (answer, calls) = (pipeline.ground.dir.path().join("answer"), pipeline.ground.dir.path().join("calls"));
    fake(&pipeline, program, &answer, &calls);
    let env = [
        ("GITHUB_REPOSITORY", "o/r"),
        ("NUMBER", "7"),
        ("GH_TOKEN", "t"),
        ("TOKEN", "t"),
        ("API", "http://127.0.0.1:1/repos/o/r/issues"),
        ("KLUIS_COMMENT_TOKEN", "t"),
        ("CI_API_V4_URL", "http://127.0.0.1:1/api/v4"),
        ("CI_PROJECT_ID", "3"),
        ("CI_MERGE_REQUEST_IID", "7"),
    ];
    let run = |there: &str| {
        std::fs::write(&answer, there).unwrap();
        let _ = std::fs::remove_file(&calls);
        for (script, _) in pipeline.scripts("comment") {
            let output = pipeline.shell(&script, &env);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        std::fs::read_to_string(&calls).unwrap()
    };
    let other = r#"{"id": 1, "body": "hello", "user": {"login": "someone", "id": 3}, "author": {"id": 3}}"#;
    let first = run(&format!("[{other}]"));
    assert!(first.contains(made) && !first.contains(updated), "{first}");
    // Whoever writes a comment that looks like ours could edit it afterwards, were it the one that is updated.
    let forged = other.replace("hello", "<!-- kluis review -->\\nall is well");
    let beside = run(&format!("[{forged}]"));
    assert!(beside.contains(made) && !beside.contains(updated), "{beside}");
    let bot = r#""user": {"login": "github-actions[bot]", "id": -2}, "author": {"id": 9}"#;
    let mine = format!(r#"{{"id": 42, "body": "<!-- kluis review -->\nold", {bot}}}"#);
    let other = forged;
    let second = run(&format!("[{other}, {mine}]"));
    assert!(second.contains(updated) && second.contains("42") && !second.contains(made), "{second}");
}

#[test]
fn github_updates_its_comment_in_place() {
    the_comment_is_made_once_and_then_updated("github", "gh", "POST", "PATCH");
}

#[test]
fn forgejo_updates_its_comment_in_place() {
    the_comment_is_made_once_and_then_updated(
        "forgejo",
        "curl",
        "@kluis-body.json http://127.0.0.1:1/repos/o/r/issues/7/comments",
        "PATCH",
    );
}

#[test]
fn gitlab_updates_its_comment_in_place() {
    the_comment_is_made_once_and_then_updated("gitlab", "curl", "POST", "PUT");
}

#[test]
fn no_token_that_can_write_is_where_the_pull_request_is() {
    for (host, file) in [
        ("github", include_str!("../src/ops/templates/ci/github.yml")),
        ("forgejo", include_str!("../src/ops/templates/ci/forgejo.yml")),
    ] {
        let workflow: Value = serde_yaml_ng::from_str(file).unwrap();
        for (name, job) in workflow["jobs"].as_mapping().unwrap() {
            for step in job["steps"].as_sequence().unwrap() {
                // An expression inside a script would be code that a branch name writes.
                let run = step["run"].as_str().unwrap_or_default();
                assert!(!run.contains("${{"), "{host}: {run}");
                let checks_out = step["uses"].as_str().is_some_and(|uses| uses.starts_with("actions/checkout"));
                let reference = step["with"]["ref"].as_str().unwrap_or_default();
                assert!(!checks_out || !reference.contains("head"), "{host} checks {reference} out");
            }
            let writes = job["permissions"].as_mapping().is_some_and(|all| all.values().any(|v| v == "write"));
            let touches = serde_yaml_ng::to_string(&job["steps"]).unwrap();
            assert!(!writes || !touches.contains("git ") && !touches.contains("checkout"), "{host}: {name:?}");
        }
    }
}

#[test]
fn a_fragment_of_code_owners_is_appended_once_and_inert_without_owners() {
    let ground = Ground::new(&["alice"], 1, 1);
    ground.run("alice", "init --ci github").ends(0).says("commented out");
    assert!(ground.read(".github/CODEOWNERS").lines().all(|line| line.starts_with('#')));
    ground.run("alice", "init --ci github --owners @example/platform").ends(0).says("left as it is");
    let other = Ground::new(&["alice"], 1, 1);
    std::fs::create_dir(other.repo().join(".gitlab")).unwrap();
    std::fs::write(other.repo().join(".gitlab/CODEOWNERS"), "* @everyone").unwrap();
    other.git("add -A");
    other.git("-c user.name=t -c user.email=t@t commit -q -m owners");
    other.run("alice", "init --ci gitlab --owners @a/b --owners c@example.org").ends(0);
    let text = other.read(".gitlab/CODEOWNERS");
    assert!(text.starts_with("* @everyone\n#") && text.contains("\n/trust/ @a/b c@example.org\n"), "{text}");
    other.run("alice", "init --ci gitlab --owners x;y").ends(2);
    assert_eq!(other.errors(), [""; 0]);
}

#[test]
fn the_hook_refuses_a_private_key_and_nothing_else() {
    let ground = Ground::new(&["alice"], 1, 1);
    ground.run("alice", "init --hook").ends(0).says("pre-commit");
    ground.run("alice", "init --hook").ends(0);
    let commit = |args: &[&str]| {
        let path = format!("{}:/usr/bin:/bin", Path::new(env!("CARGO_BIN_EXE_kluis")).parent().unwrap().display());
        let mut git = Command::new("git");
        git.arg("-C").arg(ground.repo()).args(["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "x"]);
        git.args(args).env_clear().env("PATH", path).env("HOME", "/nonexistent").output().unwrap()
    };
    let write = |path: &str, text: &str| std::fs::write(ground.repo().join(path), text).unwrap();
    write("notes.md", "prose");
    write("key.txt", &format!("-----BEGIN PRIVATE KEY-----\n{}\n", "A".repeat(64)));
    ground.git("add -A");
    let refused = commit(&[]);
    let said = String::from_utf8_lossy(&[refused.stdout, refused.stderr].concat()).into_owned();
    assert!(!refused.status.success() && said.contains("secret-material") && said.contains("key.txt"), "{said}");
    // A commit of one path alone has an index of its own.
    assert!(commit(&["notes.md"]).status.success());
    assert!(!commit(&["key.txt"]).status.success());
    ground.git("rm -q --cached key.txt");
    write("other.md", "prose");
    ground.git("add other.md");
    assert!(commit(&[]).status.success());
}

#[test]
fn somebodys_own_hook_is_refused_before_anything_is_written() {
    let mine = Ground::new(&["alice"], 1, 1);
    let put = |dir: &Path| {
        std::fs::create_dir_all(dir.join(".git/hooks")).unwrap();
        std::fs::write(dir.join(".git/hooks/pre-commit"), "#!/bin/sh\n").unwrap();
    };
    put(&mine.repo());
    let head = mine.git("rev-parse HEAD");
    for words in ["init --hook", "init --hook --ci github --owners @a/b"] {
        mine.run("alice", words).ends(3).says("kluis verify --staged");
        assert_eq!((mine.git("rev-parse HEAD"), mine.git("status --porcelain")), (head.clone(), String::new()));
    }
    assert_eq!(mine.read(".git/hooks/pre-commit"), "#!/bin/sh\n");
    let empty = empty_repository(&mine);
    put(&empty);
    let alice = certificate_file(&mine, "alice");
    let seat = seat(&mine, "alice").in_dir(&empty);
    seat.refused(&format!("init --as alice --pgp {alice} --hook"), 3, &["is there already"]);
    seat.run(&format!("init --as alice --pgp {alice} --ci gitlab")).ends(0);
    assert!(empty.join("trust/epoch/0001.toml").exists() && empty.join(".gitlab/ci/kluis.yml").exists());
}

#[test]
fn forgejo_gets_regular_expressions_of_whole_paths() {
    let ground = Ground::new(&["alice"], 1, 1);
    ground.run("alice", "init --ci forgejo --owners @example/platform").ends(0);
    let text = ground.read("CODEOWNERS");
    assert!(text.contains("\ntrust/.* @example/platform\n") && text.contains("\n[.]forgejo/.* @"), "{text}");
    assert!(!text.contains("\n/"), "{text}");
}
