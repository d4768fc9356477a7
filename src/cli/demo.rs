//! `demo`: the whole story in a scratch directory, through the same code as the commands. Each step is a
//! command line that is run here as it would be in a shell, and shown with what it answered.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Value, json};

use super::{Answer, Global, Machine, Report};
use crate::env::Terminal;
use crate::ops::demo::{self, People};
use crate::ops::{Failure, Session};

/// Show the whole story in a scratch directory, with keys made on the spot
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES\n  kluis demo\n  kluis demo /tmp/kluis-story\n\nNeeds no gpg and no other tool, and never touches your own keys, pins or repositories.")]
pub struct Args {
    /// An empty or new directory; a fresh one in the temporary directory if left out
    dir: Option<PathBuf>,
}

/// The command's name in reports.
pub fn name(_args: &Args) -> String {
    "demo".to_owned()
}

#[derive(Debug, Serialize)]
struct Step {
    title: &'static str,
    command: String,
    exit: u8,
    expected: u8,
    output: String,
}

#[derive(Debug, Serialize)]
struct DemoReport {
    dir: PathBuf,
    steps: Vec<Step>,
}

/// Tells the story.
pub fn run(args: &Args, _global: &Global, session: &mut Session) -> Result<Answer, Failure> {
    if session.settings.dry_run {
        return Err(Failure::usage("the demo works in a directory of its own alone; leave --dry-run out"));
    }
    let dir = demo::scratch(args.dir.as_deref())?;
    let people = demo::prepare(&dir, session.now)?;
    let mut story = Story { dir: &dir, session, steps: Vec::new() };
    story.bootstrap()?;
    story.second_administrator(&people)?;
    story.attack(&people)?;
    story.use_it()?;
    story.access()?;
    story.leaver()?;
    let steps = story.steps;
    let failed = steps.iter().any(|step| step.exit != step.expected);
    let mut answer = Answer::fine(DemoReport { dir, steps });
    answer.exit = u8::from(failed);
    Ok(answer)
}

struct Story<'a> {
    dir: &'a Path,
    session: &'a Session,
    steps: Vec<Step>,
}

impl Story<'_> {
    /// Runs one command line as `person`, who has a state folder and a key file of their own.
    fn step(&mut self, title: &'static str, person: &str, words: &str, expected: u8) -> Result<(), Failure> {
        let words: Vec<&str> = words.split(' ').collect();
        let paths = ["--identity", "--pgp", "--out", "-C"];
        let mut args: Vec<OsString> = vec!["-C".into(), self.dir.join("repo").into()];
        args.extend(["--identity".into(), self.dir.join(format!("keys/{person}.key")).into()]);
        for (index, word) in words.iter().enumerate() {
            let is_path = index > 0 && paths.contains(&words[index - 1]);
            args.push(if is_path { self.dir.join(word).into() } else { word.replace('_', " ").into() });
        }
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let state = self.dir.join("state").join(person).join("kluis");
        let machine = Machine { now: self.session.now, terminal: Terminal::nobody(), state: Some(state) };
        let exit = super::run(args, machine, &mut out, &mut err);
        out.extend(err);
        let quoted = |word: &str| if word.contains('_') { format!("'{}'", word.replace('_', " ")) } else { word.to_owned() };
        let shown = words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
        let command = format!("XDG_STATE_HOME=state/{person} kluis -C repo --identity keys/{person}.key {shown}");
        let output = String::from_utf8_lossy(&out).replace(&format!("{}/", self.dir.display()), "");
        self.steps.push(Step { title, command, exit, expected, output });
        if exit == expected {
            return Ok(());
        }
        let last = self.steps.last().map(|step| step.output.clone()).unwrap_or_default();
        Err(Failure::failed(format!("the demo's step `kluis {shown}` ended {exit}, not {expected}: {}", last.trim())))
    }

    fn bootstrap(&mut self) -> Result<(), Failure> {
        self.step("alice founds the repository", "alice", "init --as alice --pgp keys/alice.asc", 0)?;
        let new = "cluster new prod --endpoint https://api.prod.example.org:6443 --kubernetes 1.36 \
                   --node cp-1=10.0.0.11,cp-1.example.org:control-plane,etcd --node w-1=10.0.0.21:worker --yes";
        self.step("and bootstraps a cluster: three CAs, keys, certificates, all sealed to her", "alice", new, 0)?;
        self.step("anyone can check everything, with no key", "alice", "verify", 0)
    }

    fn second_administrator(&mut self, _people: &People) -> Result<(), Failure> {
        let add = "person add bob --pgp keys/bob.asc --role root --keyholder prod --issuer prod";
        self.step("bob joins: alice drafts and signs the next epoch", "alice", add, 0)?;
        self.step("it does not count before bob has signed it too", "alice", "verify", 3)?;
        let line = demo::pin_line(&self.dir.join("repo"))?;
        let pin = format!("trust pin {line}");
        self.step("bob pins the repository by the line that alice told him", "bob", &pin, 0)?;
        self.step("and signs, which proves that he holds his key", "bob", "trust sign --yes", 0)?;
        self.step("alice lets him in: one signature, nothing was sealed to him before", "alice", "reseal", 0)
    }

    /// The pull request that every encrypted store fears: the same name, another key.
    fn attack(&mut self, people: &People) -> Result<(), Failure> {
        let victim = self.dir.join("repo/pubkeys/bob.asc");
        let bytes = crate::disk::read_capped(&victim, 1 << 20)?.unwrap_or_default();
        crate::disk::write_atomic(&victim, &people.mallory, 0o644)?;
        let title = "a pull request puts another key into pubkeys/bob.asc, with bob's name on it";
        let outcome = self.step(title, "alice", "verify", 3);
        crate::disk::write_atomic(&victim, &bytes, 0o644)?;
        outcome
    }

    fn use_it(&mut self) -> Result<(), Failure> {
        self.step("the change is thrown away", "bob", "verify", 0)?;
        let export = "export kubeadm -c prod --node w-1 --out export/w-1";
        self.step("bob takes a node's files to the node: one opening of a key", "bob", export, 0)?;
        self.step("what there is, what expires, what is owed", "bob", "status", 0)
    }

    fn access(&mut self) -> Result<(), Failure> {
        let new = "request new -c prod --lifetime 8h";
        self.step("bob asks for a certificate, signed by his OpenPGP key", "bob", new, 0)?;
        self.step("alice grants what waits", "alice", "request approve -c prod --all --yes", 0)
    }

    /// carol holds keys and leaves: what she could open is replaced, one phase at a time.
    fn leaver(&mut self) -> Result<(), Failure> {
        let add = "person add carol --pgp keys/carol.asc --keyholder prod";
        self.step("carol joins, and the keys are sealed to her too", "alice", add, 0)?;
        let line = demo::pin_line(&self.dir.join("repo"))?;
        self.step("she pins the repository", "carol", &format!("trust pin {line}"), 0)?;
        self.step("and signs", "carol", "trust sign --yes", 0)?;
        self.step("alice lets her in", "alice", "reseal", 0)?;
        let remove = "person remove carol --reason left --yes";
        self.step("a year later carol leaves: this is what she could open", "alice", remove, 0)?;
        self.step("sealing again takes nothing back from her", "alice", "reseal", 0)?;
        self.step("so it is owed", "bob", "verify", 5)?;
        self.step("and this is the way out of it", "bob", "exposure carol", 5)?;
        let start = "rotate start -c prod --because-of carol --yes";
        self.step("new generations of all that she could open", "alice", start, 0)?;
        self.step("first everything trusts both", "alice", "rotate trust -c prod --yes", 0)?;
        self.step("what to do on the nodes, and what to see before going on", "bob", "rotate status -c prod", 0)?;
        let promote = "rotate promote -c prod --confirm nodes-have-bundle --yes";
        self.step("then the new ones issue, and every certificate is issued anew", "alice", promote, 0)?;
        let distrust = "rotate distrust -c prod --confirm nodes-have-leaves --confirm clients-moved \
                        --confirm secrets-rewritten --yes";
        self.step("then nothing trusts the former ones", "alice", distrust, 0)?;
        self.step("and they are forgotten", "alice", "rotate remove -c prod --yes", 0)?;
        self.step("nothing is owed any more", "bob", "verify", 0)
    }
}

impl Report for DemoReport {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "$ cd {}", self.dir.display())?;
        for step in &self.steps {
            writeln!(out, "\n# {}", step.title)?;
            writeln!(out, "$ {}", step.command)?;
            for line in step.output.lines() {
                writeln!(out, "  {line}")?;
            }
            if step.exit != 0 {
                writeln!(out, "  [exit {}, as it should]", step.exit)?;
            }
        }
        writeln!(out, "\nThe directory is yours to explore. Look at:")?;
        writeln!(out, "  repo/trust/epoch/         who is trusted: numbered, chained, signed")?;
        writeln!(out, "  repo/trust/log/           what was done: one signed record a command")?;
        writeln!(out, "  repo/clusters/prod/       certificates in the clear, keys under sealed/")?;
        writeln!(out, "  gpg --list-packets repo/clusters/prod/sealed/ca.kubernetes.g1.asc")?;
        writeln!(out, "  git -C repo log --stat")
    }

    fn data(&self) -> Value {
        json!({ "dir": self.dir, "steps": self.steps })
    }
}
